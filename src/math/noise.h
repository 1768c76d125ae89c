// Noise, version 1: from Philox words to Z and to its score S, for any lane type (docs/noise.md is the specification).
//
// Only fma, add, multiply, correctly rounded square root, conversions and integer operations are used, so that every backend
// gives the same bits. Errors against the exact functions (float arithmetic included): normal 1.06e-6, Gumbel 1.05e-6 absolute.
// No denormal and no infinity occurs for any word.
#pragma once

#include "math/lanes.h"
#include "math/philox.h"

namespace perturb {

// sum_of_gamma: math/sum_of_gamma.h; given: the caller's arrays. These two have no transform of a word here.
enum class distribution : int { normal = 0, gumbel = 1, logistic = 2, laplace = 3, sum_of_gamma = 4, given = 5 };

// What given noise and its scores may be at most, in magnitude.
constexpr float given_noise_limit = 64.0f, given_score_limit = 32.0f;

// Bounds of z and the power of two that |S| does not exceed: what fixed-point scales are made from before any sample is drawn.
// Functions, not tables: device code reads no host arrays.
static PERTURB_INLINE double noise_high(distribution d) {
  return d == distribution::normal         ? 6.77
         : d == distribution::laplace      ? 22.19
         : d == distribution::sum_of_gamma ? 32.0
         : d == distribution::given        ? (double)given_noise_limit
                                           : 22.88;
}
static PERTURB_INLINE double noise_low(distribution d) { return d == distribution::gumbel ? -3.14 : d == distribution::sum_of_gamma ? -7.0 : -noise_high(d); }
static PERTURB_INLINE int score_bits(distribution d) { return d == distribution::normal ? 3 : d == distribution::gumbel || d == distribution::given ? 5 : 1; }

// The numbers of sum-of-gamma noise (math/sum_of_gamma.h).
struct sum_of_gamma {
  int32_t terms;
  float power;     // k
  float centre;    // d = 1 + 1/k - 1/3
  float slope;     // c = 1 / sqrt(9 d)
  float offset;    // -log(terms) / k
};

// What is wanted of the noise: Z, its score S, or T = S Z - 1, the derivative of the log density in the amplitude, times the amplitude.
enum class wanted { noise, score, slope };

// The power of two above |S|, or |T|: T is at most 45 (normal), 68 (Gumbel) and 22.
static PERTURB_INLINE int factor_bits(wanted w, distribution d) {
  return w == wanted::score ? score_bits(d) : d == distribution::normal ? 6 : d == distribution::gumbel ? 7 : 5;
}

// Horner by fma, highest coefficient first.
template <class V>
PERTURB_INLINE typename V::f32 polynomial(typename V::f32 x, typename V::f32 sum) {
  (void)x;
  return sum;
}
template <class V, class... Rest>
PERTURB_INLINE typename V::f32 polynomial(typename V::f32 x, typename V::f32 sum, float next, Rest... rest) {
  return polynomial<V>(x, V::fma(sum, x, V::set1(next)), rest...);
}

// The uniform of a word: (word + 1/2) 2^-32, rounded to float, in (0, 1].
template <class V>
PERTURB_INLINE typename V::f32 uniform(typename V::u32 word) {
  return V::fma(V::from_unsigned(word), V::set1(0x1p-32f), V::set1(0x1p-33f));
}

// u = 2^(e >> 23) (1 + f) with f in [sqrt(1/2) - 1, sqrt(2) - 1]; e keeps its place in the exponent field.
template <class V>
PERTURB_INLINE void split(typename V::f32 u, typename V::u32& e, typename V::f32& f) {
  const typename V::u32 i = V::bits(u);
  e = V::bit_and(V::sub(i, V::set1(0x3f3504f3u)), V::set1(0xff800000u));
  f = V::sub(V::floats(V::sub(i, e)), V::set1(1.0f));
}

// scale * log(u) where u = 1 - v is split as (e, f); scale is folded into the coefficients (-2 or 1). Where e = 0 the caller's v
// replaces f: 1 - u is then known to full relative accuracy however close u is to 1.
template <class V>
PERTURB_INLINE typename V::f32 minus_two_log(typename V::u32 e, typename V::f32 f) {
  const typename V::f32 q = polynomial<V>(f, V::set1(-0x1.665dccp-3f), 0x1.255856p-2f, -0x1.318864p-2f, 0x1.534d96p-2f, -0x1.98d11ap-2f,
                                          0x1.000514p-1f, -0x1.5556fcp-1f, 0x1.fffff8p-1f, -0x1p1f);
  return V::fma(V::from_signed(e), V::set1(-0x1.62e43p-23f), V::mul(f, q));  // -2 ln 2 2^-23 = -0x1.62e43p-23
}


// -2 log(u), u the uniform given with its complement v = 1 - u.
template <class V>
PERTURB_INLINE typename V::f32 minus_two_log_uniform(typename V::f32 u, typename V::f32 v) {
  typename V::u32 e;
  typename V::f32 f;
  split<V>(u, e, f);
  f = V::select(V::equal(e, V::set1(0u)), V::sub(V::set1(0.0f), v), f);
  return minus_two_log<V>(e, f);
}

template <class V>
PERTURB_INLINE typename V::u32 complement(typename V::u32 word) {
  return V::bit_xor(word, V::set1(0xffffffffu));
}

// E = -log u of a word: the exponential behind Gumbel noise. In [2^-33, 22.88].
template <class V>
PERTURB_INLINE typename V::f32 exponential(typename V::u32 word) {
  return V::mul(V::set1(0.5f), minus_two_log_uniform<V>(uniform<V>(word), uniform<V>(complement<V>(word))));
}

// Two normals of two words, Box-Muller: r sin a, r cos a with r^2 = -2 log u(w0) and a = 2 pi (w1 + 1/2) 2^-32.
template <class V>
PERTURB_INLINE void normal_pair(typename V::u32 w0, typename V::u32 w1, typename V::f32& z0, typename V::f32& z1) {
  using f32 = typename V::f32;
  using u32 = typename V::u32;
  const f32 r = V::sqrt(minus_two_log_uniform<V>(uniform<V>(w0), uniform<V>(complement<V>(w0))));
  // a = q pi/2 + pi t with |t| <= 1/4
  const u32 shifted = V::add(w1, V::set1(0x20000000u));
  const f32 t = V::fma(V::from_signed(V::sub(V::bit_and(shifted, V::set1(0x3fffffffu)), V::set1(0x20000000u))), V::set1(0x1p-31f), V::set1(0x1p-32f));
  const f32 t2 = V::mul(t, t);
  const f32 sine = V::mul(t, polynomial<V>(t2, V::set1(-0x1.2f5992p-1f), 0x1.466b2p1f, -0x1.4abbecp2f, 0x1.921fb6p1f));
  const f32 cosine = polynomial<V>(t2, V::set1(-0x1.4ea1aep0f), 0x1.03b132p2f, -0x1.3bd3ap2f, 1.0f);
  const auto odd = V::equal(V::bit_and(shifted, V::set1(0x40000000u)), V::set1(0u));  // true: q even, no swap
  const f32 s = V::select(odd, sine, cosine), c = V::select(odd, cosine, sine);
  // sin is negative for q = 2, 3: bit 31 of shifted. cos for q = 1, 2: bit 31 of shifted + 2^30.
  const u32 sign = V::set1(0x80000000u);
  const u32 sine_sign = V::bit_and(shifted, sign);
  const u32 cosine_sign = V::bit_and(V::add(shifted, V::set1(0x40000000u)), sign);
  z0 = V::mul(r, V::floats(V::bit_xor(V::bits(s), sine_sign)));
  z1 = V::mul(r, V::floats(V::bit_xor(V::bits(c), cosine_sign)));
}

// z = -log E, S = 1 - E. E < 23, and f = E - 1 is exact near 1, so no complement is needed.
template <class V>
PERTURB_INLINE typename V::f32 gumbel(typename V::u32 word) {
  typename V::u32 e;
  typename V::f32 f;
  split<V>(exponential<V>(word), e, f);
  return V::mul(V::set1(0.5f), minus_two_log<V>(e, f));
}
template <class V>
PERTURB_INLINE typename V::f32 gumbel_score(typename V::u32 word) {
  return V::sub(V::set1(1.0f), exponential<V>(word));
}

// z = log u - log(1 - u), S = 2u - 1, both odd under complementing the word.
template <class V>
PERTURB_INLINE typename V::f32 logistic(typename V::u32 word) {
  return V::sub(exponential<V>(complement<V>(word)), exponential<V>(word));
}
template <class V>
PERTURB_INLINE typename V::f32 logistic_score(typename V::u32 word) {
  return V::sub(uniform<V>(word), uniform<V>(complement<V>(word)));
}

// The low half of the words is the negative half: z = log 2u for u < 1/2, else -log 2(1 - u). S = sign z.
template <class V>
PERTURB_INLINE typename V::f32 laplace(typename V::u32 word) {
  const typename V::u32 folded = V::min(word, complement<V>(word));  // 31 bits
  const typename V::u32 rest = V::bit_xor(folded, V::set1(0x7fffffffu));
  const typename V::f32 u = V::fma(V::from_signed(folded), V::set1(0x1p-31f), V::set1(0x1p-32f));
  const typename V::f32 v = V::fma(V::from_signed(rest), V::set1(0x1p-31f), V::set1(0x1p-32f));
  const typename V::f32 magnitude = V::mul(V::set1(0.5f), minus_two_log_uniform<V>(u, v));
  return V::floats(V::bit_xor(V::bits(magnitude), V::bit_and(complement<V>(word), V::set1(0x80000000u))));
}
template <class V>
PERTURB_INLINE typename V::f32 laplace_score(typename V::u32 word) {
  return V::floats(V::bit_or(V::set1(0x3f800000u), V::bit_and(complement<V>(word), V::set1(0x80000000u))));
}

// Four items' noise from their four words.
template <class V, distribution D>
PERTURB_INLINE void noise_of_words(const typename V::u32 w[4], typename V::f32 z[4]) {
  if constexpr (D == distribution::normal) {
    normal_pair<V>(w[0], w[1], z[0], z[1]);
    normal_pair<V>(w[2], w[3], z[2], z[3]);
  } else {
    for (int j = 0; j < 4; ++j) z[j] = D == distribution::gumbel ? gumbel<V>(w[j]) : D == distribution::logistic ? logistic<V>(w[j]) : laplace<V>(w[j]);
  }
}

// Four items' scores S from their four words.
template <class V, distribution D>
PERTURB_INLINE void scores_of_words(const typename V::u32 w[4], typename V::f32 s[4]) {
  if constexpr (D == distribution::normal) {
    noise_of_words<V, D>(w, s);
  } else {
    for (int j = 0; j < 4; ++j)
      s[j] = D == distribution::gumbel ? gumbel_score<V>(w[j]) : D == distribution::logistic ? logistic_score<V>(w[j]) : laplace_score<V>(w[j]);
  }
}

// Four items' values of one kind from their four words.
template <class V, distribution D, wanted W>
PERTURB_INLINE void values_of_words(const typename V::u32 words[4], typename V::f32 values[4]) {
  if constexpr (W == wanted::score) {
    scores_of_words<V, D>(words, values);
  } else {
    noise_of_words<V, D>(words, values);
  }
  if constexpr (W == wanted::slope) {
    typename V::f32 scores[4];
    scores_of_words<V, D>(words, scores);
    for (int j = 0; j < 4; ++j) values[j] = V::fma(scores[j], values[j], V::set1(-1.0f));
  }
}

// The words of the mirrored sample of an antithetic pair: u becomes 1 - u, which negates z but for Gumbel noise. Normal: the angle turns by
// pi. Exact, bit for bit.
template <class V>
PERTURB_INLINE void mirror_words(distribution d, typename V::u32 mask, typename V::u32 w[4]) {
  if (d == distribution::normal) {
    const typename V::u32 half_turn = V::bit_and(mask, V::set1(0x80000000u));
    w[1] = V::bit_xor(w[1], half_turn);
    w[3] = V::bit_xor(w[3], half_turn);
  } else {
    for (int j = 0; j < 4; ++j) w[j] = V::bit_xor(w[j], mask);
  }
}

// How samples become Philox counters. Antithetic: samples 2 j and 2 j + 1 have counter j, and the odd one mirrors its words.
static PERTURB_INLINE uint32_t sample_counter_of(bool antithetic, uint32_t sample) { return antithetic ? sample >> 1 : sample; }
template <class V>
PERTURB_INLINE typename V::u32 mirror_mask(typename V::u32 sample) {
  return V::sub(V::set1(0u), V::bit_and(sample, V::set1(1u)));
}

// exp(a) for a clamped to [-86, 88]: 2^k P(r), a = k ln 2 + r; relative error of P 3.2e-9 before rounding.
template <class V>
PERTURB_INLINE typename V::f32 exponential_function(typename V::f32 a) {
  using f32 = typename V::f32;
  a = V::min(V::max(a, V::set1(-86.0f)), V::set1(88.0f));
  const f32 shifted = V::fma(a, V::set1(0x1.715476p+0f), V::set1(0x1.8p23f));  // round to nearest integer in the low bits
  const f32 k = V::sub(shifted, V::set1(0x1.8p23f));
  f32 r = V::fma(k, V::set1(-0x1.62p-1f), a);
  r = V::fma(k, V::set1(-0x1.c85fep-10f), r);
  const f32 p = polynomial<V>(r, V::set1(0x1.6a4ce4p-10f), 0x1.123988p-7f, 0x1.5558bp-5f, 0x1.555492p-3f, 0x1.fffffcp-2f, 1.0f, 1.0f);
  return V::floats(V::add(V::bits(p), V::template shift_left<23>(V::bits(shifted))));
}

// W = exp(eps z - eps^2/2), the factor of multiplicative noise; half_square is -eps^2/2 rounded to float.
template <class V>
PERTURB_INLINE typename V::f32 multiplicative_factor(typename V::f32 z, float epsilon, float half_square) {
  return exponential_function<V>(V::fma(V::set1(epsilon), z, V::set1(half_square)));
}

}  // namespace perturb
