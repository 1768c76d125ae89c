// The order of floats as the order of unsigned integers, -0 and +0 alike; and sorts of such keys with their items.
#pragma once

#include <cstdint>

#include "math/lanes.h"

namespace perturb {

// Monotone: a < b exactly if ordered(a) < ordered(b), for all floats but NaN.
template <class V>
PERTURB_INLINE typename V::u32 ordered(typename V::f32 x) {
  const typename V::u32 bits = V::bits(V::add(x, V::set1(0.0f)));  // -0 + 0 = +0
  return V::bit_xor(bits, V::bit_or(V::template shift_right_signed<31>(bits), V::set1(0x80000000u)));
}

// Sorts (score << 32 | item) ascending by score, stable: the items of equal scores keep their order. Scratch is as long as keys.
// Insertion below 32 keys, else least-significant-digit radix over the 32 score bits; digits that are all alike are skipped.
template <class Isa>
__attribute__((noinline)) void sort_keys(uint64_t* keys, uint64_t* scratch, int64_t count) {
  if (count <= 32) {
    for (int64_t i = 1; i < count; ++i) {
      const uint64_t key = keys[i];
      int64_t j = i;
      for (; j > 0 && keys[j - 1] >> 32 > key >> 32; --j) keys[j] = keys[j - 1];
      keys[j] = key;
    }
    return;
  }
  uint64_t *from = keys, *to = scratch;
  const int digit_bits = count < 4096 ? 8 : 11;
  uint32_t starts[1 << 11];
  for (int shift = 32; shift < 64; shift += digit_bits) {
    const uint32_t mask = (1u << digit_bits) - 1;
    for (uint32_t d = 0; d <= mask; ++d) starts[d] = 0;
    for (int64_t i = 0; i < count; ++i) ++starts[from[i] >> shift & mask];
    if (starts[from[0] >> shift & mask] == (uint32_t)count) continue;
    uint32_t sum = 0;
    for (uint32_t d = 0; d <= mask; ++d) {
      const uint32_t here = starts[d];
      starts[d] = sum;
      sum += here;
    }
    for (int64_t i = 0; i < count; ++i) to[starts[from[i] >> shift & mask]++] = from[i];
    uint64_t* const swap = from;
    from = to;
    to = swap;
  }
  if (from != keys)
    for (int64_t i = 0; i < count; ++i) keys[i] = from[i];
}

}  // namespace perturb
