// Closed forms on the device: a block per row (a thread per rank's entry), the arithmetic and the order of every sum are math/closed_forms.h's.
#include "exact.h"
#include "kernels/block.cuh"
#include "kernels/device.h"
#include "kernels/launch.h"
#include "math/closed_forms.h"

namespace perturb {
namespace {

using namespace cuda;

constexpr int threads = exact_parts;

// The sum of a part each, parts ascending; in every thread.
__device__ double sum_parts(double part) {
  __shared__ double parts[threads];
  __syncthreads();
  parts[threadIdx.x] = part;
  __syncthreads();
  double sum = 0.0;
  for (int k = 0; k < threads; ++k) sum += parts[k];
  return sum;
}

__global__ void __launch_bounds__(threads) softmax_rows(const __grid_constant__ exact_problem p) {
  for (int64_t b = blockIdx.x; b < p.batch; b += gridDim.x) {
    const float* theta = p.theta + b * p.n;
    const float* g = p.cotangent ? p.cotangent + b * p.n : nullptr;
    double top = -HUGE_VAL, weights, products;
    for (int64_t i = threadIdx.x; i < p.n; i += threads) top = larger(top, theta[i]);
    top = block_reduce<threads>::max(top);
    softmax_part(theta, g, p.n, top, p.epsilon, (int)threadIdx.x, weights, products);
    const double sum = sum_parts(weights), product = sum_parts(products);
    for (int64_t i = threadIdx.x; i < p.n; i += threads) p.output[b * p.n + i] = softmax_entry(theta, g, i, top, p.epsilon, sum, product);
    if (p.value && threadIdx.x == 0) p.value[b] = softmax_value(top, p.epsilon, sum);
  }
}

__global__ void __launch_bounds__(threads) rank_entries(const __grid_constant__ exact_problem p) {
  const pair_law law = {p.gumbel, p.epsilon};
  for (int64_t at = (int64_t)blockIdx.x * threads + threadIdx.x; at < p.batch * p.n; at += (int64_t)gridDim.x * threads) {
    const int64_t b = at / p.n, i = at % p.n;
    const float* theta = p.theta + b * p.n;
    p.output[at] = finite_float(p.cotangent ? rank_gradient(law, p.descending, theta, p.cotangent + b * p.n, p.n, i)
                                            : rank_entry(law, p.descending, p.base, theta, p.n, i));
  }
}

__global__ void __launch_bounds__(threads) rank_values(const __grid_constant__ exact_problem p) {
  const pair_law law = {p.gumbel, p.epsilon};
  for (int64_t b = blockIdx.x; b < p.batch; b += gridDim.x) {
    const double total = sum_parts(rank_value_part(law, p.descending, p.base, p.theta + b * p.n, p.n, (int)threadIdx.x));
    if (threadIdx.x == 0) p.value[b] = finite_float(total);
  }
}

// tables: 2 * 2^n doubles of each block. Sets of one size at a time: they depend on those of the next smaller, or larger, size.
__global__ void __launch_bounds__(threads) top_k_rows(const __grid_constant__ exact_problem p, double* tables) {
  constexpr int limit = exact_top_k_limit;
  __shared__ double ratio[limit * limit], sorted[limit], g[limit], parts[limit][subset_parts];
  __shared__ int place[limit];
  const int n = (int)p.n, k = (int)p.k, tid = (int)threadIdx.x;
  const uint32_t sets = 1u << n;
  tables += (int64_t)blockIdx.x * 2 * sets;
  const drawing d = {n, k, ratio, g, tables, tables + sets};
  for (int64_t b = blockIdx.x; b < p.batch; b += gridDim.x) {
    const float* theta = p.theta + b * p.n;
    __syncthreads();                          // the last row's sums have been read
    if (tid < n) sorted[tid] = g[tid] = 0.0;  // places are not a permutation where theta is not finite
    __syncthreads();
    if (tid < n) {
      place[tid] = place_of(theta, n, tid);
      sorted[place[tid]] = theta[tid];
      if (p.cotangent) g[place[tid]] = p.cotangent[b * p.n + tid];
    }
    __syncthreads();
    for (int at = tid; at < n * n; at += threads)
      if (at % n >= at / n) ratio[at] = exponential((sorted[at % n] - sorted[at / n]) / p.epsilon);
    for (int size = 0; size <= k; ++size) {
      __syncthreads();
      for (uint32_t set = (uint32_t)tid; set < sets; set += threads)
        if (items_in(set) == size) d.reach[set] = d.reach_of(set);
    }
    if (p.cotangent)
      for (int size = k; size >= 0; --size) {
        __syncthreads();
        for (uint32_t set = (uint32_t)tid; set < sets; set += threads)
          if (items_in(set) == size) d.worth[set] = d.worth_of(set);
      }
    __syncthreads();
    const int i = tid / subset_parts, part = tid % subset_parts;
    if (i < n) parts[i][part] = p.cotangent ? d.gradient_part(place[i], part) : d.inclusion_part(place[i], part);
    __syncthreads();
    if (tid >= n) continue;
    double sum = 0.0;
    for (int q = 0; q < subset_parts; ++q) sum += parts[tid][q];
    for (int j = 0; j < n; ++j) {
      const float x = theta[j], y = p.cotangent ? p.cotangent[b * p.n + j] : 0.0f;
      sum += (double)(x - x) + (double)(y - y);  // 0 or NaN
    }
    p.output[b * p.n + tid] = finite_float(p.cotangent ? sum / p.epsilon : sum);
  }
}

// A block per row: whether all of it is finite (perturb_context_set_row_status).
__global__ void __launch_bounds__(threads) finite_rows(const __grid_constant__ exact_problem p) {
  for (int64_t b = blockIdx.x; b < p.batch; b += gridDim.x) {
    bool finite = true;
    for (int64_t i = b * p.n + threadIdx.x; i < (b + 1) * p.n; i += threads) finite = finite && isfinite(p.theta[i]) && (!p.cotangent || isfinite(p.cotangent[i]));
    finite = __syncthreads_and(finite);
    if (threadIdx.x != 0) continue;
    if (p.row_status) p.row_status[b] = finite ? PERTURB_OK : PERTURB_ERROR_NON_FINITE;
    if (p.row_clamped) p.row_clamped[b] = 0;
  }
}

static_assert(threads == exact_top_k_limit * subset_parts);

}  // namespace

perturb_status cuda_exact(const cuda_device& device, const exact_problem& problem) {
  const device_scope scope(device.ordinal);
  if (scope.error() != cudaSuccess) return cuda_fail(scope.error(), "context: its device cannot be made current");
  exact_problem p = problem;
  const auto blocks_of = [&](int64_t work) { return blocks_for(work, 16, device.multiprocessors); };
  const auto enqueue = [&](const void* kernel, unsigned blocks, void** arguments) {
    return cudaLaunchKernel(kernel, dim3(blocks), dim3(threads), arguments, 0, static_cast<cudaStream_t>(device.stream));
  };
  void* arguments[] = {&p, nullptr};
  cudaError_t error = cudaSuccess;
  if (p.row_status || p.row_clamped) error = enqueue((const void*)finite_rows, blocks_of(p.batch), arguments);
  if (error != cudaSuccess) return cuda_fail(error, "launch");
  if (p.form == exact_form::softmax) {
    error = enqueue((const void*)softmax_rows, blocks_of(p.batch), arguments);
  } else if (p.form == exact_form::ranks) {
    error = enqueue((const void*)rank_entries, blocks_of((p.batch * p.n + threads - 1) / threads), arguments);
    if (error == cudaSuccess && p.value) error = enqueue((const void*)rank_values, blocks_of(p.batch), arguments);
  } else {
    const unsigned blocks = blocks_for(p.batch, 2, device.multiprocessors);
    const size_t bytes = (size_t)blocks * ((size_t)2 << p.n) * sizeof(double);
    void* tables = nullptr;
    if (const perturb_status s = allocate_on(device, bytes, "tables", &tables)) return s;
    arguments[1] = &tables;
    error = enqueue((const void*)top_k_rows, blocks, arguments);
    release_on(device, tables, bytes);
  }
  return error == cudaSuccess ? PERTURB_OK : cuda_fail(error, "launch");
}

}  // namespace perturb
