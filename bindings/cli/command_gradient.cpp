// perturb vjp, lpgd and imle: the gradient of <g, y> with respect to the scores or costs, for a cotangent g from a file or of ones; y is the
// expected solution, or the hard one and the gradient that of re-solving.
#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>

#include "commands.h"
#include "cotangent.h"
#include "csv.h"
#include "file.h"
#include "npy.h"
#include "problem_path.h"
#include "problem_scores.h"
#include "progress.h"
#include "session.h"
#include "table.h"
#include "text.h"

namespace perturb::cli {

namespace {

struct gradient_command {
  gradient_method method = gradient_method::vjp;
  score_oracle oracle = score_oracle::rank;
  score_options scores;
  path_options path;
  std::string cotangent;
  double tau = 1, rho = 0;
  std::string side = "lower";
  bool relative = false;
  noise_options noise;
  output_options output;
};

const char* name_of(gradient_method method) {
  return method == gradient_method::vjp ? "vjp" : method == gradient_method::lpgd ? "lpgd" : "imle";
}
bool is_noisy(gradient_method method) { return method != gradient_method::lpgd; }
bool resolves(gradient_method method) { return method != gradient_method::vjp; }

perturb_lpgd_options to_lpgd(const gradient_command& command) {
  perturb_lpgd_options options = PERTURB_LPGD_OPTIONS_INIT;
  options.tau = static_cast<float>(command.tau);
  options.rho = static_cast<float>(command.rho);
  options.side = command.side == "lower" ? PERTURB_SIDE_LOWER : command.side == "upper" ? PERTURB_SIDE_UPPER : PERTURB_SIDE_AVERAGE;
  options.relative = command.relative;
  return options;
}

void json_head(json_writer& json, const gradient_command& command, const char* oracle, const std::string& file) {
  json.begin_object().member("command", name_of(command.method)).member("oracle", oracle).member("file", file);
  json.member("cotangent", command.cotangent);
  if (resolves(command.method)) json.member("tau", command.tau).member("rho", command.rho).member("side", command.side);
  if (!is_noisy(command.method)) return;
  json.member("epsilon", command.noise.epsilon.at(0));
  report_noise(json, command.noise);
}

std::string json_tail(json_writer& json, const gradient_command& command) {
  json.key("wrote").begin_array();
  for (const std::string& file : command.output.files) json.value(file);
  return json.end_array().end_object().text();
}

std::string wrote(const gradient_command& command) {
  std::string text;
  for (const std::string& file : command.output.files) text += "wrote " + file + "\n";
  return text;
}

std::string head_text(const gradient_command& command) {
  std::string text;
  if (is_noisy(command.method))
    text += ", epsilon " + format_number(command.noise.epsilon.at(0)) + ", " + std::to_string(command.noise.samples) + " samples";
  if (resolves(command.method)) text += ", " + command.side + " side, tau " + format_number(command.tau);
  return text + ", cotangent " + command.cotangent + "\n";
}

void run_scores(const gradient_command& command) {
  check_outputs(command.output);
  const score_problem problem = load_score_problem(command.scores, command.oracle);
  const int64_t n = problem.n();
  const std::vector<float> g = load_cotangent(command.cotangent, problem.rows(), n, true);
  session library(command.noise.device, command.noise.threads);
  std::vector<float> gradient(problem.scores.size());
  perturb_noise noise = to_noise(command.noise, command.noise.epsilon.at(0));
  {
    progress bar(name_of(command.method));
    for_each_run(problem, 64, [&](int64_t first, int64_t count, int64_t row) {
      bar.show(static_cast<double>(first) / static_cast<double>(problem.rows()));
      noise.first_row = row;
      const size_t at = static_cast<size_t>(first * n);
      library.gradient(command.method, problem.oracle.get(), noise, to_lpgd(command), count, problem.scores.data() + at, g.data() + at,
                       gradient.data() + at);
    });
  }

  const size_t items = problem.items.size();
  for (const std::string& file : command.output.files) {
    const int64_t shape[] = {problem.rows(), n};
    std::string csv = "row,item,score,cotangent,gradient\n";
    for (size_t i = 0; i < gradient.size(); ++i)
      csv += std::to_string(problem.row_numbers[i / items]) + ',' + csv_field(problem.items[i % items]) + ',' +
             format_number(problem.scores[i]) + ',' + format_number(g[i]) + ',' + format_number(gradient[i]) + '\n';
    write_file(file, extension(file) == ".npy" ? write_npy(shape, gradient) : csv);
  }
  const char* const oracle = oracle_name(command.oracle);
  if (command.output.json) {
    json_writer json;
    json_head(json, command, oracle, command.scores.file);
    json.key("items").begin_array();
    for (const std::string& item : problem.items) json.value(item);
    json.end_array().key("rows").begin_array();
    for (size_t r = 0; r < problem.row_numbers.size(); ++r) {
      json.begin_object().member("row", problem.row_numbers[r]);
      json.key("gradient").numbers(std::span<const float>(gradient).subspan(r * items, items)).end_object();
    }
    json.end_array();
    return print(json_tail(json, command));
  }
  std::string text;
  for (size_t r = 0; r < problem.row_numbers.size(); ++r) {
    text += command.scores.file + ", row " + std::to_string(problem.row_numbers[r]) + ": gradient of <g, " +
            (is_noisy(command.method) ? "expected " : "") + oracle + ">" + head_text(command);
    text_table table({"item", "score", "cotangent", "gradient"});
    for (size_t i = r * items; i < (r + 1) * items; ++i)
      table.add({problem.items[i % items], format_short(problem.scores[i], 6), format_short(g[i], 6), format_short(gradient[i], 6)});
    text += table.text();
  }
  print(text + wrote(command));
}

void run_path(const gradient_command& command) {
  check_outputs(command.output);
  const path_problem problem = load_path_problem(command.path);
  const grid& map = problem.map;
  const std::vector<float> g = load_cotangent(command.cotangent, map.height, map.width, false);
  session library(command.noise.device, command.noise.threads);
  std::vector<float> gradient(map.cost.size());
  const perturb_noise noise = to_noise(command.noise, command.noise.epsilon.at(0));
  library.gradient(command.method, problem.oracle.get(), noise, to_lpgd(command), 1, map.cost.data(), g.data(), gradient.data());

  for (const std::string& file : command.output.files) {
    const int64_t shape[] = {map.height, map.width};
    std::string csv = "row,column,cost,cotangent,gradient\n";
    for (size_t i = 0; i < gradient.size(); ++i) {
      if (map.passable[i] == 0) continue;
      const int64_t cell = static_cast<int64_t>(i);
      csv += std::to_string(cell / map.width) + ',' + std::to_string(cell % map.width) + ',' + format_number(map.cost[i]) + ',' +
             format_number(g[i]) + ',' + format_number(gradient[i]) + '\n';
    }
    write_file(file, extension(file) == ".npy" ? write_npy(shape, gradient) : csv);
  }
  if (command.output.json) {
    json_writer json;
    json_head(json, command, "path", command.path.file);
    const auto cells = [&](const char* name, const std::vector<int64_t>& indices) {
      json.key(name).begin_array();
      for (const int64_t index : indices) {
        const int64_t cell[] = {index / map.width, index % map.width};
        json.numbers(std::span<const int64_t>(cell));
      }
      json.end_array();
    };
    cells("sources", problem.sources);
    cells("targets", problem.targets);
    json.key("gradient").begin_array();
    for (int64_t r = 0; r < map.height; ++r)
      json.numbers(std::span<const float>(gradient).subspan(static_cast<size_t>(r * map.width), static_cast<size_t>(map.width)));
    json.end_array();
    return print(json_tail(json, command));
  }
  double squares = 0;
  std::vector<size_t> order(gradient.size());
  for (size_t i = 0; i < order.size(); ++i) {
    order[i] = i;
    squares += static_cast<double>(gradient[i]) * gradient[i];
  }
  const size_t shown = std::min<size_t>(10, order.size());
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(shown), order.end(), [&](size_t a, size_t b) {
    return std::abs(gradient[a]) != std::abs(gradient[b]) ? std::abs(gradient[a]) > std::abs(gradient[b]) : a < b;
  });
  std::string text = command.path.file + ", from " + cells_text(problem.sources, map.width) + " to " + cells_text(problem.targets, map.width) +
                     ": gradient of <g, " + (is_noisy(command.method) ? "expected " : "") + "path>" +
                     head_text(command);
  text += "Euclidean norm " + format_short(std::sqrt(squares), 6) + "; the largest entries of " + std::to_string(gradient.size()) + ":\n";
  text_table table({"cell", "cost", "cotangent", "gradient"});
  for (size_t j = 0; j < shown; ++j)
    table.add({cell_text(static_cast<int64_t>(order[j]), map.width), format_short(map.cost[order[j]], 6), format_short(g[order[j]], 6),
               format_short(gradient[order[j]], 6)});
  print(text + table.text() + wrote(command));
}

void add_oracle(CLI::App& parent, gradient_method method, std::optional<score_oracle> oracle) {
  const auto command = std::make_shared<gradient_command>();
  command->method = method;
  command->noise.epsilon = {oracle ? 1.0 : 0.5};
  CLI::App* sub = parent.add_subcommand(oracle ? oracle_name(*oracle) : "path",
                                        oracle ? "Gradient through `perturb " + std::string(oracle_name(*oracle)) + "`; takes its options"
                                               : "Gradient through `perturb path`; takes its options");
  if (oracle) {
    command->oracle = *oracle;
    add_score_options(*sub, command->scores, *oracle);
  } else {
    add_path_options(*sub, command->path);
  }
  sub->add_option(
         "-g,--cotangent", command->cotangent,
         oracle ? "ones, or a .csv or .npy as large as the scores, or with one row for all" : "ones, or a .csv or .npy as large as the map")
      ->required()
      ->type_name("FILE|ones");
  if (resolves(method)) {
    const char* const group = "Re-solving";
    sub->add_option("--tau", command->tau, "Step: theta is shifted by tau times the cotangent")
        ->check(CLI::PositiveNumber.description(""))
        ->type_name("T")
        ->capture_default_str()
        ->group(group);
    sub->add_option("--side", command->side, "lower, upper or average")
        ->check(CLI::IsMember({"lower", "upper", "average"}).description(""))
        ->type_name("SIDE")
        ->capture_default_str()
        ->group(group);
    sub->add_flag("--relative", command->relative, "tau is in units of |theta| / |cotangent| of a row")->group(group);
  }
  if (method == gradient_method::lpgd)
    sub->add_option("--rho", command->rho, "Prox weight: keeps the second solution near the first")
        ->check(CLI::NonNegativeNumber.description(""))
        ->type_name("R")
        ->capture_default_str()
        ->group("Re-solving");
  if (is_noisy(method)) {
    add_noise_options(*sub, command->noise, 1);
  } else {
    add_device_options(*sub, command->noise.device, command->noise.threads);
  }
  add_output_options(*sub, command->output, {".csv", ".npy"});
  sub->footer(std::string("`perturb ") + name_of(method) + " --help` has examples.");
  sub->callback([command, oracle] { oracle ? run_scores(*command) : run_path(*command); });
}

void add_method(CLI::App& app, gradient_method method, const char* summary, const char* examples) {
  CLI::App* sub = app.add_subcommand(name_of(method), summary);
  sub->require_subcommand(1);
  for (const score_oracle oracle : {score_oracle::rank, score_oracle::top_k, score_oracle::argmax}) add_oracle(*sub, method, oracle);
  add_oracle(*sub, method, std::nullopt);
  sub->footer(examples);
}

}  // namespace

void add_gradient_commands(CLI::App& app) {
  add_method(app, gradient_method::vjp, "Gradient of <g, y>, y the expected solution and g a cotangent, in the scores or costs",
             "Examples:\n"
             "  perturb vjp rank scores.csv --cotangent weights.csv --epsilon 0.5 -o gradient.npy\n"
             "  perturb vjp path city.map --cotangent ones --epsilon 0.5 --samples 2000 -o gradient.csv");
  add_method(app, gradient_method::lpgd, "The same through the hard solution, by re-solving on a shifted input (LPGD, blackbox)",
             "Examples:\n"
             "  perturb lpgd rank scores.csv --cotangent weights.csv --tau 2 --side average\n"
             "  perturb lpgd path city.map --cotangent g.npy --tau 5 --rho 0.5 -o gradient.npy");
  add_method(app, gradient_method::imle, "The same under noise: the mean difference of the two solutions of every sample (I-MLE)",
             "Examples:\n"
             "  perturb imle top-k scores.csv -k 3 --cotangent weights.csv --tau 1 --epsilon 0.5");
}

}  // namespace perturb::cli
