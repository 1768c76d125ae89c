// argmax, a thread per sample.
#include "kernels/dispatch.h"
#include "kernels/engine.cuh"
#include "kernels/oracles/argmax.cuh"

namespace perturb::cuda {
template <bool Plain>
using oracle = argmax_oracle<Plain, 1>;
const shape& argmax_thread() {
  static const shape made = make_shape<oracle>("argmax_thread");
  return made;
}
}  // namespace perturb::cuda
