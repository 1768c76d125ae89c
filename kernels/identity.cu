// The identity backward rule and its projections on the device: a block per row. The arithmetic and the order of every sum are math/projection.h's.
#include "identity.h"
#include "kernels/call.h"
#include "kernels/launch.h"
#include "math/projection.h"

namespace perturb {
namespace {

using namespace cuda;

constexpr int threads = projection_parts;

// The sum of a part of every thread; in every thread.
__device__ double join_parts(double part) {
  __shared__ double parts[threads];
  const int tid = (int)threadIdx.x;
  __syncthreads();  // the last sum has been read
  parts[tid] = part;
#pragma unroll 1
  for (int half = threads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (tid < half) parts[tid] += parts[tid + half];
  }
  __syncthreads();
  return parts[0];
}

// Blocks that a multiprocessor is to hold: left to itself, the compiler spills around the divisions.
constexpr int resident_blocks = 8;

template <bool Gradient>
__global__ void __launch_bounds__(threads, resident_blocks) project_rows(const __grid_constant__ projection_problem p) {
  for (int64_t b = blockIdx.x; b < p.batch; b += gridDim.x) {
    const float* theta = p.theta + b * p.n;
    const float* g = Gradient ? p.cotangent + b * p.n : nullptr;
    float* output = p.output + b * p.n;
    const auto counts = [&](int64_t i) { return !p.passable || p.passable[i] != 0; };
    projected_row row = unprojected(Gradient ? p.sign : 1.0);
    bool bad = false;
    double sum = 0.0, cotangent_sum = 0.0;
    for (int64_t i = threadIdx.x; i < p.n; i += threads) {
      bad = bad || (counts(i) && !isfinite(theta[i])) || (Gradient && !isfinite(g[i]));
      sum += (double)theta[i];
      if (Gradient) cotangent_sum += (double)g[i];
    }
    bad = __syncthreads_or(bad);
    if (threadIdx.x == 0 && p.row_status) p.row_status[b] = bad ? PERTURB_ERROR_NON_FINITE : PERTURB_OK;
    if (threadIdx.x == 0 && p.row_clamped) p.row_clamped[b] = 0;
    if (p.centred) {
      row.mean = join_parts(sum) / (double)p.n;
      if (Gradient) row.cotangent_mean = join_parts(cotangent_sum) / (double)p.n;
    }
    if (p.scaled) {
      double square = 0.0, product = 0.0;
      for (int64_t i = threadIdx.x; i < p.n; i += threads) {
        if (!counts(i)) continue;
        const double x = row.x(theta[i]);
        square += x * x;
        if (Gradient) product += x * row.h(g[i]);
      }
      square = join_parts(square);
      row.measure(square, Gradient ? join_parts(product) : 0.0, Gradient);
    }
    for (int64_t i = threadIdx.x; i < p.n; i += threads) {
      float value = __int_as_float(0x7fffffff);
      if (!bad) value = !counts(i) ? 0.0f : Gradient ? row.gradient(theta[i], g[i]) : row.projected(theta[i]);
      output[i] = value;
    }
  }
}

}  // namespace

perturb_status cuda_project(const cuda_device& device, const perturb_oracle& oracle, const projection_problem& problem) {
  const device_scope scope(device.ordinal);
  if (scope.error() != cudaSuccess) return cuda_fail(scope.error(), "context: its device cannot be made current");
  projection_problem p = problem;
  if (oracle.grid) {
    oracle_arrays arrays = {};
    if (const cudaError_t copied = arrays_on_device(oracle, device.ordinal, arrays); copied != cudaSuccess)
      return cuda_fail(copied, "oracle: its grid or tables cannot be copied to the device");
    p.passable = arrays.passable;
  }
  void* arguments[] = {&p};
  const void* const kernel = p.cotangent ? (const void*)project_rows<true> : (const void*)project_rows<false>;
  const cudaError_t error = cudaLaunchKernel(kernel, dim3(blocks_for(p.batch, 16, device.multiprocessors)), dim3(threads), arguments, 0,
                                             static_cast<cudaStream_t>(device.stream));
  return error == cudaSuccess ? PERTURB_OK : cuda_fail(error, "launch");
}

}  // namespace perturb
