// The picture of a perturbed shortest path: the map, the share of samples whose path visits each cell as heat, the hard path, both ends,
// one panel per epsilon side by side, and a legend.
#ifndef PERTURB_CLI_PATH_PICTURE_H
#define PERTURB_CLI_PATH_PICTURE_H

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "canvas.h"
#include "grid_file.h"

namespace perturb::cli {

struct path_panel {
  std::string title, subtitle;
  std::span<const float> expected = {};  // [height, width], 0 to 1
};

struct path_picture {
  const grid* map = nullptr;
  std::string title;
  std::vector<int64_t> hard_path;  // cell indices from source to target
  std::vector<int64_t> sources, targets;
  std::vector<path_panel> panels;
};

canvas draw(const path_picture& picture);

// The colour of a share: dark violet over red and orange to cream, with lightness growing all the way.
rgb heat_colour(double share);

}  // namespace perturb::cli

#endif
