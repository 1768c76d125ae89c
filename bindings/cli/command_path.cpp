// perturb path: the expected shortest path on a map, as text, JSON, picture or numbers.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <memory>

#include "commands.h"
#include "csv.h"
#include "error.h"
#include "file.h"
#include "npy.h"
#include "path_picture.h"
#include "problem_path.h"
#include "progress.h"
#include "session.h"
#include "table.h"
#include "text.h"

namespace perturb::cli {

namespace {

struct path_command {
  path_options path;
  noise_options noise;
  output_options output;
};

struct hard_path {
  std::vector<float> y;
  std::vector<int64_t> cells;  // in order
  float cost = 0;
};

struct path_estimate {
  double epsilon = 0;
  std::vector<float> expected;   // [height, width]: the share of samples whose path visits the cell
  std::vector<float> std_error;  // of `expected`
  double cost = 0, cost_error = 0;
  int64_t visited = 0;  // cells that at least one sample visits
  double length = 0;    // the mean number of cells in a path
  double seconds = 0;
};

hard_path solve_hard(session& library, const path_problem& problem) {
  hard_path hard;
  hard.y.resize(problem.map.cost.size());
  library.solve(problem.oracle.get(), 1, problem.map.cost.data(), hard.y.data(), &hard.cost);
  hard.cells = ordered_path(problem, hard.y);
  return hard;
}

// Samples are done in slices, so that there is progress to show; how many depends on the problem only, never on the terminal.
// y is 0 or 1, so that a slice's mean times its samples is a whole number: the counts add up exactly and the result is, bit for bit, that
// of one call. The standard error of a mean of zeros and ones follows from the mean. The costs are real numbers: slices are pooled by their
// means and variances in double.
path_estimate estimate(session& library, const path_problem& problem, const noise_options& options, double epsilon,
                       const std::function<void(double)>& show) {
  const auto start = std::chrono::steady_clock::now();
  const int64_t cells = problem.map.cells();
  const int64_t samples = options.samples;
  const int64_t slice = std::clamp<int64_t>((int64_t{1} << 23) / cells / 64 * 64, 64, int64_t{1} << 20);  // below 2^24, see above
  perturb_noise noise = to_noise(options, epsilon);
  std::vector<float> mean(static_cast<size_t>(cells));
  std::vector<int64_t> count(mean.size(), 0);
  double cost_sum = 0, cost_squares = 0;  // sum, and sum of squared distances from the mean
  for (int64_t first = 0; first < samples; first += slice) {
    show(static_cast<double>(first) / static_cast<double>(samples));
    noise.first_sample = first;
    noise.samples = std::min(slice, samples - first);
    const double in_slice = static_cast<double>(noise.samples);
    float cost = 0, cost_error = 0;
    library.expectation(problem.oracle.get(), noise, 1, problem.map.cost.data(), mean.data(), nullptr, &cost, &cost_error);
    for (size_t i = 0; i < mean.size(); ++i) count[i] += std::llround(static_cast<double>(mean[i]) * in_slice);
    if (first > 0) {
      const double before = static_cast<double>(first);
      const double apart = cost - cost_sum / before;
      cost_squares += apart * apart * before * in_slice / (before + in_slice);
    }
    if (noise.samples > 1) cost_squares += static_cast<double>(cost_error) * cost_error * in_slice * (in_slice - 1);
    cost_sum += static_cast<double>(cost) * in_slice;
  }
  path_estimate result;
  result.epsilon = epsilon;
  result.expected.resize(mean.size());
  result.std_error.resize(mean.size());
  const double total = static_cast<double>(samples);
  for (size_t i = 0; i < mean.size(); ++i) {
    const double share = static_cast<double>(count[i]) / total;
    result.expected[i] = static_cast<float>(share);
    result.std_error[i] = samples > 1 ? static_cast<float>(std::sqrt(share * (1 - share) / (total - 1))) : INFINITY;
    result.visited += count[i] > 0 ? 1 : 0;
    result.length += share;
  }
  result.cost = cost_sum / total;
  result.cost_error = samples > 1 ? std::sqrt(cost_squares / (total - 1) / total) : INFINITY;
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

std::string with_error(double value, double error) {
  return format_short(value, 7) + " +- " + (std::isfinite(error) ? format_short(error, 2) : "unknown");
}

std::string report_text(const path_command& command, const path_problem& problem, const hard_path& hard,
                        const std::vector<path_estimate>& estimates) {
  const grid& map = problem.map;
  const int64_t open = std::count_if(map.passable.begin(), map.passable.end(), [](uint8_t p) { return p != 0; });
  std::string text = command.path.file + ": " + std::to_string(map.height) + " x " + std::to_string(map.width) + ", " +
                     std::to_string(open) + " passable cells, " + connectivity_text(problem.connectivity) + ", diagonal " +
                     format_short(problem.diagonal, 5) + "\n";
  text += "from " + cells_text(problem.sources, map.width) + " to " + cells_text(problem.targets, map.width) + ": shortest path of " +
          std::to_string(hard.cells.size()) + " cells, cost " + format_short(hard.cost, 7);
  if (problem.sources.size() > 1 || problem.targets.size() > 1)
    text += ", from " + cell_text(hard.cells.front(), map.width) + " to " + cell_text(hard.cells.back(), map.width);
  text += "\n";
  text += std::to_string(command.noise.samples) + " samples, " + command.noise.distribution + " noise, " +
          (command.noise.multiplicative ? "multiplicative" : "additive") + ", seed " + std::to_string(command.noise.seed) + "\n\n";
  text_table table({"epsilon", "expected cost", "cells of a path", "cells visited", "seconds"});
  for (const path_estimate& e : estimates)
    table.add({format_number(e.epsilon), with_error(e.cost, e.cost_error), format_short(e.length, 5), std::to_string(e.visited),
               format_short(e.seconds, 3)});
  text += table.text();
  text += "\nThe expected cost is the mean, over samples, of the shortest path's cost under that sample's costs, +- its standard error.\n";
  for (const std::string& file : command.output.files) text += "wrote " + file + "\n";
  return text;
}

// [height, width] numbers, one line per row of the grid.
void grid_numbers(json_writer& json, const grid& map, const std::vector<float>& values) {
  json.begin_array();
  for (int64_t r = 0; r < map.height; ++r)
    json.numbers(std::span<const float>(values).subspan(static_cast<size_t>(r * map.width), static_cast<size_t>(map.width)));
  json.end_array();
}

std::string report_json(const path_command& command, const path_problem& problem, const hard_path& hard,
                        const std::vector<path_estimate>& estimates) {
  const grid& map = problem.map;
  const auto cell = [&](int64_t index) { return std::vector<int64_t>{index / map.width, index % map.width}; };
  json_writer json;
  json.begin_object().member("command", "path").member("file", command.path.file);
  json.member("height", map.height).member("width", map.width);
  json.member("connectivity", connectivity_name(problem.connectivity)).member("diagonal", problem.diagonal);
  json.member("count_source", command.path.count_source);
  const auto cells = [&](const char* name, const std::vector<int64_t>& indices) {
    json.key(name).begin_array();
    for (const int64_t index : indices) json.numbers(std::span<const int64_t>(cell(index)));
    json.end_array();
  };
  json.key("from").numbers(std::span<const int64_t>(cell(hard.cells.front())));
  json.key("to").numbers(std::span<const int64_t>(cell(hard.cells.back())));
  cells("sources", problem.sources);
  cells("targets", problem.targets);
  report_noise(json, command.noise);
  json.key("hard").begin_object().member("cost", hard.cost);
  cells("path", hard.cells);
  json.end_object();
  json.key("results").begin_array();
  for (const path_estimate& e : estimates) {
    json.begin_object().member("epsilon", e.epsilon).member("expected_cost", e.cost).member("expected_cost_std_error", e.cost_error);
    json.member("expected_cells", e.length).member("cells_visited", e.visited).member("seconds", e.seconds);
    grid_numbers(json.key("expected"), map, e.expected);
    json.end_object();
  }
  json.end_array();
  json.key("wrote").begin_array();
  for (const std::string& file : command.output.files) json.value(file);
  return json.end_array().end_object().text();
}

std::string result_csv(const path_problem& problem, const hard_path& hard, const std::vector<path_estimate>& estimates) {
  std::string text = "epsilon,row,column,cost,hard,expected,std_error\n";
  const int64_t width = problem.map.width;
  for (const path_estimate& e : estimates) {
    for (size_t i = 0; i < e.expected.size(); ++i) {
      if (problem.map.passable[i] == 0) continue;
      const int64_t cell = static_cast<int64_t>(i);
      text += format_number(e.epsilon) + ',' + std::to_string(cell / width) + ',' + std::to_string(cell % width) + ',' +
              format_number(problem.map.cost[i]) + ',' + format_number(hard.y[i]) + ',' + format_number(e.expected[i]) + ',' +
              format_number(e.std_error[i]) + '\n';
    }
  }
  return text;
}

std::string result_npy(const path_problem& problem, const std::vector<path_estimate>& estimates) {
  std::vector<int64_t> shape = {problem.map.height, problem.map.width};
  if (estimates.size() > 1) shape.insert(shape.begin(), static_cast<int64_t>(estimates.size()));
  std::vector<float> data;
  for (const path_estimate& e : estimates) data.insert(data.end(), e.expected.begin(), e.expected.end());
  return write_npy(shape, data);
}

std::string result_png(const path_command& command, const path_problem& problem, const hard_path& hard,
                       const std::vector<path_estimate>& estimates) {
  path_picture picture;
  picture.map = &problem.map;
  picture.title = file_name(command.path.file) + "   shortest path " + format_short(hard.cost, 5);
  picture.title += "   " + std::to_string(command.noise.samples) + " samples";
  if (command.noise.multiplicative) picture.title += ", multiplicative noise";
  picture.hard_path = hard.cells;
  picture.sources = problem.sources;
  picture.targets = problem.targets;
  for (const path_estimate& e : estimates) {
    path_panel panel;
    panel.title = "epsilon = " + format_number(e.epsilon);
    panel.subtitle =
        "expected cost " + format_short(e.cost, 5) + (std::isfinite(e.cost_error) ? " \x7F " + format_short(e.cost_error, 2) : "");
    panel.expected = e.expected;
    picture.panels.push_back(panel);
  }
  return draw(picture).png();
}

void run(const path_command& command) {
  check_outputs(command.output);
  const path_problem problem = load_path_problem(command.path);
  session library(command.noise.device, command.noise.threads);
  const hard_path hard = solve_hard(library, problem);
  std::vector<path_estimate> estimates;
  {
    progress bar("path");
    const double parts = static_cast<double>(command.noise.epsilon.size());
    for (const double epsilon : command.noise.epsilon) {
      const double done = static_cast<double>(estimates.size());
      estimates.push_back(estimate(library, problem, command.noise, epsilon, [&](double share) { bar.show((done + share) / parts); }));
    }
  }
  for (const std::string& file : command.output.files) {
    const std::string kind = extension(file);
    write_file(file, kind == ".png"   ? result_png(command, problem, hard, estimates)
                     : kind == ".npy" ? result_npy(problem, estimates)
                                      : result_csv(problem, hard, estimates));
  }
  print(command.output.json ? report_json(command, problem, hard, estimates) : report_text(command, problem, hard, estimates));
}

}  // namespace

void add_path_command(CLI::App& app) {
  const auto command = std::make_shared<path_command>();
  command->noise.epsilon = {0.5};
  CLI::App* sub = app.add_subcommand("path", "Expected shortest path on a grid map");
  add_path_options(*sub, command->path);
  add_noise_options(*sub, command->noise, 3);
  add_output_options(*sub, command->output, {".png", ".npy", ".csv"});
  sub->footer(
      "Noise is added to the cost of each cell; the expected path of a cell is the share of samples whose path visits it.\n"
      "The .png shows a panel per epsilon; the .npy holds float32 [height, width], or [epsilons, height, width]; the .csv has a line\n"
      "per epsilon and passable cell.\n"
      "Examples:\n"
      "  perturb path city.map -o path.png\n"
      "  perturb path city.map --from 12,3 --to 240,251 --epsilon 0.1 0.5 1 --samples 2000 -o paths.png -o paths.npy\n"
      "  perturb path city.map --from 12,3 --from 80,7 --to 240,251 --count-source   the nearer of two sources\n"
      "  perturb path terrain.asc --multiplicative --epsilon 0.3 --json\n"
      "  perturb path costs.npy --connectivity 4 --count-source --seed 7 -o path.csv");
  sub->callback([command] { run(*command); });
}

}  // namespace perturb::cli
