// Derivatives in the amplitudes: against the formula fed with the library's own noise and solutions, against closed forms at five standard errors, exact
// zeros, bits, refusals.
#include <gtest/gtest.h>

#include <numbers>

#include "composed.h"
#include "reference/noise.h"
#include "statistics.h"

namespace perturb::test {
namespace {

// ---------------------------------------------------------------- noise injection

// Rounding: products w T are summed to 2^-(44 - 7) of the largest weight, the weights are floats, and z is off by 1e-6, which for Gumbel noise is 1e-4 of T.
TEST(vjp_epsilon, formula) {
  const context_ptr context = make_context(2);
  for (test_case c : cases()) {
    if (!has_vjp_epsilon(c) || c.n > 600) continue;
    const prepared_case p(context.get(), c);
    const perturb_noise noise = make_noise(p.c, p.factors);
    const int64_t n = c.n, entries = c.m(), M = c.samples, B = c.batch;
    const size_t rows = B;
    std::vector<float> z(B * M * n), y(B * M * entries), star(B * entries);
    require(perturb_noise_fill(context.get(), &noise, B, n, z.data()));
    require(perturb_sample(context.get(), p.oracle.get(), &noise, B, p.theta.data(), y.data()));
    require(perturb_solve(context.get(), p.oracle.get(), B, p.theta.data(), star.data(), nullptr));
    const std::vector<float> eps = reference::item_epsilons(c, p.factors), got = run_case(context.get(), p, PERTURB_OP_VJP_EPSILON);
    const std::vector<uint8_t> open = c.is_grid() ? make_passable(c) : std::vector<uint8_t>(n, 1);
    const bool antithetic = c.sampling == PERTURB_SAMPLING_ANTITHETIC;
    const bool mean = c.baseline == PERTURB_BASELINE_LEAVE_ONE_OUT && M > 1 && !antithetic;
    const bool hard = c.baseline == PERTURB_BASELINE_UNPERTURBED || (c.baseline == PERTURB_BASELINE_LEAVE_ONE_OUT && antithetic);
    for (size_t b = 0; b < rows; ++b) {
      const float *g = p.cotangent.data() + b * entries, *solved = y.data() + b * M * entries;
      std::vector<double> r(M), per_item(n), scale(n);
      double r_mean = 0, r_star = 0, largest = 0, of_epsilon = 0, of_epsilon_scale = 0;
      for (int64_t i = 0; i < entries; ++i) r_star += static_cast<double>(g[i]) * star[b * entries + i];
      for (int64_t m = 0; m < M; ++m) {
        double absolute = 0;
        for (int64_t i = 0; i < entries; ++i) {
          r[m] += static_cast<double>(g[i]) * solved[m * entries + i];
          absolute += std::abs(static_cast<double>(g[i]) * solved[m * entries + i]);
        }
        largest = std::max(largest, absolute);
        r_mean += r[m] / static_cast<double>(M);
      }
      const double baseline = mean ? r_mean : hard ? r_star : 0, divisor = static_cast<double>(mean ? M - 1 : M);
      for (int64_t i = 0; i < n; ++i) {
        if (eps[i] == 0 || !open[i]) continue;
        double total = 0, absolute = 0;
        for (int64_t m = 0; m < M; ++m) {
          const double at = z[(b * M + m) * n + i], T = reference::score(c.distribution, at) * at - 1;
          total += (r[m] - baseline) * T;
          absolute += largest * std::max(1.0, std::abs(T));
        }
        per_item[i] = total / (eps[i] * divisor);
        scale[i] = 1e-4 * absolute / (eps[i] * divisor);
        of_epsilon += total / (static_cast<double>(c.epsilon) * divisor);
        of_epsilon_scale += scale[i] * eps[i] / c.epsilon;
      }
      const float* row = got.data() + b * (n + 1);
      EXPECT_TRUE(near(of_epsilon, row[0], of_epsilon_scale)) << c.name << " epsilon";
      EXPECT_TRUE(all_near(per_item, std::vector<float>(row + 1, row + 1 + n), scale)) << c.name << " per item";
    }
  }
}

// epsilon's is the chain rule over the items': sum of f_i times theirs.
TEST(vjp_epsilon, chain_rule_over_items) {
  const context_ptr context = make_context(2);
  for (const test_case& c : cases()) {
    if (!has_vjp_epsilon(c) || c.n > 600) continue;
    const prepared_case p(context.get(), c);
    const std::vector<float> got = run_case(context.get(), p, PERTURB_OP_VJP_EPSILON);
    for (int64_t b = 0; b < c.batch; ++b) {
      const float* row = got.data() + b * (c.n + 1);
      double total = 0, absolute = 0;
      for (int64_t i = 0; i < c.n; ++i) {
        const double term = (p.factors.empty() ? 1.0 : p.factors[i]) * static_cast<double>(row[1 + i]);
        total += term;
        absolute += std::abs(term);
      }
      EXPECT_TRUE(near(total, row[0], 1e-6 * absolute)) << c.name;
    }
  }
}

// ---------------------------------------------------------------- closed forms

// Replicate rows give the mean and its standard error, of 1 + n entries.
replicate_summary replicates(const perturb_oracle* oracle, const std::vector<double>& theta, const std::vector<double>& g, const perturb_noise& noise,
                             int64_t rows) {
  const context_ptr context = make_context(2);
  const int64_t n = static_cast<int64_t>(theta.size());
  const std::vector<float> all = repeated(theta, rows), cotangents = repeated(g, rows);
  std::vector<float> of_epsilon(rows), per_item(rows * n), joined;
  require(perturb_vjp_epsilon(context.get(), oracle, &noise, rows, all.data(), cotangents.data(), of_epsilon.data(), per_item.data()));
  for (int64_t b = 0; b < rows; ++b) {
    joined.push_back(of_epsilon[b]);
    joined.insert(joined.end(), per_item.begin() + b * n, per_item.begin() + (b + 1) * n);
  }
  return summarize_rows(joined, n + 1);
}

testing::AssertionResult meets(const std::vector<double>& expected, const replicate_summary& got) {
  for (size_t i = 0; i < expected.size(); ++i) {
    const auto one = within_errors(expected[i], got.mean[i], got.error[i]);
    if (!one) return testing::AssertionFailure() << "entry " << i << ": " << one.message();
  }
  return testing::AssertionSuccess();
}

struct estimator_choice {
  perturb_baseline baseline;
  perturb_sampling sampling;
};
constexpr estimator_choice choices[] = {{PERTURB_BASELINE_LEAVE_ONE_OUT, PERTURB_SAMPLING_IID},
                                        {PERTURB_BASELINE_NONE, PERTURB_SAMPLING_IID},
                                        {PERTURB_BASELINE_UNPERTURBED, PERTURB_SAMPLING_IID},
                                        {PERTURB_BASELINE_LEAVE_ONE_OUT, PERTURB_SAMPLING_ANTITHETIC},
                                        {PERTURB_BASELINE_UNPERTURBED, PERTURB_SAMPLING_ANTITHETIC}};

// y = softmax(theta / eps): d y_i / d eps = -y_i (theta_i - <y, theta>) / eps^2.
TEST(vjp_epsilon, gumbel_argmax) {
  const std::vector<double> theta{.6, -.2, .9, .1}, g{1, -.5, .25, 2};
  const double eps = .7;
  const oracle_ptr oracle = make_argmax(4);
  const std::vector<double> y = reference::softmax(theta, eps);
  double mean = 0, expected = 0;
  for (size_t i = 0; i < 4; ++i) mean += y[i] * theta[i];
  for (size_t i = 0; i < 4; ++i) expected -= g[i] * y[i] * (theta[i] - mean) / (eps * eps);
  for (const estimator_choice& choice : choices) {
    perturb_noise noise = make_noise(PERTURB_GUMBEL, static_cast<float>(eps), 500, 5);
    noise.baseline = choice.baseline;
    noise.sampling = choice.sampling;
    const replicate_summary got = replicates(oracle.get(), theta, g, noise, 600);
    EXPECT_TRUE(within_errors(expected, got.mean[0], got.error[0])) << choice.baseline << choice.sampling;
  }
}

// Two items: y_0 = P(Z_1' - Z_0' < d) with amplitudes of their own. Normal: Phi(d / sqrt(e_0^2 + e_1^2)).
TEST(vjp_epsilon, two_normals_per_item) {
  const std::vector<double> theta{.5, .1}, g{1.5, -.5};
  const float factors[] = {.8f, 1.7f};
  const float eps = .6f;
  const double e0 = eps * factors[0], e1 = eps * factors[1], spread = std::sqrt(e0 * e0 + e1 * e1), d = .4;
  const double slope = -(g[0] - g[1]) * reference::normal_density(d / spread) * d / (spread * spread * spread);
  const std::vector<double> expected{slope * (e0 * factors[0] + e1 * factors[1]), slope * e0, slope * e1};
  const oracle_ptr oracle = make_argmax(2);
  for (const estimator_choice& choice : choices) {
    perturb_noise noise = make_noise(PERTURB_NORMAL, eps, 500, 7);
    noise.epsilon_per_item = factors;
    noise.baseline = choice.baseline;
    noise.sampling = choice.sampling;
    EXPECT_TRUE(meets(expected, replicates(oracle.get(), theta, g, noise, 600))) << choice.baseline << choice.sampling;
  }
}

// Every distribution, by differences of the closed forms of ranks.
TEST(vjp_epsilon, ranks) {
  const std::vector<double> theta{.3, -.4, .8}, g{1, .5, -2};
  const double eps = .5, h = 1e-4;
  const oracle_ptr ascending = make_rank(3), descending = make_rank(3, 1, 0);
  for (int kind = 0; kind < 4; ++kind) {
    const auto d = static_cast<perturb_distribution>(kind);
    const auto inner = [&](double at) {
      double sum = 0;
      for (size_t i = 0; i < 3; ++i)
        for (size_t j = 0; j < 3; ++j)
          if (i != j) sum += g[i] * reference::win(d, (theta[i] - theta[j]) / at);
      return sum;
    };
    const double expected = (inner(eps + h) - inner(eps - h)) / (2 * h);
    const perturb_noise noise = make_noise(d, static_cast<float>(eps), 500, 11);
    const replicate_summary up = replicates(ascending.get(), theta, g, noise, 600), down = replicates(descending.get(), theta, g, noise, 600);
    EXPECT_TRUE(within_errors(expected, up.mean[0], up.error[0])) << kind;
    EXPECT_TRUE(within_errors(-expected, down.mean[0], down.error[0])) << kind;
  }
}

// A grid of two by two cells and four neighbours has two paths: cell 1 is on the cheaper one. Noise is subtracted, and the sign is the same.
TEST(vjp_epsilon, minimising) {
  perturb_grid_path_options options = PERTURB_GRID_PATH_OPTIONS_INIT;
  options.height = options.width = 2;
  options.connectivity = PERTURB_CONNECT_4;
  options.target = 3;
  const oracle_ptr oracle = make_grid(options);
  const std::vector<double> theta{9, 9, 9.5, 9}, g{0, 2, -1, 0};
  const double eps = .8, d = .5, spread = eps * std::numbers::sqrt2;
  const double slope = -(g[1] - g[2]) * reference::normal_density(d / spread) * d / (spread * eps);
  const replicate_summary got = replicates(oracle.get(), theta, g, make_noise(PERTURB_NORMAL, static_cast<float>(eps), 500, 13), 600);
  EXPECT_TRUE(meets({slope, 0, slope / 2, slope / 2, 0}, got));
}

// ---------------------------------------------------------------- exact zeros, bits

TEST(vjp_epsilon, zeros) {
  const context_ptr context = make_context(2);
  case_list list;
  test_case c = list.top_k_case(9, 3);
  c.per_item = true;  // item 3 is not perturbed
  const prepared_case some(context.get(), c);
  const std::vector<float> row = run_case(context.get(), some, PERTURB_OP_VJP_EPSILON);
  EXPECT_EQ(row[1 + 3], 0.0f);
  EXPECT_NE(row[1 + 2], 0.0f);
  c.epsilon = 0;
  const prepared_case none(context.get(), c);
  EXPECT_TRUE(same_bits(std::vector<float>(c.batch * 10), run_case(context.get(), none, PERTURB_OP_VJP_EPSILON)));
  // A y that never moves: leave-one-out gives exactly 0, however large <g, y> is.
  c = list.argmax_case(4);
  c.epsilon = 1e-4f;
  prepared_case still(context.get(), c);
  for (int64_t i = 0; i < c.batch * 4; ++i) {
    still.theta[i] = static_cast<float>(i % 4);
    still.cotangent[i] = 1e6f;
  }
  for (const float value : run_case(context.get(), still, PERTURB_OP_VJP_EPSILON)) EXPECT_EQ(value, 0.0f);
}

TEST(vjp_epsilon, bits) {
  const context_ptr one = make_context(1);
  int turn = 0;
  for (const test_case& c : cases()) {
    if (!has_vjp_epsilon(c) || (c.n > 200 && turn++ % 6)) continue;
    const prepared_case p(one.get(), c);
    const perturb_noise noise = make_noise(p.c, p.factors);
    const std::vector<float> expected = run_case(one.get(), p, PERTURB_OP_VJP_EPSILON);
    EXPECT_TRUE(same_everywhere(expected, PERTURB_OP_VJP_EPSILON, p.oracle.get(), &noise, c.batch, [&](perturb_context* context) {
      return run_case(context, p, PERTURB_OP_VJP_EPSILON);
    })) << c.name;
    for (int64_t b = 0; b < c.batch; ++b) {
      host_memory memory;
      const std::vector<float> row = run_case(memory, one.get(), p, PERTURB_OP_VJP_EPSILON, b, 1);
      EXPECT_TRUE(same_bits(std::vector<float>(expected.begin() + b * (c.n + 1), expected.begin() + (b + 1) * (c.n + 1)), row)) << c.name;
    }
    // Either output alone.
    std::vector<float> alone(c.batch), items(c.batch * c.n);
    require(perturb_vjp_epsilon(one.get(), p.oracle.get(), &noise, c.batch, p.theta.data(), p.cotangent.data(), alone.data(), nullptr));
    require(perturb_vjp_epsilon(one.get(), p.oracle.get(), &noise, c.batch, p.theta.data(), p.cotangent.data(), nullptr, items.data()));
    EXPECT_EQ(alone[0], expected[0]);
    EXPECT_TRUE(same_bits(std::vector<float>(expected.begin() + 1, expected.begin() + 1 + c.n), std::vector<float>(items.begin(), items.begin() + c.n)));
  }
}

// The argmax as a solver of the caller's: the same sums in double, where the library adds T in units of 2^-15.
TEST(vjp_epsilon, custom) {
  const context_ptr context = make_context(2);
  const oracle_ptr custom = make_custom_argmax(), built_in = make_argmax(6);
  const float factors[] = {1, .5f, 0, 2, 1, .7f};
  for (int d = 0; d < 4; ++d)
    for (const estimator_choice& choice : choices)
      for (int64_t samples : {2, 300}) {
        perturb_noise noise = make_noise(static_cast<perturb_distribution>(d), .6f, samples, 17);
        noise.baseline = choice.baseline;
        noise.sampling = choice.sampling;
        noise.epsilon_per_item = factors;
        std::vector<float> theta, g, expected(2 * 7), got(2 * 7);
        for (int i = 0; i < 12; ++i) {
          theta.push_back(uniform_float(1, i, -1, 1));
          g.push_back(uniform_float(2, i, -1, 1));
        }
        require(perturb_vjp_epsilon(context.get(), built_in.get(), &noise, 2, theta.data(), g.data(), expected.data(), expected.data() + 2));
        require(perturb_vjp_epsilon(context.get(), custom.get(), &noise, 2, theta.data(), g.data(), got.data(), got.data() + 2));
        for (size_t i = 0; i < 14; ++i) EXPECT_TRUE(near(expected[i], got[i], 2e-4)) << d << choice.baseline << choice.sampling << " " << samples << " " << i;
      }
}

TEST(vjp_epsilon, refusals) {
  const context_ptr context = make_context(1);
  const oracle_ptr oracle = make_argmax(3);
  const float theta[] = {1, 2, 3}, g[] = {1, 1, 1}, bad[] = {1, NAN, 1};
  std::vector<float> e(1), items(3);
  perturb_noise noise = make_noise(PERTURB_NORMAL, 1, 4);
  const auto refuses = [&](perturb_status expected, const char* name, const float* t, const float* cotangent, float* out, float* per_item) {
    fill_canary(e);
    fill_canary(items);
    EXPECT_EQ(perturb_vjp_epsilon(context.get(), oracle.get(), &noise, 1, t, cotangent, out, per_item), expected);
    EXPECT_NE(std::string(perturb_last_error()).find(name), std::string::npos) << perturb_last_error();
    EXPECT_TRUE(untouched(e));
    EXPECT_TRUE(untouched(items));
  };
  const auto invalid = PERTURB_ERROR_INVALID_ARGUMENT;
  refuses(invalid, "theta", nullptr, g, e.data(), items.data());
  refuses(invalid, "cotangent", theta, nullptr, e.data(), items.data());
  refuses(invalid, "gradient_epsilon, gradient_per_item", theta, g, nullptr, nullptr);
  refuses(invalid, "gradient_per_item: overlaps gradient_epsilon", theta, g, items.data() + 1, items.data());
  refuses(PERTURB_ERROR_NON_FINITE, "cotangent[0, 1]", theta, bad, e.data(), items.data());
  noise.mode = PERTURB_MULTIPLICATIVE;
  refuses(PERTURB_ERROR_UNSUPPORTED, "noise.mode", theta, g, e.data(), items.data());
}

}  // namespace
}  // namespace perturb::test
