// grid_path up to 32 x 32: a warp per sample while it is solved, 16 lanes when its path is walked.
#include "kernels/dispatch.h"
#include "kernels/engine.cuh"
#include "kernels/oracles/grid_path_columns.cuh"

namespace perturb::cuda {
template <bool Plain>
using oracle = grid_path_columns_oracle<Plain, 32, 2>;
const shape& grid_path_32() {
  static const shape made = make_shape<oracle>("grid_path_32");
  return made;
}
}  // namespace perturb::cuda
