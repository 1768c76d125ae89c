// Naive ranks: rank of i = base + the number of items before it; j is before i with a smaller score (a larger one when descending), or
// an equal score and a lower index. Quadratic; rank_sorted is the n log n form for large n.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

namespace perturb::test::reference {

inline std::vector<double> rank(const std::vector<double>& score, bool descending, int64_t base) {
  const size_t n = score.size();
  std::vector<double> y(n, 0.0);
  for (size_t i = 0; i < n; ++i) {
    int64_t before = 0;
    for (size_t j = 0; j < n; ++j) {
      const bool beyond = descending ? score[j] > score[i] : score[j] < score[i];
      before += beyond || (score[j] == score[i] && j < i);
    }
    y[i] = static_cast<double>(base + before);
  }
  return y;
}

template <class Score>
std::vector<float> rank_sorted(const Score* score, int64_t n, bool descending, int64_t base) {
  std::vector<int64_t> order(n);
  std::iota(order.begin(), order.end(), int64_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return descending ? score[a] > score[b] : score[a] < score[b]; });
  std::vector<float> y(n, 0.0f);
  for (int64_t r = 0; r < n; ++r) y[order[r]] = static_cast<float>(base + r);
  return y;
}

// Whether y is a permutation of base..base+n-1 that orders the scores, items closer than `tolerance` being allowed to be exchanged, but
// not equal ones where `ties` is set: there the lower index has the lower rank. Returns the index of an item at fault, or -1.
inline int64_t rank_fault(const std::vector<double>& score, const float* y, bool descending, int64_t base, double tolerance,
                          bool ties = true) {
  const int64_t n = static_cast<int64_t>(score.size());
  std::vector<int64_t> at(n, -1);
  for (int64_t i = 0; i < n; ++i) {
    const int64_t r = static_cast<int64_t>(y[i]) - base;
    if (static_cast<float>(r + base) != y[i] || r < 0 || r >= n || at[r] >= 0) return i;
    at[r] = i;
  }
  double highest = 0;
  for (int64_t r = 0; r < n; ++r) {
    const double s = descending ? -score[at[r]] : score[at[r]];
    if (r > 0 && s < highest - tolerance) return at[r];
    highest = r == 0 ? s : std::max(highest, s);
  }
  if (!ties) return -1;
  std::vector<int64_t> order(n);
  std::iota(order.begin(), order.end(), int64_t{0});
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return score[a] < score[b]; });
  for (int64_t i = 1; i < n; ++i)
    if (score[order[i]] == score[order[i - 1]] && y[order[i]] < y[order[i - 1]]) return order[i];
  return -1;
}

}  // namespace perturb::test::reference
