// Closed forms: their functions against the standard library's in long double, their rows against the independent quadrature of reference/closed_forms.h
// and against samples at five standard errors, gradients by differences, scores far apart, bits, refusals.
#include <gtest/gtest.h>

#include <numbers>

#include "composed.h"
#include "math/closed_forms.h"
#include "statistics.h"

namespace perturb::test {
namespace {

// ---------------------------------------------------------------- functions

double relative_error(double got, long double exact) { return std::abs(static_cast<double>((got - exact) / exact)); }

TEST(exact_functions, errors) {
  double worst[5] = {};
  const auto see = [&](int which, double got, long double exact) {
    count();
    worst[which] = std::max(worst[which], relative_error(got, exact));
  };
  for (int64_t i = 0; i <= 100000; ++i) {
    const double u = uniform(1, i);
    for (double x : {-708 * u, -u, -u * 1e-6}) see(0, exponential(x), std::exp(static_cast<long double>(x)));
    for (double y : {u, u * u * u * 1e-3, u * 1e-12}) see(1, log1p_unit(y), std::log1p(static_cast<long double>(y)));
    for (double x : {1 + u * 1e-5, 1 + u, 1 + u * 1e6, std::ldexp(1 + u, static_cast<int>(i % 1000))})
      see(2, logarithm(x), std::log(static_cast<long double>(x)));
    for (double x : {u, 4 * u, 37 * u}) {
      const long double at = x;
      see(3, normal_tail(x), std::erfc(at / std::numbers::sqrt2_v<long double>) / 2);
      see(4, normal_density(x), std::exp(-at * at / 2) / std::sqrt(2 * std::numbers::pi_v<long double>));
    }
  }
  std::printf("relative errors: exponential %.2g, log1p %.2g, logarithm %.2g, normal tail %.2g, normal density %.2g\n", worst[0], worst[1], worst[2], worst[3],
              worst[4]);
  EXPECT_LE(worst[0], 2e-16);
  EXPECT_LE(worst[1], 4e-16);
  EXPECT_LE(worst[2], 4e-16);
  EXPECT_LE(worst[3], 1e-15);
  EXPECT_LE(worst[4], 5e-16);
  EXPECT_EQ(exponential(0), 1.0);
  EXPECT_EQ(exponential(-1e9), 0.0);
  EXPECT_EQ(logarithm(1), 0.0);
  EXPECT_EQ(log1p_unit(0), 0.0);
  EXPECT_TRUE(std::isnan(exponential(NAN)) && std::isnan(logarithm(NAN)) && std::isnan(normal_density(NAN)));
}

// ---------------------------------------------------------------- rows

struct exact_row {
  std::vector<float> y, gradient;
  float value = 0;
};
exact_row row_of(const perturb_oracle* oracle, const std::vector<double>& theta, perturb_distribution d, double eps, const std::vector<double>& g,
                 bool with_value) {
  const context_ptr context = make_context(1);
  const std::vector<float> t = to_floats(theta), cotangent = to_floats(g);
  const perturb_noise noise = make_noise(d, static_cast<float>(eps), 1);
  exact_row row{std::vector<float>(t.size()), std::vector<float>(t.size())};
  require(perturb_exact_expectation(context.get(), oracle, &noise, 1, t.data(), row.y.data(), with_value ? &row.value : nullptr));
  require(perturb_exact_vjp(context.get(), oracle, &noise, 1, t.data(), cotangent.data(), row.gradient.data()));
  return row;
}
double inner(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}
std::vector<double> as_doubles_of_floats(std::initializer_list<double> values) {
  std::vector<double> rounded;
  for (double v : values) rounded.push_back(static_cast<float>(v));
  return rounded;
}
// d <g, y(theta)> / d theta by central differences.
template <class Y>
std::vector<double> differences(const std::vector<double>& theta, const std::vector<double>& g, Y y) {
  const double h = 1e-4;
  std::vector<double> gradient;
  for (size_t i = 0; i < theta.size(); ++i) {
    std::vector<double> up(theta), down(theta);
    up[i] += h;
    down[i] -= h;
    gradient.push_back((inner(g, y(up)) - inner(g, y(down))) / (2 * h));
  }
  return gradient;
}

const std::vector<double> thetas[] = {as_doubles_of_floats({.4, -.3, .9, .1, .4}), as_doubles_of_floats({2, -3, 0, 1, .5}),
                                      as_doubles_of_floats({.25, .25, .25, .25, .25})};
const std::vector<double> g = as_doubles_of_floats({1, -.5, 2, .25, -1});

TEST(exact, softmax) {
  for (const std::vector<double>& theta : thetas)
    for (double eps : {.5, 2.}) {
      const oracle_ptr oracle = make_argmax(5);
      const exact_row row = row_of(oracle.get(), theta, PERTURB_GUMBEL, eps, g, true);
      EXPECT_TRUE(all_within_one_ulp(reference::softmax(theta, eps), row.y));
      EXPECT_TRUE(near(reference::log_sum_exp(theta, eps) + eps * reference::euler_gamma, row.value, 2e-7 * (1 + std::abs(row.value))));
      EXPECT_TRUE(all_near(differences(theta, g, [&](const std::vector<double>& t) { return reference::softmax(t, eps); }), row.gradient, 1e-6));
    }
}

TEST(exact, ranks) {
  for (const std::vector<double>& theta : thetas)
    for (perturb_distribution d : {PERTURB_GUMBEL, PERTURB_NORMAL})
      for (int32_t descending : {0, 1})
        for (int32_t base : {0, 1}) {
          const double eps = static_cast<float>(.7), n = 5;
          const oracle_ptr oracle = make_rank(5, descending, base);
          const auto ranks = [&](const std::vector<double>& t) {
            std::vector<double> mean = reference::rank_law(d, t, eps).mean;
            for (double& y : mean) y = descending ? n + base - y : y - 1 + base;
            return mean;
          };
          const exact_row row = row_of(oracle.get(), theta, d, eps, g, true);
          EXPECT_TRUE(all_near(ranks(theta), row.y, 5e-7)) << d << descending << base;
          EXPECT_TRUE(all_near(differences(theta, g, ranks), row.gradient, 2e-6)) << d << descending << base;
          // The value's gradient is y: by a path of thetas. And at one point by samples, below.
          std::vector<double> lower(theta);
          double path = 0;
          for (size_t i = 0; i < lower.size(); ++i) lower[i] = static_cast<float>(theta[i] - .5);
          for (int step = 0; step < 50; ++step) {
            std::vector<double> at(theta);
            for (double& t : at) t -= .5 * (step + .5) / 50;
            path += .5 / 50 * inner(ranks(at), std::vector<double>(5, 1.0));
          }
          const double low = row_of(oracle.get(), lower, d, eps, g, true).value;
          EXPECT_TRUE(near(path, row.value - low, 1e-4)) << d << descending << base;
        }
}

TEST(exact, top_k) {
  for (const std::vector<double>& theta : thetas)
    for (int64_t k = 1; k <= 5; ++k) {
      const double eps = .6;
      const oracle_ptr oracle = make_top_k(5, k);
      const auto inclusion = [&](const std::vector<double>& t) { return reference::inclusion(PERTURB_GUMBEL, t, eps, static_cast<size_t>(k)); };
      const exact_row row = row_of(oracle.get(), theta, PERTURB_GUMBEL, eps, g, false);
      EXPECT_TRUE(all_near(inclusion(theta), row.y, 2e-7)) << k;
      EXPECT_TRUE(all_near(differences(theta, g, inclusion), row.gradient, 2e-6)) << k;
    }
}

// Every form against samples: means and values at five standard errors, gradients by replicate rows.
TEST(exact, samples_agree) {
  const context_ptr context = make_context(2);
  for (const test_case& c : exact_cases()) {
    if (c.n < 2 || c.n > 16 || c.epsilon == 0) continue;
    const prepared_case p(context.get(), c);
    perturb_noise noise = make_noise(p.c, p.factors);
    noise.samples = 20000;
    const int64_t n = c.n, B = c.batch;
    std::vector<float> y(B * n), exact(B * n), error(B * n), value(B), exact_value(B), value_error(B), gradient(B * n);
    const bool top_k = c.oracle == oracle_kind::top_k;
    require(perturb_expectation(context.get(), p.oracle.get(), &noise, B, p.theta.data(), y.data(), error.data(), value.data(), value_error.data()));
    require(perturb_exact_expectation(context.get(), p.oracle.get(), &noise, B, p.theta.data(), exact.data(), top_k ? nullptr : exact_value.data()));
    require(perturb_exact_vjp(context.get(), p.oracle.get(), &noise, B, p.theta.data(), p.cotangent.data(), gradient.data()));
    for (int64_t i = 0; i < B * n; ++i) {
      // The error of the rarest of outcomes, which no sample may have shown.
      const double rare = std::abs(exact[i] - std::round(exact[i]));
      EXPECT_TRUE(within_errors(exact[i], y[i], std::max<double>(error[i], std::sqrt(rare * (1 - rare) / 20000)) + 1e-9)) << c.name << " " << i;
    }
    for (int64_t b = 0; b < B && !top_k; ++b) EXPECT_TRUE(within_errors(exact_value[b], value[b], value_error[b])) << c.name;
    if (c.epsilon != 0.5f) continue;
    std::vector<float> rows, cotangents;
    const int64_t replicates = 200;
    for (int64_t r = 0; r < replicates; ++r) {
      rows.insert(rows.end(), p.theta.begin(), p.theta.begin() + n);
      cotangents.insert(cotangents.end(), p.cotangent.begin(), p.cotangent.begin() + n);
    }
    noise.samples = 200;
    std::vector<float> sampled(replicates * n);
    require(perturb_vjp(context.get(), p.oracle.get(), &noise, replicates, rows.data(), cotangents.data(), sampled.data()));
    const replicate_summary got = summarize_rows(sampled, n);
    for (int64_t i = 0; i < n; ++i) EXPECT_TRUE(within_errors(gradient[i], got.mean[i], got.error[i] + 1e-6)) << c.name << " gradient " << i;
  }
}

// Scores that exp() of a difference cannot hold: probabilities of the items that are left must not be 0 / 0.
TEST(exact, far_apart) {
  const std::vector<double> theta{0, -1e6, 3e37, -2e6, 3e37};
  for (int64_t k = 1; k <= 5; ++k) {
    const oracle_ptr oracle = make_top_k(5, k);
    const exact_row row = row_of(oracle.get(), theta, PERTURB_GUMBEL, 1e-3, g, false);
    const double expected[][5] = {{0, 0, .5, 0, .5}, {0, 0, 1, 0, 1}, {1, 0, 1, 0, 1}, {1, 1, 1, 0, 1}, {1, 1, 1, 1, 1}};
    for (size_t i = 0; i < 5; ++i) {
      EXPECT_TRUE(near(expected[k - 1][i], row.y[i], 1e-6)) << k << " " << i;
      EXPECT_TRUE(std::isfinite(row.gradient[i]));
    }
  }
  const oracle_ptr one = make_argmax(5);
  EXPECT_TRUE(all_near({0, 0, .5, 0, .5}, row_of(one.get(), theta, PERTURB_GUMBEL, 1e-3, g, true).y, 1e-7));
  for (perturb_distribution d : {PERTURB_GUMBEL, PERTURB_NORMAL}) {
    const oracle_ptr ranks = make_rank(5);
    EXPECT_TRUE(all_near({3, 2, 4.5, 1, 4.5}, row_of(ranks.get(), theta, d, 1e-3, g, true).y, 1e-6));
  }
}

// epsilon = 0: the hard solution, its value, and no gradient.
TEST(exact, epsilon_zero) {
  const std::vector<double> theta{.5, 2, 2, -1, 0};
  const oracle_ptr one = make_argmax(5), ranks = make_rank(5), two = make_top_k(5, 2);
  const exact_row best = row_of(one.get(), theta, PERTURB_GUMBEL, 0, g, true);
  EXPECT_TRUE(same_bits({0, 1, 0, 0, 0}, best.y));
  EXPECT_EQ(best.value, 2.0f);
  EXPECT_TRUE(same_bits({3, 4, 5, 1, 2}, row_of(ranks.get(), theta, PERTURB_NORMAL, 0, g, true).y));
  const exact_row both = row_of(two.get(), theta, PERTURB_GUMBEL, 0, g, false);
  EXPECT_TRUE(same_bits({0, 1, 1, 0, 0}, both.y));
  EXPECT_TRUE(same_bits(std::vector<float>(5), both.gradient));
}

TEST(exact, bits) {
  const context_ptr one = make_context(1);
  for (const test_case& c : exact_cases()) {
    const prepared_case p(one.get(), c);
    const std::vector<float> expected = run_exact(one.get(), p);
    for (const char* isa : {"scalar", "avx2", "avx512"}) {
      const context_ptr context = make_context_on(isa, 3);
      if (context) {
        EXPECT_TRUE(same_bits(expected, run_exact(context.get(), p))) << c.name << " " << isa;
      }
    }
    host_memory memory;
    const std::vector<float> last = run_exact(memory, one.get(), p, c.batch - 1, 1);
    EXPECT_TRUE(same_bits(std::vector<float>(expected.end() - static_cast<int64_t>(last.size()), expected.end()), last)) << c.name;
  }
}

TEST(exact, refusals) {
  watching_allocator allocator;
  {
    const context_ptr context = make_context(1, allocator.hooks());
    const float theta[] = {1, 2, 3}, factors[] = {1, 1, 1}, bad[] = {1, HUGE_VALF, 2};
    std::vector<float> y(3), value(1);
    const auto refuses = [&](perturb_status expected, const char* name, const oracle_ptr& oracle, const perturb_noise& noise, const float* t,
                             const float* cotangent, float* out, float* v) {
      fill_canary(y);
      fill_canary(value);
      const perturb_status got = cotangent ? perturb_exact_vjp(context.get(), oracle.get(), &noise, 1, t, cotangent, out)
                                           : perturb_exact_expectation(context.get(), oracle.get(), &noise, 1, t, out, v);
      EXPECT_EQ(got, expected) << name;
      EXPECT_NE(std::string(perturb_last_error()).find(name), std::string::npos) << perturb_last_error();
      EXPECT_TRUE(untouched(y) && untouched(value));
    };
    const auto unsupported = PERTURB_ERROR_UNSUPPORTED, invalid = PERTURB_ERROR_INVALID_ARGUMENT;
    const oracle_ptr one = make_argmax(3), two = make_top_k(3, 2), ranks = make_rank(3), many = make_top_k(17, 2), custom = make_custom_argmax();
    perturb_grid_path_options options = PERTURB_GRID_PATH_OPTIONS_INIT;
    options.height = 1;
    options.width = 3;
    options.target = 2;
    const oracle_ptr grid = make_grid(options);
    const perturb_noise gumbel = make_noise(PERTURB_GUMBEL, 1, 1), normal = make_noise(PERTURB_NORMAL, 1, 1), logistic = make_noise(PERTURB_LOGISTIC, 1, 1);
    refuses(unsupported, "closed form", one, normal, theta, nullptr, y.data(), nullptr);
    refuses(unsupported, "closed form", two, normal, theta, nullptr, y.data(), nullptr);
    refuses(unsupported, "closed form", ranks, logistic, theta, theta, y.data(), nullptr);
    refuses(unsupported, "closed form", many, gumbel, theta, nullptr, y.data(), nullptr);
    refuses(unsupported, "closed form", custom, gumbel, theta, nullptr, y.data(), nullptr);
    refuses(unsupported, "closed form", grid, gumbel, theta, nullptr, y.data(), nullptr);
    refuses(unsupported, "value", two, gumbel, theta, nullptr, y.data(), value.data());
    perturb_noise noise = normal;
    noise.mode = PERTURB_MULTIPLICATIVE;
    refuses(unsupported, "closed form", ranks, noise, theta, nullptr, y.data(), nullptr);
    noise = gumbel;
    noise.epsilon_per_item = factors;
    refuses(unsupported, "closed form", one, noise, theta, nullptr, y.data(), nullptr);
    refuses(invalid, "theta", one, gumbel, nullptr, nullptr, y.data(), nullptr);
    refuses(invalid, "y", one, gumbel, theta, nullptr, nullptr, nullptr);
    refuses(invalid, "gradient", one, gumbel, theta, theta, nullptr, nullptr);
    refuses(PERTURB_ERROR_NON_FINITE, "theta[0, 1]", ranks, gumbel, bad, nullptr, y.data(), nullptr);
    refuses(PERTURB_ERROR_NON_FINITE, "cotangent[0, 1]", ranks, gumbel, theta, bad, y.data(), nullptr);
    EXPECT_EQ(perturb_exact_vjp(context.get(), one.get(), &gumbel, 1, theta, nullptr, y.data()), invalid);
    allocator.fail_at = allocator.calls;
    refuses(PERTURB_ERROR_OUT_OF_MEMORY, "tables", two, gumbel, theta, nullptr, y.data(), nullptr);
  }
  EXPECT_EQ(allocator.verdict(), "");
}

}  // namespace
}  // namespace perturb::test
