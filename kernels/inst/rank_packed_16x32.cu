// Ranks by packed keys, 16 lanes with 32 keys each per sample.
#include "kernels/dispatch.h"
#include "kernels/engine.cuh"
#include "kernels/oracles/rank.cuh"

namespace perturb::cuda {
template <bool Plain>
using oracle = rank_network_oracle<Plain, 16, 32, uint32_t>;
const shape& rank_packed_16x32() {
  static const shape made = make_shape<oracle>("rank_packed_16x32");
  return made;
}
}  // namespace perturb::cuda
