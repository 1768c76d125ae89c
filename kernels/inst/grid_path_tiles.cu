// grid_path of any size: a block per sample, distances and costs in its scratch.
#include "kernels/dispatch.h"
#include "kernels/engine.cuh"
#include "kernels/oracles/grid_path_tiles.cuh"

namespace perturb::cuda {
template <bool Plain>
using oracle = grid_path_tiles_oracle<Plain, 512, false>;
const shape& grid_path_tiles() {
  static const shape made = make_shape<oracle>("grid_path_tiles");
  return made;
}
}  // namespace perturb::cuda
