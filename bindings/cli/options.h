// Options that several commands share, and how they become structs of the C API.
#ifndef PERTURB_CLI_OPTIONS_H
#define PERTURB_CLI_OPTIONS_H

#include <perturb/perturb.h>

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "json.h"

namespace perturb::cli {

struct noise_options {
  std::vector<double> epsilon;
  int64_t samples = 1000;
  uint64_t seed = 0;
  std::string distribution = "normal";
  bool multiplicative = false;
  std::string device = "auto";
  int threads = 0;
};

struct output_options {
  std::vector<std::string> files;
  bool json = false;
};

// most_epsilons: how many values --epsilon takes. What `options` holds already is the default that --help shows.
void add_noise_options(CLI::App& app, noise_options& options, int most_epsilons);

// --json, and -o for files whose extension is one of `kinds`.
void add_output_options(CLI::App& app, output_options& options, const std::vector<std::string>& kinds);

// --device and --threads: where the command computes.
void add_device_options(CLI::App& app, std::string& device, int& threads);

// input_error unless all can be written; to be called before the work.
void check_outputs(const output_options& options);

perturb_noise to_noise(const noise_options& options, double epsilon);

// The members "samples", "seed", "distribution" and "mode" of a JSON report, which is open at an object.
void report_noise(json_writer& json, const noise_options& options);

// Prints to stdout; compute_error if that fails (a full disk behind a redirection).
void print(const std::string& text);

}  // namespace perturb::cli

#endif
