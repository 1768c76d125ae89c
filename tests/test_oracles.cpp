// perturb_solve against brute force: every small input over alphabets with ties, signed zeros, denormals and huge magnitudes, all
// simple paths of small grids with the tie rule checked cell by cell, and a million items against std::stable_sort.
#include <gtest/gtest.h>

#include <functional>

#include "cases.h"
#include "compare.h"
#include "reference/argmax.h"
#include "reference/grid_path.h"
#include "reference/rank.h"
#include "reference/top_k.h"

namespace perturb::test {
namespace {

using solver = std::function<std::vector<double>(const std::vector<double>&)>;

// Solves all rows in one call and compares y exactly; the value to 1e-6 of its terms, and to 1e-9 of the row's largest score for every
// unit of y (values are fixed point with one scale for a row).
void compare_solves(perturb_context* context, const perturb_oracle* oracle, const std::vector<float>& theta, int64_t n,
                    const solver& naive) {
  const int64_t batch = static_cast<int64_t>(theta.size()) / n;
  std::vector<float> y(theta.size()), value(batch), y_alone(theta.size());
  require(perturb_solve(context, oracle, batch, theta.data(), y.data(), value.data()));
  require(perturb_solve(context, oracle, batch, theta.data(), y_alone.data(), nullptr));
  EXPECT_TRUE(same_bits(y, y_alone));
  int failures = 0;
  for (int64_t b = 0; b < batch && failures < 3; ++b) {
    const std::vector<double> score(theta.begin() + b * n, theta.begin() + (b + 1) * n), best = naive(score);
    const auto equal = all_near(best, std::vector<float>(y.begin() + b * n, y.begin() + (b + 1) * n), 0.0);
    double expected = 0, scale = 0, units = 0, largest = 0;
    for (int64_t i = 0; i < n; ++i) {
      expected += best[i] * score[i];
      scale += std::abs(best[i] * score[i]);
      units += best[i];
      largest = std::max(largest, std::abs(score[i]));
    }
    const auto value_near = near(expected, value[b], 1e-6 * scale + 1e-9 * units * largest + 1e-45);
    EXPECT_TRUE(equal) << testing::PrintToString(score);
    EXPECT_TRUE(value_near) << "value of " << testing::PrintToString(score);
    failures += !equal || !value_near;
  }
}

// All rows of length n over an alphabet.
std::vector<float> all_rows(const std::vector<float>& alphabet, int64_t n) {
  int64_t rows = 1;
  for (int64_t i = 0; i < n; ++i) rows *= static_cast<int64_t>(alphabet.size());
  std::vector<float> theta(rows * n);
  for (int64_t b = 0; b < rows; ++b) {
    int64_t code = b;
    for (int64_t i = 0; i < n; ++i) {
      theta[b * n + i] = alphabet[code % alphabet.size()];
      code /= static_cast<int64_t>(alphabet.size());
    }
  }
  return theta;
}

constexpr float denormal = 1e-42f;
const std::vector<float> five{-1.0f, -0.0f, 0.0f, 1.0f, denormal};
const std::vector<float> extremes{-3e38f, -denormal, 3e38f, -1e-38f};

TEST(argmax, every_small_input) {
  const context_ptr context = make_context(2);
  for (int64_t n = 1; n <= 7; ++n) {
    const oracle_ptr oracle = make_argmax(n);
    compare_solves(context.get(), oracle.get(), all_rows(five, n), n, reference::argmax);
  }
  for (int64_t n = 1; n <= 5; ++n) {
    const oracle_ptr oracle = make_argmax(n);
    compare_solves(context.get(), oracle.get(), all_rows(extremes, n), n, reference::argmax);
  }
}

TEST(top_k, every_small_input) {
  const context_ptr context = make_context(2);
  for (int64_t n = 1; n <= 7; ++n)
    for (int64_t k = 1; k <= n; ++k) {
      const oracle_ptr oracle = make_top_k(n, k);
      compare_solves(context.get(), oracle.get(), all_rows(n == 7 ? std::vector<float>{-0.0f, 0.0f, 1.0f, denormal} : five, n), n,
                     [k](const std::vector<double>& s) { return reference::top_k(s, k); });
    }
  for (int64_t k = 1; k <= 4; ++k) {
    const oracle_ptr oracle = make_top_k(4, k);
    compare_solves(context.get(), oracle.get(), all_rows({-3e37f, -denormal, 3e37f, -1e-38f}, 4), 4,
                   [k](const std::vector<double>& s) { return reference::top_k(s, k); });
  }
}

TEST(rank, every_small_input) {
  const context_ptr context = make_context(2);
  for (int32_t descending : {0, 1})
    for (int32_t base : {0, 1})
      for (int64_t n = 1; n <= 6; ++n) {
        const oracle_ptr oracle = make_rank(n, descending, base);
        const solver naive = [=](const std::vector<double>& s) { return reference::rank(s, descending != 0, base); };
        compare_solves(context.get(), oracle.get(), all_rows(five, n), n, naive);
        if (n <= 4) compare_solves(context.get(), oracle.get(), all_rows({-1e37f, -denormal, 1e37f, -1e-38f, denormal}, n), n, naive);
      }
}

// Neighbouring floats far apart in magnitude from the rest of the row: a solve orders floats exactly whatever the row's range.
TEST(rank, neighbouring_floats) {
  const context_ptr context = make_context(1);
  for (int64_t n : {2, 17, 100, 512, 600}) {
    std::vector<float> theta(n);
    float x = 1;
    for (int64_t i = 0; i < n; ++i) {
      theta[(i * 7) % n] = x;  // 7 divides none of the sizes
      x = std::nextafter(x, 2.0f);
    }
    theta[0] = 1e30f;
    const oracle_ptr oracle = make_rank(n);
    compare_solves(context.get(), oracle.get(), theta, n, [](const std::vector<double>& s) { return reference::rank(s, false, 1); });
  }
}

// Middle sizes around every block and vector width, with many ties.
TEST(selection, middle_sizes_with_ties) {
  const context_ptr context = make_context(2);
  for (int64_t n : {8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 127, 128, 129, 255, 256, 257, 511, 512, 513, 1000, 1023, 1025})
    for (int64_t alphabet : {2, 7, 1000000}) {
      std::vector<float> theta(3 * n);
      for (size_t i = 0; i < theta.size(); ++i) theta[i] = static_cast<float>(hashed(alphabet * 1000 + n, i) % alphabet) - 3.0f;
      const oracle_ptr argmax = make_argmax(n);
      compare_solves(context.get(), argmax.get(), theta, n, reference::argmax);
      for (int64_t k : {int64_t{1}, std::min<int64_t>(10, n), n / 2, n - 1, n}) {
        const oracle_ptr top_k = make_top_k(n, k);
        compare_solves(context.get(), top_k.get(), theta, n, [k](const std::vector<double>& s) { return reference::top_k(s, k); });
      }
      for (int32_t descending : {0, 1}) {
        const oracle_ptr rank = make_rank(n, descending);
        compare_solves(context.get(), rank.get(), theta, n,
                       [descending](const std::vector<double>& s) { return reference::rank(s, descending != 0, 1); });
      }
    }
}

// Hand tables of other libraries' tests, as data.
TEST(selection, tables_of_peers) {
  const context_ptr context = make_context(1);
  struct table {
    std::vector<float> theta;
    int64_t k;
    std::vector<float> y;
  };
  const table tables[] = {
      {{2, 3, 5, 9, 4, 9, 9}, 3, {0, 0, 0, 1, 0, 1, 1}},         // raft: max with ties
      {{-2, -3, -5, -1, -4, -1, -1}, 3, {0, 0, 0, 1, 0, 1, 1}},  // raft: min of the negatives
      {{10, 8, 8, 8, 6, 5}, 3, {1, 1, 1, 0, 0, 0}},              // CUB: smaller index wins
      {{-3.5f, -1.5f, -7.5f, 0.5f, -2.5f}, 2, {0, 1, 0, 1, 0}},
  };
  for (const table& t : tables) {
    const oracle_ptr oracle = make_top_k(static_cast<int64_t>(t.theta.size()), t.k);
    std::vector<float> y(t.theta.size());
    require(perturb_solve(context.get(), oracle.get(), 1, t.theta.data(), y.data(), nullptr));
    EXPECT_TRUE(same_bits(t.y, y));
  }
}

// ---------------------------------------------------------------- a million items

std::vector<float> many_scores(int64_t n, uint64_t seed) {
  std::vector<float> theta(n);
  for (int64_t i = 0; i < n; ++i) theta[i] = static_cast<float>(static_cast<int64_t>(hashed(seed, i) % 1500007) - 750003) * 0x1p-10f;
  return theta;  // every value occurs about n / 1.5e6 times: ties among neighbours and far apart
}

TEST(large, argmax) {
  const context_ptr context = make_context(2);
  const int64_t n = 10000000;
  std::vector<float> theta = many_scores(n, 1), y(n);
  theta[7654321] = theta[9654321] = 1e6f;
  const oracle_ptr oracle = make_argmax(n);
  float value = 0;
  require(perturb_solve(context.get(), oracle.get(), 1, theta.data(), y.data(), &value));
  std::vector<float> expected(n);
  expected[7654321] = 1;
  EXPECT_TRUE(same_bits(expected, y));
  EXPECT_EQ(value, 1e6f);
}

TEST(large, top_k) {
  const context_ptr context = make_context(2);
  const int64_t n = 1000000;
  const std::vector<float> theta = many_scores(n, 2);
  for (int64_t k : {int64_t{1}, int64_t{10}, int64_t{1000}, n / 2, n - 1, n}) {
    const oracle_ptr oracle = make_top_k(n, k);
    std::vector<float> y(n);
    float value = 0;
    require(perturb_solve(context.get(), oracle.get(), 1, theta.data(), y.data(), &value));
    const std::vector<float> expected = reference::top_k_sorted(theta.data(), n, k);
    EXPECT_TRUE(same_bits(expected, y)) << "k " << k;
    double sum = 0, scale = 0;
    for (int64_t i = 0; i < n; ++i) {
      sum += static_cast<double>(expected[i]) * theta[i];
      scale += std::abs(static_cast<double>(expected[i]) * theta[i]);
    }
    EXPECT_TRUE(near(sum, value, 1e-6 * scale)) << "k " << k;
  }
}

TEST(large, rank) {
  const context_ptr context = make_context(2);
  for (int32_t descending : {0, 1}) {
    const int64_t n = 1000000;
    const std::vector<float> theta = many_scores(n, 3);
    const oracle_ptr oracle = make_rank(n, descending);
    std::vector<float> y(n);
    require(perturb_solve(context.get(), oracle.get(), 1, theta.data(), y.data(), nullptr));
    EXPECT_TRUE(same_bits(reference::rank_sorted(theta.data(), n, descending != 0, 1), y));
  }
}

TEST(large, rank_of_ten_million) {
  const context_ptr context = make_context(2);
  const int64_t n = 10000000;  // ranks up to 10^7 are exact floats
  const std::vector<float> theta = many_scores(n, 4);
  const oracle_ptr oracle = make_rank(n, 0, 0);
  std::vector<float> y(n);
  require(perturb_solve(context.get(), oracle.get(), 1, theta.data(), y.data(), nullptr));
  EXPECT_TRUE(same_bits(reference::rank_sorted(theta.data(), n, false, 0), y));
}

// ---------------------------------------------------------------- grid paths

// Costs are small multiples of 1/2 and factors of 1, 3/2 or 2: exact in fixed point, so that ties are ties and the rule shows.
// `by_enumeration` finds the distances by trying every simple path, on grids of a dozen cells for every 16th row (the others: Dijkstra,
// which references_agree compares with the enumeration).
void compare_paths(perturb_context* context, const reference::grid& g, const std::vector<float>& theta, bool by_enumeration) {
  const int64_t n = g.cells(), batch = static_cast<int64_t>(theta.size()) / n;
  const oracle_ptr oracle = reference::make_map(g);
  std::vector<float> y(theta.size()), value(batch);
  require(perturb_solve(context, oracle.get(), batch, theta.data(), y.data(), value.data()));
  for (int64_t b = 0; b < batch; ++b) {
    reference::step_costs<int64_t> steps{std::vector<int64_t>(n), std::vector<int64_t>(n)};  // in quarters
    for (int64_t i = 0; i < n; ++i) {
      steps.straight[i] = static_cast<int64_t>(4.0 * theta[b * n + i]);
      steps.diagonal[i] = static_cast<int64_t>(4.0 * theta[b * n + i] * g.diagonal_factor);
    }
    const std::vector<int64_t> distance = by_enumeration && (n <= 9 || batch < 16 || b % 16 == 0)
                                              ? reference::distances_by_enumeration(g, steps)
                                              : reference::distances(g, steps);
    const std::vector<float> expected = reference::walk_back(g, steps, distance);
    const auto equal = same_bits(expected, std::vector<float>(y.begin() + b * n, y.begin() + (b + 1) * n));
    const double cost = static_cast<double>(distance[g.target]) / 4;
    const auto value_near = near(cost, value[b], 2e-5 * cost);
    EXPECT_TRUE(equal) << g.height << "x" << g.width << " connectivity " << g.connectivity << " factor " << g.diagonal_factor << " from "
                       << g.source << " to " << g.target << " costs "
                       << testing::PrintToString(std::vector<float>(theta.begin() + b * n, theta.begin() + (b + 1) * n)) << " expected "
                       << testing::PrintToString(expected);
    EXPECT_TRUE(value_near);
    if (!equal || !value_near) return;
  }
}

reference::grid open_map(int64_t height, int64_t width, perturb_connectivity connectivity, double factor = 1) {
  return {height, width, 0, height * width - 1, connectivity, factor, true, std::vector<uint8_t>(height * width, 1)};
}

TEST(grid_path, every_small_cost_table) {
  const context_ptr context = make_context(2);
  struct shape {
    int64_t height, width;
    std::vector<float> alphabet;
  };
  const shape shapes[] = {{1, 1, {1, 2, 3}}, {1, 4, {1, 2, 3}}, {4, 1, {1, 2, 3}}, {2, 2, {1, 2, 3}}, {2, 3, {1, 2, 3}},
                          {3, 2, {1, 2, 3}}, {3, 3, {1, 2}},    {2, 4, {1, 2}},    {3, 4, {1, 3}},    {4, 3, {2, 1}}};
  for (const shape& s : shapes) {
    const std::vector<float> theta = all_rows(s.alphabet, s.height * s.width);
    for (perturb_connectivity connectivity : reference::connectivities)
      for (double factor : {1.0, 1.5, 2.0}) {
        if (connectivity == PERTURB_CONNECT_4 && factor != 1) continue;
        if (s.height * s.width == 12 && factor == 2) continue;
        compare_paths(context.get(), open_map(s.height, s.width, connectivity, factor), theta, true);
      }
  }
}

// Random walls, every pair of ends, source counted or not; distances by enumeration.
TEST(grid_path, small_grids_with_walls) {
  const context_ptr context = make_context(2);
  for (uint64_t seed = 0; seed < 12; ++seed)
    for (perturb_connectivity connectivity : reference::connectivities) {
      const int64_t height = seed % 2 ? 3 : 4, width = seed % 2 ? 4 : 3, n = height * width;
      reference::grid g = open_map(height, width, connectivity, seed % 3 == 0 ? 1.5 : 1.0);
      for (int64_t i = 0; i < n; ++i) g.passable[i] = uniform(seed, i) >= 0.3;
      std::vector<float> theta(4 * n);
      for (size_t i = 0; i < theta.size(); ++i)
        theta[i] = g.passable[i % n] ? 0.5f * static_cast<float>(1 + hashed(seed + 50, i) % 3) : std::numeric_limits<float>::quiet_NaN();
      for (g.source = 0; g.source < n; ++g.source)
        for (g.target = 0; g.target < n; ++g.target) {
          g.count_source = (g.source + g.target) % 2 == 0;
          if (!reachable(g.passable, height, width, connectivity, g.source, g.target)) {
            perturb_grid_path_options options = PERTURB_GRID_PATH_OPTIONS_INIT;
            options.height = height;
            options.width = width;
            options.connectivity = connectivity;
            options.passable = g.passable.data();
            options.source = g.source;
            options.target = g.target;
            perturb_oracle* oracle = nullptr;
            EXPECT_EQ(perturb_grid_path_create(&options, &oracle), PERTURB_ERROR_UNREACHABLE);
            EXPECT_EQ(oracle, nullptr);
            perturb_oracle_destroy(oracle);
            count();
            continue;
          }
          std::vector<float> costs(theta);
          for (float& c : costs)
            if (c != c) c = 1;  // the reference never looks at walls; the library gets the NaN
          const oracle_ptr oracle = reference::make_map(g);
          std::vector<float> y(theta.size()), y_plain(theta.size());
          require(perturb_solve(context.get(), oracle.get(), 4, theta.data(), y.data(), nullptr));
          require(perturb_solve(context.get(), oracle.get(), 4, costs.data(), y_plain.data(), nullptr));
          EXPECT_TRUE(same_bits(y_plain, y));
          compare_paths(context.get(), g, costs, true);
        }
    }
}

// The two naive references agree, so that the larger grids below may use Dijkstra.
TEST(grid_path, references_agree) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    reference::grid g = open_map(3, 4, reference::connectivities[seed % 3]);
    for (int64_t i = 1; i < 11; ++i) g.passable[i] = uniform(seed, i) >= 0.2;
    reference::step_costs<int64_t> steps{std::vector<int64_t>(12), std::vector<int64_t>(12)};
    for (int64_t i = 0; i < 12; ++i) {
      steps.straight[i] = 1 + static_cast<int64_t>(hashed(seed, 100 + i) % 5);
      steps.diagonal[i] = steps.straight[i] * 2 - static_cast<int64_t>(seed % 2);
    }
    EXPECT_EQ(reference::distances(g, steps), reference::distances_by_enumeration(g, steps));
    count(12);
  }
}

