// Sums over samples for a solver whose y may be any float: the interface that the estimators of this folder share.
//
//   estimator(call, arena)        carves scratch; with a counting arena it only adds up
//   wants_scores                  whether `noise` below holds the noise scores S instead of z
//   begin(row)                    an empty sum of a row's samples
//   add(row, solved)              one sample; samples come in ascending order
//   merge(next)                   adds the sum of the chunk that follows
//   finish(row, outputs)          results of a row; outputs as in call.output, but the library's own copies
//
// One order, whatever the threads: samples of a chunk ascending, chunks ascending, items of an inner product ascending, in double.
// A row of one chunk is that chunk's sum alone.
//
// Sums that a mean is subtracted from are made of deviations from a centre, the chunk's first sample: what does not move adds exactly 0,
// and little is lost where y is far from 0. merge() moves a chunk's centre to that of the row: sum (x - a) = sum (x - b) + count (b - a).
#pragma once

#include <cmath>
#include <cstdint>

#include "backend.h"
#include "cpu/arena.h"
#include "custom/row.h"

namespace perturb {

// One solved sample of a row.
struct solved_sample {
  int64_t number;      // local
  const float* y;      // [m]
  const float* score;  // [n], what the solver saw
  const float* noise;  // [n], z or S; NULL for a plain solve
};

// <a, y>, in double, items ascending.
inline double inner_product(const float* a, const float* y, int64_t count) {
  double sum = 0.0;
  for (int64_t i = 0; i < count; ++i) sum += (double)a[i] * (double)y[i];
  return sum;
}

inline void set_zero(double* x, int64_t count) {
  for (int64_t i = 0; i < count; ++i) x[i] = 0.0;
}
// x += y + factor * z
inline void add_moved(double* x, const double* y, double factor, const double* z, int64_t count) {
  for (int64_t i = 0; i < count; ++i) x[i] += y[i] + factor * z[i];
}
inline void add(double* x, const double* y, int64_t count) {
  for (int64_t i = 0; i < count; ++i) x[i] += y[i];
}

// sum (x - x_mean) s / (M - 1), sum (x - hard) s / M or sum x s / M, by the baseline, from products: sum (x - centre) s, moved: sum (x -
// centre), scores: sum s, hard: x without noise.
inline double derivative_total(const call& c, double products, double moved, double scores, double centre, double hard) {
  const double samples = (double)c.samples;
  if (c.baseline == centring::leave_one_out) return (products - moved / samples * scores) / (samples - 1.0);
  return (products + (centre - (c.baseline == centring::unperturbed ? hard : 0.0)) * scores) / samples;
}

// sqrt(variance / M) from deviations and their squares; +infinity for one sample.
inline float standard_error(double moved, double squares, int64_t samples) {
  if (samples < 2) return HUGE_VALF;
  const double count = (double)samples, spread = count * squares - moved * moved;
  return spread > 0.0 ? (float)std::sqrt(spread / (count * count * (count - 1.0))) : 0.0f;
}

}  // namespace perturb
