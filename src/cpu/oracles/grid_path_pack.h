// Shortest grid paths in a pack (pack_sampler.h): lanes of different rows share no order of distances, so cells are relaxed in the order of their
// steps from the sources, which is that of the shape and its walls.
#pragma once

#include "cpu/oracles/grid_relaxation.h"
#include "cpu/oracles/grid_search.h"
#include "cpu/row.h"
#include "cpu/transpose.h"

namespace perturb {

template <class V>
class grid_path_pack {
 public:
  using isa = typename V::isa;
  using lane = scalar_lanes<isa>;
  static constexpr int L = V::count;

  PERTURB_INLINE grid_path_pack(const call& c, arena& a, const row_view<isa>& row) : row_(row), grid_(*c.oracle->grid), relaxation_(grid_, a) {
    pitch_ = (grid_.cells() + L - 1) / L * L;
    straight_ = a.take<uint32_t>(pitch_ * L);
    diagonal_ = relaxation_.has_diagonal() ? a.take<uint32_t>(pitch_ * L) : straight_;
    seen_ = a.take<uint8_t>(grid_.cells());
    queue_ = a.take<int32_t>(grid_.cells());
  }

  PERTURB_INLINE void begin_call() { ordered_ = false; }

  // The compiler makes vectors of this loop.
  PERTURB_NOINLINE void stage(int l, const float* z) {
    sources_[l] = grid_.sources_of(row_.row);
    targets_[l] = grid_.targets_of(row_.row);
    const float scale = grid_scale_of(row_);
    uint32_t* __restrict straight = straight_ + l * pitch_;
    uint32_t* __restrict diagonal = diagonal_ + l * pitch_;
    const uint8_t* __restrict passable = grid_.counted();
    const float floor = grid_.cost_floor, factor = grid_.diagonal_factor;
    row_.with_score([&](auto score) {
      for (int64_t i = 0; i < grid_.cells(); ++i) {
        const float s = score(lane{}, i, z[i]);
        const float cost = grid_cost<lane>(!passable || passable[i] ? s : 0.0f, floor);
        straight[i] = grid_quanta<lane>(cost, scale);
        if (diagonal != straight) diagonal[i] = grid_quanta<lane>(lane::mul(cost, factor), scale);
      }
    });
  }

  PERTURB_INLINE void solve(int lanes) {
    rows_to_lanes<V>(straight_, pitch_, lanes, grid_.cells(), relaxation_.straight());
    if (relaxation_.has_diagonal()) rows_to_lanes<V>(diagonal_, pitch_, lanes, grid_.cells(), relaxation_.diagonal());
    relaxation_.clear();
    if (!grid_.rows.empty()) {
      find_order(lanes);
      for (int l = 0; l < L; ++l)
        for (const int32_t source : sources_[l < lanes ? l : 0]) relaxation_.start(source, l);
      relaxation_.template relax<true>();
    } else {
      if (!ordered_) find_order(1);
      ordered_ = true;
      for (const int32_t source : sources_[0]) relaxation_.start(source);
      relaxation_.template relax<false>();
    }
  }

  template <bool Scores, class F>
  PERTURB_INLINE void for_each(int l, const float* z, F&& f) const {
    relaxation_.walk(l, targets_[l], [&](int32_t cell, float factor) __attribute__((always_inline)) {
      f(0, (int64_t)cell, (int64_t)1, Scores ? grid_cost<lane>(row_.score(cell, z[cell]), grid_.cost_floor) * factor : 0.0f);
    });
  }

 private:
  // Breadth first from the sources of the first `lanes` lanes; those themselves are visited where rows have different ones.
  PERTURB_NOINLINE void find_order(int lanes) {
    for (int64_t i = 0; i < grid_.cells(); ++i) seen_[i] = 0;
    int64_t end = 0;
    for (int l = 0; l < lanes; ++l) {
      for (const int32_t source : sources_[l]) {
        if (seen_[source]) continue;
        seen_[source] = 1;
        queue_[end++] = source;
      }
    }
    const int64_t starts = grid_.rows.empty() ? end : 0;
    for (int64_t at = 0; at < end; ++at) {
      const int32_t cell = queue_[at];
      for (unsigned mask = grid_.steps[cell]; mask; mask &= mask - 1) {
        const int k = __builtin_ctz(mask);
        const int32_t next = cell + grid_row_step[k] * (int32_t)grid_.width + grid_column_step[k];
        if (seen_[next]) continue;
        seen_[next] = 1;
        queue_[end++] = next;
      }
    }
    relaxation_.begin_order();
    for (int64_t i = starts; i < end; ++i) relaxation_.visit_next(queue_[i]);
  }

  const row_view<isa>& row_;
  const grid& grid_;
  grid_relaxation<V> relaxation_;
  int64_t pitch_;
  uint32_t* straight_;  // of each lane's problem, items side by side
  uint32_t* diagonal_;
  uint8_t* seen_;
  int32_t* queue_;
  cell_list sources_[L], targets_[L];
  bool ordered_ = false;
};

}  // namespace perturb
