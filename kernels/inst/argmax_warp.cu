// argmax, a warp per sample.
#include "kernels/dispatch.h"
#include "kernels/engine.cuh"
#include "kernels/oracles/argmax.cuh"

namespace perturb::cuda {
template <bool Plain>
using oracle = argmax_oracle<Plain, 32>;
const shape& argmax_warp() {
  static const shape made = make_shape<oracle>("argmax_warp");
  return made;
}
}  // namespace perturb::cuda
