// Expected sorted values: the mean over samples of the score at every position, its standard error, and its pathwise gradient.
//
// Words of the values: sums of the halves of the score at a position (math/sorted_values.h) [k] each; with a standard error also deviations
// from the unperturbed score at that position, and the halves of their squares [k] each.
// Words of the gradient: sums of the halves of the cotangent at an item's position, times W with multiplicative noise [n] each.
#pragma once

#include "cpu/engine.h"
#include "math/sorted_values.h"

namespace perturb {

// The halves of x to two words.
static PERTURB_INLINE void add_halves(int64_t x, int64_t* high, int64_t* low) {
  *high += x >> sorted_half_bits;
  *low += x & sorted_low_mask;
}

template <class Sampler>
struct sorted_values_estimator {
  static constexpr bool looks_up_noise = false;
  static PERTURB_INLINE int64_t words(const call& c) { return (c.output[1] ? 5 : 2) * c.oracle->k; }

  PERTURB_INLINE sorted_values_estimator(const call& c, arena& a) {
    if (c.output[1]) centre_ = a.take<int64_t>(c.oracle->k);
  }

  PERTURB_NOINLINE void begin_row(Sampler& sampler) {
    scales_ = make_sorted_scales(sampler.row().bounds);
    if (!sampler.problem().output[1]) return;
    const double scale = power_of_two(scales_.exponent);
    sampler.solve(0, true);
    sampler.template for_positions<true>(1, [&](int, int64_t position, int64_t, float score) { centre_[position] = to_fixed(score, scale); });
  }

  PERTURB_INLINE void accumulate(Sampler& sampler, int64_t first, int64_t last, partial_sum& sum) {
    const call& c = sampler.problem();
    const int64_t k = c.oracle->k;
    const bool want_error = c.output[1];
    const double scale = power_of_two(scales_.exponent);
    int64_t* words = sum.words;
    for (int64_t m = first; m < last; m += Sampler::lanes) {
      const int count = last - m < Sampler::lanes ? (int)(last - m) : Sampler::lanes;
      sampler.solve(m, false);
      sampler.template for_positions<true>(count, [&](int, int64_t position, int64_t, float score) {
        const int64_t fixed = to_fixed(score, scale);
        add_halves(fixed, words + position, words + k + position);
        if (!want_error) return;
        const int64_t deviation = sorted_deviation(fixed, centre_[position], scales_);
        words[2 * k + position] += deviation;
        add_halves(deviation * deviation, words + 3 * k + position, words + 4 * k + position);
      });
    }
  }

  PERTURB_NOINLINE void finish(Sampler& sampler, const partial_sum& sum) {
    const call& c = sampler.problem();
    const int64_t k = c.oracle->k;
    const int64_t* words = sum.words;
    for (int64_t j = 0; j < k; ++j) {
      c.output[0][sum.b * k + j] = sorted_mean(words[j], words[k + j], c.samples, scales_.exponent);
      if (!c.output[1]) continue;
      c.output[1][sum.b * k + j] = value_error(words[2 * k + j], sorted_sum(words[3 * k + j], words[4 * k + j]), c.samples, scales_.deviation_exponent);
    }
  }

 private:
  sorted_scales scales_ = {};
  int64_t* centre_ = nullptr;
};

template <class Sampler>
struct sorted_values_vjp_estimator {
  static constexpr bool looks_up_noise = false;
  static PERTURB_INLINE int64_t words(const call& c) { return 2 * c.n(); }

  PERTURB_INLINE sorted_values_vjp_estimator(const call&, arena&) {}

  PERTURB_NOINLINE void begin_row(Sampler& sampler) {
    const call& c = sampler.problem();
    cotangent_ = c.operand + sampler.row().b * c.oracle->k;
    double largest = 0.0;
    for (int64_t j = 0; j < c.oracle->k; ++j) largest = larger(largest, magnitude(cotangent_[j]));
    scales_ = make_sorted_vjp_scales<typename Sampler::isa>(sampler.row().bounds, c.noise, c.multiplicative, largest);
  }

  PERTURB_INLINE void accumulate(Sampler& sampler, int64_t first, int64_t last, partial_sum& sum) {
    const call& c = sampler.problem();
    const double scale = power_of_two(scales_.exponent);
    for (int64_t m = first; m < last; m += Sampler::lanes) {
      const int count = last - m < Sampler::lanes ? (int)(last - m) : Sampler::lanes;
      sampler.solve(m, false);
      sampler.template for_positions<false>(count, [&](int lane, int64_t position, int64_t item, float) {
        const float factor = c.multiplicative ? factor_of(sampler, lane, item) : 1.0f;
        add_halves(sorted_vjp_term(cotangent_[position], factor, scale), sum.words + item, sum.words + c.n() + item);
      });
    }
  }

  PERTURB_NOINLINE void finish(Sampler& sampler, const partial_sum& sum) {
    const call& c = sampler.problem();
    float* gradient = c.output[0] + sum.b * c.n();
    for (int64_t i = 0; i < c.n(); ++i) gradient[i] = sorted_mean(sum.words[i], sum.words[c.n() + i], c.samples, scales_.exponent);
  }

 private:
  // W of one item.
  static PERTURB_NOINLINE float factor_of(const Sampler& sampler, int lane, int64_t item) {
    const float e = sampler.row().amplitude(item);
    return multiplicative_factor<scalar_lanes<typename Sampler::isa>>(sampler.noise_at(lane, item), e, -0.5f * (e * e));
  }

  const float* cotangent_ = nullptr;
  sorted_scales scales_ = {};
};

}  // namespace perturb
