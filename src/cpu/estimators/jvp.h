// JVP and Jacobian: the forward estimators, sigma/D sum_m (y_m - b) <u/eps, S_m> and its matrix (Berthet et al. 2020, prop. 3.1).
//
// y is an integer, so both are exact integer sums once the noise scores are: <u/eps, S> is one fma chain over ascending items per
// sample and then fixed point of 52 bits, summed in halves of 26; S is fixed point of 22 fractional bits for the Jacobian.
// Leave-one-out centres y at the unperturbed solution before anything is divided: a y that never leaves it gives exactly 0.
#pragma once

#include "cpu/estimators/vjp.h"

namespace perturb {

// The unperturbed solution's coefficients, dense.
template <class Sampler>
PERTURB_INLINE void find_centre(Sampler& sampler, int64_t* centre) {
  sampler.solve(0, true);
  for (int64_t i = 0; i < sampler.problem().m(); ++i) centre[i] = 0;
  sampler.template for_each<false>(1, [&](int, int64_t item, int64_t coefficient, float) { centre[item] = coefficient; });
}

template <class Sampler>
struct jvp_estimator {
  using V = typename Sampler::V;
  static constexpr bool looks_up_noise = false;
  // counts [m], sums of y times the high and the low half of the chain [m] each
  static PERTURB_INLINE int64_t words(const call& c) { return 3 * c.m(); }

  PERTURB_INLINE jvp_estimator(const call& c, arena& a) {
    centre_ = a.take<int64_t>(c.m());
    direction_ = a.take<float>(c.n());
    scores_ = a.take<float>(item_block * Sampler::lanes);
  }

  PERTURB_NOINLINE void begin_row(Sampler& sampler) {
    const call& c = sampler.problem();
    const auto& row = sampler.row();
    const float* u = c.operand + row.b * c.n();
    double largest = 0.0;
    for (int64_t i = 0; i < c.n(); ++i) largest = larger(largest, magnitude((double)u[i] * inverse_amplitude(row.derivative_amplitude(i))));
    scales_.direction_exponent = scale_exponent(largest, 0);  // directions of at most 1, so that a tiny epsilon cannot overflow
    const double scale = power_of_two(scales_.direction_exponent), unit = magnitude_unit(1.0);
    int64_t total = 0;
    for (int64_t i = 0; i < c.n(); ++i) {
      direction_[i] = (float)((double)u[i] * inverse_amplitude(row.derivative_amplitude(i)) * scale);
      total += magnitude_term(direction_[i], unit);
    }
    scales_.chain_exponent = jvp_chain_exponent(c.noise, magnitude_sum(total, 1.0));
    find_centre(sampler, centre_);
  }

  PERTURB_INLINE void accumulate(Sampler& sampler, int64_t first, int64_t last, partial_sum& sum) {
    const call& c = sampler.problem();
    const double scale = power_of_two(scales_.chain_exponent);
    int64_t* counts = sum.words;
    int64_t* high = sum.words + c.m();
    int64_t* low = sum.words + 2 * c.m();
    for (int64_t m = first; m < last; m += Sampler::lanes) {
      const int count = last - m < Sampler::lanes ? (int)(last - m) : Sampler::lanes;
      sampler.solve(m, false);
      float chain[Sampler::lanes];
      V::store(chain, chain_of_group(sampler));
      int64_t chain_high[Sampler::lanes] = {}, chain_low[Sampler::lanes] = {};
      for (int l = 0; l < count; ++l) {
        const int64_t fixed = to_fixed(chain[l], scale);
        sum.sums[0] += fixed;
        chain_high[l] = fixed >> chain_half_bits;
        chain_low[l] = fixed & ((1 << chain_half_bits) - 1);
      }
      sampler.template for_each<false>(count, [&](int lane, int64_t item, int64_t coefficient, float) {
        counts[item] += coefficient;
        high[item] += coefficient * chain_high[lane];
        low[item] += coefficient * chain_low[lane];
      });
    }
  }

