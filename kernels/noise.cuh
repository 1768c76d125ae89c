// Noise and scores on the device: four items at a time from one Philox block in registers, or read where they are no function of its words.
//
// plain:  normal noise, added, one epsilon: what most calls are. Everything else, the unperturbed solve included, is decided at run time
// by the general source; decisions are the same for all threads.
#pragma once

#include "kernels/problem.h"
#include "math/score.h"

namespace perturb::cuda {

struct device_isa {};
using lane = scalar_lanes<device_isa>;

// The words of a sample by its number, mirrored where sampling is antithetic.
static __device__ __forceinline__ void words_of_sample(const problem& p, uint32_t row, uint32_t sample, uint32_t quad, uint32_t words[4]) {
  philox<lane>(p.keys, quad, 0u, sample_counter_of(p.antithetic, sample), row, words);
  if (p.antithetic) mirror_words<lane>(p.noise, mirror_mask<lane>(sample), words);
}

// Four items of noise or scores in memory; past the last item 0. row and sample are counters.
static __device__ __forceinline__ void read_quad(const problem& p, const float* from, uint32_t row, uint32_t sample, uint32_t quad, float values[4]) {
  asm volatile("" : "+r"(sample));  // the address is not made before it is known to be wanted: registers
  from += ((int64_t)(row - p.first_row) * p.z_samples + (sample - p.first_of_z)) * p.n;
#pragma unroll
  for (uint32_t j = 0; j < 4; ++j) values[j] = 4 * (int64_t)quad + j < p.n ? from[4 * (int64_t)quad + j] : 0.0f;
}

template <bool Plain>
struct noise_source {
  // z of items 4 quad .. 4 quad + 3; items past the last have some value too.
  static __device__ __forceinline__ void quad(const problem& p, uint32_t row, uint32_t sample, uint32_t quad, float z[4]) {
    if (!Plain && p.silent) {
      z[0] = z[1] = z[2] = z[3] = 0.0f;
      return;
    }
    if (!Plain && p.z) return read_quad(p, p.z, row, sample, quad, z);
    uint32_t words[4];
    if (Plain) {
      philox<lane>(p.keys, quad, 0u, sample, row, words);
    } else {
      words_of_sample(p, row, sample, quad, words);
    }
    if (Plain || p.noise == distribution::normal) {
      noise_of_words<lane, distribution::normal>(words, z);
    } else if (p.noise == distribution::gumbel) {
      noise_of_words<lane, distribution::gumbel>(words, z);
    } else if (p.noise == distribution::logistic) {
      noise_of_words<lane, distribution::logistic>(words, z);
    } else {
      noise_of_words<lane, distribution::laplace>(words, z);
    }
  }

  static __device__ __forceinline__ float at(const problem& p, uint32_t row, uint32_t sample, int64_t item) {
    float z[4];
    quad(p, row, sample, (uint32_t)(item >> 2), z);
    const int j = (int)(item & 3);
    return j == 0 ? z[0] : j == 1 ? z[1] : j == 2 ? z[2] : z[3];
  }

  // eps_i of a row by its counter, signed when additive.
  static __device__ __forceinline__ float amplitude(const problem& p, uint32_t row, int64_t item) {
    float e = p.epsilon;
    if (!Plain && p.epsilon_per_row) e *= p.epsilon_per_row[row - p.first_row];
    if (!Plain && p.epsilon_per_item) e *= p.epsilon_per_item[item];
    return p.multiplicative ? e : p.noise_sign * e;
  }

  static __device__ __forceinline__ float score(const problem& p, uint32_t row, float theta, int64_t item, float z) {
    if (Plain) return additive_score<lane>(theta, p.noise_sign * p.epsilon, z);
    const float e = amplitude(p, row, item);
    return p.multiplicative ? multiplicative_score<lane>(theta, e, z) : additive_score<lane>(theta, e, z);
  }
};

// S of four items, for any distribution.
static __device__ __forceinline__ void score_quad(const problem& p, uint32_t row, uint32_t sample, uint32_t quad, float s[4]) {
  if (p.z_score) return read_quad(p, p.z_score, row, sample, quad, s);
  uint32_t words[4];
  words_of_sample(p, row, sample, quad, words);
  if (p.noise == distribution::normal) {
    scores_of_words<lane, distribution::normal>(words, s);
  } else if (p.noise == distribution::gumbel) {
    scores_of_words<lane, distribution::gumbel>(words, s);
  } else if (p.noise == distribution::logistic) {
    scores_of_words<lane, distribution::logistic>(words, s);
  } else {
    scores_of_words<lane, distribution::laplace>(words, s);
  }
}

// The 32-bit counters of a row of the slice and of a sample of the call.
static __device__ __forceinline__ uint32_t row_counter(const problem& p, int64_t row) { return p.first_row + (uint32_t)row; }
static __device__ __forceinline__ uint32_t sample_counter(const problem& p, int64_t sample) { return p.first_sample + (uint32_t)sample; }

}  // namespace perturb::cuda
