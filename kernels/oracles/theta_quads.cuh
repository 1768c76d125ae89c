// A row of theta in global memory, four items at a time.
#pragma once

#include "kernels/problem.h"

namespace perturb::cuda {

class theta_quads {
 public:
  __device__ __forceinline__ theta_quads(const problem& p, int64_t row)
      : theta_(p.theta + row * p.n), n_(p.n), whole_((uintptr_t)theta_ % sizeof(float4) == 0 ? (uint32_t)(p.n / 4) : 0u) {}

  __device__ __forceinline__ uint32_t count() const { return (uint32_t)((n_ + 3) / 4); }

  // -infinity past the last item, which no score is.
  __device__ __forceinline__ void load(uint32_t q, float t[4]) const {
    const float* const at = theta_ + 4 * (int64_t)q;
    if (q < whole_) {
      const float4 four = *(const float4*)at;
      t[0] = four.x, t[1] = four.y, t[2] = four.z, t[3] = four.w;
    } else {
#pragma unroll
      for (int j = 0; j < 4; ++j) t[j] = 4 * (int64_t)q + j < n_ ? at[j] : -INFINITY;
    }
  }

 private:
  const float* theta_;
  int64_t n_;
  uint32_t whole_;  // quads that one load takes: none in a row that is not aligned
};

}  // namespace perturb::cuda
