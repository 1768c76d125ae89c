// Where grid paths may start and end. Sets of sources and targets against brute force: every small cost table with ties, random walls,
// larger grids with ties against Dijkstra from all sources; and what tables and sets are refused for.
#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <limits>

#include "operations.h"
#include "reference/grid_path.h"
#include "refusal.h"

namespace perturb::test {
namespace {

reference::grid open_map(int64_t height, int64_t width, perturb_connectivity connectivity, double factor = 1) {
  return {height, width, 0, height * width - 1, connectivity, factor, true, std::vector<uint8_t>(height * width, 1)};
}

// Exact costs (quarters), so that ties are ties: path cell by cell, and its cost. Returns how many rows had two nearest targets.
int compare_paths(perturb_context* context, const reference::grid& g, const std::vector<float>& theta, bool by_enumeration) {
  const int64_t n = g.cells(), batch = static_cast<int64_t>(theta.size()) / n;
  const oracle_ptr oracle = reference::make_map(g);
  std::vector<float> y(theta.size()), value(batch);
  require(perturb_solve(context, oracle.get(), batch, theta.data(), y.data(), value.data()));
  // Every solver of the CPU backend: samples over lanes, and one at a time.
  const perturb_noise none = make_noise(PERTURB_NORMAL, 0, 20);
  std::vector<float> mean(theta.size());
  require(perturb_expectation(context, oracle.get(), &none, batch, theta.data(), mean.data(), nullptr, nullptr, nullptr));
  EXPECT_TRUE(same_bits(y, mean));
  int tied = 0;
  for (int64_t b = 0; b < batch; ++b) {
    reference::step_costs<int64_t> steps{std::vector<int64_t>(n), std::vector<int64_t>(n)};
    for (int64_t i = 0; i < n; ++i) {
      steps.straight[i] = g.passable[i] ? static_cast<int64_t>(4.0 * theta[b * n + i]) : 0;
      steps.diagonal[i] = g.passable[i] ? static_cast<int64_t>(4.0 * theta[b * n + i] * g.diagonal_factor) : 0;
    }
    const std::vector<int64_t> distance = by_enumeration ? reference::distances_by_enumeration(g, steps) : reference::distances(g, steps);
    const int64_t target = reference::nearest_target(g, distance);
    int nearest = 0;
    for (int64_t i = 0; i < n; ++i) nearest += g.is_target(i) && distance[i] == distance[target];
    tied += nearest > 1;
    const double cost = static_cast<double>(distance[target]) / 4;
    const auto equal = same_bits(reference::walk_back(g, steps, distance), std::vector<float>(y.begin() + b * n, y.begin() + (b + 1) * n));
    const auto value_near = near(cost, value[b], 2e-5 * cost);
    EXPECT_TRUE(equal) << g.height << "x" << g.width << " connectivity " << g.connectivity << " factor " << g.diagonal_factor << " from "
                       << testing::PrintToString(g.all_sources()) << " to " << testing::PrintToString(g.all_targets()) << " costs "
                       << testing::PrintToString(std::vector<float>(theta.begin() + b * n, theta.begin() + (b + 1) * n));
    EXPECT_TRUE(value_near);
    if (!equal || !value_near) return tied;
  }
  return tied;
}

std::vector<float> random_costs(uint64_t seed, int64_t rows, const reference::grid& g, int kinds) {
  std::vector<float> theta(rows * g.cells());
  for (size_t i = 0; i < theta.size(); ++i)
    theta[i] = g.passable[i % g.cells()] ? 0.5f * static_cast<float>(1 + hashed(seed, i) % kinds) : std::numeric_limits<float>::quiet_NaN();
  return theta;
}

std::vector<int64_t> random_cells(uint64_t seed, int64_t count, const reference::grid& g) {
  std::vector<int64_t> cells;
  for (uint64_t i = 0; static_cast<int64_t>(cells.size()) < count; ++i) {
    const int64_t cell = static_cast<int64_t>(hashed(seed, i) % g.cells());
    if (g.passable[cell]) cells.push_back(cell);
  }
  return cells;
}

TEST(grid_sets, every_small_cost_table) {
  const context_ptr context = make_context(2);
  const int64_t n = 9;
  std::vector<float> theta;
  for (int code = 0; code < 512; ++code)
    for (int64_t i = 0; i < n; ++i) theta.push_back(code >> i & 1 ? 2.0f : 1.0f);
  const std::vector<std::vector<int64_t>> sets = {{}, {0, 8}, {2, 0}, {4, 3, 5}, {6, 7, 8}, {1}, {0, 1, 2, 3, 4, 5, 6, 7, 8}};
  int tied = 0;
  for (perturb_connectivity connectivity : reference::connectivities)
    for (double factor : {1.0, 1.5})
      for (bool counted : {true, false})
        for (const auto& sources : sets)
          for (const auto& targets : sets) {
            if (connectivity == PERTURB_CONNECT_4 && factor != 1) continue;
            reference::grid g = open_map(3, 3, connectivity, factor);
            g.count_source = counted;
            g.sources = sources;
            g.targets = targets;
            tied += compare_paths(context.get(), g, theta, connectivity == PERTURB_CONNECT_4 && counted);
          }
  EXPECT_GT(tied, 10000);
}

TEST(grid_sets, small_grids_with_walls) {
  const context_ptr context = make_context(2);
  int64_t refused = 0;
  for (uint64_t seed = 0; seed < 300; ++seed) {
    reference::grid g = open_map(3 + seed % 2, 4 - seed % 2, reference::connectivities[seed % 3], seed % 5 == 0 ? 1.5 : 1.0);
    for (int64_t i = 0; i < g.cells(); ++i) g.passable[i] = uniform(seed, i) >= 0.4;
    if (std::count(g.passable.begin(), g.passable.end(), 1) == 0) continue;
    g.count_source = seed % 2 == 0;
    g.sources = random_cells(seed + 1, 1 + seed % 3, g);
    g.targets = random_cells(seed + 2, 1 + seed / 3 % 4, g);
    bool joined = false;
    for (const int64_t source : g.sources)
      for (const int64_t target : g.targets) joined = joined || reachable(g.passable, g.height, g.width, g.connectivity, source, target);
    if (joined) {
      compare_paths(context.get(), g, random_costs(seed + 3, 8, g, 3), true);
      continue;
    }
    try {
      reference::make_map(g);
      ADD_FAILURE() << "no target is in reach";
    } catch (const std::runtime_error& error) {
      EXPECT_NE(std::string(error.what()).find("PERTURB_ERROR_UNREACHABLE"), std::string::npos) << error.what();
    }
    ++refused;
    count();
  }
  EXPECT_GT(refused, 5);
}

// Both solvers, many ties, sets up to a third of all cells.
TEST(grid_sets, larger_grids_with_ties) {
  const context_ptr context = make_context(2);
  int tied = 0;
  const std::pair<int64_t, int64_t> shapes[] = {{1, 50}, {50, 1}, {2, 40}, {12, 12}, {17, 31}, {33, 47}, {64, 65}, {100, 170}};
  for (const auto& [height, width] : shapes)
    for (uint64_t seed = 0; seed < 12; ++seed) {
      if (height == 100 && seed > 3) continue;
      reference::grid g = open_map(height, width, reference::connectivities[seed % 3], seed % 3 && seed % 4 == 1 ? 1.5 : 1.0);
      if (seed >= 6)
        for (int64_t i = 0; i < g.cells(); ++i) g.passable[i] = uniform(seed + 9, i) >= 0.2;
      g.count_source = seed % 2 == 0;
      g.sources = random_cells(seed + 1, seed == 5 ? g.cells() / 3 : 1 + seed % 4, g);
      g.targets = random_cells(seed + 2, seed == 4 ? g.cells() / 3 : 1 + seed / 4 % 5, g);
      if (height > 2 && width > 2) g.targets.push_back(g.sources.size() > 3 ? g.targets[0] : g.sources[0] + (g.sources[0] + 1 < g.cells() ? 1 : -1));
      for (const int64_t target : g.targets) g.passable[target] = 1;
      const auto distance = reference::distances(g, reference::make_steps(g, std::vector<double>(g.cells(), 1.0)));
      if (reference::nearest_target(g, distance) < 0) continue;
      tied += compare_paths(context.get(), g, random_costs(seed + 3, 3, g, 2), false);
    }
  EXPECT_GT(tied, 10);
}

// Sets of one cell each, in any number of copies, are the plain oracle; a set of one side does with the single cell of the other.
TEST(grid_sets, sets_of_one_are_the_plain_oracle) {
  const context_ptr context = make_context(2);
  test_case c = case_list().grid_case(7, 9);
  c.source = 12;
  c.target = 50;
  prepared_case plain(context.get(), c), sets(context.get(), c);
  for (const auto& [sources, targets] : {std::pair<std::vector<int64_t>, std::vector<int64_t>>{{12}, {50}}, {{}, {50, 50}}, {{12, 12, 12}, {}}}) {
    const std::vector<uint8_t> passable = make_passable(c);
    test_case with = c;
    with.sources = sources;
    with.targets = targets;
    sets.oracle = make_grid(grid_options(with, passable));
    for (perturb_operation operation : operations)
      if (plain.has(operation)) {
        EXPECT_TRUE(same_bits(run_all(context.get(), plain, operation), run_all(context.get(), sets, operation))) << operation_names[operation];
      }
  }
}

// ---------------------------------------------------------------- refusals

TEST(grid_ends, tables_and_sets_are_checked) {
  const auto invalid = PERTURB_ERROR_INVALID_ARGUMENT;
  std::vector<uint8_t> passable(12, 1);  // 3 x 4
  passable[5] = 0;
  const int64_t ends[] = {0, 3, 11}, outside[] = {0, 12, 3}, negative[] = {-1, 0, 0}, wall[] = {0, 3, 5};
  const auto refuse = [&](auto spoil, perturb_status expected, const char* name) -> testing::AssertionResult {
    count();
    perturb_grid_path_options options = PERTURB_GRID_PATH_OPTIONS_INIT;
    options.height = 3;
    options.width = 4;
    options.target = 11;
    options.passable = passable.data();
    spoil(options);
    perturb_oracle* oracle = reinterpret_cast<perturb_oracle*>(&options);
    const perturb_status status = perturb_grid_path_create(&options, &oracle);
    const std::string error = perturb_last_error();
    if (status == expected && !oracle && error.find(name) != std::string::npos) return testing::AssertionSuccess();
    return testing::AssertionFailure() << perturb_status_name(status) << " \"" << error << "\", expected " << name;
  };
  const auto rows = [&](int64_t count, const int64_t* sources, const int64_t* targets) {
    return [=](perturb_grid_path_options& o) {
      o.rows = count;
      o.row_sources = sources;
      o.row_targets = targets;
    };
  };
  const auto sets = [&](int64_t source_count, const int64_t* sources, int64_t target_count, const int64_t* targets) {
    return [=](perturb_grid_path_options& o) {
      o.source_count = source_count;
      o.sources = sources;
      o.target_count = target_count;
      o.targets = targets;
    };
  };
  for (int64_t count : {int64_t{-1}, (int64_t{1} << 32) + 1, INT64_MIN, INT64_MAX})
    EXPECT_TRUE(refuse(rows(count, ends, ends), invalid, "options.rows: expected 0 to"));
  EXPECT_TRUE(refuse(rows(3, nullptr, ends), invalid, "options.row_sources: must not be NULL with options.rows 3"));
  EXPECT_TRUE(refuse(rows(3, ends, nullptr), invalid, "options.row_targets: must not be NULL with options.rows 3"));
  EXPECT_TRUE(refuse(rows(0, ends, nullptr), invalid, "options.rows: expected at least 1 with options.row_sources, got 0"));
  EXPECT_TRUE(refuse(rows(0, nullptr, ends), invalid, "options.rows: expected at least 1 with options.row_targets, got 0"));
  EXPECT_TRUE(refuse(rows(3, outside, ends), invalid, "options.row_sources[1]: expected 0 to 11, got 12"));
  EXPECT_TRUE(refuse(rows(3, ends, negative), invalid, "options.row_targets[0]: expected 0 to 11, got -1"));
  EXPECT_TRUE(refuse(rows(3, wall, ends), PERTURB_ERROR_UNREACHABLE, "options.row_sources[2]: cell 5 is a wall"));
  EXPECT_TRUE(refuse(rows(3, ends, wall), PERTURB_ERROR_UNREACHABLE, "options.row_targets[2]: cell 5 is a wall"));
  for (int64_t count : {int64_t{-1}, int64_t{13}, INT64_MIN, INT64_MAX}) {
    EXPECT_TRUE(refuse(sets(count, ends, 0, nullptr), invalid, "options.source_count: expected 0 to 12"));
    EXPECT_TRUE(refuse(sets(0, nullptr, count, ends), invalid, "options.target_count: expected 0 to 12"));
  }
  EXPECT_TRUE(refuse(sets(2, nullptr, 0, nullptr), invalid, "options.sources: must not be NULL with options.source_count 2"));
  EXPECT_TRUE(refuse(sets(0, nullptr, 2, nullptr), invalid, "options.targets: must not be NULL with options.target_count 2"));
  EXPECT_TRUE(refuse(sets(0, ends, 0, nullptr), invalid, "options.source_count: expected at least 1 with options.sources, got 0"));
  EXPECT_TRUE(refuse(sets(0, nullptr, 0, ends), invalid, "options.target_count: expected at least 1 with options.targets, got 0"));
  EXPECT_TRUE(refuse(sets(3, negative, 0, nullptr), invalid, "options.sources[0]: expected 0 to 11, got -1"));
  EXPECT_TRUE(refuse(sets(0, nullptr, 3, outside), invalid, "options.targets[1]: expected 0 to 11, got 12"));
  EXPECT_TRUE(refuse(sets(3, wall, 3, ends), PERTURB_ERROR_UNREACHABLE, "options.sources[2]: cell 5 is a wall"));
  EXPECT_TRUE(refuse(sets(3, ends, 3, wall), PERTURB_ERROR_UNREACHABLE, "options.targets[2]: cell 5 is a wall"));
  EXPECT_TRUE(refuse(
      [&](perturb_grid_path_options& o) {
        rows(3, ends, ends)(o);
        sets(3, ends, 0, nullptr)(o);
      },
      PERTURB_ERROR_UNSUPPORTED, "options.rows: expected 0 with sets"));
  // A cell of a set that is missing takes the single one's place, which is then checked.
  EXPECT_TRUE(refuse(
      [&](perturb_grid_path_options& o) {
        sets(3, ends, 0, nullptr)(o);
        o.target = 12;
      },
      invalid, "options.target: expected 0 to 11, got 12"));
  // Column 2 cuts the map in two.
  for (int row = 0; row < 3; ++row) passable[row * 4 + 2] = 0;
  const int64_t left[] = {0, 4, 1}, right[] = {3, 7, 11}, mixed[] = {4, 3, 8};
  EXPECT_TRUE(refuse(rows(3, left, mixed), PERTURB_ERROR_UNREACHABLE, "options.row_targets[1]: no path from cell 4 to cell 3"));
  EXPECT_TRUE(refuse(rows(3, mixed, left), PERTURB_ERROR_UNREACHABLE, "options.row_targets[1]: no path from cell 3 to cell 4"));
  EXPECT_TRUE(refuse(sets(3, left, 3, right), PERTURB_ERROR_UNREACHABLE, "options.targets: no path"));
}

// The struct of the first headers ended before `rows`: what lies behind it is not looked at.
TEST(grid_ends, older_options_are_accepted) {
  perturb_grid_path_options options = PERTURB_GRID_PATH_OPTIONS_INIT;
  options.height = options.width = 3;
  options.target = 8;
  options.rows = -5;
  options.sources = options.row_targets = reinterpret_cast<const int64_t*>(uintptr_t{16});
  options.struct_size = offsetof(perturb_grid_path_options, rows);
  const oracle_ptr older = make_grid(options);
  const context_ptr context = make_context(1);
  const std::vector<float> theta(9, 1.0f);
  std::vector<float> y(9);
  require(perturb_solve(context.get(), older.get(), 1, theta.data(), y.data(), nullptr));
  EXPECT_TRUE(same_bits({1, 0, 0, 0, 1, 0, 0, 0, 1}, y));
  perturb_oracle* oracle = nullptr;
  for (uint32_t size : {uint32_t{offsetof(perturb_grid_path_options, rows)} - 4, uint32_t{offsetof(perturb_grid_path_options, source_count)}}) {
    options.struct_size = size;
    EXPECT_EQ(perturb_grid_path_create(&options, &oracle), PERTURB_ERROR_INVALID_STRUCT);
  }
  count(2);
}

// With several sources that are not counted a path's cost is not <y, theta>.
TEST(grid_ends, uncounted_sources_refuse_what_needs_linear_costs) {
  const context_ptr context = make_context(1);
  const int64_t sources[] = {0, 2};
  perturb_grid_path_options options = PERTURB_GRID_PATH_OPTIONS_INIT;
  options.height = options.width = 3;
  options.target = 8;
  options.source_count = 2;
  options.sources = sources;
  for (int32_t counted : {0, 1}) {
    options.count_source = counted;
    for (entry_point entry : {entry_point::fenchel_young, entry_point::spo_plus}) {
      prepared_request p(context.get(), entry, make_grid(options));
      EXPECT_TRUE(counted ? accepted(p) : refused(p, p.valid, PERTURB_ERROR_UNSUPPORTED, "sources"));
    }
    prepared_request lpgd(context.get(), entry_point::lpgd, make_grid(options));
    EXPECT_TRUE(accepted(lpgd));
    lpgd.valid.lpgd.rho = 0.5f;
    EXPECT_TRUE(counted ? accepted(lpgd) : refused(lpgd, lpgd.valid, PERTURB_ERROR_UNSUPPORTED, "options.rho"));
  }
}

}  // namespace
}  // namespace perturb::test
