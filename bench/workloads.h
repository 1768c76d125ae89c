// The workloads that benchmarks time: cases of tests/cases.h at the sizes users meet, with their inputs and how much of them one
// timed call does. Inputs are functions of their index, the same on every machine.
//
// Scores are uniform in [-1.5, 1.5] and epsilon is 1. Grids look like the Warcraft terrain of Berthet et al.: patches of five classes
// of cost, 8 neighbours, corner to corner, source counted; epsilon 1 (nearly a third of the cheap cells fall below the cost floor and
// are clamped) and 0.1 (none is). Noise is normal.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "../tests/cases.h"

namespace perturb::bench {

using test::oracle_kind;
using test::test_case;

struct workload {
  std::string name, slug;        // as in the tables; as in benchmark names
  test_case c;                   // oracle, epsilon, and one call of the library: c.batch rows of c.samples samples
  int64_t baseline_samples = 0;  // per row in one call of the baseline, about as long
  double target = 0;             // one thread against the baseline; 0: none
  std::vector<float> theta;      // [batch, n]
  test::oracle_ptr oracle;

  bool is_path() const { return c.is_grid(); }
  int64_t problems() const { return c.batch * c.samples; }
  int64_t items() const { return problems() * c.n; }
  perturb_noise noise() const { return test::make_noise(c, {}); }
  // Ties between paths are common where costs are clamped, and the baseline breaks them in another way.
  bool has_ties() const { return is_path() && c.epsilon > 0.11f; }
};

// Patches: every cell has the class of the nearest of height * width / 12 random points. Cost of a class and its share of the cells
// are close to those of the data set's 12 x 12 maps.
inline void make_terrain(int64_t height, int64_t width, uint64_t seed, float* cost) {
  constexpr float costs[5] = {0.8f, 1.2f, 5.3f, 7.7f, 9.2f};
  constexpr double shares[5] = {0.40, 0.75, 0.78, 0.94, 1};
  struct point {
    double row, column;
    float cost;
  };
  std::vector<point> points(height * width / 12);
  for (size_t p = 0; p < points.size(); ++p) {
    int kind = 0;
    while (test::uniform(seed, 3 * p + 2) > shares[kind]) ++kind;
    points[p] = {test::uniform(seed, 3 * p) * static_cast<double>(height), test::uniform(seed, 3 * p + 1) * static_cast<double>(width),
                 costs[kind]};
  }
  for (int64_t r = 0; r < height; ++r)
    for (int64_t c = 0; c < width; ++c) {
      double least = HUGE_VAL;
      for (const point& p : points) {
        const double dr = p.row - static_cast<double>(r), dc = p.column - static_cast<double>(c), distance = dr * dr + dc * dc;
        if (distance >= least) continue;
        least = distance;
        cost[r * width + c] = p.cost;
      }
    }
}

// All, or only the one of a slug: to make them all takes longer than some calls.
inline std::vector<workload> workloads(const std::string& only = "") {
  std::vector<workload> all;
  const auto add = [&](const std::string& name, const std::string& slug, test_case c, int64_t batch, int64_t samples,
                       int64_t baseline_samples, double target) {
    if (!only.empty() && slug != only) return;
    workload w;
    w.name = name;
    w.slug = slug;
    w.c = c;
    w.c.distribution = PERTURB_NORMAL;
    w.c.baseline = PERTURB_BASELINE_LEAVE_ONE_OUT;
    w.c.batch = batch;
    w.c.samples = samples;
    w.baseline_samples = baseline_samples;
    w.target = target;
    if (w.is_path()) {
      w.theta.resize(batch * c.n);
      for (int64_t b = 0; b < batch; ++b) make_terrain(c.height, c.width, 7 + b, w.theta.data() + b * c.n);
    } else {
      w.theta = test::make_theta(w.c);
    }
    w.oracle = test::make_oracle(w.c);
    all.push_back(std::move(w));
  };
  test::case_list make;
  const auto scores = [](test_case c) {
    c.epsilon = 1;
    return c;
  };
  const auto path = [&](int64_t side, float epsilon, int64_t batch, int64_t baseline_samples, double target) {
    test_case c = make.grid_case(side, side);
    c.epsilon = epsilon;
    const std::string size = std::to_string(side) + "x" + std::to_string(side), amplitude = epsilon == 1 ? "1" : "0.1";
    add("path " + size + ", epsilon " + amplitude, "path/" + size + "/epsilon:" + amplitude, c, batch, 1000, baseline_samples, target);
  };
  add("rank n=10", "rank/n:10", scores(make.rank_case(10)), 256, 1000, 60, 0);
  add("rank n=100", "rank/n:100", scores(make.rank_case(100)), 24, 1000, 50, 15);
  add("rank n=1000", "rank/n:1000", scores(make.rank_case(1000)), 2, 1000, 50, 0);
  add("argmax n=10", "argmax/n:10", scores(make.argmax_case(10)), 256, 1000, 100, 0);
  add("argmax n=1000", "argmax/n:1000", scores(make.argmax_case(1000)), 8, 1000, 50, 15);
  add("argmax n=100000", "argmax/n:100000", scores(make.argmax_case(100000)), 1, 128, 4, 0);
  add("top-10 of 1000", "top_k/n:1000/k:10", scores(make.top_k_case(1000, 10)), 4, 1000, 100, 15);
  add("top-100 of 1000", "top_k/n:1000/k:100", scores(make.top_k_case(1000, 100)), 1, 1000, 300, 0);
  for (float epsilon : {1.0f, 0.1f}) {
    path(12, epsilon, 16, 40, 12);
    path(32, epsilon, 2, 40, 10);
    path(96, epsilon, 1, 30, 5);
  }
  return all;
}

}  // namespace perturb::bench
