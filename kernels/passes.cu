// The passes beside the engine's run: they look at noise scores and at what the run left per sample, not at oracles.
#include "kernels/passes.h"

#include "kernels/group.cuh"
#include "kernels/launch.h"
#include "kernels/noise.cuh"
#include "kernels/score_tile.cuh"

namespace perturb::cuda {
namespace {

constexpr int pass_threads = 128;

// ---------------------------------------------------------------- VJP

// A thread adds up at most this many samples in 32 bits: 2^8 limbs of 2^22.
constexpr int64_t limb_samples = 256;

// Threads lie over quads of items, and over samples where there are few quads. Limbs: src/cpu/estimators/vjp.h. Given: scores are read.
template <distribution D, wanted W>
__global__ void __launch_bounds__(pass_threads) weighted_scores(const __grid_constant__ problem p) {
  const int64_t quads = (p.n + 3) / 4;
  int across = 1;  // threads over quads: a power of two
  while (across < pass_threads && across < quads) across *= 2;
  const int splits = pass_threads / across, split = (int)threadIdx.x / across;
  const int64_t chunk = limb_samples * splits, chunks = (p.run + chunk - 1) / chunk, tiles = (quads + across - 1) / across;
  const float unit = (float)(1 << (limb_bits - factor_bits(W, D == distribution::given ? p.noise : D)));
  for (int64_t task = blockIdx.x; task < p.rows * chunks * tiles; task += gridDim.x) {
    const int64_t tile = task % tiles, first = p.first_of_run + task / tiles % chunks * chunk, row = task / tiles / chunks;
    const int64_t end = p.first_of_run + p.run, last = first + chunk < end ? first + chunk : end;
    if (p.state[row].bad) continue;
    const int64_t q = tile * across + (int)threadIdx.x % across;
    const uint32_t row_number = row_counter(p, row);
    const float* weights = p.weights + row * p.samples;
    uint32_t high[4] = {}, low[4] = {}, plain[4] = {};
    for (int64_t s = first + split; s < last; s += splits) {
      float score[4];
      if constexpr (D == distribution::given) {
        read_quad(p, p.z_score, row_number, sample_counter(p, s), (uint32_t)q, score);
      } else {
        uint32_t words[4];
        words_of_sample(p, row_number, sample_counter(p, s), (uint32_t)q, words);
        values_of_words<lane, D, W>(words, score);
      }
      const float weight = weights[s];
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const float a = __fmaf_rn(weight, score[j], limb_magic);
        const float rest = __fmaf_rn(weight, score[j], __fsub_rn(limb_magic, a));  // exact but for the last bits of the product
        const float b = __fmaf_rn(rest, 0x1p22f, limb_magic);
        high[j] += __float_as_uint(a) - limb_magic_bits;
        low[j] += __float_as_uint(b) - limb_magic_bits;
        plain[j] += __float_as_uint(__fmaf_rn(score[j], unit, limb_magic)) - limb_magic_bits;
      }
    }
    int64_t* out = p.words + row * p.words_per_row;
    const bool first_of_warp = across >= 32 || (int)threadIdx.x % 32 < across;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      int64_t sum[3] = {(int32_t)high[j], (int32_t)low[j], (int32_t)plain[j]};
#pragma unroll
      for (int k = 0; k < 3; ++k) {
        for (int d = 16; d >= across; d /= 2) sum[k] += __shfl_xor_sync(full_mask, sum[k], d);
        if (first_of_warp && 4 * q + j < p.n) atomic_add(out + k * p.n + 4 * q + j, sum[k]);
      }
    }
  }
}

// ---------------------------------------------------------------- JVP

// A thread per sample: one chain of fma over ascending items.
__global__ void __launch_bounds__(pass_threads) chains(const __grid_constant__ problem p) {
  const int64_t steps = (p.run + pass_threads - 1) / pass_threads;
  for (int64_t task = blockIdx.x; task < p.rows * steps; task += gridDim.x) {
    const int64_t row = task / steps, in_run = task % steps * pass_threads + threadIdx.x;
    const int64_t sample = p.first_of_run + (in_run < p.run ? in_run : p.run - 1);
    if (p.state[row].bad) continue;
    const float* direction = p.direction + row * p.n;
    const uint32_t row_number = row_counter(p, row), number = sample_counter(p, sample);
    float chain = 0.0f;
    for (int64_t i = 0; i < p.n; i += 4) {
      float s[4];
      score_quad(p, row_number, number, (uint32_t)(i >> 2), s);
#pragma unroll
      for (int j = 0; j < 4; ++j)
        if (i + j < p.n) chain = __fmaf_rn(direction[i + j], s[j], chain);
    }
    split_sum sum;
    if (in_run < p.run) {
      const int64_t fixed = to_fixed(chain, power_of_two(p.state[row].jvp.chain_exponent));
      p.chains[row * p.samples + sample] = fixed;
      sum.add(fixed);
    }
    const int64_t low = group<32>::sum(sum.low), high = group<32>::sum(sum.high);
    int64_t* sums = p.words + (row + 1) * p.words_per_row - sum_words;
    if (threadIdx.x % 32 == 0) {
      atomic_add(sums, low);
      atomic_add(sums + 1, high);
    }
  }
}

// ---------------------------------------------------------------- Jacobian

static_assert(pass_threads == tile_threads);

