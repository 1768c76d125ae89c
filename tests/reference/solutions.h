// All solutions of small problems, by enumeration: the set Y of an oracle, to minimise anything over.
#pragma once

#include <algorithm>
#include <numeric>

#include "grid_path.h"

namespace perturb::test::reference {

using solution = std::vector<double>;

inline void extend_path(const grid& g, int64_t at, solution& marks, std::vector<solution>& all) {
  marks[at] = 1;
  if (g.is_target(at)) {
    all.push_back(marks);
  } else {
    for (int d = 0; d < 8; ++d)
      if (g.allowed(at, d) && marks[g.neighbour(at, d)] == 0) extend_path(g, g.neighbour(at, d), marks, all);
  }
  marks[at] = 0;
}

// Every y of the case's oracle. Grids: the marks of all simple paths.
inline std::vector<solution> all_solutions(const test_case& c) {
  std::vector<solution> all;
  if (c.is_grid()) {
    const grid g = make_grid_reference(c);
    solution marks(c.n, 0.0);
    for (const int64_t source : g.all_sources()) extend_path(g, source, marks, all);
  } else if (c.oracle == oracle_kind::rank) {
    solution y(c.n);
    std::iota(y.begin(), y.end(), static_cast<double>(c.base));
    do all.push_back(y);
    while (std::next_permutation(y.begin(), y.end()));
  } else {
    const int64_t k = c.oracle == oracle_kind::argmax ? 1 : c.k;
    for (uint32_t subset = 0; subset < 1u << c.n; ++subset) {
      if (std::popcount(subset) != k) continue;
      solution y(c.n);
      for (int64_t i = 0; i < c.n; ++i) y[i] = subset >> i & 1;
      all.push_back(y);
    }
  }
  return all;
}

// The solution of least cost(y).
template <class Cost>
const solution& least(const std::vector<solution>& all, Cost&& cost) {
  return *std::min_element(all.begin(), all.end(), [&](const solution& a, const solution& b) { return cost(a) < cost(b); });
}

inline double dot(const solution& a, const solution& b) { return std::inner_product(a.begin(), a.end(), b.begin(), 0.0); }

}  // namespace perturb::test::reference
