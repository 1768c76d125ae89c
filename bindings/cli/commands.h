// The sub-commands. Each function adds one to the application; parsing the command line then runs it.
#ifndef PERTURB_CLI_COMMANDS_H
#define PERTURB_CLI_COMMANDS_H

#include <CLI/CLI.hpp>

namespace perturb::cli {

void add_path_command(CLI::App& app);    // command_path.cpp
void add_score_commands(CLI::App& app);  // command_scores.cpp: rank, top-k, argmax
void add_sort_command(CLI::App& app);    // command_sort.cpp
void add_neighbors_command(CLI::App& app);  // command_neighbors.cpp
void add_gradient_commands(CLI::App& app);  // command_gradient.cpp: vjp, lpgd, imle
void add_bench_command(CLI::App& app);   // command_bench.cpp

}  // namespace perturb::cli

#endif
