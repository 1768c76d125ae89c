// Shared options.
#include "options.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <map>

#include "error.h"
#include "file.h"
#include "text.h"

namespace perturb::cli {

namespace {
const std::map<std::string, perturb_distribution> distributions = {
    {"normal", PERTURB_NORMAL}, {"gumbel", PERTURB_GUMBEL}, {"logistic", PERTURB_LOGISTIC}, {"laplace", PERTURB_LAPLACE}};

std::string check_epsilon(const std::string& text) {
  const auto value = parse_number(text);
  if (value && std::isfinite(*value) && *value >= 0 && *value <= std::numeric_limits<float>::max()) return "";
  return "expected a finite number >= 0, got " + in_quotes(text) + " (its values end at the next option or at --)";
}
}  // namespace

void add_noise_options(CLI::App& app, noise_options& options, int most_epsilons) {
  const char* const group = "Noise";
  app.add_option(
         "-e,--epsilon", options.epsilon,
         most_epsilons > 1 ? "Amplitude of the noise; up to " + std::to_string(most_epsilons) + " values" : "Amplitude of the noise")
      ->expected(1, most_epsilons)
      ->check(CLI::Validator(check_epsilon, ""))
      ->type_name("E")
      ->capture_default_str()
      ->group(group);
  app.add_option("-n,--samples", options.samples, "Perturbed problems to solve and average")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 32).description(""))
      ->type_name("M")
      ->capture_default_str()
      ->group(group);
  app.add_option("--seed", options.seed, "The same seed gives the same numbers, for any number of threads")
      ->type_name("N")
      ->capture_default_str()
      ->group(group);
  app.add_option("--distribution", options.distribution, "normal, gumbel, logistic or laplace")
      ->check(CLI::IsMember({"normal", "gumbel", "logistic", "laplace"}).description(""))
      ->type_name("NAME")
      ->capture_default_str()
      ->group(group);
  app.add_flag("--multiplicative", options.multiplicative,
               "Multiply by exp(eps z - eps^2/2) instead of adding eps z; keeps signs, normal only")
      ->group(group);
  add_device_options(app, options.device, options.threads);
}

void add_device_options(CLI::App& app, std::string& device, int& threads) {
  app.add_option("--device", device, "cpu, cuda, or auto: CUDA where a device works. The numbers are the same")
      ->check(CLI::IsMember({"cpu", "cuda", "auto"}).description(""))
      ->type_name("NAME")
      ->capture_default_str();
  app.add_option("--threads", threads, "Of the CPU; 0: one per processor")
      ->check(CLI::Range(0, 1024).description(""))
      ->type_name("N")
      ->capture_default_str();
}

void add_output_options(CLI::App& app, output_options& options, const std::vector<std::string>& kinds) {
  std::string list;
  for (const std::string& kind : kinds) list += (list.empty() ? "" : kind == kinds.back() ? " or " : ", ") + kind;
  const auto check_kind = [kinds, list](const std::string& path) -> std::string {
    if (std::find(kinds.begin(), kinds.end(), extension(path)) != kinds.end()) return "";
    return path + ": the extension must be " + list;
  };
  app.add_option("-o,--output", options.files, "Write FILE, whose extension is " + list + "; may be given several times")
      ->check(CLI::Validator(check_kind, ""))
      ->type_name("FILE")
      ->allow_extra_args(false);
  app.add_flag("--json", options.json, "Print one JSON object instead of text");
}

void check_outputs(const output_options& options) {
  for (const std::string& file : options.files) check_writable(file);
}

perturb_noise to_noise(const noise_options& options, double epsilon) {
  perturb_noise noise = PERTURB_NOISE_INIT;
  noise.distribution = distributions.at(options.distribution);
  noise.mode = options.multiplicative ? PERTURB_MULTIPLICATIVE : PERTURB_ADDITIVE;
  noise.epsilon = static_cast<float>(epsilon);
  noise.samples = options.samples;
  noise.seed = options.seed;
  return noise;
}

void report_noise(json_writer& json, const noise_options& options) {
  json.member("samples", options.samples).member("seed", options.seed).member("distribution", options.distribution);
  json.member("mode", options.multiplicative ? "multiplicative" : "additive");
}

void print(const std::string& text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0)
    throw compute_error(std::string("cannot write to the standard output: ") + std::strerror(errno));
}

}  // namespace perturb::cli
