// Sorts and ordered top-k: what the estimators make of y, from the ranks that the rank kernels have stored. y has a one for each of the first k
// positions, at [position, item]; the other n k - k entries are never looked at.
#include "kernels/sort.h"

#include "kernels/estimators.cuh"
#include "kernels/launch.h"
#include "kernels/score_tile.cuh"

namespace perturb::cuda {
namespace {

constexpr int sort_threads = 128;

__device__ __forceinline__ int64_t position_of(const problem& p, int64_t row, int64_t sample, int64_t item) {
  return p.y_integers[(row * p.y_samples + sample - p.first_of_run) * p.n + item];
}
__device__ __forceinline__ int64_t* words_of(const problem& p, int64_t row) { return p.words + row * p.words_per_row; }

// Samples that a thread takes at a time.
constexpr int64_t samples_per_task = 8;

// f(row, first, last, index) for `width` indices of every row, samples first .. last - 1 at a time. Threads lie over indices, and over tasks where
// there are few of them.
template <class F>
__device__ __forceinline__ void for_tasks(const problem& p, int64_t width, F&& f) {
  int across = 1;  // threads over indices: a power of two
  while (across < sort_threads && across < width) across *= 2;
  const int64_t tasks_at_once = sort_threads / across, chunks = (p.run + samples_per_task - 1) / samples_per_task;
  for (int64_t task = blockIdx.x * tasks_at_once + threadIdx.x / across; task < p.rows * chunks; task += gridDim.x * tasks_at_once) {
    const int64_t row = task / chunks, first = p.first_of_run + task % chunks * samples_per_task, end = p.first_of_run + p.run;
    if (p.state[row].bad) continue;
    const int64_t last = first + samples_per_task < end ? first + samples_per_task : end;
    for (int64_t index = threadIdx.x % across; index < width; index += across) f(row, first, last, index);
  }
}

// f(row, sample, position, item) for the ones of y.
template <class F>
__device__ __forceinline__ void for_ones(const problem& p, F&& f) {
  for_tasks(p, p.n, [&](int64_t row, int64_t first, int64_t last, int64_t item) {
    for (int64_t s = first; s < last; ++s) {
      const int64_t position = position_of(p, row, s, item);
      if (position < p.k) f(row, s, position, item);
    }
  });
}

// ---------------------------------------------------------------- y itself

__global__ void __launch_bounds__(sort_threads) sort_solutions(const __grid_constant__ problem p) {
  for_ones(p, [&](int64_t row, int64_t sample, int64_t position, int64_t item) { p.y[(row * p.samples + sample) * p.m + position * p.n + item] = 1.0f; });
}

__global__ void __launch_bounds__(sort_threads) sort_centre(const __grid_constant__ problem p) {
  for_ones(p, [&](int64_t row, int64_t, int64_t position, int64_t item) { p.centre[row * p.m + position * p.n + item] = 1; });
}

__global__ void __launch_bounds__(sort_threads) sort_counts(const __grid_constant__ problem p) {
  for_ones(p, [&](int64_t row, int64_t, int64_t position, int64_t item) { atomic_add(words_of(p, row) + position * p.n + item, 1); });
}

// ---------------------------------------------------------------- derivatives

// A warp per sample.
__global__ void __launch_bounds__(sort_threads) sort_inner(const __grid_constant__ problem p) {
  using warp = group<32>;
  constexpr int64_t chunk = samples_per_task * (sort_threads / 32);
  const int64_t chunks = (p.run + chunk - 1) / chunk, end = p.first_of_run + p.run;
  for (int64_t task = blockIdx.x; task < p.rows * chunks; task += gridDim.x) {
    const int64_t row = task / chunks, first = p.first_of_run + task % chunks * chunk;
    if (p.state[row].bad) continue;
    const float* cotangent = p.operand + row * p.m;
    const double scale = power_of_two(p.state[row].vjp.cotangent_exponent);
    const int64_t centre = p.silent ? 0 : p.state[row].centre;
    const double to_weight = vjp_weight_scale(p.state[row].vjp);
    split_sum moved;
    for (int64_t s = first + warp::index(); s < first + chunk && s < end; s += sort_threads / 32) {
      int64_t r = 0;
      for (int64_t item = warp::rank(); item < p.n; item += 32) {
        const int64_t position = position_of(p, row, s, item);
        if (position < p.k) r += to_fixed(cotangent[position * p.n + item], scale);
      }
      r = warp::sum(r);
      if (!warp::leader()) continue;
      if (p.silent) {
        p.state[row].centre = r;
      } else {
        p.weights[row * p.samples + s] = (float)((double)(r - centre) * to_weight);
        moved.add(r - centre);
      }
    }
    if (!p.silent) row_sums(p, row).flush(0, moved);
  }
}

// Blocks: registers that ptxas would otherwise spill for more of them.
__global__ void __launch_bounds__(sort_threads, 8) sort_scaled(const __grid_constant__ problem p) {
  for_ones(p, [&](int64_t row, int64_t sample, int64_t position, int64_t item) {
    const int64_t chain = p.chains[row * p.samples + sample];
    int64_t* words = words_of(p, row) + position * p.n + item;
    atomic_add(words, 1);
    atomic_add(words + p.m, chain >> chain_half_bits);
    atomic_add(words + 2 * p.m, chain & ((1 << chain_half_bits) - 1));
  });
}

static_assert(sort_threads == tile_threads);

// A block per 32 items of y and 32 of theta. An item is at one position in a sample, so that no two threads add to the same word.
__global__ void __launch_bounds__(sort_threads, 6) sort_products(const __grid_constant__ problem p) {
  __shared__ int32_t scores[tile_samples][tile_side], positions[tile_samples][tile_side];
  const int64_t across = (p.n + tile_side - 1) / tile_side;
  const int tid = (int)threadIdx.x, i = tid / 4, j0 = tid % 4 * 8;
  for (int64_t task = blockIdx.x; task < p.rows * across * across; task += gridDim.x) {
    const int64_t first_j = task % across * tile_side, first_i = task / across % across * tile_side, row = task / across / across;
    if (p.state[row].bad) continue;
    int64_t* const words = words_of(p, row);
    int64_t sum_score = 0;
    for (int64_t s0 = 0; s0 < p.run; s0 += tile_samples) {
      make_score_tile(p, row, s0, first_j, scores);
      for (int at = tid; at < tile_samples * tile_side; at += sort_threads) {
        const int s = at / tile_side, item = at % tile_side;
        positions[s][item] = s0 + s < p.run && first_i + item < p.n ? (int32_t)position_of(p, row, p.first_of_run + s0 + s, first_i + item) : (int32_t)p.n;
      }
      __syncthreads();
      for (int s = 0; s < tile_samples; ++s) {
        if (tid < tile_side) sum_score += scores[s][tid];
        const int64_t position = positions[s][i];
        if (position >= p.k) continue;
        const int64_t entry = position * p.n + first_i + i;
        if (first_j == 0 && tid % 4 == 0) words[entry] += 1;
        int64_t* const to = words + p.m + p.n + entry * p.n + first_j + j0;
#pragma unroll
        for (int j = 0; j < 8; ++j)
          if (first_j + j0 + j < p.n) to[j] += scores[s][j0 + j];
      }
      __syncthreads();
    }
    if (first_i == 0 && tid < tile_side && first_j + tid < p.n) words[p.m + first_j + tid] += sum_score;
  }
}

// ---------------------------------------------------------------- sorted values

__device__ __forceinline__ void add_halves(int64_t x, int64_t* high, int64_t* low) {
  atomic_add(high, x >> sorted_half_bits);
  atomic_add(low, x & sorted_low_mask);
}

// A thread makes the noise of a quad of items again.
__global__ void __launch_bounds__(sort_threads) sorted_values(const __grid_constant__ problem p) {
  using source = noise_source<false>;
  for_tasks(p, (p.n + 3) / 4, [&](int64_t row, int64_t first, int64_t last, int64_t quad) {
    const sorted_scales& scales = p.state[row].sorted;
    const double scale = power_of_two(scales.exponent);
    const float* theta = p.theta + row * p.n;
    int64_t* const words = words_of(p, row);
    int64_t* const centre = p.sorted_centre + row * p.k;
    for (int64_t s = first; s < last; ++s) {
      float z[4];
      source::quad(p, row_counter(p, row), sample_counter(p, s), (uint32_t)quad, z);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int64_t item = 4 * quad + j;
        if (item >= p.n) continue;
        const int64_t position = position_of(p, row, s, item);
        if (position >= p.k) continue;
        const int64_t fixed = to_fixed(source::score(p, row_counter(p, row), theta[item], item, z[j]), scale);
        if (p.silent) {
          centre[position] = fixed;
          continue;
        }
        add_halves(fixed, words + position, words + p.k + position);
        if (!p.output[1]) continue;
        const int64_t deviation = sorted_deviation(fixed, centre[position], scales);
        atomic_add(words + 2 * p.k + position, deviation);
        add_halves(deviation * deviation, words + 3 * p.k + position, words + 4 * p.k + position);
      }
    }
  });
}

__global__ void __launch_bounds__(sort_threads) sorted_gradient(const __grid_constant__ problem p) {
  using source = noise_source<false>;
  for_tasks(p, (p.n + 3) / 4, [&](int64_t row, int64_t first, int64_t last, int64_t quad) {
    const double scale = power_of_two(p.state[row].sorted.exponent);
    const float* cotangent = p.operand + row * p.k;
    int64_t high[4] = {}, low[4] = {};
    for (int64_t s = first; s < last; ++s) {
      float z[4] = {};
      if (p.multiplicative) source::quad(p, row_counter(p, row), sample_counter(p, s), (uint32_t)quad, z);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int64_t item = 4 * quad + j;
        if (item >= p.n) continue;
        const int64_t position = position_of(p, row, s, item);
        if (position >= p.k) continue;
        const float e = source::amplitude(p, row_counter(p, row), item);
        const float factor = p.multiplicative ? multiplicative_factor<lane>(z[j], e, -0.5f * (e * e)) : 1.0f;
        const int64_t fixed = sorted_vjp_term(cotangent[position], factor, scale);
        high[j] += fixed >> sorted_half_bits;
        low[j] += fixed & sorted_low_mask;
      }
    }
    int64_t* const words = words_of(p, row);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      if (4 * quad + j >= p.n) continue;
      atomic_add(words + 4 * quad + j, high[j]);
      atomic_add(words + p.n + 4 * quad + j, low[j]);
    }
  });
}

