// Ranks by exact keys, 4 lanes with 16 keys each per sample.
#include "kernels/dispatch.h"
#include "kernels/engine.cuh"
#include "kernels/oracles/rank.cuh"

namespace perturb::cuda {
template <bool Plain>
using oracle = rank_network_oracle<Plain, 4, 16, uint64_t>;
const shape& rank_exact_4x16() {
  static const shape made = make_shape<oracle>("rank_exact_4x16");
  return made;
}
}  // namespace perturb::cuda
