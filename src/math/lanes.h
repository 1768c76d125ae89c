// Lanes: the small set of vector operations that every kernel is written in, and their one-lane instance.
//
// A lane type V has V::count lanes and the types f32 (float), u32 (32 bits, also used for int32), mask, and wide (a 32-bit value
// in a 64-bit slot, for Philox's 32 x 32 -> 64 products). Every operation is IEEE correctly rounded or integer, so that a
// kernel gives the same bits with scalar_lanes, lanes_avx2.h, lanes_avx512.h and, one lane per thread, in CUDA.
// Contract: no operation is ever contracted or reassociated; fma() is fused everywhere.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__CUDACC__)
#define PERTURB_INLINE __host__ __device__ __forceinline__
#elif defined(PERTURB_SANITIZED)
#define PERTURB_INLINE inline  // instrumented code is too large to be inlined everywhere: compile time
#else
#define PERTURB_INLINE inline __attribute__((always_inline))
#endif
#if defined(__CUDA_ARCH__)
#define PERTURB_UNROLL _Pragma("unroll")
#elif defined(__CUDACC__)
#define PERTURB_UNROLL
#else
#define PERTURB_UNROLL _Pragma("GCC unroll 16")
#endif
// Code that is large and runs once per row or group is kept in one copy per instantiation.
#define PERTURB_NOINLINE __attribute__((noinline))

namespace perturb {

// Isa is a tag of the translation unit: instances compiled with other instruction-set flags must be other types, so that the
// linker can never merge their code.
template <class Isa>
struct scalar_lanes {
  static constexpr int count = 1;
  using isa = Isa;
  using f32 = float;
  using u32 = uint32_t;
  using mask = bool;
  using wide = uint64_t;

  static PERTURB_INLINE f32 set1(float x) { return x; }
  static PERTURB_INLINE u32 set1(uint32_t x) { return x; }
  static PERTURB_INLINE u32 iota() { return 0; }
  static PERTURB_INLINE f32 load(const float* p) { return *p; }
  static PERTURB_INLINE u32 load(const uint32_t* p) { return *p; }
  static PERTURB_INLINE u32 load(const int32_t* p) { return (uint32_t)*p; }
  static PERTURB_INLINE void store(float* p, f32 x) { *p = x; }
  static PERTURB_INLINE void store(uint32_t* p, u32 x) { *p = x; }
  static PERTURB_INLINE void store(int32_t* p, u32 x) { *p = (int32_t)x; }

  static PERTURB_INLINE f32 add(f32 a, f32 b) { return a + b; }
  static PERTURB_INLINE f32 sub(f32 a, f32 b) { return a - b; }
  static PERTURB_INLINE f32 mul(f32 a, f32 b) { return a * b; }
#if defined(__CUDA_ARCH__)
  static PERTURB_INLINE f32 fma(f32 a, f32 b, f32 c) { return __fmaf_rn(a, b, c); }
  // Markstein's: correctly rounded for every mantissa although rsqrt.approx is off by up to 2 ulp (test_cuda_noise tries them all), and
  // without the branch of __fsqrt_rn, around which quads could not be interleaved. 0 and denormals do not occur.
  static PERTURB_INLINE f32 sqrt(f32 a) {
    float y;
    asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(a));
    const float g0 = __fmul_rn(a, y), h0 = __fmul_rn(0.5f, y);
    const float r = __fmaf_rn(-g0, h0, 0.5f);
    const float g = __fmaf_rn(g0, r, g0), h = __fmaf_rn(h0, r, h0);
    return __fmaf_rn(__fmaf_rn(-g, g, a), h, g);
  }
  static PERTURB_INLINE u32 bits(f32 a) { return __float_as_uint(a); }
  static PERTURB_INLINE f32 floats(u32 a) { return __uint_as_float(a); }
  static PERTURB_INLINE u32 round(f32 a) { return (uint32_t)__float2int_rn(a); }
#else
  static PERTURB_INLINE f32 fma(f32 a, f32 b, f32 c) { return __builtin_fmaf(a, b, c); }
  static PERTURB_INLINE f32 sqrt(f32 a) { return __builtin_sqrtf(a); }
  static PERTURB_INLINE u32 bits(f32 a) {
    u32 r;
    memcpy(&r, &a, 4);
    return r;
  }
  static PERTURB_INLINE f32 floats(u32 a) {
    f32 r;
    memcpy(&r, &a, 4);
    return r;
  }
  static PERTURB_INLINE u32 round(f32 a) { return (uint32_t)(int32_t)__builtin_rintf(a); }  // |a| < 2^31
#endif
  static PERTURB_INLINE f32 min(f32 a, f32 b) { return a < b ? a : b; }
  static PERTURB_INLINE f32 max(f32 a, f32 b) { return a > b ? a : b; }
  static PERTURB_INLINE mask greater(f32 a, f32 b) { return a > b; }
  static PERTURB_INLINE f32 select(mask m, f32 a, f32 b) { return m ? a : b; }  // m ? a : b
  static PERTURB_INLINE f32 from_signed(u32 a) { return (float)(int32_t)a; }
  static PERTURB_INLINE f32 from_unsigned(u32 a) { return (float)a; }

