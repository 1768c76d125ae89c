// argmax, a block per sample.
#include "kernels/dispatch.h"
#include "kernels/engine.cuh"
#include "kernels/oracles/argmax.cuh"

namespace perturb::cuda {
template <bool Plain>
using oracle = argmax_oracle<Plain, 256>;
const shape& argmax_block() {
  static const shape made = make_shape<oracle>("argmax_block");
  return made;
}
}  // namespace perturb::cuda
