// top-k of up to 1024 items, a warp per sample.
#include "kernels/dispatch.h"
#include "kernels/engine.cuh"
#include "kernels/oracles/top_k.cuh"

namespace perturb::cuda {
template <bool Plain>
using oracle = top_k_registers<Plain, 32>;
const shape& top_k_32x32() {
  static const shape made = make_shape<oracle>("top_k_32x32");
  return made;
}
}  // namespace perturb::cuda
