// Argmax, top-k and ranks against closed forms at five exact standard errors, fixed seeds: means, values and derivatives under all
// distributions. The quadrature must agree with the independent tables of reference/tables.h first.
// test_statistics_losses.cpp goes on with paths, multiplicative noise, losses and properties, test_statistics_noise.cpp has the noise.
#include <gtest/gtest.h>

#include <numeric>

#include "compare.h"
#include "reference/tables.h"
#include "statistics.h"

namespace perturb::test {
namespace {

using namespace reference;

testing::AssertionResult agree(const doubles& expected, const doubles& actual, double tolerance) {
  for (size_t i = 0; i < expected.size(); ++i) {
    const auto one = near(expected[i], actual[i], tolerance);
    if (!one) return testing::AssertionFailure() << "entry " << i << ": " << one.message();
  }
  return testing::AssertionSuccess();
}

TEST(quadrature, meets_the_tables) {
  const double eps = 0.7;
  for (perturb_distribution d : all_distributions) EXPECT_TRUE(agree(argmax_table[d], inclusion(d, B, eps, 1), 2e-8)) << d;
  EXPECT_TRUE(agree(softmax(B, eps), inclusion(PERTURB_GUMBEL, B, eps, 1), 1e-9));
  EXPECT_TRUE(agree(top_2_gumbel, inclusion(PERTURB_GUMBEL, B, eps, 2), 1e-9));
  EXPECT_TRUE(agree(top_3_gumbel, inclusion(PERTURB_GUMBEL, B, eps, 3), 1e-9));
  EXPECT_TRUE(agree(top_2_normal, inclusion(PERTURB_NORMAL, B, eps, 2), 1e-9));
  EXPECT_TRUE(agree(top_3_normal, inclusion(PERTURB_NORMAL, B, eps, 3), 1e-9));
  EXPECT_TRUE(agree(rank_gumbel, rank_law(PERTURB_GUMBEL, B, eps).mean, 1e-9));
  EXPECT_TRUE(agree(rank_normal, rank_law(PERTURB_NORMAL, B, eps).mean, 1e-9));
  for (perturb_distribution d : all_distributions) {
    const doubles two{0.4, 0.1};
    EXPECT_TRUE(near(win(d, 0.3 / eps), inclusion(d, two, eps, 1)[0], 2e-8)) << d;
    EXPECT_TRUE(near(1, expect(d, [](double) { return 1.0; }), 1e-7));
  }
}

// ---------------------------------------------------------------- argmax

struct point {
  doubles theta;
  double eps;
  doubles gradient;  // of ||softmax||^2, where known
};
const point points[] = {{{-.6, 1.9, -.2, 1.1, -1}, .5, {-.0150807821, .4022585161, -.0332337189, -.3471379205, -.0068060946}},
                        {{-.6, 1, -.2, 1.8, -1}, .5, {-.0181443574, -.3421064187, -.0398942932, .4083420086, -.0081969393}},
                        {B, .7, {}}};

TEST(argmax, gumbel_is_softmax) {
  for (const point& at : points) {
    const int64_t M = 1000000, n = static_cast<int64_t>(at.theta.size());
    const doubles p = softmax(at.theta, at.eps);
    const oracle_ptr oracle = make_argmax(n);
    const means got = estimate_means(oracle.get(), at.theta, make_noise(PERTURB_GUMBEL, static_cast<float>(at.eps), M, 11));
    EXPECT_TRUE(all_within_errors(p, got.y, binary_errors(p, M)));
    // The maximum of Gumbel-perturbed scores is Gumbel of scale eps around the log-sum-exp: mean and variance are exact.
    const double F = log_sum_exp(at.theta, at.eps) + at.eps * euler_gamma;
    EXPECT_TRUE(within_errors(F, got.value, at.eps * std::numbers::pi / std::sqrt(6.0 * M)));
    EXPECT_EQ(std::accumulate(got.counts.begin(), got.counts.end(), int64_t{0}), M);
  }
  EXPECT_TRUE(near(2.0021465346881833, log_sum_exp(points[0].theta, .5), 1e-12));
  EXPECT_TRUE(near(1.595186241403598, log_sum_exp(B, .7) + .7 * euler_gamma, 1e-12));
}

// E[y_i S_j^2] for Gumbel argmax, from which every variance below follows.
doubles gumbel_second_moments(const doubles& p) {
  const size_t n = p.size();
  doubles moments(n * n);
  for (size_t i = 0; i < n; ++i)
    for (size_t j = 0; j < n; ++j) {
      const double eps_J = i == j ? p[i] * (1 - p[i]) : -p[i] * p[j], delta = i == j;
      moments[i * n + j] = p[i] - eps_J + p[i] * ((delta - p[j]) * (delta - p[j]) - p[j] * (1 - p[j]));
    }
  return moments;
}
// For normal noise: p_i + eps^2 d^2 p_i / d theta_j^2.
doubles normal_second_moments(const doubles& theta, double eps) {
  const size_t n = theta.size();
  const double h = 1e-3;
  const doubles p = inclusion(PERTURB_NORMAL, theta, eps, 1);
  doubles moments(n * n);
  for (size_t j = 0; j < n; ++j) {
    doubles up(theta), down(theta);
    up[j] += h;
    down[j] -= h;
    const doubles above = inclusion(PERTURB_NORMAL, up, eps, 1), below = inclusion(PERTURB_NORMAL, down, eps, 1);
    for (size_t i = 0; i < n; ++i) moments[i * n + j] = p[i] + eps * eps * (above[i] - 2 * p[i] + below[i]) / (h * h);
  }
  return moments;
}

doubles jacobian_errors(const doubles& p, const doubles& J, const doubles& moments, double eps, int64_t M, bool leave_one_out) {
  const size_t n = p.size();
  doubles errors(n * n);
  for (size_t i = 0; i < n; ++i)
    for (size_t j = 0; j < n; ++j) {
      const double second = moments[i * n + j], mean = J[i * n + j], m = static_cast<double>(M);
      const double mu22 = (1 - 2 * p[i]) * second + p[i] * p[i];  // Fisher information 1
      const double raw = (second / (eps * eps) - mean * mean) / m;
      const double loo = (mu22 / (eps * eps) - mean * mean) / m + (p[i] * (1 - p[i]) / (eps * eps) + mean * mean) / (m * (m - 1));
      errors[i * n + j] = std::sqrt(leave_one_out ? loo : raw);
    }
  return errors;
}

TEST(argmax, jacobian_raw_and_leave_one_out) {
  const int64_t M = 1000000;
  const oracle_ptr oracle = make_argmax(4);
  for (perturb_distribution d : {PERTURB_NORMAL, PERTURB_GUMBEL}) {
    const doubles& J = d == PERTURB_NORMAL ? J_argmax_normal : J_argmax_gumbel;
    const doubles& p = argmax_table[d];
    const doubles moments = d == PERTURB_NORMAL ? normal_second_moments(B, .7) : gumbel_second_moments(p);
    for (perturb_baseline baseline : {PERTURB_BASELINE_NONE, PERTURB_BASELINE_LEAVE_ONE_OUT}) {
      perturb_noise noise = make_noise(d, B_eps, M, 21);
      noise.baseline = baseline;
      const doubles errors = jacobian_errors(p, J, moments, .7, M, baseline == PERTURB_BASELINE_LEAVE_ONE_OUT);
      EXPECT_TRUE(all_within_errors(J, estimate_jacobian(oracle.get(), B, noise), errors)) << d << " baseline " << baseline;
    }
  }
  // The single-sample table of the same standard deviations (Normal and Gumbel, raw, entry (0, 0) and (2, 3)).
  const doubles normal = jacobian_errors(argmax_table[0], J_argmax_normal, normal_second_moments(B, .7), .7, 1, false);
  EXPECT_TRUE(near(.8229, normal[0], 1e-4));
  EXPECT_TRUE(near(.8181, normal[11], 1e-4));
  const doubles gumbel = jacobian_errors(argmax_table[1], J_argmax_gumbel, gumbel_second_moments(argmax_table[1]), .7, 1, false);
  EXPECT_TRUE(near(.5080, gumbel[0], 1e-4));
  EXPECT_TRUE(near(.9028, gumbel[11], 1e-4));
}

// The estimator is unbiased at few samples too, where a wrong divisor shows: 2 and 5 samples, many rows.
TEST(argmax, leave_one_out_is_unbiased_at_few_samples) {
  for (int64_t M : {2, 5}) {
    const int64_t rows = 1000000 / M;
    const oracle_ptr oracle = make_argmax(4);
    const std::vector<float> row(B.begin(), B.end());
    std::vector<float> theta(rows * 4), g(rows * 4), gradient(rows * 4);
    for (int64_t i = 0; i < rows * 4; ++i) {
      theta[i] = row[i % 4];
      g[i] = i % 4 == 0;
    }
    const perturb_noise noise = make_noise(PERTURB_GUMBEL, B_eps, M, 22);
    const context_ptr context = make_context(2);
    require(perturb_vjp(context.get(), oracle.get(), &noise, rows, theta.data(), g.data(), gradient.data()));
    const replicate_summary got = summarize_rows(gradient, 4);
    const doubles exact = jacobian_errors(argmax_table[1], J_argmax_gumbel, gumbel_second_moments(argmax_table[1]), .7, M, true);
    for (size_t j = 0; j < 4; ++j) {
      EXPECT_TRUE(within_errors(J_argmax_gumbel[j], got.mean[j], exact[j] / std::sqrt(rows))) << "M " << M;
      EXPECT_TRUE(near(1, got.deviation[j] / exact[j], 0.05)) << "spread of one row, M " << M;
    }
  }
}

TEST(argmax, vjp_of_the_squared_norm) {
  const int64_t M = 1000000;
  for (const point& at : points) {
    if (at.gradient.empty()) continue;
    const size_t n = at.theta.size();
    const doubles p = softmax(at.theta, at.eps), moments = gumbel_second_moments(p);
    doubles g(p), errors(n);
    double mean = 0;
    for (size_t i = 0; i < n; ++i) {
      g[i] = 2 * p[i];
      mean += g[i] * p[i];
    }
    for (size_t j = 0; j < n; ++j) {
      double second = 0;
      for (size_t i = 0; i < n; ++i) second += (g[i] - mean) * (g[i] - mean) * moments[i * n + j];
      errors[j] = std::sqrt((second / (at.eps * at.eps) - at.gradient[j] * at.gradient[j]) / static_cast<double>(M));
    }
    const oracle_ptr oracle = make_argmax(static_cast<int64_t>(n));
    const perturb_noise noise = make_noise(PERTURB_GUMBEL, static_cast<float>(at.eps), M, 31);
    EXPECT_TRUE(all_within_errors(at.gradient, estimate_vjp(oracle.get(), at.theta, g, noise), errors));
  }
}

TEST(argmax, table_of_distributions) {
  const int64_t M = 1000000;
  const oracle_ptr oracle = make_argmax(4);
  for (perturb_distribution d : all_distributions) {
    const means got = estimate_means(oracle.get(), B, make_noise(d, B_eps, M, 41));
    EXPECT_TRUE(all_within_errors(argmax_table[d], got.y, binary_errors(argmax_table[d], M))) << d;
    if (d == PERTURB_NORMAL) {
      EXPECT_TRUE(within_errors(.9573928561757874, got.value, got.value_error));
    }
  }
}

// Jacobians of the distributions without a table: quadrature differences against the estimate, with measured errors.
TEST(argmax, jacobian_of_logistic_and_laplace) {
  const int64_t M = 400000;
  const oracle_ptr oracle = make_argmax(4);
  for (perturb_distribution d : {PERTURB_LOGISTIC, PERTURB_LAPLACE}) {
    doubles J(16);
    const double h = 0.01;
    for (size_t j = 0; j < 4; ++j) {
      doubles up(B), down(B);
      up[j] += h;
      down[j] -= h;
      const doubles above = inclusion(d, up, .7, 1), below = inclusion(d, down, .7, 1);
      for (size_t i = 0; i < 4; ++i) J[i * 4 + j] = (above[i] - below[i]) / (2 * h);
    }
    const perturb_noise noise = make_noise(d, B_eps, M, 43);
    EXPECT_TRUE(all_within_errors(J, estimate_jacobian(oracle.get(), B, noise), measured_jacobian_errors(oracle.get(), B, noise))) << d;
  }
}

TEST(argmax, pair_wins) {
  const int64_t M = 400000;
  const doubles differences{0, 0.05, -0.3, 0.7, 1.5, -2.2, 4};
  const oracle_ptr oracle = make_argmax(2);
  const context_ptr context = make_context(2);
  for (perturb_distribution d : all_distributions) {
    const float eps = 0.6f;
    std::vector<float> theta, y(2 * differences.size());
    for (double t : differences) {
      theta.push_back(static_cast<float>(t) + 0.25f);
      theta.push_back(0.25f);
    }
    const perturb_noise noise = make_noise(d, eps, M, 51);
    require(perturb_expectation(context.get(), oracle.get(), &noise, static_cast<int64_t>(differences.size()), theta.data(), y.data(),
                                nullptr, nullptr, nullptr));
    for (size_t i = 0; i < differences.size(); ++i) {
      const double p = win(d, (static_cast<double>(theta[2 * i]) - theta[2 * i + 1]) / static_cast<double>(eps));
      EXPECT_TRUE(within_errors(p, y[2 * i], std::sqrt(p * (1 - p) / static_cast<double>(M)))) << d << " difference " << differences[i];
    }
  }
}

// Per-item amplitudes: two items with eps_1, eps_2 and normal noise give Phi(difference / hypot).
TEST(argmax, per_item_epsilon) {
  const int64_t M = 1000000;
  const oracle_ptr oracle = make_argmax(2);
  const std::vector<float> factors{0.5f, 2.0f};
  perturb_noise noise = make_noise(PERTURB_NORMAL, 0.4f, M, 61);
  noise.epsilon_per_item = factors.data();
  const double s = std::hypot(0.2, 0.8), a = 0.3 / s, p = normal_cdf(a), slope = normal_density(a) / s;
  const means got = estimate_means(oracle.get(), {0.5, 0.2}, noise);
  EXPECT_TRUE(all_within_errors({p, 1 - p}, got.y, binary_errors({p, 1 - p}, M)));
  const std::vector<float> J = estimate_jacobian(oracle.get(), {0.5, 0.2}, noise);
  EXPECT_TRUE(all_within_errors({slope, -slope, -slope, slope}, J, measured_jacobian_errors(oracle.get(), {0.5, 0.2}, noise)));
}

// ---------------------------------------------------------------- top-k

TEST(top_k, tables) {
  const int64_t M = 1000000;
  struct row {
    perturb_distribution d;
    int64_t k;
    doubles p;
  };
  for (const row& r : {row{PERTURB_GUMBEL, 2, top_2_gumbel}, row{PERTURB_GUMBEL, 3, top_3_gumbel}, row{PERTURB_NORMAL, 2, top_2_normal},
                       row{PERTURB_NORMAL, 3, top_3_normal}}) {
    const oracle_ptr oracle = make_top_k(4, r.k);
    const means got = estimate_means(oracle.get(), B, make_noise(r.d, B_eps, M, 71));
    EXPECT_TRUE(all_within_errors(r.p, got.y, binary_errors(r.p, M))) << r.d << " k " << r.k;
    EXPECT_EQ(std::accumulate(got.counts.begin(), got.counts.end(), int64_t{0}), r.k * M);
    // Gumbel: sums of the order statistics 1.191135276, .3663781018, -.1587605576 (centred).
    if (r.d == PERTURB_GUMBEL) {
      const double F = r.k == 2 ? 1.5575133778 : 1.191135276 + .3663781018 - .1587605576;
      EXPECT_TRUE(within_errors(F + static_cast<double>(r.k) * .7 * euler_gamma, got.value, got.value_error));
    }
  }
  for (perturb_distribution d : {PERTURB_LOGISTIC, PERTURB_LAPLACE}) {
    const oracle_ptr oracle = make_top_k(4, 2);
    const doubles p = inclusion(d, B, .7, 2);
    EXPECT_TRUE(all_within_errors(p, estimate_means(oracle.get(), B, make_noise(d, B_eps, M, 72)).y, binary_errors(p, M))) << d;
  }
}

TEST(top_k, jacobians) {
  const int64_t M = 1000000;
  const oracle_ptr oracle = make_top_k(4, 2);
  for (perturb_distribution d : {PERTURB_NORMAL, PERTURB_GUMBEL}) {
    const perturb_noise noise = make_noise(d, B_eps, M, 73);
    EXPECT_TRUE(all_within_errors(d == PERTURB_NORMAL ? J_top_2_normal : J_top_2_gumbel, estimate_jacobian(oracle.get(), B, noise),
                                  measured_jacobian_errors(oracle.get(), B, noise)))
        << d;
  }
}

TEST(top_k, plackett_luce) {
  const int64_t M = 1000000;
  const oracle_ptr small = make_top_k(3, 2);
  const doubles p{.30989286, .86783323, .82227391};
  EXPECT_TRUE(
      all_within_errors(p, estimate_means(small.get(), {-.5, .2, .1}, make_noise(PERTURB_GUMBEL, .5f, M, 74)).y, binary_errors(p, M)));
  // 40 items, 7 chosen: inclusion by quadrature.
  doubles theta(40);
  for (size_t i = 0; i < theta.size(); ++i) theta[i] = 2 * uniform(8, i);
  for (double& t : theta) t = static_cast<float>(t);
  const oracle_ptr large = make_top_k(40, 7);
  const doubles q = inclusion(PERTURB_GUMBEL, theta, .5, 7);
  const int64_t fewer = 200000;
  EXPECT_TRUE(
      all_within_errors(q, estimate_means(large.get(), theta, make_noise(PERTURB_GUMBEL, .5f, fewer, 75)).y, binary_errors(q, fewer)));
}

// ---------------------------------------------------------------- ranks

TEST(rank, means_of_all_distributions) {
  const int64_t M = 500000;  // so that counts of ranks up to 9 are recovered from float means
  const doubles nine{-.8, .6, 1.2, -1, -.7, .6, 1.1, -1, .4};
  for (perturb_distribution d : all_distributions)
    for (const doubles& theta : {B, nine}) {
      const double eps = theta.size() == 4 ? .7 : .5;
      const int64_t n = static_cast<int64_t>(theta.size());
      const rank_moments law = rank_law(d, theta, eps);
      const oracle_ptr oracle = make_rank(n);
      const means got = estimate_means(oracle.get(), theta, make_noise(d, static_cast<float>(eps), M, 81));
      doubles errors(law.variance);
      for (double& e : errors) e = std::sqrt(e / static_cast<double>(M));
      EXPECT_TRUE(all_within_errors(law.mean, got.y, errors)) << d;
      EXPECT_EQ(std::accumulate(got.counts.begin(), got.counts.end(), int64_t{0}), M * n * (n + 1) / 2);
      if (n == 4 && d == PERTURB_NORMAL) {
        EXPECT_TRUE(within_errors(4.329612374884479, got.value, got.value_error));
      }
    }
  EXPECT_TRUE(near(2.764973, rank_law(PERTURB_NORMAL, nine, .5).mean[0], 1e-6));
  EXPECT_TRUE(near(5.914891, rank_law(PERTURB_NORMAL, nine, .5).mean[8], 1e-6));
}

// F of Gumbel ranks is 10 gamma eps above the centred value (ranks sum to 10); ranks from 0 drop sum(theta) and sum to 6.
TEST(rank, value) {
  const int64_t M = 1000000;
  // F = sum theta + sum over pairs of E max; Gumbel pairs are log-sum-exp. Sum theta = .7.
  double pairs = 0;
  for (size_t i = 0; i < 4; ++i)
    for (size_t j = i + 1; j < 4; ++j) pairs += log_sum_exp({B[i], B[j]}, .7);
  for (int32_t base : {0, 1}) {
    const oracle_ptr oracle = make_rank(4, 0, base);
    const means got = estimate_means(oracle.get(), B, make_noise(PERTURB_GUMBEL, B_eps, M, 82));
    const double mean_noise = (base ? 10 : 6) * .7 * euler_gamma;
    EXPECT_TRUE(within_errors((base ? .7 : 0) + pairs + mean_noise, got.value, got.value_error)) << base;
  }
  EXPECT_TRUE(near(4.847401473944875, .7 + pairs, 1e-9));
}

// Descending ranks are d + 1 - ascending ranks of the same scores.
TEST(rank, descending) {
  const int64_t M = 200000;
  const perturb_noise noise = make_noise(PERTURB_GUMBEL, B_eps, M, 83);
  const oracle_ptr up = make_rank(4, 0), down = make_rank(4, 1);
  const means ascending = estimate_means(up.get(), B, noise), descending = estimate_means(down.get(), B, noise);
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(ascending.counts[i] + descending.counts[i], 5 * M);
  const std::vector<float> J_up = estimate_jacobian(up.get(), B, noise), J_down = estimate_jacobian(down.get(), B, noise);
  for (size_t i = 0; i < 16; ++i) EXPECT_TRUE(near(-J_up[i], J_down[i], 1e-5));
}

TEST(rank, jacobians) {
  const int64_t M = 1000000;
  const oracle_ptr oracle = make_rank(4);
  for (perturb_distribution d : {PERTURB_NORMAL, PERTURB_GUMBEL}) {
    const perturb_noise noise = make_noise(d, B_eps, M, 84);
    EXPECT_TRUE(all_within_errors(d == PERTURB_NORMAL ? J_rank_normal : J_rank_gumbel, estimate_jacobian(oracle.get(), B, noise),
                                  measured_jacobian_errors(oracle.get(), B, noise)))
        << d;
  }
}

// Two far items and two close ones: ranks 1, 4 and the closed form; slope 2.65003532.
TEST(rank, close_pair) {
  const int64_t M = 1000000;
  const oracle_ptr oracle = make_rank(4);
  const doubles theta{1, 20, 7.3f, 7.35f};
  const perturb_noise noise = make_noise(PERTURB_NORMAL, .1f, M, 85);
  const means got = estimate_means(oracle.get(), theta, noise);
  const double p = 2.6381631951 - 2, error = std::sqrt(p * (1 - p) / M);
  EXPECT_TRUE(all_within_errors({1, 4, 2.3618368049, 2.6381631951}, got.y, {0, 0, error, error}));
  const doubles J{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2.65003532, -2.65003532, 0, 0, -2.65003532, 2.65003532};
  EXPECT_TRUE(all_within_errors(J, estimate_jacobian(oracle.get(), theta, noise), measured_jacobian_errors(oracle.get(), theta, noise)));
}

// 100 items and 600 items (networks below, another sort above 512): every mean rank.
TEST(rank, many_items) {
  for (int64_t n : {100, 600}) {
    const int64_t M = n == 100 ? 100000 : 10000;
    doubles theta(n);
    for (int64_t i = 0; i < n; ++i) theta[i] = uniform_float(9, i, -2, 2);
    const rank_moments law = rank_law(PERTURB_NORMAL, theta, 1);
    doubles errors(law.variance);
    for (double& e : errors) e = std::sqrt(e / static_cast<double>(M));
    const oracle_ptr oracle = make_rank(n);
    EXPECT_TRUE(all_within_errors(law.mean, estimate_means(oracle.get(), theta, make_noise(PERTURB_NORMAL, 1, M, 86)).y, errors)) << n;
  }
}

}  // namespace
}  // namespace perturb::test
