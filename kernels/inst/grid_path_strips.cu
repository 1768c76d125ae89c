// grid_path up to 128 x 128: a block per sample, distances and costs in shared memory.
#include "kernels/dispatch.h"
#include "kernels/engine.cuh"
#include "kernels/oracles/grid_path_tiles.cuh"

namespace perturb::cuda {
template <bool Plain>
using oracle = grid_path_tiles_oracle<Plain, 128, true>;
const shape& grid_path_strips() {
  static const shape made = make_shape<oracle>("grid_path_strips");
  return made;
}
}  // namespace perturb::cuda
