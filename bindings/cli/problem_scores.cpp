// From options and a file to rows of scores.
#include "problem_scores.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "csv.h"
#include "error.h"
#include "file.h"
#include "npy.h"
#include "text.h"

namespace perturb::cli {

const char* oracle_name(score_oracle oracle) {
  constexpr const char* names[] = {"rank", "top-k", "argmax", "sort"};
  return names[static_cast<int>(oracle)];
}

namespace {

struct column_range {
  int64_t first = 0, last = 0;  // both included
};

// A column by its name, else by its number.
int64_t find_column(std::string_view text, const std::vector<std::string>& columns, const std::string& file) {
  const auto named = std::find(columns.begin(), columns.end(), text);
  if (named != columns.end()) return named - columns.begin();
  const std::optional<int64_t> number = parse_integer(text);
  if (!number) throw input_error("--columns: " + file + " has no column " + in_quotes(text));
  if (*number < 0 || *number >= static_cast<int64_t>(columns.size()))
    throw input_error("--columns: " + file + " has no column " + std::to_string(*number) + ", only 0 to " +
                      std::to_string(columns.size() - 1));
  return *number;
}

column_range parse_columns(const std::string& text, const std::vector<std::string>& columns, const std::string& file) {
  const int64_t count = static_cast<int64_t>(columns.size());
  if (text.empty()) return {0, count - 1};
  const size_t colon = text.find(':');
  const std::string_view first = std::string_view(text).substr(0, colon);
  const std::string_view last = colon == std::string::npos ? first : std::string_view(text).substr(colon + 1);
  column_range range;
  range.first = first.empty() ? 0 : find_column(first, columns, file);
  range.last = last.empty() ? count - 1 : find_column(last, columns, file);
  if (range.last < range.first)
    throw input_error("--columns: " + in_quotes(text) + " ends before it begins (columns " + std::to_string(range.first) + " and " +
                      std::to_string(range.last) + ")");
  return range;
}

std::vector<int64_t> choose_rows(const std::vector<int64_t>& wanted, int64_t rows, const std::string& file) {
  std::vector<int64_t> chosen = wanted;
  for (const int64_t row : wanted)
    if (row < 0 || row >= rows)
      throw input_error("--row: " + file + " has no row " + std::to_string(row) + ", only 0 to " + std::to_string(rows - 1));
  if (wanted.empty())
    for (int64_t row = 0; row < rows; ++row) chosen.push_back(row);
  return chosen;
}

void load_csv(const score_options& options, score_problem& problem) {
  const std::string text = read_file(options.file);
  const csv_table table = read_csv(text, options.file, options.no_header ? std::optional<bool>(false) : std::nullopt);
  const column_range columns = parse_columns(options.columns, table.columns, options.file);
  problem.row_numbers = choose_rows(options.rows, table.rows(), options.file);
  problem.items.assign(table.columns.begin() + columns.first, table.columns.begin() + columns.last + 1);
  problem.scores.reserve(problem.row_numbers.size() * problem.items.size());
  for (const int64_t row : problem.row_numbers)
    for (int64_t column = columns.first; column <= columns.last; ++column) problem.scores.push_back(csv_number(table, row, column));
}

void load_npy(const score_options& options, const std::string& what, score_problem& problem) {
  const array values = read_npy(read_file(options.file), options.file);
  if (values.shape.empty() || values.shape.size() > 2)
    fail_in_file(options.file, "the array has shape " + shape_text(values.shape) + "; " + what + " need one or two dimensions (rows, items)");
  const int64_t width = values.shape.back();
  const int64_t rows = values.shape.size() == 1 ? 1 : values.shape[0];
  if (rows == 0 || width == 0) fail_in_file(options.file, "the array has shape " + shape_text(values.shape) + ", no " + what);
  std::vector<std::string> names;
  for (int64_t column = 0; column < width; ++column) names.push_back(std::to_string(column));
  const column_range columns = parse_columns(options.columns, names, options.file);
  problem.row_numbers = choose_rows(options.rows, rows, options.file);
  problem.items.assign(names.begin() + columns.first, names.begin() + columns.last + 1);
  for (const int64_t row : problem.row_numbers) {
    for (int64_t column = columns.first; column <= columns.last; ++column) {
      const float score = static_cast<float>(values.data[static_cast<size_t>(row * width + column)]);
      if (!std::isfinite(score))
        fail_in_file(options.file, "row " + std::to_string(row) + ", column " + std::to_string(column) + " is " +
                                       format_number(values.data[static_cast<size_t>(row * width + column)]) +
                                       ", not a finite float32 number");
      problem.scores.push_back(score);
    }
  }
}

}  // namespace

void add_score_options(CLI::App& app, score_options& options, score_oracle oracle) {
  app.add_option("scores", options.file, ".csv or .npy; each row is one problem")->required()->type_name("FILE");
  app.add_option("--row", options.rows, "Only these rows, counted from 0 below the header")->type_name("R")->allow_extra_args(false);
  app.add_option("--columns", options.columns, "Only these columns, both ends included: names, or numbers from 0")->type_name("A:B");
  app.add_flag("--no-header", options.no_header, "The first line of the .csv is data even if it is not all numbers");
  if (oracle == score_oracle::top_k)
    app.add_option("-k", options.k, "How many items to pick")
        ->required()
        ->check(CLI::Range(int64_t{1}, int64_t{1} << 31).description(""))
        ->type_name("K");
  if (oracle == score_oracle::sort) {
    CLI::Option* k = app.add_option("-k", options.k, "Only the K largest, the largest first")
                         ->check(CLI::Range(int64_t{1}, int64_t{1} << 31).description(""))
                         ->type_name("K");
    app.add_flag("--descending", options.descending, "The largest score first")->excludes(k);
  }
  if (oracle == score_oracle::rank) {
    app.add_flag("--descending", options.descending, "The largest score has the smallest rank");
    app.add_option("--base", options.base, "The smallest rank")
        ->check(CLI::IsMember({0, 1}).description(""))
        ->type_name("0|1")
        ->capture_default_str();
  }
}

score_problem load_rows(const score_options& options, const char* what) {
  score_problem problem;
  const std::string kind = extension(options.file);
  if (kind == ".csv")
    load_csv(options, problem);
  else if (kind == ".npy")
    load_npy(options, what, problem);
  else
    fail_in_file(options.file, "the extension of " + std::string(what) + " must be .csv or .npy");
  return problem;
}

score_problem load_score_problem(const score_options& options, score_oracle oracle) {
  score_problem problem = load_rows(options, "scores");
  const int64_t n = problem.n();
  if ((oracle == score_oracle::top_k || oracle == score_oracle::sort) && options.k > n)
    throw input_error("-k: " + std::to_string(options.k) + " of " + std::to_string(n) + " items cannot be picked");
  if (oracle == score_oracle::sort)
    problem.oracle = options.k > 0 ? make_ordered_top_k(n, options.k) : make_sort(n, options.descending);
  else if (oracle == score_oracle::rank)
    problem.oracle = make_rank(n, options.descending, options.base);
  else if (oracle == score_oracle::top_k)
    problem.oracle = make_top_k(n, options.k);
  else
    problem.oracle = make_argmax(n);
  return problem;
}

}  // namespace perturb::cli
