// Sum-of-gamma noise (Niepert et al. 2021): z = (sum_{i=1..s} Gamma(1/k, scale k/i) - log s) / k, for any lane type. The factors k of the
// scale and 1/k cancel: z = sum_i X_i / i - log(s) / k with X_i of Gamma(1/k, scale 1). docs/noise.md is the specification.
//
// X = Y U^k with Y of Gamma(1 + 1/k) by Marsaglia and Tsang (2000): d v with v = (1 + c x)^3, x normal, accepted where
// log u < x^2/2 + d - d v + d log v; at least 95 in 100 are. A try has a Philox block of its own.
#pragma once

#include "math/noise.h"

namespace perturb {

constexpr int32_t sum_of_gamma_largest_k = 1 << 20, sum_of_gamma_most_terms = 1000;

constexpr int gamma_tries = 8;               // the last is taken as it is: 1 in 2^34
constexpr uint32_t gamma_first_stream = 16;  // of Philox; term i has gamma_tries of them
constexpr float sum_of_gamma_limit = 32.0f;  // noise_high(); the sum exceeds it with probability below 1e-13

static PERTURB_INLINE sum_of_gamma make_sum_of_gamma(int32_t k, int32_t terms) {
  struct isa {};
  using V = scalar_lanes<isa>;
  sum_of_gamma g;
  g.terms = terms;
  g.power = (float)k;
  g.centre = (1.0f + 1.0f / g.power) - 0x1.555556p-2f;
  g.slope = 1.0f / V::sqrt(9.0f * g.centre);
  uint32_t e;
  float f;
  split<V>((float)terms, e, f);
  g.offset = 0.5f * minus_two_log<V>(e, f) / g.power;
  return g;
}

// X of term i = 1, 2, ... of an item.
template <class V>
PERTURB_INLINE typename V::f32 gamma_term(const philox_keys& keys, const sum_of_gamma& g, uint32_t term, typename V::u32 item,
                                          typename V::u32 sample, typename V::u32 row) {
  using f32 = typename V::f32;
  using u32 = typename V::u32;
  const u32 all = V::set1(0xffffffffu);
  u32 open = all;  // lanes without an accepted try
  f32 v = V::set1(1.0f), factor = V::set1(1.0f);
  for (uint32_t attempt = 0; attempt < gamma_tries; ++attempt) {
    u32 words[4];
    f32 x, other;
    philox<V>(keys, item, V::set1(gamma_first_stream + (term - 1) * gamma_tries + attempt), sample, row, words);
    normal_pair<V>(words[0], words[1], x, other);
    const f32 t = V::max(V::fma(V::set1(g.slope), x, V::set1(1.0f)), V::set1(0x1p-40f));  // 2^-40 is never accepted
    const f32 cube = V::mul(V::mul(t, t), t);
    u32 e;
    f32 f;
    split<V>(cube, e, f);
    // -2 log u > 2 d (v - 1) - 2 d log v - x^2
    const f32 of_log = V::fma(V::set1(g.centre), minus_two_log<V>(e, f), V::sub(V::set1(0.0f), V::mul(x, x)));
    const f32 bound = V::fma(V::set1(2.0f * g.centre), V::sub(cube, V::set1(1.0f)), of_log);
    const f32 drawn = minus_two_log_uniform<V>(uniform<V>(words[2]), uniform<V>(complement<V>(words[2])));
    const auto undecided = V::equal(open, all);
    v = V::select(undecided, cube, v);
    if (attempt == 0) factor = exponential_function<V>(V::mul(V::set1(-g.power), exponential<V>(words[3])));  // U^k
    open = V::select(V::greater(drawn, bound), V::set1(0u), open);
    if (!V::any(V::equal(open, all))) break;
  }
  return V::mul(V::mul(V::set1(g.centre), v), factor);
}

template <class V>
PERTURB_INLINE typename V::f32 sum_of_gamma_noise(const philox_keys& keys, const sum_of_gamma& g, typename V::u32 item,
                                                  typename V::u32 sample, typename V::u32 row) {
  typename V::f32 z = V::set1(g.offset);
  for (int32_t i = 1; i <= g.terms; ++i) z = V::fma(gamma_term<V>(keys, g, (uint32_t)i, item, sample, row), V::set1(1.0f / (float)i), z);
  return V::min(z, V::set1(sum_of_gamma_limit));
}

}  // namespace perturb
