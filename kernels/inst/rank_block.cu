// Ranks by exact keys, a block per sample, keys in shared memory.
#include "kernels/dispatch.h"
#include "kernels/engine.cuh"
#include "kernels/oracles/rank_block.cuh"

namespace perturb::cuda {
template <bool Plain>
using oracle = rank_block_oracle<Plain>;
const shape& rank_block() {
  static const shape made = make_shape<oracle>("rank_block");
  return made;
}
}  // namespace perturb::cuda
