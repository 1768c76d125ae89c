// Grid costs in int32 fixed point: the row's scale and the step cost of a cell (docs/noise.md, "Grid paths").
//
// Every step costs at least one quantum, so distances strictly grow along a path: the shortest distances are the only fixpoint of
// relaxation, and every algorithm finds the same ones whatever its order.
#pragma once

#include <cstdint>

#include "math/fixed.h"
#include "math/lanes.h"

namespace perturb {

constexpr int32_t grid_infinity = 1 << 30;

// The exponent e of the scale 2^e: (hops + 1) steps of the largest cost stay below 2^30, rounding included.
static PERTURB_INLINE int grid_cost_exponent(double largest_cost, double diagonal_factor, int64_t hops) {
  const double steps = (double)(hops + 1);
  return scale_exponent(steps * largest_cost * diagonal_factor * (1.0 + 0x1p-20) / (1.0 - steps * 0x1p-30), 30);
}

// A cell's cost, clamped at the floor.
template <class V>
PERTURB_INLINE typename V::f32 grid_cost(typename V::f32 score, float floor) {
  return V::max(score, V::set1(floor));
}

template <class V>
PERTURB_INLINE typename V::u32 grid_quanta(typename V::f32 cost, float scale) {
  return V::max_signed(V::round(V::mul(cost, V::set1(scale))), V::set1(1u));
}

}  // namespace perturb
