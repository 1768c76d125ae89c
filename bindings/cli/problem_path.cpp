// From options and a file to a shortest-path problem.
#include "problem_path.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <limits>
#include <queue>
#include <utility>

#include "error.h"
#include "file.h"
#include "npy.h"
#include "text.h"

namespace perturb::cli {

namespace {

// Calls visit(neighbour, is_diagonal) for every cell that a step from `cell` can reach.
template <typename Visit>
void for_each_step(const grid& map, perturb_connectivity connectivity, int64_t cell, const Visit& visit) {
  const int64_t r = cell / map.width, c = cell % map.width;
  const auto open = [&](int64_t row, int64_t column) {
    return row >= 0 && row < map.height && column >= 0 && column < map.width &&
           map.passable[static_cast<size_t>(row * map.width + column)] != 0;
  };
  for (int64_t dr = -1; dr <= 1; ++dr) {
    for (int64_t dc = -1; dc <= 1; ++dc) {
      const bool diagonal = dr != 0 && dc != 0;
      if ((dr == 0 && dc == 0) || !open(r + dr, c + dc)) continue;
      if (diagonal && connectivity == PERTURB_CONNECT_4) continue;
      if (diagonal && connectivity == PERTURB_CONNECT_8_NO_CORNER_CUTTING && !(open(r + dr, c) && open(r, c + dc))) continue;
      visit((r + dr) * map.width + c + dc, diagonal);
    }
  }
}

// Regions of cells that can reach each other (every rule is symmetric).
struct regions {
  std::vector<int32_t> of_cell;            // -1 in a wall
  std::vector<int64_t> first, last, size;  // per region
};

regions find_regions(const grid& map, perturb_connectivity connectivity) {
  regions found;
  found.of_cell.assign(static_cast<size_t>(map.cells()), -1);
  std::vector<int64_t> stack;
  for (int64_t start = 0; start < map.cells(); ++start) {
    if (map.passable[static_cast<size_t>(start)] == 0 || found.of_cell[static_cast<size_t>(start)] >= 0) continue;
    const int32_t region = static_cast<int32_t>(found.size.size());
    found.first.push_back(start);
    found.last.push_back(start);
    found.size.push_back(0);
    found.of_cell[static_cast<size_t>(start)] = region;
    stack.push_back(start);
    while (!stack.empty()) {
      const int64_t cell = stack.back();
      stack.pop_back();
      ++found.size.back();
      found.last.back() = std::max(found.last.back(), cell);
      for_each_step(map, connectivity, cell, [&](int64_t next, bool) {
        int32_t& of_next = found.of_cell[static_cast<size_t>(next)];
        if (of_next >= 0) return;
        of_next = region;
        stack.push_back(next);
      });
    }
  }
  return found;
}

// "r,c" to a passable cell.
int64_t parse_cell(const std::string& text, const char* option, const grid& map, const std::string& file) {
  const size_t comma = text.find(',');
  const auto row = parse_integer(trimmed(std::string_view(text).substr(0, comma)));
  const auto column = comma == std::string::npos ? std::nullopt : parse_integer(trimmed(std::string_view(text).substr(comma + 1)));
  if (!row || !column) throw input_error(std::string(option) + ": expected ROW,COLUMN such as 3,14, got " + in_quotes(text));
  if (*row < 0 || *row >= map.height || *column < 0 || *column >= map.width)
    throw input_error(std::string(option) + ": cell " + text + " is outside the " + std::to_string(map.height) + " x " +
                      std::to_string(map.width) + " grid of " + file + " (rows and columns count from 0)");
  const int64_t cell = *row * map.width + *column;
  if (map.passable[static_cast<size_t>(cell)] == 0)
    throw input_error(std::string(option) + ": cell " + text + " of " + file + " is a wall");
  return cell;
}

// Settles sources and targets, see load_path_problem.
void choose_ends(const path_options& options, path_problem& problem) {
  for (const std::string& text : options.from) problem.sources.push_back(parse_cell(text, "--from", problem.map, options.file));
  for (const std::string& text : options.to) problem.targets.push_back(parse_cell(text, "--to", problem.map, options.file));
  if (!problem.sources.empty() && !problem.targets.empty()) return;
  const regions found = find_regions(problem.map, problem.connectivity);
  if (found.size.empty()) fail_in_file(options.file, "every cell is a wall");
  size_t region;
  if (!problem.sources.empty())
    region = static_cast<size_t>(found.of_cell[static_cast<size_t>(problem.sources[0])]);
  else if (!problem.targets.empty())
    region = static_cast<size_t>(found.of_cell[static_cast<size_t>(problem.targets[0])]);
  else
    region = static_cast<size_t>(std::max_element(found.size.begin(), found.size.end()) - found.size.begin());
  if (problem.sources.empty()) problem.sources = {found.first[region]};
  if (problem.targets.empty()) problem.targets = {found.last[region]};
}

// The one of `ends` that a path has.
int64_t end_of_path(const std::vector<int64_t>& ends, const std::vector<float>& y) {
  return *std::find_if(ends.begin(), ends.end(), [&](int64_t cell) { return y[static_cast<size_t>(cell)] != 0; });
}

perturb_connectivity parse_connectivity(const std::string& text, grid_kind kind) {
  if (text == "4") return PERTURB_CONNECT_4;
  if (text == "8") return PERTURB_CONNECT_8;
  if (text == "8strict") return PERTURB_CONNECT_8_NO_CORNER_CUTTING;
  return kind == grid_kind::movingai ? PERTURB_CONNECT_8_NO_CORNER_CUTTING : PERTURB_CONNECT_8;
}

}  // namespace

void add_path_options(CLI::App& app, path_options& options) {
  app.add_option("map", options.file,
                 "MovingAI .map, ESRI .asc terrain (cost = height - least height + 1) or .npy of costs (NaN, inf: wall)")
      ->required()
      ->type_name("MAP");
  app.add_option("--from", options.from, "Source cell, counted from 0; given several times, any of them [first of the largest connected region]")
      ->type_name("ROW,COL")
      ->allow_extra_args(false);
  app.add_option("--to", options.to, "Target cell; given several times, any of them [last of the region of the first source]")
      ->type_name("ROW,COL")
      ->allow_extra_args(false);
  const char* const group = "Movement";
  app.add_option("--connectivity", options.connectivity, "4, 8, or 8strict: no cutting of corners [8strict for .map, else 8]")
      ->check(CLI::IsMember({"4", "8", "8strict"}).description(""))
      ->type_name("RULE")
      ->group(group);
  app.add_option("--diagonal", options.diagonal, "Cost factor of a diagonal step, 1 to 2 [sqrt(2) for .map, else 1]")
      ->check(CLI::Range(1.0, 2.0).description(""))
      ->type_name("F")
      ->group(group);
  app.add_flag("--count-source", options.count_source, "Count the source cell in a path's cost")->group(group);
  app.add_option("--cost-floor", options.cost_floor, "A perturbed cost below this becomes this")
      ->check(CLI::Range(1e-30, 1e30).description(""))
      ->type_name("F")
      ->capture_default_str()
      ->group(group);
}

grid load_grid(const std::string& file) {
  const std::string kind = extension(file);
  if (kind != ".map" && kind != ".asc" && kind != ".npy") fail_in_file(file, "the extension of a grid must be .map, .asc or .npy");
  const std::string bytes = read_file(file);
  if (kind == ".map") return read_movingai_map(bytes, file);
  if (kind == ".asc") return read_esri_ascii(bytes, file);
  return grid_from_array(read_npy(bytes, file), file);
}

path_problem load_path_problem(const path_options& options) {
  path_problem problem;
  problem.map = load_grid(options.file);
  const bool movingai = problem.map.kind == grid_kind::movingai;
  problem.connectivity = parse_connectivity(options.connectivity, problem.map.kind);
  problem.diagonal = static_cast<float>(options.diagonal > 0 ? options.diagonal : movingai ? std::sqrt(2.0) : 1.0);
  problem.cost_floor = static_cast<float>(options.cost_floor);
  choose_ends(options, problem);

  perturb_grid_path_options grid_options = PERTURB_GRID_PATH_OPTIONS_INIT;
  grid_options.height = problem.map.height;
  grid_options.width = problem.map.width;
  grid_options.connectivity = problem.connectivity;
  grid_options.diagonal_factor = problem.diagonal;
  grid_options.count_source = options.count_source ? 1 : 0;
  grid_options.passable = problem.map.passable.data();
  grid_options.source = problem.sources[0];
  grid_options.target = problem.targets[0];
  if (problem.sources.size() > 1) {
    grid_options.source_count = static_cast<int64_t>(problem.sources.size());
    grid_options.sources = problem.sources.data();
  }
  if (problem.targets.size() > 1) {
    grid_options.target_count = static_cast<int64_t>(problem.targets.size());
    grid_options.targets = problem.targets.data();
  }
  grid_options.cost_floor = problem.cost_floor;
  problem.oracle = make_grid_path(grid_options);
  return problem;
}

// y is a set of cells. Dijkstra within the set gives the order: y is the cheapest way through it.
std::vector<int64_t> ordered_path(const path_problem& problem, const std::vector<float>& y) {
  const grid& map = problem.map;
  std::vector<double> distance(y.size(), std::numeric_limits<double>::infinity());
  std::vector<int64_t> before(y.size(), -1);
  using entry = std::pair<double, int64_t>;
  std::priority_queue<entry, std::vector<entry>, std::greater<>> queue;
  const int64_t source = end_of_path(problem.sources, y), target = end_of_path(problem.targets, y);
  distance[static_cast<size_t>(source)] = 0;
  queue.emplace(0.0, source);
  while (!queue.empty()) {
    const auto [reached, cell] = queue.top();
    queue.pop();
    if (reached > distance[static_cast<size_t>(cell)]) continue;
    const int64_t from = cell;  // a structured binding cannot be captured
    const double so_far = reached;
    for_each_step(map, problem.connectivity, cell, [&](int64_t next, bool diagonal) {
      const size_t i = static_cast<size_t>(next);
      const double length = so_far + static_cast<double>(std::max(map.cost[i], problem.cost_floor)) * (diagonal ? problem.diagonal : 1.0f);
      if (y[i] == 0 || length >= distance[i]) return;
      distance[i] = length;
      before[i] = from;
      queue.emplace(length, next);
    });
  }
  std::vector<int64_t> path;
  for (int64_t cell = target; cell >= 0; cell = before[static_cast<size_t>(cell)]) path.push_back(cell);
  std::reverse(path.begin(), path.end());
  return path;
}

std::string cell_text(int64_t cell, int64_t width) { return std::to_string(cell / width) + "," + std::to_string(cell % width); }

std::string cells_text(const std::vector<int64_t>& cells, int64_t width) {
  constexpr size_t shown = 4;
  std::string text;
  for (size_t i = 0; i < std::min(cells.size(), shown); ++i) text += (i > 0 ? " or " : "") + cell_text(cells[i], width);
  return cells.size() > shown ? text + " or " + std::to_string(cells.size() - shown) + " more" : text;
}

const char* connectivity_text(perturb_connectivity connectivity) {
  if (connectivity == PERTURB_CONNECT_4) return "4 neighbours";
  return connectivity == PERTURB_CONNECT_8 ? "8 neighbours" : "8 neighbours, no corner cutting";
}

const char* connectivity_name(perturb_connectivity connectivity) {
  if (connectivity == PERTURB_CONNECT_4) return "4";
  return connectivity == PERTURB_CONNECT_8 ? "8" : "8strict";
}

}  // namespace perturb::cli
