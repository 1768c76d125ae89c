// Expected sorted values and their gradient: the fixed point of scores, deviations and cotangents, and the results made of their sums. Both
// backends call these functions, so that they agree to the bit.
//
// A number per sample has 60 bits and is summed in halves of 30, so that 2^32 samples fit 64 bits each. Scales depend on the row's inputs alone.
#pragma once

#include "math/scales.h"

namespace perturb {

constexpr int sorted_half_bits = 30;
constexpr int64_t sorted_low_mask = (INT64_C(1) << sorted_half_bits) - 1;

struct sorted_scales {
  int exponent;            // of scores, or of what a sample adds to the gradient
  int deviation_exponent;  // of scores less the unperturbed one at the same position, coarser: their squares are summed
};

static PERTURB_INLINE bool sorts(perturb_operation operation) { return operation == PERTURB_OP_SORTED_VALUES || operation == PERTURB_OP_SORTED_VALUES_VJP; }

// No score moves further than the deviation bound, so no sorted score does.
static PERTURB_INLINE sorted_scales make_sorted_scales(const row_bounds& row) {
  sorted_scales s;
  s.exponent = scale_exponent(row.score_bound, 2 * sorted_half_bits);
  const int deviation = scale_exponent(row.deviation_bound, sorted_half_bits);
  s.deviation_exponent = deviation < s.exponent ? deviation : s.exponent;
  return s;
}

// largest: of |g|. A sample adds g, times W with multiplicative noise.
template <class Isa>
PERTURB_INLINE sorted_scales make_sorted_vjp_scales(const row_bounds& row, distribution noise, bool multiplicative, double largest) {
  const double reach = row.epsilon_max * noise_high(noise);
  const double factor = multiplicative ? 1.001 * (double)exponential_function<scalar_lanes<Isa>>(reach > 88.0 ? 88.0f : (float)reach) : 1.0;
  return {scale_exponent(largest * factor, 2 * sorted_half_bits), 0};
}

// The product of two floats is exact in double.
static PERTURB_INLINE int64_t sorted_vjp_term(float g, float factor, double scale) { return to_fixed((double)g * (double)factor, scale); }

static PERTURB_INLINE int64_t sorted_deviation(int64_t score, int64_t centre, const sorted_scales& s) {
  return to_fixed((double)(score - centre), power_of_two(s.deviation_exponent - s.exponent));
}

// high, low: sums of the halves.
static PERTURB_INLINE int128 sorted_sum(int64_t high, int64_t low) { return ((int128)high << sorted_half_bits) + low; }
static PERTURB_INLINE float sorted_mean(int64_t high, int64_t low, int64_t samples, int exponent) {
  return finite_float((double)sorted_sum(high, low) / (double)samples * power_of_two(-exponent));
}

}  // namespace perturb
