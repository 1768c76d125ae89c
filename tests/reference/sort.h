// Naive sort by position: the items in order, equal scores by index; and a judge of a matrix y [k, n] of a sample.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <string>
#include <vector>

namespace perturb::test::reference {

template <class Score>
std::vector<int64_t> sorted_items(const Score* score, int64_t n, bool descending) {
  std::vector<int64_t> order(n);
  std::iota(order.begin(), order.end(), int64_t{0});
  std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    if (score[a] == score[b]) return a < b;
    return descending ? score[a] > score[b] : score[a] < score[b];
  });
  return order;
}

// y [k, n] of the hard sort.
template <class Score>
std::vector<float> sort(const Score* score, int64_t n, int64_t k, bool descending) {
  const std::vector<int64_t> order = sorted_items(score, n, descending);
  std::vector<float> y(k * n, 0.0f);
  for (int64_t j = 0; j < k; ++j) y[j * n + order[j]] = 1;
  return y;
}

// What is wrong with y, "" if nothing: one item at each position, no item at two, and in order but for items closer than `tolerance`. With `ties`
// equal scores are in the order of their items.
inline std::string sort_fault(const std::vector<double>& score, const float* y, int64_t k, bool descending, double tolerance, bool ties) {
  const int64_t n = static_cast<int64_t>(score.size());
  std::vector<int64_t> at(k, -1);
  std::vector<bool> taken(n, false);
  for (int64_t j = 0; j < k; ++j)
    for (int64_t i = 0; i < n; ++i) {
      const float entry = y[j * n + i];
      if (entry == 0) continue;
      if (entry != 1) return "an entry is neither 0 nor 1, position " + std::to_string(j);
      if (at[j] >= 0) return "two items at position " + std::to_string(j);
      if (taken[i]) return "two positions of item " + std::to_string(i);
      at[j] = i;
      taken[i] = true;
    }
  const auto key = [&](int64_t i) { return descending ? -score[i] : score[i]; };
  double highest = -HUGE_VAL;
  for (int64_t j = 0; j < k; ++j) {
    if (at[j] < 0) return "no item at position " + std::to_string(j);
    if (key(at[j]) < highest - tolerance) return "out of order at position " + std::to_string(j);
    highest = std::max(highest, key(at[j]));
    if (ties && j > 0 && key(at[j]) == key(at[j - 1]) && at[j] < at[j - 1]) return "equal scores in the wrong order at position " + std::to_string(j);
  }
  for (int64_t i = 0; i < n; ++i) {
    if (taken[i]) continue;
    if (key(i) < highest - tolerance) return "left out: item " + std::to_string(i);
    if (ties && key(i) == key(at[k - 1]) && i < at[k - 1]) return "left out although as good and before the last: item " + std::to_string(i);
  }
  return "";
}

}  // namespace perturb::test::reference
