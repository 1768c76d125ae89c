// perturb rank, top-k, argmax: hard and expected solutions of rows of scores.
#include <algorithm>
#include <cmath>
#include <memory>

#include "commands.h"
#include "csv.h"
#include "file.h"
#include "npy.h"
#include "problem_scores.h"
#include "progress.h"
#include "session.h"
#include "table.h"
#include "text.h"

namespace perturb::cli {

namespace {

struct score_command {
  score_oracle oracle = score_oracle::rank;
  score_options scores;
  noise_options noise;
  output_options output;
};

struct score_result {
  std::vector<float> hard, expected, std_error;           // [rows, n]
  std::vector<float> hard_value, value, value_std_error;  // [rows]
};

// Rows go to the library some at a time, so that there is progress to show; a row's numbers do not depend on its company.
score_result compute(const score_command& command, const score_problem& problem) {
  const size_t rows = problem.row_numbers.size();
  score_result result;
  for (auto* field : {&result.hard, &result.expected, &result.std_error}) field->resize(problem.scores.size());
  for (auto* field : {&result.hard_value, &result.value, &result.value_std_error}) field->resize(rows);
  session library(command.noise.device, command.noise.threads);
  const perturb_oracle* oracle = problem.oracle.get();
  library.solve(oracle, problem.rows(), problem.scores.data(), result.hard.data(), result.hard_value.data());

  perturb_noise noise = to_noise(command.noise, command.noise.epsilon.at(0));
  const double work_per_row = static_cast<double>(problem.n()) * static_cast<double>(noise.samples);
  const int64_t most = static_cast<int64_t>(std::clamp(5e7 / work_per_row, 16.0, 65536.0));
  progress bar(oracle_name(command.oracle));
  for_each_run(problem, most, [&](int64_t first, int64_t count, int64_t row) {
    bar.show(static_cast<double>(first) / static_cast<double>(rows));
    noise.first_row = row;
    const size_t at = static_cast<size_t>(first * problem.n()), r = static_cast<size_t>(first);
    library.expectation(oracle, noise, count, problem.scores.data() + at, result.expected.data() + at, result.std_error.data() + at,
                        result.value.data() + r, result.value_std_error.data() + r);
  });
  return result;
}

std::string error_text(float error) { return std::isfinite(error) ? format_short(error, 2) : "unknown"; }

std::string report_text(const score_command& command, const score_problem& problem, const score_result& result) {
  std::string text;
  const size_t n = problem.items.size();
  for (size_t r = 0; r < problem.row_numbers.size(); ++r) {
    text += command.scores.file + ", row " + std::to_string(problem.row_numbers[r]) + ": " + oracle_name(command.oracle) + " of " +
            std::to_string(n) + " items, epsilon " + format_number(command.noise.epsilon.at(0)) + ", " +
            std::to_string(command.noise.samples) + " samples\n";
    text_table table({"item", "score", "hard", "expected", "+- error"});
    for (size_t i = 0; i < n; ++i) {
      const size_t at = r * n + i;
      table.add({problem.items[i], format_short(problem.scores[at], 6), format_short(result.hard[at], 6),
                 format_short(result.expected[at], 6), error_text(result.std_error[at])});
    }
    text += table.text();
    text += "  value: hard " + format_short(result.hard_value[r], 6) + ", expected " + format_short(result.value[r], 6) + " +- " +
            error_text(result.value_std_error[r]) + "\n";
    if (r + 1 < problem.row_numbers.size()) text += '\n';
  }
  for (const std::string& file : command.output.files) text += "wrote " + file + "\n";
  return text;
}

std::string report_json(const score_command& command, const score_problem& problem, const score_result& result) {
  const size_t n = problem.items.size();
  json_writer json;
  json.begin_object().member("command", oracle_name(command.oracle)).member("file", command.scores.file);
  if (command.oracle == score_oracle::top_k) json.member("k", command.scores.k);
  if (command.oracle == score_oracle::rank) json.member("descending", command.scores.descending).member("base", command.scores.base);
  json.member("epsilon", command.noise.epsilon.at(0));
  report_noise(json, command.noise);
  json.key("items").begin_array();
  for (const std::string& item : problem.items) json.value(item);
  json.end_array().key("rows").begin_array();
  for (size_t r = 0; r < problem.row_numbers.size(); ++r) {
    const auto row = [&](const std::vector<float>& values) { return std::span<const float>(values).subspan(r * n, n); };
    json.begin_object().member("row", problem.row_numbers[r]);
    json.key("scores").numbers(row(problem.scores)).key("hard").numbers(row(result.hard));
    json.key("expected").numbers(row(result.expected)).key("std_error").numbers(row(result.std_error));
    json.member("hard_value", result.hard_value[r]).member("value", result.value[r]).member("value_std_error", result.value_std_error[r]);
    json.end_object();
  }
  json.end_array().key("wrote").begin_array();
  for (const std::string& file : command.output.files) json.value(file);
  return json.end_array().end_object().text();
}

std::string result_csv(const score_problem& problem, const score_result& result) {
  std::string text = "row,item,score,hard,expected,std_error\n";
  const size_t n = problem.items.size();
  for (size_t at = 0; at < problem.scores.size(); ++at)
    text += std::to_string(problem.row_numbers[at / n]) + ',' + csv_field(problem.items[at % n]) + ',' + format_number(problem.scores[at]) +
            ',' + format_number(result.hard[at]) + ',' + format_number(result.expected[at]) + ',' + format_number(result.std_error[at]) +
            '\n';
  return text;
}

void run(const score_command& command) {
  check_outputs(command.output);
  const score_problem problem = load_score_problem(command.scores, command.oracle);
  const score_result result = compute(command, problem);
  for (const std::string& file : command.output.files) {
    const int64_t shape[] = {problem.rows(), problem.n()};
    write_file(file, extension(file) == ".npy" ? write_npy(shape, result.expected) : result_csv(problem, result));
  }
  print(command.output.json ? report_json(command, problem, result) : report_text(command, problem, result));
}

void add_score_command(CLI::App& app, score_oracle oracle, const std::string& about, const std::string& footer) {
  const auto command = std::make_shared<score_command>();
  command->oracle = oracle;
  command->noise.epsilon = {1.0};
  CLI::App* sub = app.add_subcommand(oracle_name(oracle), about);
  add_score_options(*sub, command->scores, oracle);
  add_noise_options(*sub, command->noise, 1);
  add_output_options(*sub, command->output, {".csv", ".npy"});
  sub->footer(footer + "\nThe .csv has a line per row and item; the .npy holds the expected solutions, float32 [rows, items].");
  sub->callback([command] { run(*command); });
}

}  // namespace

void add_score_commands(CLI::App& app) {
  add_score_command(app, score_oracle::rank, "Expected ranks of the scores of each row",
                    "Examples:\n"
                    "  perturb rank scores.csv --epsilon 0.5\n"
                    "  perturb rank scores.csv --row 0 --row 7 --columns A1:A13 --descending --json\n"
                    "  perturb rank scores.npy --samples 100000 -o ranks.npy");
  add_score_command(app, score_oracle::top_k, "Expected top-k of the scores of each row: the share of samples that pick an item",
                    "Examples:\n"
                    "  perturb top-k scores.csv -k 3 --epsilon 0.2\n"
                    "  perturb top-k scores.npy -k 10 --distribution gumbel -o picked.csv");
  add_score_command(app, score_oracle::argmax, "Expected argmax of the scores of each row; softmax(scores/epsilon) with gumbel noise",
                    "Examples:\n"
                    "  perturb argmax scores.csv --distribution gumbel\n"
                    "  perturb argmax scores.csv --columns 4:9 --epsilon 0.1 --json");
}

}  // namespace perturb::cli
