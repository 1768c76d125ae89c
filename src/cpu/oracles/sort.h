// Sort and ordered top-k: y[j n + i] = 1 where item i is at position j. The rank's and the top-k's solvers, read by position: order, ties and
// rounding of scores are the rank's.
#pragma once

#include "cpu/oracles/rank.h"
#include "cpu/oracles/top_k.h"
#include "math/sorted_values.h"

namespace perturb {

// Few positions of many items: the best are kept while items stream by. Only where the rank's order is that of the floats in every row.
PERTURB_INLINE static bool sort_keeps_best(const call& c) { return c.oracle->descending && c.n() > rank_packed_limit && top_k_fits_group(c); }

// Solver: rank_group, rank_single or top_k_group.
template <class V, template <class> class Solver>
class sort_oracle {
 public:
  using isa = typename V::isa;

  PERTURB_INLINE sort_oracle(const call& c, arena& a, const row_view<isa>& row) : row_(row), solver_(c, a, row), n_(c.n()), k_(c.oracle->k) {}

  static constexpr bool dense = false;
  // Scores are made again, for a value (of a solve, which drops it) and for sorted values; W for their gradient.
  static PERTURB_INLINE bool needs_rows(const call& c) {
    return c.operation == PERTURB_OP_SOLVE || c.operation == PERTURB_OP_SORTED_VALUES || (c.operation == PERTURB_OP_SORTED_VALUES_VJP && c.multiplicative);
  }
  PERTURB_INLINE void begin_row() { solver_.begin_row(); }
  PERTURB_INLINE void begin_group() { solver_.begin_group(); }
  PERTURB_INLINE void feed(int64_t i0, int64_t count, const float* z) { solver_.feed(i0, count, z); }
  PERTURB_INLINE void solve() { solver_.solve(); }

  // f(lane, position, item, score) of the oracle's positions.
  template <bool Scores, class F>
  PERTURB_INLINE void for_positions(int lanes, const float* z, F&& f) const {
    solver_.for_positions(k_, lanes, [&](int lane, int64_t position, int64_t item) __attribute__((always_inline)) {
      f(lane, position, item, Scores ? row_.score(item, z[item * V::count + lane]) : 0.0f);
    });
  }

  template <bool Scores, class F>
  PERTURB_INLINE void for_each(int lanes, const float* z, F&& f) const {
    for_positions<Scores>(lanes, z, [&](int lane, int64_t position, int64_t item, float score) __attribute__((always_inline)) {
      f(lane, position * n_ + item, (int64_t)1, score);
    });
  }

 private:
  const row_view<isa>& row_;
  Solver<V> solver_;
  int64_t n_, k_;
};

template <class V>
using sort_group = sort_oracle<V, rank_group>;
template <class V>
using sort_best = sort_oracle<V, top_k_group>;
template <class V>
using sort_single = sort_oracle<V, rank_single>;

}  // namespace perturb
