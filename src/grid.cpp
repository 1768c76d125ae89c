// Which steps a grid has, and how far its cells are from the sources in steps (breadth-first searches).
#include "grid.h"

#include <algorithm>
#include <numeric>

#include "perturb/perturb.h"

namespace perturb {

void make_steps(grid& g, int connectivity) {
  const int64_t h = g.height, w = g.width, pitch = w + 2;
  // A border of walls makes every neighbour a plain look-up, and the loops below free of branches.
  std::vector<uint8_t> open((h + 2) * pitch, 0);
  for (int64_t r = 0; r < h; ++r) std::copy_n(&g.passable[r * w], w, &open[(r + 1) * pitch + 1]);
  g.has_walls = std::find(g.passable.begin(), g.passable.end(), 0) != g.passable.end();
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
}

namespace {

// Searches breadth first, one level of hops after the other.
class hop_search {
 public:
  explicit hop_search(const grid& g) : grid_(g), queue_(g.cells() + 1), seen_(g.cells()) {  // one to spare: the write comes before its test
    for (int k = 0; k < grid_neighbours; ++k) offset_[k] = grid_row_step[k] * g.width + grid_column_step[k];
  }

  void from(cell_list sources) {
    std::fill(seen_.begin(), seen_.end(), (uint8_t)0);
    int64_t head = 0, tail = 0;
    for (const int32_t source : sources) {
      queue_[tail++] = source;
      seen_[source] = 1;
    }
    for (hops_ = -1; head < tail; ++hops_) {
      for (const int64_t level_end = tail; head < level_end; ++head) {
        const int64_t v = queue_[head];
        for (unsigned mask = grid_.steps[v]; mask; mask &= mask - 1) {
          const int64_t u = v + offset_[__builtin_ctz(mask)];
          queue_[tail] = (int32_t)u;
          if (!seen_[u]) ++tail;
          seen_[u] = 1;
        }
      }
    }
    reached_ = tail;
  }

  void measure(grid_ends& ends) const {
    ends.hops = (int32_t)hops_;
    ends.reached = (int32_t)reached_;
  }
  bool reaches(int32_t cell) const { return seen_[cell] != 0; }

 private:
  const grid& grid_;
  std::vector<int32_t> queue_;
  std::vector<uint8_t> seen_;
  int64_t offset_[grid_neighbours];
  int64_t hops_ = 0, reached_ = 0;
};

}  // namespace

int64_t measure_grid(grid& g) {
  hop_search search(g);
  if (g.rows.empty()) {
    search.from(g.sources_of(0));
    search.measure(g.ends);
    if (!g.has_sets()) return search.reaches(g.ends.target) ? -1 : 0;
    g.targets.erase(std::remove_if(g.targets.begin(), g.targets.end(), [&](int32_t cell) { return !search.reaches(cell); }), g.targets.end());
    g.is_target.assign(g.cells(), 0);
    for (const int32_t target : g.targets) g.is_target[target] = 1;
    return g.targets.empty() ? 0 : -1;
  }
  // Rows with one source share its search.
  std::vector<int64_t> order(g.rows.size());
  std::iota(order.begin(), order.end(), int64_t{0});
  std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return g.rows[a].source < g.rows[b].source; });
  int64_t unreached = -1, searched = -1;
  for (const int64_t row : order) {
    grid_ends& ends = g.rows[row];
    if (ends.source != searched) search.from({&ends.source, 1});
    searched = ends.source;
    search.measure(ends);
    if (!search.reaches(ends.target) && (unreached < 0 || row < unreached)) unreached = row;
  }
  return unreached;
}

}  // namespace perturb
