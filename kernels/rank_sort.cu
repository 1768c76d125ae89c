// Ranks of one sample of any n: scores as keys, then CUB's radix sort. It is stable, so the items of equal scores keep their order.
#include "kernels/rank_sort.h"

#include <cub/device/device_radix_sort.cuh>

#include "kernels/oracles/rank.cuh"

namespace perturb::cuda {
namespace {

constexpr int key_threads = 256;
constexpr int64_t key_blocks = 4096;
constexpr size_t part_alignment = 256;

// Two buffers of items, two of keys, and CUB's.
struct rank_scratch {
  cub::DoubleBuffer<uint32_t> items, keys;
  void* rest = nullptr;
  size_t rest_bytes = 0, bytes = 0;
};

cudaError_t sort_pairs(rank_scratch& s, int64_t n, cudaStream_t stream) {
  return cub::DeviceRadixSort::SortPairs(s.rest, s.rest_bytes, s.keys, s.items, n, 0, 32, stream);
}

// The parts of a scratch at `base`; of their sizes, if it is null.
cudaError_t carve(unsigned char* base, int64_t n, rank_scratch& s) {
  const auto padded = [](size_t bytes) { return (bytes + part_alignment - 1) / part_alignment * part_alignment; };
  const size_t part = padded((size_t)n * sizeof(uint32_t));
  const cudaError_t error = sort_pairs(s, n, nullptr);  // without memory it says how much it needs
  if (error != cudaSuccess) return error;
  s.bytes = 4 * part + padded(s.rest_bytes);
  if (!base) return cudaSuccess;
  s.items = {(uint32_t*)base, (uint32_t*)(base + part)};
  s.keys = {(uint32_t*)(base + 2 * part), (uint32_t*)(base + 3 * part)};
  s.rest = base + 4 * part;
  return cudaSuccess;
}

__global__ void __launch_bounds__(key_threads)
make_rank_keys(const __grid_constant__ problem p, int64_t sample, uint32_t* keys, uint32_t* items) {
  using source = noise_source<false>;
  const int64_t quads = (p.n + 3) / 4;
  for (int64_t q = blockIdx.x * (int64_t)key_threads + threadIdx.x; q < quads; q += gridDim.x * (int64_t)key_threads) {
    float z[4];
    source::quad(p, row_counter(p, 0), sample_counter(p, sample), (uint32_t)q, z);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int64_t i = 4 * q + j;
      if (i >= p.n) continue;
      keys[i] = exact_rank_score(p, source::score(p, row_counter(p, 0), p.theta[i], i, z[j]));
      items[i] = (uint32_t)i;
    }
  }
}

}  // namespace

size_t rank_sort_scratch_bytes(const problem& p) {
  rank_scratch s;
  return carve(nullptr, p.n, s) == cudaSuccess ? s.bytes : 0;
}

cudaError_t rank_sort(const problem& p, int64_t sample, void* scratch, cudaStream_t stream) {
  rank_scratch s;
  cudaError_t error = carve((unsigned char*)scratch, p.n, s);
  if (error != cudaSuccess) return error;
  const int64_t blocks = ((p.n + 3) / 4 + key_threads - 1) / key_threads;
  const unsigned grid = (unsigned)(blocks < key_blocks ? blocks : key_blocks);
  uint32_t *keys = s.keys.Current(), *items = s.items.Current();
  void* arguments[] = {const_cast<problem*>(&p), &sample, &keys, &items};
  error = cudaLaunchKernel((const void*)make_rank_keys, dim3(grid), dim3(key_threads), arguments, 0, stream);  // an error of this launch alone
  if (error != cudaSuccess) return error;
  error = sort_pairs(s, p.n, stream);
  if (error != cudaSuccess || s.items.Current() == scratch) return error;
  return cudaMemcpyAsync(scratch, s.items.Current(), (size_t)p.n * sizeof(uint32_t), cudaMemcpyDeviceToDevice, stream);
}

}  // namespace perturb::cuda
