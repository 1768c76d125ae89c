// JVP and Jacobian: the forward estimators, sigma/D sum_m (y_m - b) <u/eps, S_m> and its matrix (Berthet et al. 2020, prop. 3.1).
//
// y is an integer, so both are exact integer sums once the noise scores are: <u/eps, S> is one fma chain over ascending items per
// sample and then fixed point of 52 bits, summed in halves of 26; S is fixed point of 22 fractional bits for the Jacobian.
// Leave-one-out centres y at the unperturbed solution before anything is divided: a y that never leaves it gives exactly 0.
#pragma once

#include "cpu/estimators/vjp.h"

namespace perturb {

constexpr int jacobian_score_bits = 22;

// The unperturbed solution's coefficients, dense.
template <class Sampler>
PERTURB_INLINE void find_centre(Sampler& sampler, int64_t* centre) {
  sampler.solve(0, true);
  for (int64_t i = 0; i < sampler.problem().m(); ++i) centre[i] = 0;
  sampler.template for_each<false>(1, [&](int, int64_t item, int64_t coefficient, float) { centre[item] = coefficient; });
}

// The factor of S_m,i in a derivative with respect to theta_i: 1/eps_i, signed; 0 where theta_i does not matter.
template <class Row>
PERTURB_INLINE double inverse_amplitude(const Row& row, int64_t i) {
  const double amplitude = row.c.multiplicative ? (double)row.amplitude(i) * (double)row.theta[i] : (double)row.amplitude(i);
  return row.counts(i) && amplitude != 0.0 ? 1.0 / amplitude : 0.0;
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
    double largest = 0.0, bound = 0.0;
    for (int64_t i = 0; i < c.n(); ++i) {
      const double d = (double)u[i] * inverse_amplitude(row, i);
      if (d > largest) largest = d;
      if (-d > largest) largest = -d;
    }
    direction_exponent_ = scale_exponent(largest, 0);  // directions of at most 1, so that a tiny epsilon cannot overflow
    const double scale = power_of_two(direction_exponent_);
    for (int64_t i = 0; i < c.n(); ++i) {
      direction_[i] = (float)((double)u[i] * inverse_amplitude(row, i) * scale);
      bound += direction_[i] < 0 ? -(double)direction_[i] : (double)direction_[i];
    }
    const int d = (int)c.noise;
    chain_exponent_ = scale_exponent(bound * (double)(1 << score_bits[d]), 51);
    find_centre(sampler, centre_);
  }

  PERTURB_INLINE void accumulate(Sampler& sampler, int64_t first, int64_t last, partial_sum& sum) {
    const call& c = sampler.problem();
    const double scale = power_of_two(chain_exponent_);
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
        chain_high[l] = fixed >> 26;
        chain_low[l] = fixed & ((1 << 26) - 1);
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
    const double samples = (double)c.samples;
    const bool leave_one_out = c.leave_one_out && c.samples > 1;
    const double unit = power_of_two(-chain_exponent_ - direction_exponent_);
    float* derivative = c.output[0] + sum.b * c.m();
    for (int64_t i = 0; i < c.m(); ++i) {
      const int128 products = ((int128)sum.words[c.m() + i] << 26) + sum.words[2 * c.m() + i];
      const double centred = (double)(products - sum.sums[0] * centre_[i]);
      const double moved = (double)((int128)sum.words[i] - (int128)c.samples * centre_[i]);
      const double total = leave_one_out ? (centred - moved * ((double)sum.sums[0] / samples)) / (samples - 1.0) : (double)products / samples;
      derivative[i] = vjp_estimator<Sampler>::finite(total * unit);
    }
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
  int direction_exponent_ = 0, chain_exponent_ = 0;
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
    const double samples = (double)c.samples, unit = power_of_two(-jacobian_score_bits);
    const bool leave_one_out = c.leave_one_out && c.samples > 1;
    float* jacobian = c.output[0] + sum.b * c.m() * n;
    for (int64_t i = 0; i < c.m(); ++i) {
      const double moved = (double)((int128)sum.words[i] - (int128)c.samples * centre_[i]);
      for (int64_t j = 0; j < n; ++j) {
        const int64_t products = sum.words[c.m() + n + i * n + j], scores = sum.words[c.m() + j];
        const double centred = (double)((int128)products - (int128)scores * centre_[i]);
        const double total = leave_one_out ? (centred - moved * ((double)scores / samples)) / (samples - 1.0) : (double)products / samples;
        jacobian[i * n + j] = vjp_estimator<Sampler>::finite(total * unit * inverse_amplitude(sampler.row(), j));
      }
    }
  }

 private:
  int64_t* centre_ = nullptr;
  float* scores_ = nullptr;
  int32_t* fixed_ = nullptr;
};

}  // namespace perturb
