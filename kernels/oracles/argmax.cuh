// argmax on the device: the running maximum over quads of items that stream by, no storage of scores.
//
// Lanes is how many threads share a sample: 1 for many samples of few items, 32 or a block for few samples of many.
#pragma once

#include "kernels/estimators.cuh"

namespace perturb::cuda {

// Where theta is staged in shared memory, it is padded to whole quads with -infinity, which never wins.
constexpr int64_t argmax_staged_limit = 4096;

template <bool Plain, int Lanes>
class argmax_oracle {
 public:
  static constexpr bool plain = Plain;
  static constexpr int threads = Lanes > 256 ? Lanes : 256;
  static constexpr int64_t samples_per_step = threads / Lanes;
  using lanes = group<Lanes>;
  using source = noise_source<Plain>;

  static __device__ __forceinline__ bool takes(const problem&, int64_t) { return true; }
  static size_t shared_bytes(const problem& p) { return p.n <= argmax_staged_limit ? (size_t)((p.n + 3) / 4 * 4) * sizeof(float) : 0; }
  static size_t scratch_bytes(const problem&) { return 0; }

  __device__ __forceinline__ argmax_oracle(const problem& problem_, int64_t row, unsigned char* shared)
      : p(problem_), theta_(problem_.theta + row * problem_.n), staged_((float*)shared), row_(row_counter(problem_, row)) {}

  __device__ __forceinline__ void begin_row() {
    if (p.n > argmax_staged_limit) return;
    for (int64_t i = threadIdx.x; i < (p.n + 3) / 4 * 4; i += threads) staged_[i] = i < p.n ? theta_[i] : -INFINITY;
  }

  __device__ __forceinline__ int64_t step_sample(int64_t first) const { return first + lanes::index(); }

  __device__ __forceinline__ void solve(int64_t first, int64_t last) {
    const int64_t sample = step_sample(first) < last ? step_sample(first) : last - 1;
    sample_ = sample_counter(p, sample);
    best_ = -INFINITY;
    item_ = 0;
    const int64_t quads = (p.n + 3) / 4;
    if (p.n <= argmax_staged_limit) {
      for (int64_t q = lanes::rank(); q < quads; q += Lanes) {
        const float4 t = ((const float4*)staged_)[q];
        take_quad(q, t.x, t.y, t.z, t.w);
      }
    } else {
      for (int64_t q = lanes::rank(); q < quads; q += Lanes) {
        const int64_t i = 4 * q;
        take_quad(q, theta_[i], i + 1 < p.n ? theta_[i + 1] : -INFINITY, i + 2 < p.n ? theta_[i + 2] : -INFINITY, i + 3 < p.n ? theta_[i + 3] : -INFINITY);
      }
    }
    join();
  }

  // The lane with rank 0 has the one nonzero.
  template <detail D, class F>
  __device__ __forceinline__ void for_each(F&& f) const {
    if (!lanes::leader()) return;
    f((int64_t)item_, (int64_t)1, best_, D == detail::noise ? source::at(p, row_, sample_, item_) : 0.0f);
  }

 private:
  __device__ __forceinline__ void take_quad(int64_t q, float t0, float t1, float t2, float t3) {
    float z[4];
    source::quad(p, row_, sample_, (uint32_t)q, z);
    const float t[4] = {t0, t1, t2, t3};
    float best = -INFINITY;
    uint32_t at = 0;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int64_t i = 4 * q + j;
      const float x = Plain || i < p.n ? source::score(p, t[j], i, z[j]) : -INFINITY;
      if (j == 0 || x > best) {
        best = x;
        at = (uint32_t)j;
      }
    }
    if (best > best_) {
      best_ = best;
      item_ = (uint32_t)(4 * q) + at;
    }
  }

  // The larger score, and among equal ones the lower item. A lane without a quad has -infinity, which no score is.
  __device__ __forceinline__ void better(float score, uint32_t item) {
    if (score > best_ || (score == best_ && item < item_)) {
      best_ = score;
      item_ = item;
    }
  }

  __device__ __forceinline__ void join() {
    constexpr int in_warp = Lanes < 32 ? Lanes : 32;
#pragma unroll
    for (int d = in_warp / 2; d > 0; d /= 2) {
      const float score = __shfl_xor_sync(full_mask, best_, d);
      better(score, __shfl_xor_sync(full_mask, item_, d));
    }
    if constexpr (Lanes > 32) {
      __shared__ float scores[Lanes / 32];
      __shared__ uint32_t items[Lanes / 32];
      __syncthreads();
      if (threadIdx.x % 32 == 0) {
        scores[threadIdx.x / 32] = best_;
        items[threadIdx.x / 32] = item_;
      }
      __syncthreads();
      for (int w = 0; w < Lanes / 32; ++w) better(scores[w], items[w]);
    }
  }

  const problem& p;
  const float* theta_;
  float* staged_;
  uint32_t row_, sample_ = 0;
  float best_ = 0.0f;
  uint32_t item_ = 0;
};

}  // namespace perturb::cuda
