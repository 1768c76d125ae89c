// Beyond the selections: a grid path with a closed form, multiplicative noise, exact zeros, the Fenchel-Young loss with its gradients, and
// properties (convexity, symmetry, extremes of epsilon). Five standard errors, fixed seeds, as in test_statistics.cpp.
#include <gtest/gtest.h>

#include "compare.h"
#include "reference/tables.h"
#include "statistics.h"

namespace perturb::test {
namespace {

using namespace reference;

// ---------------------------------------------------------------- a grid with a closed form

// On a 2 x n grid with positive costs the path takes the cheaper cell of each inner column.
TEST(grid_path, two_rows) {
  const int64_t M = 400000;
  const doubles cost{3, 2.5, 4, 3, 2.8, 3.1f, 3.7f, 2};
  const double eps = .5;
  perturb_grid_path_options options = PERTURB_GRID_PATH_OPTIONS_INIT;
  options.height = 2;
  options.width = 4;
  options.target = 7;
  const oracle_ptr oracle = make_grid(options);
  const perturb_noise noise = make_noise(PERTURB_NORMAL, .5f, M, 91);
  const means got = estimate_means(oracle.get(), cost, noise);
  const doubles p{.8019280454, .3356866203};
  const doubles y{1, p[0], p[1], 0, 0, 1 - p[0], 1 - p[1], 1};
  EXPECT_TRUE(all_within_errors(y, got.y, binary_errors(y, M)));
  EXPECT_TRUE(within_errors(10.964923073, got.value, got.value_error + 2e-5 * 10.96 / 5));
  const doubles own{-.3936217159, -.5156304548};
  for (int column : {1, 2}) {
    doubles g(8), expected(8), errors(8);
    g[column] = 1;
    const double a = (cost[4 + column] - cost[column]) / (eps * std::numbers::sqrt2), q = p[column - 1];
    for (int row : {0, 1}) {
      const int j = row * 4 + column;
      expected[j] = row == 0 ? own[column - 1] : -own[column - 1];
      const double second = q - a * normal_density(a) / 2;  // E[y z^2], the same for both cells
      const double mu22 = (1 - 2 * q) * second + q * q;
      errors[j] = std::sqrt((mu22 / (eps * eps) - expected[j] * expected[j]) / static_cast<double>(M));
    }
    for (int j = 0; j < 8; ++j)
      if (j % 4 != column) errors[j] = std::sqrt(q * (1 - q) / (eps * eps) / static_cast<double>(M));  // y and z_j are independent
    EXPECT_TRUE(all_within_errors(expected, estimate_vjp(oracle.get(), cost, g, noise), errors)) << column;
  }
}

// Two disjoint routes around a wall: Gumbel noise is subtracted from costs, so the difference of sums decides.
TEST(grid_path, gumbel_noise_is_subtracted) {
  const int64_t M = 400000;
  // 3 x 3, centre walled off, 4 neighbours: from the middle left to the middle right, over the top or the bottom (3 cells each).
  const std::vector<uint8_t> passable{1, 1, 1, 1, 0, 1, 1, 1, 1};
  perturb_grid_path_options options = PERTURB_GRID_PATH_OPTIONS_INIT;
  options.height = options.width = 3;
  options.connectivity = PERTURB_CONNECT_4;
  options.passable = passable.data();
  options.source = 3;
  options.target = 5;
  const oracle_ptr oracle = make_grid(options);
  // eps 0 on all cells but one of each route: P(top) = P(c_top - eps Z_1 < c_bottom - eps Z_7) = sigmoid((c_bottom - c_top) / eps).
  const std::vector<float> factors{0, 1, 0, 0, 0, 0, 0, 1, 0};
  const doubles cost{20, 20.5, 20, 20, 1, 20, 20, 21, 20};
  perturb_noise noise = make_noise(PERTURB_GUMBEL, .5f, M, 92);
  noise.epsilon_per_item = factors.data();
  const double p = 1 / (1 + std::exp(-1.0));
  const doubles y{p, p, p, 1, 0, 1, 1 - p, 1 - p, 1 - p};
  const means got = estimate_means(oracle.get(), cost, noise);
  EXPECT_TRUE(all_within_errors(y, got.y, binary_errors(y, M)));
  // E min = 100 - eps (log-sum-exp of negated costs over eps + gamma): the minimum of Gumbel-perturbed costs, all other cells fixed.
  const double F = 100 - (log_sum_exp({-20.5, -21}, .5) + .5 * euler_gamma) - 20;
  EXPECT_TRUE(within_errors(F, got.value, .5 * std::numbers::pi / std::sqrt(6.0 * M) + 2e-5 * F / 5));
}

// ---------------------------------------------------------------- multiplicative noise

TEST(multiplicative, argmax_identities) {
  const int64_t M = 1000000;
  const doubles theta{1.5, .8f, 1.1f}, p{.598744182, .1152797087, .2859761093}, weighted{.7355547154, .2085433666, .4248982215};
  perturb_noise noise = make_noise(PERTURB_NORMAL, .5f, M, 101);
  noise.mode = PERTURB_MULTIPLICATIVE;
  const oracle_ptr oracle = make_argmax(3);
  const means got = estimate_means(oracle.get(), theta, noise);
  EXPECT_TRUE(all_within_errors(p, got.y, binary_errors(p, M)));
  EXPECT_TRUE(within_errors(1.7375548100, got.value, got.value_error));
  // Gradient of the loss with target e_0: E[W y] - e_0.
  const replicate_summary loss = replicate_fenchel_young(oracle.get(), theta, {1, 0, 0}, noise, 400).gradient;
  EXPECT_TRUE(within_errors(weighted[0] - 1, loss.mean[0], loss.error[0]));
  EXPECT_TRUE(within_errors(weighted[1], loss.mean[1], loss.error[1]));
  EXPECT_TRUE(within_errors(weighted[2], loss.mean[2], loss.error[2]));
  // Girsanov: E[W_i 1(i wins)] is the win probability with the mean of Z_i shifted by eps, here by quadrature on shifted logs.
  for (size_t i = 0; i < 3; ++i) {
    doubles logs(3);
    for (size_t j = 0; j < 3; ++j) logs[j] = std::log(theta[j]);
    EXPECT_TRUE(near(p[i], inclusion(PERTURB_NORMAL, logs, .5, 1)[i], 1e-7));
    logs[i] += .25;  // eps * eps
    EXPECT_TRUE(near(weighted[i], inclusion(PERTURB_NORMAL, logs, .5, 1)[i], 1e-7));
  }
  const doubles J{.39257, -.23623, -.36352, -.12599, .3775, -.10274, -.26658, -.14127, .46626};
  EXPECT_TRUE(all_within_errors(J, estimate_jacobian(oracle.get(), theta, noise), measured_jacobian_errors(oracle.get(), theta, noise)));
}

// Signs are kept, a zero stays zero with a zero gradient and finite everything.
TEST(multiplicative, zero_input) {
  perturb_noise noise = make_noise(PERTURB_NORMAL, 1, 10000, 102);
  noise.mode = PERTURB_MULTIPLICATIVE;
  const oracle_ptr oracle = make_argmax(3);
  const means got = estimate_means(oracle.get(), {1, 0, -2}, noise);
  EXPECT_TRUE(same_bits({1, 0, 0}, got.y));
  const std::vector<float> gradient = estimate_vjp(oracle.get(), {1, 0, -2}, {.3, .2, .1}, noise);
  EXPECT_TRUE(all_near({0, 0, 0}, gradient, 0.0));
}

// ---------------------------------------------------------------- exact zeros

TEST(leave_one_out, constants_have_zero_derivatives) {
  const context_ptr context = make_context(2);
  const auto check = [&](const oracle_ptr& oracle, const std::vector<float>& theta, float eps) {
    const size_t n = theta.size();
    for (perturb_distribution d : all_distributions) {
      const perturb_noise noise = make_noise(d, eps, 333, 111);
      std::vector<float> g(n), gradient(n), derivative(n), jacobian(n * n), mean(n), error(n);
      for (size_t i = 0; i < n; ++i) g[i] = 0.1f * static_cast<float>(i + 1);
      require(perturb_vjp(context.get(), oracle.get(), &noise, 1, theta.data(), g.data(), gradient.data()));
      require(perturb_jvp(context.get(), oracle.get(), &noise, 1, theta.data(), g.data(), derivative.data()));
      require(perturb_jacobian(context.get(), oracle.get(), &noise, 1, theta.data(), jacobian.data()));
      require(perturb_expectation(context.get(), oracle.get(), &noise, 1, theta.data(), mean.data(), error.data(), nullptr, nullptr));
      EXPECT_TRUE(all_near(doubles(n), gradient, 0.0)) << d;
      EXPECT_TRUE(all_near(doubles(n), derivative, 0.0)) << d;
      EXPECT_TRUE(all_near(doubles(n * n), jacobian, 0.0)) << d;
      EXPECT_TRUE(all_near(doubles(n), error, 0.0)) << d;
    }
  };
  check(make_argmax(1), {.3f}, 1);
  check(make_top_k(5, 5), {.3f, -1, 2, 0, 7}, 1);
  check(make_rank(1), {.3f}, 1);
  check(make_argmax(4), {0, 1000, 2000, -1000}, .1f);
  check(make_rank(4), {0, 1000, 2000, -1000}, .1f);
  check(make_top_k(4, 2), {0, 1000, 2000, -1000}, .1f);
  perturb_grid_path_options options = PERTURB_GRID_PATH_OPTIONS_INIT;
  options.height = 1;
  options.width = 6;
  options.target = 5;
  check(make_grid(options), {1, 2, 3, 4, 5, 6}, .1f);
}

// ---------------------------------------------------------------- Fenchel-Young

TEST(fenchel_young, gumbel_argmax) {
  const oracle_ptr oracle = make_argmax(4);
  const perturb_noise noise = make_noise(PERTURB_GUMBEL, B_eps, 2500, 121);
  const fenchel_young_replicates got = replicate_fenchel_young(oracle.get(), B, {0, 1, 0, 0}, noise, 400);
  EXPECT_TRUE(within_errors(1.391135275972525, got.loss.mean[0], got.loss.error[0]));
  const doubles& p = argmax_table[PERTURB_GUMBEL];
  for (size_t i = 0; i < 4; ++i) EXPECT_TRUE(within_errors(p[i] - (i == 1), got.gradient.mean[i], std::sqrt(p[i] * (1 - p[i]) / 1e6)));
  // d loss / d eps = E<y - t, Z> = (F - <theta, p>) / eps - gamma = the entropy of p.
  double entropy = 0;
  for (double q : p) entropy -= q * std::log(q);
  EXPECT_TRUE(within_errors(entropy, got.epsilon_gradient.mean[0], got.epsilon_gradient.error[0]));
}

// Ranks with normal noise: loss = F - <theta, t> and d loss / d eps = (F - <theta, E rank>) / eps.
TEST(fenchel_young, normal_ranks) {
  const oracle_ptr oracle = make_rank(4);
  const perturb_noise noise = make_noise(PERTURB_NORMAL, B_eps, 2500, 122);
  const doubles target{2, 1, 4, 3};
  const fenchel_young_replicates got = replicate_fenchel_young(oracle.get(), B, target, noise, 400);
  double F = 0, inner = 0, at_target = 0;
  for (size_t i = 0; i < 4; ++i) {
    F += B[i];
    inner += B[i] * rank_normal[i];
    at_target += B[i] * target[i];
    for (size_t j = i + 1; j < 4; ++j) {
      const double a = (B[i] - B[j]) / (.7 * std::numbers::sqrt2);
      F += B[i] * normal_cdf(a) + B[j] * normal_cdf(-a) + .7 * std::numbers::sqrt2 * normal_density(a);
    }
  }
  EXPECT_TRUE(within_errors(F - at_target, got.loss.mean[0], got.loss.error[0]));
  EXPECT_TRUE(within_errors((F - inner) / .7, got.epsilon_gradient.mean[0], got.epsilon_gradient.error[0]));
  for (size_t i = 0; i < 4; ++i) EXPECT_TRUE(within_errors(rank_normal[i] - target[i], got.gradient.mean[i], got.gradient.error[i]));
}

// Sample by sample >= 0, whatever the target; 0 where the target is the solution of every sample.
TEST(fenchel_young, never_negative) {
  const context_ptr context = make_context(2);
  const auto losses = [&](const oracle_ptr& oracle, const std::vector<float>& theta, const std::vector<float>& target, perturb_mode mode) {
    const int64_t rows = 2000, n = static_cast<int64_t>(theta.size());
    std::vector<float> all_theta, all_targets, loss(rows);
    for (int64_t b = 0; b < rows; ++b) {
      all_theta.insert(all_theta.end(), theta.begin(), theta.end());
      all_targets.insert(all_targets.end(), target.begin(), target.end());
    }
    perturb_noise noise = make_noise(PERTURB_NORMAL, .3f, 1, 123);
    noise.mode = mode;
    require(perturb_fenchel_young(context.get(), oracle.get(), &noise, rows, all_theta.data(), all_targets.data(), loss.data(), nullptr,
                                  nullptr));
    count(rows);
    EXPECT_GE(*std::min_element(loss.begin(), loss.end()), 0.0f) << n;
    return loss;
  };
  for (perturb_mode mode : {PERTURB_ADDITIVE, PERTURB_MULTIPLICATIVE}) {
    losses(make_argmax(4), {.3f, -.2f, .5f, .1f}, {0, 0, 1, 0}, mode);
    losses(make_top_k(4, 2), {.3f, -.2f, .5f, .1f}, {1, 0, 1, 0}, mode);
    losses(make_rank(4), {.3f, -.2f, .5f, .1f}, {3, 1, 4, 2}, mode);
    losses(make_rank(4, 1), {.3f, -.2f, .5f, .1f}, {2, 4, 1, 3}, mode);
    perturb_grid_path_options options = PERTURB_GRID_PATH_OPTIONS_INIT;
    options.height = options.width = 2;
    options.target = 3;
    losses(make_grid(options), {3, 1, 2, 4}, {1, 0, 0, 1}, mode);
    for (float loss : losses(make_argmax(2), {1000, 1}, {1, 0}, mode)) EXPECT_EQ(loss, 0.0f);
  }
}

// With common random numbers the loss is convex and almost smooth in epsilon: its difference quotient is the mean of the gradient.
TEST(fenchel_young, epsilon_gradient_is_a_derivative) {
  const context_ptr context = make_context(2);
  const auto check = [&](const oracle_ptr& oracle, const std::vector<float>& theta, const std::vector<float>& target,
                         perturb_distribution d, perturb_mode mode, const std::vector<float>& factors, float eps) {
    const float h = eps / 64;
    float loss[3], gradient = 0;
    for (int side : {-1, 0, 1}) {
      perturb_noise noise = make_noise(d, eps + static_cast<float>(side) * h, 200000, 124);
      noise.mode = mode;
      noise.epsilon_per_item = factors.empty() ? nullptr : factors.data();
      require(perturb_fenchel_young(context.get(), oracle.get(), &noise, 1, theta.data(), target.data(), &loss[side + 1], nullptr,
                                    side == 0 ? &gradient : nullptr));
    }
    const double quotient = (static_cast<double>(loss[2]) - loss[0]) / (2.0 * h);
    double scale = 0;
    for (float t : theta) scale += std::abs(t);
    EXPECT_TRUE(near(quotient, gradient, 2e-3 * (1 + std::abs(quotient)) + 2e-7 * scale / h)) << "distribution " << d << " mode " << mode;
  };
  const std::vector<float> theta{.3f, -.2f, .5f, .1f}, positive{1.5f, .8f, 1.1f, .4f}, factors{.5f, 1, 1.5f, 0};
  for (perturb_distribution d : all_distributions) {
    check(make_argmax(4), theta, {0, 1, 0, 0}, d, PERTURB_ADDITIVE, {}, .7f);
    check(make_argmax(4), theta, {0, 1, 0, 0}, d, PERTURB_ADDITIVE, factors, .7f);
    check(make_top_k(4, 2), theta, {0, 1, 0, 1}, d, PERTURB_ADDITIVE, {}, .7f);
    check(make_rank(4), theta, {4, 1, 2, 3}, d, PERTURB_ADDITIVE, factors, .7f);
    check(make_rank(4, 1), theta, {4, 1, 2, 3}, d, PERTURB_ADDITIVE, {}, .7f);
  }
  perturb_grid_path_options options = PERTURB_GRID_PATH_OPTIONS_INIT;
  options.height = 2;
  options.width = 3;
  options.target = 5;
  check(make_grid(options), {9, 8, 7, 8, 8.5f, 9}, {1, 1, 0, 0, 0, 1}, PERTURB_NORMAL, PERTURB_ADDITIVE, {}, .5f);
  check(make_grid(options), {9, 8, 7, 8, 8.5f, 9}, {1, 1, 0, 0, 0, 1}, PERTURB_NORMAL, PERTURB_MULTIPLICATIVE, {}, .2f);
  check(make_argmax(4), positive, {0, 1, 0, 0}, PERTURB_NORMAL, PERTURB_MULTIPLICATIVE, {}, .7f);
  check(make_argmax(4), positive, {0, 1, 0, 0}, PERTURB_NORMAL, PERTURB_MULTIPLICATIVE, factors, .7f);
  check(make_rank(4), positive, {4, 1, 2, 3}, PERTURB_NORMAL, PERTURB_MULTIPLICATIVE, {}, .7f);
}

// ---------------------------------------------------------------- properties

TEST(properties, value_is_convex_and_bounded_in_epsilon) {
  const oracle_ptr oracle = make_argmax(4);
  const double F_1_at_0 = 1.0293753730;  // E max of four normals
  double before = 0, slope_before = 0;
  for (int step = 0; step <= 8; ++step) {
    const float eps = 0.25f * static_cast<float>(step);
    const means got = estimate_means(oracle.get(), B, make_noise(PERTURB_NORMAL, eps, 100000, 131));
    EXPECT_GE(got.value, .5 - 5 * got.value_error - 1e-6);
    EXPECT_LE(got.value, .5 + eps * F_1_at_0 + 5 * got.value_error + 1e-6);
    const double slope = step > 0 ? got.value - before : 0;
    EXPECT_GE(slope, -0.25 * 0.02);                         // common noise: its mean is within 5 / sqrt(M) of 0
    EXPECT_TRUE(step < 2 || slope >= slope_before - 1e-5);  // convex sample by sample
    slope_before = slope;
    before = got.value;
    count(4);
  }
}

TEST(properties, shift_leaves_y_alone) {
  const perturb_noise noise = make_noise(PERTURB_LOGISTIC, .5f, 20000, 132);
  // Multiples of 1/8 and a shift of 64: every perturbed score may round differently, the law may not.
  const doubles theta{.25, -.125, .5, 0, 1}, shifted{64.25, 63.875, 64.5, 64, 65};
  const oracle_ptr oracle = make_rank(5);
  const means here = estimate_means(oracle.get(), theta, noise), there = estimate_means(oracle.get(), shifted, noise);
  for (size_t i = 0; i < 5; ++i) EXPECT_TRUE(near(here.y[i], there.y[i], 2e-3));
}

TEST(properties, tiny_epsilon_is_hard) {
  const context_ptr context = make_context(2);
  const std::vector<float> theta{.3f, -.2f, .5f, .1f, -1, 2, .25f, 1};
  for (perturb_distribution d : all_distributions) {
    const perturb_noise noise = make_noise(d, 1e-8f, 1000, 141);
    for (const oracle_ptr& oracle : {make_argmax(8), make_top_k(8, 3), make_rank(8), make_rank(8, 1, 0)}) {
      std::vector<float> hard(8), soft(8), gradient(8);
      require(perturb_solve(context.get(), oracle.get(), 1, theta.data(), hard.data(), nullptr));
      require(perturb_expectation(context.get(), oracle.get(), &noise, 1, theta.data(), soft.data(), nullptr, nullptr, nullptr));
      EXPECT_TRUE(same_bits(hard, soft)) << d;
      require(perturb_vjp(context.get(), oracle.get(), &noise, 1, theta.data(), theta.data(), gradient.data()));
      EXPECT_TRUE(all_near(doubles(8), gradient, 0.0)) << d;
    }
  }
}

// Ties at an amplitude that rounds away: stable ranks of the jaxopt test.
TEST(properties, vanishing_epsilon_keeps_ties_stable) {
  const doubles theta{-.8f, .6f, 1.2f, -1, -.7f, .6f, 1.1f, -1, .4f};
  const oracle_ptr oracle = make_rank(9);
  const means got = estimate_means(oracle.get(), theta, make_noise(PERTURB_NORMAL, 1e-12f, 100, 142));
  EXPECT_TRUE(same_bits({3, 6, 9, 1, 4, 7, 8, 2, 5}, got.y));
}

TEST(properties, huge_epsilon_is_finite) {
  const context_ptr context = make_context(2);
  const std::vector<float> theta{.3f, -.2f, .5f, .1f};
  const int64_t M = 100000;
  for (perturb_distribution d : all_distributions) {
    const perturb_noise noise = make_noise(d, 1e8f, M, 143);
    const oracle_ptr oracle = make_argmax(4);
    const means got = estimate_means(oracle.get(), B, noise);
    EXPECT_TRUE(all_within_errors(doubles(4, .25), got.y, binary_errors(doubles(4, .25), M))) << d;
    const double F_1 = d == PERTURB_NORMAL ? 1.0293753730 : d == PERTURB_GUMBEL ? std::log(4.0) + euler_gamma : 0;
    if (F_1 > 0) {
      EXPECT_TRUE(within_errors(1e8 * F_1, got.value, got.value_error)) << d;
    }
    std::vector<float> gradient(4), loss(1), loss_gradient(4), loss_eps(1);
    const std::vector<float> target{0, 1, 0, 0};
    require(perturb_vjp(context.get(), oracle.get(), &noise, 1, theta.data(), theta.data(), gradient.data()));
    require(perturb_fenchel_young(context.get(), oracle.get(), &noise, 1, theta.data(), target.data(), loss.data(), loss_gradient.data(),
                                  loss_eps.data()));
    for (float g : gradient) EXPECT_TRUE(near(0, g, 1e-8)) << d;
    EXPECT_TRUE(std::isfinite(loss[0]) && std::isfinite(loss_eps[0]));
  }
}

// Equal rows of a batch see different noise: close, but not the same.
TEST(properties, equal_rows_are_independent) {
  const context_ptr context = make_context(2);
  const oracle_ptr oracle = make_argmax(5);
  const std::vector<float> theta{-.6f, 1.9f, -.2f, 1.1f, -1, -.6f, 1.9f, -.2f, 1.1f, -1};
  const perturb_noise noise = make_noise(PERTURB_GUMBEL, .5f, 100000, 151);
  std::vector<float> y(10);
  require(perturb_expectation(context.get(), oracle.get(), &noise, 2, theta.data(), y.data(), nullptr, nullptr, nullptr));
  bool all_equal = true;
  const doubles p = softmax({-.6, 1.9, -.2, 1.1, -1}, .5);
  for (size_t i = 0; i < 5; ++i) {
    EXPECT_TRUE(within_errors(0, static_cast<double>(y[i]) - y[5 + i], std::sqrt(2 * p[i] * (1 - p[i]) / 1e5)));
    all_equal = all_equal && y[i] == y[5 + i];
  }
  EXPECT_FALSE(all_equal);
}

// Symmetric noise: ranks of -theta are n + 1 - ranks, chosen of -theta are the ones not among the n - k (in law).
TEST(properties, reflection) {
  const int64_t M = 400000;
  const doubles minus{-.3, .2, -.5, -.1};
  for (perturb_distribution d : {PERTURB_NORMAL, PERTURB_LOGISTIC, PERTURB_LAPLACE}) {
    const oracle_ptr rank = make_rank(4), top_1 = make_top_k(4, 1), top_3 = make_top_k(4, 3);
    const perturb_noise one = make_noise(d, B_eps, M, 161), other = make_noise(d, B_eps, M, 162);
    const means a = estimate_means(rank.get(), B, one), b = estimate_means(rank.get(), minus, other);
    const means c = estimate_means(top_1.get(), B, one), e = estimate_means(top_3.get(), minus, other);
    const rank_moments law = rank_law(d, B, .7);
    for (size_t i = 0; i < 4; ++i) {
      EXPECT_TRUE(within_errors(5, static_cast<double>(a.y[i]) + b.y[i], std::sqrt(2 * law.variance[i] / static_cast<double>(M))));
      const double p = argmax_table[d][i];
      EXPECT_TRUE(within_errors(1, static_cast<double>(c.y[i]) + e.y[i], std::sqrt(2 * p * (1 - p) / static_cast<double>(M))));
    }
  }
}

}  // namespace
}  // namespace perturb::test
