// argmax over lanes: the running maximum of each lane's sample, fed in ascending item order, any n, no storage.
//
// The interface of every CPU oracle (docs/add-an-oracle.md):
//   oracle(call, arena, row)         carve scratch
//   needs_rows(call)                 whether all of the group's noise rows must be kept until the group is done
//   dense                            whether y has a nonzero for every item, so that sums of the group go item by item in all lanes
//   begin_row()                      after the row's theta and bounds are known
//   begin_group(); feed(i0, count, z) in ascending order; solve()
//   for_each<Scores>(lanes, z, f)    f(lane, item, coefficient, score) for every nonzero of y of the first `lanes` lanes;
//                                    <y, s> = sum of coefficient * score
// and, of an oracle that most items cannot concern (cpu/candidates.h):
//   cutoff()                         per lane: an item that comes later changes nothing unless its score is above this
//   feed_pairs(pairs, count, z)      like feed, of items pairs[p] and pairs[p] + 1 (if below n) alone, ascending; the ones between change nothing
#pragma once

#include "cpu/row.h"

namespace perturb {

template <class V>
class argmax_oracle {
 public:
  using isa = typename V::isa;

  PERTURB_INLINE argmax_oracle(const call& c, arena&, const row_view<isa>& row) : row_(row), n_(c.n()) {}

  static constexpr bool dense = false;
  static PERTURB_INLINE bool needs_rows(const call&) { return false; }
  PERTURB_INLINE void begin_row() {}

  PERTURB_INLINE void begin_group() {
    for (int j = 0; j < chains; ++j) {
      best_[j] = V::set1(-HUGE_VALF);
      item_[j] = V::set1((uint32_t)j);
    }
  }

  // Item i goes to chain i % 4: four short dependency chains instead of one long one. i0 is a multiple of 4.
  PERTURB_INLINE void feed(int64_t i0, int64_t count, const float* z) {
    with_step([&](auto step) {
      int64_t i = 0;
      for (; i + chains <= count; i += chains)
        for (int j = 0; j < chains; ++j) step(i0 + i + j, j, V::load(z + (i + j) * V::count));
      for (int j = 0; i + j < count; ++j) step(i0 + i + j, j, V::load(z + (i + j) * V::count));
    });
  }

  PERTURB_INLINE typename V::f32 cutoff() const {
    typename V::f32 best = best_[0];
    for (int j = 1; j < chains; ++j) best = V::max(best, best_[j]);
    return best;
  }

  PERTURB_INLINE void feed_pairs(const uint32_t* pairs, int64_t count, const float* z) {
    with_step([&](auto step) {
      for (int64_t p = 0; p < count; ++p, z += 2 * V::count) {
        const int64_t i = pairs[p];
        step(i, 0, V::load(z));
        if (i + 1 < n_) step(i + 1, 1, V::load(z + V::count));
      }
    });
  }

  PERTURB_INLINE void solve() {
    typename V::f32 best = best_[0];
    typename V::u32 item = item_[0];
    for (int j = 1; j < chains; ++j) {  // the larger score, and among equal ones the lower item
      const typename V::u32 lower = V::select(V::greater(best, best_[j]), item, V::min(item, item_[j]));
      item = V::select(V::greater(best_[j], best), item_[j], lower);
      best = V::max(best, best_[j]);
    }
    V::store(score_, best);
    V::store(solution_, item);
  }

  template <bool Scores, class F>
  PERTURB_INLINE void for_each(int lanes, const float*, F&& f) const {
    for (int l = 0; l < lanes; ++l) f(l, (int64_t)solution_[l], (int64_t)1, score_[l]);
  }

 private:
  static constexpr int chains = 4;

  // Calls f(step); step(item, chain, z) takes an item, in ascending order of a chain's items.
  template <class F>
  PERTURB_INLINE void with_step(F&& f) {
    row_.with_score([&](auto score) {
      typename V::f32 best[chains];
      typename V::u32 item[chains];
      for (int j = 0; j < chains; ++j) best[j] = best_[j], item[j] = item_[j];
      f([&](int64_t i, int j, typename V::f32 z) __attribute__((always_inline)) {
        const typename V::f32 x = score(V{}, i, z);
        const auto better = V::greater(x, best[j]);
        best[j] = V::select(better, x, best[j]);
        item[j] = V::select(better, V::set1((uint32_t)i), item[j]);
      });
      for (int j = 0; j < chains; ++j) best_[j] = best[j], item_[j] = item[j];
    });
  }

  const row_view<isa>& row_;
  int64_t n_;
  typename V::f32 best_[chains];
  typename V::u32 item_[chains];
  float score_[V::count];
  uint32_t solution_[V::count];
};

}  // namespace perturb
