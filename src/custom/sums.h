// The arithmetic of sums over samples of numbers that may be any float: what a sample adds, how chunks are joined, what becomes of the
// sums. Both backends call these functions, in the same order (estimators.h), so that they agree to the bit.
//
// Sums that a mean is subtracted from are made of deviations from a centre, the chunk's first sample: what does not move adds exactly 0,
// and little is lost where y is far from 0. Joining moves a chunk's centre to that of the row: sum (x - a) = sum (x - b) + count (b - a).
#pragma once

#include <cmath>
#include <cstdint>

#include "math/scales.h"

namespace perturb {

// What is summed by itself before it is added to its row: 128 samples, counted from the call's first. Part of the result's bits.
constexpr int64_t chunk_samples = 128;

// <a, y>, items ascending.
static PERTURB_INLINE double inner_product(const float* a, const float* y, int64_t count) {
  double sum = 0.0;
  for (int64_t i = 0; i < count; ++i) sum += (double)a[i] * (double)y[i];
  return sum;
}

// ---------------------------------------------------------------- joining the chunk that follows, whose centre lies `step` above the row's

static PERTURB_INLINE void join_moved(double& moved, double next, double step, double count) { moved += next + count * step; }
static PERTURB_INLINE void join_products(double& products, double next, double step, double next_factors) {
  products += next + step * next_factors;
}
static PERTURB_INLINE void join_squares(double& squares, double next, double next_moved, double step, double count) {
  squares += next + (2.0 * step * next_moved + count * (step * step));
}

// The mean of x and its standard error. `first`: nothing has been added before.
struct moment_sum {
  double total = 0.0, centre = 0.0, moved = 0.0, squares = 0.0;

  PERTURB_INLINE void add(double x, bool first) {
    if (first) centre = x;
    const double deviation = x - centre;
    total += x;
    moved += deviation;
    squares += deviation * deviation;
  }
  PERTURB_INLINE void join(const moment_sum& next, double count, bool first) {
    if (first) centre = next.centre;
    const double step = next.centre - centre;
    total += next.total;
    join_squares(squares, next.squares, next.moved, step, count);
    join_moved(moved, next.moved, step, count);
  }
};

// The covariance of x and a factor.
struct covariance_sum {
  double centre = 0.0, moved = 0.0, products = 0.0, factors = 0.0;

  PERTURB_INLINE void add(double x, double factor, bool first) {
    if (first) centre = x;
    const double deviation = x - centre;
    moved += deviation;
    products += deviation * factor;
    factors += factor;
  }
  PERTURB_INLINE void join(const covariance_sum& next, double count, bool first) {
    if (first) centre = next.centre;
    const double step = next.centre - centre;
    join_products(products, next.products, step, next.factors);
    join_moved(moved, next.moved, step, count);
    factors += next.factors;
  }
};

// ---------------------------------------------------------------- results

static PERTURB_INLINE float mean_of(double total, int64_t samples) { return (float)(total / (double)samples); }

// sqrt(variance / M) from deviations and their squares; +infinity for one sample.
static PERTURB_INLINE float standard_error(double moved, double squares, int64_t samples) {
  if (samples < 2) return HUGE_VALF;
  const double count = (double)samples, spread = count * squares - moved * moved;
  return spread > 0.0 ? (float)::sqrt(spread / (count * count * (count - 1.0))) : 0.0f;
}

// sum (x - x_mean) s / (M - 1), sum (x - hard) s / M or sum x s / M, by the baseline, from products: sum (x - centre) s, moved: sum (x -
// centre), factors: sum s, hard: x without noise.
static PERTURB_INLINE double derivative_total(centring baseline, int64_t count, double products, double moved, double factors,
                                              double centre, double hard) {
  const double samples = (double)count;
  if (baseline == centring::leave_one_out) return (products - moved / samples * factors) / (samples - 1.0);
  return (products + (centre - (baseline == centring::unperturbed ? hard : 0.0)) * factors) / samples;
}
// With respect to an item of this derivative_amplitude.
static PERTURB_INLINE float derivative_entry(double total, double amplitude) {
  return amplitude == 0.0 ? 0.0f : finite_float(total / amplitude);
}

// Fenchel-Young: an item's part of a sample's loss, and the entry of the gradient from the sums of y, of W y and of W.
static PERTURB_INLINE double loss_term(float y, float target, double score) { return ((double)y - (double)target) * score; }
static PERTURB_INLINE float loss_gradient(double sign, bool multiplicative, double y, double weighted, double weights, int64_t count,
                                          float target) {
  const double samples = (double)count;
  const double solved = multiplicative ? weighted / samples : y / samples;
  const double wanted = multiplicative ? weights / samples * (double)target : (double)target;
  return finite_float(sign * (solved - wanted));
}

// SPO+: from the sum of (y(reflected) - y(truth)) reflected, items ascending.
static PERTURB_INLINE float reflected_loss(double sign, double sum) { return sign * sum > 0.0 ? finite_float(sign * sum) : 0.0f; }

}  // namespace perturb
