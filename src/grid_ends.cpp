// Checks of tables and sets entry by entry, when the oracle is made: calls and kernels need none.
#include "grid_ends.h"

#include <algorithm>
#include <string>

#include "error.h"

namespace perturb {
namespace {

std::string entry(const char* name, int64_t index) { return std::string(name) + "[" + std::to_string(index) + "]"; }

perturb_status check_cell(const grid& g, const std::string& name, int64_t cell) {
  if (cell < 0 || cell >= g.cells())
    return fail(PERTURB_ERROR_INVALID_ARGUMENT, "%s: expected 0 to %lld, got %lld", name.c_str(), (long long)g.cells() - 1, (long long)cell);
  if (!g.passable[cell]) return fail(PERTURB_ERROR_UNREACHABLE, "%s: cell %lld is a wall", name.c_str(), (long long)cell);
  return PERTURB_OK;
}

// The set, ascending, each cell once; the single cell where there is no set.
perturb_status read_set(const grid& g, const char* set_name, const int64_t* cells, int64_t count, const char* single_name, int64_t single,
                        std::vector<int32_t>& set) {
  if (count == 0) {
    if (const perturb_status s = check_cell(g, single_name, single)) return s;
    set.assign(1, (int32_t)single);
    return PERTURB_OK;
  }
  for (int64_t i = 0; i < count; ++i) {
    if (const perturb_status s = check_cell(g, entry(set_name, i), cells[i])) return s;
    set.push_back((int32_t)cells[i]);
  }
  std::sort(set.begin(), set.end());
  set.erase(std::unique(set.begin(), set.end()), set.end());
  return PERTURB_OK;
}

perturb_status read_rows(const perturb_grid_path_options& options, grid& g) {
  g.rows.resize((size_t)options.rows);
  for (int64_t r = 0; r < options.rows; ++r) {
    if (const perturb_status s = check_cell(g, entry("options.row_sources", r), options.row_sources[r])) return s;
    if (const perturb_status s = check_cell(g, entry("options.row_targets", r), options.row_targets[r])) return s;
    g.rows[r].source = (int32_t)options.row_sources[r];
    g.rows[r].target = (int32_t)options.row_targets[r];
  }
  const int64_t unreached = measure_grid(g);
  if (unreached < 0) return PERTURB_OK;
  return fail(PERTURB_ERROR_UNREACHABLE, "options.row_targets[%lld]: no path from cell %d to cell %d", (long long)unreached, g.rows[unreached].source,
              g.rows[unreached].target);
}

}  // namespace

perturb_status read_grid_ends(const perturb_grid_path_options& options, grid& g) {
  if (options.rows > 0) return read_rows(options, g);
  if (const perturb_status s = read_set(g, "options.sources", options.sources, options.source_count, "options.source", options.source, g.sources)) return s;
  if (const perturb_status s = read_set(g, "options.targets", options.targets, options.target_count, "options.target", options.target, g.targets)) return s;
  if (g.sources.size() == 1 && g.targets.size() == 1) {
    g.ends.source = g.sources[0];
    g.ends.target = g.targets[0];
    g.sources.clear();
    g.targets.clear();
  }
  if (measure_grid(g) < 0) return PERTURB_OK;
  if (g.has_sets()) return fail(PERTURB_ERROR_UNREACHABLE, "options.targets: no path from any source to any target");
  return fail(PERTURB_ERROR_UNREACHABLE, "options.target: no path from cell %d to cell %d", g.ends.source, g.ends.target);
}

}  // namespace perturb
