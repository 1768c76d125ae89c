// The one list of cases: {oracle, shape, inputs, noise, estimator options}. The noise-injection tests, the bit-equality tests and the
// benchmarks all run over it, so a shape that is worth testing is also worth timing. No GoogleTest here.
// Longer than other files so that it is one list, with the inputs that its cases name beside it.
// To add a case, add a line to cases(); to add an oracle, add a kind, its fields and a branch in make_oracle().
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <memory>
#include <stdexcept>

#include "support.h"

namespace perturb::test {

enum class oracle_kind { argmax, top_k, rank, grid_path, sort };  // sort: ordered top-k where k < n
enum class inputs {
  distinct,
  ties,
  equal,
  zeros,
  huge,
  costs,
  cheap,
  small,
  striped
};  // cheap: many perturbed costs fall below the floor; small: 1, 2, 3; striped: four items of 384 are far above the others
enum class walls { none, random, comb, random_nan };  // comb: the only way visits half of all cells; nan: in the walls

// Noise for PERTURB_GIVEN with S = tanh z, enough for any [batch, samples, n] of up to `count` values.
struct given_noise {
  std::vector<float> z, score;
  given_noise(uint64_t seed, int64_t count) {
    for (int64_t i = 0; i < count; ++i) {
      z.push_back(uniform_float(seed, i, -3, 3));
      score.push_back(static_cast<float>(std::tanh(static_cast<double>(z.back()))));
    }
  }
};

struct test_case {
  std::string name;
  oracle_kind oracle = oracle_kind::argmax;
  int64_t n = 1, k = 1;
  int32_t descending = 0, base = 1;
  // grid paths
  int64_t height = 0, width = 0, source = 0, target = 0;
  std::vector<int64_t> sources, targets;  // sets, or empty; source and target are then among them
  perturb_connectivity connectivity = PERTURB_CONNECT_8;
  float diagonal_factor = 1;
  int32_t count_source = 1;
  walls wall = walls::none;
  float cost_floor = 1e-6f;
  bool tables = false;  // k, or source and target, differ by row: row_case() has those of a row
  // inputs and noise
  inputs theta = inputs::distinct;
  perturb_distribution distribution = PERTURB_NORMAL;
  perturb_mode mode = PERTURB_ADDITIVE;
  perturb_baseline baseline = PERTURB_BASELINE_LEAVE_ONE_OUT;
  perturb_sampling sampling = PERTURB_SAMPLING_IID;
  float epsilon = 0.5f;
  bool per_item = false;  // with epsilon_per_item, every seventh entry 0
  bool quiet = false;     // with epsilon_per_item, 0 for all but one item that cannot matter much: ties survive the noise
  int32_t gamma_k = 0, gamma_terms = 0;
  std::vector<float> row_factors;            // epsilon_per_row, or empty
  std::shared_ptr<const given_noise> given;  // with distribution GIVEN
  int64_t samples = 64, batch = 2;
  int64_t first_row = 0, first_sample = 0;
  uint64_t seed = 42;
  bool prox = true;  // LPGD's options may have a prox term