TEST(grid_path, larger_grids_with_ties) {
  const context_ptr context = make_context(2);
  const std::pair<int64_t, int64_t> shapes[] = {{1, 50}, {50, 1}, {2, 40}, {5, 7}, {12, 12}, {17, 31}, {32, 32}, {33, 47}, {64, 65}};
  for (const auto& [height, width] : shapes)
    for (perturb_connectivity connectivity : reference::connectivities)
      for (double factor : {1.0, 1.5, 2.0})
        for (uint64_t seed = 0; seed < 4; ++seed) {
          if (connectivity == PERTURB_CONNECT_4 && factor != 1) continue;
          const int64_t n = height * width;
          reference::grid g = open_map(height, width, connectivity, factor);
          g.source = static_cast<int64_t>(hashed(seed, n) % n);
          g.target = static_cast<int64_t>(hashed(seed, n + 1) % n);
          g.count_source = seed % 2 == 0;
          if (seed >= 2)
            for (int64_t i = 0; i < n; ++i) g.passable[i] = i == g.source || i == g.target || uniform(seed + 9, i) >= 0.3;
          if (!reachable(g.passable, height, width, connectivity, g.source, g.target)) continue;
          std::vector<float> theta(2 * n);
          for (size_t i = 0; i < theta.size(); ++i) theta[i] = static_cast<float>(1 + hashed(seed + 70, i) % (seed % 2 ? 3 : 2));
          compare_paths(context.get(), g, theta, false);
        }
}

