// Do the checkers check? Each comparator and judge of the suite is given a right result, which it must accept, and a planted bug, which
// it must reject. Noise and solutions are made up, so a failure is a defect of the tests (only the last test calls the library).
#include <gtest/gtest.h>

#include "allocator.h"
#include "judge.h"
#include "reference/unit_path.h"
#include "refusal.h"
#include "statistics.h"

namespace perturb::test {
namespace {

using testing::AssertionResult;

// Counted, so that this binary reports its checks too.
void accepts(const AssertionResult& verdict, const char* what) {
  count();
  EXPECT_TRUE(verdict) << what;
}
void rejects(const AssertionResult& verdict, const char* what) {
  count();
  EXPECT_FALSE(verdict) << what << " was not noticed";
}

TEST(checkers, bits) {
  std::vector<float> values(1000);
  for (size_t i = 0; i < values.size(); ++i) values[i] = uniform_float(1, i, -1, 1);
  accepts(same_bits(values, values), "equal values");
  for (size_t at : {0u, 499u, 999u})
    for (int bit : {0, 11, 31}) {
      std::vector<float> flipped = values;
      flipped[at] = std::bit_cast<float>(std::bit_cast<uint32_t>(flipped[at]) ^ (1u << bit));
      rejects(same_bits(values, flipped), "a flipped bit");
    }
  rejects(same_bits({0.0f}, {-0.0f}), "the sign of zero");
  rejects(same_bits({0.0f}, {}), "a missing entry");
}

TEST(checkers, nearness) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  accepts(all_near({1, 2}, {1.0f, 2.0f}, 0.0), "equal");
  rejects(all_near({1, 2}, {1.0f, nan}, 1e30), "a NaN");
  rejects(all_near({1, HUGE_VAL}, {1.0f, 1e30f}, 1e38), "a finite number for infinity");
  rejects(all_near({1, 2}, {1.0f, 2.00003f}, 1e-5), "three times the tolerance");
  accepts(all_within_one_ulp({1.0 / 3}, {1.0f / 3}), "the rounded value");
  rejects(all_within_one_ulp({1.0 / 3}, {std::nextafter(std::nextafter(1.0f / 3, 1.0f), 1.0f)}), "two units in the last place");
  rejects(all_within_one_ulp({32.0 / 64}, {33.0f / 64}), "one count of 64 too many");
}

TEST(checkers, statistics) {
  const double se = 0.001;
  accepts(within_errors(0.5, 0.5 + 4.9 * se, se), "4.9 standard errors");
  rejects(within_errors(0.5, 0.5 + 6 * se, se), "a mean biased by 6 standard errors");
  rejects(within_errors(0.5, 0.5 - 6 * se, se), "a mean biased by -6 standard errors");
  rejects(within_errors(1, 1.00001, 0), "a deterministic entry that is off");
  rejects(within_errors(0, std::numeric_limits<double>::quiet_NaN(), se), "a NaN");
  rejects(all_within_errors({.5, .5}, {.5f, .51f}, {se, se}), "one biased entry");
}

TEST(checkers, canaries) {
  std::vector<float> output(100);
  fill_canary(output);
  accepts(untouched(output), "canaries");
  output[99] = 0;
  rejects(untouched(output), "a written output");
}

// ---------------------------------------------------------------- solutions

test_case case_of(oracle_kind kind, int64_t n) {
  test_case c;
  c.oracle = kind;
  c.n = n;
  c.k = 3;
  c.samples = 7;
  c.batch = 1;
  return c;
}

std::vector<double> some_scores(int64_t n) {
  std::vector<double> s(n);
  for (int64_t i = 0; i < n; ++i) s[i] = uniform_float(2, i, -2, 2);
  return s;
}
std::vector<float> floats(const std::vector<double>& values) { return {values.begin(), values.end()}; }

TEST(checkers, selections) {
  const std::vector<double> s = some_scores(10);
  std::vector<float> y = floats(reference::argmax(s));
  const test_case argmax = case_of(oracle_kind::argmax, 10), top_k = case_of(oracle_kind::top_k, 10);
  accepts(solves(argmax, nullptr, s, 4, y.data()), "argmax");
  std::rotate(y.begin(), y.begin() + 1, y.end());
  rejects(solves(argmax, nullptr, s, 4, y.data()), "another item");
  y = floats(reference::top_k(s, 3));
  accepts(solves(top_k, nullptr, s, 4, y.data()), "top-k");
  y[std::find(y.begin(), y.end(), 1.0f) - y.begin()] = 0;
  rejects(solves(top_k, nullptr, s, 4, y.data()), "k - 1 items");
  // The higher index of a tie.
  rejects(solves(argmax, nullptr, {1, 1}, 4, std::vector<float>{0, 1}.data()), "the higher index of a tie");
}

TEST(checkers, ranks) {
  const std::vector<double> s = some_scores(100);
  for (bool descending : {false, true}) {
    std::vector<float> y = floats(reference::rank(s, descending, 1));
    const double range = 4, tolerated = 4 * 0x1p-23 * range;
    EXPECT_EQ(reference::rank_fault(s, y.data(), descending, 1, 0), -1);
    EXPECT_GE(reference::rank_fault(s, y.data(), !descending, 1, tolerated), 0) << "the other direction";
    EXPECT_GE(reference::rank_fault(s, y.data(), descending, 0, tolerated), 0) << "the other base";
    // One swap of neighbours in rank, whose scores differ by more than the tolerance.
    const size_t low = std::find(y.begin(), y.end(), 40.0f) - y.begin(), high = std::find(y.begin(), y.end(), 41.0f) - y.begin();
    ASSERT_GT(std::abs(s[low] - s[high]), tolerated);
    std::swap(y[low], y[high]);
    EXPECT_GE(reference::rank_fault(s, y.data(), descending, 1, tolerated), 0) << "a swap";
    y[high] = y[low];
    EXPECT_GE(reference::rank_fault(s, y.data(), descending, 1, 1e9), 0) << "a rank given twice";
    count(5);
  }
  // Equal scores in the wrong order, at tolerance 0; a swap within the tolerance is what the header allows.
  EXPECT_GE(reference::rank_fault({1, 1}, std::vector<float>{2, 1}.data(), false, 1, 0), 0);
  EXPECT_GE(reference::rank_fault({1, 1}, std::vector<float>{2, 1}.data(), false, 1, 1e-3), 0) << "equal scores, the higher index first";
  EXPECT_GE(reference::rank_fault({1, 1}, std::vector<float>{2, 1}.data(), true, 1, 1e-3), 0) << "likewise, descending";
  EXPECT_EQ(reference::rank_fault({1, 1 + 1e-7}, std::vector<float>{2, 1}.data(), false, 1, 2e-7), -1);
  // Many small inversions may not add up to a large one.
  EXPECT_GE(reference::rank_fault({3e-7, 2e-7, 1e-7, 0}, std::vector<float>{1, 2, 3, 4}.data(), false, 1, 2e-7), 0);
  count(3);
}

TEST(checkers, sorts) {
  const std::vector<double> s = some_scores(20);
  for (bool descending : {false, true})
    for (int64_t k : {20, 6}) {
      const std::vector<float> y = reference::sort(s.data(), 20, k, descending);
      EXPECT_EQ(reference::sort_fault(s, y.data(), k, descending, 0, true), "");
      EXPECT_NE(reference::sort_fault(s, y.data(), k, !descending, 1e-6, false), "") << "the other direction";
      const auto spoilt = [&](auto spoil) {
        std::vector<float> wrong = y;
        spoil(wrong.data());
        return reference::sort_fault(s, wrong.data(), k, descending, 1e-6, false);
      };
      EXPECT_NE(spoilt([](float* w) { std::swap_ranges(w + 60, w + 80, w + 80); }), "") << "positions 3 and 4 exchanged";
      EXPECT_NE(spoilt([](float* w) { std::fill_n(w + 40, 20, 0.0f); }), "") << "nothing at position 2";
      EXPECT_NE(spoilt([](float* w) { std::copy_n(w + 20, 20, w + 40); }), "") << "an item twice";
      EXPECT_NE(spoilt([](float* w) { std::fill_n(w, 2, 1.0f); }), "") << "two at a position";
      EXPECT_NE(spoilt([](float* w) { *std::find(w, w + 20, 1.0f) = 0.5f; }), "") << "half an item";
      count(7);
    }
  // The best is left out.
  EXPECT_NE(reference::sort_fault({3, 2, 1}, std::vector<float>{0, 1, 0}.data(), 1, true, 0.5, false), "");
  EXPECT_EQ(reference::sort_fault({3, 2, 1}, std::vector<float>{0, 1, 0}.data(), 1, true, 1.5, false), "");
  // Equal scores, the higher index first, or the lower one left out.
  EXPECT_NE(reference::sort_fault({1, 1}, std::vector<float>{0, 1, 1, 0}.data(), 2, true, 0, true), "");
  EXPECT_NE(reference::sort_fault({1, 1}, std::vector<float>{0, 1}.data(), 1, false, 0, true), "");
  EXPECT_EQ(reference::sort_fault({1, 1}, std::vector<float>{0, 1}.data(), 1, false, 0, false), "");
  count(5);
}

TEST(checkers, paths) {
  test_case c = case_of(oracle_kind::grid_path, 20);
  c.height = 4;
  c.width = 5;
  c.target = 19;
  const reference::grid map = reference::make_grid_reference(c);
  std::vector<double> cost(20);
  for (int64_t i = 0; i < 20; ++i) cost[i] = uniform_float(3, i, 1, 2);
  const auto steps = reference::make_steps(map, cost);
  const auto distance = reference::distances(map, steps);
  const std::vector<float> right = reference::walk_back(map, steps, distance);
  accepts(solves(c, &map, cost, 0, right.data()), "the path");
  std::vector<float> wrong = right;
  wrong[4] = 1;  // the far corner
  rejects(solves(c, &map, cost, 0, wrong.data()), "a cell too many");
  wrong = right;
  for (int64_t i = 1; i < 19; ++i)
    if (wrong[i] == 1) {
      wrong[i] = 0;
      break;
    }
  rejects(solves(c, &map, cost, 0, wrong.data()), "a cell too few");
  // A detour: another path, dearer by more than the tolerance.
  std::vector<float> detour(20);
  for (int64_t i : {0, 5, 10, 15, 16, 17, 18, 19}) detour[i] = 1;
  rejects(solves(c, &map, cost, 0, detour.data()), "a detour");
  EXPECT_GT(*reference::marked_path_cost(map, steps, distance, detour.data()), distance[19] * 1.001);
  // Another path of the same cost than the one that the rule for ties picks.
  test_case tied = c;
  tied.theta = inputs::small;
  tied.quiet = true;
  const std::vector<double> ones_everywhere(20, 1.0);
  const auto tied_steps = reference::make_steps(map, ones_everywhere);
  std::vector<float> tied_path = reference::walk_back(map, tied_steps, reference::distances(map, tied_steps));
  accepts(solves(tied, &map, ones_everywhere, 0, tied_path.data()), "the path of the rule");
  std::vector<float> other_path(20);
  for (int64_t i : {0, 1, 7, 13, 19}) other_path[i] = 1;
  if (other_path == tied_path) {
    other_path.assign(20, 0.0f);
    for (int64_t i : {0, 6, 12, 18, 19}) other_path[i] = 1;
  }
  rejects(solves(tied, &map, ones_everywhere, 0, other_path.data()), "another path of the same cost");
  // A cell shifted so that the path cuts a corner, where that is forbidden.
  reference::grid strict{2, 2, 0, 3, PERTURB_CONNECT_8_NO_CORNER_CUTTING, 1, true, {1, 0, 1, 1}};
  const auto ones = reference::make_steps(strict, {1, 1, 1, 1});
  const auto strict_distance = reference::distances(strict, ones);
  EXPECT_EQ(strict_distance[3], 3);
  EXPECT_FALSE(reference::marked_path_cost(strict, ones, strict_distance, std::vector<float>{1, 0, 0, 1}.data()).has_value());
  EXPECT_TRUE(reference::marked_path_cost(strict, ones, strict_distance, std::vector<float>{1, 0, 1, 1}.data()).has_value());
  count(4);

  reference::grid row{1, 4, 0, 3, PERTURB_CONNECT_8, 1, false, {1, 1, 1, 1}};
  EXPECT_EQ(reference::unit_path_fault(row, {1, 1, 1, 1}, 3), "");
  EXPECT_NE(reference::unit_path_fault(row, {1, 0, 1, 1}, 3), "");
  EXPECT_NE(reference::unit_path_fault(row, {1, 1, 1, 1}, 2.9), "");
  EXPECT_NE(reference::unit_path_fault({2, 2, 0, 1, PERTURB_CONNECT_8, 1, false, {1, 1, 1, 1}}, {1, 1, 1, 0}, 1), "");
  count(4);
}

// ---------------------------------------------------------------- estimators

struct made_up {
  test_case c;
  std::vector<float> eps, theta, z, y, g, u, t;
  std::vector<float> none;
};
made_up make_up(perturb_distribution d) {
  made_up m;
  m.c = case_of(oracle_kind::argmax, 6);
  m.c.distribution = d;
  m.c.samples = 64;
  m.eps.assign(6, 0.5f);
  m.theta = {.3f, -.2f, .5f, .1f, .2f, 0};
  for (int64_t i = 0; i < 64 * 6; ++i) {
    const double v = uniform(4, i) - 0.5;
    m.z.push_back(static_cast<float>(d == PERTURB_LAPLACE ? -std::copysign(std::log1p(-2 * std::abs(v)), v) : 4 * v));
  }
  for (int64_t s = 0; s < 64; ++s) {
    std::vector<double> scores(6);
    for (int64_t i = 0; i < 6; ++i) scores[i] = std::fma(0.5f, m.z[s * 6 + i], m.theta[i]);
    for (double value : reference::argmax(scores)) m.y.push_back(static_cast<float>(value));
  }
  m.g = {1, -.5f, .25f, .7f, -1, .1f};
  m.u = {.5f, 1, -1, .2f, .3f, -.6f};
  m.t = {0, 1, 0, 0, 0, 0};
  return m;
}
reference::row_estimates estimates(const made_up& m, const test_case& as) {
  return reference::estimate(
      {as, m.eps, m.none, nullptr, m.theta.data(), m.z.data(), m.y.data(), nullptr, m.g.data(), m.u.data(), m.t.data(), true});
}

TEST(checkers, derivatives) {
  const made_up m = make_up(PERTURB_LAPLACE);
  const reference::row_estimates right = estimates(m, m.c);
  const auto scaled = [](const reference::quantity& q, double factor) {
    std::vector<float> values = floats(q.value);
    for (float& value : values) value = static_cast<float>(value * factor);
    return values;
  };
  const double wrong_divisor = 63.0 / 64;
  accepts(close(right.vjp, scaled(right.vjp, 1)), "vjp");
  rejects(close(right.vjp, scaled(right.vjp, wrong_divisor)), "vjp with 1/M for 1/(M-1)");
  rejects(close(right.jvp, scaled(right.jvp, wrong_divisor)), "jvp with 1/M for 1/(M-1)");
  rejects(close(right.jacobian, scaled(right.jacobian, wrong_divisor)), "jacobian with 1/M for 1/(M-1)");
  rejects(close(right.vjp, scaled(right.vjp, -1)), "vjp with the other sign");
  rejects(close(right.y_std_error, scaled(right.y_std_error, std::sqrt(wrong_divisor))), "a biased variance");
  rejects(close(right.loss_gradient, scaled(right.loss_gradient, -1)), "t - y_mean for y_mean - t");
  rejects(close(right.loss_epsilon_gradient, scaled(right.loss_epsilon_gradient, 0.5)), "half an epsilon gradient");

  test_case other = m.c;
  other.distribution = PERTURB_NORMAL;  // the Gaussian score with Laplace noise
  const reference::row_estimates wrong = estimates(m, other);
  rejects(close(right.vjp, floats(wrong.vjp.value)), "vjp with the Gaussian score");
  rejects(close(right.jvp, floats(wrong.jvp.value)), "jvp with the Gaussian score");
  rejects(close(right.jacobian, floats(wrong.jacobian.value)), "jacobian with the Gaussian score");
  other = m.c;
  other.baseline = PERTURB_BASELINE_NONE;
  rejects(close(right.vjp, floats(estimates(m, other).vjp.value)), "no baseline for leave-one-out");

  // The transpose of the Jacobian estimate is not the estimate.
  std::vector<float> transposed(36);
  for (int i = 0; i < 6; ++i)
    for (int j = 0; j < 6; ++j) transposed[j * 6 + i] = static_cast<float>(right.jacobian.value[i * 6 + j]);
  rejects(close(right.jacobian, transposed), "the transpose");
}

// The statistical gate sees a wrong score too: E z S = 1 is off by far more than five errors.
TEST(checkers, wrong_score_in_the_mean) {
  double sum = 0, squares = 0, right = 0, right_squares = 0;
  const int64_t samples = 200000;
  for (int64_t i = 0; i < samples; ++i) {
    const double v = uniform(5, i) - 0.5, z = -std::copysign(std::log1p(-2 * std::abs(v)), v);
    const double wrong = z * reference::score(PERTURB_NORMAL, z), fine = z * reference::score(PERTURB_LAPLACE, z);
    sum += wrong;
    squares += wrong * wrong;
    right += fine;
    right_squares += fine * fine;
  }
  const double n = static_cast<double>(samples);
  rejects(within_errors(1, sum / n, std::sqrt((squares / n - sum / n * (sum / n)) / n)), "the Gaussian score with Laplace noise");
  accepts(within_errors(1, right / n, std::sqrt((right_squares / n - right / n * (right / n)) / n)), "the right score");
}

// ---------------------------------------------------------------- memory

TEST(checkers, allocator) {
  const auto used = [](auto misuse) {
    watching_allocator watch;
    const perturb_allocator hooks = watch.hooks();
    unsigned char* memory = static_cast<unsigned char*>(hooks.allocate(100, 64, nullptr, hooks.user));
    misuse(watch, hooks, memory);
    count();
    return watch.verdict();
  };
  using hooks = perturb_allocator;
  EXPECT_EQ(used([](auto&, const hooks& h, auto* p) { h.deallocate(p, 100, nullptr, h.user); }), "");
  EXPECT_NE(used([](auto&, const hooks&, auto*) {}), "") << "a leak";
  EXPECT_NE(used([](auto&, const hooks& h, auto* p) { h.deallocate(p, 99, nullptr, h.user); }), "") << "another size";
  EXPECT_NE(used([](auto&, const hooks& h, auto* p) {
              p[100] = 0;
              h.deallocate(p, 100, nullptr, h.user);
            }),
            "")
      << "a byte past the end";
  EXPECT_NE(used([](auto&, const hooks& h, auto* p) {
              h.deallocate(p, 100, nullptr, h.user);
              h.deallocate(p, 100, nullptr, h.user);
            }),
            "")
      << "given back twice";
  EXPECT_NE(used([](auto&, const hooks& h, auto* p) { std::thread([&] { h.deallocate(p, 100, nullptr, h.user); }).join(); }), "")
      << "another thread";
  EXPECT_NE(used([](auto&, const hooks& h, auto* p) {
              h.deallocate(p, 100, nullptr, h.user);
              void* odd = h.allocate(8, 48, nullptr, h.user);
              h.deallocate(odd, 8, nullptr, h.user);
            }),
            "")
      << "an alignment that is no power of two";
  watching_allocator failing;
  failing.fail_at = 0;
  EXPECT_EQ(failing.hooks().allocate(8, 8, nullptr, &failing), nullptr);
  count();
}

// The quadrature notices a shifted law.
TEST(checkers, closed_forms) {
  const std::vector<double> p = reference::softmax({.3, -.2, .5, .1}, .7);
  const std::vector<double> q = reference::inclusion(PERTURB_GUMBEL, {.3, -.2, .5, .1}, .7, 1);
  const std::vector<double> shifted = reference::inclusion(PERTURB_GUMBEL, {.3, -.2, .5, .11}, .7, 1);
  accepts(all_near(p, floats(q), 1e-7), "softmax");
  rejects(all_near(p, floats(shifted), 1e-4), "a shifted score");
}

// refused() wants a failure, of the right status, that names the argument and leaves outputs alone.
TEST(checkers, refusals) {
  const context_ptr context = make_context(1);
  prepared_request p(context.get(), entry_point::vjp, make_rank(5));
  request bad = p.valid;
  bad.theta = nullptr;
  accepts(refused(p, bad, PERTURB_ERROR_INVALID_ARGUMENT, "theta"), "a null theta");
  rejects(refused(p, p.valid, PERTURB_ERROR_INVALID_ARGUMENT, ""), "a call that succeeded");
  rejects(refused(p, bad, PERTURB_ERROR_NON_FINITE, "theta"), "another status");
  rejects(refused(p, bad, PERTURB_ERROR_INVALID_ARGUMENT, "cotangent"), "another argument's name");
  accepts(accepted(p), "the valid call");
  p.valid.theta = nullptr;
  rejects(accepted(p), "a call that failed");
}

}  // namespace
}  // namespace perturb::test