  PERTURB_NOINLINE void finish(Sampler& sampler, const partial_sum& sum) {
    const call& c = sampler.problem();
    float* derivative = c.output[0] + sum.b * c.m();
    for (int64_t i = 0; i < c.m(); ++i)
      derivative[i] = jvp_derivative(scales_, sum.words[i], sum.words[c.m() + i], sum.words[2 * c.m() + i], sum.sums[0], centre_[i], c.samples, c.baseline);
  }

 private:
  // <direction, S> of the group just solved: a chain of fma over ascending items.
  PERTURB_INLINE typename V::f32 chain_of_group(Sampler& sampler) {
    const int64_t n = sampler.problem().n();
    typename V::f32 chain = V::set1(0.0f);
    for (int64_t i0 = 0; i0 < n; i0 += item_block) {
      const int64_t count = n - i0 < item_block ? n - i0 : item_block;
      sampler.template fill<wanted::score>(i0, count, scores_);
      for (int64_t i = 0; i < count; ++i) chain = V::fma(V::set1(direction_[i0 + i]), V::load(scores_ + i * Sampler::lanes), chain);
    }
    return chain;
  }

  int64_t* centre_ = nullptr;
  float* direction_ = nullptr;
  float* scores_ = nullptr;
  jvp_scales scales_ = {};
};

template <class Sampler>
struct jacobian_estimator {
  static constexpr bool looks_up_noise = false;
  // counts [m], sums of S [n], sums of y S [m, n]
  static PERTURB_INLINE int64_t words(const call& c) { return c.m() + c.n() + c.m() * c.n(); }

  PERTURB_INLINE jacobian_estimator(const call& c, arena& a) {
    centre_ = a.take<int64_t>(c.m());
    scores_ = a.take<float>(item_block * Sampler::lanes);
    fixed_ = a.take<int32_t>(c.n() * Sampler::lanes);
  }

  PERTURB_NOINLINE void begin_row(Sampler& sampler) { find_centre(sampler, centre_); }

  PERTURB_INLINE void accumulate(Sampler& sampler, int64_t first, int64_t last, partial_sum& sum) {
    const call& c = sampler.problem();
    const int64_t n = c.n();
    int64_t* counts = sum.words;
    int64_t* scores = sum.words + c.m();
    int64_t* products = sum.words + c.m() + n;
    for (int64_t m = first; m < last; m += Sampler::lanes) {
      const int count = last - m < Sampler::lanes ? (int)(last - m) : Sampler::lanes;
      sampler.solve(m, false);
      for (int64_t i0 = 0; i0 < n; i0 += item_block) {
        const int64_t block = n - i0 < item_block ? n - i0 : item_block;
        sampler.template fill<wanted::score>(i0, block, scores_);
        for (int l = 0; l < count; ++l) {
          for (int64_t i = 0; i < block; ++i) {
            const int32_t s = (int32_t)to_fixed(scores_[i * Sampler::lanes + l], (double)(1 << jacobian_score_bits));
            fixed_[l * n + i0 + i] = s;
            scores[i0 + i] += s;
          }
        }
      }
      sampler.template for_each<false>(count, [&](int lane, int64_t item, int64_t coefficient, float) {
        counts[item] += coefficient;
        int64_t* row = products + item * n;
        const int32_t* s = fixed_ + lane * n;
        for (int64_t j = 0; j < n; ++j) row[j] += coefficient * s[j];
      });
    }
  }

  PERTURB_NOINLINE void finish(Sampler& sampler, const partial_sum& sum) {
    const call& c = sampler.problem();
    const int64_t n = c.n();
    float* jacobian = c.output[0] + sum.b * c.m() * n;
    for (int64_t i = 0; i < c.m(); ++i)
      for (int64_t j = 0; j < n; ++j)
        jacobian[i * n + j] = jacobian_entry(sum.words[i], sum.words[c.m() + j], sum.words[c.m() + n + i * n + j], centre_[i], c.samples, c.baseline,
                                             inverse_amplitude(sampler.row().derivative_amplitude(j)));
  }

 private:
  int64_t* centre_ = nullptr;
  float* scores_ = nullptr;
  int32_t* fixed_ = nullptr;
};

}  // namespace perturb
