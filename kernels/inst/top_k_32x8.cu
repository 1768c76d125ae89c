// top-k of up to 256 items, a warp per sample.
#include "kernels/dispatch.h"
#include "kernels/engine.cuh"
#include "kernels/oracles/top_k.cuh"

namespace perturb::cuda {
template <bool Plain>
using oracle = top_k_registers<Plain, 32, 8>;
const shape& top_k_32x8() {
  static const shape made = make_shape<oracle>("top_k_32x8");
  return made;
}
}  // namespace perturb::cuda
