// Which steps a grid has, and how far its cells are from the source in steps (a breadth-first search).
#include "grid.h"

#include <algorithm>

#include "perturb/perturb.h"

namespace perturb {

bool prepare_grid(grid& g, int connectivity) {
  const int64_t h = g.height, w = g.width, pitch = w + 2;
  if (!g.passable[g.source] || !g.passable[g.target]) return false;

  // A border of walls makes every neighbour a plain look-up, and the loops below free of branches.
  std::vector<uint8_t> open((h + 2) * pitch, 0);
  for (int64_t r = 0; r < h; ++r) std::copy_n(&g.passable[r * w], w, &open[(r + 1) * pitch + 1]);
  g.steps.assign(g.cells(), 0);
  for (int k = 0; k < grid_neighbours; ++k) {
    const int64_t dr = grid_row_step[k], dc = grid_column_step[k];
    const bool diagonal = dr != 0 && dc != 0;
    if (diagonal && connectivity == PERTURB_CONNECT_4) continue;
    const bool corners = diagonal && connectivity == PERTURB_CONNECT_8_NO_CORNER_CUTTING;
    for (int64_t r = 0; r < h; ++r) {
      const uint8_t* here = &open[(r + 1) * pitch + 1];
      const uint8_t* there = here + dr * pitch + dc;
      const uint8_t* vertical = corners ? here + dr * pitch : there;
      const uint8_t* horizontal = corners ? here + dc : there;
      uint8_t* steps = &g.steps[r * w];
      for (int64_t c = 0; c < w; ++c) steps[c] = (uint8_t)(steps[c] | (here[c] & there[c] & vertical[c] & horizontal[c]) << k);
    }
  }

  // Breadth first, one level of hops after the other.
  std::vector<int32_t> queue(g.cells() + 1);  // one to spare: the write below comes before its test
  std::vector<uint8_t> seen(g.cells(), 0);
  int64_t head = 0, tail = 0;
  queue[tail++] = (int32_t)g.source;
  seen[g.source] = 1;
  int64_t offset[grid_neighbours];
  for (int k = 0; k < grid_neighbours; ++k) offset[k] = grid_row_step[k] * w + grid_column_step[k];
  for (g.hops = -1; head < tail; ++g.hops) {
    for (const int64_t level_end = tail; head < level_end; ++head) {
      const int64_t v = queue[head];
      for (unsigned mask = g.steps[v]; mask; mask &= mask - 1) {
        const int64_t u = v + offset[__builtin_ctz(mask)];
        queue[tail] = (int32_t)u;
        if (!seen[u]) ++tail;
        seen[u] = 1;
      }
    }
  }
  g.reached = tail;
  return seen[g.target] != 0;
}

}  // namespace perturb
