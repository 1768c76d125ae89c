// The 16-lane instance of lanes.h: AVX-512 F, DQ, BW, VL. Included only by isa_avx512.cpp.
#pragma once

#include <immintrin.h>

#include "math/lanes.h"

namespace perturb::isa_avx512 {

struct tag {};

struct lanes {
  using isa = tag;
  static constexpr int count = 16;
  using f32 = __m512;
  using u32 = __m512i;
  using mask = __mmask16;
  // Even lanes stay where they are (vpmuludq ignores the high half), odd lanes are shifted down: no shuffles.
  struct wide {
    __m512i even, odd;
  };

  static PERTURB_INLINE f32 set1(float x) { return _mm512_set1_ps(x); }
  static PERTURB_INLINE u32 set1(uint32_t x) { return _mm512_set1_epi32((int)x); }
  static PERTURB_INLINE u32 iota() { return _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15); }
  static PERTURB_INLINE f32 load(const float* p) { return _mm512_loadu_ps(p); }
  static PERTURB_INLINE u32 load(const uint32_t* p) { return _mm512_loadu_si512(p); }
  static PERTURB_INLINE u32 load(const int32_t* p) { return _mm512_loadu_si512(p); }
  static PERTURB_INLINE void store(float* p, f32 x) { _mm512_storeu_ps(p, x); }
  static PERTURB_INLINE void store(uint32_t* p, u32 x) { _mm512_storeu_si512(p, x); }
  static PERTURB_INLINE void store(int32_t* p, u32 x) { _mm512_storeu_si512(p, x); }

  static PERTURB_INLINE f32 add(f32 a, f32 b) { return _mm512_add_ps(a, b); }
  static PERTURB_INLINE f32 sub(f32 a, f32 b) { return _mm512_sub_ps(a, b); }
  static PERTURB_INLINE f32 mul(f32 a, f32 b) { return _mm512_mul_ps(a, b); }
  static PERTURB_INLINE f32 fma(f32 a, f32 b, f32 c) { return _mm512_fmadd_ps(a, b, c); }
  static PERTURB_INLINE f32 sqrt(f32 a) { return _mm512_sqrt_ps(a); }
  static PERTURB_INLINE f32 min(f32 a, f32 b) { return _mm512_min_ps(a, b); }
  static PERTURB_INLINE f32 max(f32 a, f32 b) { return _mm512_max_ps(a, b); }
  static PERTURB_INLINE mask greater(f32 a, f32 b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }
  static PERTURB_INLINE f32 select(mask m, f32 a, f32 b) { return _mm512_mask_blend_ps(m, b, a); }
  static PERTURB_INLINE u32 bits(f32 a) { return _mm512_castps_si512(a); }
  static PERTURB_INLINE f32 floats(u32 a) { return _mm512_castsi512_ps(a); }
  static PERTURB_INLINE f32 from_signed(u32 a) { return _mm512_cvtepi32_ps(a); }
  static PERTURB_INLINE f32 from_unsigned(u32 a) { return _mm512_cvtepu32_ps(a); }
  static PERTURB_INLINE u32 round(f32 a) { return _mm512_cvtps_epi32(a); }

