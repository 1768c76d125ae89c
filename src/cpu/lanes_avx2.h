// The 8-lane instance of lanes.h: AVX2 and FMA. Included only by isa_avx2.cpp.
#pragma once

#include <immintrin.h>

#include "math/lanes.h"

namespace perturb::isa_avx2 {

struct tag {};

struct lanes {
  using isa = tag;
  static constexpr int count = 8;
  using f32 = __m256;
  using u32 = __m256i;
  using mask = __m256i;  // all ones or all zeros per lane
  struct wide {
    __m256i even, odd;
  };

  static PERTURB_INLINE f32 set1(float x) { return _mm256_set1_ps(x); }
  static PERTURB_INLINE u32 set1(uint32_t x) { return _mm256_set1_epi32((int)x); }
  static PERTURB_INLINE u32 iota() { return _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7); }
  static PERTURB_INLINE f32 load(const float* p) { return _mm256_loadu_ps(p); }
  static PERTURB_INLINE u32 load(const uint32_t* p) { return _mm256_loadu_si256((const __m256i*)p); }
  static PERTURB_INLINE u32 load(const int32_t* p) { return _mm256_loadu_si256((const __m256i*)p); }
  static PERTURB_INLINE void store(float* p, f32 x) { _mm256_storeu_ps(p, x); }
  static PERTURB_INLINE void store(uint32_t* p, u32 x) { _mm256_storeu_si256((__m256i*)p, x); }
  static PERTURB_INLINE void store(int32_t* p, u32 x) { _mm256_storeu_si256((__m256i*)p, x); }

  static PERTURB_INLINE f32 add(f32 a, f32 b) { return _mm256_add_ps(a, b); }
  static PERTURB_INLINE f32 sub(f32 a, f32 b) { return _mm256_sub_ps(a, b); }
  static PERTURB_INLINE f32 mul(f32 a, f32 b) { return _mm256_mul_ps(a, b); }
  static PERTURB_INLINE f32 fma(f32 a, f32 b, f32 c) { return _mm256_fmadd_ps(a, b, c); }
  static PERTURB_INLINE f32 sqrt(f32 a) { return _mm256_sqrt_ps(a); }
  static PERTURB_INLINE f32 min(f32 a, f32 b) { return _mm256_min_ps(a, b); }
  static PERTURB_INLINE f32 max(f32 a, f32 b) { return _mm256_max_ps(a, b); }
  static PERTURB_INLINE mask greater(f32 a, f32 b) { return _mm256_castps_si256(_mm256_cmp_ps(a, b, _CMP_GT_OQ)); }
  static PERTURB_INLINE f32 select(mask m, f32 a, f32 b) { return _mm256_blendv_ps(b, a, _mm256_castsi256_ps(m)); }
  static PERTURB_INLINE u32 bits(f32 a) { return _mm256_castps_si256(a); }
  static PERTURB_INLINE f32 floats(u32 a) { return _mm256_castsi256_ps(a); }
  static PERTURB_INLINE f32 from_signed(u32 a) { return _mm256_cvtepi32_ps(a); }
  // AVX2 has no unsigned conversion: both halves are exact and the fma rounds once, hence equal to the direct conversion.
  static PERTURB_INLINE f32 from_unsigned(u32 a) {
    const f32 high = _mm256_cvtepi32_ps(_mm256_srli_epi32(a, 16));
    const f32 low = _mm256_cvtepi32_ps(_mm256_and_si256(a, _mm256_set1_epi32(0xffff)));
    return _mm256_fmadd_ps(high, _mm256_set1_ps(65536.0f), low);
  }
  static PERTURB_INLINE u32 round(f32 a) { return _mm256_cvtps_epi32(a); }

