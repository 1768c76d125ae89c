// top-k: the k largest scores, ties to the lowest index. Scratch and the choice of the class go by the largest k of all rows.
//
// top_k_group keeps each lane's k best in sorted rows while items stream by: any n, small k, no storage of scores.
// top_k_sorted sorts each lane's samples, downwards, with the rank's network: larger k, n up to its limit.
// top_k_single selects one sample's k best of any n and k by a radix select over the order of the floats.
#pragma once

#include "cpu/oracles/rank.h"
#include "cpu/row.h"
#include "math/order.h"

namespace perturb {

constexpr int64_t top_k_group_limit = 32;

PERTURB_INLINE static bool top_k_fits_sorted(const call& c) { return rank_fits_group(c); }
// Insertions get rare as items stream by, sorting does not: measured, they break even near n = 40 k.
PERTURB_INLINE static bool top_k_fits_group(const call& c) {
  const int64_t k = c.oracle->k;
  return k <= top_k_group_limit && (k <= 8 || 40 * k <= c.n() || !top_k_fits_sorted(c));
}

template <class V>
class top_k_group {
 public:
  using isa = typename V::isa;
  static constexpr int L = V::count;

  PERTURB_INLINE top_k_group(const call& c, arena& a, const row_view<isa>& row) : row_(row), k_(c.oracle->k) {
    scores_ = a.take<float>(k_ * L);
    items_ = a.take<uint32_t>(k_ * L);
  }

  static constexpr bool dense = false;
  static PERTURB_INLINE bool needs_rows(const call&) { return false; }
  PERTURB_INLINE void begin_row() { k_ = row_.c.oracle->k_of(row_.row); }

  PERTURB_INLINE void begin_group() {
    for (int64_t j = 0; j < k_; ++j) V::store(scores_ + j * L, V::set1(-HUGE_VALF));
  }

  PERTURB_INLINE void feed(int64_t i0, int64_t count, const float* z) {
    row_.with_score([&](auto score) {
      for (int64_t i = 0; i < count; ++i) take(i0 + i, score(V{}, i0 + i, V::load(z + i * L)));
    });
  }

  PERTURB_INLINE typename V::f32 cutoff() const { return V::load(scores_ + (k_ - 1) * L); }

  PERTURB_INLINE void feed_pairs(const uint32_t* pairs, int64_t count, const float* z) {
    const int64_t n = row_.c.n();
    row_.with_score([&](auto score) {
      for (int64_t p = 0; p < count; ++p, z += 2 * L) {
        const int64_t i = pairs[p];
        take(i, score(V{}, i, V::load(z)));
        if (i + 1 < n) take(i + 1, score(V{}, i + 1, V::load(z + L)));
      }
    });
  }

  PERTURB_INLINE void solve() {}

  template <bool Scores, class F>
  PERTURB_INLINE void for_each(int lanes, const float*, F&& f) const {
    for (int64_t j = 0; j < k_; ++j)
      for (int l = 0; l < lanes; ++l) f(l, (int64_t)items_[j * L + l], (int64_t)1, scores_[j * L + l]);
  }

  // f(lane, position, item): downwards, equal scores by item.
  template <class F>
  PERTURB_INLINE void for_positions(int64_t count, int lanes, F&& f) const {
    for (int64_t j = 0; j < count; ++j)
      for (int l = 0; l < lanes; ++l) f(l, j, (int64_t)items_[j * L + l]);
  }

 private:
  PERTURB_INLINE void take(int64_t item, typename V::f32 x) {
    const auto enters = V::greater(x, cutoff());
    if (V::any(enters)) insert(x, (uint32_t)item, enters);
  }

  // Shifts the rows below x's place down by one. An earlier item stays above an equal later one.
  PERTURB_INLINE void insert(typename V::f32 x, uint32_t item, decltype(V::greater(x, x)) below) {
    const typename V::u32 id = V::set1(item);
    for (int64_t j = k_ - 1; j > 0; --j) {
      const typename V::f32 above = V::load(scores_ + (j - 1) * L), here = V::load(scores_ + j * L);
      const typename V::u32 above_id = V::load(items_ + (j - 1) * L), here_id = V::load(items_ + j * L);
      const auto over = V::greater(x, above);
      V::store(scores_ + j * L, V::select(over, above, V::select(below, x, here)));
      V::store(items_ + j * L, V::select(over, above_id, V::select(below, id, here_id)));
      below = over;
      if (!V::any(below)) return;
    }
    V::store(scores_, V::select(below, x, V::load(scores_)));
    V::store(items_, V::select(below, id, V::load(items_)));
  }

