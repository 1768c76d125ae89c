// Shortest grid paths of one sample: a bucket queue that stops at the target, then the walk back of grid_walk.h.
#pragma once

#include "cpu/oracles/grid_walk.h"
#include "cpu/row.h"
#include "math/grid_cost.h"

namespace perturb {

// The fixed-point scale of one row.
template <class Isa>
PERTURB_INLINE float grid_scale_of(const row_view<Isa>& row) {
  const grid& g = *row.c.oracle->grid;
  return grid_row_scale(row.bounds, row.c.noise, row.c.multiplicative, g.cost_floor, g.diagonal_factor, g.ends_of(row.row).hops);
}

template <class V>
class grid_path_single {
 public:
  using isa = typename V::isa;

  PERTURB_INLINE grid_path_single(const call& c, arena& a, const row_view<isa>& row)
      : row_(row), grid_(*c.oracle->grid), layout_(grid_, 0) {
    distance_ = a.take<int32_t>(grid_.cells());
    next_ = a.take<int32_t>(grid_.cells());
    previous_ = a.take<int32_t>(grid_.cells());
    heads_ = a.take<int32_t>(buckets);
    straight_ = a.take<int32_t>(grid_.cells());
    diagonal_ = grid_.diagonal_factor == 1.0f ? straight_ : a.take<int32_t>(grid_.cells());
  }

  static constexpr bool dense = false;
  static PERTURB_INLINE bool needs_rows(const call& c) {
    return c.operation == PERTURB_OP_SOLVE || (c.operation == PERTURB_OP_EXPECTATION && (c.output[2] || c.output[3]));
  }

  PERTURB_INLINE void begin_row() {
    scale_ = grid_scale_of(row_);
    sources_ = grid_.sources_of(row_.row);
    targets_ = grid_.targets_of(row_.row);
  }
  PERTURB_INLINE void begin_group() { largest_ = 1; }

  PERTURB_INLINE void feed(int64_t i0, int64_t count, const float* z) {
    for (int64_t i = 0; i < count; ++i) set_cost(i0 + i, row_.counts(i0 + i) ? row_.score(i0 + i, z[i]) : 0.0f);
  }

  PERTURB_INLINE void solve() { grid_.has_sets() ? search_to(-1, grid_.is_target.data()) : search_to(*targets_.begin(), nullptr); }

  template <bool Scores, class F>
  PERTURB_INLINE void for_each(int, const float* z, F&& f) const {
    walk_back(
        grid_, layout_, targets_, [&](int32_t cell) __attribute__((always_inline)) { return distance_[cell]; },
        [&](int32_t cell) __attribute__((always_inline)) { return straight_[cell]; }, [&](int32_t cell) __attribute__((always_inline)) { return diagonal_[cell]; },
        [&](int32_t cell, float factor) __attribute__((always_inline)) {
          f(0, (int64_t)cell, (int64_t)1, Scores ? grid_cost<V>(row_.score(cell, z[cell]), grid_.cost_floor) * factor : 0.0f);
        });
  }

  // ---- for grid_path_group: distances of all cells without noise

  PERTURB_INLINE void search_row() {
    begin_row();
    begin_group();
    for (int64_t i = 0; i < grid_.cells(); ++i) set_cost(i, row_.counts(i) ? row_.score(i, 0.0f) : 0.0f);
    search_to(-1, nullptr);
  }
  PERTURB_INLINE const int32_t* distances() const { return distance_; }
  // The distance of a cell if it is a source.
  PERTURB_INLINE int32_t start_of(int64_t cell) const { return grid_.count_source ? straight_[cell] : 0; }

 private:
  PERTURB_INLINE void search_to(int32_t target, const uint8_t* is_target) {
    if (diagonal_ == straight_) {
      search<false>(target, is_target);
    } else {
      search<true>(target, is_target);
    }
  }

