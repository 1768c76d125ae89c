// Fixed point: how real numbers per sample become integers once, so that their sums are exact in any order.
//
// Scales are powers of two made from bounds that are known before any sample is drawn; they depend on the row's inputs alone,
// so shards and backends agree. docs/determinism.md lists every use.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "math/lanes.h"

namespace perturb {

__extension__ typedef __int128 int128;

// Exponent e of the largest scale 2^e with bound * 2^e <= 2^bits; at most 1000, also for bound 0.
static PERTURB_INLINE int scale_exponent(double bound, int bits) {
  if (!(bound > 0)) return 0;
  int e = 0;
  std::frexp(bound, &e);  // bound < 2^e
  return bits - e > 1000 ? 1000 : bits - e;
}

// Where 2^e is a normal number it is its exponent bits; the C library's function costs more than all else that ends a row's item.
static PERTURB_INLINE double power_of_two(int e) {
#if !defined(__CUDA_ARCH__)
  if (e > -1023 && e < 1024) {
    const uint64_t bits = (uint64_t)(e + 1023) << 52;
    double power;
    memcpy(&power, &bits, 8);
    return power;
  }
#endif
  return std::ldexp(1.0, e);
}

// Round to nearest, ties to even, of x * scale; |x * scale| < 2^63. The product is exact: scale is a power of two.
static PERTURB_INLINE int64_t to_fixed(double x, double scale) {
#if defined(__CUDA_ARCH__)
  return __double2ll_rn(x * scale);
#else
  return __builtin_llrint(x * scale);
#endif
}

}  // namespace perturb