  static PERTURB_INLINE u32 add(u32 a, u32 b) { return _mm512_add_epi32(a, b); }
  static PERTURB_INLINE u32 sub(u32 a, u32 b) { return _mm512_sub_epi32(a, b); }
  static PERTURB_INLINE u32 bit_and(u32 a, u32 b) { return _mm512_and_si512(a, b); }
  static PERTURB_INLINE u32 bit_or(u32 a, u32 b) { return _mm512_or_si512(a, b); }
  static PERTURB_INLINE u32 bit_xor(u32 a, u32 b) { return _mm512_xor_si512(a, b); }
  template <int k>
  static PERTURB_INLINE u32 shift_left(u32 a) {
    return _mm512_slli_epi32(a, k);
  }
  template <int k>
  static PERTURB_INLINE u32 shift_right(u32 a) {
    return _mm512_srli_epi32(a, k);
  }
  template <int k>
  static PERTURB_INLINE u32 shift_right_signed(u32 a) {
    return _mm512_srai_epi32(a, k);
  }
  static PERTURB_INLINE u32 min(u32 a, u32 b) { return _mm512_min_epu32(a, b); }
  static PERTURB_INLINE u32 max(u32 a, u32 b) { return _mm512_max_epu32(a, b); }
  // Integer minima and maxima of 512 bits have one port, logic has two: the larger is what is left of a ^ b.
  static PERTURB_INLINE void compare_exchange(u32& low, u32& high) {
    const u32 smaller = min(low, high);
    high = _mm512_ternarylogic_epi32(high, low, smaller, 0x96);
    low = smaller;
  }
  static PERTURB_INLINE u32 min_signed(u32 a, u32 b) { return _mm512_min_epi32(a, b); }
  static PERTURB_INLINE u32 max_signed(u32 a, u32 b) { return _mm512_max_epi32(a, b); }
  static PERTURB_INLINE mask equal(u32 a, u32 b) { return _mm512_cmpeq_epi32_mask(a, b); }
  static PERTURB_INLINE mask less(u32 a, u32 b) { return _mm512_cmplt_epu32_mask(a, b); }
  static PERTURB_INLINE u32 select(mask m, u32 a, u32 b) { return _mm512_mask_blend_epi32(m, b, a); }
  static PERTURB_INLINE bool any(mask m) { return m != 0; }
  static PERTURB_INLINE unsigned bitmask(mask m) { return m; }
  static PERTURB_INLINE void zip(u32 a, u32 b, u32& low, u32& high) {
    const u32 first = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const u32 second = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    low = _mm512_permutex2var_epi32(a, first, b);
    high = _mm512_permutex2var_epi32(a, second, b);
  }
  static PERTURB_INLINE int64_t sum_signed(u32 a) {
    const __m512i low = _mm512_cvtepi32_epi64(_mm512_castsi512_si256(a));
    const __m512i high = _mm512_cvtepi32_epi64(_mm512_extracti64x4_epi64(a, 1));
    return _mm512_reduce_add_epi64(_mm512_add_epi64(low, high));
  }

  struct sum64 {
    __m512i low = _mm512_setzero_si512(), high = _mm512_setzero_si512();
  };
  static PERTURB_INLINE void add_fixed(sum64& sum, f32 x, double scale, u32 w) {
    const __m512d s = _mm512_set1_pd(scale);
    const __m512i low = _mm512_cvtpd_epi64(_mm512_mul_pd(_mm512_cvtps_pd(_mm512_castps512_ps256(x)), s));
    const __m512i high = _mm512_cvtpd_epi64(_mm512_mul_pd(_mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1)), s));
    sum.low = _mm512_add_epi64(sum.low, _mm512_mullo_epi64(low, _mm512_cvtepi32_epi64(_mm512_castsi512_si256(w))));
    sum.high = _mm512_add_epi64(sum.high, _mm512_mullo_epi64(high, _mm512_cvtepi32_epi64(_mm512_extracti32x8_epi32(w, 1))));
  }
  static PERTURB_INLINE void store(int64_t* p, const sum64& sum) {
    _mm512_storeu_si512(p, sum.low);
    _mm512_storeu_si512(p + 8, sum.high);
  }

  static PERTURB_INLINE wide widen(u32 a) { return {a, _mm512_srli_epi64(a, 32)}; }
  static PERTURB_INLINE wide widen1(uint32_t a) {
    const __m512i v = _mm512_set1_epi32((int)a);
    return {v, v};
  }
  static PERTURB_INLINE wide multiply(wide a, uint32_t b) {
    const __m512i v = _mm512_set1_epi64((long long)b);
    return {_mm512_mul_epu32(a.even, v), _mm512_mul_epu32(a.odd, v)};
  }
  // A shift and a shuffle: on most processors they have one port each, and not the same. What the shuffle leaves in the high halves nobody reads.
  static PERTURB_INLINE wide high(wide a) { return {_mm512_srli_epi64(a.even, 32), _mm512_shuffle_epi32(a.odd, (_MM_PERM_ENUM)0xF5)}; }
  static PERTURB_INLINE wide bit_xor(wide a, wide b) { return {_mm512_xor_si512(a.even, b.even), _mm512_xor_si512(a.odd, b.odd)}; }
  static PERTURB_INLINE wide bit_xor(wide a, wide b, uint32_t k) {
    const __m512i v = _mm512_set1_epi32((int)k);
    return {_mm512_ternarylogic_epi32(a.even, b.even, v, 0x96), _mm512_ternarylogic_epi32(a.odd, b.odd, v, 0x96)};
  }
  static PERTURB_INLINE u32 narrow(wide a) { return _mm512_mask_shuffle_epi32(a.even, 0xAAAA, a.odd, (_MM_PERM_ENUM)0xA0); }
};

}  // namespace perturb::isa_avx512
