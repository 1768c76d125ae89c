// Projections of theta before a solver, and their Jacobians transposed (Sahoo et al. 2023): what is computed of a row, in double, by both backends.
//
// Every sum has one order: item i belongs to part i mod projection_parts, a part is added up in ascending order, and parts are joined by halves.
#pragma once

#include <cstdint>

#include "math/scales.h"

namespace perturb {

constexpr int projection_parts = 128;

// x = theta - mean; P(theta) = x, or x / ||x||. h is the cotangent less its mean; the gradient is h, or (h - x <x, h> / ||x||^2) / ||x||, multiplied out so
// that a row of one item gives exactly 0.
struct projected_row {
  double scale;                 // the sign of the gradient, or 1; where it is scaled, that over ||x||^3, or ||x||
  double mean, cotangent_mean;  // 0 where it is not centred
  double square, product;       // ||x||^2 and <x, h>; 1 and 0 where it is not scaled

  PERTURB_INLINE double x(float theta) const { return (double)theta - mean; }
  PERTURB_INLINE double h(float cotangent) const { return (double)cotangent - cotangent_mean; }

  // From the sums of the row. A length of 0 gives zeros.
  PERTURB_INLINE void measure(double sum_of_squares, double sum_of_products, bool gradient_wanted) {
    square = sum_of_squares;
    product = sum_of_products;
    const double length = ::sqrt(square);
    scale = square > 0.0 ? scale / (gradient_wanted ? square * length : length) : 0.0;
  }

  PERTURB_INLINE float projected(float theta) const { return finite_float(x(theta) * scale); }
  PERTURB_INLINE float gradient(float theta, float cotangent) const { return finite_float((h(cotangent) * square - x(theta) * product) * scale); }
};

// Before anything is known of the row.
static PERTURB_INLINE projected_row unprojected(double sign) { return {sign, 0.0, 0.0, 1.0, 0.0}; }

}  // namespace perturb