// sqrt 2 on uniform costs: any two paths with the same steps tie, so the rule shows here too.
TEST(grid_path, square_root_of_two) {
  const context_ptr context = make_context(2);
  for (uint64_t seed = 0; seed < 40; ++seed) {
    const int64_t height = 3 + seed % 9, width = 4 + seed % 7, n = height * width;
    reference::grid g = open_map(height, width, seed % 2 ? PERTURB_CONNECT_8 : PERTURB_CONNECT_8_NO_CORNER_CUTTING, std::sqrt(2.0f));
    for (int64_t i = 1; i + 1 < n; ++i) g.passable[i] = uniform(seed, i) >= 0.2;
    if (!reachable(g.passable, height, width, g.connectivity, g.source, g.target)) continue;
    const oracle_ptr oracle = reference::make_map(g);
    const std::vector<float> theta(n, 1.0f);
    std::vector<float> y(n);
    float value = 0;
    require(perturb_solve(context.get(), oracle.get(), 1, theta.data(), y.data(), &value));
    const reference::step_costs<int64_t> steps{std::vector<int64_t>(n, 1000000000), std::vector<int64_t>(n, 1414213562)};
    const auto distance = reference::distances(g, steps);
    EXPECT_TRUE(same_bits(reference::walk_back(g, steps, distance), y)) << "seed " << seed;
    const double cost = static_cast<double>(distance[g.target]) * 1e-9;
    EXPECT_TRUE(near(cost, value, 2e-5 * cost));
  }
}

