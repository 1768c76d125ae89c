// One row of a call: its theta, its amplitudes, the perturbed score of an item, and the bounds that fixed-point scales need.
#pragma once

#include <cfloat>
#include <cmath>
#include <cstdint>

#include "backend.h"
#include "cpu/arena.h"
#include "math/fixed.h"

namespace perturb {

// theta + eps z, rounded once; eps carries the oracle's noise sign.
template <class V>
PERTURB_INLINE typename V::f32 additive_score(float theta, float epsilon, typename V::f32 z) {
  return V::fma(V::set1(epsilon), z, V::set1(theta));
}

// theta exp(eps z - eps^2/2), kept finite.
template <class V>
PERTURB_INLINE typename V::f32 multiplicative_score(float theta, float epsilon, typename V::f32 z) {
  const typename V::f32 score = V::mul(V::set1(theta), multiplicative_factor<V>(z, epsilon, -0.5f * (epsilon * epsilon)));
  return V::min(V::max(score, V::set1(-FLT_MAX)), V::set1(FLT_MAX));
}

template <class Isa>
struct row_view {
  using scalar = scalar_lanes<Isa>;

  const call& c;
  int64_t b = 0;      // row of this call
  uint32_t row = 0;   // row of the whole problem
  const float* theta = nullptr;
  float* epsilon = nullptr;  // eps_i, signed when additive; one entry, or n
  int64_t stride = 0;        // of epsilon: 0 or 1

  double epsilon_max = 0.0;             // of |eps_i|
  double theta_low = 0.0, theta_high = 0.0;
  double score_bound = 0.0;             // of |perturbed score|
  double deviation_bound = 0.0;         // of |perturbed score - score without noise|

  PERTURB_INLINE row_view(const call& call_, arena& a) : c(call_) {
    stride = c.epsilon_per_item ? 1 : 0;
    epsilon = a.take<float>(stride ? c.n() : 1);
  }

  PERTURB_INLINE bool counts(int64_t i) const { return !c.oracle->grid || c.oracle->grid->passable[i]; }
  PERTURB_INLINE float amplitude(int64_t i) const { return epsilon[i * stride]; }

  // Once per call: amplitudes do not depend on the row.
  PERTURB_NOINLINE void begin_call() {
    const float sign = c.multiplicative ? 1.0f : c.oracle->noise_sign();
    epsilon_max = 0.0;
    for (int64_t i = 0; i < (stride ? c.n() : 1); ++i) {
      const float e = stride ? c.epsilon * c.epsilon_per_item[i] : c.epsilon;
      epsilon[i] = sign * e;
      if (e > epsilon_max) epsilon_max = e;
    }
  }

  PERTURB_NOINLINE void begin(int64_t b_) {
    b = b_;
    row = (uint32_t)(c.first_row + b);
    theta = c.theta + b * c.n();
    theta_low = HUGE_VAL;
    theta_high = -HUGE_VAL;
    for (int64_t i = 0; i < c.n(); ++i) {
      if (!counts(i)) continue;
      if (theta[i] < theta_low) theta_low = theta[i];
      if (theta[i] > theta_high) theta_high = theta[i];
    }
    const double magnitude = -theta_low > theta_high ? -theta_low : theta_high;
    const int d = (int)c.noise;
    const double reach = epsilon_max * (noise_high[d] > -noise_low[d] ? noise_high[d] : -noise_low[d]);
    if (c.multiplicative) {
      const double factor = 1.001 * exponential_function<scalar>(reach > 88.0 ? 88.0f : (float)reach);
      score_bound = magnitude * factor > FLT_MAX ? FLT_MAX : magnitude * factor;
      deviation_bound = 2.0 * score_bound;
    } else {
      score_bound = magnitude + reach;
      deviation_bound = reach;
    }
    if (c.oracle->grid && score_bound < c.oracle->grid->cost_floor) score_bound = c.oracle->grid->cost_floor;
  }

  // The perturbed score of one item for one z: the same bits as the vector forms.
  PERTURB_INLINE float score(int64_t i, float z) const {
    return c.multiplicative ? multiplicative_score<scalar>(theta[i], amplitude(i), z) : additive_score<scalar>(theta[i], amplitude(i), z);
  }

  // Calls f(g) with g(V{}, i, z) -> score, the mode decided outside of f's loops.
  template <class F>
  PERTURB_INLINE void with_score(F&& f) const {
    const float* t = theta;
    const float* e = epsilon;
    const int64_t s = stride;
    if (c.multiplicative) {
      f([=](auto v, int64_t i, auto z) __attribute__((always_inline)) { return multiplicative_score<decltype(v)>(t[i], e[i * s], z); });
    } else if (s == 0) {
      const float e0 = e[0];
      f([=](auto v, int64_t i, auto z) __attribute__((always_inline)) { return additive_score<decltype(v)>(t[i], e0, z); });
    } else {
      f([=](auto v, int64_t i, auto z) __attribute__((always_inline)) { return additive_score<decltype(v)>(t[i], e[i], z); });
    }
  }
};

}  // namespace perturb
