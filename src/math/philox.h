// Philox4x32-10 (Salmon et al. 2011) in cuRAND's layout, for any lane type.
//
// The words of (row, sample, item) are those of curand_init(seed, subsequence = row << 32 | sample, offset = stream << 34 | item):
// counter = {item / 4, stream, sample, row}, key = seed, word = item % 4. Nothing is kept between calls: a word depends on its
// indices alone, which is what makes shards, threads and backends agree.
#pragma once

#include <cstdint>

#include "math/lanes.h"

namespace perturb {

constexpr int philox_rounds = 10;
constexpr uint32_t philox_m0 = 0xD2511F53u, philox_m1 = 0xCD9E8D57u;

// The ten round keys of a seed: key + round * Weyl constant. Made once per call on the host.
struct philox_keys {
  uint32_t k0[philox_rounds], k1[philox_rounds];
};

static PERTURB_INLINE philox_keys make_philox_keys(uint64_t seed) {
  philox_keys keys;
  for (int r = 0; r < philox_rounds; ++r) {
    keys.k0[r] = (uint32_t)seed + (uint32_t)r * 0x9E3779B9u;
    keys.k1[r] = (uint32_t)(seed >> 32) + (uint32_t)r * 0xBB67AE85u;
  }
  return keys;
}

// A block: the four words that become the words of four items.
template <class V>
struct philox_block {
  typename V::wide c0, c1, c2, c3;
};

// Rounds first..9 of blocks side by side: a block's rounds wait for each other, several blocks' do not. Words of block b to words + 4 b.
template <class V, int first, int blocks>
PERTURB_INLINE void philox_finish(const philox_keys& keys, philox_block<V> (&block)[blocks], typename V::u32* words) {
PERTURB_UNROLL
  for (int r = first; r < philox_rounds; ++r) {
PERTURB_UNROLL
    for (int b = 0; b < blocks; ++b) {
      philox_block<V>& c = block[b];
      const typename V::wide p0 = V::multiply(c.c0, philox_m0), p1 = V::multiply(c.c2, philox_m1);
      c.c0 = V::bit_xor(V::high(p1), c.c1, keys.k0[r]);
      c.c2 = V::bit_xor(V::high(p0), c.c3, keys.k1[r]);
      c.c1 = p1;
      c.c3 = p0;
    }
  }
PERTURB_UNROLL
  for (int b = 0; b < blocks; ++b) {
    words[4 * b] = V::narrow(block[b].c0);
    words[4 * b + 1] = V::narrow(block[b].c1);
    words[4 * b + 2] = V::narrow(block[b].c2);
    words[4 * b + 3] = V::narrow(block[b].c3);
  }
}

// Any counter in any lane.
template <class V>
PERTURB_INLINE void philox(const philox_keys& keys, typename V::u32 c0, typename V::u32 c1, typename V::u32 c2, typename V::u32 c3,
                           typename V::u32 words[4]) {
  philox_block<V> block[1] = {{V::widen(c0), V::widen(c1), V::widen(c2), V::widen(c3)}};
  philox_finish<V, 0>(keys, block, words);
}

// Lane = sample: what the first two rounds owe to (row, sample) alone, made once per group of samples. With it a block of four
// items costs eight rounds, not ten: in rounds 0 and 1 every product has either the same value for all items or for all lanes.
template <class V>
struct philox_group {
  typename V::wide low_sample;    // low half of m1 * sample
  typename V::wide low_0, high_0; // halves of m0 * (round-0 word 0)
};

template <class V>
PERTURB_INLINE philox_group<V> make_philox_group(const philox_keys& keys, typename V::u32 sample, uint32_t stream) {
  philox_group<V> group;
  group.low_sample = V::multiply(V::widen(sample), philox_m1);
  const typename V::wide c0 = V::bit_xor(V::high(group.low_sample), V::widen1(stream), keys.k0[0]);
  group.low_0 = V::multiply(c0, philox_m0);
  group.high_0 = V::high(group.low_0);
  return group;
}

// Of `blocks` quads of items from `quad` on.
template <class V, int blocks>
PERTURB_INLINE void philox(const philox_keys& keys, const philox_group<V>& group, uint32_t row, uint32_t quad, typename V::u32 (&words)[4 * blocks]) {
  philox_block<V> block[blocks];
PERTURB_UNROLL
  for (int b = 0; b < blocks; ++b) {
    const uint64_t p0 = (uint64_t)philox_m0 * (quad + (uint32_t)b);
    const uint32_t c2 = (uint32_t)(p0 >> 32) ^ row ^ keys.k1[0];
    const uint64_t p1 = (uint64_t)philox_m1 * c2;
    block[b] = {V::bit_xor(group.low_sample, V::widen1((uint32_t)(p1 >> 32) ^ keys.k0[1])), V::widen1((uint32_t)p1),
                V::bit_xor(group.high_0, V::widen1((uint32_t)p0 ^ keys.k1[1])), group.low_0};
  }
  philox_finish<V, 2>(keys, block, words);
}

}  // namespace perturb
