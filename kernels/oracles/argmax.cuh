// argmax on the device: the running maximum over quads of items that stream by, no storage of scores.
//
// Lanes is how many threads share a sample: 1 for many samples of few items, 32 or a block for few samples of many.
#pragma once

#include "kernels/estimators.cuh"
#include "kernels/oracles/theta_quads.cuh"

namespace perturb::cuda {

// Up to so many items theta is staged in shared memory. Past the last it is -infinity, which never wins.
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
  static size_t shared_bytes(const problem& p) { return p.n <= argmax_staged_limit ? (size_t)((p.n + 3) / 4) * sizeof(float4) : 0; }
  static size_t scratch_bytes(const problem&) { return 0; }

  __device__ __forceinline__ argmax_oracle(const problem& problem_, int64_t row, unsigned char* shared)
      : p(problem_), theta_(problem_, row), staged_((float4*)shared), row_(row_counter(problem_, row)) {}

  __device__ __forceinline__ void begin_row() {
    if (p.n > argmax_staged_limit) return;
    for (uint32_t q = threadIdx.x; q < theta_.count(); q += threads) {
      float t[4];
      theta_.load(q, t);
      staged_[q] = make_float4(t[0], t[1], t[2], t[3]);
    }
  }

  __device__ __forceinline__ int64_t step_sample(int64_t first) const { return first + lanes::index(); }

  __device__ __forceinline__ void solve(int64_t first, int64_t last) {
    const int64_t sample = step_sample(first) < last ? step_sample(first) : last - 1;
    sample_ = sample_counter(p, sample);
    best_ = -INFINITY;
    item_ = 0;
    const uint32_t quads = theta_.count();
    if (p.n <= argmax_staged_limit) {
      for (uint32_t q = (uint32_t)lanes::rank(); q < quads; q += Lanes) {
        const float4 four = staged_[q];
        const float t[4] = {four.x, four.y, four.z, four.w};
        take_quad(q, t);
      }
    } else {
      for (uint32_t q = (uint32_t)lanes::rank(); q < quads; q += Lanes) {
        float t[4];
        theta_.load(q, t);
        take_quad(q, t);
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
  __device__ __forceinline__ void take_quad(uint32_t q, const float t[4]) {
    float z[4];
    source::quad(p, row_, sample_, q, z);
    float best = -INFINITY;
    uint32_t at = 0;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int64_t i = 4 * (int64_t)q + j;
      const float x = Plain || i < p.n ? source::score(p, row_, t[j], i, z[j]) : -INFINITY;
      if (j == 0 || x > best) {
        best = x;
        at = (uint32_t)j;
      }
    }
    if (best > best_) {
      best_ = best;
      item_ = 4 * q + at;
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
  theta_quads theta_;
  float4* staged_;
  uint32_t row_, sample_ = 0;
  float best_ = 0.0f;
  uint32_t item_ = 0;
};

}  // namespace perturb::cuda
