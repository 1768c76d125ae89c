// Shortest grid paths: int32 distances, then a walk back from the target by the tie rule.
//
// A source's distance is what starting there costs, and no other cell's is: every step into a cell costs at least as much as starting there,
// and one quantum at least. So the walk back of any number of sources ends at the first cell with such a distance.
//
// grid_path_group relaxes V::count samples at once (lane = sample): Gauss-Seidel over the cells in the order of their distance without
// noise, until no lane changes. A small epsilon leaves that order nearly right, so few passes do. grid_path_single finds one sample's
// distances with a bucket queue and stops at the target; it also makes the group's order. Both reach the one fixpoint (math/grid_cost.h).
#pragma once

#include "cpu/row.h"
#include "math/grid_cost.h"
#include "math/order.h"

namespace perturb {

// Beyond this the group's rows no longer fit a second-level cache and most passes would wait for memory.
constexpr int64_t grid_group_limit = 128 * 128;

PERTURB_INLINE static bool grid_path_fits_group(const call& c) { return c.n() <= grid_group_limit; }

// The fixed-point scale of one row.
template <class Isa>
PERTURB_INLINE float grid_scale_of(const row_view<Isa>& row) {
  const grid& g = *row.c.oracle->grid;
  return grid_row_scale(row.bounds, row.c.noise, row.c.multiplicative, g.cost_floor, g.diagonal_factor, g.ends_of(row.row).hops);
}

// The target that a path ends at: the nearest, the lowest cell among equal ones. distance(cell): of the path's sample.
template <class Distance>
PERTURB_INLINE int32_t nearest_target(cell_list targets, Distance&& distance) {
  int32_t nearest = *targets.begin();
  if (targets.count == 1) return nearest;
  for (const int32_t target : targets)
    if (distance(target) < distance(nearest)) nearest = target;
  return nearest;
}

template <class V>
class grid_path_single {
 public:
  using isa = typename V::isa;

  PERTURB_INLINE grid_path_single(const call& c, arena& a, const row_view<isa>& row)
      : row_(row), grid_(*c.oracle->grid) {
    distance_ = a.take<int32_t>(grid_.cells());
    next_ = a.take<int32_t>(grid_.cells());
    previous_ = a.take<int32_t>(grid_.cells());
    heads_ = a.take<int32_t>(buckets);
    straight_ = a.take<int32_t>(grid_.cells());
    diagonal_ = grid_.diagonal_factor == 1.0f ? straight_ : a.take<int32_t>(grid_.cells());
    for (int k = 0; k < grid_neighbours; ++k) offset_[k] = grid_row_step[k] * (int32_t)grid_.width + grid_column_step[k];
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
    int64_t v = nearest_target(targets_, [&](int32_t cell) { return distance_[cell]; });
    while (distance_[v] != start_of(v)) {
      int32_t best = INT32_MAX;
      int best_k = 0;
      for (unsigned mask = grid_.steps[v]; mask; mask &= mask - 1) {
        const int k = __builtin_ctz(mask);
        const int32_t candidate = distance_[v + offset_[k]] + (grid_diagonals >> k & 1 ? diagonal_[v] : straight_[v]);
        if (candidate < best) {
          best = candidate;
          best_k = k;
        }
      }
      const float factor = grid_diagonals >> best_k & 1 ? grid_.diagonal_factor : 1.0f;
      f(0, v, (int64_t)1, Scores ? grid_cost<V>(row_.score(v, z[v]), grid_.cost_floor) * factor : 0.0f);
      v += offset_[best_k];
    }
    f(0, v, (int64_t)1, Scores && grid_.count_source ? grid_cost<V>(row_.score(v, z[v]), grid_.cost_floor) : 0.0f);
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
          const int32_t v = u + offset_[k];
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
  cell_list sources_ = {}, targets_ = {};
  int32_t* distance_;
  int32_t* next_;
  int32_t* previous_;
  int32_t* heads_;
  int32_t* straight_;
  int32_t* diagonal_;
  int32_t offset_[grid_neighbours];
  int32_t largest_ = 1;
  float scale_ = 1.0f;
};

template <class V>
class grid_path_group {
 public:
  using isa = typename V::isa;
  static constexpr int L = V::count;