// A block per tile of 32 x 32 entries; its threads make the scores of a batch of samples once and multiply them with all their y.
__global__ void __launch_bounds__(pass_threads) products(const __grid_constant__ problem p) {
  __shared__ int32_t scores[tile_samples][tile_side], y[tile_samples][tile_side];
  const int64_t across = (p.n + tile_side - 1) / tile_side, down = (p.m + tile_side - 1) / tile_side;
  const int tid = (int)threadIdx.x, i = tid / 4, j0 = tid % 4 * 8;
  for (int64_t task = blockIdx.x; task < p.rows * across * down; task += gridDim.x) {
    const int64_t first_j = task % across * tile_side, first_i = task / across % down * tile_side, row = task / across / down;
    if (p.state[row].bad) continue;
    int64_t sum[8] = {}, sum_y = 0, sum_score = 0;
    for (int64_t s0 = 0; s0 < p.run; s0 += tile_samples) {
      make_score_tile(p, row, s0, first_j, scores);
      for (int at = tid; at < tile_samples * tile_side; at += pass_threads) {
        const int s = at / tile_side, k = at % tile_side;
        y[s][k] = s0 + s < p.run && first_i + k < p.m ? p.y_integers[(row * p.y_samples + s0 + s) * p.m + first_i + k] : 0;
      }
      __syncthreads();
#pragma unroll
      for (int s = 0; s < tile_samples; ++s) {
        const int64_t factor = y[s][i];
        sum_y += factor;
        if (tid < tile_side) sum_score += scores[s][tid];
#pragma unroll
        for (int j = 0; j < 8; ++j) sum[j] += factor * scores[s][j0 + j];
      }
      __syncthreads();
    }
    int64_t* words = p.words + row * p.words_per_row;
    if (first_j == 0 && tid % 4 == 0 && first_i + i < p.m) words[first_i + i] += sum_y;
    if (first_i == 0 && tid < tile_side && first_j + tid < p.n) words[p.m + first_j + tid] += sum_score;
#pragma unroll
    for (int j = 0; j < 8; ++j)
      if (first_i + i < p.m && first_j + j0 + j < p.n) words[p.m + p.n + (first_i + i) * p.n + first_j + j0 + j] += sum[j];
  }
}

// ---------------------------------------------------------------- noise

__global__ void __launch_bounds__(pass_threads) noise_fill(const __grid_constant__ problem p) {
  const int64_t quads = (p.n + 3) / 4, total = p.rows * p.samples * quads;
  for (int64_t at = (int64_t)blockIdx.x * pass_threads + threadIdx.x; at < total; at += (int64_t)gridDim.x * pass_threads) {
    const int64_t q = at % quads, problem_number = at / quads;
    float z[4];
    noise_source<false>::quad(p, row_counter(p, problem_number / p.samples), sample_counter(p, problem_number % p.samples), (uint32_t)q, z);
#pragma unroll
    for (int j = 0; j < 4; ++j)
      if (4 * q + j < p.n) p.y[problem_number * p.n + 4 * q + j] = z[j];
  }
}

unsigned blocks_of(int64_t work, int multiprocessors) { return blocks_for(work, 16, multiprocessors); }

}  // namespace

namespace {

template <wanted W>
const void* weighted_kernel(distribution d) {
  switch (d) {
    case distribution::normal: return (const void*)weighted_scores<distribution::normal, W>;
    case distribution::gumbel: return (const void*)weighted_scores<distribution::gumbel, W>;
    case distribution::logistic: return (const void*)weighted_scores<distribution::logistic, W>;
    default: break;
  }
  return (const void*)weighted_scores<distribution::laplace, W>;
}

}  // namespace

cudaError_t launch_weighted_scores(const problem& p, int multiprocessors, cudaStream_t stream) {
  const void* kernel = p.operation == PERTURB_OP_VJP_EPSILON ? weighted_kernel<wanted::slope>(p.noise)
                       : p.z_score                            ? (const void*)weighted_scores<distribution::given, wanted::score>
                                                              : weighted_kernel<wanted::score>(p.noise);
  const double work = (double)p.rows * (double)p.run * (double)((p.n + 3) / 4) / (8 * pass_threads) + 1.0;
  return launch(kernel, p, blocks_of(work < 1e9 ? (int64_t)work : 1000000000, multiprocessors), pass_threads, 0, stream);
}

cudaError_t launch_chains(const problem& p, int multiprocessors, cudaStream_t stream) {
  return launch((const void*)chains, p, blocks_of(p.rows * ((p.run + pass_threads - 1) / pass_threads), multiprocessors), pass_threads, 0, stream);
}

cudaError_t launch_products(const problem& p, int multiprocessors, cudaStream_t stream) {
  const int64_t tiles = (p.n + tile_side - 1) / tile_side * ((p.m + tile_side - 1) / tile_side);
  return launch((const void*)products, p, blocks_of(p.rows * tiles, multiprocessors), pass_threads, 0, stream);
}

cudaError_t launch_noise_fill(const problem& p, float* z, int multiprocessors, cudaStream_t stream) {
  problem filled = p;
  filled.y = z;
  return launch((const void*)noise_fill, filled, blocks_of(p.rows * p.samples * ((p.n + 3) / 4) / pass_threads + 1, multiprocessors), pass_threads, 0, stream);
}

}  // namespace perturb::cuda
