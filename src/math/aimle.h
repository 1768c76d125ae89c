// The adaptive step of AIMLE (Minervini et al. 2023): how a count of gradient entries that are not 0 moves it. Both backends call this function.
#pragma once

#include "math/lanes.h"
#include "math/resolve.h"
#include "perturb/perturb.h"

namespace perturb {

struct aimle_rule {
  float step, decay, target;
};

// Whether an update may start from it.
static PERTURB_INLINE bool aimle_state_fits(const perturb_aimle_state& state) {
  return tau_scale_fits(state.alpha) && state.average >= 0.0f && state.average <= FLT_MAX;
}

// From the counts in the state.
static PERTURB_INLINE void adapt(const aimle_rule& rule, perturb_aimle_state& state) {
  if (state.rows == 0) return;
  const double decay = rule.decay, per_row = (double)state.nonzeros / (double)state.rows;
  state.average = finite_float(decay * (double)state.average + (1.0 - decay) * per_row);
  const double alpha = (double)state.alpha + (state.average < rule.target ? (double)rule.step : -(double)rule.step);
  state.alpha = alpha > 0.0 ? finite_float(alpha) : 0.0f;
}

}  // namespace perturb
