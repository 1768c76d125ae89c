// Solvers of the caller's, the numbers: twins of the built-in oracles, every estimator against double-precision formulas, a linear map
// with m != n against closed forms, and a knapsack against all subsets. test_custom_bits.cpp has bits and threads,
// test_custom_contract.cpp failures and memory.
#include <gtest/gtest.h>

#include "custom_solver.h"
#include "judge.h"
#include "operations.h"
#include "statistics.h"

namespace perturb::test {
namespace {

// A packed rank (docs/noise.md) may exchange items that lie very close; a twin orders the floats.
bool same_order_as_floats(const test_case& c) {
  return c.oracle != oracle_kind::rank || c.n > 512 || c.mode == PERTURB_MULTIPLICATIVE || c.epsilon == 0;
}

double p_theta(const prepared_case& p, int64_t b, int64_t i) { return p.theta[b * p.c.n + i]; }

// Solutions are the built-in oracle's to the bit, so the scores were; and with them the results that are made of counts.
TEST(custom, twins_of_built_in_oracles) {
  const context_ptr context = make_context(2);
  for (test_case c : cases()) {
    if (c.is_grid() || c.is_sort() || !same_order_as_floats(c)) continue;
    c.prox = false;
    SCOPED_TRACE(c.name);
    watched_solver solver(c.n, c.n, twin_of(c));
    prepared_case built_in(context.get(), c), twin(context.get(), c);
    twin.oracle = solver.oracle();
    EXPECT_TRUE(same_bits(run_all(context.get(), built_in, PERTURB_OP_SAMPLE), run_all(context.get(), twin, PERTURB_OP_SAMPLE)));
    const auto rows = [&](const prepared_case& p, perturb_operation operation) { return run_all(context.get(), p, operation); };
    const auto part = [&](const std::vector<float>& all, int64_t width, int64_t first, int64_t count) {
      std::vector<float> some;
      for (size_t at = 0; at < all.size(); at += width) some.insert(some.end(), all.begin() + at + first, all.begin() + at + first + count);
      return some;
    };
    const int64_t n = c.n, means = c.has_std_errors() ? 2 * n : n, width = means + means / n;
    EXPECT_TRUE(same_bits(part(rows(built_in, PERTURB_OP_SOLVE), n + 1, 0, n), part(rows(twin, PERTURB_OP_SOLVE), n + 1, 0, n)));
    EXPECT_TRUE(same_bits(part(rows(built_in, PERTURB_OP_EXPECTATION), width, 0, means),
                          part(rows(twin, PERTURB_OP_EXPECTATION), width, 0, means)));
    if (c.mode == PERTURB_ADDITIVE && !c.descending) {
      EXPECT_TRUE(
          same_bits(part(rows(built_in, PERTURB_OP_FENCHEL_YOUNG), n + 2, 1, n), part(rows(twin, PERTURB_OP_FENCHEL_YOUNG), n + 2, 1, n)));
    }
    if (c.descending) continue;  // their loss is negated, a custom oracle's is not
    for (perturb_operation operation : {PERTURB_OP_LPGD, PERTURB_OP_IMLE})
      EXPECT_TRUE(same_bits(rows(built_in, operation), rows(twin, operation)));
    const std::vector<float> spo = rows(built_in, PERTURB_OP_SPO_PLUS), spo_twin = rows(twin, PERTURB_OP_SPO_PLUS);
    EXPECT_TRUE(same_bits(part(spo, n + 1, 1, n), part(spo_twin, n + 1, 1, n)));
    for (int64_t b = 0; b < c.batch; ++b) {  // of each term 2^-60 of the largest, or 2^-53
      double scale = 0;
      for (int64_t i = 0; i < n; ++i)
        scale += std::abs(0.5 * spo[b * (n + 1) + 1 + i] *
                          (2.0 * p_theta(built_in, b, i) - static_cast<double>(built_in.theta_true[b * n + i])));
      EXPECT_TRUE(near(spo[b * (n + 1)], spo_twin[b * (n + 1)], 1e-6 * scale));
    }
  }
}

// All estimators of rows [first, ...) against the formulas of perturb.h in double, from the library's noise and the solver's y. m = n.
void compare_with_formulas(perturb_context* context, const prepared_case& p) {
  const test_case& c = p.c;
  const int64_t n = c.n, M = c.samples, B = c.batch;
  const perturb_noise noise = make_noise(c, p.factors);
  std::vector<float> z(B * M * n);
  require(perturb_noise_fill(context, &noise, B, n, z.data()));
  const std::vector<float> y = run_all(context, p, PERTURB_OP_SAMPLE), star = run_all(context, p, PERTURB_OP_SOLVE),
                           eps = reference::item_epsilons(c, p.factors);
  const std::vector<float> expectation = run_all(context, p, PERTURB_OP_EXPECTATION), vjp = run_all(context, p, PERTURB_OP_VJP),
                           jvp = run_all(context, p, PERTURB_OP_JVP), jacobian = run_all(context, p, PERTURB_OP_JACOBIAN),
                           loss = run_all(context, p, PERTURB_OP_FENCHEL_YOUNG);
  for (int64_t b = 0; b < B; ++b) {
    const reference::row_estimates expected = reference::estimate(
        {c, eps, p.factors, nullptr, p.theta.data() + b * n, z.data() + b * M * n, y.data() + b * M * n, star.data() + b * (n + 1),
         p.cotangent.data() + b * n, p.tangent.data() + b * n, p.target.data() + b * n, true});
    const auto at = [&](const std::vector<float>& all, int64_t width, int64_t first, int64_t entries) {
      return std::span<const float>(all).subspan(b * width + first, entries);
    };
    const int64_t means = c.has_std_errors() ? 2 * n : n, width = means + means / n;
    EXPECT_TRUE(close(expected.y_mean, at(expectation, width, 0, n), 1e-7)) << "y_mean";
    EXPECT_TRUE(close(expected.value, at(expectation, width, means, 1))) << "value";
    if (c.has_std_errors()) {
      EXPECT_TRUE(close(expected.y_std_error, at(expectation, width, n, n), 1e-6)) << "y_std_error";
      EXPECT_TRUE(close(expected.value_std_error, at(expectation, width, 2 * n + 1, 1))) << "value_std_error";
    }
    EXPECT_TRUE(close(expected.vjp, at(vjp, n, 0, n))) << "vjp";
    EXPECT_TRUE(close(expected.jvp, at(jvp, n, 0, n))) << "jvp";
    EXPECT_TRUE(close(expected.jacobian, at(jacobian, n * n, 0, n * n))) << "jacobian";
    EXPECT_TRUE(close(expected.loss, at(loss, n + 2, 0, 1))) << "loss";
    EXPECT_TRUE(close(expected.loss_gradient, at(loss, n + 2, 1, n))) << "loss gradient";
    EXPECT_TRUE(close(expected.loss_epsilon_gradient, at(loss, n + 2, n + 1, 1))) << "loss epsilon gradient";
  }
}

TEST(custom, estimators_agree_with_formulas) {
  const context_ptr context = make_context(2);
  for (test_case c : cases()) {
    if (c.is_grid() || c.is_sort() || c.n > 40 || c.descending) continue;
    for (int64_t samples : {1, 2, 64, 129, 300}) {  // within a chunk of 128, and in several
      if (c.first_sample + samples > int64_t{1} << 32 || (c.sampling == PERTURB_SAMPLING_ANTITHETIC && samples % 2)) continue;
      c.samples = samples;
      SCOPED_TRACE(c.name + " samples " + std::to_string(samples));
      watched_solver solver(c.n, c.n, twin_of(c));
      prepared_case p(context.get(), c);
      p.oracle = solver.oracle(samples % 2 == 0);
      compare_with_formulas(context.get(), p);
    }
  }
}

// argmin of costs is argmax of scores with the other sign: noise, values and derivatives follow, bit for bit but for the sign.
TEST(custom, minimizing_mirrors_maximizing) {
  const context_ptr context = make_context(2);
  for (test_case c : cases()) {
    if (c.oracle != oracle_kind::argmax || c.n > 200) continue;
    c.prox = false;
    SCOPED_TRACE(c.name);
    const one_solver highest = twin_of(c);
    const int64_t n = c.n;
    watched_solver maximizer(n, n, highest), minimizer(
                                                 n, n,
                                                 [&](const float*cost, float*y) {
                                                   std::vector<float> score(cost, cost + n);
                                                   for (float& s : score) s = -s;
                                                   highest(score.data(), y);
                                                 },
                                                 PERTURB_MINIMIZE);
    prepared_case scores(context.get(), c), costs(context.get(), c);
    scores.oracle = maximizer.oracle();
    costs.oracle = minimizer.oracle();
    for (float& t : costs.theta) t = -t;
    for (float& t : costs.theta_true) t = -t;
    // By operation the outputs of a row: how many keep their sign, change it, keep it, change it ...
    struct layout {
      perturb_operation operation;
      int64_t kept, changed, kept_after, changed_after;
    };
    const bool additive = c.mode == PERTURB_ADDITIVE;
    for (const layout& l :
         {layout{PERTURB_OP_SOLVE, n, 1, 0, 0}, layout{PERTURB_OP_SAMPLE, c.samples * n, 0, 0, 0},
          c.has_std_errors() ? layout{PERTURB_OP_EXPECTATION, 2 * n, 1, 1, 0} : layout{PERTURB_OP_EXPECTATION, n, 1, 0, 0},
          layout{PERTURB_OP_VJP, 0, n, 0, 0}, layout{PERTURB_OP_JVP, 0, n, 0, 0}, layout{PERTURB_OP_JACOBIAN, 0, n * n, 0, 0},
          layout{PERTURB_OP_FENCHEL_YOUNG, 1, n, 1, 0}, layout{PERTURB_OP_LPGD, 0, n, 0, 0}, layout{PERTURB_OP_IMLE, 0, n, 0, 0},
          layout{PERTURB_OP_SPO_PLUS, 1, n, 0, 0}}) {
      const std::vector<float> up = run_all(context.get(), scores, l.operation), down = run_all(context.get(), costs, l.operation);
      const int64_t width = l.kept + l.changed + l.kept_after + l.changed_after;
      ASSERT_EQ(up.size(), down.size());
      ASSERT_EQ(static_cast<int64_t>(up.size()), c.batch * width);
      for (size_t i = 0; i < up.size(); ++i) {
        const int64_t at = static_cast<int64_t>(i) % width;
        const bool changed = at >= l.kept && at < l.kept + l.changed;
        ASSERT_EQ(changed ? -up[i] : up[i], down[i]) << operation_names[l.operation] << " entry " << i << " additive " << additive;
        count();
      }
    }
  }
}

// Entries of y can be picked from a solver's: y' = B y with m != n. Results are rows of the whole's, to the bit.
TEST(custom, m_other_than_n) {
  const context_ptr context = make_context(2);
  for (const auto& [n, m] : {std::pair<int64_t, int64_t>{5, 3}, {5, 9}, {1, 4}, {40, 1}}) {
    test_case c;
    c.n = n;
    c.samples = 200;
    c.distribution = PERTURB_LOGISTIC;
    SCOPED_TRACE(std::to_string(n) + " " + std::to_string(m));
    const one_solver whole = smooth_solver(n, n);
    const auto from = [n = n](int64_t i) { return (i * 3 + n - 1) % n; };
    watched_solver all(n, n, whole), some(n, m, [&, n = n, m = m](const float*theta, float*y) {
      std::vector<float> every(n);
      whole(theta, every.data());
      for (int64_t i = 0; i < m; ++i) y[i] = every[from(i)];
    });
    prepared_case p(context.get(), c);
    p.oracle = all.oracle();
    const oracle_ptr picked = some.oracle();
    const perturb_noise noise = make_noise(c, p.factors);
    const auto pick = [&, m = m](const std::vector<float>& of, int64_t width, int64_t depth) {
      std::vector<float> rows;
      for (int64_t b = 0; b < c.batch; ++b)
        for (int64_t i = 0; i < m; ++i)
          for (int64_t j = 0; j < depth; ++j) rows.push_back(of[b * width + from(i) * depth + j]);
      return rows;
    };
    const std::vector<float> expectation = run_all(context.get(), p, PERTURB_OP_EXPECTATION);
    std::vector<float> mean(c.batch * m), error(c.batch * m), derivative(c.batch * m), jacobian(c.batch * m * n), gradient(c.batch * n);
    require(perturb_solve(context.get(), picked.get(), c.batch, p.theta.data(), mean.data(), nullptr));
    EXPECT_TRUE(same_bits(pick(run_all(context.get(), p, PERTURB_OP_SOLVE), n + 1, 1), mean));
    require(perturb_expectation(context.get(), picked.get(), &noise, c.batch, p.theta.data(), mean.data(), error.data(), nullptr, nullptr));
    EXPECT_TRUE(same_bits(pick(expectation, 2 * n + 2, 1), mean));
    require(perturb_jvp(context.get(), picked.get(), &noise, c.batch, p.theta.data(), p.tangent.data(), derivative.data()));
    EXPECT_TRUE(same_bits(pick(run_all(context.get(), p, PERTURB_OP_JVP), n, 1), derivative));
    require(perturb_jacobian(context.get(), picked.get(), &noise, c.batch, p.theta.data(), jacobian.data()));
    EXPECT_TRUE(same_bits(pick(run_all(context.get(), p, PERTURB_OP_JACOBIAN), n * n, n), jacobian));
    // J'^T g, with g [m], is the sum of rows of J' times g.
    std::vector<float> g(c.batch * m);
    for (size_t i = 0; i < g.size(); ++i) g[i] = uniform_float(7, i, -1, 1);
    require(perturb_vjp(context.get(), picked.get(), &noise, c.batch, p.theta.data(), g.data(), gradient.data()));
    std::vector<double> expected(c.batch * n), scale(c.batch * n);
    for (int64_t b = 0; b < c.batch; ++b)
      for (int64_t i = 0; i < m; ++i)
        for (int64_t j = 0; j < n; ++j) {
          const double term = static_cast<double>(jacobian[(b * m + i) * n + j]) * g[b * m + i];
          expected[b * n + j] += term;
          scale[b * n + j] += 1e-6 * std::abs(term);
        }
    EXPECT_TRUE(all_near(expected, gradient, scale));
  }
}

// What needs <y, theta> is refused where m != n, and outputs stay as they were.
TEST(custom, no_value_where_m_is_not_n) {
  const context_ptr context = make_context(1);
  watched_solver solver(3, 2, smooth_solver(3, 2));
  const oracle_ptr oracle = solver.oracle();
  const perturb_noise noise = make_noise(PERTURB_NORMAL, 1, 10);
  const std::vector<float> theta{1, 2, 3};
  std::vector<float> y(3), value(1);
  const auto refuses = [&](perturb_status status, const char* name) {
    count(2);
    const std::string error = perturb_last_error();
    return status == PERTURB_ERROR_UNSUPPORTED && error.find(name) != std::string::npos &&
                   error.find("n = 3 and m = 2") != std::string::npos
               ? testing::AssertionSuccess()
               : testing::AssertionFailure() << perturb_status_name(status) << " \"" << error << "\"";
  };
  fill_canary(y);
  fill_canary(value);
  EXPECT_TRUE(refuses(perturb_solve(context.get(), oracle.get(), 1, theta.data(), y.data(), value.data()), "value"));
  EXPECT_TRUE(refuses(perturb_expectation(context.get(), oracle.get(), &noise, 1, theta.data(), y.data(), nullptr, value.data(), nullptr),
                      "value"));
  EXPECT_TRUE(refuses(perturb_expectation(context.get(), oracle.get(), &noise, 1, theta.data(), y.data(), nullptr, nullptr, value.data()),
                      "value_std_error"));
  EXPECT_TRUE(refuses(perturb_fenchel_young(context.get(), oracle.get(), &noise, 1, theta.data(), theta.data(), nullptr, y.data(), nullptr),
                      "Fenchel-Young"));
  EXPECT_TRUE(refuses(perturb_lpgd(context.get(), oracle.get(), nullptr, 1, theta.data(), theta.data(), y.data()), "LPGD"));
  EXPECT_TRUE(refuses(perturb_imle(context.get(), oracle.get(), &noise, nullptr, 1, theta.data(), theta.data(), y.data()), "I-MLE"));
  EXPECT_TRUE(refuses(perturb_spo_plus(context.get(), oracle.get(), 1, theta.data(), theta.data(), value.data(), y.data()), "SPO+"));
  size_t bytes = 5;
  EXPECT_TRUE(refuses(perturb_workspace_size(context.get(), PERTURB_OP_FENCHEL_YOUNG, oracle.get(), &noise, 1, &bytes), "Fenchel-Young"));
  EXPECT_EQ(bytes, 5u);
  EXPECT_TRUE(untouched(y));
  EXPECT_TRUE(untouched(value));
  EXPECT_EQ(solver.calls, 0);
}

// A solver that finds something worse than the target: the loss counts such samples as 0, and the gradient is y_mean - t all the same.
TEST(custom, loss_of_an_inexact_solver) {
  const context_ptr context = make_context(1);
  watched_solver solver(3, 3, [](const float* theta, float* y) {
    const bool worse = theta[0] > 1;  // of the scores (s, 0, 5): 0 instead of 5, or the best
    y[0] = y[1] = y[2] = 0;
    y[worse ? 1 : 2] = 1;
  });
  const oracle_ptr oracle = solver.oracle();
  perturb_noise noise = make_noise(PERTURB_NORMAL, 1, 400);
  const std::vector<float> factors{1, 0, 0}, theta{1, 0, 5}, target{0, 0.5f, 0.5f};
  noise.epsilon_per_item = factors.data();
  std::vector<float> mean(3), loss(1), gradient(3);
  require(perturb_expectation(context.get(), oracle.get(), &noise, 1, theta.data(), mean.data(), nullptr, nullptr, nullptr));
  require(
      perturb_fenchel_young(context.get(), oracle.get(), &noise, 1, theta.data(), target.data(), loss.data(), gradient.data(), nullptr));
  EXPECT_GT(mean[1], 0.25f);
  EXPECT_TRUE(all_near({2.5 * mean[2]}, loss, 1e-6));  // <y - t, s> is 2.5 at best, -2.5 else
  EXPECT_TRUE(all_near({0, mean[1] - 0.5, mean[2] - 0.5}, gradient, 1e-7));
}

// y = A theta: the expectation is A theta + sigma eps A E Z, its standard error is known, and the Jacobian is A whatever the noise.
TEST(custom, linear_map) {
  const context_ptr context = make_context(2);
  constexpr int64_t n = 3, m = 2, rows = 400, samples = 150;
  constexpr double A[m][n] = {{1, -2, 0.5}, {0, 3, -1}};
  const std::vector<double> theta{0.3, -0.7, 1.1};
  const std::vector<float> all = repeated(theta, rows), u = repeated({1, 0.5, -2}, rows), g = repeated({-1, 2}, rows);
  for (perturb_sense sense : {PERTURB_MAXIMIZE, PERTURB_MINIMIZE})
    for (int d = 0; d < 5; ++d) {
      SCOPED_TRACE(std::to_string(sense) + " " + std::to_string(d));
      watched_solver solver(
          n, m,
          [&](const float* x, float* y) {
            for (int64_t i = 0; i < m; ++i) y[i] = static_cast<float>(A[i][0] * x[0] + A[i][1] * x[1] + A[i][2] * x[2]);
          },
          sense);
      const oracle_ptr oracle = solver.oracle();
      perturb_noise noise = make_noise(static_cast<perturb_distribution>(d % 4), 0.4f, samples, 11 + d);
      if (d == 4) noise.mode = PERTURB_MULTIPLICATIVE;  // E W = 1, Var W = exp(eps^2) - 1
      const double sigma = sense == PERTURB_MINIMIZE ? -1 : 1, eps = noise.epsilon;
      const double mean_z = d == 1 ? 0.57721566490153286 : 0, pi_2_6 = 1.6449340668482264;
      const double variance_z = d == 0 ? 1 : d == 1 ? pi_2_6 : d == 2 ? 2 * pi_2_6 : 2;
      std::vector<float> mean(rows * m), error(rows * m), jacobian(rows * m * n), derivative(rows * m), gradient(rows * n);
      require(perturb_expectation(context.get(), oracle.get(), &noise, rows, all.data(), mean.data(), error.data(), nullptr, nullptr));
      require(perturb_jacobian(context.get(), oracle.get(), &noise, rows, all.data(), jacobian.data()));
      require(perturb_jvp(context.get(), oracle.get(), &noise, rows, all.data(), u.data(), derivative.data()));
      require(perturb_vjp(context.get(), oracle.get(), &noise, rows, all.data(), g.data(), gradient.data()));
      const replicate_summary means = summarize_rows(mean, m), errors = summarize_rows(error, m),
                              jacobians = summarize_rows(jacobian, m * n), derivatives = summarize_rows(derivative, m),
                              gradients = summarize_rows(gradient, n);
      for (int64_t i = 0; i < m; ++i) {
        double expected = 0, variance = 0, product = 0;
        for (int64_t j = 0; j < n; ++j) {
          expected += A[i][j] * (theta[j] + (d == 4 ? 0 : sigma * eps * mean_z));
          variance += A[i][j] * A[i][j] * (d == 4 ? theta[j] * theta[j] * (std::exp(eps * eps) - 1) : eps * eps * variance_z);
          product += A[i][j] * u[j];
          EXPECT_TRUE(within_errors(A[i][j], jacobians.mean[i * n + j], jacobians.error[i * n + j])) << i << " " << j;
        }
        EXPECT_TRUE(within_errors(expected, means.mean[i], std::sqrt(variance / (rows * samples)))) << "mean " << i;
        // The mean of standard errors is a little below the true one, by 1/(8 M) of it with normal noise, at most 5 times that here.
        EXPECT_TRUE(
            near(std::sqrt(variance / samples), errors.mean[i], std::sqrt(variance / samples) * 5 / (8.0 * samples) + 5 * errors.error[i]));
        EXPECT_TRUE(within_errors(product, derivatives.mean[i], derivatives.error[i])) << "jvp " << i;
      }
      for (int64_t j = 0; j < n; ++j)
        EXPECT_TRUE(within_errors(A[0][j] * g[0] + A[1][j] * g[1], gradients.mean[j], gradients.error[j])) << "vjp " << j;
    }
}

// ---------------------------------------------------------------- a problem that has no oracle here

constexpr int knapsack_items = 8, capacity = 15;
constexpr int weights[knapsack_items] = {3, 5, 2, 7, 4, 1, 6, 5};

// The subset of greatest value that fits, by dynamic programming over the capacity.
void solve_knapsack(const float* value, float* y) {
  double best[capacity + 1] = {};
  bool taken[knapsack_items][capacity + 1] = {};
  for (int i = 0; i < knapsack_items; ++i)
    for (int room = capacity; room >= weights[i]; --room)
      if (best[room - weights[i]] + value[i] > best[room]) {
        best[room] = best[room - weights[i]] + value[i];
        taken[i][room] = true;
      }
  int room = capacity;
  for (int i = knapsack_items - 1; i >= 0; --i) {
    y[i] = taken[i][room];
    if (taken[i][room]) room -= weights[i];
  }
}

TEST(custom, knapsack_against_all_subsets) {
  const context_ptr context = make_context(2);
  for (int d = 0; d < 5; ++d) {
    test_case c;
    c.n = knapsack_items;
    c.batch = 3;
    c.samples = 700;
    c.epsilon = 0.6f;
    c.distribution = static_cast<perturb_distribution>(d % 4);
    c.mode = d == 4 ? PERTURB_MULTIPLICATIVE : PERTURB_ADDITIVE;
    c.baseline = static_cast<perturb_baseline>(d % 3);
    SCOPED_TRACE(distribution_name(c.distribution));
    watched_solver solver(c.n, c.n, solve_knapsack);
    prepared_case p(context.get(), c);
    p.oracle = solver.oracle();
    p.target = std::vector<float>(c.batch * c.n);
    for (int64_t b = 0; b < c.batch; ++b) solve_knapsack(p.cotangent.data() + b * c.n, p.target.data() + b * c.n);
    const perturb_noise noise = make_noise(c, p.factors);
    const std::vector<float> y = run_all(context.get(), p, PERTURB_OP_SAMPLE);
    std::vector<float> z(y.size());
    require(perturb_noise_fill(context.get(), &noise, c.batch, c.n, z.data()));
    std::vector<double> mean(c.batch * c.n);
    for (int64_t at = 0; at < c.batch * c.samples; ++at) {
      const int64_t b = at / c.samples;
      double best = 0, got = 0, weight = 0;
      for (int subset = 0; subset < 1 << knapsack_items; ++subset) {
        double value = 0;
        int heavy = 0;
        for (int i = 0; i < knapsack_items; ++i) {
          if (!(subset >> i & 1)) continue;
          value += reference::perturbed(c, p.theta[b * c.n + i], c.epsilon, z[at * c.n + i]);
          heavy += weights[i];
        }
        if (heavy <= capacity) best = std::max(best, value);
      }
      for (int i = 0; i < knapsack_items; ++i) {
        got += y[at * c.n + i] * reference::perturbed(c, p.theta[b * c.n + i], c.epsilon, z[at * c.n + i]);
        weight += y[at * c.n + i] * weights[i];
        mean[b * c.n + i] += y[at * c.n + i] / static_cast<double>(c.samples);
      }
      ASSERT_LE(weight, capacity);
      ASSERT_TRUE(near(best, got, 1e-5 * (1 + best))) << "row " << b << " sample " << at % c.samples;
    }
    const std::vector<float> expectation = run_all(context.get(), p, PERTURB_OP_EXPECTATION);
    for (int64_t b = 0; b < c.batch; ++b) {
      const auto row = expectation.begin() + b * (2 * c.n + 2);
      EXPECT_TRUE(all_within_one_ulp({mean.begin() + b * c.n, mean.begin() + (b + 1) * c.n}, {row, row + c.n}));
    }
    compare_with_formulas(context.get(), p);
  }
}

// LPGD by minimising over all subsets at each input, in double; costs are minus the values.
TEST(custom, knapsack_resolved_against_all_subsets) {
  const context_ptr context = make_context(2);
  const auto best = [](const std::vector<double>& value) {
    std::vector<double> y(knapsack_items);
    double most = -1;
    for (int subset = 0; subset < 1 << knapsack_items; ++subset) {
      double total = 0;
      int heavy = 0;
      for (int i = 0; i < knapsack_items; ++i)
        if (subset >> i & 1) total += value[i], heavy += weights[i];
      if (heavy > capacity || total <= most) continue;
      most = total;
      for (int i = 0; i < knapsack_items; ++i) y[i] = subset >> i & 1;
    }
    return y;
  };
  test_case c;
  c.n = knapsack_items;
  c.batch = 20;
  watched_solver solver(c.n, c.n, solve_knapsack);
  prepared_case p(context.get(), c);
  for (float& t : p.theta) t = 0.5f + std::abs(t);  // worth taking
  const oracle_ptr oracle = solver.oracle();
  std::vector<float> gradient(c.batch * c.n), loss(c.batch);
  int moved = 0;
  for (perturb_side side : {PERTURB_SIDE_LOWER, PERTURB_SIDE_UPPER, PERTURB_SIDE_AVERAGE})
    for (float tau : {0.1f, 1.0f, 7.0f})
      for (int32_t relative : {0, 1}) {
        const perturb_lpgd_options options = {sizeof options, tau, 0, side, relative, nullptr};
        require(perturb_lpgd(context.get(), oracle.get(), &options, c.batch, p.theta.data(), p.cotangent.data(), gradient.data()));
        for (int64_t b = 0; b < c.batch; ++b) {
          const float *theta = p.theta.data() + b * c.n, *g = p.cotangent.data() + b * c.n;
          double norms[2] = {};
          for (int i = 0; i < c.n; ++i) norms[0] += theta[i] * static_cast<double>(theta[i]), norms[1] += g[i] * static_cast<double>(g[i]);
          const double step = relative ? tau * std::sqrt(norms[0] / norms[1]) : tau;
          const auto at = [&](double sign) {
            std::vector<double> value(c.n);
            for (int i = 0; i < c.n; ++i) value[i] = theta[i] + sign * step * g[i];
            return best(value);
          };
          const std::vector<double> high = at(side == PERTURB_SIDE_LOWER ? 0 : 1), low = at(side == PERTURB_SIDE_UPPER ? 0 : -1);
          for (int i = 0; i < c.n; ++i) {
            const double expected = (high[i] - low[i]) / (side == PERTURB_SIDE_AVERAGE ? 2 * step : step);
            moved += expected != 0;
            EXPECT_TRUE(near(expected, gradient[b * c.n + i], 1e-6 * std::abs(expected)))
                << "side " << side << " tau " << tau << " row " << b << " item " << i;
          }
        }
      }
  EXPECT_GT(moved, 500);
  // SPO+ is 2 (y(2 theta - truth) - y(truth)) in theta, and <y(2 theta - truth) - y(truth), 2 theta - truth>.
  std::vector<float> truth = p.theta_true;
  for (float& t : truth) t = 0.5f + std::abs(t);
  require(perturb_spo_plus(context.get(), oracle.get(), c.batch, p.theta.data(), truth.data(), loss.data(), gradient.data()));
  for (int64_t b = 0; b < c.batch; ++b) {
    std::vector<double> reflected(c.n), actual(c.n);
    for (int i = 0; i < c.n; ++i) actual[i] = truth[b * c.n + i], reflected[i] = 2.0 * p.theta[b * c.n + i] - actual[i];
    const std::vector<double> first = best(reflected), second = best(actual);
    double expected = 0;
    for (int i = 0; i < c.n; ++i) {
      expected += (first[i] - second[i]) * reflected[i];
      EXPECT_EQ(gradient[b * c.n + i], 2 * (first[i] - second[i]));
    }
    EXPECT_TRUE(near(expected, loss[b], 1e-5 * (1 + expected)));
    EXPECT_GE(loss[b], 0.0f);
  }
}

// I-MLE of any y: the mean over samples of the differences of what perturb_sample gives at the two inputs.
TEST(custom, imle_is_a_difference_of_samples) {
  const context_ptr context = make_context(2);
  for (int64_t samples : {1, 128, 300})
    for (perturb_side side : {PERTURB_SIDE_LOWER, PERTURB_SIDE_UPPER, PERTURB_SIDE_AVERAGE}) {
      const test_case c = shape(6, 3, samples);
      watched_solver solver(c.n, c.n, smooth_solver(c.n, c.n));
      prepared_case p(context.get(), c);
      p.oracle = solver.oracle();
      const perturb_noise noise = make_noise(c, p.factors);
      const perturb_lpgd_options options = {sizeof options, 0.7f, 0, side, 0, nullptr};
      const auto sampled = [&](float step) {
        std::vector<float> theta = p.theta, y(c.batch * samples * c.n);
        for (size_t i = 0; i < theta.size(); ++i) theta[i] = step == 0 ? theta[i] : std::fmaf(step, p.cotangent[i], theta[i]);
        require(perturb_sample(context.get(), p.oracle.get(), &noise, c.batch, theta.data(), y.data()));
        return y;
      };
      const std::vector<float> high = sampled(side == PERTURB_SIDE_LOWER ? 0 : 0.7f), low = sampled(side == PERTURB_SIDE_UPPER ? 0 : -0.7f);
      std::vector<double> expected(c.batch * c.n), scale(c.batch * c.n);
      for (int64_t at = 0; at < static_cast<int64_t>(high.size()); ++at) {
        const int64_t entry = at / c.n / samples * c.n + at % c.n;
        const double term =
            (static_cast<double>(high[at]) - low[at]) / static_cast<double>(samples) / (side == PERTURB_SIDE_AVERAGE ? 1.4f : 0.7f);
        expected[entry] += term;
        scale[entry] += 1e-6 * std::abs(term);
      }
      std::vector<float> gradient(c.batch * c.n);
      require(perturb_imle(context.get(), p.oracle.get(), &noise, &options, c.batch, p.theta.data(), p.cotangent.data(), gradient.data()));
      EXPECT_TRUE(all_near(expected, gradient, scale)) << "side " << side << " samples " << samples;
    }
}

// The estimate is of the derivative of the expectation: normal noise, a difference of means over common random numbers.
TEST(custom, knapsack_gradient_is_that_of_the_expectation) {
  const context_ptr context = make_context(2);
  watched_solver solver(knapsack_items, knapsack_items, solve_knapsack);
  const oracle_ptr oracle = solver.oracle();
  constexpr int64_t rows = 64, n = knapsack_items;
  const std::vector<double> theta{0.9, 1.2, 0.4, 1.6, 0.8, 0.3, 1.1, 1.3}, g{1, -0.5, 0.25, 2, -1, 0.5, 0, 1};
  const perturb_noise noise = make_noise(PERTURB_NORMAL, 0.5f, 4000, 5);
  const std::vector<float> cotangent = repeated(g, rows);
  std::vector<float> gradient(rows * n);
  require(perturb_vjp(context.get(), oracle.get(), &noise, rows, repeated(theta, rows).data(), cotangent.data(), gradient.data()));
  const replicate_summary estimate = summarize_rows(gradient, n);
  // A step of epsilon / 10 has a bias of order 1/600 of the third derivative's scale: within the errors allowed.
  const double step = 0.05;
  for (int64_t j = 0; j < n; ++j) {
    std::vector<float> difference(rows);
    for (double side : {1.0, -1.0}) {
      std::vector<double> moved = theta;
      moved[j] += side * step;
      std::vector<float> mean(rows * n);
      require(perturb_expectation(context.get(), oracle.get(), &noise, rows, repeated(moved, rows).data(), mean.data(), nullptr, nullptr,
                                  nullptr));
      for (int64_t b = 0; b < rows; ++b)
        for (int64_t i = 0; i < n; ++i) difference[b] += static_cast<float>(side * g[i] * mean[b * n + i] / (2 * step));
    }
    const replicate_summary slope = summarize_rows(difference, 1);
    EXPECT_TRUE(within_errors(slope.mean[0], estimate.mean[j], std::hypot(slope.error[0], estimate.error[j]))) << j;
  }
}

}  // namespace
}  // namespace perturb::test
