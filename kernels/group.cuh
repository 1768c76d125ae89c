// Groups of threads that work on one sample together: 1 to 32 neighbouring lanes, or a whole block.
//
// Every loop around these calls has a trip count that is the same for the whole block, so the full mask is right and no divergent copy
// of a shuffle is made.
#pragma once

#include <cstdint>

namespace perturb::cuda {

constexpr unsigned full_mask = 0xffffffffu;

template <int Lanes>
struct group {
  static constexpr int count = Lanes;
  static_assert(Lanes >= 1 && (Lanes & (Lanes - 1)) == 0 && Lanes <= 1024);

  static __device__ __forceinline__ int rank() { return (int)(threadIdx.x % Lanes); }
  static __device__ __forceinline__ int index() { return (int)(threadIdx.x / Lanes); }  // of the group in its block
  static __device__ __forceinline__ bool leader() { return rank() == 0; }

  // The sum over the group, in every lane. Integers: any order gives the same bits.
  static __device__ __forceinline__ int64_t sum(int64_t x) {
    constexpr int in_warp = Lanes < 32 ? Lanes : 32;
#pragma unroll
    for (int d = in_warp / 2; d > 0; d /= 2) x += __shfl_xor_sync(full_mask, x, d);
    if constexpr (Lanes > 32) {
      __shared__ int64_t parts[Lanes / 32];
      __syncthreads();
      if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = x;
      __syncthreads();
      x = 0;
      for (int w = 0; w < Lanes / 32; ++w) x += parts[w];
    }
    return x;
  }
};

static __device__ __forceinline__ void atomic_add(int64_t* at, int64_t x) { atomicAdd((unsigned long long*)at, (unsigned long long)x); }

// A sum that may pass 64 bits, kept as problem.h's two words.
struct split_sum {
  int64_t low = 0, high = 0;
  __device__ __forceinline__ void add(int64_t x) {
    low += (uint32_t)x;
    high += x >> 32;
  }
  __device__ __forceinline__ void add(__int128 x) {
    low += (uint32_t)x;
    high += (int64_t)(x >> 32);
  }
};

}  // namespace perturb::cuda