  const row_view<isa>& row_;
  int64_t k_;
  float* scores_;
  uint32_t* items_;
};

template <class V>
class top_k_sorted {
 public:
  using isa = typename V::isa;

  PERTURB_INLINE top_k_sorted(const call& c, arena& a, const row_view<isa>& row) : row_(row), sorter_(c, a, row, true, true) {}

  static constexpr bool dense = false;
  static PERTURB_INLINE bool needs_rows(const call&) { return false; }
  PERTURB_INLINE void begin_row() {
    k_ = row_.c.oracle->k_of(row_.row);
    sorter_.begin_row();
  }
  PERTURB_INLINE void begin_group() {}
  PERTURB_INLINE void feed(int64_t i0, int64_t count, const float* z) { sorter_.feed(i0, count, z); }
  PERTURB_INLINE void solve() { sorter_.solve(); }

  // Downwards, equal scores by item: the first k positions.
  template <bool Scores, class F>
  PERTURB_INLINE void for_each(int lanes, const float*, F&& f) const {
    sorter_.first_positions(k_, lanes, [&](int lane, int64_t item, float score) __attribute__((always_inline)) { f(lane, item, (int64_t)1, score); });
  }

 private:
  const row_view<isa>& row_;
  rank_group<V> sorter_;
  int64_t k_ = 0;
};

template <class V>
class top_k_single {
 public:
  using isa = typename V::isa;

  PERTURB_INLINE top_k_single(const call& c, arena& a, const row_view<isa>& row) : row_(row), n_(c.n()), k_(c.oracle->k) {
    scores_ = a.take<float>(n_);
    candidates_ = a.take<uint32_t>(n_);
    items_ = a.take<uint32_t>(k_);
  }

  static constexpr bool dense = false;
  static PERTURB_INLINE bool needs_rows(const call&) { return false; }
  PERTURB_INLINE void begin_row() { k_ = row_.c.oracle->k_of(row_.row); }
  PERTURB_INLINE void begin_group() {}

  PERTURB_INLINE void feed(int64_t i0, int64_t count, const float* z) {
    for (int64_t i = 0; i < count; ++i) scores_[i0 + i] = row_.score(i0 + i, z[i]);
  }

  PERTURB_NOINLINE void solve() {
    for (int64_t i = 0; i < n_; ++i) candidates_[i] = ordered<V>(scores_[i]);
    // The k-th largest key, digit by digit from the top; `wanted` of the keys that share its prefix are in. Few items, few digits: to clear a
    // histogram would otherwise be most of the work.
    const int digit_bits = n_ < 512 ? 8 : 11;
    int64_t count = n_, wanted = k_;
    uint32_t threshold = 0;
    for (int top = 32; top > 0 && wanted < count;) {
      const int bits = top < digit_bits ? top : digit_bits, shift = top - bits;
      uint32_t histogram[1 << 11];
      const uint32_t mask = (1u << bits) - 1;
      for (uint32_t d = 0; d <= mask; ++d) histogram[d] = 0;
      for (int64_t i = 0; i < count; ++i) ++histogram[candidates_[i] >> shift & mask];
      uint32_t digit = mask;
      while (histogram[digit] < wanted) wanted -= histogram[digit--];
      threshold |= digit << shift;
      int64_t kept = 0;
      for (int64_t i = 0; i < count; ++i) {
        const uint32_t key = candidates_[i];
        candidates_[kept] = key;
        kept += (key >> shift & mask) == digit;
      }
      count = kept;
      top = shift;
    }
    int64_t found = 0;
    for (int64_t i = 0; i < n_ && found < k_; ++i) {
      const uint32_t key = ordered<V>(scores_[i]);
      if (key > threshold) {
        items_[found++] = (uint32_t)i;
      } else if (key == threshold && wanted > 0) {
        items_[found++] = (uint32_t)i;
        --wanted;
      }
    }
  }

  template <bool Scores, class F>
  PERTURB_INLINE void for_each(int, const float*, F&& f) const {
    for (int64_t j = 0; j < k_; ++j) f(0, (int64_t)items_[j], (int64_t)1, scores_[items_[j]]);
  }

 private:
  const row_view<isa>& row_;
  int64_t n_, k_;
  float* scores_;
  uint32_t* candidates_;
  uint32_t* items_;
};

}  // namespace perturb
