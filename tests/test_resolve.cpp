// LPGD, I-MLE and SPO+ against their definitions: minimisation over all solutions with the prox term as a square, published numbers,
// closed forms of the expectation, and the special cases that docs/lpgd.md lists.
#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <limits>
#include <random>

#include "compare.h"
#include "operations.h"
#include "reference/solutions.h"

namespace perturb::test {
namespace {

using reference::dot;
using reference::solution;

std::vector<test_case> small_cases() {
  case_list list;
  for (int turn = 0; turn < 4; ++turn) {
    list.add(list.argmax_case(2 + turn), "");
    list.add(list.top_k_case(7, 1 + 2 * turn), "");
    list.add(list.rank_case(4 + turn % 2, turn % 2, turn / 2), "");
    list.add(list.grid_case(3, 3), "");
    list.add(list.grid_case(3, 4, PERTURB_CONNECT_4), "");
    test_case uncounted = list.grid_case(3, 4, PERTURB_CONNECT_8_NO_CORNER_CUTTING);
    uncounted.count_source = 0;
    uncounted.wall = turn % 2 ? walls::random_nan : walls::none;
    list.add(uncounted, "uncounted");
    test_case sets = list.grid_case(3, 4);
    sets.sources = {0, 6, 4};
    sets.targets = {11, 8};
    list.add(sets, "sets");
  }
  for (test_case& c : list.all) c.batch = 3;
  return list.all;
}

// theta as costs to be minimised, and back.
double cost_sign(const test_case& c) { return -c.fenchel_young_sign(); }

solution costs_of(const test_case& c, const std::vector<float>& theta, int64_t b) {
  solution costs(c.n);
  const std::vector<uint8_t> open = c.is_grid() ? make_passable(c) : std::vector<uint8_t>(c.n, 1);
  for (int64_t i = 0; i < c.n; ++i)
    if (open[i]) costs[i] = cost_sign(c) * theta[b * c.n + i];
  return costs;
}

double clamped(const test_case& c, double cost) { return c.is_grid() ? std::max(cost, static_cast<double>(c.cost_floor)) : cost; }

// The prox term written as what it is, a square; clamping as the header states it, on the whole linear cost of a cell.
solution shifted_solution(const test_case& c, const std::vector<solution>& all, const solution& costs, const solution& g, const solution& near,
                          double step, double rho) {
  if (c.is_grid()) {
    return reference::least(all, [&](const solution& y) {
      double total = 0;
      for (int64_t i = 0; i < c.n; ++i)
        if (i != c.source || c.count_source) total += y[i] * clamped(c, costs[i] + step * g[i] + rho * (0.5 - near[i]));
      return total;
    });
  }
  return reference::least(all, [&](const solution& y) {
    double total = dot(costs, y) + step * dot(g, y);
    for (int64_t i = 0; i < c.n; ++i) total += 0.5 * rho * (y[i] - near[i]) * (y[i] - near[i]);
    return total;
  });
}

double norm(const std::vector<float>& x, int64_t b, const test_case& c) {
  const std::vector<uint8_t> open = c.is_grid() ? make_passable(c) : std::vector<uint8_t>(c.n, 1);
  double squares = 0;
  for (int64_t i = 0; i < c.n; ++i)
    if (open[i]) squares += static_cast<double>(x[b * c.n + i]) * x[b * c.n + i];
  return std::sqrt(squares);
}

TEST(resolve, lpgd_is_its_definition) {
  const context_ptr context = make_context(1);
  int moved = 0, stayed = 0;
  for (const test_case& c : small_cases()) {
    const std::vector<solution> all = reference::all_solutions(c);
    const oracle_ptr oracle = make_oracle(c);
    const std::vector<float> theta = make_theta(c), g = make_cotangent(c);
    std::vector<float> gradient(c.batch * c.n);
    for (perturb_side side : {PERTURB_SIDE_LOWER, PERTURB_SIDE_UPPER, PERTURB_SIDE_AVERAGE})
      for (float tau : {0.05f, 0.7f, 5.0f, 60.0f})
        for (float rho : {0.0f, 0.3f, 4.0f})
          for (int32_t relative : {0, 1}) {
            const perturb_lpgd_options options = {sizeof options, tau, rho, side, relative, nullptr};
            require(perturb_lpgd(context.get(), oracle.get(), &options, c.batch, theta.data(), g.data(), gradient.data()));
            for (int64_t b = 0; b < c.batch; ++b) {
              const double step = relative ? tau * norm(theta, b, c) / norm(g, b, c) : tau;
              const solution costs = costs_of(c, theta, b);
              solution cotangent(c.n);
              for (int64_t i = 0; i < c.n; ++i) cotangent[i] = g[b * c.n + i];
              const solution zero(c.n, 0.0), star = shifted_solution(c, all, costs, zero, zero, 0, 0);
              const solution lower = shifted_solution(c, all, costs, cotangent, star, step, rho);
              const solution upper = shifted_solution(c, all, costs, cotangent, star, -step, rho);
              const solution &first = side == PERTURB_SIDE_UPPER ? star : lower, &second = side == PERTURB_SIDE_LOWER ? star : upper;
              const double scale = cost_sign(c) / (side == PERTURB_SIDE_AVERAGE ? 2 * step : step);
              for (int64_t i = 0; i < c.n; ++i) {
                const double expected = scale * (first[i] - second[i]);
                EXPECT_NEAR(gradient[b * c.n + i], expected, 1e-6 * std::abs(expected)) << c.name << " side " << side << " tau " << tau << " rho " << rho;
                (expected == 0 ? stayed : moved) += 1;
                count();
              }
            }
          }
  }
  EXPECT_GT(moved, 2000);
  EXPECT_GT(stayed, 2000);
}

// papers: the simplex with c = (.3, .9, .5, 1.2) and loss gradient (1, -2, .5, 0).
TEST(resolve, published_simplex_numbers) {
  const context_ptr context = make_context(1);
  const oracle_ptr oracle = make_argmax(4);
  const std::vector<float> theta{-.3f, -.9f, -.5f, -1.2f}, g{1, -2, .5f, 0};
  struct row {
    float tau;
    perturb_side side;
    std::vector<float> in_costs;
  };
  const row rows[] = {{.19f, PERTURB_SIDE_LOWER, {0, 0, 0, 0}},      {.5f, PERTURB_SIDE_LOWER, {-2, 2, 0, 0}},   {2, PERTURB_SIDE_LOWER, {-.5f, .5f, 0, 0}},
                      {10, PERTURB_SIDE_LOWER, {-.1f, .1f, 0, 0}},   {.5f, PERTURB_SIDE_UPPER, {0, 0, 0, 0}},    {10, PERTURB_SIDE_UPPER, {0, 0, 0, 0}},
                      {.5f, PERTURB_SIDE_AVERAGE, {-1, 1, 0, 0}}};
  for (const row& r : rows) {
    const perturb_lpgd_options options = {sizeof options, r.tau, 0, r.side, 0, nullptr};
    std::vector<float> gradient(4);
    require(perturb_lpgd(context.get(), oracle.get(), &options, 1, theta.data(), g.data(), gradient.data()));
    for (int i = 0; i < 4; ++i) EXPECT_FLOAT_EQ(gradient[i], 0.0f - r.in_costs[i]) << "tau " << r.tau;
    count(4);
  }
}

TEST(resolve, spo_plus_is_its_definition) {
  const context_ptr context = make_context(1);
  for (const test_case& c : small_cases()) {
    const std::vector<solution> all = reference::all_solutions(c);
    const oracle_ptr oracle = make_oracle(c);
    const std::vector<float> theta = make_theta(c), truth = make_theta_true(c);
    std::vector<float> loss(c.batch), gradient(c.batch * c.n);
    require(perturb_spo_plus(context.get(), oracle.get(), c.batch, theta.data(), truth.data(), loss.data(), gradient.data()));
    for (int64_t b = 0; b < c.batch; ++b) {
      const solution predicted = costs_of(c, theta, b), actual = costs_of(c, truth, b), zero(c.n, 0.0);
      solution reflected(c.n);
      for (int64_t i = 0; i < c.n; ++i) reflected[i] = clamped(c, 2 * predicted[i] - actual[i]);
      const solution of_actual = shifted_solution(c, all, actual, zero, zero, 0, 0), of_reflected = shifted_solution(c, all, reflected, zero, zero, 0, 0);
      // -V(2c^ - c) + 2 <c^, y*(c)> - V(c), with 2 c^ - c clamped where a grid clamps it
      const double expected = dot(reflected, of_actual) - dot(reflected, of_reflected);
      EXPECT_NEAR(loss[b], expected, 1e-5 * (1 + std::abs(expected))) << c.name;
      EXPECT_GE(loss[b], 0.0f);
      for (int64_t i = 0; i < c.n; ++i) EXPECT_EQ(gradient[b * c.n + i], cost_sign(c) * 2 * (of_actual[i] - of_reflected[i])) << c.name;
      count(2 + c.n);
      // A bound of the regret, where nothing is clamped.
      if (!c.is_grid()) {
        const double regret = dot(actual, shifted_solution(c, all, predicted, zero, zero, 0, 0)) - dot(actual, of_actual);
        EXPECT_LE(regret, expected + 1e-5) << c.name;
      }
    }
  }
}

// Zero exactly where the prediction is right by a margin, and 2 V(c^)-homogeneous: the gradient is the loss's slope.
TEST(resolve, spo_plus_gradient_is_the_slope_of_its_loss) {
  const context_ptr context = make_context(1);
  case_list list;
  list.add(list.argmax_case(6), "");
  list.add(list.top_k_case(8, 3), "");
  list.add(list.rank_case(7), "");
  list.add(list.rank_case(7, 1), "");
  list.add(list.grid_case(6, 6), "");
  for (test_case c : list.all) {
    c.batch = 1;
    const oracle_ptr oracle = make_oracle(c);
    std::vector<float> theta = make_theta(c), truth = make_theta_true(c), gradient(c.n);
    if (c.is_grid())
      for (float& t : theta) t += 20;  // far from the floor
    float loss = 0, after = 0;
    require(perturb_spo_plus(context.get(), oracle.get(), 1, theta.data(), truth.data(), &loss, gradient.data()));
    const float h = 1e-3f;
    for (int64_t i = 0; i < c.n; ++i) {
      std::vector<float> moved = theta;
      moved[i] += h;
      require(perturb_spo_plus(context.get(), oracle.get(), 1, moved.data(), truth.data(), &after, nullptr));
      EXPECT_NEAR((after - loss) / h, gradient[i], 2e-2 + 3e-7 * std::abs(loss) / h) << c.name << " item " << i;
      count();
    }
    std::vector<float> only(c.n);
    require(perturb_spo_plus(context.get(), oracle.get(), 1, truth.data(), truth.data(), &after, only.data()));
    EXPECT_EQ(after, 0.0f) << "the loss of the truth";
    for (float value : only) EXPECT_EQ(value, 0.0f);
    count(1 + c.n);
  }
}

// The same noise on both solves: the difference of what perturb_sample gives at the two inputs.
TEST(resolve, imle_is_a_difference_of_samples) {
  const context_ptr context = make_context(2);
  std::vector<test_case> all = cases();
  for (const test_case& c : noise_cases()) all.push_back(c);
  for (const test_case& c : all) {
    if (!c.has_value() || c.n > 600 || c.theta == inputs::huge || c.mode == PERTURB_MULTIPLICATIVE) continue;
    SCOPED_TRACE(c.name);
    prepared_case p(context.get(), c);
    perturb_lpgd_options options = make_lpgd(c, PERTURB_OP_IMLE);
    options.relative = 0;
    const perturb_noise noise = make_noise(c, p.factors);
    const float sign = static_cast<float>(c.fenchel_young_sign());
    const auto at = [&](float step) {  // sums of y over the samples, theta shifted by step in costs
      std::vector<float> theta = p.theta, y(c.batch * c.samples * c.n);
      for (size_t i = 0; i < theta.size(); ++i) theta[i] = step == 0 ? theta[i] : std::fmaf(-sign * step, p.cotangent[i], theta[i]);
      require(perturb_sample(context.get(), p.oracle.get(), &noise, c.batch, theta.data(), y.data()));
      std::vector<double> sums(c.batch * c.n);
      for (int64_t b = 0; b < c.batch; ++b)
        for (int64_t m = 0; m < c.samples; ++m)
          for (int64_t i = 0; i < c.n; ++i) sums[b * c.n + i] += y[(b * c.samples + m) * c.n + i];
      return sums;
    };
    const std::vector<double> toward = at(options.side == PERTURB_SIDE_UPPER ? 0 : options.tau), away = at(options.side == PERTURB_SIDE_LOWER ? 0 : -options.tau);
    std::vector<float> gradient(c.batch * c.n);
    require(perturb_imle(context.get(), p.oracle.get(), &noise, &options, c.batch, p.theta.data(), p.cotangent.data(), gradient.data()));
    const double divisor = static_cast<double>(c.samples) * options.tau * (options.side == PERTURB_SIDE_AVERAGE ? 2 : 1);
    for (size_t i = 0; i < gradient.size(); ++i) {
      const double expected = sign * (away[i] - toward[i]) / divisor;
      EXPECT_NEAR(gradient[i], expected, 1e-6 * std::abs(expected)) << "entry " << i;
    }
    count(static_cast<int64_t>(gradient.size()));
  }
}

// E y is softmax(theta/eps) under Gumbel noise, so the expectation of I-MLE is a difference of two of them, for any tau.
TEST(resolve, imle_meets_its_closed_form) {
  const context_ptr context = make_context(2);
  const oracle_ptr oracle = make_argmax(4);
  const std::vector<double> theta{.3, -.2, .5, .1}, g{1, 2, -1, .5};
  const double eps = .7;
  const auto softmax = [&](double step) {
    std::vector<double> p(4);
    double total = 0;
    for (int i = 0; i < 4; ++i) total += p[i] = std::exp((theta[i] + step * g[i]) / eps);
    for (double& x : p) x /= total;
    return p;
  };
  const int64_t rows = 64, samples = 20000;
  std::vector<float> thetas, gs;
  for (int64_t b = 0; b < rows; ++b)
    for (int i = 0; i < 4; ++i) {
      thetas.push_back(static_cast<float>(theta[i]));
      gs.push_back(static_cast<float>(g[i]));
    }
  for (perturb_side side : {PERTURB_SIDE_LOWER, PERTURB_SIDE_UPPER, PERTURB_SIDE_AVERAGE})
    for (double tau : {.05, .5, 3.0}) {
      const perturb_noise noise = make_noise(PERTURB_GUMBEL, static_cast<float>(eps), samples, 77);
      const perturb_lpgd_options options = {sizeof options, static_cast<float>(tau), 0, side, 0, nullptr};
      std::vector<float> gradient(rows * 4);
      require(perturb_imle(context.get(), oracle.get(), &noise, &options, rows, thetas.data(), gs.data(), gradient.data()));
      const std::vector<double> high = softmax(side == PERTURB_SIDE_LOWER ? 0 : tau), low = softmax(side == PERTURB_SIDE_UPPER ? 0 : -tau);
      for (int i = 0; i < 4; ++i) {
        double mean = 0, squares = 0;
        for (int64_t b = 0; b < rows; ++b) mean += gradient[b * 4 + i] / rows;
        for (int64_t b = 0; b < rows; ++b) squares += std::pow(gradient[b * 4 + i] - mean, 2);
        const double error = std::sqrt(squares / rows / (rows - 1)), expected = (high[i] - low[i]) / (side == PERTURB_SIDE_AVERAGE ? 2 * tau : tau);
        EXPECT_NEAR(mean, expected, 5 * error) << "side " << side << " tau " << tau;
        EXPECT_LT(error, 0.02) << "a test that cannot fail";
        count(2);
      }
    }
}

// docs/lpgd.md: other names of the same call.
TEST(resolve, special_cases) {
  const context_ptr context = make_context(1);
  case_list list;
  list.add(list.argmax_case(9), "");
  list.add(list.top_k_case(12, 5), "");
  list.add(list.rank_case(20, 1), "");
  list.add(list.grid_case(8, 8), "");
  for (const test_case& c : list.all) {
    const oracle_ptr oracle = make_oracle(c);
    const std::vector<float> theta = make_theta(c), g = make_cotangent(c), truth = make_theta_true(c);
    const double sign = cost_sign(c);
    const auto solve = [&](double step, const std::vector<float>& direction) {
      std::vector<float> moved(theta.size()), y(theta.size());
      for (size_t i = 0; i < moved.size(); ++i) moved[i] = std::fmaf(static_cast<float>(step), direction[i], theta[i]);
      require(perturb_solve(context.get(), oracle.get(), c.batch, moved.data(), y.data(), nullptr));
      return y;
    };
    const auto lpgd = [&](float tau, float rho, perturb_side side, const std::vector<float>& direction) {
      const perturb_lpgd_options options = {sizeof options, tau, rho, side, 0, nullptr};
      std::vector<float> gradient(theta.size());
      require(perturb_lpgd(context.get(), oracle.get(), &options, c.batch, theta.data(), direction.data(), gradient.data()));
      return gradient;
    };
    const auto expect = [&](const std::vector<float>& gradient, double factor, const std::vector<float>& a, const std::vector<float>& b, const char* what) {
      for (size_t i = 0; i < gradient.size(); ++i) EXPECT_NEAR(gradient[i], factor * (a[i] - b[i]), 1e-6 * std::abs(factor * (a[i] - b[i]))) << c.name << " " << what;
      count(static_cast<int64_t>(gradient.size()));
    };
    const double lambda = 3;
    // Blackbox backpropagation, in costs: (y(c + lambda g) - y(c)) / lambda.
    expect(lpgd(3, 0, PERTURB_SIDE_LOWER, g), sign / lambda, solve(sign * lambda, g), solve(0, g), "blackbox");
    // InferOpt's Interpolation, in scores: (y(t + lambda dy) - y(t)) / lambda, whatever the sense.
    expect(lpgd(3, 0, PERTURB_SIDE_UPPER, g), -sign / lambda, solve(-sign * lambda, g), solve(0, g), "interpolation");
    // Perturbation-gradient loss, one-sided and central: (V(c^) - V(c^ - h c)) / h with the true costs c.
    std::vector<float> costs = truth;
    for (float& x : costs) x *= static_cast<float>(sign);
    expect(lpgd(3, 0, PERTURB_SIDE_UPPER, costs), sign / lambda, solve(0, truth), solve(-lambda, truth), "perturbation gradient");
    expect(lpgd(3, 0, PERTURB_SIDE_AVERAGE, costs), sign / (2 * lambda), solve(lambda, truth), solve(-lambda, truth), "central");
    // Domke's two-sided difference.
    expect(lpgd(0.25f, 0, PERTURB_SIDE_AVERAGE, g), sign / 0.5, solve(sign * 0.25, g), solve(-sign * 0.25, g), "Domke");
    // A small step of a piecewise constant function, and a prox term that outweighs the step, give nothing.
    for (const auto& still : {lpgd(1e-7f, 0, PERTURB_SIDE_AVERAGE, g), lpgd(1, 1e6f, PERTURB_SIDE_LOWER, g)}) {
      for (float value : still) EXPECT_EQ(value, 0.0f) << c.name;
      count(static_cast<int64_t>(still.size()));
    }
    for (float value : lpgd(3, 0, PERTURB_SIDE_AVERAGE, std::vector<float>(theta.size()))) EXPECT_EQ(value, 0.0f) << c.name << ": no cotangent";
  }
}

// I-MLE without noise is LPGD.
TEST(resolve, imle_without_noise_is_lpgd) {
  const context_ptr context = make_context(1);
  for (const test_case& c : cases()) {
    if (!c.has_value() || c.n > 1000) continue;
    prepared_case p(context.get(), c);
    perturb_noise noise = make_noise(c, p.factors);
    noise.epsilon = 0;
    noise.samples = 4;
    noise.first_sample = 0;
    const perturb_lpgd_options options = make_lpgd(c, PERTURB_OP_IMLE);
    std::vector<float> with(c.batch * c.n), without(c.batch * c.n);
    require(perturb_imle(context.get(), p.oracle.get(), &noise, &options, c.batch, p.theta.data(), p.cotangent.data(), with.data()));
    require(perturb_lpgd(context.get(), p.oracle.get(), &options, c.batch, p.theta.data(), p.cotangent.data(), without.data()));
    EXPECT_TRUE(same_bits(without, with)) << c.name;
  }
}

// ---------------------------------------------------------------- options

TEST(resolve, options_are_checked) {
  const context_ptr context = make_context(1);
  const oracle_ptr oracle = make_argmax(3);
  const std::vector<float> theta{1, 2, 3}, g{2, -1, 0};
  std::vector<float> gradient(3);
  const perturb_noise noise = make_noise(PERTURB_NORMAL, 1, 5);
  const auto refused = [&](auto spoil, perturb_status expected, const char* name) {
    perturb_lpgd_options options = PERTURB_LPGD_OPTIONS_INIT;
    spoil(options);
    for (int call = 0; call < 2; ++call) {
      fill_canary(gradient);
      const perturb_status status = call ? perturb_imle(context.get(), oracle.get(), &noise, &options, 1, theta.data(), g.data(), gradient.data())
                                         : perturb_lpgd(context.get(), oracle.get(), &options, 1, theta.data(), g.data(), gradient.data());
      EXPECT_EQ(status, expected) << name;
      EXPECT_NE(std::string(perturb_last_error()).find(name), std::string::npos) << perturb_last_error();
      EXPECT_TRUE(untouched(gradient));
      count(2);
    }
  };
  const auto invalid = PERTURB_ERROR_INVALID_ARGUMENT;
  const float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  for (float tau : {0.0f, -1.0f, inf, nan}) refused([&](auto& o) { o.tau = tau; }, invalid, "tau");
  for (float rho : {-1e-9f, inf, nan}) refused([&](auto& o) { o.rho = rho; }, invalid, "rho");
  for (int side : {-1, 3}) refused([&](auto& o) { std::memcpy(&o.side, &side, sizeof side); }, invalid, "side");
  for (int relative : {-1, 2}) refused([&](auto& o) { o.relative = relative; }, invalid, "relative");
  for (uint32_t size : {0u, 12u, 15u, 24u}) refused([&](auto& o) { o.struct_size = size; }, PERTURB_ERROR_INVALID_STRUCT, "struct_size");
  refused([&](auto& o) { o.tau = 3.4e38f; }, invalid, "cotangent");

  // The first headers' struct ended before `relative`; NULL is the defaults.
  perturb_lpgd_options older = PERTURB_LPGD_OPTIONS_INIT, newer = older;
  older.struct_size = offsetof(perturb_lpgd_options, relative);
  older.relative = 12345;
  older.tau = newer.tau = 1.5f;
  std::vector<float> expected(3);
  EXPECT_EQ(perturb_lpgd(context.get(), oracle.get(), &newer, 1, theta.data(), g.data(), expected.data()), PERTURB_OK);
  EXPECT_EQ(perturb_lpgd(context.get(), oracle.get(), &older, 1, theta.data(), g.data(), gradient.data()), PERTURB_OK) << perturb_last_error();
  EXPECT_TRUE(same_bits(expected, gradient));
  newer = PERTURB_LPGD_OPTIONS_INIT;
  EXPECT_EQ(perturb_lpgd(context.get(), oracle.get(), &newer, 1, theta.data(), g.data(), expected.data()), PERTURB_OK);
  EXPECT_EQ(perturb_lpgd(context.get(), oracle.get(), nullptr, 1, theta.data(), g.data(), gradient.data()), PERTURB_OK);
  EXPECT_TRUE(same_bits(expected, gradient));
}

}  // namespace
}  // namespace perturb::test
