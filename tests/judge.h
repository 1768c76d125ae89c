// Judges of the noise-injection tests: whether y solves the problem of some perturbed scores, and whether a result is within rounding
// of a reference estimate.
#pragma once

#include <span>

#include "compare.h"
#include "reference/argmax.h"
#include "reference/estimators.h"
#include "reference/rank.h"
#include "reference/sort.h"
#include "reference/top_k.h"

namespace perturb::test {

inline constexpr double tolerance = 1e-5;

// The scores of a row lie within this range for every sample (a bound, as the header's 4 quanta refer to the row).
inline double score_range(const test_case& c, const float* theta, const std::vector<float>& eps) {
  const double z = reference::largest_noise(c.distribution);
  double low = HUGE_VAL, high = -HUGE_VAL;
  for (int64_t i = 0; i < c.n; ++i) {
    const double reach = c.mode == PERTURB_MULTIPLICATIVE ? std::abs(theta[i]) * std::exp(eps[i] * z) : eps[i] * z;
    low = std::min(low, theta[i] - reach);
    high = std::max(high, theta[i] + reach);
  }
  return high - low;
}

// Whether y solves the problem with the scores s: exactly for additive noise, up to the accuracy of W for multiplicative noise, up to
// the documented exchanges for short ranks, and by cost for grid paths.
inline testing::AssertionResult solves(const test_case& c, const reference::grid* map, const std::vector<double>& s, double range,
                                       const float* y) {
  count();
  const bool exact = c.mode == PERTURB_ADDITIVE || c.epsilon == 0;
  double largest = 0;
  for (double value : s) largest = std::max(largest, std::abs(value));
  const double slack = exact ? 0 : 4e-6 * largest;
  const bool may_exchange = c.n <= 512 && c.epsilon > 0;
  const double close = std::max(slack, may_exchange ? 4 * 0x1p-23 * range : 0.0);
  if (c.is_sort()) {
    const std::string fault = reference::sort_fault(s, y, c.k, c.descending != 0, close, exact && !may_exchange);
    return fault.empty() ? testing::AssertionSuccess() : testing::AssertionFailure() << fault;
  }
  if (c.oracle == oracle_kind::rank) {
    const int64_t fault = reference::rank_fault(s, y, c.descending != 0, c.base, close, exact);
    if (fault >= 0) return testing::AssertionFailure() << "rank of item " << fault << " is " << y[fault] << ", its score " << s[fault];
    return testing::AssertionSuccess();
  }
  if (c.is_grid()) {
    std::vector<double> cost(s);
    for (double& value : cost) value = std::max(value, static_cast<double>(c.cost_floor));
    const auto steps = reference::make_steps(*map, cost);
    const auto distance = reference::distances(*map, steps);
    const auto found = reference::marked_path_cost(*map, steps, distance, y);
    if (!found) return testing::AssertionFailure() << "the marked cells are not a path";
    if (c.quiet && c.theta == inputs::small) {  // exact costs: the rule for ties decides every cell
      const std::vector<float> expected = reference::walk_back(*map, steps, distance);
      if (!std::equal(expected.begin(), expected.end(), y))
        return testing::AssertionFailure() << "not the path that the rule for ties picks";
    }
    const double best = distance[reference::nearest_target(*map, distance)];
    if (*found > best * (1 + 2e-5)) return testing::AssertionFailure() << "path cost " << *found << ", optimum " << best;
    return testing::AssertionSuccess();
  }
  const std::vector<double> best = c.oracle == oracle_kind::argmax ? reference::argmax(s)
                                   : c.n <= 200                    ? reference::top_k(s, c.k)
                                                                   : [&] {
                                                    const std::vector<float> sorted = reference::top_k_sorted(s.data(), c.n, c.k);
                                                    return std::vector<double>(sorted.begin(), sorted.end());
                                                  }();
  double expected = 0, got = 0, ones = 0;
  for (int64_t i = 0; i < c.n; ++i) {
    if (exact && y[i] != best[i]) return testing::AssertionFailure() << "item " << i << " is " << y[i] << ", expected " << best[i];
    if (y[i] != 0 && y[i] != 1) return testing::AssertionFailure() << "item " << i << " is " << y[i];
    ones += y[i];
    expected += best[i] * s[i];
    got += y[i] * s[i];
  }
  if (ones != (c.oracle == oracle_kind::argmax ? 1 : c.k)) return testing::AssertionFailure() << ones << " ones";
  if (got < expected - slack * ones) return testing::AssertionFailure() << "value " << got << ", optimum " << expected;
  return testing::AssertionSuccess();
}

inline testing::AssertionResult close(const reference::quantity& expected, std::span<const float> actual, double relative = tolerance) {
  std::vector<double> allowed(expected.scale);
  for (double& entry : allowed) entry *= relative;
  return all_near(expected.value, std::vector<float>(actual.begin(), actual.end()), allowed);
}

}  // namespace perturb::test