// Real costs over many magnitudes, clamped below the floor, negative included: judged by the cost of the marked path.
TEST(grid_path, real_costs) {
  const context_ptr context = make_context(2);
  for (uint64_t seed = 0; seed < 60; ++seed) {
    const int64_t height = 2 + hashed(seed, 1) % 30, width = 2 + hashed(seed, 2) % 30, n = height * width;
    reference::grid g = open_map(height, width, reference::connectivities[seed % 3], seed % 2 ? 1.41421356 : 1.0);
    g.diagonal_factor = static_cast<float>(g.diagonal_factor);
    g.count_source = seed % 5 != 0;
    const double spread = seed % 4 == 3 ? 6 : 1;
    std::vector<float> theta(n);
    for (int64_t i = 0; i < n; ++i) {
      theta[i] = static_cast<float>(std::exp(spread * (uniform(seed, i) * 2 - 1)) * (seed % 7 == 0 ? 1e20 : seed % 7 == 1 ? 1e-3 : 1));
      if (seed % 4 == 2 && i % 5 == 0) theta[i] = -theta[i];
    }
    const oracle_ptr oracle = reference::make_map(g);
    std::vector<float> y(n);
    float value = 0;
    require(perturb_solve(context.get(), oracle.get(), 1, theta.data(), y.data(), &value));
    std::vector<double> cost(theta.begin(), theta.end());
    for (double& c : cost) c = std::max(c, static_cast<double>(1e-6f));
    const auto steps = reference::make_steps(g, cost);
    const auto distance = reference::distances(g, steps);
    const double best = distance[g.target];
    const auto found = reference::marked_path_cost(g, steps, distance, y.data());
    ASSERT_TRUE(found.has_value()) << "seed " << seed;
    EXPECT_TRUE(near(best, *found, 2e-5 * best)) << "seed " << seed;
    EXPECT_TRUE(near(best, value, 2e-5 * best)) << "seed " << seed;
  }
}

