// Ranks of one sample that has been sorted in global memory.
#include "kernels/dispatch.h"
#include "kernels/engine.cuh"
#include "kernels/oracles/rank_sorted.cuh"

namespace perturb::cuda {
template <bool Plain>
using oracle = rank_sorted_oracle<Plain>;
const shape& rank_sorted() {
  static const shape made = make_shape<oracle>("rank_sorted");
  return made;
}
}  // namespace perturb::cuda
