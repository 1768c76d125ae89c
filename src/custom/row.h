// One row of a call for a solver or cost function of the caller's: its inputs and amplitudes.
#pragma once

#include <cstdint>

#include "backend.h"
#include "math/scales.h"

namespace perturb {

struct custom_row {
  const call& c;
  int64_t b = 0;
  const float* hard = nullptr;  // solutions (COST: costs) without noise [batch, m or 1], where the baseline is made of them

  const float* theta() const { return c.theta + b * c.n(); }
  const float* operand(int64_t width) const { return c.operand + b * width; }

  // d eps_i / d epsilon.
  double factor(int64_t i) const { return c.epsilon_factor(b, i); }
  // eps_i, with the sign of the noise when additive.
  float amplitude(int64_t i) const {
    const float e = c.epsilon_per_item ? c.row_epsilon(b) * c.epsilon_per_item[i] : c.row_epsilon(b);
    return c.multiplicative ? e : c.oracle->noise_sign() * e;
  }
  // The divisor of a noise score in a derivative with respect to theta_i; 0: the entry is 0.
  double derivative_amplitude(int64_t i) const {
    return c.counts(i) ? perturb::derivative_amplitude(c.multiplicative, amplitude(i), theta()[i]) : 0.0;
  }

  // W_i of a sample.
  float multiplicative_weight(int64_t i, float z) const {
    struct isa {};
    const float e = amplitude(i);
    return multiplicative_factor<scalar_lanes<isa>>(z, e, -0.5f * (e * e));
  }
};

}  // namespace perturb
