// Which steps a grid has, and how far its cells are from the source in steps (a breadth-first search).
#include "grid.h"

#include "perturb/perturb.h"

namespace perturb {

bool prepare_grid(grid& g, int connectivity) {
  const int64_t h = g.height, w = g.width, cells = g.cells();
  if (!g.passable[g.source] || !g.passable[g.target]) return false;
  auto open = [&](int64_t r, int64_t c) { return r >= 0 && r < h && c >= 0 && c < w && g.passable[r * w + c]; };

  g.steps.assign(cells, 0);
  for (int64_t r = 0; r < h; ++r) {
    for (int64_t c = 0; c < w; ++c) {
      if (!g.passable[r * w + c]) continue;
      uint8_t mask = 0;
      for (int k = 0; k < grid_neighbours; ++k) {
        const int dr = grid_row_step[k], dc = grid_column_step[k];
        const bool diagonal = dr != 0 && dc != 0;
        if (diagonal && connectivity == PERTURB_CONNECT_4) continue;
        if (!open(r + dr, c + dc)) continue;
        if (diagonal && connectivity == PERTURB_CONNECT_8_NO_CORNER_CUTTING && !(open(r + dr, c) && open(r, c + dc))) continue;
        mask |= (uint8_t)(1u << k);
      }
      g.steps[r * w + c] = mask;
    }
  }

  std::vector<int32_t> queue(cells), hops(cells, -1);
  int64_t head = 0, tail = 0;
  queue[tail++] = (int32_t)g.source;
  hops[g.source] = 0;
  while (head < tail) {
    const int64_t v = queue[head++];
    g.hops = hops[v];
    for (int k = 0; k < grid_neighbours; ++k) {
      if (!(g.steps[v] >> k & 1)) continue;
      const int64_t u = v + grid_row_step[k] * w + grid_column_step[k];
      if (hops[u] >= 0) continue;
      hops[u] = hops[v] + 1;
      queue[tail++] = (int32_t)u;
    }
  }
  g.reached = tail;
  return hops[g.target] >= 0;
}

}  // namespace perturb
