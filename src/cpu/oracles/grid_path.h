// Shortest grid paths of many samples of one row, lane = sample: cells are relaxed in the order of their distance without noise. A small epsilon
// leaves that order nearly right, so few passes do.
#pragma once

#include "cpu/oracles/grid_relaxation.h"
#include "cpu/oracles/grid_search.h"
#include "cpu/row.h"
#include "math/order.h"

namespace perturb {

PERTURB_INLINE static bool grid_path_fits_group(const call& c) { return c.n() <= grid_group_limit; }

template <class V>
class grid_path_group {
 public:
  using isa = typename V::isa;
  static constexpr int L = V::count;

  PERTURB_INLINE grid_path_group(const call& c, arena& a, const row_view<isa>& row)
      : row_(row), grid_(*c.oracle->grid), search_(c, a, row), relaxation_(grid_, a) {
    order_ = a.take<uint64_t>(2 * grid_.cells());
  }

  static constexpr bool dense = false;
  static PERTURB_INLINE bool needs_rows(const call& c) { return c.operation == PERTURB_OP_EXPECTATION && (c.output[2] || c.output[3]); }

  // The cells that the sources reach but themselves: all lanes have the same sources.
  PERTURB_NOINLINE void begin_row() {
    scale_ = grid_scale_of(row_);
    sources_ = grid_.sources_of(row_.row);
    targets_ = grid_.targets_of(row_.row);
    search_.search_row();
    const int32_t* distance = search_.distances();
    int64_t count = 0;
    for (int64_t i = 0; i < grid_.cells(); ++i)
      if (distance[i] < grid_infinity && distance[i] != search_.start_of(i)) order_[count++] = (uint64_t)distance[i] << 32 | (uint64_t)i;
    sort_keys<isa>(order_, order_ + grid_.cells(), count);
    relaxation_.begin_order();
    for (int64_t i = 0; i < count; ++i) relaxation_.visit_next((int32_t)(uint32_t)order_[i]);
  }

  PERTURB_INLINE void begin_group() {}

  PERTURB_INLINE void feed(int64_t i0, int64_t count, const float* z) {
    uint32_t* straight = relaxation_.straight();
    uint32_t* diagonal = relaxation_.diagonal();
    row_.with_score([&](auto score) {
      for (int64_t i = 0; i < count; ++i) {
        const int64_t cell = i0 + i;
        if (!grid_.passable[cell]) continue;
        const typename V::f32 cost = grid_cost<V>(score(V{}, cell, V::load(z + i * L)), grid_.cost_floor);
        V::store(straight + cell * L, grid_quanta<V>(cost, scale_));
        if (diagonal != straight) V::store(diagonal + cell * L, grid_quanta<V>(V::mul(cost, V::set1(grid_.diagonal_factor)), scale_));
      }
    });
  }

  PERTURB_INLINE void solve() {
    relaxation_.clear();
    for (const int32_t source : sources_) relaxation_.start(source);
    relaxation_.template relax<false>();
  }

  template <bool Scores, class F>
  PERTURB_INLINE void for_each(int lanes, const float* z, F&& f) const {
    for (int l = 0; l < lanes; ++l) {
      relaxation_.walk(l, targets_, [&](int32_t cell, float factor) __attribute__((always_inline)) {
        f(l, (int64_t)cell, (int64_t)1, Scores ? grid_cost<scalar_lanes<isa>>(row_.score(cell, z[cell * L + l]), grid_.cost_floor) * factor : 0.0f);
      });
    }
  }

 private:
  const row_view<isa>& row_;
  const grid& grid_;
  grid_path_single<scalar_lanes<isa>> search_;
  grid_relaxation<V> relaxation_;
  cell_list sources_ = {}, targets_ = {};
  uint64_t* order_;
  float scale_ = 1.0f;
};

}  // namespace perturb
