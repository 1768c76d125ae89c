// Noise that is no function of a value's own Philox words (Latin samples, sums of gammas), into memory: a pass before the engine's run,
// which reads it (noise.cuh). And a look at the noise that a caller gives.
#include "kernels/launch.h"
#include "kernels/noise.cuh"
#include "kernels/passes.h"
#include "math/latin.h"
#include "math/sum_of_gamma.h"

namespace perturb::cuda {
namespace {

constexpr int noise_threads = 128;

// The items of one quad of one of a run's samples. Calls f(row, sample, quad, at) with `at` where item 4 quad lies in [rows, z_samples, n].
template <class F>
__device__ __forceinline__ void for_quads(const problem& p, F&& f) {
  const int64_t quads = (p.n + 3) / 4, total = p.rows * p.run * quads;
  for (int64_t at = (int64_t)blockIdx.x * noise_threads + threadIdx.x; at < total; at += (int64_t)gridDim.x * noise_threads) {
    const int64_t q = at % quads, sample = at / quads % p.run, row = at / quads / p.run;
    f(row_counter(p, row), sample_counter(p, p.first_of_run + sample), (uint32_t)q, (row * p.z_samples + sample) * p.n + 4 * q);
  }
}

__device__ __forceinline__ void write_quad(const problem& p, float* to, uint32_t q, const float values[4]) {
#pragma unroll
  for (uint32_t j = 0; j < 4; ++j)
    if (4 * (int64_t)q + j < p.n) to[j] = values[j];
}

template <bool Score>
__device__ __forceinline__ void latin_quad(distribution d, const uint32_t words[4], float values[4]) {
  if (d == distribution::normal) {
    latin_values<lane, distribution::normal, Score>(words, values);
  } else if (d == distribution::gumbel) {
    latin_values<lane, distribution::gumbel, Score>(words, values);
  } else if (d == distribution::logistic) {
    latin_values<lane, distribution::logistic, Score>(words, values);
  } else {
    latin_values<lane, distribution::laplace, Score>(words, values);
  }
}

// score: null, or z itself where the two are the same.
__global__ void __launch_bounds__(noise_threads) latin_noise(const __grid_constant__ problem p, float* z, float* score) {
  for_quads(p, [&](uint32_t row, uint32_t sample, uint32_t q, int64_t at) {
    uint32_t words[4];
    float values[4];
    philox<lane>(p.keys, q, 0u, sample, row, words);
#pragma unroll
    for (uint32_t j = 0; j < 4; ++j)
      words[j] = latin_word(make_latin_order<lane>(p.keys, 4 * q + j, row), sample, (uint64_t)p.samples, words[j]);
    latin_quad<false>(p.noise, words, values);
    write_quad(p, z + at, q, values);
    if (!score || score == z) return;
    latin_quad<true>(p.noise, words, values);
    write_quad(p, score + at, q, values);
  });
}

__global__ void __launch_bounds__(noise_threads) gamma_noise(const __grid_constant__ problem p, float* z) {
  for_quads(p, [&](uint32_t row, uint32_t sample, uint32_t q, int64_t at) {
#pragma unroll 1
    for (uint32_t j = 0; j < 4 && 4 * (int64_t)q + j < p.n; ++j)
      z[at + j] = sum_of_gamma_noise<lane>(p.keys, p.gamma, 4 * q + j, sample, row);
  });
}

__global__ void __launch_bounds__(noise_threads) check_given(const __grid_constant__ problem p) {
  const int64_t of_row = p.samples * p.n, total = p.rows * of_row;
  for (int64_t at = (int64_t)blockIdx.x * noise_threads + threadIdx.x; at < total; at += (int64_t)gridDim.x * noise_threads)
    if (!(fabsf(p.z[at]) <= given_noise_limit) || (p.z_score && !(fabsf(p.z_score[at]) <= given_score_limit))) p.state[at / of_row].bad = 1;
}

unsigned blocks_of(int64_t work, int multiprocessors) {
  return blocks_for((work + noise_threads - 1) / noise_threads, 16, multiprocessors);
}

}  // namespace

cudaError_t launch_special_noise(const problem& p, int multiprocessors, cudaStream_t stream) {
  // The engine reads what only this pass writes.
  float *z = const_cast<float*>(p.z), *score = const_cast<float*>(p.z_score);
  void* arguments[] = {const_cast<problem*>(&p), &z, &score};
  const void* kernel = p.latin ? (const void*)latin_noise : (const void*)gamma_noise;
  return cudaLaunchKernel(kernel, dim3(blocks_of(p.rows * p.run * ((p.n + 3) / 4), multiprocessors)), dim3(noise_threads), arguments, 0,
                          stream);
}

cudaError_t launch_check_given(const problem& p, int multiprocessors, cudaStream_t stream) {
  return launch((const void*)check_given, p, blocks_of(p.rows * p.samples * p.n, multiprocessors), noise_threads, 0, stream);
}

}  // namespace perturb::cuda
