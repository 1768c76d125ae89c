// Covariance of y: the products y_i y_j of a slice of samples, and entries from their sums. Integers throughout; the upper triangle is kept.
#include "kernels/launch.h"
#include "kernels/passes.h"

namespace perturb::cuda {
namespace {

constexpr int sum_threads = 128, entry_threads = 256;
constexpr int tile_side = 32, tile_samples = 16;

// A block per tile of 32 x 32 entries: the y of 16 samples at a time in shared memory, eight entries a thread.
__global__ void __launch_bounds__(sum_threads) covariance_sums(const __grid_constant__ problem p) {
  __shared__ int32_t down[tile_samples][tile_side], across[tile_samples][tile_side];
  const int64_t tiles = (p.m + tile_side - 1) / tile_side;
  const int tid = (int)threadIdx.x, i = tid / 4, j0 = tid % 4 * 8;
  for (int64_t task = blockIdx.x; task < p.rows * tiles * tiles; task += gridDim.x) {
    const int64_t first_j = task % tiles * tile_side, first_i = task / tiles % tiles * tile_side, row = task / tiles / tiles;
    if (first_j < first_i || p.state[row].bad) continue;
    int64_t sum[8] = {}, count = 0;
    for (int64_t s0 = 0; s0 < p.run; s0 += tile_samples) {
      for (int at = tid; at < tile_samples * tile_side; at += sum_threads) {
        const int s = at / tile_side, k = at % tile_side;
        const int32_t* y = p.y_integers + (row * p.y_samples + s0 + s) * p.m;
        const bool present = s0 + s < p.run;
        down[s][k] = present && first_i + k < p.m ? y[first_i + k] : 0;
        across[s][k] = present && first_j + k < p.m ? y[first_j + k] : 0;
      }
      __syncthreads();
#pragma unroll
      for (int s = 0; s < tile_samples; ++s) {
        const int64_t factor = down[s][i];
        count += factor;
#pragma unroll
        for (int j = 0; j < 8; ++j) sum[j] += factor * across[s][j0 + j];
      }
      __syncthreads();
    }
    int64_t* words = p.words + row * p.words_per_row;
    if (first_i == first_j && tid % 4 == 0 && first_i + i < p.m) words[first_i + i] += count;
#pragma unroll
    for (int j = 0; j < 8; ++j)
      if (first_i + i < p.m && first_j + j0 + j < p.m) words[p.m + (first_i + i) * p.m + first_j + j0 + j] += sum[j];
  }
}

__global__ void __launch_bounds__(entry_threads) covariance_results(const __grid_constant__ problem p) {
  const int64_t width = p.m * p.m;
  for (int64_t at = (int64_t)blockIdx.x * entry_threads + threadIdx.x; at < p.rows * width; at += (int64_t)gridDim.x * entry_threads) {
    const int64_t row = at / width, i = at % width / p.m, j = at % p.m;
    const int64_t* words = p.words + row * p.words_per_row;
    const int64_t product = words[p.m + (i < j ? i * p.m + j : j * p.m + i)];
    p.output[0][at] = p.state[row].bad ? __int_as_float(0x7fffffff) : covariance_entry(words[i], words[j], product, p.samples);
  }
}

}  // namespace

cudaError_t launch_covariance_sums(const problem& p, int multiprocessors, cudaStream_t stream) {
  const int64_t tiles = (p.m + tile_side - 1) / tile_side;
  return launch((const void*)covariance_sums, p, blocks_for(p.rows * tiles * tiles, 16, multiprocessors), sum_threads, 0, stream);
}

cudaError_t launch_covariance_results(const problem& p, int multiprocessors, cudaStream_t stream) {
  const unsigned blocks = blocks_for((p.rows * p.m * p.m + entry_threads - 1) / entry_threads, 8, multiprocessors);
  return launch((const void*)covariance_results, p, blocks, entry_threads, 0, stream);
}

}  // namespace perturb::cuda
