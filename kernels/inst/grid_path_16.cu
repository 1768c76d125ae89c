// grid_path up to 16 x 16: 16 lanes per sample while it is solved, four when its path is walked.
#include "kernels/dispatch.h"
#include "kernels/engine.cuh"
#include "kernels/oracles/grid_path_columns.cuh"

namespace perturb::cuda {
template <bool Plain>
using oracle = grid_path_columns_oracle<Plain, 16, 8>;
const shape& grid_path_16() {
  static const shape made = make_shape<oracle>("grid_path_16");
  return made;
}
}  // namespace perturb::cuda
