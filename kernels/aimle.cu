// An update of AIMLE's step on the device: blocks count into the state, then one thread adapts it (src/math/aimle.h).
#include "aimle.h"
#include "kernels/block.cuh"
#include "kernels/call.h"
#include "kernels/launch.h"

namespace perturb {
namespace {

using namespace cuda;

constexpr int threads = 128;

// A block per row; rows that are not finite are left out.
__global__ void __launch_bounds__(threads) count_nonzeros(const __grid_constant__ aimle_problem p) {
  int64_t nonzeros = 0, rows = 0;
  for (int64_t b = blockIdx.x; b < p.batch; b += gridDim.x) {
    const float* gradient = p.gradient + b * p.n;
    int64_t entries = 0;
    bool bad = false;
    for (int64_t i = threadIdx.x; i < p.n; i += threads) {
      bad = bad || !isfinite(gradient[i]);
      entries += gradient[i] != 0.0f;
    }
    if (__syncthreads_or(bad)) continue;
    nonzeros += entries;
    ++rows;
  }
  nonzeros = block_reduce<threads>::sum(nonzeros);
  if (threadIdx.x != 0) return;
  atomicAdd((unsigned long long*)&p.state->nonzeros, (unsigned long long)nonzeros);
  atomicAdd((unsigned long long*)&p.state->rows, (unsigned long long)rows);
}

__global__ void adapt_state(const __grid_constant__ aimle_problem p) {
  perturb_aimle_state state = *p.state;
  if (aimle_state_fits(state)) {
    adapt(p.rule, state);
  } else {
    state.alpha = state.average = __int_as_float(0x7fffffff);
  }
  *p.state = state;
}

}  // namespace

perturb_status cuda_aimle_update(const cuda_device& device, const aimle_problem& problem) {
  const device_scope scope(device.ordinal);
  if (scope.error() != cudaSuccess) return cuda_fail(scope.error(), "context: its device cannot be made current");
  aimle_problem p = problem;
  void* arguments[] = {&p};
  const cudaStream_t stream = static_cast<cudaStream_t>(device.stream);
  cudaError_t error = cudaMemsetAsync(&p.state->nonzeros, 0, sizeof p.state->nonzeros + sizeof p.state->rows, stream);
  if (error == cudaSuccess)
    error = cudaLaunchKernel((const void*)count_nonzeros, dim3(blocks_for(p.batch, 16, device.multiprocessors)), dim3(threads), arguments, 0, stream);
  if (error == cudaSuccess) error = cudaLaunchKernel((const void*)adapt_state, dim3(1), dim3(1), arguments, 0, stream);
  return error == cudaSuccess ? PERTURB_OK : cuda_fail(error, "launch");
}

}  // namespace perturb
