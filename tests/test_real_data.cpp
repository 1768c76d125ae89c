// Real data with known answers: MovingAI scenarios (optimal octile lengths), Warcraft terrain (recorded paths), elevation models
// (reference costs), motion-planning mazes (exact distances) and label rankings. The folder comes from PERTURB_DATA or the build; where
// it is missing the tests skip. Every scenario runs; with PERTURB_TEST_FEW=1 maps of 200,000 cells and more take every 16th.
#include <gtest/gtest.h>

#include <cstdio>
#include <map>
#include <mutex>
#include <thread>

#include "compare.h"
#include "real_data.h"
#include "reference/unit_path.h"

namespace perturb::test {
namespace {

bool all_wanted() {
  const char* value = std::getenv("PERTURB_TEST_FEW");
  return !value || !*value || *value == '0';
}
#define SKIP_WITHOUT(path) \
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "no data at " << (path) << " (set PERTURB_DATA)"

// The rounding of the lengths in each folder's files.
double length_tolerance(const std::string& folder, double length) {
  if (folder == "wc3maps512" || folder == "bg512") return 0.00503;
  if (folder == "mapf" || folder == "cities") return 3e-7;
  return 5.1e-6 * length;
}

// The rule of the maps' optimal lengths.
perturb_grid_path_options octile_options(const octile_map& map) {
  perturb_grid_path_options options = PERTURB_GRID_PATH_OPTIONS_INIT;
  options.height = map.height;
  options.width = map.width;
  options.connectivity = PERTURB_CONNECT_8_NO_CORNER_CUTTING;
  options.diagonal_factor = 1.41421356f;
  options.count_source = 0;
  options.passable = map.passable.data();
  return options;
}

void run_scenarios(const std::string& folder) {
  const std::filesystem::path directory = data_directory() / "movingai" / folder;
  SKIP_WITHOUT(directory);
  int64_t available = 0;
  std::atomic<int64_t> ran{0};
  for (const auto& file : std::filesystem::directory_iterator(directory)) {
    if (file.path().extension() != ".map") continue;
    const octile_map map = read_octile_map(file.path());
    const std::vector<scenario> scenarios = read_scenarios(file.path().string() + ".scen", map);
    available += static_cast<int64_t>(scenarios.size());
    const size_t stride = all_wanted() || map.height * map.width < 200000 ? 1 : 16;
    const std::vector<float> theta(map.passable.size(), 1.0f);
    std::mutex mutex;
    std::vector<std::string> faults;
    const auto work = [&](size_t worker) {
      try {
        const context_ptr context = make_context(1);
        std::vector<float> y(theta.size());
        for (size_t i = worker * stride; i < scenarios.size(); i += 2 * stride) {
          const scenario& s = scenarios[i];
          perturb_grid_path_options options = octile_options(map);
          options.source = s.source;
          options.target = s.target;
          const oracle_ptr oracle = make_grid(options);
          float value = 0;
          require(perturb_solve(context.get(), oracle.get(), 1, theta.data(), y.data(), &value));
          ++ran;
          count(2);
          const reference::grid g{map.height, map.width, s.source, s.target, options.connectivity, std::sqrt(2.0), false, map.passable};
          std::string fault = reference::unit_path_fault(g, y, s.length);
          if (std::abs(value - s.length) > 2e-5 * s.length + length_tolerance(folder, s.length) + 1e-6)
            fault = "value " + std::to_string(value);
          if (fault.empty()) continue;
          const std::lock_guard lock(mutex);
          faults.push_back(file.path().filename().string() + " scenario " + std::to_string(i) + " length " + std::to_string(s.length) +
                           ": " + fault);
        }
      } catch (const std::exception& error) {
        const std::lock_guard lock(mutex);
        faults.push_back(error.what());
      }
    };
    std::thread other(work, 1);
    work(0);
    other.join();
    for (size_t i = 0; i < faults.size() && i < 5; ++i) ADD_FAILURE() << faults[i] << " (" << faults.size() << " faults)";
  }
  std::printf("movingai/%s: %lld of %lld scenarios\n", folder.c_str(), static_cast<long long>(ran.load()),
              static_cast<long long>(available));
  EXPECT_GT(ran.load(), 0);
}

// From one start to the goals of many scenarios at once: the path to the nearest of them, cell by cell, and from all of those back to it.
TEST(movingai, sets_of_goals) {
  const std::filesystem::path directory = data_directory() / "movingai" / "dao";
  SKIP_WITHOUT(directory);
  const context_ptr context = make_context(1);
  int maps = 0;
  for (const auto& file : std::filesystem::directory_iterator(directory)) {
    if (file.path().extension() != ".map") continue;
    ++maps;
    const octile_map map = read_octile_map(file.path());
    const std::vector<scenario> scenarios = read_scenarios(file.path().string() + ".scen", map);
    const std::vector<float> theta(map.passable.size(), 1.0f);
    perturb_grid_path_options options = octile_options(map);
    options.source = scenarios.back().source;
    const auto solve = [&](std::vector<float>& y) {
      const oracle_ptr oracle = make_grid(options);
      float value = 0;
      y.resize(theta.size());
      require(perturb_solve(context.get(), oracle.get(), 1, theta.data(), y.data(), &value));
      return value;
    };
    std::vector<int64_t> goals;
    std::vector<float> nearest, path;
    float least = 0;
    int64_t best = 0;
    for (size_t i = 0; i < scenarios.size(); i += scenarios.size() / 12) {
      options.target = scenarios[i].target;
      const float value = solve(path);
      if (goals.empty() || value < least || (value == least && options.target < best)) {
        nearest = path;
        least = value;
        best = options.target;
      }
      goals.push_back(scenarios[i].target);
    }
    options.target_count = static_cast<int64_t>(goals.size());
    options.targets = goals.data();
    EXPECT_EQ(solve(path), least) << file.path();
    EXPECT_TRUE(same_bits(nearest, path)) << file.path();
    // Uniform costs: a path's length is that of its reverse.
    options.target = options.source;
    std::swap(options.source_count, options.target_count);
    std::swap(options.sources, options.targets);
    EXPECT_TRUE(near(least, solve(path), 2e-5 * least)) << file.path();
    count();
  }
  EXPECT_GT(maps, 0);
}

TEST(movingai, da2) { run_scenarios("da2"); }
TEST(movingai, dao) { run_scenarios("dao"); }
TEST(movingai, mapf) { run_scenarios("mapf"); }
TEST(movingai, cities) { run_scenarios("cities"); }
TEST(movingai, bg512) { run_scenarios("bg512"); }
TEST(movingai, mazes) { run_scenarios("mazes"); }
TEST(movingai, random) { run_scenarios("random"); }
TEST(movingai, rooms) { run_scenarios("rooms"); }
TEST(movingai, sc1) { run_scenarios("sc1"); }
TEST(movingai, wc3maps512) { run_scenarios("wc3maps512"); }

// 8 neighbours with corner cutting, the start cell counted.
TEST(warcraft, recorded_paths) {
  const std::filesystem::path path = data_directory() / "warcraft" / "warcraft12_sample.txt";
  SKIP_WITHOUT(path);
  const context_ptr context = make_context(1);
  for (const cost_grid& grid : read_warcraft(path)) {
    perturb_grid_path_options options = PERTURB_GRID_PATH_OPTIONS_INIT;
    options.height = grid.height;
    options.width = grid.width;
    options.target = grid.height * grid.width - 1;
    const oracle_ptr oracle = make_grid(options);
    std::vector<float> y(grid.cost.size());
    float value = 0;
    require(perturb_solve(context.get(), oracle.get(), 1, grid.cost.data(), y.data(), &value));
    EXPECT_TRUE(near(grid.recorded_cost, value, 2e-5 * grid.recorded_cost)) << grid.name;
    double marked = 0, recorded = 0;
    for (size_t i = 0; i < y.size(); ++i) {
      marked += static_cast<double>(y[i]) * grid.cost[i];
      recorded += static_cast<double>(grid.path[i]) * grid.cost[i];
    }
    EXPECT_TRUE(near(recorded, marked, 1e-9)) << grid.name << ": the marked cells cost as much as the recorded path";
    const reference::grid g{grid.height, grid.width, 0, options.target, PERTURB_CONNECT_8, 1, true, std::vector<uint8_t>(y.size(), 1)};
    const auto steps = reference::make_steps(g, std::vector<double>(grid.cost.begin(), grid.cost.end()));
    const auto found = reference::marked_path_cost(g, steps, reference::distances(g, steps), y.data());
    ASSERT_TRUE(found.has_value()) << grid.name;
    EXPECT_TRUE(near(grid.recorded_cost, *found, 1e-5)) << grid.name;
  }
}

TEST(elevation, reference_costs) {
  const std::filesystem::path directory = data_directory() / "dem";
  SKIP_WITHOUT(directory);
  std::ifstream table = open_data(directory / "reference_costs.csv");
  std::string line, field;
  std::getline(table, line);
  std::map<std::string, cost_grid> grids;
  const context_ptr context = make_context(1);
  int rows = 0;
  while (std::getline(table, line)) {
    std::istringstream fields(line);
    std::vector<std::string> v;
    while (std::getline(fields, field, ',')) v.push_back(field);
    ASSERT_EQ(v.size(), 7u) << line;
    if (!grids.count(v[0])) grids[v[0]] = read_elevation(directory / v[0]);
    const cost_grid& grid = grids[v[0]];
    perturb_grid_path_options options = PERTURB_GRID_PATH_OPTIONS_INIT;
    options.height = grid.height;
    options.width = grid.width;
    options.connectivity = v[1] == "4" ? PERTURB_CONNECT_4 : PERTURB_CONNECT_8;
    options.source = std::stoll(v[2]) * grid.width + std::stoll(v[3]);
    options.target = std::stoll(v[4]) * grid.width + std::stoll(v[5]);
    const oracle_ptr oracle = make_grid(options);
    std::vector<float> y(grid.cost.size());
    float value = 0;
    require(perturb_solve(context.get(), oracle.get(), 1, grid.cost.data(), y.data(), &value));
    const double expected = std::stod(v[6]);
    EXPECT_TRUE(near(expected, value, 2e-5 * expected)) << line;
    double marked = 0;
    for (size_t i = 0; i < y.size(); ++i) marked += static_cast<double>(y[i]) * grid.cost[i];
    EXPECT_TRUE(near(expected, marked, 2e-5 * expected)) << line << ": sum over the marked cells";
    ++rows;
  }
  EXPECT_GT(rows, 0);
}

// Every move costs 1, diagonals too, corners may be cut: the distance of a free cell is the value with the source not counted.
TEST(mazes, every_distance) {
  const std::filesystem::path path = data_directory() / "mpd" / "mazes_032_test.txt";
  SKIP_WITHOUT(path);
  const context_ptr context = make_context(1);
  const int64_t stride = all_wanted() ? 1 : 5;
  int64_t ran = 0, cut_off = 0;
  for (const maze& m : read_mazes(path)) {
    const std::vector<float> theta(m.passable.size(), 1.0f);
    std::vector<float> y(theta.size());
    for (int64_t cell = ran % stride; cell < m.height * m.width; cell += stride) {
      if (!m.passable[cell]) continue;
      perturb_grid_path_options options = PERTURB_GRID_PATH_OPTIONS_INIT;
      options.height = m.height;
      options.width = m.width;
      options.count_source = 0;
      options.passable = m.passable.data();
      options.source = cell;
      options.target = m.goal;
      perturb_oracle* raw = nullptr;
      const perturb_status status = perturb_grid_path_create(&options, &raw);
      const oracle_ptr oracle(raw);
      ++ran;
      if (m.distance[cell] < 0) {
        EXPECT_EQ(status, PERTURB_ERROR_UNREACHABLE);
        ++cut_off;
        count();
        continue;
      }
      require(status);
      float value = 0;
      require(perturb_solve(context.get(), oracle.get(), 1, theta.data(), y.data(), &value));
      EXPECT_TRUE(near(m.distance[cell], value, 2e-5 * m.distance[cell] + 1e-9));
      double marked = 0;
      for (float mark : y) marked += mark;
      EXPECT_TRUE(near(m.distance[cell] + 1, marked, 0));
      if (testing::Test::HasFailure()) return;
    }
  }
  std::printf("mpd mazes: %lld cells, %lld of them cut off\n", static_cast<long long>(ran), static_cast<long long>(cut_off));
  EXPECT_GT(ran, 0);
}

// The tables hold rank positions (1 is the best): they are the ranks of themselves, and the descending ranks of their negatives.
TEST(label_ranking, ranks_of_every_row) {
  const std::filesystem::path directory = data_directory() / "label_ranking";
  SKIP_WITHOUT(directory);
  const context_ptr context = make_context(2);
  int64_t rows = 0;
  for (const auto& file : std::filesystem::directory_iterator(directory)) {
    const rankings table = read_rankings(file.path());
    rows += table.rows;
    const oracle_ptr ascending = make_rank(table.labels), descending = make_rank(table.labels, 1);
    std::vector<float> y(table.rank.size()), negative(table.rank);
    for (float& value : negative) value *= -0.125f;
    require(perturb_solve(context.get(), ascending.get(), table.rows, table.rank.data(), y.data(), nullptr));
    EXPECT_TRUE(same_bits(table.rank, y)) << file.path();
    require(perturb_solve(context.get(), descending.get(), table.rows, negative.data(), y.data(), nullptr));
    EXPECT_TRUE(same_bits(table.rank, y)) << file.path();
    // With noise far below the gaps every sample agrees.
    const perturb_noise noise = make_noise(PERTURB_NORMAL, 0.01f, 50);
    require(
        perturb_expectation(context.get(), ascending.get(), &noise, table.rows, table.rank.data(), y.data(), nullptr, nullptr, nullptr));
    EXPECT_TRUE(same_bits(table.rank, y)) << file.path();
    // Fenchel-Young with the recorded ranking as target: no loss there, and a gradient of 0.
    std::vector<float> loss(table.rows), gradient(table.rank.size());
    require(perturb_fenchel_young(context.get(), ascending.get(), &noise, table.rows, table.rank.data(), table.rank.data(), loss.data(),
                                  gradient.data(), nullptr));
    EXPECT_TRUE(all_near(std::vector<double>(loss.size()), loss, 1e-4)) << file.path();
    EXPECT_TRUE(all_near(std::vector<double>(gradient.size()), gradient, 0.0)) << file.path();
  }
  std::printf("label ranking: %lld rows\n", static_cast<long long>(rows));
  EXPECT_GT(rows, 0);
}

}  // namespace
}  // namespace perturb::test