cudaError_t launch_pass(void (*kernel)(problem), const problem& p, int64_t width, int multiprocessors, cudaStream_t stream) {
  const double work = (double)p.rows * (double)((p.run + samples_per_task - 1) / samples_per_task) * (double)width / sort_threads + 1.0;
  const unsigned blocks = blocks_for(work < 1e9 ? (int64_t)work : 1000000000, 16, multiprocessors);
  return launch((const void*)kernel, p, blocks, sort_threads, 0, stream);
}

}  // namespace

cudaError_t launch_sort_solutions(const problem& p, int multiprocessors, cudaStream_t stream) {
  return launch_pass(sort_solutions, p, p.n, multiprocessors, stream);
}
cudaError_t launch_sort_centre(const problem& p, int multiprocessors, cudaStream_t stream) { return launch_pass(sort_centre, p, p.n, multiprocessors, stream); }
cudaError_t launch_sort_counts(const problem& p, int multiprocessors, cudaStream_t stream) { return launch_pass(sort_counts, p, p.n, multiprocessors, stream); }
cudaError_t launch_sort_inner(const problem& p, int multiprocessors, cudaStream_t stream) { return launch_pass(sort_inner, p, 32, multiprocessors, stream); }
cudaError_t launch_sort_scaled(const problem& p, int multiprocessors, cudaStream_t stream) { return launch_pass(sort_scaled, p, p.n, multiprocessors, stream); }
cudaError_t launch_sorted_values(const problem& p, int multiprocessors, cudaStream_t stream) {
  return launch_pass(sorted_values, p, (p.n + 3) / 4, multiprocessors, stream);
}
cudaError_t launch_sorted_gradient(const problem& p, int multiprocessors, cudaStream_t stream) {
  return launch_pass(sorted_gradient, p, (p.n + 3) / 4, multiprocessors, stream);
}

cudaError_t launch_sort_products(const problem& p, int multiprocessors, cudaStream_t stream) {
  const int64_t across = (p.n + tile_side - 1) / tile_side;
  return launch((const void*)sort_products, p, blocks_for(p.rows * across * across, 16, multiprocessors), sort_threads, 0, stream);
}

}  // namespace perturb::cuda
