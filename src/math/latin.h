// Latin hypercube samples, for any lane type: the words of M samples of an item fall into M equal strata, one in each. docs/noise.md is the
// specification.
//
// Sample m has the word floor((pi(m) 2^32 + w) / M), with w its iid word and pi a permutation of the M strata that belongs to the (row,
// item): uniform by itself, so that one sample has exactly the distribution of an iid one. pi: 16 rounds of swap-or-not (Hoang, Morris,
// Rogaway 2012), which works for every M, then a rotation that makes every pi(m) uniform. Scalar: words are made one at a time.
#pragma once

#include "math/noise.h"

namespace perturb {

constexpr uint32_t latin_stream = 1;  // of Philox
constexpr int latin_rounds = 16;

// The words that make an item's permutation.
struct latin_order {
  uint32_t words[4];
};

template <class V>
PERTURB_INLINE latin_order make_latin_order(const philox_keys& keys, uint32_t item, uint32_t row) {
  latin_order order;
  philox<V>(keys, item, latin_stream, 0u, row, order.words);
  return order;
}

// The finalizer of MurmurHash3.
static PERTURB_INLINE uint32_t latin_mix(uint32_t h) {
  h = (h ^ h >> 16) * 0x85EBCA6Bu;
  h = (h ^ h >> 13) * 0xC2B2AE35u;
  return h ^ h >> 16;
}

// floor(x count / 2^32). count may be 2^32 itself.
static PERTURB_INLINE uint64_t latin_fraction(uint32_t x, uint64_t count) { return count >> 32 ? x : (uint64_t)x * count >> 32; }

// pi(m), a permutation of [0, count); count <= 2^32.
static PERTURB_INLINE uint32_t latin_stratum(const latin_order& order, uint32_t m, uint64_t count) {
  uint64_t x = m;
  uint32_t state = order.words[0];
  for (int round = 0; round < latin_rounds; ++round) {
    state += order.words[2] | 1u;
    const uint32_t key = latin_mix(state);
    const uint64_t turn = latin_fraction(key, count), partner = turn >= x ? turn - x : turn + count - x;
    uint32_t h = ((uint32_t)(x > partner ? x : partner) ^ key) * 0x9E3779B1u;
    h = ((h ^ h >> 15) + order.words[3]) * 0x85EBCA77u;
    if (h >> 31) x = partner;
  }
  x += latin_fraction(order.words[1], count);
  return (uint32_t)(x >= count ? x - count : x);
}

static PERTURB_INLINE uint32_t latin_word(const latin_order& order, uint32_t m, uint64_t count, uint32_t word) {
  return (uint32_t)(((uint64_t)latin_stratum(order, m, count) << 32 | word) / count);
}

// z of a word by the inverse of the normal distribution function, odd under complementing the word: x P(L) with x = 2u - 1 and
// L = -2 log(1 - x^2). Box-Muller would use two words for a pair and keep no strata.
template <class V>
PERTURB_INLINE typename V::f32 inverse_normal(typename V::u32 word) {
  using f32 = typename V::f32;
  using u32 = typename V::u32;
  // As for Laplace noise: the tail's p = u / 2, in 31 bits.
  const u32 folded = V::min(word, complement<V>(word)), rest = V::bit_xor(folded, V::set1(0x7fffffffu));
  const f32 u = V::fma(V::from_signed(folded), V::set1(0x1p-31f), V::set1(0x1p-32f));
  const f32 x = V::fma(V::from_signed(rest), V::set1(0x1p-31f), V::set1(0x1p-32f));
  const f32 l = minus_two_log_uniform<V>(V::mul(u, V::sub(V::set1(2.0f), u)), V::mul(x, x));
  const f32 central = polynomial<V>(V::sub(l, V::set1(8.0f)), V::set1(-0x1.937f08p-46f), 0x1.1bf776p-41f, 0x1.68e4fcp-39f, -0x1.9c4566p-33f,
                                    0x1.1c6016p-29f, 0x1.72bfe2p-27f, -0x1.715ff4p-21f, 0x1.608e7p-17f, -0x1.2e4b88p-15f, -0x1.4ea15ep-9f,
                                    0x1.4ab15cp-3f, 0x1.507998p+1f);
  const f32 tail = polynomial<V>(V::sub(V::sqrt(V::max(l, V::set1(16.0f))), V::set1(5.25f)), V::set1(-0x1.172b6cp-16f), 0x1.90ba5ap-15f,
                                 -0x1.3151dap-14f, 0x1.9caa6ep-13f, -0x1.68d81cp-11f, 0x1.99ea16p-10f, 0x1.022e34p+0f, 0x1.414362p+2f);
  const f32 magnitude = V::mul(x, V::select(V::greater(l, V::set1(16.0f)), tail, central));
  return V::floats(V::bit_xor(V::bits(magnitude), V::bit_and(complement<V>(word), V::set1(0x80000000u))));
}

// Values or scores of four items from their four words.
template <class V, distribution D, bool Score>
PERTURB_INLINE void latin_values(const typename V::u32 w[4], typename V::f32 values[4]) {
  if constexpr (D == distribution::normal) {
    for (int j = 0; j < 4; ++j) values[j] = inverse_normal<V>(w[j]);
  } else if constexpr (Score) {
    scores_of_words<V, D>(w, values);
  } else {
    noise_of_words<V, D>(w, values);
  }
}

}  // namespace perturb
