// Outputs of VJP_EPSILON from the words of every item: a block per row. The derivative in epsilon is made of the exact sums over the items
// that are perturbed.
#include "kernels/block.cuh"
#include "kernels/group.cuh"
#include "kernels/launch.h"
#include "kernels/noise.cuh"
#include "kernels/passes.h"

namespace perturb::cuda {
namespace {

constexpr int result_threads = 128;
using reduce = block_reduce<result_threads>;

__device__ __int128 total_of(const split_sum& sum) {
  const int64_t high = reduce::sum(sum.high), low = reduce::sum(sum.low);
  return ((__int128)high << 32) + low;
}

__global__ void __launch_bounds__(result_threads) vjp_epsilon_results(const __grid_constant__ problem p) {
  const float nan = __int_as_float(0x7fffffff);
  for (int64_t row = blockIdx.x; row < p.rows; row += gridDim.x) {
    const row_state& state = p.state[row];
    const int64_t* words = p.words + row * p.words_per_row;
    const int64_t* sums = words + p.words_per_row - sum_words;
    const __int128 moved = ((__int128)sums[1] << 32) + sums[0];
    const bool bad = state.bad;
    const vjp_ending ending = make_vjp_ending(state.vjp, moved, state.centre, p.samples, p.baseline);
    split_sum high, low, plain;
    for (int64_t i = threadIdx.x; i < p.n; i += result_threads) {
      const bool counts = p.oracle != oracle_kind::grid_path || p.grid.passable[i];
      const float amplitude = fabsf(noise_source<false>::amplitude(p, row_counter(p, row), i));
      const bool perturbed = !bad && counts && amplitude > 0.0f;
      if (perturbed) {
        high.add(words[i]);
        low.add(words[p.n + i]);
        plain.add(words[2 * p.n + i]);
      }
      if (p.output[1])
        p.output[1][row * p.n + i] =
            bad          ? nan
            : !perturbed ? 0.0f
                         : vjp_gradient(ending, words[i], words[p.n + i], words[2 * p.n + i], amplitude);
    }
    if (!p.output[0]) continue;
    const __int128 all_high = total_of(high), all_low = total_of(low), all_plain = total_of(plain);
    if (threadIdx.x == 0)
      p.output[0][row] = bad                 ? nan
                         : p.epsilon == 0.0f ? 0.0f
                                             : vjp_gradient(ending, all_high, all_low, all_plain, p.epsilon);
  }
}

}  // namespace

cudaError_t launch_vjp_epsilon_results(const problem& p, int multiprocessors, cudaStream_t stream) {
  return launch((const void*)vjp_epsilon_results, p, blocks_for(p.rows, 16, multiprocessors), result_threads, 0, stream);
}

}  // namespace perturb::cuda
