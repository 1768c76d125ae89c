// A shortest-path problem as the commands `path` and `vjp path` take it: file, ends, movement rule, and the ready oracle.
#ifndef PERTURB_CLI_PROBLEM_PATH_H
#define PERTURB_CLI_PROBLEM_PATH_H

#include <cstdint>
#include <string>
#include <vector>

#include "grid_file.h"
#include "library.h"
#include "options.h"

namespace perturb::cli {

struct path_options {
  std::string file;
  std::vector<std::string> from, to;  // "r,c" each; none for the default
  std::string connectivity;           // "4", "8", "8strict" or "" for the default of the file's kind
  double diagonal = 0;       // 0: the default of the file's kind
  bool count_source = false;
  double cost_floor = 1e-6;
};

struct path_problem {
  grid map;
  std::vector<int64_t> sources, targets;  // one or more: a path goes from any of the one to any of the other
  perturb_connectivity connectivity = PERTURB_CONNECT_8;
  float diagonal = 1.0f;
  float cost_floor = 1e-6f;
  oracle_handle oracle;
};

void add_path_options(CLI::App& app, path_options& options);

// Reads the file by its extension: .map, .asc or .npy.
grid load_grid(const std::string& file);

// Loads the file, settles the ends and makes the oracle. Without --from and --to the ends are the first and the last cell, in reading
// order, of the largest region whose cells can reach each other; with one of them, of the region of its first cell.
path_problem load_path_problem(const path_options& options);

// The cells that y marks, from its source to its target.
std::vector<int64_t> ordered_path(const path_problem& problem, const std::vector<float>& y);

std::string cell_text(int64_t cell, int64_t width);                // "r,c"
std::string cells_text(const std::vector<int64_t>& cells, int64_t width);  // "r,c or r,c", the first few of many
const char* connectivity_text(perturb_connectivity connectivity);  // for people
const char* connectivity_name(perturb_connectivity connectivity);  // as the option takes it

}  // namespace perturb::cli

#endif
