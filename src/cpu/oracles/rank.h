// Ranks: sort by score, ties by item; the rank of an item is its position.
//
// Two orders, chosen per row from theta and epsilon alone (docs/noise.md, "Ranks"):
//   packed  the score is mapped into [1, 2) by the same fma that perturbs it; its 23 mantissa bits are the score. n <= 512.
//   exact   the float order of the perturbed scores. Everything else, and everything with epsilon 0.
// rank_group sorts one sample per lane with a network over rows of 32-bit keys (score bits, item); in exact order the keys hold a
// monotone rounding of the score, and runs of equal ones are put right afterwards. rank_pack (rank_pack.h) does so with a problem per lane.
// rank_single sorts one sample of any n by radix.
#pragma once

#include "cpu/row.h"
#include "math/networks.h"
#include "math/order.h"

namespace perturb {

// Measured: twice as fast as samples by themselves at 8192 items; at 16384 the rows of most of a call wait for memory.
constexpr int64_t rank_group_limit = 8192;

PERTURB_INLINE static bool rank_fits_group(const call& c) { return c.n() <= rank_group_limit; }

// How a row's scores become integer keys whose order is the rank order.
template <class Isa>
class rank_keys {
 public:
  // exact_only: never packed.
  PERTURB_INLINE rank_keys(const call& c, arena& a, const row_view<Isa>& row, bool descending, bool exact_only)
      : c_(c), row_(row), exact_only_(exact_only), sign_(descending ? -1.0f : 1.0f) {
    const int64_t packed = !exact_only && c.n() <= rank_packed_limit ? c.n() : 0;
    offset_ = a.take<float>(packed);
    factor_ = a.take<float>(packed);
  }

  PERTURB_INLINE bool packed() const { return scales_.packed; }

  PERTURB_INLINE void begin_row() {
    scales_ = make_rank_scales(row_.bounds, c_.noise, c_.multiplicative, c_.n(), sign_, exact_only_);
    score_scale_ = rank_score_scale(scales_.map, sign_);
    score_offset_ = rank_score_offset(scales_.map);
    if (!scales_.packed) return;
    for (int64_t i = 0; i < c_.n(); ++i) {
      offset_[i] = rank_key_offset(scales_.map, sign_, row_.theta[i]);
      factor_[i] = rank_key_factor(scales_.map, sign_, row_.amplitude(i));
    }
  }

  // Packed: the 23-bit score of item i, in the high bits of 32.
  template <class V>
  PERTURB_INLINE typename V::u32 packed_key(int64_t i, typename V::f32 z) const {
    return V::template shift_left<9>(V::bits(V::fma(V::set1(factor_[i]), z, V::set1(offset_[i]))));
  }

  // Exact: the order of the floats, downwards for descending ranks.
  template <class V>
  PERTURB_INLINE typename V::u32 exact_key(typename V::f32 score) const {
    return ordered<V>(V::mul(V::set1(sign_), score));
  }

  // A monotone rounding of an exact score to the high bits of 32, as fine as a network key allows.
  template <class V>
  PERTURB_INLINE typename V::u32 coarse_key(typename V::f32 score) const {
    if (scales_.map.scale == 0.0) return exact_key<V>(score);
    const typename V::f32 y = V::fma(score, V::set1(score_scale_), V::set1(score_offset_));
    return V::template shift_left<9>(V::bits(V::min(V::max(y, V::set1(1.0f)), V::set1(0x1.fffffep0f))));
  }

