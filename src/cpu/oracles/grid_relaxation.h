// Distances of V::count grids of one shape side by side: Gauss-Seidel over the cells in a given order, until no lane changes. They are the one
// fixpoint (math/grid_cost.h) whatever the order; a good order needs few passes.
#pragma once

#include "cpu/arena.h"
#include "cpu/oracles/grid_walk.h"
#include "math/grid_cost.h"

namespace perturb {

// Measured: six times a search of each grid by itself here, with little noise, although passes wait for memory from 128 x 128 on; at 512 x 512
// and with much noise less than half.
constexpr int64_t grid_group_limit = 256 * 256;

template <class V>
class grid_relaxation {
 public:
  static constexpr int L = V::count;

  PERTURB_INLINE grid_relaxation(const grid& g, arena& a) : grid_(g), layout_(g, 1) {
    distance_ = a.take<uint32_t>((g.height + 2) * layout_.pitch * L);
    const int64_t whole_tiles = (g.cells() + L - 1) / L * L;
    straight_ = a.take<uint32_t>(whole_tiles * L);
    diagonal_ = g.diagonal_factor == 1.0f ? straight_ : a.take<uint32_t>(whole_tiles * L);
    visits_ = a.take<visit>(g.cells());
  }

  // The step costs in quanta, vectors over the lanes by cell, in whole tiles of transpose.h; one array where diagonal steps cost the same.
  PERTURB_INLINE uint32_t* straight() const { return straight_; }
  PERTURB_INLINE uint32_t* diagonal() const { return diagonal_; }
  PERTURB_INLINE bool has_diagonal() const { return grid_.diagonal_factor != 1.0f; }

  // The cells to visit: all that some lane's sources reach, in this order.
  PERTURB_INLINE void begin_order() { visit_count_ = 0; }
  PERTURB_INLINE void visit_next(int32_t cell) { visits_[visit_count_++] = {cell, layout_.place(cell), kind_of(cell), grid_.steps[cell]}; }

  // All distances infinite, but what starting at a source costs: in all lanes, or in one.
  PERTURB_INLINE void clear() {
    const typename V::u32 infinity = V::set1((uint32_t)grid_infinity);
    const int64_t places = (grid_.height + 2) * layout_.pitch;
    for (int64_t p = 0; p < places; ++p) V::store(distance_ + p * L, infinity);
  }
  PERTURB_INLINE void start(int32_t source) {
    V::store(distance_ + (int64_t)layout_.place(source) * L, grid_.count_source ? V::load(straight_ + (int64_t)source * L) : V::set1(0u));
  }
  PERTURB_INLINE void start(int32_t source, int lane) {
    distance_[(int64_t)layout_.place(source) * L + lane] = grid_.count_source ? straight_[(int64_t)source * L + lane] : 0;
  }

  // among_sources: a lane's source may be another's ordinary cell, so sources are visited; they never get nearer.
  template <bool among_sources>
  PERTURB_INLINE void relax() {
    if (has_diagonal()) {
      while (pass<true, among_sources>()) {
      }
    } else {
      while (pass<false, among_sources>()) {
      }
    }
  }

  // walk_back() of one lane.
  template <class F>
  PERTURB_INLINE void walk(int lane, cell_list targets, F&& f) const {
    walk_back(
        grid_, layout_, targets, [&](int32_t place) __attribute__((always_inline)) { return (int32_t)distance_[(int64_t)place * L + lane]; },
        [&](int32_t cell) __attribute__((always_inline)) { return (int32_t)straight_[(int64_t)cell * L + lane]; },
        [&](int32_t cell) __attribute__((always_inline)) { return (int32_t)diagonal_[(int64_t)cell * L + lane]; }, f);
  }

 private:
  // all: every open neighbour is a step, so all eight (or four) rows are read: walls and the padding are at infinity.
  enum class kind : int32_t { all_eight, all_four, some };
  struct visit {
    int32_t cell, at;
    kind neighbours;
    uint32_t steps;
  };

  PERTURB_INLINE kind kind_of(int32_t cell) const {
    const int32_t w = (int32_t)grid_.width, h = (int32_t)grid_.height, r = cell / w, c = cell % w;
    unsigned open = 0;
    for (int k = 0; k < grid_neighbours; ++k) {
      const int32_t y = r + grid_row_step[k], x = c + grid_column_step[k];
      if (y >= 0 && y < h && x >= 0 && x < w && grid_.passable[y * w + x]) open |= 1u << k;
    }
    return grid_.steps[cell] == open ? kind::all_eight : grid_.steps[cell] == (open & grid_straights) ? kind::all_four : kind::some;
  }

  // Relaxes every cell once; whether anything changed.
  template <bool Diagonals, bool among_sources>
  PERTURB_NOINLINE bool pass() {
    typename V::u32 changed = V::set1(0u);
    for (int64_t i = 0; i < visit_count_; ++i) {
      const visit& at = visits_[i];
      uint32_t* here = distance_ + (int64_t)at.at * L;
      auto from = [&](int k) { return V::load(here + (int64_t)layout_.step[k] * L); };
      const typename V::u32 step = V::load(straight_ + (int64_t)at.cell * L), before = V::load(here);
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
      if (among_sources) distance = V::min_signed(distance, before);
      changed = V::bit_or(changed, V::bit_xor(distance, before));
      V::store(here, distance);
    }
    return V::bitmask(V::equal(changed, V::set1(0u))) != (L == 32 ? ~0u : (1u << L) - 1u);
  }

  const grid& grid_;
  grid_layout layout_;
  uint32_t* distance_;
  uint32_t* straight_;
  uint32_t* diagonal_;
  visit* visits_;
  int64_t visit_count_ = 0;
};

}  // namespace perturb
