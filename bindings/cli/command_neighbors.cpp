// perturb neighbors: how often each point is among the k nearest of each query, and the derivative of that in queries and points.
#include <algorithm>
#include <cmath>
#include <memory>

#include "commands.h"
#include "cotangent.h"
#include "error.h"
#include "file.h"
#include "npy.h"
#include "problem_scores.h"
#include "progress.h"
#include "session.h"
#include "table.h"
#include "text.h"

namespace perturb::cli {

namespace {

struct neighbors_command {
  std::string points, queries;  // files
  std::string columns;
  bool no_header = false;
  std::vector<int64_t> rows;  // of the queries
  int64_t k = 1;
  std::string cotangent;  // "": no gradient
  noise_options noise;
  output_options output;
};

struct neighbors_problem {
  score_problem points, queries;
  oracle_handle oracle;
  std::vector<float> cotangent;  // [queries, points]
  int64_t dimensions() const { return points.n(); }
  int64_t count() const { return points.rows(); }
};

struct neighbors_result {
  std::vector<float> hard, expected, std_error;           // [queries, points]
  std::vector<float> gradient_queries, gradient_points;   // of the shapes of both, where there is a cotangent
};

neighbors_problem load(const neighbors_command& command) {
  neighbors_problem problem;
  score_options of;
  of.columns = command.columns;
  of.no_header = command.no_header;
  of.file = command.points;
  problem.points = load_rows(of, "points");
  of.file = command.queries;
  of.rows = command.rows;
  problem.queries = load_rows(of, "queries");
  if (problem.queries.n() != problem.dimensions())
    fail_in_file(command.queries, "a query has " + std::to_string(problem.queries.n()) + " columns, but a point of " + command.points + " has " +
                                      std::to_string(problem.dimensions()));
  if (command.k > problem.count())
    throw input_error("-k: " + std::to_string(command.k) + " of " + std::to_string(problem.count()) + " points cannot be the nearest");
  problem.oracle = make_top_k(problem.count(), command.k);
  if (!command.cotangent.empty()) problem.cotangent = load_cotangent(command.cotangent, problem.queries.rows(), problem.count(), true);
  return problem;
}

neighbors_result compute(const neighbors_command& command, const neighbors_problem& problem) {
  const int64_t n = problem.count(), d = problem.dimensions(), rows = problem.queries.rows();
  neighbors_result result;
  for (auto* field : {&result.hard, &result.expected, &result.std_error}) field->resize(static_cast<size_t>(rows * n));
  const bool gradient = !problem.cotangent.empty();
  if (gradient) result.gradient_queries.resize(static_cast<size_t>(rows * d));
  std::vector<double> of_points(gradient ? static_cast<size_t>(n * d) : 0);
  std::vector<float> part(of_points.size());
  session library(command.noise.device, command.noise.threads);
  perturb_noise noise = to_noise(command.noise, command.noise.epsilon.at(0)), silent = to_noise(command.noise, 0);
  silent.samples = 1;
  const double work_per_row = static_cast<double>(n) * static_cast<double>(noise.samples);
  const int64_t most = static_cast<int64_t>(std::clamp(5e7 / work_per_row, 16.0, 65536.0));
  progress bar("neighbors");
  for_each_run(problem.queries, most, [&](int64_t first, int64_t count, int64_t row) {
    bar.show(static_cast<double>(first) / static_cast<double>(rows));
    noise.first_row = row;
    const float *queries = problem.queries.scores.data() + first * d, *points = problem.points.scores.data();
    const size_t at = static_cast<size_t>(first * n);
    library.nearest_neighbors(problem.oracle.get(), silent, count, d, queries, points, result.hard.data() + at, nullptr);
    library.nearest_neighbors(problem.oracle.get(), noise, count, d, queries, points, result.expected.data() + at, result.std_error.data() + at);
    if (!gradient) return;
    library.nearest_neighbors_vjp(problem.oracle.get(), noise, count, d, queries, points, problem.cotangent.data() + at,
                                  result.gradient_queries.data() + first * d, part.data());
    for (size_t i = 0; i < part.size(); ++i) of_points[i] += static_cast<double>(part[i]);
  });
  result.gradient_points.assign(of_points.begin(), of_points.end());
  return result;
}

double distance(const neighbors_problem& problem, int64_t query, int64_t point) {
  const int64_t d = problem.dimensions();
  double squares = 0;
  for (int64_t j = 0; j < d; ++j) {
    const double step = static_cast<double>(problem.queries.scores[static_cast<size_t>(query * d + j)]) -
                        static_cast<double>(problem.points.scores[static_cast<size_t>(point * d + j)]);
    squares += step * step;
  }
  return std::sqrt(squares);
}

// The points that were near in a sample, or are without noise, the most frequent first.
std::vector<int64_t> seen_points(const neighbors_problem& problem, const neighbors_result& result, int64_t query) {
  const size_t at = static_cast<size_t>(query * problem.count());
  std::vector<int64_t> seen;
  for (int64_t i = 0; i < problem.count(); ++i)
    if (result.expected[at + static_cast<size_t>(i)] > 0 || result.hard[at + static_cast<size_t>(i)] > 0) seen.push_back(i);
  std::stable_sort(seen.begin(), seen.end(), [&](int64_t a, int64_t b) {
    return result.expected[at + static_cast<size_t>(a)] > result.expected[at + static_cast<size_t>(b)];
  });
  return seen;
}

std::span<const float> row_of(const std::vector<float>& values, int64_t row, int64_t width) {
  return std::span<const float>(values).subspan(static_cast<size_t>(row * width), static_cast<size_t>(width));
}

std::string report_text(const neighbors_command& command, const neighbors_problem& problem, const neighbors_result& result) {
  constexpr size_t most = 20;
  std::string text;
  for (int64_t q = 0; q < problem.queries.rows(); ++q) {
    text += command.queries + ", row " + std::to_string(problem.queries.row_numbers[static_cast<size_t>(q)]) + ": " + std::to_string(command.k) + " nearest of " +
            std::to_string(problem.count()) + " points, epsilon " + format_number(command.noise.epsilon.at(0)) + ", " + std::to_string(command.noise.samples) +
            " samples\n";
    text_table table({"point", "distance", "hard", "expected", "+- error"});
    const std::vector<int64_t> seen = seen_points(problem, result, q);
    for (size_t s = 0; s < std::min(most, seen.size()); ++s) {
      const size_t at = static_cast<size_t>(q * problem.count() + seen[s]);
      table.add({std::to_string(seen[s]), format_short(distance(problem, q, seen[s]), 6), format_short(result.hard[at], 1), format_short(result.expected[at], 6),
                 std::isfinite(result.std_error[at]) ? format_short(result.std_error[at], 2) : "unknown"});
    }
    text += table.text();
    if (seen.size() > most) text += "and " + std::to_string(seen.size() - most) + " points more\n";
    if (!problem.cotangent.empty()) {
      text += "gradient of <g, expected> in the query:";
      for (const float value : row_of(result.gradient_queries, q, problem.dimensions())) text += " " + format_short(value, 6);
      text += "\n";
    }
    if (q + 1 < problem.queries.rows()) text += '\n';
  }
  for (const std::string& file : command.output.files) text += "wrote " + file + "\n";
  return text;
}

std::string report_json(const neighbors_command& command, const neighbors_problem& problem, const neighbors_result& result) {
  const int64_t n = problem.count(), d = problem.dimensions();
  json_writer json;
  json.begin_object().member("command", "neighbors").member("points", command.points).member("queries", command.queries);
  json.member("k", command.k).member("epsilon", command.noise.epsilon.at(0));
  if (!problem.cotangent.empty()) json.member("cotangent", command.cotangent);
  report_noise(json, command.noise);
  json.key("rows").begin_array();
  for (int64_t q = 0; q < problem.queries.rows(); ++q) {
    json.begin_object().member("row", problem.queries.row_numbers[static_cast<size_t>(q)]);
    json.key("hard").numbers(row_of(result.hard, q, n)).key("expected").numbers(row_of(result.expected, q, n));
    json.key("std_error").numbers(row_of(result.std_error, q, n));
    if (!problem.cotangent.empty()) json.key("gradient").numbers(row_of(result.gradient_queries, q, d));
    json.end_object();
  }
  json.end_array();
  if (!problem.cotangent.empty()) {
    json.key("gradient_points").begin_array();
    for (int64_t i = 0; i < n; ++i) json.numbers(row_of(result.gradient_points, i, d));
    json.end_array();
  }
  json.key("wrote").begin_array();
  for (const std::string& file : command.output.files) json.value(file);
  return json.end_array().end_object().text();
}

std::string result_csv(const neighbors_problem& problem, const neighbors_result& result) {
  std::string text = "row,point,distance,hard,expected,std_error\n";
  for (int64_t q = 0; q < problem.queries.rows(); ++q)
    for (const int64_t i : seen_points(problem, result, q)) {
      const size_t at = static_cast<size_t>(q * problem.count() + i);
      text += std::to_string(problem.queries.row_numbers[static_cast<size_t>(q)]) + ',' + std::to_string(i) + ',' + format_number(distance(problem, q, i)) + ',' +
              format_number(result.hard[at]) + ',' + format_number(result.expected[at]) + ',' + format_number(result.std_error[at]) + '\n';
    }
  return text;
}

void run(const neighbors_command& command) {
  check_outputs(command.output);
  const neighbors_problem problem = load(command);
  const neighbors_result result = compute(command, problem);
  for (const std::string& file : command.output.files) {
    const int64_t shape[] = {problem.queries.rows(), problem.count()};
    write_file(file, extension(file) == ".npy" ? write_npy(shape, result.expected) : result_csv(problem, result));
  }
  print(command.output.json ? report_json(command, problem, result) : report_text(command, problem, result));
}

}  // namespace

void add_neighbors_command(CLI::App& app) {
  const auto command = std::make_shared<neighbors_command>();
  command->noise.epsilon = {1.0};
  CLI::App* sub = app.add_subcommand("neighbors", "Expected nearest neighbours of each query");
  sub->add_option("points", command->points, ".csv or .npy; each row is a point")->required()->type_name("POINTS");
  sub->add_option("queries", command->queries, ".csv or .npy of as many columns; each row is a query")->required()->type_name("QUERIES");
  sub->add_option("-k,--k", command->k, "How many neighbours")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 31).description(""))
      ->type_name("K")
      ->capture_default_str();
  sub->add_option("--row", command->rows, "Only these queries, counted from 0 below the header")->type_name("R")->allow_extra_args(false);
  sub->add_option("--columns", command->columns, "Only these columns of both files, both ends included: names, or numbers from 0")->type_name("A:B");
  sub->add_flag("--no-header", command->no_header, "The first line of a .csv is data even if it is not all numbers");
  sub->add_option("-g,--cotangent", command->cotangent,
                  "Also the gradient of <g, expected> in queries and points: g is ones, or a .csv or .npy of queries x points, or of one row for all")
      ->type_name("FILE|ones");
  add_noise_options(*sub, command->noise, 1);
  add_output_options(*sub, command->output, {".csv", ".npy"});
  sub->footer(
      "Noise is added to squared distances, and epsilon is in their units; expected is how often a point is among the K nearest.\n"
      "Examples:\n"
      "  perturb neighbors points.csv queries.csv -k 3 --epsilon 0.5\n"
      "  perturb neighbors points.csv queries.csv -k 10 --columns x:z --cotangent labels.csv --json\n"
      "The .csv has a line per query and point that was near in a sample; the .npy holds float32 [queries, points].");
  sub->callback([command] { run(*command); });
}

}  // namespace perturb::cli