  bool is_grid() const { return oracle == oracle_kind::grid_path; }
  bool is_sort() const { return oracle == oracle_kind::sort; }
  int64_t m() const { return is_sort() ? k * n : n; }
  bool has_value() const { return !is_sort(); }                                   // <y, theta>
  bool minimizes() const { return is_grid(); }                                    // sense MINIMIZE: noise is subtracted
  double fenchel_young_sign() const { return is_grid() || descending ? -1 : 1; }  // the loss is negated
  bool has_score() const { return distribution != PERTURB_SUM_OF_GAMMA; }         // and so VJP, JVP and Jacobian
  bool has_noise_fill() const { return distribution != PERTURB_GIVEN; }
  bool has_std_errors() const { return sampling == PERTURB_SAMPLING_IID; }
  bool has_fenchel_young() const { return has_value() && (!is_grid() || (diagonal_factor == 1 && (count_source || sources.size() < 2))); }
  bool has_jacobian() const { return m() * n <= 40000; }  // a choice of the tests: the result has m x n entries
};

// ---------------------------------------------------------------- walls

struct offset {
  int row, column;
};
// The order of the tie rule: NW, N, NE, W, E, SW, S, SE.
inline constexpr offset neighbours[8] = {{-1, -1}, {-1, 0}, {-1, 1}, {0, -1}, {0, 1}, {1, -1}, {1, 0}, {1, 1}};

// Whether one may step between cell (r, c) and the neighbour in direction d, walls and corner rule included.
inline bool step_allowed(const std::vector<uint8_t>& passable, int64_t height, int64_t width, perturb_connectivity connectivity, int64_t r,
                         int64_t c, int d) {
  const offset step = neighbours[d];
  const int64_t r2 = r + step.row, c2 = c + step.column;
  if (r2 < 0 || r2 >= height || c2 < 0 || c2 >= width) return false;
  if (!passable[r * width + c] || !passable[r2 * width + c2]) return false;
  const bool diagonal = step.row != 0 && step.column != 0;
  if (!diagonal) return true;
  if (connectivity == PERTURB_CONNECT_4) return false;
  if (connectivity == PERTURB_CONNECT_8) return true;
  return passable[r * width + c2] && passable[r2 * width + c];
}

inline bool reachable(const std::vector<uint8_t>& passable, int64_t height, int64_t width, perturb_connectivity connectivity,
                      int64_t source, int64_t target) {
  if (!passable[source] || !passable[target]) return false;
  std::vector<uint8_t> seen(passable.size());
  std::vector<int64_t> stack{source};
  seen[source] = 1;
  while (!stack.empty()) {
    const int64_t u = stack.back();
    stack.pop_back();
    if (u == target) return true;
    for (int d = 0; d < 8; ++d) {
      if (!step_allowed(passable, height, width, connectivity, u / width, u % width, d)) continue;
      const int64_t v = (u / width + neighbours[d].row) * width + u % width + neighbours[d].column;
      if (!seen[v]) {
        seen[v] = 1;
        stack.push_back(v);
      }
    }
  }
  return false;
}

// All ones without walls. Random walls cover a quarter of the grid and never separate the two ends (the first seed that does not), nor
// are cells of a set walls.
inline std::vector<uint8_t> make_passable(const test_case& c) {
  std::vector<uint8_t> passable(c.n, 1);
  if (c.wall == walls::comb) {
    for (int64_t column = 1; column < c.width; column += 2)
      for (int64_t row = 0; row < c.height; ++row) {
        const bool gap = (column / 2) % 2 == 0 ? row == c.height - 1 : row == 0;
        passable[row * c.width + column] = gap;
      }
  } else if (c.wall != walls::none) {
    for (uint64_t seed = 0;; ++seed) {
      for (int64_t i = 0; i < c.n; ++i) passable[i] = i == c.source || i == c.target || uniform(1000 + seed, i) >= 0.25;
      for (const std::vector<int64_t>* set : {&c.sources, &c.targets})
        for (const int64_t cell : *set) passable[cell] = 1;
      if (reachable(passable, c.height, c.width, c.connectivity, c.source, c.target)) break;
    }
  }
  return passable;
}

// ---------------------------------------------------------------- arguments of a case

// Case and masks must outlive the options.
inline perturb_grid_path_options grid_options(const test_case& c, const std::vector<uint8_t>& passable) {
  perturb_grid_path_options options = PERTURB_GRID_PATH_OPTIONS_INIT;
  options.height = c.height;
  options.width = c.width;
  options.connectivity = c.connectivity;
  options.diagonal_factor = c.diagonal_factor;
  options.count_source = c.count_source;
  options.passable = c.wall == walls::none ? nullptr : passable.data();
  options.source = c.source;
  options.target = c.target;
  options.cost_floor = c.cost_floor;
  options.source_count = static_cast<int64_t>(c.sources.size());
  options.sources = c.sources.empty() ? nullptr : c.sources.data();
  options.target_count = static_cast<int64_t>(c.targets.size());
  options.targets = c.targets.empty() ? nullptr : c.targets.data();
  return options;
}

// A case with tables as row `row` of the problem has it: k, or ends that are not walls.
inline test_case row_case(test_case c, int64_t row) {
  const std::vector<uint8_t> passable = make_passable(c);
  const auto pick = [&](uint64_t salt, int64_t below) { return static_cast<int64_t>(hashed(salt, row) % below); };
  const auto open_cell = [&](uint64_t salt) {
    int64_t cell = pick(salt, c.n);
    while (!passable[cell]) cell = (cell + 1) % c.n;
    return cell;
  };
  c.tables = false;
  if (c.is_grid()) {
    c.source = row % 3 == 0 ? c.source : open_cell(7);
    c.target = open_cell(8);
  } else {
    c.k = 1 + pick(9, c.k);
  }
  return c;
}

// Rows 0 to that of the last of a call, and one more. later_targets: each has the target of the row after it.
inline oracle_ptr make_tables(const test_case& c, bool later_targets = false) {
  std::vector<int64_t> k, sources, targets;
  for (int64_t row = 0; row <= c.first_row + c.batch; ++row) {
    const test_case one = row_case(c, row);
    k.push_back(one.k);
    sources.push_back(one.source);
    targets.push_back(later_targets ? row_case(c, row + 1).target : one.target);
  }
  if (!c.is_grid()) return make_top_k_rows(c.n, k);
  const std::vector<uint8_t> passable = make_passable(c);
  perturb_grid_path_options options = grid_options(c, passable);
  options.rows = static_cast<int64_t>(sources.size());
  options.row_sources = sources.data();
  options.row_targets = targets.data();
  return make_grid(options);
}

inline oracle_ptr make_oracle(const test_case& c) {
  if (c.tables) return make_tables(c);
  switch (c.oracle) {
    case oracle_kind::argmax:
      return make_argmax(c.n);
    case oracle_kind::top_k:
      return make_top_k(c.n, c.k);
    case oracle_kind::rank:
      return make_rank(c.n, c.descending, c.base);
    case oracle_kind::sort:
      return c.k == c.n ? make_sort(c.n, c.descending) : make_ordered_top_k(c.n, c.k);
    case oracle_kind::grid_path:
      break;
  }
  const std::vector<uint8_t> passable = make_passable(c);
  return make_grid(grid_options(c, passable));
}

inline float make_value(inputs kind, uint64_t seed, uint64_t i) {
  switch (kind) {
    case inputs::distinct:
      return uniform_float(seed, i, -1.5, 1.5);
    case inputs::ties:
      return static_cast<float>(hashed(seed, i) % 3) * 0.5f - 0.5f;
    case inputs::equal:
      return 0.75f;
    case inputs::zeros:
      return hashed(seed, i) % 2 ? -0.0f : 0.0f;
    case inputs::huge:
      return uniform_float(seed, i, -1e30, 1e30);
    case inputs::costs:
      return uniform_float(seed, i, 2, 9);
    case inputs::small:
      return static_cast<float>(1 + hashed(seed, i) % 3);
    case inputs::cheap:
      return uniform_float(seed, i, -0.2, 1);
    case inputs::striped:
      return uniform_float(seed, i, -1.5, 1.5) + (i / 4 % 96 == 0 ? 100.0f : 0.0f);
  }
  return 0;
}

inline std::vector<float> make_theta(const test_case& c, uint64_t salt = 0) {
  std::vector<float> theta(c.batch * c.n);
  for (size_t i = 0; i < theta.size(); ++i) theta[i] = make_value(c.theta, c.seed + 17 + salt, i);
  if (c.wall == walls::random_nan) {
    const std::vector<uint8_t> passable = make_passable(c);
    for (size_t i = 0; i < theta.size(); ++i)
      if (!passable[i % c.n]) theta[i] = i % 2 ? std::numeric_limits<float>::quiet_NaN() : -std::numeric_limits<float>::infinity();
  }
  return theta;
}

inline std::vector<float> make_factors(const test_case& c) {
  std::vector<float> factors;
  if (c.quiet) {
    factors.assign(c.n, 0.0f);
    factors[c.is_grid() ? c.source : c.n / 2] = 1;
    return factors;
  }
  if (!c.per_item) return factors;
  factors.resize(c.n);
  for (int64_t i = 0; i < c.n; ++i) factors[i] = i % 7 == 3 ? 0.0f : uniform_float(c.seed + 5, i, 0.25, 1.75);
  return factors;
}

// The case and `factors` must outlive the result.
inline perturb_noise make_noise(const test_case& c, const std::vector<float>& factors) {
  perturb_noise noise = make_noise(c.distribution, c.epsilon, c.samples, c.seed);
  noise.mode = c.mode;
  noise.baseline = c.baseline;
  noise.sampling = c.sampling;
  noise.epsilon_per_item = factors.empty() ? nullptr : factors.data();
  noise.first_row = c.first_row;
  noise.first_sample = c.first_sample;
  noise.sum_of_gamma_k = c.gamma_k;
  noise.sum_of_gamma_terms = c.gamma_terms;
  noise.epsilon_per_row = c.row_factors.empty() ? nullptr : c.row_factors.data();
  noise.z = c.given ? c.given->z.data() : nullptr;
  noise.z_score = c.given ? c.given->score.data() : nullptr;
  return noise;
}

inline std::vector<float> make_cotangent(const test_case& c) {
  std::vector<float> g(c.batch * c.m());
  for (size_t i = 0; i < g.size(); ++i) g[i] = uniform_float(c.seed + 23, i, -1, 1);
  return g;
}
inline std::vector<float> make_tangent(const test_case& c) {
  std::vector<float> u(c.batch * c.n);
  for (size_t i = 0; i < u.size(); ++i) u[i] = uniform_float(c.seed + 29, i, -2, 1);
  return u;
}
// A vertex: the solution of other inputs of the same kind.
inline std::vector<float> make_target(perturb_context* context, const perturb_oracle* oracle, const test_case& c) {
  const std::vector<float> other = make_theta(c, 1000);
  std::vector<float> target(c.batch * c.m());
  require(perturb_solve(context, oracle, c.batch, other.data(), target.data(), nullptr));
  return target;
}

// The true theta of SPO+.
inline std::vector<float> make_theta_true(const test_case& c) { return make_theta(c, 2000); }
// Sides, prox weights and relative steps in turn. I-MLE knows no prox term.
inline perturb_lpgd_options make_lpgd(const test_case& c, perturb_operation operation) {
  perturb_lpgd_options options = PERTURB_LPGD_OPTIONS_INIT;
  options.tau = c.theta == inputs::huge ? 2e29f : 0.6f;
  options.side = static_cast<perturb_side>(c.seed % 3);
  options.relative = c.seed % 7 == 2;
  if (c.has_fenchel_young() && operation == PERTURB_OP_LPGD && c.seed % 2 && c.prox) options.rho = 0.5f * options.tau;
  return options;
}

// ---------------------------------------------------------------- the list

inline const char* distribution_name(perturb_distribution distribution) {
  constexpr const char* names[] = {"normal", "gumbel", "logistic", "laplace", "sum_of_gamma", "given"};
  return names[distribution];
}

class case_list {
 public:
  std::vector<test_case> all;

