// Noise injection: every estimator of every case against double-precision formulas fed with the library's own noise and solutions.
// No statistics, so tolerances are rounding errors (1e-5 of the natural scale; grid values 4e-5, for the 2e-5 that the header allows on
// each side). The solutions themselves are checked against the naive oracles for the same perturbed scores.
#include <gtest/gtest.h>

#include "cases.h"
#include "judge.h"

namespace perturb::test {
namespace {

void compare_case(perturb_context* context, const test_case& c) {
  SCOPED_TRACE(c.name + " samples " + std::to_string(c.samples));
  const oracle_ptr oracle = make_oracle(c);
  const std::vector<float> theta = make_theta(c), factors = make_factors(c), g = make_cotangent(c), u = make_tangent(c);
  const std::vector<float> target = make_target(context, oracle.get(), c);
  const perturb_noise noise = make_noise(c, factors);
  const int64_t B = c.batch, M = c.samples, n = c.n, entries = c.m();
  const bool jacobian_too = c.has_score() && c.has_jacobian() && entries * n * M * B <= 12000000;
  std::vector<float> z(B * M * n), y(B * M * entries), mean(B * entries), error(B * entries), value(B), value_error(B), vjp(B * n), jvp(B * entries),
      star(B * entries);
  std::vector<float> jacobian(jacobian_too ? B * entries * n : 0), loss(B), loss_gradient(B * n), loss_eps(B);

  if (c.given) {
    std::copy_n(c.given->z.begin(), z.size(), z.begin());
  } else {
    require(perturb_noise_fill(context, &noise, B, n, z.data()));
  }
  require(perturb_sample(context, oracle.get(), &noise, B, theta.data(), y.data()));
  const bool errors = c.has_std_errors(), values = c.has_value();
  require(perturb_expectation(context, oracle.get(), &noise, B, theta.data(), mean.data(), errors ? error.data() : nullptr,
                              values ? value.data() : nullptr, values && errors ? value_error.data() : nullptr));
  require(perturb_solve(context, oracle.get(), B, theta.data(), star.data(), nullptr));
  if (c.has_score()) {
    require(perturb_vjp(context, oracle.get(), &noise, B, theta.data(), g.data(), vjp.data()));
    require(perturb_jvp(context, oracle.get(), &noise, B, theta.data(), u.data(), jvp.data()));
  }
  if (jacobian_too) require(perturb_jacobian(context, oracle.get(), &noise, B, theta.data(), jacobian.data()));
  if (c.has_fenchel_young())
    require(perturb_fenchel_young(context, oracle.get(), &noise, B, theta.data(), target.data(), loss.data(), loss_gradient.data(),
                                  loss_eps.data()));

  reference::grid map;
  if (c.is_grid()) map = reference::make_grid_reference(c);
  const reference::grid* map_or_null = c.is_grid() ? &map : nullptr;
  for (int64_t b = 0; b < B; ++b) {
    const float* row = theta.data() + b * n;
    const std::vector<float> eps = reference::item_epsilons(c, factors, b), slopes = reference::epsilon_slopes(c, factors, b);
    const double range = c.is_grid() ? 0 : score_range(c, row, eps);
    std::vector<double> s(n);
    for (int64_t m = 0; m < M; ++m) {
      for (int64_t i = 0; i < n; ++i)
        s[i] = map_or_null && !map.passable[i] ? 0 : reference::perturbed(c, row[i], eps[i], z[(b * M + m) * n + i]);
      const auto verdict = solves(c, map_or_null, s, range, y.data() + (b * M + m) * entries);
      EXPECT_TRUE(verdict) << "row " << b << " sample " << m;
      if (!verdict) return;
    }
    const reference::row_estimates expected =
        reference::estimate({c, eps, slopes, map_or_null, row, z.data() + b * M * n, y.data() + b * M * entries, star.data() + b * entries,
                             g.data() + b * entries, u.data() + b * n, target.data() + b * entries, jacobian_too});
    const auto slice = [&](const std::vector<float>& all) { return std::span<const float>(all).subspan(b * n, n); };
    const auto of_y = [&](const std::vector<float>& all) { return std::span<const float>(all).subspan(b * entries, entries); };
    const auto entry = [&](const std::vector<float>& all) { return std::span<const float>(all).subspan(b, 1); };
    EXPECT_TRUE(all_within_one_ulp(expected.y_mean.value, std::vector<float>(of_y(mean).begin(), of_y(mean).end()))) << "y_mean";
    if (errors) {
      EXPECT_TRUE(close(expected.y_std_error, of_y(error))) << "y_std_error";
    }
    if (values && errors) {
      EXPECT_TRUE(close(expected.value_std_error, entry(value_error), 1e-4)) << "value_std_error";
    }
    if (values) {
      EXPECT_TRUE(close(expected.value, entry(value))) << "value";
    }
    if (c.has_score()) {
      EXPECT_TRUE(close(expected.vjp, slice(vjp))) << "vjp";
      EXPECT_TRUE(close(expected.jvp, of_y(jvp))) << "jvp";
    }
    if (jacobian_too) {
      EXPECT_TRUE(close(expected.jacobian, std::span<const float>(jacobian).subspan(b * entries * n, entries * n))) << "jacobian";
    }
    if (!c.has_fenchel_young()) continue;
    EXPECT_TRUE(close(expected.loss, entry(loss))) << "loss";
    EXPECT_GE(loss[b], 0.0f);
    EXPECT_TRUE(close(expected.loss_gradient, slice(loss_gradient))) << "loss gradient";
    EXPECT_TRUE(close(expected.loss_epsilon_gradient, entry(loss_eps))) << "loss epsilon gradient";
  }
}

void compare_kind(oracle_kind kind) {
  const context_ptr context = make_context(2);
  int number = 0;
  for (test_case c : cases()) {
    if (!picked(c, number++) || c.oracle != kind) continue;
    for (int64_t samples : {1, 2, 7, 64, 200}) {
      if (c.n > 500 && samples > 64) continue;
      if (c.first_sample + samples > int64_t{1} << 32) continue;
      if (c.sampling == PERTURB_SAMPLING_ANTITHETIC && samples % 2) continue;
      c.samples = samples;
      compare_case(context.get(), c);
    }
  }
}

TEST(noise_injection, argmax) { compare_kind(oracle_kind::argmax); }
TEST(noise_injection, top_k) { compare_kind(oracle_kind::top_k); }
TEST(noise_injection, rank) { compare_kind(oracle_kind::rank); }
TEST(noise_injection, sort) { compare_kind(oracle_kind::sort); }
TEST(noise_injection, grid_path) { compare_kind(oracle_kind::grid_path); }
TEST(noise_injection, all_kinds_of_noise) {
  const context_ptr context = make_context(2);
  int number = 0;
  for (test_case c : noise_cases()) {
    if (!picked(c, number++)) continue;
    for (int64_t samples : {int64_t{1}, int64_t{7}, c.samples}) {
      c.samples = samples;
      compare_case(context.get(), c);
    }
  }
}

// The noise of a call does not depend on epsilon and mode, and noise_fill is what the calls use (seen through Gumbel's argmax above);
// rows and samples are where first_row and first_sample say.
TEST(noise_injection, noise_fill_offsets) {
  const context_ptr context = make_context(2);
  for (int d = 0; d < 4; ++d) {
    perturb_noise noise = make_noise(static_cast<perturb_distribution>(d), 1, 9, 77);
    const int64_t n = 37;
    std::vector<float> whole(4 * 9 * n), part(n);
    require(perturb_noise_fill(context.get(), &noise, 4, n, whole.data()));
    for (int64_t b = 0; b < 4; ++b)
      for (int64_t m = 0; m < 9; ++m) {
        perturb_noise one = noise;
        one.samples = 1;
        one.first_row = b;
        one.first_sample = m;
        one.epsilon = 0;
        require(perturb_noise_fill(context.get(), &one, 1, n, part.data()));
        const float* from = whole.data() + (b * 9 + m) * n;
        EXPECT_TRUE(same_bits(std::vector<float>(from, from + n), part)) << distribution_name(noise.distribution) << " " << b << " " << m;
      }
  }
}

// J, J^T g and J u of one seed belong together: the products of the returned Jacobian are the returned products.
TEST(noise_injection, products_agree_with_the_jacobian) {
  const context_ptr context = make_context(2);
  for (const test_case& c : cases()) {
    if (!c.has_jacobian() || c.n > 40 || c.theta == inputs::huge) continue;
    const oracle_ptr oracle = make_oracle(c);
    const std::vector<float> theta = make_theta(c), factors = make_factors(c), g = make_cotangent(c), u = make_tangent(c);
    const std::vector<float> eps = reference::item_epsilons(c, factors);
    const perturb_noise noise = make_noise(c, factors);
    const int64_t n = c.n, entries = c.m();
    std::vector<float> jacobian(c.batch * entries * n), vjp(c.batch * n), jvp(c.batch * entries);
    require(perturb_jacobian(context.get(), oracle.get(), &noise, c.batch, theta.data(), jacobian.data()));
    require(perturb_vjp(context.get(), oracle.get(), &noise, c.batch, theta.data(), g.data(), vjp.data()));
    require(perturb_jvp(context.get(), oracle.get(), &noise, c.batch, theta.data(), u.data(), jvp.data()));
    std::vector<double> left(c.batch * n), right(c.batch * entries), scale(c.batch * entries), left_scale(c.batch * n);
    for (int64_t b = 0; b < c.batch; ++b)
      for (int64_t i = 0; i < entries; ++i)
        for (int64_t j = 0; j < n; ++j) {
          const double entry = jacobian[(b * entries + i) * n + j];
          left[b * n + j] += entry * g[b * entries + i];
          right[b * entries + i] += entry * u[b * n + j];
          left_scale[b * n + j] += 1e-5 * std::abs(entry * g[b * entries + i]);
          scale[b * entries + i] += 1e-5 * std::abs(entry * u[b * n + j]);
        }
    // Noise scores are fixed point of about 20 bits: that much of the largest product counts everywhere.
    for (int64_t b = 0; b < c.batch; ++b) {
      double smallest = HUGE_VAL;
      for (int64_t j = 0; j < n; ++j) {
        const double divide = std::abs(eps[j] * (c.mode == PERTURB_MULTIPLICATIVE ? static_cast<double>(theta[b * n + j]) : 1.0));
        if (divide > 0) smallest = std::min(smallest, divide);
      }
      const double y_largest = c.oracle == oracle_kind::rank ? static_cast<double>(n) : 1.0;
      for (int64_t i = 0; i < n; ++i) left_scale[b * n + i] += 1e-5 * y_largest / smallest;
      for (int64_t i = 0; i < entries; ++i) scale[b * entries + i] += 1e-5 * y_largest / smallest;
    }
    EXPECT_TRUE(all_near(left, vjp, left_scale)) << c.name << " vjp";
    EXPECT_TRUE(all_near(right, jvp, scale)) << c.name << " jvp";
  }
}

}  // namespace
}  // namespace perturb::test
