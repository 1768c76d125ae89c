// Squared distances and their gradients on the device (src/distances.h): tiles of both sides in shared memory, each output one chain or sum of one
// thread, in ascending order.
#include "distances.h"
#include "kernels/device.h"
#include "kernels/launch.h"
#include "math/scales.h"

namespace perturb {
namespace {

using namespace cuda;

constexpr int threads = 256, side = 32;

// A block per tile of 32 queries x 32 points, four chains a thread.
__global__ void __launch_bounds__(threads) negative_distances(distance_problem p, float* theta) {
  __shared__ float q[side][side + 1], x[side][side + 1];
  const int tid = (int)threadIdx.x, column = tid % side, row = tid / side;  // rows row, row + 8, ...
  const int64_t across = (p.points + side - 1) / side, down = (p.queries + side - 1) / side;
  for (int64_t task = blockIdx.x; task < across * down; task += gridDim.x) {
    const int64_t first_i = task % across * side, first_b = task / across * side;
    float chain[4] = {};
    for (int64_t j0 = 0; j0 < p.dimensions; j0 += side) {
      const int width = p.dimensions - j0 < side ? (int)(p.dimensions - j0) : side;
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        const int r = row + 8 * k;
        q[r][column] = first_b + r < p.queries && column < width ? p.q[(first_b + r) * p.dimensions + j0 + column] : 0.0f;
        x[r][column] = first_i + r < p.points && column < width ? p.x[(first_i + r) * p.dimensions + j0 + column] : 0.0f;
      }
      __syncthreads();
      for (int j = 0; j < width; ++j) {
#pragma unroll
        for (int k = 0; k < 4; ++k) {
          const float step = __fsub_rn(q[row + 8 * k][j], x[column][j]);
          chain[k] = __fmaf_rn(step, step, chain[k]);
        }
      }
      __syncthreads();
    }
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const int64_t b = first_b + row + 8 * k, i = first_i + column;
      if (b < p.queries && i < p.points) theta[b * p.points + i] = -chain[k];
    }
  }
}

// Whether a term is of a refused row: its weights are then NaN in every row of the sum.
__device__ __forceinline__ bool refused(const distance_sum& s, int64_t row, int64_t term) {
  return s.leave_out && isnan(s.weights[row * s.row_stride + term * s.term_stride]);
}

// A block per tile of 32 rows x 32 dimensions, four sums a thread. Three blocks: registers that ptxas would otherwise spill for a fourth.
__global__ void __launch_bounds__(threads, 3) distance_gradient(distance_sum s, float* gradient) {
  __shared__ float c[side][side], weight[side][side + 1];  // weight[row][term]
  const int tid = (int)threadIdx.x, column = tid % side, row = tid / side;
  const int64_t across = (s.dimensions + side - 1) / side, down = (s.rows + side - 1) / side;
  for (int64_t task = blockIdx.x; task < across * down; task += gridDim.x) {
    const int64_t j = task % across * side + column, first_r = task / across * side;
    double a[4], sum[4] = {};
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const int64_t r = first_r + row + 8 * k;
      a[k] = r < s.rows && j < s.dimensions ? s.a[r * s.dimensions + j] : 0.0f;
    }
    for (int64_t t0 = 0; t0 < s.terms; t0 += side) {
      const int width = s.terms - t0 < side ? (int)(s.terms - t0) : side;
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        const int other = row + 8 * k;
        c[other][column] = other < width && j < s.dimensions && !refused(s, first_r, t0 + other) ? s.c[(t0 + other) * s.dimensions + j] : 0.0f;
        // Neighbouring threads read neighbouring weights, whichever way they lie.
        const int r = s.term_stride == 1 ? other : column, t = s.term_stride == 1 ? column : other;
        const float w = first_r + r < s.rows && t < width ? s.weights[(first_r + r) * s.row_stride + (t0 + t) * s.term_stride] : 0.0f;
        weight[r][t] = s.leave_out && isnan(w) ? 0.0f : w;
      }
      __syncthreads();
      for (int t = 0; t < width; ++t) {
        const double other = c[t][column];
#pragma unroll
        for (int k = 0; k < 4; ++k) sum[k] = __dadd_rn(sum[k], __dmul_rn((double)weight[row + 8 * k][t], __dsub_rn(a[k], other)));
      }
      __syncthreads();
    }
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const int64_t r = first_r + row + 8 * k;
      if (r < s.rows && j < s.dimensions) gradient[r * s.dimensions + j] = finite_float(__dmul_rn(-2.0, sum[k]));
    }
  }
}

template <class Problem>
perturb_status enqueue(const cuda_device& device, const void* kernel, Problem p, int64_t tiles, float* output) {
  const device_scope scope(device.ordinal);
  if (scope.error() != cudaSuccess) return cuda_fail(scope.error(), "context: its device cannot be made current");
  void* arguments[] = {&p, &output};
  const cudaError_t error =
      cudaLaunchKernel(kernel, dim3(blocks_for(tiles, 16, device.multiprocessors)), dim3(threads), arguments, 0, static_cast<cudaStream_t>(device.stream));
  return error == cudaSuccess ? PERTURB_OK : cuda_fail(error, "launch");
}

int64_t tiles_of(int64_t rows, int64_t columns) { return (rows + side - 1) / side * ((columns + side - 1) / side); }

}  // namespace

perturb_status cuda_negative_distances(const cuda_device& device, const distance_problem& p, float* theta) {
  return enqueue(device, (const void*)negative_distances, p, tiles_of(p.queries, p.points), theta);
}

perturb_status cuda_distance_gradient(const cuda_device& device, const distance_sum& s, float* gradient) {
  return enqueue(device, (const void*)distance_gradient, s, tiles_of(s.rows, s.dimensions), gradient);
}

}  // namespace perturb
