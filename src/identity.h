// The identity backward rule and its projections as both backends are asked for them.
#pragma once

#include <cstdint>

namespace perturb {

struct projection_problem {
  bool centred, scaled;
  double sign;  // of the gradient
  int64_t batch, n;
  const uint8_t* passable;  // [n] or null: the items that count; where 0 theta may hold anything, and outputs are 0
  const float* theta;       // [batch, n]
  const float* cotangent;   // [batch, n]: the gradient is wanted; null: theta projected
  float* output;            // [batch, n]
  int32_t* row_status;      // [batch] or null, as perturb_context_set_row_status has them
  int64_t* row_clamped;
};

}  // namespace perturb