  static PERTURB_INLINE u32 add(u32 a, u32 b) { return _mm256_add_epi32(a, b); }
  static PERTURB_INLINE u32 sub(u32 a, u32 b) { return _mm256_sub_epi32(a, b); }
  static PERTURB_INLINE u32 bit_and(u32 a, u32 b) { return _mm256_and_si256(a, b); }
  static PERTURB_INLINE u32 bit_or(u32 a, u32 b) { return _mm256_or_si256(a, b); }
  static PERTURB_INLINE u32 bit_xor(u32 a, u32 b) { return _mm256_xor_si256(a, b); }
  template <int k>
  static PERTURB_INLINE u32 shift_left(u32 a) {
    return _mm256_slli_epi32(a, k);
  }
  template <int k>
  static PERTURB_INLINE u32 shift_right(u32 a) {
    return _mm256_srli_epi32(a, k);
  }
  template <int k>
  static PERTURB_INLINE u32 shift_right_signed(u32 a) {
    return _mm256_srai_epi32(a, k);
  }
  static PERTURB_INLINE u32 min(u32 a, u32 b) { return _mm256_min_epu32(a, b); }
  static PERTURB_INLINE u32 max(u32 a, u32 b) { return _mm256_max_epu32(a, b); }
  static PERTURB_INLINE void compare_exchange(u32& low, u32& high) {
    const u32 smaller = min(low, high);
    high = max(low, high);
    low = smaller;
  }
  static PERTURB_INLINE u32 min_signed(u32 a, u32 b) { return _mm256_min_epi32(a, b); }
  static PERTURB_INLINE u32 max_signed(u32 a, u32 b) { return _mm256_max_epi32(a, b); }
  static PERTURB_INLINE mask equal(u32 a, u32 b) { return _mm256_cmpeq_epi32(a, b); }
  static PERTURB_INLINE mask less(u32 a, u32 b) {
    const __m256i flip = _mm256_set1_epi32((int)0x80000000u);
    return _mm256_cmpgt_epi32(_mm256_xor_si256(b, flip), _mm256_xor_si256(a, flip));
  }
  // Both overloads of select take __m256i masks; the argument type tells them apart.
  static PERTURB_INLINE u32 select(mask m, u32 a, u32 b) { return _mm256_blendv_epi8(b, a, m); }
  static PERTURB_INLINE bool any(mask m) { return !_mm256_testz_si256(m, m); }
  static PERTURB_INLINE unsigned bitmask(mask m) { return (unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(m)); }
  static PERTURB_INLINE void zip(u32 a, u32 b, u32& low, u32& high) {
    const u32 outer = _mm256_unpacklo_epi32(a, b), inner = _mm256_unpackhi_epi32(a, b);
    low = _mm256_permute2x128_si256(outer, inner, 0x20);
    high = _mm256_permute2x128_si256(outer, inner, 0x31);
  }
  static PERTURB_INLINE int64_t sum_signed(u32 a) {
    const __m256i low = _mm256_cvtepi32_epi64(_mm256_castsi256_si128(a));
    const __m256i high = _mm256_cvtepi32_epi64(_mm256_extracti128_si256(a, 1));
    const __m256i four = _mm256_add_epi64(low, high);
    const __m128i two = _mm_add_epi64(_mm256_castsi256_si128(four), _mm256_extracti128_si256(four, 1));
    return _mm_cvtsi128_si64(two) + _mm_extract_epi64(two, 1);
  }

  // AVX2 has neither the conversion nor the product: lane by lane.
  struct sum64 {
    int64_t lanes[count] = {};
  };
  static PERTURB_INLINE void add_fixed(sum64& sum, f32 x, double scale, u32 w) {
    float xs[count];
    int32_t ws[count];
    store(xs, x);
    store(ws, w);
    for (int l = 0; l < count; ++l) sum.lanes[l] += (int64_t)ws[l] * (int64_t)__builtin_llrint((double)xs[l] * scale);
  }
  static PERTURB_INLINE void store(int64_t* p, const sum64& sum) {
    for (int l = 0; l < count; ++l) p[l] = sum.lanes[l];
  }

  static PERTURB_INLINE wide widen(u32 a) { return {a, _mm256_srli_epi64(a, 32)}; }
  static PERTURB_INLINE wide widen1(uint32_t a) {
    const __m256i v = _mm256_set1_epi32((int)a);
    return {v, v};
  }
  static PERTURB_INLINE wide multiply(wide a, uint32_t b) {
    const __m256i v = _mm256_set1_epi64x((long long)b);
    return {_mm256_mul_epu32(a.even, v), _mm256_mul_epu32(a.odd, v)};
  }
  static PERTURB_INLINE wide high(wide a) { return {_mm256_srli_epi64(a.even, 32), _mm256_srli_epi64(a.odd, 32)}; }
  static PERTURB_INLINE wide bit_xor(wide a, wide b) { return {_mm256_xor_si256(a.even, b.even), _mm256_xor_si256(a.odd, b.odd)}; }
  static PERTURB_INLINE wide bit_xor(wide a, wide b, uint32_t k) {
    const __m256i v = _mm256_set1_epi32((int)k);
    return {_mm256_xor_si256(_mm256_xor_si256(a.even, b.even), v), _mm256_xor_si256(_mm256_xor_si256(a.odd, b.odd), v)};
  }
  static PERTURB_INLINE u32 narrow(wide a) { return _mm256_blend_epi32(a.even, _mm256_slli_epi64(a.odd, 32), 0xAA); }
};

}  // namespace perturb::isa_avx2
