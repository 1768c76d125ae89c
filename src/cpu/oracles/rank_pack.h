// Ranks in a pack (pack_sampler.h): the network of rank_group over lanes of different rows, each with keys of its own row's order.
#pragma once

#include "cpu/oracles/rank.h"
#include "cpu/transpose.h"

namespace perturb {

// A pack holds its keys twice and its scores; beyond this it waits for memory.
constexpr int64_t rank_pack_limit = 4096;

PERTURB_INLINE static bool rank_fits_pack(const call& c) { return c.n() <= rank_pack_limit; }

template <class V>
class rank_pack {
 public:
  using isa = typename V::isa;
  using lane = scalar_lanes<isa>;
  static constexpr int L = V::count;

  PERTURB_INLINE rank_pack(const call& c, arena& a, const row_view<isa>& row) : c_(c), row_(row), order_(c, a, row, c.oracle->descending, false) {
    padded_ = (c.n() + network_block - 1) / network_block * network_block;
    rows_ = a.take<uint32_t>(padded_ * L);
    keys_ = a.take<uint32_t>(padded_ * L);
    scores_ = a.take<float>(c.n() * L);
    run_ = a.take<uint64_t>(2 * c.n());
    item_bits_ = rank_item_bits(c.n());
  }

  PERTURB_INLINE void begin_call() {}

  // The compiler makes vectors of these loops.
  PERTURB_NOINLINE void stage(int l, const float* z) {
    order_.begin_row();
    uint32_t* __restrict key = rows_ + l * padded_;
    const int64_t n = c_.n();
    for (int64_t i = n; i < padded_; ++i) key[i] = 0xffffffffu;
    const unsigned bit = 1u << l;
    exact_ = order_.packed() ? exact_ & ~bit : exact_ | bit;
    if (order_.packed()) {
      for (int64_t i = 0; i < n; ++i) key[i] = order_.template packed_key<lane>(i, z[i]) | (uint32_t)i;
      return;
    }
    const uint32_t coarse_bits = ~((1u << item_bits_) - 1);
    float* __restrict s = scores_ + l * n;
    row_.with_score([&](auto score) {
      for (int64_t i = 0; i < n; ++i) s[i] = score(lane{}, i, z[i]);
    });
    for (int64_t i = 0; i < n; ++i) key[i] = (order_.template coarse_key<lane>(s[i]) & coarse_bits) | (uint32_t)i;
  }

  PERTURB_INLINE void solve(int lanes) {
    rows_to_lanes<V>(rows_, padded_, lanes, padded_, keys_);
    sort();
    put_runs_right(exact_ & ((1u << lanes) - 1));
    lanes_to_rows<V>(keys_, padded_, rows_, padded_);
  }

  template <bool Scores, class F>
  PERTURB_INLINE void for_each(int l, const float* z, F&& f) const {
    const uint32_t* row = rows_ + l * padded_;
    const uint32_t item_mask = (1u << item_bits_) - 1;
    for (int64_t p = 0; p < c_.n(); ++p) {
      const int64_t item = row[p] & item_mask;
      f(0, item, p + c_.oracle->base, Scores ? row_.score(item, z[item]) : 0.0f);
    }
  }

 private:
  PERTURB_NOINLINE void sort() { sort_rows<V>(keys_, padded_); }
  PERTURB_NOINLINE void put_runs_right(unsigned of_lanes) {
    if (of_lanes == 0) return;
    perturb::put_runs_right<V>(keys_, c_.n(), item_bits_, of_lanes, run_, [&](uint32_t item, int l) __attribute__((always_inline)) {
      return order_.template exact_key<lane>(scores_[l * c_.n() + item]);
    });
  }

  const call& c_;
  const row_view<isa>& row_;
  rank_keys<isa> order_;
  int64_t padded_;
  uint32_t* rows_;  // keys of each lane's problem, items side by side; then sorted
  uint32_t* keys_;  // the same, vectors over the lanes
  float* scores_;   // of each lane's problem, where its order is exact
  uint64_t* run_;
  int item_bits_;
  unsigned exact_ = 0;  // lanes whose order is exact
};

}  // namespace perturb
