// perturb bench: how fast the expectation of each oracle runs on this machine. A quick look, not the project's benchmark.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>

#include "commands.h"
#include "library.h"
#include "options.h"
#include "progress.h"
#include "session.h"
#include "table.h"
#include "text.h"

namespace perturb::cli {

namespace {

struct bench_command {
  std::string device = "auto";
  int threads = 0;
  double seconds = 0.3;
  bool json = false;
};

struct bench_case {
  std::string name;
  oracle_handle oracle;
  bool per_problem;  // a path is quoted in microseconds per problem, the others in nanoseconds per item
};

struct bench_result {
  std::string name;
  int64_t n = 0, samples = 0;
  double best = 0;  // seconds for `samples` problems
  bool per_problem = false;
  double problems_per_second() const { return static_cast<double>(samples) / best; }
  double nanoseconds_per_item() const { return best * 1e9 / static_cast<double>(samples) / static_cast<double>(n); }
  double microseconds_per_problem() const { return best * 1e6 / static_cast<double>(samples); }
};

// Eight neighbours, costs of the cells only, the source counted: the rule of the Warcraft benchmark.
oracle_handle make_square(int64_t side) {
  perturb_grid_path_options options = PERTURB_GRID_PATH_OPTIONS_INIT;
  options.height = side;
  options.width = side;
  options.target = side * side - 1;
  return make_grid_path(options);
}

// Numbers in [1, 2) that repeat on every machine: fractions of multiples of the golden ratio.
std::vector<float> spread_numbers(int64_t n) {
  std::vector<float> values;
  for (int64_t i = 0; i < n; ++i) {
    const double multiple = static_cast<double>(i) * 0.6180339887498949;
    values.push_back(static_cast<float>(1 + multiple - std::floor(multiple)));
  }
  return values;
}

double time_expectation(session& library, const perturb_oracle* oracle, const std::vector<float>& theta, int64_t samples) {
  perturb_noise noise = PERTURB_NOISE_INIT;
  noise.samples = samples;
  noise.epsilon = 0.5f;
  std::vector<float> y(theta.size());
  float value = 0;
  const auto start = std::chrono::steady_clock::now();
  library.expectation(oracle, noise, 1, theta.data(), y.data(), nullptr, &value, nullptr);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// The best of three runs of a third of the time each, with as many samples as that takes.
bench_result measure(session& library, const bench_case& one, double seconds) {
  bench_result result;
  result.name = one.name;
  result.n = perturb_oracle_input_size(one.oracle.get());
  result.per_problem = one.per_problem;
  const std::vector<float> theta = spread_numbers(result.n);
  result.samples = 64;
  double took = time_expectation(library, one.oracle.get(), theta, result.samples);  // also warms up
  while (took < seconds / 6 && result.samples < int64_t{1} << 30) {
    result.samples *= 2;
    took = time_expectation(library, one.oracle.get(), theta, result.samples);
  }
  result.samples = std::max<int64_t>(64, static_cast<int64_t>(static_cast<double>(result.samples) * seconds / 3 / took) / 64 * 64);
  result.best = INFINITY;
  for (int repeat = 0; repeat < 3; ++repeat)
    result.best = std::min(result.best, time_expectation(library, one.oracle.get(), theta, result.samples));
  return result;
}

void run(const bench_command& command) {
  std::vector<bench_case> cases;
  cases.push_back({"rank 100", make_rank(100, false, 1), false});
  cases.push_back({"argmax 1000", make_argmax(1000), false});
  cases.push_back({"top-10 of 1000", make_top_k(1000, 10), false});
  for (const int64_t side : {12, 32, 96})
    cases.push_back({"path " + std::to_string(side) + " x " + std::to_string(side), make_square(side), true});
  session library(command.device, command.threads);
  std::vector<bench_result> results;
  {
    progress bar("bench");
    for (const bench_case& one : cases) {
      bar.show(static_cast<double>(results.size()) / static_cast<double>(cases.size()));
      results.push_back(measure(library, one, command.seconds));
    }
  }
  if (command.json) {
    json_writer json;
    json.begin_object().member("command", "bench").member("library", version_text(perturb_version())).member("device", library.device()).member("threads", command.threads);
    json.member("operation", "expectation").member("distribution", "normal").member("epsilon", 0.5).key("results").begin_array();
    for (const bench_result& r : results) {
      json.begin_object().member("name", r.name).member("n", r.n).member("samples", r.samples).member("seconds", r.best);
      json.member("samples_per_second", r.problems_per_second()).member("ns_per_item", r.nanoseconds_per_item());
      json.member("us_per_problem", r.microseconds_per_problem()).end_object();
    }
    return print(json.end_array().end_object().text());
  }
  std::string text = "expectation of one row, normal noise, epsilon 0.5, ";
  if (std::string(library.device()) == "cuda") {
    text += "on CUDA with the copies there and back";
  } else {
    text += "threads: " + (command.threads == 0 ? "one per processor" : std::to_string(command.threads));
  }
  text += ", best of 3\n";
  text_table table({"oracle", "samples/s", "time", "per"});
  for (const bench_result& r : results)
    table.add({r.name, format_short(r.problems_per_second(), 4),
               r.per_problem ? format_short(r.microseconds_per_problem(), 4) + " us" : format_short(r.nanoseconds_per_item(), 3) + " ns",
               r.per_problem ? "path" : "item"});
  print(text + table.text());
}

}  // namespace

void add_bench_command(CLI::App& app) {
  const auto command = std::make_shared<bench_command>();
  CLI::App* sub = app.add_subcommand("bench", "How fast each oracle runs on this machine");
  add_device_options(*sub, command->device, command->threads);
  sub->add_option("--seconds", command->seconds, "Time for each oracle, about")
      ->check(CLI::Range(0.001, 600.0).description(""))
      ->type_name("S")
      ->capture_default_str();
  sub->add_flag("--json", command->json, "Print one JSON object instead of text");
  sub->footer(
      "One perturbed problem per sample; what is timed is perturb_expectation with value and without standard errors.\n"
      "Examples:\n"
      "  perturb bench\n"
      "  perturb bench --threads 1 --seconds 2 --json");
  sub->callback([command] { run(*command); });
}

}  // namespace perturb::cli