  // Rotates distribution and baseline over the shapes, so that every combination occurs without a full product.
  test_case next() {
    test_case c;
    c.distribution = static_cast<perturb_distribution>(turn_ % 4);
    c.baseline = turn_ % 3 == 2 ? PERTURB_BASELINE_NONE : PERTURB_BASELINE_LEAVE_ONE_OUT;
    c.seed = 42 + turn_;
    ++turn_;
    return c;
  }
  test_case& add(test_case c, const std::string& note) {
    if (c.theta == inputs::huge) c.epsilon = 2e29f;
    if (c.n >= 1000 && c.samples == 64) c.samples = 20;
    std::string name;
    switch (c.oracle) {
      case oracle_kind::argmax:
        name = "argmax_n" + std::to_string(c.n);
        break;
      case oracle_kind::top_k:
        name = "top_k_n" + std::to_string(c.n) + "_k" + std::to_string(c.k);
        break;
      case oracle_kind::rank:
        name = "rank_n" + std::to_string(c.n) + (c.descending ? "_descending" : "") + (c.base ? "" : "_base0");
        break;
      case oracle_kind::sort:
        name = "sort_n" + std::to_string(c.n) + (c.k < c.n ? "_k" + std::to_string(c.k) : c.descending ? "_descending" : "");
        break;
      case oracle_kind::grid_path:
        name = "grid_" + std::to_string(c.height) + "x" + std::to_string(c.width);
        break;
    }
    name += std::string("_") + distribution_name(c.distribution) + (c.mode == PERTURB_MULTIPLICATIVE ? "_multiplicative" : "");
    c.name = name + (note.empty() ? "" : "_" + note);
    all.push_back(c);
    return all.back();
  }
  void argmax(int64_t n, const std::string& note = "", inputs theta = inputs::distinct) { add(argmax_case(n, theta), note); }
  test_case argmax_case(int64_t n, inputs theta = inputs::distinct) {
    test_case c = next();
    c.n = n;
    c.theta = theta;
    return c;
  }
  test_case top_k_case(int64_t n, int64_t k, inputs theta = inputs::distinct) {
    test_case c = argmax_case(n, theta);
    c.oracle = oracle_kind::top_k;
    c.k = k;
    return c;
  }
  test_case rank_case(int64_t n, int32_t descending = 0, int32_t base = 1, inputs theta = inputs::distinct) {
    test_case c = argmax_case(n, theta);
    c.oracle = oracle_kind::rank;
    c.descending = descending;
    c.base = base;
    return c;
  }
  // k < n: ordered top-k.
  test_case sort_case(int64_t n, int64_t k, int32_t descending = 1, inputs theta = inputs::distinct) {
    test_case c = rank_case(n, descending, 0, theta);
    c.oracle = oracle_kind::sort;
    c.k = k;
    return c;
  }
  test_case grid_case(int64_t height, int64_t width, perturb_connectivity connectivity = PERTURB_CONNECT_8) {
    test_case c = argmax_case(height * width, inputs::costs);
    c.oracle = oracle_kind::grid_path;
    c.height = height;
    c.width = width;
    c.target = height * width - 1;
    c.connectivity = connectivity;
    return c;
  }

