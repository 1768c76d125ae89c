// Candidates: pairs of items that can still change a solution, told by one Philox word before Box-Muller is spent on them.
//
// Two items share the radius r = sqrt(-2 log u) of Box-Muller, u the uniform of the pair's first word, and |z| <= r. Both scores are at most
// theta + |eps| r, of the pair's larger theta and |eps|. An oracle that has a score `cutoff` to beat (argmax its best, top-k its k-th best) need
// not see them unless r >= (cutoff - theta) / |eps| = q. log2(1 + f) >= f turns the bits of a float into a lower bound of its log2, so that
// r^2 <= 2 ln 2 (159 - bits(word) 2^-23). Every rounding errs towards keeping a pair: what is left out could never have been taken, and the bits
// of the result are those of looking at all items.
#pragma once

#include <cfloat>

#include "cpu/row.h"

namespace perturb {

// q is counted in units in which q^2 is in those of the bits of a float: sqrt(2^23 / (2 ln 2)), rounded down.
constexpr float candidate_scale = 2459.89f;
// The bits of 2^32, and a margin for roundings of r, q^2 and the bits: 0.0005 of an octave. test_candidates tries words.
constexpr float candidate_limit = 159.0f * 0x1p23f + 0x1p12f;

// Lanes in which a pair of first word `word` may have a radius of q / candidate_scale or more. q >= 0.
template <class V>
PERTURB_INLINE auto radius_reaches(typename V::u32 word, typename V::f32 q) {
  return V::greater(V::set1(candidate_limit), V::fma(q, q, V::from_signed(V::bits(V::from_unsigned(word)))));
}

// Of one row: q of each pair as a linear function of the cutoff.
template <class V>
class candidate_bounds {
 public:
  using isa = typename V::isa;

  // What a bound of a radius says something about.
  static PERTURB_INLINE bool apply(const call& c) {
    return c.noise == distribution::normal && !c.multiplicative && c.plain_words() && c.n() >= fewest_items + fewest_items_of_k * c.oracle->k;
  }

  PERTURB_INLINE candidate_bounds(const call& c, arena& a) {
    const int64_t pairs = (c.n() + 3) / 4 * 2;
    slope_ = a.take<float>(pairs);
    shift_ = a.take<float>(pairs);
  }

  PERTURB_NOINLINE void begin_row(const row_view<isa>& row) {
    const float* e = row.epsilon;
    if (row.stride) {
      bound(row, [=](int64_t i, int64_t j) { return larger(__builtin_fabsf(e[i]), __builtin_fabsf(e[j])); });
    } else {
      bound(row, [=](int64_t, int64_t) { return __builtin_fabsf(e[0]); });
    }
  }

  // Whether the pair of items item, item + 1 may reach any lane's cutoff.
  PERTURB_INLINE bool may_reach(int64_t item, typename V::u32 word, typename V::f32 cutoff) const {
    const typename V::f32 q = V::max(V::fma(cutoff, V::set1(slope_[item >> 1]), V::set1(shift_[item >> 1])), V::set1(0.0f));
    return V::any(radius_reaches<V>(word, q));
  }

 private:
  // Below, too few items are left out to pay for asking: measured, AVX-512.
  static constexpr int64_t fewest_items = 192, fewest_items_of_k = 160;

  static PERTURB_INLINE float larger(float a, float b) { return a > b ? a : b; }

  // amplitude(i, j): the larger |eps| of two items.
  template <class Amplitude>
  PERTURB_INLINE void bound(const row_view<isa>& row, Amplitude&& amplitude) {
    const int64_t n = row.c.n(), pairs = n / 2;
    const float* theta = row.theta;
    const auto set = [amplitude, theta](int64_t i, int64_t j, float* slope, float* shift) __attribute__((always_inline)) {
      // Both err downwards, by more than their roundings, and so does q where it counts, above 0.
      const float s = candidate_scale * (1.0f - 0x1p-21f) / larger(amplitude(i, j), 1e-30f), product = s * larger(theta[i], theta[j]);
      const float down = -product - __builtin_fabsf(product) * 0x1p-21f;
      *slope = s;
      *shift = down < FLT_MAX ? down : FLT_MAX;
    };
    float *__restrict slope = slope_, *__restrict shift = shift_;
    for (int64_t p = 0; p < pairs; ++p) set(2 * p, 2 * p + 1, slope + p, shift + p);
    if (n % 2) set(n - 1, n - 1, slope + pairs, shift + pairs);
    for (int64_t p = (n + 1) / 2; p < (n + 3) / 4 * 2; ++p) slope[p] = shift[p] = 0.0f;
  }

  float* slope_;
  float* shift_;
};

}  // namespace perturb