// A comb maze: the way is far longer than height + width, which a fixed-point scale must allow for.
TEST(grid_path, comb_mazes) {
  const context_ptr context = make_context(2);
  for (int64_t size : {5, 33, 101, 301}) {
    test_case c;
    c.oracle = oracle_kind::grid_path;
    c.height = c.width = size;
    c.n = size * size;
    c.wall = walls::comb;
    c.target = size - 1;
    c.connectivity = PERTURB_CONNECT_4;
    const reference::grid g = reference::make_grid_reference(c);
    const oracle_ptr oracle = make_oracle(c);
    std::vector<float> theta(c.n), y(c.n);
    for (int64_t i = 0; i < c.n; ++i) theta[i] = uniform_float(size, i, 0.5, 1.5);
    float value = 0;
    require(perturb_solve(context.get(), oracle.get(), 1, theta.data(), y.data(), &value));
    const auto steps = reference::make_steps(g, std::vector<double>(theta.begin(), theta.end()));
    const auto distance = reference::distances(g, steps);
    EXPECT_TRUE(near(distance[g.target], value, 2e-5 * distance[g.target]));
    const auto found = reference::marked_path_cost(g, steps, distance, y.data());
    ASSERT_TRUE(found.has_value());
    EXPECT_TRUE(near(distance[g.target], *found, 2e-5 * distance[g.target]));
  }
}

