// LPGD and its family on the device: the inputs of the two solves of a row, and the difference of their solutions. A block per row; the
// arithmetic is math/resolve.h's. Row r of the slice has its two solves in rows r and rows + r of the doubled problem.
#include "kernels/block.cuh"
#include "kernels/launch.h"
#include "kernels/noise.cuh"
#include "kernels/passes.h"

namespace perturb::cuda {
namespace {

constexpr int resolve_threads = 128;
using reduce = block_reduce<resolve_threads>;

__device__ __forceinline__ bool counts(const problem& p, int64_t i) { return p.oracle != oracle_kind::grid_path || p.grid.passable[i] != 0; }

// ||x||_2 over the items that count (call::tau of the CPU).
__device__ double norm(const problem& p, const float* x) {
  double largest = 0.0;
  for (int64_t i = threadIdx.x; i < p.n; i += resolve_threads)
    if (counts(p, i)) largest = larger(largest, magnitude(x[i]));
  const double unit = norm_unit(reduce::max(largest), p.n);
  int64_t terms = 0;
  for (int64_t i = threadIdx.x; i < p.n; i += resolve_threads)
    if (counts(p, i)) terms += norm_term(x[i], unit);
  return norm_of(reduce::sum(terms), unit);
}

// A row that the CPU refuses becomes NaN, which the doubled problem's prepare finds.
__global__ void __launch_bounds__(resolve_threads) shift(const __grid_constant__ problem p) {
  const resolve_pair pair = inputs_of(p.operation, p.resolve.side);
  const bool walls_matter = p.operation != PERTURB_OP_SPO_PLUS;  // in the operand, which SPO+ has as another theta
  const bool proximal = p.operation == PERTURB_OP_LPGD && p.resolve.rho != 0.0f;
  const bool perturbed = p.operation == PERTURB_OP_IMLE && !p.multiplicative;
  for (int64_t row = blockIdx.x; row < p.rows; row += gridDim.x) {
    const float* theta = p.theta + row * p.n;
    const float* operand = p.operand + row * p.n;
    const double reach = perturbed ? perturbation_reach(p.noise, p.epsilon_per_row ? p.epsilon * p.epsilon_per_row[row] : p.epsilon) : 0.0;
    bool bad = false;
    for (int64_t i = threadIdx.x; i < p.n; i += resolve_threads)
      bad = bad || (counts(p, i) && !isfinite(theta[i])) || ((walls_matter || counts(p, i)) && !isfinite(operand[i]));
    bad = __syncthreads_or(bad);
    float tau = p.resolve.tau;
    if (p.tau_scale) {
      tau *= *p.tau_scale;
      bad = bad || !tau_scale_fits(*p.tau_scale);
    }
    if (p.resolve.relative && !bad) {
      const double of_theta = norm(p, theta), of_operand = norm(p, operand);
      tau = relative_tau(tau, of_theta, of_operand);
    }
    for (int64_t i = threadIdx.x; i < p.n; i += resolve_threads) {
      const double factor = p.epsilon_per_item ? (double)p.epsilon_per_item[i] : 1.0;
      bad = bad || (counts(p, i) && !resolve_fits(p.operation, p.resolve, tau, p.oracle, p.n, theta[i], operand[i], factor * reach));
    }
    bad = __syncthreads_or(bad);
    if (threadIdx.x == 0) p.tau[row] = tau;
    for (int64_t i = threadIdx.x; i < p.n; i += resolve_threads) {
      const auto value = [&](resolve_input input) {
        if (bad) return __int_as_float(0x7fffffff);
        return resolve_value<lane>(input, p.resolve, tau, p.oracle, p.base, (float)p.loss_sign, theta[i], operand[i], proximal ? p.centre[row * p.n + i] : 0);
      };
      p.shifted[row * p.n + i] = value(pair.minuend);
      p.shifted[(p.rows + row) * p.n + i] = value(pair.subtrahend);
    }
  }
}

__global__ void __launch_bounds__(resolve_threads) difference(const __grid_constant__ problem p) {
  const bool spo = p.operation == PERTURB_OP_SPO_PLUS;
  float* const gradient = p.output[spo ? 1 : 0];
  float* const loss = spo ? p.output[0] : nullptr;
  const float nan = __int_as_float(0x7fffffff);
  for (int64_t row = blockIdx.x; row < p.rows; row += gridDim.x) {
    const int64_t* first = p.words + row * p.words_per_row;
    const int64_t* second = p.words + (p.rows + row) * p.words_per_row;
    const bool bad = p.state[row].bad || p.state[p.rows + row].bad;
    const int exponent = loss && !bad ? p.state[row].spo_exponent : 0;
    const double scale = power_of_two(exponent);
    int64_t total = 0;
    for (int64_t i = threadIdx.x; i < p.n; i += resolve_threads) {
      const int64_t moved = first[i] - second[i];
      if (gradient) gradient[row * p.n + i] = bad ? nan : resolve_gradient(p.operation, p.resolve, p.tau[row], p.loss_sign, moved, p.samples);
      if (!loss || bad || moved == 0) continue;
      float w = p.shifted[row * p.n + i];
      if (p.oracle == oracle_kind::grid_path && !(w > p.grid.cost_floor)) w = p.grid.cost_floor;
      total += moved * to_fixed(w, scale);
    }
    if (!loss) continue;
    total = reduce::sum(total);
    if (threadIdx.x == 0) loss[row] = bad ? nan : spo_loss(p.loss_sign, total, exponent);
  }
}

}  // namespace

cudaError_t launch_shift(const problem& p, int multiprocessors, cudaStream_t stream) {
  return launch((const void*)shift, p, blocks_for(p.rows, 16, multiprocessors), resolve_threads, 0, stream);
}

cudaError_t launch_difference(const problem& p, int multiprocessors, cudaStream_t stream) {
  return launch((const void*)difference, p, blocks_for(p.rows, 16, multiprocessors), resolve_threads, 0, stream);
}

}  // namespace perturb::cuda
