// Ranks on the device, any n: reads the items of one sample that kernels/rank_sort.cu has put in order.
#pragma once

#include "kernels/estimators.cuh"

namespace perturb::cuda {

template <bool Plain>
class rank_sorted_oracle {
 public:
  static constexpr bool plain = Plain;
  static constexpr int threads = 512;
  static constexpr int64_t samples_per_step = 1;
  using lanes = group<threads>;
  using source = noise_source<Plain>;

  static __device__ __forceinline__ bool takes(const problem&, int64_t) { return true; }
  static size_t shared_bytes(const problem&) { return 0; }
  static size_t scratch_bytes(const problem&) { return 0; }

  __device__ __forceinline__ rank_sorted_oracle(const problem& problem_, int64_t row, unsigned char*)
      : p(problem_), row_(row), items_((const uint32_t*)problem_.scratch) {}

  __device__ __forceinline__ void begin_row() {}
  __device__ __forceinline__ int64_t step_sample(int64_t first) const { return first; }

  __device__ __forceinline__ void solve(int64_t first, int64_t) { sample_ = sample_counter(p, first); }

  template <detail D, class F>
  __device__ __forceinline__ void for_each(F&& f) const {
#pragma unroll 1
    for (int64_t position = threadIdx.x; position < p.n; position += threads) {
      const int64_t item = items_[position];
      const float z = D == detail::none ? 0.0f : source::at(p, row_counter(p, row_), sample_, item);
      f(item, position + p.base, D == detail::score ? source::score(p, row_counter(p, row_), p.theta[row_ * p.n + item], item, z) : 0.0f, z);
    }
  }

 private:
  const problem& p;
  int64_t row_;
  const uint32_t* items_;
  uint32_t sample_ = 0;
};

}  // namespace perturb::cuda
