// How distances lie in memory, and the walk back from the target by the tie rule.
//
// A source's distance is what starting there costs, and no other cell's is: every step into a cell costs at least as much as starting there,
// and one quantum at least. So the walk back of any number of sources ends at the first cell with such a distance.
#pragma once

#include "grid.h"
#include "math/lanes.h"

namespace perturb {

// Where a cell's distance is: with a border of one place on each side, or none.
struct grid_layout {
  int32_t width, border, pitch;
  int32_t step[grid_neighbours], cell_step[grid_neighbours];  // to the place of each neighbour, and to its cell

  PERTURB_INLINE grid_layout(const grid& g, int32_t border_) : width((int32_t)g.width), border(border_), pitch(width + 2 * border_) {
    for (int k = 0; k < grid_neighbours; ++k) {
      step[k] = grid_row_step[k] * pitch + grid_column_step[k];
      cell_step[k] = grid_row_step[k] * width + grid_column_step[k];
    }
  }
  PERTURB_INLINE int32_t place(int32_t cell) const { return border == 0 ? cell : (cell / width + border) * pitch + cell % width + border; }
};

// f(cell, factor) for the cells of the shortest path, from the target on: what a cell adds to the path's cost, in units of its own.
// distance(place), straight(cell), diagonal(cell): of the path's sample. Ends at the nearest target, the lowest cell among equal ones.
template <class Distance, class Straight, class Diagonal, class F>
PERTURB_INLINE void walk_back(const grid& g, const grid_layout& layout, cell_list targets, Distance&& distance, Straight&& straight, Diagonal&& diagonal, F&& f) {
  int32_t v = *targets.begin();
  if (targets.count > 1) {
    for (const int32_t target : targets)
      if (distance(layout.place(target)) < distance(layout.place(v))) v = target;
  }
  int32_t at = layout.place(v);
  for (int32_t here; (here = distance(at)) != (g.count_source ? straight(v) : 0);) {
    // Distances are a fixpoint: the cell before is the first neighbour, in the order of the tie rule, from where the step makes up the difference.
    const int32_t before_straight = here - straight(v), before_diagonal = here - diagonal(v);
    unsigned from = 0;
    if (layout.border > 0) {  // every neighbour has a place: no branches to guess
PERTURB_UNROLL
      for (int k = 0; k < grid_neighbours; ++k) from |= (unsigned)(distance(at + layout.step[k]) == (grid_diagonals >> k & 1 ? before_diagonal : before_straight)) << k;
      from &= g.steps[v];
    } else {
      for (unsigned mask = g.steps[v]; mask && !from; mask &= mask - 1) {
        const int k = __builtin_ctz(mask);
        if (distance(at + layout.step[k]) == (grid_diagonals >> k & 1 ? before_diagonal : before_straight)) from = 1u << k;
      }
    }
    const int k = __builtin_ctz(from);
    f(v, grid_diagonals >> k & 1 ? g.diagonal_factor : 1.0f);
    v += layout.cell_step[k];
    at += layout.step[k];
  }
  f(v, g.count_source ? 1.0f : 0.0f);
}

}  // namespace perturb