 private:
  const call& c_;
  const row_view<Isa>& row_;
  float* offset_;
  float* factor_;
  bool exact_only_;
  float sign_;
  rank_scales scales_ = {};
  float score_scale_ = 0.0f, score_offset_ = 0.0f;
};

// Of network keys: their low bits hold the item.
PERTURB_INLINE static int rank_item_bits(int64_t n) {
  int bits = 9;
  while (((int64_t)1 << bits) < n) ++bits;
  return bits;
}

// Where neighbours of sorted rows have equal coarse scores, orders them by exact_key(item, lane), in the given lanes. Runs are short, and come in
// item order. run: scratch of 2 n.
template <class V, class Key>
PERTURB_INLINE void put_runs_right(uint32_t* keys, int64_t n, int item_bits, unsigned of_lanes, uint64_t* run, Key&& exact_key) {
  constexpr int L = V::count;
  const uint32_t item_mask = (1u << item_bits) - 1;
  const typename V::u32 coarse_bits = V::set1(~item_mask);
  for (int64_t p = 1; p < n; ++p) {
    const auto same = V::bit_and(V::bit_xor(V::load(keys + p * L), V::load(keys + (p - 1) * L)), coarse_bits);
    unsigned lanes = V::bitmask(V::equal(same, V::set1(0u))) & of_lanes;
    while (lanes) {
      const int l = __builtin_ctz(lanes);
      lanes &= lanes - 1;
      // Only at a run's first pair: the whole run is sorted at once.
      const uint32_t coarse = keys[p * L + l] >> item_bits;
      if (p >= 2 && keys[(p - 2) * L + l] >> item_bits == coarse) continue;
      int64_t end = p + 1;
      while (end < n && keys[end * L + l] >> item_bits == coarse) ++end;
      const int64_t begin = p - 1, count = end - begin;
      for (int64_t i = 0; i < count; ++i) {
        const uint32_t item = keys[(begin + i) * L + l] & item_mask;
        run[i] = (uint64_t)exact_key(item, l) << 32 | item;
      }
      sort_keys<typename V::isa>(run, run + n, count);
      for (int64_t i = 0; i < count; ++i) keys[(begin + i) * L + l] = coarse << item_bits | (uint32_t)run[i];
    }
  }
}

template <class V>
class rank_group {
 public:
  using isa = typename V::isa;
  static constexpr int L = V::count;

  PERTURB_INLINE rank_group(const call& c, arena& a, const row_view<isa>& row) : rank_group(c, a, row, c.oracle->descending, false) {}
  PERTURB_INLINE rank_group(const call& c, arena& a, const row_view<isa>& row, bool descending, bool exact_only)
      : c_(c), row_(row), order_(c, a, row, descending, exact_only) {
    padded_ = (c.n() + network_block - 1) / network_block * network_block;
    keys_ = a.take<uint32_t>(padded_ * L);
    scores_ = a.take<float>(c.n() * L);
    run_ = a.take<uint64_t>(2 * c.n());
    item_bits_ = rank_item_bits(c.n());
  }

  static constexpr bool dense = true;
  static PERTURB_INLINE bool needs_rows(const call& c) { return c.operation == PERTURB_OP_EXPECTATION && (c.output[2] || c.output[3]); }
  PERTURB_INLINE void begin_row() { order_.begin_row(); }
  PERTURB_INLINE void begin_group() {}

  PERTURB_INLINE void feed(int64_t i0, int64_t count, const float* z) {
    if (order_.packed()) {
      for (int64_t i = 0; i < count; ++i)
        V::store(keys_ + (i0 + i) * L, V::bit_or(order_.template packed_key<V>(i0 + i, V::load(z + i * L)), V::set1((uint32_t)(i0 + i))));
      return;
    }
    const typename V::u32 coarse_bits = V::set1(~((1u << item_bits_) - 1));
    row_.with_score([&](auto score) {
      for (int64_t i = 0; i < count; ++i) {
        const typename V::f32 s = score(V{}, i0 + i, V::load(z + i * L));
        V::store(scores_ + (i0 + i) * L, s);
        V::store(keys_ + (i0 + i) * L, V::bit_or(V::bit_and(order_.template coarse_key<V>(s), coarse_bits), V::set1((uint32_t)(i0 + i))));
      }
    });
  }

  PERTURB_INLINE void solve() {
    for (int64_t r = c_.n(); r < padded_; ++r) V::store(keys_ + r * L, V::set1(0xffffffffu));
    sort();
    if (!order_.packed()) put_runs_right();
  }

  // f(lane, position, item) of the first `count` positions.
  template <class F>
  PERTURB_INLINE void for_positions(int64_t count, int lanes, F&& f) const {
    const uint32_t item_mask = (1u << item_bits_) - 1;
    for (int64_t p = 0; p < count; ++p) {
      const uint32_t* row = keys_ + p * L;
      if (lanes == L) {
        for (int l = 0; l < L; ++l) f(l, p, (int64_t)(row[l] & item_mask));
      } else {
        for (int l = 0; l < lanes; ++l) f(l, p, (int64_t)(row[l] & item_mask));
      }
    }
  }

