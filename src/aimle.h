// An update of AIMLE's step as both backends are asked for it.
#pragma once

#include "math/aimle.h"

namespace perturb {

struct aimle_problem {
  aimle_rule rule;
  int64_t batch, n;
  const float* gradient;  // [batch, n]
  perturb_aimle_state* state;
};

}  // namespace perturb
