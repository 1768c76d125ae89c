// perturb, the command: wires the sub-commands and turns failures into one line on stderr and an exit code.
// Exit codes: 0 done, 1 the computation failed, 2 bad usage or bad input.
#include <perturb/perturb.h>

#include <cstdio>
#include <exception>
#include <new>
#include <string>

#include "commands.h"
#include "error.h"
#include "library.h"

namespace {

constexpr int exit_failed = 1;
constexpr int exit_usage = 2;

int complain(int code, const std::string& what) {
  std::fprintf(stderr, "perturb: %s\n", what.c_str());
  return code;
}

}  // namespace

int main(int argc, char** argv) {
  using namespace perturb::cli;
  CLI::App app(
      "Solves shortest paths, rankings, sorts, top-k, argmax and nearest neighbours under random noise many times, and reports the average,\n"
      "which changes smoothly with the input, and its derivatives.",
      "perturb");
  app.set_version_flag("--version", "perturb " + version_text(PERTURB_VERSION) + " (library " + version_text(perturb_version()) + ")");
  app.require_subcommand(1);
  app.get_formatter()->column_width(34);
  app.footer(
      "Examples:\n"
      "  perturb path city.map --epsilon 0.1 0.5 1 -o paths.png   expected shortest paths as a picture\n"
      "  perturb rank scores.csv --row 0 --epsilon 0.5            expected ranks of the items of a row\n"
      "  perturb neighbors points.csv queries.csv -k 3            expected nearest neighbours\n"
      "  perturb vjp rank scores.csv --cotangent weights.csv      a gradient\n"
      "  perturb lpgd path city.map --cotangent g.npy --tau 5     a gradient through the hard solver\n"
      "  perturb bench                                            how fast this machine is\n"
      "`perturb COMMAND --help` says more. Exit codes: 0 done, 1 the computation failed, 2 bad usage or bad input.");
  add_path_command(app);
  add_score_commands(app);
  add_sort_command(app);
  add_neighbors_command(app);
  add_gradient_commands(app);
  add_bench_command(app);

  try {
    app.parse(argc, argv);
    return 0;
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help and --version
    std::string what = error.what();
    if (app.get_subcommands().empty() && app.remaining_size() > 0) what = "no such command or option: " + app.remaining().front();
    return complain(exit_usage, what + "\nRun `perturb --help`, or `perturb COMMAND --help`, for what is possible.");
  } catch (const input_error& error) {
    return complain(exit_usage, error.what());
  } catch (const std::bad_alloc&) {
    return complain(exit_failed, "out of memory");
  } catch (const std::exception& error) {
    return complain(exit_failed, error.what());
  }
}