  PERTURB_INLINE void set_cost(int64_t i, float score) {
    const float cost = grid_cost<V>(score, grid_.cost_floor);
    straight_[i] = (int32_t)grid_quanta<V>(cost, scale_);
    if (diagonal_ != straight_) diagonal_[i] = (int32_t)grid_quanta<V>(V::mul(cost, grid_.diagonal_factor), scale_);
    if (grid_.passable[i] && diagonal_[i] > largest_) largest_ = diagonal_[i];  // the factor is at least 1
  }

  // Distances from the sources: all of them, or until no cell nearer than the nearest target is left (target >= 0, or is_target).
  // A queue of buckets of equal width (Dial's), label-correcting within a bucket. Lists are doubly linked, so that an improved cell
  // moves; that is rare, since a step's cost is its end's: the first neighbour settled is already the best of its kind.
  template <bool Diagonals>
  PERTURB_NOINLINE void search(int32_t target, const uint8_t* is_target) {
    int32_t* __restrict distance = distance_;
    int32_t* __restrict next = next_;
    int32_t* __restrict previous = previous_;
    int32_t* __restrict heads = heads_;
    const int32_t* straight = straight_;
    const int32_t* diagonal = diagonal_;
    const uint8_t* steps = grid_.steps.data();
    const int64_t cells = grid_.cells();
    int shift = 0;
    while ((largest_ >> shift) >= buckets - 2) ++shift;  // a step spans fewer than all buckets
    for (int64_t i = 0; i < cells; ++i) distance[i] = grid_infinity;
    for (int64_t i = 0; i < cells; ++i) previous[i] = not_queued;
    for (int32_t b = 0; b < buckets; ++b) heads[b] = -1;

    const auto insert = [&](int32_t cell, int32_t at) __attribute__((always_inline)) {
      int32_t& head = heads[at >> shift & (buckets - 1)];
      next[cell] = head;
      previous[cell] = -1;
      if (head >= 0) previous[head] = cell;
      head = cell;
      distance[cell] = at;
    };
    int32_t nearest = INT32_MAX;
    for (const int32_t source : sources_) {
      insert(source, start_of(source));
      if (distance[source] < nearest) nearest = distance[source];
    }
    int64_t waiting = sources_.count;
    int32_t last_bucket = INT32_MAX;  // where a target has been found
    for (int32_t bucket = nearest >> shift; waiting > 0; ++bucket) {
      if (bucket > last_bucket) return;
      int32_t& head = heads[bucket & (buckets - 1)];
      while (head >= 0) {
        const int32_t u = head, here = distance[u];
        head = next[u];
        if (head >= 0) previous[head] = -1;
        previous[u] = not_queued;
        --waiting;
        if (u == target || (is_target && is_target[u])) last_bucket = bucket;
        const auto relax = [&](int k) __attribute__((always_inline)) {
          const int32_t v = u + layout_.step[k];
          const int32_t candidate = here + (Diagonals && (grid_diagonals >> k & 1) ? diagonal[v] : straight[v]);
          if (candidate >= distance[v]) return;
          if (previous[v] == not_queued) {
            ++waiting;
          } else {
            if (previous[v] >= 0) next[previous[v]] = next[v];
            else heads[distance[v] >> shift & (buckets - 1)] = next[v];
            if (next[v] >= 0) previous[next[v]] = previous[v];
          }
          insert(v, candidate);
        };
        if (steps[u] == 0xff) {
          for (int k = 0; k < grid_neighbours; ++k) relax(k);
        } else {
          for (unsigned mask = steps[u]; mask; mask &= mask - 1) relax(__builtin_ctz(mask));
        }
      }
    }
  }

  static constexpr int32_t buckets = 512, not_queued = -2;
  const row_view<isa>& row_;
  const grid& grid_;
  grid_layout layout_;
  cell_list sources_ = {}, targets_ = {};
  int32_t* distance_;
  int32_t* next_;
  int32_t* previous_;
  int32_t* heads_;
  int32_t* straight_;
  int32_t* diagonal_;
  int32_t largest_ = 1;
  float scale_ = 1.0f;
};

}  // namespace perturb