// The 4x4 table of scikit-image's tests (start counted): costs to every cell from the corner (3,3).
TEST(grid_path, table_of_a_peer) {
  const context_ptr context = make_context(1);
  const std::vector<float> theta{1, 2, 2, 2, 2, 3, 2, 1, 1, 3, 2, 1, 2, 3, 2, 1};
  const std::vector<float> expected{7, 6, 5, 5, 8, 6, 4, 3, 7, 6, 3, 2, 8, 6, 3, 1};
  reference::grid g = open_map(4, 4, PERTURB_CONNECT_8);
  g.source = 15;
  for (g.target = 0; g.target < 16; ++g.target) {
    const oracle_ptr oracle = reference::make_map(g);
    std::vector<float> y(16);
    float value = 0;
    require(perturb_solve(context.get(), oracle.get(), 1, theta.data(), y.data(), &value));
    EXPECT_TRUE(near(expected[g.target], value, 2e-5 * expected[g.target])) << g.target;
  }
}

TEST(grid_path, largest_grid) {
  const context_ptr context = make_context(2);
  reference::grid g = open_map(4096, 4096, PERTURB_CONNECT_8);
  const oracle_ptr oracle = reference::make_map(g);
  const std::vector<float> theta(g.cells(), 1.0f);
  std::vector<float> y(g.cells());
  float value = 0;
  require(perturb_solve(context.get(), oracle.get(), 1, theta.data(), y.data(), &value));
  EXPECT_TRUE(near(4096, value, 2e-5 * 4096));
  std::vector<float> diagonal(g.cells());
  for (int64_t i = 0; i < 4096; ++i) diagonal[i * 4096 + i] = 1;
  EXPECT_TRUE(same_bits(diagonal, y));
}

TEST(oracle, sizes) {
  const oracle_ptr argmax = make_argmax(7), top_k = make_top_k(9, 2), rank = make_rank(11);
  EXPECT_EQ(perturb_oracle_input_size(argmax.get()), 7);
  EXPECT_EQ(perturb_oracle_output_size(argmax.get()), 7);
  EXPECT_EQ(perturb_oracle_input_size(top_k.get()), 9);
  EXPECT_EQ(perturb_oracle_output_size(rank.get()), 11);
  const oracle_ptr grid = reference::make_map(open_map(3, 5, PERTURB_CONNECT_4));
  EXPECT_EQ(perturb_oracle_input_size(grid.get()), 15);
  EXPECT_EQ(perturb_oracle_output_size(grid.get()), 15);
  EXPECT_EQ(perturb_oracle_input_size(nullptr), 0);
  EXPECT_EQ(perturb_oracle_output_size(nullptr), 0);
  count(8);
}

}  // namespace
}  // namespace perturb::test
