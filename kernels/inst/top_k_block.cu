// top-k of any n and k, a block per sample.
#include "kernels/dispatch.h"
#include "kernels/engine.cuh"
#include "kernels/oracles/top_k_block.cuh"

namespace perturb::cuda {
template <bool Plain>
using oracle = top_k_select<Plain>;
const shape& top_k_block() {
  static const shape made = make_shape<oracle>("top_k_block");
  return made;
}
}  // namespace perturb::cuda