  static PERTURB_INLINE u32 add(u32 a, u32 b) { return a + b; }
  static PERTURB_INLINE u32 sub(u32 a, u32 b) { return a - b; }
  static PERTURB_INLINE u32 bit_and(u32 a, u32 b) { return a & b; }
  static PERTURB_INLINE u32 bit_or(u32 a, u32 b) { return a | b; }
  static PERTURB_INLINE u32 bit_xor(u32 a, u32 b) { return a ^ b; }
  template <int k>
  static PERTURB_INLINE u32 shift_left(u32 a) {
    return a << k;
  }
  template <int k>
  static PERTURB_INLINE u32 shift_right(u32 a) {
    return a >> k;
  }
  template <int k>
  static PERTURB_INLINE u32 shift_right_signed(u32 a) {
    return (uint32_t)((int32_t)a >> k);
  }
  static PERTURB_INLINE u32 min(u32 a, u32 b) { return a < b ? a : b; }
  static PERTURB_INLINE u32 max(u32 a, u32 b) { return a > b ? a : b; }
  static PERTURB_INLINE void compare_exchange(u32& low, u32& high) {
    const u32 smaller = min(low, high);
    high = max(low, high);
    low = smaller;
  }
  static PERTURB_INLINE u32 min_signed(u32 a, u32 b) { return (int32_t)a < (int32_t)b ? a : b; }
  static PERTURB_INLINE u32 max_signed(u32 a, u32 b) { return (int32_t)a > (int32_t)b ? a : b; }
  static PERTURB_INLINE mask equal(u32 a, u32 b) { return a == b; }
  static PERTURB_INLINE mask less(u32 a, u32 b) { return a < b; }
  static PERTURB_INLINE u32 select(mask m, u32 a, u32 b) { return m ? a : b; }
  static PERTURB_INLINE bool any(mask m) { return m; }
  static PERTURB_INLINE unsigned bitmask(mask m) { return m ? 1u : 0u; }
  static PERTURB_INLINE int64_t sum_signed(u32 a) { return (int32_t)a; }  // over lanes
  // Lanes of both in turn: low = a0 b0 a1 b1 ..., high = what follows.
  static PERTURB_INLINE void zip(u32 a, u32 b, u32& low, u32& high) { low = a, high = b; }

  // Per lane, 64-bit sums of an integer times a real rounded to fixed point: sum += w * round(x * scale), |x * scale| < 2^63.
  struct sum64 {
    int64_t lane = 0;
  };
  static PERTURB_INLINE void add_fixed(sum64& sum, f32 x, double scale, u32 w) {
    sum.lane += (int64_t)(int32_t)w * (int64_t)__builtin_llrint((double)x * scale);
  }
  static PERTURB_INLINE void store(int64_t* p, const sum64& sum) { *p = sum.lane; }

  static PERTURB_INLINE wide widen(u32 a) { return a; }
  static PERTURB_INLINE wide widen1(uint32_t a) { return a; }
#if defined(__CUDA_ARCH__)
  // As instructions: of the C++ below ptxas makes an addition of zero for every half.
  static PERTURB_INLINE wide multiply(wide a, uint32_t b) {
    wide product;
    asm("mul.wide.u32 %0, %1, %2;" : "=l"(product) : "r"((uint32_t)a), "r"(b));
    return product;
  }
  static PERTURB_INLINE wide high(wide a) {
    uint32_t low_half, high_half;
    asm("mov.b64 {%0, %1}, %2;" : "=r"(low_half), "=r"(high_half) : "l"(a));
    return high_half;
  }
#else
  static PERTURB_INLINE wide multiply(wide a, uint32_t b) { return (uint64_t)(uint32_t)a * b; }  // low 32 bits of a
  static PERTURB_INLINE wide high(wide a) { return a >> 32; }
#endif
  static PERTURB_INLINE wide bit_xor(wide a, wide b) { return a ^ b; }  // the high half of a wide is ignored by its users
  static PERTURB_INLINE wide bit_xor(wide a, wide b, uint32_t k) { return a ^ b ^ k; }
  static PERTURB_INLINE u32 narrow(wide a) { return (uint32_t)a; }
};

}  // namespace perturb