  PERTURB_INLINE grid_path_group(const call& c, arena& a, const row_view<isa>& row)
      : row_(row), grid_(*c.oracle->grid), search_(c, a, row), pitch_((int32_t)grid_.width + 2) {
    const int64_t cells = grid_.cells();
    distance_ = a.take<uint32_t>((grid_.height + 2) * pitch_ * L);
    straight_ = a.take<uint32_t>(cells * L);
    diagonal_ = grid_.diagonal_factor == 1.0f ? straight_ : a.take<uint32_t>(cells * L);
    order_ = a.take<uint64_t>(2 * cells);
    visits_ = a.take<visit>(cells);
    for (int k = 0; k < grid_neighbours; ++k) {
      offset_[k] = grid_row_step[k] * pitch_ + grid_column_step[k];
      flat_offset_[k] = grid_row_step[k] * (int32_t)grid_.width + grid_column_step[k];
    }
  }

  static constexpr bool dense = false;
  static PERTURB_INLINE bool needs_rows(const call& c) { return c.operation == PERTURB_OP_EXPECTATION && (c.output[2] || c.output[3]); }

  // The cells that the sources reach, in the order of their distance without noise. Sources themselves never get nearer.
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
    for (int64_t i = 0; i < count; ++i) {
      const int32_t cell = (int32_t)(uint32_t)order_[i];
      visits_[i] = {cell, padded(cell), kind_of(cell), grid_.steps[cell]};
    }
    visit_count_ = count;
  }

  PERTURB_INLINE void begin_group() {}

  PERTURB_INLINE void feed(int64_t i0, int64_t count, const float* z) {
    row_.with_score([&](auto score) {
      for (int64_t i = 0; i < count; ++i) {
        const int64_t cell = i0 + i;
        if (!grid_.passable[cell]) continue;
        const typename V::f32 cost = grid_cost<V>(score(V{}, cell, V::load(z + i * L)), grid_.cost_floor);
        V::store(straight_ + cell * L, grid_quanta<V>(cost, scale_));
        if (diagonal_ != straight_) V::store(diagonal_ + cell * L, grid_quanta<V>(V::mul(cost, V::set1(grid_.diagonal_factor)), scale_));
      }
    });
  }

  PERTURB_INLINE void solve() {
    const typename V::u32 infinity = V::set1((uint32_t)grid_infinity);
    const int64_t rows = (grid_.height + 2) * pitch_;
    for (int64_t r = 0; r < rows; ++r) V::store(distance_ + r * L, infinity);
    for (const int32_t source : sources_)
      V::store(distance_ + (int64_t)padded(source) * L, grid_.count_source ? V::load(straight_ + (int64_t)source * L) : V::set1(0u));
    if (diagonal_ == straight_) {
      while (pass<false>()) {
      }
    } else {
      while (pass<true>()) {
      }
    }
  }

  template <bool Scores, class F>
  PERTURB_INLINE void for_each(int lanes, const float* z, F&& f) const {
    for (int l = 0; l < lanes; ++l) {
      const auto distance_of = [&](int32_t padded_cell) __attribute__((always_inline)) { return (int32_t)distance_[(int64_t)padded_cell * L + l]; };
      int32_t v = nearest_target(targets_, [&](int32_t cell) { return distance_of(padded(cell)); }), at = padded(v);
      while (distance_of(at) != (grid_.count_source ? (int32_t)straight_[v * L + l] : 0)) {
        const int32_t straight = (int32_t)straight_[v * L + l], diagonal = (int32_t)diagonal_[v * L + l];
        int32_t best = INT32_MAX;
        int best_k = 0;
        for (unsigned mask = grid_.steps[v]; mask; mask &= mask - 1) {
          const int k = __builtin_ctz(mask);
          const int32_t candidate = distance_of(at + offset_[k]) + (grid_diagonals >> k & 1 ? diagonal : straight);
          if (candidate < best) {
            best = candidate;
            best_k = k;
          }
        }
        f(l, (int64_t)v, (int64_t)1, Scores ? cost_of(v, l, z) * (grid_diagonals >> best_k & 1 ? grid_.diagonal_factor : 1.0f) : 0.0f);
        v += flat_offset_[best_k];
        at += offset_[best_k];
      }
      f(l, (int64_t)v, (int64_t)1, Scores && grid_.count_source ? cost_of(v, l, z) : 0.0f);
    }
  }

