// Where the paths of a grid oracle start and end: one pair of cells, a table with a pair for each row, or sets of cells.
#pragma once

#include "grid.h"
#include "perturb/perturb.h"

namespace perturb {

// Copies the ends out of checked options into a grid that has its steps, and measures it. INVALID_ARGUMENT or UNREACHABLE where a table or a
// set has a cell outside, a wall, or no path.
perturb_status read_grid_ends(const perturb_grid_path_options& options, grid& g);

}  // namespace perturb
