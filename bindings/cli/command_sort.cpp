// perturb sort: the sorted scores of each row, hard and expected: soft maxima, medians and quantiles.
#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>

#include "commands.h"
#include "file.h"
#include "npy.h"
#include "problem_scores.h"
#include "progress.h"
#include "session.h"
#include "table.h"
#include "text.h"

namespace perturb::cli {

namespace {

struct sort_command {
  score_options scores;
  noise_options noise;
  output_options output;
};

struct sort_result {
  int64_t k = 0;                                // positions of a row
  std::vector<float> hard, expected, std_error;  // [rows, k]
};

bool descends(const score_options& options) { return options.descending || options.k > 0; }

sort_result compute(const sort_command& command, const score_problem& problem) {
  const int64_t n = problem.n(), rows = problem.rows();
  sort_result result;
  result.k = command.scores.k > 0 ? command.scores.k : n;
  for (auto* field : {&result.hard, &result.expected, &result.std_error}) field->resize(static_cast<size_t>(rows * result.k));
  for (int64_t r = 0; r < rows; ++r) {
    std::vector<float> row(problem.scores.begin() + r * n, problem.scores.begin() + (r + 1) * n);
    if (descends(command.scores))
      std::sort(row.begin(), row.end(), std::greater<>());
    else
      std::sort(row.begin(), row.end());
    std::copy_n(row.begin(), result.k, result.hard.begin() + r * result.k);
  }
  session library(command.noise.device, command.noise.threads);
  perturb_noise noise = to_noise(command.noise, command.noise.epsilon.at(0));
  const double work_per_row = static_cast<double>(n) * static_cast<double>(noise.samples);
  const int64_t most = static_cast<int64_t>(std::clamp(5e7 / work_per_row, 16.0, 65536.0));
  progress bar("sort");
  for_each_run(problem, most, [&](int64_t first, int64_t count, int64_t row) {
    bar.show(static_cast<double>(first) / static_cast<double>(rows));
    noise.first_row = row;
    const size_t at = static_cast<size_t>(first * result.k);
    library.sorted_values(problem.oracle.get(), noise, count, problem.scores.data() + first * n, result.expected.data() + at, result.std_error.data() + at);
  });
  return result;
}

// The share of the other items that a position is above.
double quantile(const sort_command& command, const score_problem& problem, int64_t position) {
  if (problem.n() == 1) return 0.5;
  const double from_first = static_cast<double>(position) / static_cast<double>(problem.n() - 1);
  return descends(command.scores) ? 1 - from_first : from_first;
}

std::string error_text(float error) { return std::isfinite(error) ? format_short(error, 2) : "unknown"; }

std::string report_text(const sort_command& command, const score_problem& problem, const sort_result& result) {
  std::string text;
  for (int64_t r = 0; r < problem.rows(); ++r) {
    text += command.scores.file + ", row " + std::to_string(problem.row_numbers[static_cast<size_t>(r)]) + ": sort of " + std::to_string(problem.n()) +
            " items, epsilon " + format_number(command.noise.epsilon.at(0)) + ", " + std::to_string(command.noise.samples) + " samples\n";
    text_table table({"position", "quantile", "hard", "expected", "+- error"});
    for (int64_t j = 0; j < result.k; ++j) {
      const size_t at = static_cast<size_t>(r * result.k + j);
      table.add({std::to_string(j), format_short(quantile(command, problem, j), 4), format_short(result.hard[at], 6), format_short(result.expected[at], 6),
                 error_text(result.std_error[at])});
    }
    text += table.text();
    if (r + 1 < problem.rows()) text += '\n';
  }
  for (const std::string& file : command.output.files) text += "wrote " + file + "\n";
  return text;
}

std::string report_json(const sort_command& command, const score_problem& problem, const sort_result& result) {
  json_writer json;
  json.begin_object().member("command", "sort").member("file", command.scores.file).member("descending", descends(command.scores));
  json.member("epsilon", command.noise.epsilon.at(0));
  report_noise(json, command.noise);
  std::vector<float> quantiles;
  for (int64_t j = 0; j < result.k; ++j) quantiles.push_back(static_cast<float>(quantile(command, problem, j)));
  json.key("quantiles").numbers(std::span<const float>(quantiles)).key("rows").begin_array();
  for (int64_t r = 0; r < problem.rows(); ++r) {
    const auto row = [&](const std::vector<float>& values) {
      return std::span<const float>(values).subspan(static_cast<size_t>(r * result.k), static_cast<size_t>(result.k));
    };
    json.begin_object().member("row", problem.row_numbers[static_cast<size_t>(r)]);
    json.key("hard").numbers(row(result.hard)).key("expected").numbers(row(result.expected)).key("std_error").numbers(row(result.std_error));
    json.end_object();
  }
  json.end_array().key("wrote").begin_array();
  for (const std::string& file : command.output.files) json.value(file);
  return json.end_array().end_object().text();
}

std::string result_csv(const sort_command& command, const score_problem& problem, const sort_result& result) {
  std::string text = "row,position,quantile,hard,expected,std_error\n";
  for (int64_t r = 0; r < problem.rows(); ++r)
    for (int64_t j = 0; j < result.k; ++j) {
      const size_t at = static_cast<size_t>(r * result.k + j);
      text += std::to_string(problem.row_numbers[static_cast<size_t>(r)]) + ',' + std::to_string(j) + ',' + format_number(quantile(command, problem, j)) + ',' +
              format_number(result.hard[at]) + ',' + format_number(result.expected[at]) + ',' + format_number(result.std_error[at]) + '\n';
    }
  return text;
}

void run(const sort_command& command) {
  check_outputs(command.output);
  const score_problem problem = load_score_problem(command.scores, score_oracle::sort);
  const sort_result result = compute(command, problem);
  for (const std::string& file : command.output.files) {
    const int64_t shape[] = {problem.rows(), result.k};
    write_file(file, extension(file) == ".npy" ? write_npy(shape, result.expected) : result_csv(command, problem, result));
  }
  print(command.output.json ? report_json(command, problem, result) : report_text(command, problem, result));
}

}  // namespace

void add_sort_command(CLI::App& app) {
  const auto command = std::make_shared<sort_command>();
  command->noise.epsilon = {1.0};
  CLI::App* sub = app.add_subcommand("sort", "Expected sorted scores of each row: soft maxima, medians and quantiles");
  add_score_options(*sub, command->scores, score_oracle::sort);
  add_noise_options(*sub, command->noise, 1);
  add_output_options(*sub, command->output, {".csv", ".npy"});
  sub->footer(
      "Examples:\n"
      "  perturb sort scores.csv --row 0 --epsilon 0.2\n"
      "  perturb sort scores.csv -k 3 -o largest.csv\n"
      "A position's quantile is the share of the other items below it.\n"
      "The .csv has a line per row and position; the .npy holds the expected scores, float32 [rows, positions].");
  sub->callback([command] { run(*command); });
}

}  // namespace perturb::cli