 private:
  // all: every open neighbour is a step, so all eight (or four) rows are read: walls and the padding are at infinity.
  enum class kind : int32_t { all_eight, all_four, some };
  struct visit {
    int32_t cell, at;
    kind neighbours;
    uint32_t steps;
  };

  PERTURB_INLINE int32_t padded(int32_t cell) const {
    const int32_t w = (int32_t)grid_.width;
    return (cell / w + 1) * pitch_ + cell % w + 1;
  }

  PERTURB_INLINE kind kind_of(int32_t cell) const {
    const int32_t w = (int32_t)grid_.width, h = (int32_t)grid_.height, r = cell / w, c = cell % w;
    unsigned open = 0;
    for (int k = 0; k < grid_neighbours; ++k) {
      const int32_t y = r + grid_row_step[k], x = c + grid_column_step[k];
      if (y >= 0 && y < h && x >= 0 && x < w && grid_.passable[y * w + x]) open |= 1u << k;
    }
    return grid_.steps[cell] == open ? kind::all_eight : grid_.steps[cell] == (open & grid_straights) ? kind::all_four : kind::some;
  }

  PERTURB_INLINE float cost_of(int32_t cell, int lane, const float* z) const {
    return grid_cost<scalar_lanes<isa>>(row_.score(cell, z[cell * L + lane]), grid_.cost_floor);
  }

  // Relaxes every cell once; whether anything changed.
  template <bool Diagonals>
  PERTURB_NOINLINE bool pass() {
    typename V::u32 changed = V::set1(0u);
    for (int64_t i = 0; i < visit_count_; ++i) {
      const visit& at = visits_[i];
      uint32_t* here = distance_ + (int64_t)at.at * L;
      auto from = [&](int k) { return V::load(here + (int64_t)offset_[k] * L); };
      const typename V::u32 step = V::load(straight_ + (int64_t)at.cell * L);
      typename V::u32 distance;
      if (at.neighbours == kind::all_eight) {
        const typename V::u32 straight = V::min_signed(V::min_signed(from(1), from(3)), V::min_signed(from(4), from(6)));
        const typename V::u32 diagonal = V::min_signed(V::min_signed(from(0), from(2)), V::min_signed(from(5), from(7)));
        distance = Diagonals ? V::min_signed(V::add(straight, step), V::add(diagonal, V::load(diagonal_ + (int64_t)at.cell * L)))
                             : V::add(V::min_signed(straight, diagonal), step);
      } else if (at.neighbours == kind::all_four) {
        distance = V::add(V::min_signed(V::min_signed(from(1), from(3)), V::min_signed(from(4), from(6))), step);
      } else {
        typename V::u32 straight = V::set1((uint32_t)grid_infinity), diagonal = straight;
        for (unsigned mask = at.steps & grid_straights; mask; mask &= mask - 1) straight = V::min_signed(straight, from(__builtin_ctz(mask)));
        for (unsigned mask = at.steps & grid_diagonals; mask; mask &= mask - 1) diagonal = V::min_signed(diagonal, from(__builtin_ctz(mask)));
        distance = V::min_signed(V::add(straight, step), V::add(diagonal, Diagonals ? V::load(diagonal_ + (int64_t)at.cell * L) : step));
      }
      changed = V::bit_or(changed, V::bit_xor(distance, V::load(here)));
      V::store(here, distance);
    }
    return V::bitmask(V::equal(changed, V::set1(0u))) != (L == 32 ? ~0u : (1u << L) - 1u);
  }

  const row_view<isa>& row_;
  const grid& grid_;
  grid_path_single<scalar_lanes<isa>> search_;
  cell_list sources_ = {}, targets_ = {};
  int32_t pitch_;
  uint32_t* distance_;
  uint32_t* straight_;
  uint32_t* diagonal_;
  uint64_t* order_;
  visit* visits_;
  int64_t visit_count_ = 0;
  int32_t offset_[grid_neighbours], flat_offset_[grid_neighbours];
  float scale_ = 1.0f;
};

}  // namespace perturb
