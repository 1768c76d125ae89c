// Closed forms of perturbed optimizers, entry by entry: what a thread of either backend computes of a row.
//
// Doubles and + - * / alone, each rounded once, so that both backends give the same bits. Every sum has one order, and those that several threads
// share are cut into parts whose number is fixed. Measured relative errors: exponential 1.7e-16, log1p_unit and logarithm 3.3e-16, normal
// density 4.2e-16, normal tail 8.1e-16.
//
// Input that is not finite must not vanish in an exp(-infinity): x - x, which is 0 or NaN, is added to the sums.
#pragma once

#include <cstdint>
#include <cstring>

#include "math/scales.h"

namespace perturb {

// ---------------------------------------------------------------- functions

static PERTURB_INLINE double horner(double, double sum) { return sum; }
template <class... Rest>
PERTURB_INLINE double horner(double x, double sum, double next, Rest... rest) {
  return horner(x, sum * x + next, rest...);
}

static PERTURB_INLINE double double_of_bits(uint64_t bits) {
  double x;
  memcpy(&x, &bits, sizeof x);
  return x;
}
static PERTURB_INLINE uint64_t bits_of_double(double x) {
  uint64_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

constexpr double log2_high = 0x1.62e42feep-1, log2_low = 0x1.a39ef35793c76p-33;  // products of the first with exponents are exact

// exp(x) for x <= 0; 0 below -708. 2^k times Taylor's series of degree 13 on [-ln 2 / 2, ln 2 / 2].
static PERTURB_INLINE double exponential(double x) {
  if (!(x >= -708.0)) return x < -708.0 ? 0.0 : x;
  const int k = (int)(x * 0x1.71547652b82fep+0 - 0.5);
  const double r = (x - k * log2_high) - k * log2_low;
  const double p =
      horner(r, 0x1.6124613a86d09p-33, 0x1.1eed8eff8d898p-29, 0x1.ae64567f544e4p-26, 0x1.27e4fb7789f5cp-22, 0x1.71de3a556c734p-19, 0x1.a01a01a01a01ap-16,
             0x1.a01a01a01a01ap-13, 0x1.6c16c16c16c17p-10, 0x1.1111111111111p-7, 0x1.5555555555555p-5, 0x1.5555555555555p-3, 0.5, 1.0, 1.0);
  return p * double_of_bits((uint64_t)(1023 + k) << 52);
}

// 2 atanh(s) = log((1 + s) / (1 - s)) for |s| <= 1/3.
static PERTURB_INLINE double twice_atanh(double s) {
  const double s2 = s * s;
  const double p = horner(s2, 0x1.d41d41d41d41dp-6, 0x1.f07c1f07c1f08p-6, 0x1.0842108421084p-5, 0x1.1a7b9611a7b96p-5, 0x1.2f684bda12f68p-5,
                          0x1.47ae147ae147bp-5, 0x1.642c8590b2164p-5, 0x1.8618618618618p-5, 0x1.af286bca1af28p-5, 0x1.e1e1e1e1e1e1ep-5, 0x1.1111111111111p-4,
                          0x1.3b13b13b13b14p-4, 0x1.745d1745d1746p-4, 0x1.c71c71c71c71cp-4, 0x1.2492492492492p-3, 0x1.999999999999ap-3, 0x1.5555555555555p-2);
  return 2.0 * s + 2.0 * s * (s2 * p);
}

// log(1 + y), 0 <= y <= 1.
static PERTURB_INLINE double log1p_unit(double y) { return twice_atanh(y / (2.0 + y)); }

// log(x), x >= 1 and finite.
static PERTURB_INLINE double logarithm(double x) {
  if (!(x >= 1.0)) return x;  // NaN
  const uint64_t bits = bits_of_double(x);
  const int e = (int)(bits >> 52) - 1023;
  const double m = double_of_bits((bits & 0xfffffffffffffu) | 0x3ff0000000000000u);
  return e * log2_high + (e * log2_low + twice_atanh((m - 1.0) / (m + 1.0)));
}

// exp(-x^2/2) / sqrt(2 pi), with x^2 in two parts.
static PERTURB_INLINE double normal_density(double x) {
  if (!(magnitude(x) < 40.0)) return x - x;  // 0, or NaN
  const double head = double_of_bits(bits_of_double(x) & 0xfffffffff8000000u);
  return exponential(-0.5 * head * head) * exponential(-0.5 * magnitude((x - head) * (x + head))) * 0x1.9884533d43651p-2;
}

// P(Z > x) / density(x) for x >= 0: Mills' ratio times x + 4 is a polynomial in (x - 4) / (x + 4).
static PERTURB_INLINE double mills_ratio(double x) {
  const double t = (x - 4.0) / (x + 4.0);
  return horner(t, -0x1.4aaaba2ef263cp-32, -0x1.22e0dbb723c0fp-28, -0x1.94b3e4fc98a2bp-30, 0x1.59f5967c36434p-25, 0x1.803ba179e4c38p-25, -0x1.a816713378ba3p-23,
                -0x1.ae06eeda28ac4p-22, 0x1.6442fbfdbf950p-21, 0x1.58c5c2ab3ae68p-19, -0x1.a48321ba6e1e4p-20, -0x1.f20ec8ce0ecf6p-17, 0x1.e0d535d939044p-20,
                0x1.71801234b62e4p-14, -0x1.40e74b51dcc5bp-18, -0x1.2fb435c097a94p-11, 0x1.5e7b09dc4e955p-12, 0x1.0be6d67626502p-8, -0x1.1dcfea6b25491p-7,
                -0x1.35aa3c952a44cp-6, 0x1.360ce26013f9ep-3, -0x1.dec30ee679054p-2, 0x1.f0d9856bc3c18p-1, -0x1.8615d9b49165fp+0, 0x1.e4aa012912ddep+0) /
         (x + 4.0);
}
static PERTURB_INLINE double normal_tail(double x) { return x < 40.0 ? normal_density(x) * mills_ratio(x) : 0.0; }

constexpr double euler_gamma = 0x1.2788cfc6fb619p-1;

// ---------------------------------------------------------------- argmax with Gumbel noise

// Sums over a row are cut into this many parts: item i belongs to part i mod exact_parts.
constexpr int exact_parts = 128;

static PERTURB_INLINE double softmax_weight(float theta, double top, double epsilon) { return exponential(((double)theta - top) / epsilon); }

// Sums of weights, and of weights times the cotangent.
static PERTURB_INLINE void softmax_part(const float* theta, const float* cotangent, int64_t n, double top, double epsilon, int part, double& sum,
                                        double& product) {
  sum = product = 0.0;
  for (int64_t i = part; i < n; i += exact_parts) {
    const double x = theta[i], weight = softmax_weight(theta[i], top, epsilon);
    sum += weight + (x - x);
    if (!cotangent) continue;
    const double g = cotangent[i];
    product += weight * g + (g - g);
  }
}

// y of item i, or its gradient where there is a cotangent.
static PERTURB_INLINE float softmax_entry(const float* theta, const float* cotangent, int64_t i, double top, double epsilon, double sum, double product) {
  const double p = softmax_weight(theta[i], top, epsilon) / sum;
  return finite_float(cotangent ? p * ((double)cotangent[i] - product / sum) / epsilon : p);
}
static PERTURB_INLINE float softmax_value(double top, double epsilon, double sum) { return finite_float(top + epsilon * (logarithm(sum) + euler_gamma)); }

// ---------------------------------------------------------------- two perturbed scores, and ranks

struct pair_law {
  bool gumbel;
  double epsilon;

  PERTURB_INLINE double scaled(double d) const { return magnitude(d) / (gumbel ? epsilon : 0x1.6a09e667f3bcdp+0 * epsilon); }

  // P(s_i > s_j) where theta_i - theta_j = d.
  PERTURB_INLINE double win(double d) const {
    const double x = scaled(d);
    if (!gumbel) return d >= 0.0 ? 1.0 - normal_tail(x) : normal_tail(x);
    const double e = exponential(-x);
    return (d >= 0.0 ? 1.0 : e) / (1.0 + e);
  }
  // Its derivative in d, times epsilon.
  PERTURB_INLINE double density(double d) const {
    const double x = scaled(d);
    if (!gumbel) return normal_density(x) * 0x1.6a09e667f3bcdp-1;
    const double e = exponential(-x);
    return e / ((1.0 + e) * (1.0 + e));
  }
  PERTURB_INLINE double mean() const { return gumbel ? epsilon * euler_gamma : 0.0; }
  // E max(s_i, s_j) - max(theta_i, theta_j) - E eps Z.
  PERTURB_INLINE double excess(double d) const {
    const double x = scaled(d);
    if (gumbel) return epsilon * log1p_unit(exponential(-x));
    return x < 40.0 ? 0x1.6a09e667f3bcdp+0 * epsilon * (normal_density(x) * (1.0 - x * mills_ratio(x))) : 0.0;
  }
};

// y of item i.
static PERTURB_INLINE double rank_entry(const pair_law& law, bool descending, int32_t base, const float* theta, int64_t n, int64_t i) {
  const double own = theta[i];
  double sum = base + (own - own);
  for (int64_t j = 0; j < n; ++j) {
    const double d = own - (double)theta[j];
    if (j != i) sum += law.win(descending ? -d : d) + (d - d);
  }
  return sum;
}

static PERTURB_INLINE double rank_gradient(const pair_law& law, bool descending, const float* theta, const float* cotangent, int64_t n, int64_t i) {
  const double own = theta[i], g = cotangent[i];
  double sum = (own - own) + (g - g);
  for (int64_t j = 0; j < n; ++j) {
    const double d = own - (double)theta[j], lead = g - (double)cotangent[j];
    if (j != i) sum += law.density(d) * lead + ((d - d) + (lead - lead));
  }
  return (descending ? -sum : sum) / law.epsilon;
}

// The value is base sum s_i + sum over pairs of max(s_i, s_j) (min when descending); each item of a part brings the pairs with the items after it.
static PERTURB_INLINE double rank_value_part(const pair_law& law, bool descending, int32_t base, const float* theta, int64_t n, int part) {
  const double mean = law.mean();
  double sum = 0.0;
  for (int64_t i = part; i < n; i += exact_parts) {
    const double own = theta[i];
    sum += base * (own + mean) + (own - own);
    for (int64_t j = i + 1; j < n; ++j) {
      const double other = theta[j], d = own - other, excess = law.excess(d);
      sum += (descending ? (own < other ? own : other) - excess : larger(own, other) + excess) + mean + (d - d);
    }
  }
  return sum;
}

// ---------------------------------------------------------------- top-k with Gumbel noise: items drawn one by one, each with probability
// proportional to exp(theta / eps) among those that are left (Plackett-Luce). Items are numbered by descending theta, sets of items are masks.

constexpr int subset_parts = 8;  // sums over sets are cut by set mod subset_parts

static PERTURB_INLINE int items_in(uint32_t set) {
#if defined(__CUDA_ARCH__)
  return __popc(set);
#else
  return __builtin_popcount(set);
#endif
}
// The best item that is not in the set.
static PERTURB_INLINE int best_outside(uint32_t set) {
#if defined(__CUDA_ARCH__)
  return __ffs((int)~set) - 1;
#else
  return __builtin_ctz(~set);
#endif
}

struct drawing {
  int n, k;
  const double* ratio;      // [n, n]: exp((theta_j - theta_i) / eps), j >= i
  const double* cotangent;  // [n]
  double* reach;            // [2^n]: P(the first items drawn are this set); divided by rest() where more are to be drawn
  double* worth;            // [2^n]: E <g, y> given that

  PERTURB_INLINE double rest(uint32_t set) const {
    const int best = best_outside(set);
    double sum = 0.0;
    for (int j = best; j < n; ++j)
      if (!(set >> j & 1)) sum += ratio[best * n + j];
    return sum;
  }
  // From the sets that are one smaller.
  PERTURB_INLINE double reach_of(uint32_t set) const {
    double sum = set == 0 ? 1.0 : 0.0;
    for (int i = 0; i < n; ++i) {
      const uint32_t before = set & ~(1u << i);
      if (before != set) sum += reach[before] * ratio[best_outside(before) * n + i];
    }
    return items_in(set) == k ? sum : sum / rest(set);
  }
  // From the sets that are one larger.
  PERTURB_INLINE double worth_of(uint32_t set) const {
    const bool complete = items_in(set) == k;
    const int best = best_outside(set);
    double sum = 0.0;
    for (int i = 0; i < n; ++i) {
      const bool inside = set >> i & 1;
      if (complete && inside) sum += cotangent[i];
      if (!complete && !inside) sum += ratio[best * n + i] * worth[set | 1u << i];
    }
    return complete ? sum : sum / rest(set);
  }
  PERTURB_INLINE double inclusion_part(int i, int part) const {
    double sum = 0.0;
    for (uint32_t set = (uint32_t)part; set < 1u << n; set += subset_parts)
      if ((set >> i & 1) && items_in(set) == k) sum += reach[set];
    return sum;
  }
  // Of the derivative in theta_i, times epsilon.
  PERTURB_INLINE double gradient_part(int i, int part) const {
    double sum = 0.0;
    for (uint32_t set = (uint32_t)part; set < 1u << n; set += subset_parts)
      if (!(set >> i & 1) && items_in(set) < k) sum += reach[set] * ratio[best_outside(set) * n + i] * (worth[set | 1u << i] - worth[set]);
    return sum;
  }
};

// The number of item i by descending theta, the lowest index first among equals.
static PERTURB_INLINE int place_of(const float* theta, int n, int i) {
  int place = 0;
  for (int j = 0; j < n; ++j) place += theta[j] > theta[i] || (theta[j] == theta[i] && j < i);
  return place;
}

}  // namespace perturb
