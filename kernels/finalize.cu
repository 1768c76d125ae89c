// Outputs from integer sums: the arithmetic is math/scales.h's, a thread per entry. Rows that prepare found bad become NaN.
#include "kernels/launch.h"
#include "kernels/noise.cuh"
#include "kernels/passes.h"

namespace perturb::cuda {
namespace {

constexpr int finalize_threads = 256;

__device__ __int128 sum_of(const int64_t* words, const problem& p, int index) {
  const int64_t* sums = words + p.words_per_row - sum_words + 2 * index;
  return ((__int128)sums[1] << 32) + sums[0];
}

// One entry of the outputs that have `width` entries a row; entry 0 does the row's scalars too.
__device__ void finalize_entry(const problem& p, int64_t row, int64_t i) {
  const row_state& state = p.state[row];
  const int64_t* words = p.words + row * p.words_per_row;
  const float nan = __int_as_float(0x7fffffff);
  const bool bad = state.bad;
  const auto amplitude = [&](int64_t item) {
    if (p.oracle == oracle_kind::grid_path && !p.grid.passable[item]) return 0.0;
    return derivative_amplitude(p.multiplicative, noise_source<false>::amplitude(p, row_counter(p, row), item), p.multiplicative ? p.theta[row * p.n + item] : 0.0f);
  };
  switch (p.operation) {
    case PERTURB_OP_SOLVE:
    case PERTURB_OP_SAMPLE:
      if (!bad) return;
      p.y[row * p.y_samples * p.m + i] = nan;
      if (p.operation == PERTURB_OP_SOLVE && p.output[1] && i == 0) p.output[1][row] = nan;
      return;
    case PERTURB_OP_EXPECTATION:
      p.output[0][row * p.m + i] = bad ? nan : expectation_mean(words[i], p.samples);
      if (p.output[1]) p.output[1][row * p.m + i] = bad ? nan : expectation_error(words[i], words[p.oracle == oracle_kind::rank ? p.m + i : i], p.samples);
      if (i > 0) return;
      if (p.output[2]) p.output[2][row] = bad ? nan : value_mean(sum_of(words, p, 0), p.samples, state.value.exponent);
      if (p.output[3]) p.output[3][row] = bad ? nan : value_error(sum_of(words, p, 1), sum_of(words, p, 2), p.samples, state.value.deviation_exponent);
      return;
    case PERTURB_OP_VJP: {
      const double a = bad ? 0.0 : amplitude(i);
      p.output[0][row * p.n + i] = bad        ? nan
                                   : a == 0.0 ? 0.0f
                                              : vjp_gradient(make_vjp_ending(state.vjp, sum_of(words, p, 0), state.centre, p.samples, p.baseline), words[i], words[p.n + i],
                                                             words[2 * p.n + i], a);
      return;
    }
    case PERTURB_OP_JVP:
      p.output[0][row * p.m + i] =
          bad ? nan : jvp_derivative(state.jvp, words[i], words[p.m + i], words[2 * p.m + i], sum_of(words, p, 0), p.centre[row * p.m + i], p.samples, p.baseline);
      return;
    case PERTURB_OP_JACOBIAN: {
      const int64_t a = i / p.n, j = i % p.n;
      p.output[0][row * p.m * p.n + i] = bad ? nan
                                             : jacobian_entry(words[a], words[p.m + j], words[p.m + p.n + i], p.centre[row * p.m + a], p.samples, p.baseline,
                                                              inverse_amplitude(amplitude(j)));
      return;
    }
    case PERTURB_OP_SORTED_VALUES:
      p.output[0][row * p.k + i] = bad ? nan : sorted_mean(words[i], words[p.k + i], p.samples, state.sorted.exponent);
      if (p.output[1])
        p.output[1][row * p.k + i] =
            bad ? nan : value_error(words[2 * p.k + i], sorted_sum(words[3 * p.k + i], words[4 * p.k + i]), p.samples, state.sorted.deviation_exponent);
      return;
    case PERTURB_OP_SORTED_VALUES_VJP:
      p.output[0][row * p.n + i] = bad ? nan : sorted_mean(words[i], words[p.n + i], p.samples, state.sorted.exponent);
      return;
    default:
      break;
  }
  const fenchel_young_scales& scales = state.fenchel_young;
  if (p.output[1]) {
    const bool counts = p.oracle != oracle_kind::grid_path || p.grid.passable[i];
    const float target = p.operand[row * p.m + i];
    p.output[1][row * p.n + i] = bad       ? nan
                                 : !counts ? 0.0f
                                 : p.multiplicative
                                     ? fenchel_young_gradient(scales, p.loss_sign, words[p.m + i], words[2 * p.m + i], words[3 * p.m + i], words[4 * p.m + i], p.samples, target)
                                     : fenchel_young_gradient(p.loss_sign, words[i], p.samples, target);
  }
  if (i > 0) return;
  if (p.output[0]) p.output[0][row] = bad ? nan : fenchel_young_loss(scales, sum_of(words, p, 0), p.samples);
  if (p.output[2]) p.output[2][row] = bad ? nan : fenchel_young_slope(scales, sum_of(words, p, 1), p.samples);
}

__global__ void __launch_bounds__(finalize_threads) finalize(const __grid_constant__ problem p, int64_t width) {
  for (int64_t at = (int64_t)blockIdx.x * finalize_threads + threadIdx.x; at < p.rows * width; at += (int64_t)gridDim.x * finalize_threads)
    finalize_entry(p, at / width, at % width);
}

}  // namespace

cudaError_t launch_finalize(const problem& p, int multiprocessors, cudaStream_t stream) {
  int64_t width = p.m;
  if (p.operation == PERTURB_OP_JACOBIAN) width = p.m * p.n;
  if (p.operation == PERTURB_OP_SAMPLE) width = p.m * p.y_samples;
  if (p.operation == PERTURB_OP_VJP || p.operation == PERTURB_OP_SORTED_VALUES_VJP) width = p.n;
  if (p.operation == PERTURB_OP_SORTED_VALUES) width = p.k;
  const unsigned blocks = blocks_for((p.rows * width + finalize_threads - 1) / finalize_threads, 8, multiprocessors);
  void* arguments[] = {const_cast<problem*>(&p), &width};
  return cudaLaunchKernel((const void*)finalize, dim3(blocks), dim3(finalize_threads), arguments, 0, stream);
}

}  // namespace perturb::cuda
