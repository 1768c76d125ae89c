// Naive top-k: an item is chosen when fewer than k items beat it; j beats i with a larger score, or an equal score and a lower index.
// Quadratic, so that it shares nothing with a selection algorithm; top_k_sorted is the n log n form for large n.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

namespace perturb::test::reference {

inline std::vector<double> top_k(const std::vector<double>& score, int64_t k) {
  const size_t n = score.size();
  std::vector<double> y(n, 0.0);
  for (size_t i = 0; i < n; ++i) {
    int64_t beaten_by = 0;
    for (size_t j = 0; j < n; ++j) beaten_by += score[j] > score[i] || (score[j] == score[i] && j < i);
    y[i] = beaten_by < k;
  }
  return y;
}

template <class Score>
std::vector<float> top_k_sorted(const Score* score, int64_t n, int64_t k) {
  std::vector<int64_t> order(n);
  std::iota(order.begin(), order.end(), int64_t{0});
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return score[a] > score[b]; });
  std::vector<float> y(n, 0.0f);
  for (int64_t r = 0; r < k; ++r) y[order[r]] = 1;
  return y;
}

}  // namespace perturb::test::reference
