// What a call says of its rows on the device (perturb_context_set_row_status): a status each, and how many costs were clamped.
#include "kernels/group.cuh"
#include "kernels/launch.h"
#include "kernels/noise.cuh"
#include "kernels/passes.h"

namespace perturb::cuda {
namespace {

constexpr int row_threads = 128;

__global__ void __launch_bounds__(row_threads) row_status(const __grid_constant__ problem p, int32_t* status, int64_t* clamped) {
  for (int64_t row = (int64_t)blockIdx.x * row_threads + threadIdx.x; row < p.rows; row += (int64_t)gridDim.x * row_threads) {
    int32_t bad = p.state[row].bad;
    if (resolves(p.operation) && bad == row_good) bad = p.state[p.rows + row].bad;
    if (status) status[row] = status_of(bad);
    if (clamped) clamped[row] = 0;
  }
}

// A block per row and share of its samples.
__global__ void __launch_bounds__(row_threads) count_clamped(const __grid_constant__ problem p, int64_t* clamped) {
  const int64_t quads = (p.n + 3) / 4, per_row = p.run * quads, chunk = 64 * row_threads, chunks = (per_row + chunk - 1) / chunk;
  for (int64_t task = blockIdx.x; task < p.rows * chunks; task += gridDim.x) {
    const int64_t row = task / chunks, first = task % chunks * chunk, last = first + chunk < per_row ? first + chunk : per_row;
    if (p.state[row].bad != row_good) continue;
    int64_t count = 0;
    for (int64_t at = first + threadIdx.x; at < last; at += row_threads) {
      const int64_t q = at % quads, sample = p.first_of_run + at / quads;
      float z[4];
      noise_source<false>::quad(p, row_counter(p, row), sample_counter(p, sample), (uint32_t)q, z);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int64_t i = 4 * q + j;
        if (i < p.n && p.grid.passable[i] && !(noise_source<false>::score(p, row_counter(p, row), p.theta[row * p.n + i], i, z[j]) >= p.grid.cost_floor)) ++count;
      }
    }
    if (count) atomic_add(clamped + row, count);
  }
}

}  // namespace

cudaError_t launch_row_status(const problem& p, int32_t* status, int64_t* clamped, int multiprocessors, cudaStream_t stream) {
  void* arguments[] = {const_cast<problem*>(&p), &status, &clamped};
  const unsigned blocks = blocks_for((p.rows + row_threads - 1) / row_threads, 16, multiprocessors);
  return cudaLaunchKernel((const void*)row_status, dim3(blocks), dim3(row_threads), arguments, 0, stream);
}

cudaError_t launch_count_clamped(const problem& p, int64_t* clamped, int multiprocessors, cudaStream_t stream) {
  void* arguments[] = {const_cast<problem*>(&p), &clamped};
  const int64_t work = p.rows * ((p.run * ((p.n + 3) / 4) + 64 * row_threads - 1) / (64 * row_threads));
  return cudaLaunchKernel((const void*)count_clamped, dim3(blocks_for(work, 16, multiprocessors)), dim3(row_threads), arguments, 0, stream);
}

}  // namespace perturb::cuda
