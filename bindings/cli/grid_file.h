// Cost grids and the text files that hold them: MovingAI .map and ESRI ASCII .asc. A NumPy array becomes a grid here too.
// The readers take the file's text and its name (for messages), throw input_error and never look at the disk.
#ifndef PERTURB_CLI_GRID_FILE_H
#define PERTURB_CLI_GRID_FILE_H

#include <cstdint>
#include <string_view>
#include <vector>

#include "npy.h"

namespace perturb::cli {

constexpr int64_t largest_grid_side = 4096;  // of the library's grid_path oracle

enum class grid_kind { movingai, esri_ascii, array };

struct grid {
  grid_kind kind = grid_kind::array;
  int64_t height = 0, width = 0;
  std::vector<float> cost;        // [height, width], row by row; 1 in a wall
  std::vector<uint8_t> passable;  // [height, width], 0 is a wall
  int64_t cells() const { return height * width; }
};

// MovingAI: "type X", "height H", "width W" in any order, "map", then H lines of W characters. . G S are passable at cost 1; @ O T W are
// walls.
grid read_movingai_map(std::string_view text, std::string_view file);

// ESRI ASCII grid: a header (ncols, nrows, corner or centre, cellsize, optional NODATA_value), then nrows * ncols elevations, where line
// ends mean nothing. cost = elevation - least elevation + 1; NODATA is a wall.
grid read_esri_ascii(std::string_view text, std::string_view file);

// A 2-D array of costs: NaN and infinity are walls.
grid grid_from_array(const array& values, std::string_view file);

}  // namespace perturb::cli

#endif