  // <g, y> of every lane: sum of p g[item at p] = sum over p >= 1 of what g has from p on. No products, and 64-bit sums may wrap on the way.
  PERTURB_INLINE void inner_products(const int64_t* g, int64_t* r) const {
    const uint32_t item_mask = (1u << item_bits_) - 1;
    uint64_t rest[L] = {}, sum[L] = {};
    for (int64_t p = c_.n() - 1; p >= 0; --p) {
      const uint32_t* row = keys_ + p * L;
      for (int l = 0; l < L; ++l) {
        sum[l] += rest[l];
        rest[l] += (uint64_t)g[row[l] & item_mask];
      }
    }
    for (int l = 0; l < L; ++l) r[l] = (int64_t)(sum[l] + (uint64_t)c_.oracle->base * rest[l]);
  }

  // f(lane, item, score) of the same, in exact order only.
  template <class F>
  PERTURB_INLINE void first_positions(int64_t count, int lanes, F&& f) const {
    for_positions(count, lanes, [&](int lane, int64_t, int64_t item) __attribute__((always_inline)) { f(lane, item, scores_[item * L + lane]); });
  }

  template <bool Scores, class F>
  PERTURB_INLINE void for_each(int lanes, const float* z, F&& f) const {
    for_positions(c_.n(), lanes, [&](int lane, int64_t position, int64_t item) __attribute__((always_inline)) {
      f(lane, item, position + c_.oracle->base, Scores ? row_.score(item, z[item * L + lane]) : 0.0f);
    });
  }

 private:
  PERTURB_NOINLINE void sort() { sort_rows<V>(keys_, padded_); }

  PERTURB_NOINLINE void put_runs_right() {
    perturb::put_runs_right<V>(keys_, c_.n(), item_bits_, ~0u, run_, [&](uint32_t item, int lane) __attribute__((always_inline)) {
      return order_.template exact_key<scalar_lanes<isa>>(scores_[item * L + lane]);
    });
  }

  const call& c_;
  const row_view<isa>& row_;
  rank_keys<isa> order_;
  int64_t padded_;
  uint32_t* keys_;
  float* scores_;
  uint64_t* run_;
  int item_bits_;
};

template <class V>
class rank_single {
 public:
  using isa = typename V::isa;

  PERTURB_INLINE rank_single(const call& c, arena& a, const row_view<isa>& row) : c_(c), row_(row), order_(c, a, row, c.oracle->descending, false) {
    keys_ = a.take<uint64_t>(c.n());
    scratch_ = a.take<uint64_t>(c.n());
  }

  static constexpr bool dense = false;  // one sample gains nothing
  static PERTURB_INLINE bool needs_rows(const call& c) {
    return c.operation == PERTURB_OP_SOLVE || (c.operation == PERTURB_OP_EXPECTATION && (c.output[2] || c.output[3]));
  }
  PERTURB_INLINE void begin_row() { order_.begin_row(); }
  PERTURB_INLINE void begin_group() {}

  PERTURB_INLINE void feed(int64_t i0, int64_t count, const float* z) {
    if (order_.packed()) {
      for (int64_t i = 0; i < count; ++i) keys_[i0 + i] = (uint64_t)order_.template packed_key<V>(i0 + i, z[i]) << 32 | (uint64_t)(i0 + i);
    } else {
      for (int64_t i = 0; i < count; ++i) keys_[i0 + i] = (uint64_t)order_.template exact_key<V>(row_.score(i0 + i, z[i])) << 32 | (uint64_t)(i0 + i);
    }
  }

  PERTURB_INLINE void solve() { sort_keys<isa>(keys_, scratch_, c_.n()); }

  // f(lane, position, item) of the first `count` positions.
  template <class F>
  PERTURB_INLINE void for_positions(int64_t count, int, F&& f) const {
    for (int64_t p = 0; p < count; ++p) f(0, p, (int64_t)(uint32_t)keys_[p]);
  }

  template <bool Scores, class F>
  PERTURB_INLINE void for_each(int lanes, const float* z, F&& f) const {
    for_positions(c_.n(), lanes, [&](int lane, int64_t position, int64_t item) __attribute__((always_inline)) {
      f(lane, item, position + c_.oracle->base, Scores ? row_.score(item, z[item]) : 0.0f);
    });
  }

 private:
  const call& c_;
  const row_view<isa>& row_;
  rank_keys<isa> order_;
  uint64_t* keys_;
  uint64_t* scratch_;
};

}  // namespace perturb
