// Rows of scores as the commands `rank`, `top-k`, `argmax`, `sort` and gradients take them.
#ifndef PERTURB_CLI_PROBLEM_SCORES_H
#define PERTURB_CLI_PROBLEM_SCORES_H

#include <cstdint>
#include <string>
#include <vector>

#include "library.h"
#include "options.h"

namespace perturb::cli {

enum class score_oracle { rank, top_k, argmax, sort };
const char* oracle_name(score_oracle oracle);

struct score_options {
  std::string file;
  std::vector<int64_t> rows;  // none: all
  std::string columns;        // "A:B", "A" or "" for all
  bool no_header = false;
  int64_t k = 0;  // sort: 0 for all positions
  bool descending = false;
  int base = 1;
};

// The chosen part of a score file. Each row is one problem of n items.
struct score_problem {
  std::vector<std::string> items;    // [n]: the column's name, or its number
  std::vector<int64_t> row_numbers;  // in the file, from 0
  std::vector<float> scores;         // [rows, n]
  oracle_handle oracle;
  int64_t n() const { return static_cast<int64_t>(items.size()); }
  int64_t rows() const { return static_cast<int64_t>(row_numbers.size()); }
};

// Rows of numbers from a .csv or .npy, without an oracle. what: what the numbers are, for messages.
score_problem load_rows(const score_options& options, const char* what);

void add_score_options(CLI::App& app, score_options& options, score_oracle oracle);
score_problem load_score_problem(const score_options& options, score_oracle oracle);

// Runs of rows that lie side by side in the file, at most `most` each: work(first position in the problem, count, row number of the first).
// A row keeps its noise however rows are picked, since its number in the file is the row of the noise.
template <typename Work>
void for_each_run(const score_problem& problem, int64_t most, const Work& work) {
  for (int64_t first = 0; first < problem.rows();) {
    int64_t count = 1;
    const auto number = [&](int64_t position) { return problem.row_numbers[static_cast<size_t>(position)]; };
    while (count < most && first + count < problem.rows() && number(first + count) == number(first) + count) ++count;
    work(first, count, number(first));
    first += count;
  }
}

}  // namespace perturb::cli

#endif