 private:
  int turn_ = 0;
};

inline std::vector<test_case> cases() {
  case_list list;
  test_case c;

  // argmax
  for (int64_t n : {1, 2, 3, 4, 7, 8, 9, 10, 15, 16, 17, 33, 64, 100, 128, 513, 1000, 5000}) list.argmax(n);
  for (inputs theta : {inputs::ties, inputs::equal, inputs::zeros, inputs::huge})
    list.argmax(10, "inputs" + std::to_string(static_cast<int>(theta)), theta);
  for (int d = 0; d < 4; ++d)
    for (perturb_baseline baseline : {PERTURB_BASELINE_LEAVE_ONE_OUT, PERTURB_BASELINE_NONE}) {
      c = list.argmax_case(5);
      c.distribution = static_cast<perturb_distribution>(d);
      c.baseline = baseline;
      list.add(c, baseline == PERTURB_BASELINE_NONE ? "raw" : "");
      c.per_item = true;
      c.samples = 1;
      list.add(c, "per_item_one_sample");
      c.samples = 130;
      c.batch = 3;
      c.first_row = 5;
      c.first_sample = 1000000007;
      list.add(c, "per_item_offsets");
    }
  c = list.argmax_case(6);
  c.epsilon = 0;
  list.add(c, "epsilon_zero");
  c = list.argmax_case(6, inputs::ties);
  c.epsilon = 0;
  c.samples = 1;
  list.add(c, "ties_epsilon_zero_one_sample");
  c = list.argmax_case(9);
  c.epsilon = 1e-6f;
  list.add(c, "tiny_epsilon");
  c = list.argmax_case(9);
  c.epsilon = 1e6f;
  list.add(c, "large_epsilon");
  c = list.argmax_case(12);
  c.first_row = (int64_t{1} << 32) - 2;
  c.first_sample = (int64_t{1} << 32) - 64;
  list.add(c, "last_row_and_sample");
  c = list.argmax_case(12);
  c.seed = 0xfedcba9876543210u;
  c.samples = 1000;
  list.add(c, "long_seed");

  // top-k
  const int64_t top_k_shapes[][2] = {{1, 1},    {2, 1},    {2, 2},     {5, 2},      {10, 1},   {10, 3},    {10, 10},     {16, 8},
                                     {33, 10},  {64, 10},  {64, 63},   {100, 1},    {100, 10}, {100, 50},  {100, 100},   {129, 64},
                                     {513, 10}, {1000, 1}, {1000, 10}, {1000, 500}, {5000, 1}, {5000, 10}, {5000, 2500}, {5000, 5000}};
  for (const auto& shape : top_k_shapes) list.add(list.top_k_case(shape[0], shape[1]), "");
  for (inputs theta : {inputs::ties, inputs::equal, inputs::zeros, inputs::huge})
    list.add(list.top_k_case(20, 6, theta), "inputs" + std::to_string(static_cast<int>(theta)));
  c = list.top_k_case(20, 6, inputs::ties);
  c.epsilon = 0;
  list.add(c, "ties_epsilon_zero");
  c = list.top_k_case(20, 6);
  c.per_item = true;
  c.first_row = 77;
  c.first_sample = 131;
  c.samples = 200;
  list.add(c, "per_item_offsets");
  c = list.top_k_case(20, 6);
  c.samples = 1;
  list.add(c, "one_sample");

  // rank: 512 is where the header allows close items to be exchanged
  for (int64_t n : {1, 2, 3, 5, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 99, 100, 127, 128, 129, 200, 256, 257, 511, 512, 513, 1000, 5000})
    list.add(list.rank_case(n), "");
  for (int32_t descending : {0, 1})
    for (int32_t base : {0, 1})
      for (int64_t n : {6, 100, 600}) list.add(list.rank_case(n, descending, base), "");
  for (inputs theta : {inputs::ties, inputs::equal, inputs::zeros, inputs::huge})
    for (int64_t n : {20, 600}) list.add(list.rank_case(n, 0, 1, theta), "inputs" + std::to_string(static_cast<int>(theta)));
  for (int64_t n : {20, 600}) {
    c = list.rank_case(n, 1, 0, inputs::ties);
    c.epsilon = 0;
    list.add(c, "ties_epsilon_zero");
    c = list.rank_case(n);
    c.per_item = true;
    c.first_row = 3;
    c.first_sample = 127;
    c.samples = 130;
    list.add(c, "per_item_offsets");
    c = list.rank_case(n);
    c.samples = 1;
    list.add(c, "one_sample");
  }

  // multiplicative normal: signs are kept, so score inputs of both signs, zeros, and costs
  for (int64_t n : {1, 3, 10, 100}) {
    c = list.argmax_case(n);
    c.distribution = PERTURB_NORMAL;
    c.mode = PERTURB_MULTIPLICATIVE;
    list.add(c, "");
    c = list.top_k_case(n, (n + 1) / 2);
    c.distribution = PERTURB_NORMAL;
    c.mode = PERTURB_MULTIPLICATIVE;
    c.per_item = n == 10;
    list.add(c, c.per_item ? "per_item" : "");
    c = list.rank_case(n, n == 10);
    c.distribution = PERTURB_NORMAL;
    c.mode = PERTURB_MULTIPLICATIVE;
    list.add(c, "");
  }
  c = list.argmax_case(10, inputs::ties);
  c.distribution = PERTURB_NORMAL;
  c.mode = PERTURB_MULTIPLICATIVE;
  list.add(c, "with_zeros");
  c = list.grid_case(5, 7);
  c.distribution = PERTURB_NORMAL;
  c.mode = PERTURB_MULTIPLICATIVE;
  list.add(c, "");
  c = list.grid_case(5, 7, PERTURB_CONNECT_8_NO_CORNER_CUTTING);
  c.distribution = PERTURB_NORMAL;
  c.mode = PERTURB_MULTIPLICATIVE;
  c.wall = walls::random_nan;
  c.per_item = true;
  list.add(c, "walls_nan_per_item");

  // antithetic pairs and the unperturbed baseline: every distribution, every way of lying over lanes
  for (int d = 0; d < 4; ++d)
    for (perturb_baseline baseline : {PERTURB_BASELINE_LEAVE_ONE_OUT, PERTURB_BASELINE_NONE, PERTURB_BASELINE_UNPERTURBED}) {
      test_case grid = list.grid_case(4, 5), large_grid = list.grid_case(33, 40);
      large_grid.samples = 6;
      for (test_case paired : {list.argmax_case(6), list.top_k_case(40, 11), list.rank_case(11, d % 2), list.rank_case(600), grid, large_grid}) {
        if (paired.n > 500 && static_cast<int>(baseline) != d % 3) continue;
        paired.distribution = static_cast<perturb_distribution>(d);
        paired.baseline = baseline;
        paired.first_sample = 2 * d;
        paired.per_item = d == 1;
        list.add(paired, "baseline" + std::to_string(baseline));
        paired.sampling = PERTURB_SAMPLING_ANTITHETIC;
        list.add(paired, "antithetic_baseline" + std::to_string(baseline));
      }
    }
  c = list.argmax_case(6);
  c.sampling = PERTURB_SAMPLING_ANTITHETIC;
  c.samples = 2;
  list.add(c, "one_pair");
  c = list.argmax_case(6);
  c.distribution = PERTURB_NORMAL;
  c.mode = PERTURB_MULTIPLICATIVE;
  c.sampling = PERTURB_SAMPLING_ANTITHETIC;
  list.add(c, "antithetic");

  // grid paths
  constexpr perturb_connectivity connectivities[] = {PERTURB_CONNECT_4, PERTURB_CONNECT_8, PERTURB_CONNECT_8_NO_CORNER_CUTTING};
  const int64_t grids[][2] = {{1, 1}, {1, 2}, {1, 9}, {9, 1}, {2, 2}, {2, 6}, {5, 7}, {12, 12}, {32, 32}, {33, 47}};
  for (const auto& shape : grids)
    for (perturb_connectivity connectivity : connectivities) {
      c = list.grid_case(shape[0], shape[1], connectivity);
      if (c.n > 500) c.samples = 20;
      list.add(c, "connect" + std::to_string(connectivity));
    }
  for (const auto& shape : {std::pair<int64_t, int64_t>{5, 7}, {12, 12}, {33, 47}})
    for (perturb_connectivity connectivity : connectivities) {
      c = list.grid_case(shape.first, shape.second, connectivity);
      c.wall = walls::random;
      c.source = shape.second - 1;
      c.target = c.n - shape.second;
      c.count_source = 0;
      if (c.n > 500) c.samples = 20;
      list.add(c, "walls_uncounted_connect" + std::to_string(connectivity));
      if (connectivity == PERTURB_CONNECT_4) continue;
      c.diagonal_factor = 1.41421356f;
      list.add(c, "walls_uncounted_sqrt2_connect" + std::to_string(connectivity));
    }
  c = list.grid_case(11, 13);
  c.wall = walls::comb;
  c.target = 12;
  list.add(c, "comb");
  c = list.grid_case(6, 6);
  c.wall = walls::random_nan;
  list.add(c, "walls_nan");
  c = list.grid_case(6, 6);
  c.source = c.target = 14;
  list.add(c, "source_is_target");
  c = list.grid_case(6, 6);
  c.source = c.target = 14;
  c.count_source = 0;
  list.add(c, "source_is_target_uncounted");
  c = list.grid_case(7, 8);
  c.source = 27;
  c.target = 3;
  c.diagonal_factor = 2;
  list.add(c, "inner_ends_factor2");
  c = list.grid_case(12, 12);
  c.theta = inputs::cheap;
  c.cost_floor = 0.05f;
  list.add(c, "clamped");
  c = list.grid_case(5, 5);
  c.theta = inputs::equal;
  c.epsilon = 0;
  list.add(c, "equal_costs_epsilon_zero");
  c = list.grid_case(5, 5, PERTURB_CONNECT_4);
  c.theta = inputs::equal;
  c.epsilon = 0;
  c.samples = 1;
  list.add(c, "equal_costs_epsilon_zero_one_sample");
  c = list.grid_case(8, 9);
  c.per_item = true;
  c.first_row = 9;
  c.first_sample = 129;
  c.samples = 130;
  c.batch = 3;
  list.add(c, "per_item_offsets");
  c = list.grid_case(8, 9);
  c.samples = 1;
  list.add(c, "one_sample");

  // sets of sources and targets: in the corners, on the way of others, of one cell, with a cell of both
  for (const auto& shape : {std::pair<int64_t, int64_t>{5, 7}, {12, 12}, {20, 31}, {33, 47}})
    for (perturb_connectivity connectivity : connectivities)
      for (int64_t kind = 0; kind < 4; ++kind) {
        c = list.grid_case(shape.first, shape.second, connectivity);
        if (c.n > 500) c.samples = 20;
        c.sources = {0, c.n / 2, c.width - 1, c.n / 3};
        c.targets = {c.n - 1, c.n - c.width, c.n / 4, c.n - 1};
        if (kind == 1) c.sources.resize(1);
        if (kind == 2) c.targets.resize(1);
        if (kind == 3) c.targets.push_back(c.n / 2);
        c.source = c.sources[0];
        c.target = c.targets[0];
        c.count_source = kind != 0 || connectivity == PERTURB_CONNECT_4;
        if (connectivity != PERTURB_CONNECT_4 && kind == 0) c.diagonal_factor = 1.41421356f;
        if (kind % 2) c.wall = walls::random_nan;
        list.add(c, "sets" + std::to_string(kind) + "_connect" + std::to_string(connectivity));
      }

  // ties that survive the noise: all scores but one stay as they are (for paths: all costs but an uncounted source's), so that the rule
  // for ties shows in perturbed solves too
  for (int64_t n : {5, 17, 100, 128, 512, 600}) {
    for (test_case tied : {list.argmax_case(n, inputs::ties), list.top_k_case(n, (n + 1) / 2, inputs::ties),
                           list.rank_case(n, 0, 1, inputs::ties), list.rank_case(n, 1, 0, inputs::ties)}) {
      tied.quiet = true;
      list.add(tied, "quiet_ties");
    }
  }
  for (perturb_connectivity connectivity : connectivities)
    for (float factor : {1.0f, 1.5f, 2.0f})
      for (walls wall : {walls::none, walls::random}) {
        if (connectivity == PERTURB_CONNECT_4 && factor != 1) continue;
        c = list.grid_case(9, 11, connectivity);
        c.theta = inputs::small;
        c.quiet = true;
        c.epsilon = 0.01f;
        c.count_source = 0;
        c.diagonal_factor = factor;
        c.wall = wall;
        c.source = 40;
        list.add(c, "quiet_ties_connect" + std::to_string(connectivity));
        c.sources = {40, 3, 77, 96};
        c.targets = {c.target, 58, 25, 88, 10};
        list.add(c, "quiet_ties_sets_connect" + std::to_string(connectivity));
      }

  // sorts and ordered top-k: the rank's kernels, so fewer shapes; 513 and 1000 with few positions keep the best of a stream
  for (int64_t n : {1, 2, 3, 5, 9, 16, 17, 33, 64, 100}) list.add(list.sort_case(n, n, n % 2), "");
  const int64_t ordered_top_k[][2] = {{2, 1}, {10, 3}, {33, 32}, {100, 5}, {512, 4}, {513, 2}, {1000, 10}, {1000, 40}, {5000, 3}};
  for (const auto& shape : ordered_top_k) list.add(list.sort_case(shape[0], shape[1]), "");
  for (inputs theta : {inputs::ties, inputs::equal, inputs::zeros, inputs::huge}) {
    list.add(list.sort_case(20, 20, 0, theta), "inputs" + std::to_string(static_cast<int>(theta)));
    list.add(list.sort_case(600, 3, 1, theta), "inputs" + std::to_string(static_cast<int>(theta)));
  }
  for (int32_t descending : {0, 1})
    for (int64_t samples : {1, 64}) {
      c = list.sort_case(12, 12, descending, inputs::ties);
      c.epsilon = 0;
      c.samples = samples;
      list.add(c, "ties_epsilon_zero_" + std::to_string(samples));
    }
  for (int64_t n : {20, 600}) {
    c = list.sort_case(n, n == 20 ? 20 : 4);
    c.per_item = true;
    c.first_row = 3;
    c.first_sample = 127;
    c.samples = 130;
    list.add(c, "per_item_offsets");
    c = list.sort_case(n, n == 20 ? 20 : 4);
    c.samples = 1;
    list.add(c, "one_sample");
    c = list.sort_case(n, n == 20 ? 20 : 4, 1, inputs::ties);
    c.quiet = true;
    list.add(c, "quiet_ties");
    c = list.sort_case(n, n == 20 ? 20 : 4);
    c.distribution = PERTURB_NORMAL;
    c.mode = PERTURB_MULTIPLICATIVE;
    c.per_item = n == 20;
    list.add(c, "");
  }
  for (int d = 0; d < 4; ++d) {
    c = list.sort_case(11, d % 2 ? 11 : 4);
    c.distribution = static_cast<perturb_distribution>(d);
    c.baseline = static_cast<perturb_baseline>(d % 3);
    list.add(c, "baseline" + std::to_string(c.baseline));
    c.sampling = PERTURB_SAMPLING_ANTITHETIC;
    list.add(c, "antithetic");
  }
  return list.all;
}

// Latin samples, sums of gammas, noise of the caller's and an epsilon of each row, over all oracles. Their arrays do for up to 4 rows of 300
// samples. Apart from cases(), whose tests may split samples and take every estimator.
inline std::vector<test_case> noise_cases() {
  case_list list;
  const auto shapes = [&](int turn) {
    std::vector<test_case> of;
    for (int64_t n : {5, 18}) of.push_back(list.argmax_case(n));
    of.push_back(list.top_k_case(33, 4));
    for (int64_t n : {7, 40, 600}) of.push_back(list.rank_case(n, n == 40, turn % 2));
    of.push_back(list.grid_case(6, 7));
    of.push_back(list.grid_case(18, 20, PERTURB_CONNECT_8_NO_CORNER_CUTTING));
    of.back().wall = walls::random;
    return of;
  };
  int turn = 0;
  for (test_case c : shapes(0)) {
    c.sampling = PERTURB_SAMPLING_LATIN;
    c.samples = c.n > 100 ? 10 : 70;
    c.first_row = 3;
    c.per_item = turn % 2;
    if (turn++ == 3) c.distribution = PERTURB_NORMAL, c.mode = PERTURB_MULTIPLICATIVE;
    list.add(c, "latin");
  }
  for (test_case c : shapes(1)) {
    c.distribution = PERTURB_SUM_OF_GAMMA;
    c.gamma_k = 1 + turn++ % 6;
    c.gamma_terms = c.n > 100 ? 2 : 10;
    c.samples = c.n > 100 ? 5 : 37;
    c.first_sample = 1000000007;
    list.add(c, "");
  }
  for (test_case c : shapes(0)) {
    c.distribution = PERTURB_GIVEN;
    c.given = std::make_shared<given_noise>(c.seed, 4 * 300 * c.n);
    if (c.n > 500) c.samples = 10;
    c.first_row = 7;
    c.first_sample = 11;
    c.per_item = ++turn % 2;
    if (turn % 3 == 0) c.row_factors = {0.5f, 1.25f, 0, 2};
    list.add(c, "");
  }
  for (test_case c : shapes(1)) {
    c.row_factors = {1.5f, 0, 0.3f, 1};
    c.batch = 4;
    c.per_item = ++turn % 2;
    if (c.n > 100) c.samples = 10;
    if (c.is_grid()) c.distribution = PERTURB_NORMAL, c.mode = PERTURB_MULTIPLICATIVE;
    list.add(c, "per_row");
  }
  return list.all;
}

// Whether to run case number `number`. In the environment, PERTURB_TEST_CASES picks the cases whose names contain a string, PERTURB_TEST_EVERY=n/k
// every n-th from the k-th: what runs slowly (sanitizers, the emulator's other schedules) takes a part.
inline bool picked(const test_case& c, int number) {
  const char* names = std::getenv("PERTURB_TEST_CASES");
  if (names && c.name.find(names) == std::string::npos) return false;
  int every = 1, first = 0;
  if (const char* part = std::getenv("PERTURB_TEST_EVERY")) {
    if (std::sscanf(part, "%d/%d", &every, &first) != 2 || every < 1) throw std::runtime_error("PERTURB_TEST_EVERY: expected n/k");
  }
  return number % every == first;
}

}  // namespace perturb::test
