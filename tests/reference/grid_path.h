// Naive grid shortest paths: Dijkstra over any cost type (double for values, integers for exact ties), the walk back with the tie rule
// of the header, all simple paths by enumeration, and a judge that says whether a set of marked cells is a path and what it costs.
// From one cell to another, or from any cell of a set to any of another.
#pragma once

#include <algorithm>
#include <functional>
#include <limits>
#include <optional>
#include <queue>
#include <utility>

#include "../cases.h"

namespace perturb::test::reference {

struct grid {
  int64_t height = 1, width = 1, source = 0, target = 0;
  perturb_connectivity connectivity = PERTURB_CONNECT_8;
  double diagonal_factor = 1;
  bool count_source = true;
  std::vector<uint8_t> passable;  // always filled
  std::vector<int64_t> sources = {}, targets = {};  // sets; empty: source, target

  std::vector<int64_t> all_sources() const { return sources.empty() ? std::vector<int64_t>{source} : sources; }
  std::vector<int64_t> all_targets() const { return targets.empty() ? std::vector<int64_t>{target} : targets; }
  bool is_source(int64_t cell) const { return holds(all_sources(), cell); }
  bool is_target(int64_t cell) const { return holds(all_targets(), cell); }
  static bool holds(const std::vector<int64_t>& set, int64_t cell) { return std::find(set.begin(), set.end(), cell) != set.end(); }
  int64_t cells() const { return height * width; }
  bool allowed(int64_t cell, int d) const { return step_allowed(passable, height, width, connectivity, cell / width, cell % width, d); }
  int64_t neighbour(int64_t cell, int d) const { return cell + neighbours[d].row * width + neighbours[d].column; }
  static bool diagonal(int d) { return neighbours[d].row != 0 && neighbours[d].column != 0; }
};

inline grid make_grid_reference(const test_case& c) {
  return {c.height, c.width, c.source, c.target, c.connectivity, c.diagonal_factor, c.count_source != 0, make_passable(c), c.sources, c.targets};
}

// What a step into each cell costs.
template <class Cost>
struct step_costs {
  std::vector<Cost> straight, diagonal;
  Cost into(int64_t cell, int d) const { return grid::diagonal(d) ? diagonal[cell] : straight[cell]; }
};

inline step_costs<double> make_steps(const grid& g, const std::vector<double>& cost) {
  step_costs<double> steps{cost, cost};
  for (double& c : steps.diagonal) c *= g.diagonal_factor;
  return steps;
}

template <class Cost>
constexpr Cost unreached = std::numeric_limits<Cost>::max() / 4;

// The least cost of a path from a source to every cell; walls and cells out of reach hold unreached<Cost>.
template <class Cost>
std::vector<Cost> distances(const grid& g, const step_costs<Cost>& steps) {
  std::vector<Cost> best(g.cells(), unreached<Cost>);
  using entry = std::pair<Cost, int64_t>;
  std::priority_queue<entry, std::vector<entry>, std::greater<entry>> queue;
  for (const int64_t source : g.all_sources()) {
    best[source] = g.count_source ? steps.straight[source] : Cost{0};
    queue.push({best[source], source});
  }
  while (!queue.empty()) {
    const auto [distance, u] = queue.top();
    queue.pop();
    if (distance > best[u]) continue;
    for (int d = 0; d < 8; ++d) {
      if (!g.allowed(u, d)) continue;
      const int64_t v = g.neighbour(u, d);
      const Cost through = distance + steps.into(v, d);
      if (through < best[v]) {
        best[v] = through;
        queue.push({through, v});
      }
    }
  }
  return best;
}

// The target of least distance, the lowest cell among equal ones.
template <class Cost>
int64_t nearest_target(const grid& g, const std::vector<Cost>& distance) {
  int64_t nearest = -1;
  for (int64_t cell = 0; cell < g.cells(); ++cell)
    if (g.is_target(cell) && distance[cell] < unreached<Cost> && (nearest < 0 || distance[cell] < distance[nearest])) nearest = cell;
  return nearest;
}

// The same by trying every simple path from a source: for grids of a dozen cells.
template <class Cost>
std::vector<Cost> distances_by_enumeration(const grid& g, const step_costs<Cost>& steps) {
  std::vector<Cost> best(g.cells(), unreached<Cost>);
  std::vector<uint8_t> used(g.cells());
  const std::function<void(int64_t, Cost)> visit = [&](int64_t u, Cost so_far) {
    best[u] = std::min(best[u], so_far);
    used[u] = 1;
    for (int d = 0; d < 8; ++d) {
      if (!g.allowed(u, d)) continue;
      const int64_t v = g.neighbour(u, d);
      if (!used[v]) visit(v, so_far + steps.into(v, d));
    }
    used[u] = 0;
  };
  for (const int64_t source : g.all_sources()) visit(source, g.count_source ? steps.straight[source] : Cost{0});
  return best;
}

// The path that the tie rule picks: back from the target, the predecessor with the least distance + step, the first in the order
// NW, N, NE, W, E, SW, S, SE among equals.
template <class Cost>
std::vector<float> walk_back(const grid& g, const step_costs<Cost>& steps, const std::vector<Cost>& distance) {
  std::vector<float> y(g.cells(), 0.0f);
  int64_t v = nearest_target(g, distance);
  y[v] = 1;
  while (!g.is_source(v)) {
    int64_t previous = -1;
    Cost best{};
    for (int d = 0; d < 8; ++d) {
      if (!g.allowed(v, d)) continue;  // steps are allowed both ways or not at all
      const int64_t u = g.neighbour(v, d);
      if (distance[u] >= unreached<Cost>) continue;
      const Cost through = distance[u] + steps.into(v, d);
      if (previous < 0 || through < best) {
        previous = u;
        best = through;
      }
    }
    v = previous;
    y[v] = 1;
  }
  return y;
}

// The cost of the path whose cells are marked, or nothing if the marks are not exactly the cells of one path from source to target. Of sets it
// must have one cell each.
// The cells are put in the order of `distance` (from the source, with the same steps), in which a shortest path runs; where that does
// not give a path (nearly equal distances), a bounded search tries the other orders.
inline std::optional<double> marked_path_cost(const grid& g, const step_costs<double>& steps, const std::vector<double>& distance,
                                              const float* y) {
  std::vector<int64_t> marked;
  int64_t source = -1, target = -1;
  for (int64_t i = 0; i < g.cells(); ++i) {
    if (y[i] == 0) continue;
    if (y[i] != 1 || !g.passable[i]) return std::nullopt;
    marked.push_back(i);
    if (g.is_source(i)) {
      if (source >= 0) return std::nullopt;
      source = i;
    }
    if (g.is_target(i)) {
      if (target >= 0) return std::nullopt;
      target = i;
    }
  }
  if (source < 0 || target < 0) return std::nullopt;
  const double start = g.count_source ? steps.straight[source] : 0.0;
  if (source == target) return marked.size() == 1 ? std::optional<double>(start) : std::nullopt;

  const auto step_between = [&](int64_t u, int64_t v) {
    for (int d = 0; d < 8; ++d)
      if (g.allowed(u, d) && g.neighbour(u, d) == v) return d;
    return -1;
  };
  std::stable_sort(marked.begin(), marked.end(), [&](int64_t a, int64_t b) { return distance[a] < distance[b]; });
  const auto in_order = [&]() -> std::optional<double> {
    double cost = start;
    if (marked.front() != source || marked.back() != target) return std::nullopt;
    for (size_t p = 1; p < marked.size(); ++p) {
      const int d = step_between(marked[p - 1], marked[p]);
      if (d < 0) return std::nullopt;
      cost += steps.into(marked[p], d);
    }
    return cost;
  };
  if (const auto cost = in_order()) return cost;

  int64_t budget = 200000;
  std::vector<uint8_t> used(g.cells());
  std::optional<double> found;
  const std::function<void(int64_t, size_t, double)> visit = [&](int64_t u, size_t visited, double cost) {
    if (--budget < 0) return;
    if (u == target) {
      if (visited == marked.size() && (!found || cost < *found)) found = cost;
      return;
    }
    used[u] = 1;
    for (int d = 0; d < 8; ++d) {
      if (!g.allowed(u, d)) continue;
      const int64_t v = g.neighbour(u, d);
      if (y[v] == 1 && !used[v]) visit(v, visited + 1, cost + steps.into(v, d));
    }
    used[u] = 0;
  };
  visit(source, 1, start);
  return found;
}

inline constexpr perturb_connectivity connectivities[] = {PERTURB_CONNECT_4, PERTURB_CONNECT_8, PERTURB_CONNECT_8_NO_CORNER_CUTTING};

// The library's oracle of the same grid.
inline oracle_ptr make_map(const reference::grid& g) {
  perturb_grid_path_options options = PERTURB_GRID_PATH_OPTIONS_INIT;
  options.height = g.height;
  options.width = g.width;
  options.connectivity = g.connectivity;
  options.diagonal_factor = static_cast<float>(g.diagonal_factor);
  options.count_source = g.count_source;
  options.passable = g.passable.data();
  options.source = g.sources.empty() ? g.source : -7;  // ignored
  options.target = g.targets.empty() ? g.target : -7;
  options.source_count = static_cast<int64_t>(g.sources.size());
  options.sources = g.sources.empty() ? nullptr : g.sources.data();
  options.target_count = static_cast<int64_t>(g.targets.size());
  options.targets = g.targets.empty() ? nullptr : g.targets.data();
  return make_grid(options);
}

}  // namespace perturb::test::reference
