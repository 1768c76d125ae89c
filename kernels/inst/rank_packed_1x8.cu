// Ranks by packed keys, a thread with 8 keys per sample.
#include "kernels/dispatch.h"
#include "kernels/engine.cuh"
#include "kernels/oracles/rank.cuh"

namespace perturb::cuda {
template <bool Plain>
using oracle = rank_network_oracle<Plain, 1, 8, uint32_t>;
const shape& rank_packed_1x8() {
  static const shape made = make_shape<oracle>("rank_packed_1x8");
  return made;
}
}  // namespace perturb::cuda
