// The perturbed score of an item: what an oracle sees.
#pragma once

#include <cfloat>

#include "math/noise.h"

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

}  // namespace perturb
