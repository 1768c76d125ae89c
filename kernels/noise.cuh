// Noise and scores on the device: four items at a time from one Philox block, in registers.
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

template <bool Plain>
struct noise_source {
  // z of items 4 quad .. 4 quad + 3; items past the last have some value too.
  static __device__ __forceinline__ void quad(const problem& p, uint32_t row, uint32_t sample, uint32_t quad, float z[4]) {
    if (!Plain && p.silent) {
      z[0] = z[1] = z[2] = z[3] = 0.0f;
      return;
    }
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

  // eps_i, signed when additive.
  static __device__ __forceinline__ float amplitude(const problem& p, int64_t item) {
    if (Plain || !p.epsilon_per_item) return p.multiplicative ? p.epsilon : p.noise_sign * p.epsilon;
    const float e = p.epsilon * p.epsilon_per_item[item];
    return p.multiplicative ? e : p.noise_sign * e;
  }

  static __device__ __forceinline__ float score(const problem& p, float theta, int64_t item, float z) {
    if (Plain) return additive_score<lane>(theta, p.noise_sign * p.epsilon, z);
    const float e = amplitude(p, item);
    return p.multiplicative ? multiplicative_score<lane>(theta, e, z) : additive_score<lane>(theta, e, z);
  }
};

// S of four items, for any distribution.
static __device__ __forceinline__ void score_quad(const problem& p, uint32_t row, uint32_t sample, uint32_t quad, float s[4]) {
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
