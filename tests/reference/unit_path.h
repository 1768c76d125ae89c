// Judges a path on unit costs, fast on big maps: the shortest way through the marked cells must use all of them and have the length that
// is claimed. (grid_path.h judges paths on any costs, but needs the distances of the whole map.)
#pragma once

#include <map>
#include <string>

#include "grid_path.h"

namespace perturb::test::reference {

// "" or what is wrong with y as a path of length `length` (source not counted).
inline std::string unit_path_fault(const grid& g, const std::vector<float>& y, double length) {
  std::map<int64_t, double> best;
  std::map<int64_t, size_t> cells;
  size_t marked = 0;
  for (float value : y) {
    if (value != 0 && value != 1) return "a mark is neither 0 nor 1";
    marked += value == 1;
  }
  using entry = std::pair<double, int64_t>;
  std::priority_queue<entry, std::vector<entry>, std::greater<entry>> queue;
  best[g.source] = 0;
  cells[g.source] = 1;
  queue.push({0, g.source});
  while (!queue.empty()) {
    const auto [distance, u] = queue.top();
    queue.pop();
    if (distance > best[u]) continue;
    for (int d = 0; d < 8; ++d) {
      if (!g.allowed(u, d)) continue;
      const int64_t v = g.neighbour(u, d);
      const double through = distance + (grid::diagonal(d) ? g.diagonal_factor : 1.0);
      if (y[v] != 1 || (best.count(v) && best[v] <= through)) continue;
      best[v] = through;
      cells[v] = cells[u] + 1;
      queue.push({through, v});
    }
  }
  if (y[g.source] != 1 || !best.count(g.target)) return "the marked cells do not join the ends";
  if (cells[g.target] != marked) return std::to_string(marked) + " cells are marked, the path has " + std::to_string(cells[g.target]);
  if (std::abs(best[g.target] - length) > 3e-5 * length + 0.0051) return "the marked path has length " + std::to_string(best[g.target]);
  return "";
}

}  // namespace perturb::test::reference
