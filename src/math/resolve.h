// LPGD and its family (Paulus et al. 2024): a gradient is the difference of two solutions, at inputs that a loss has shifted. Which
// inputs, and what becomes of the difference. Both backends call these functions, so that they agree to the bit.
//
// sign is oracle.h's loss_sign: +1 where y maximises <y, theta>. With c = -sign theta every formula is that of a minimiser of <y, c>:
// the shifted problem is argmin <y, c + tau g> + (rho/2) ||y - y*||^2. For 0/1 solutions the last term is rho <y, 1/2 - y*> up to a
// constant; permutations have one length, and it is -rho <y, y*>.
#pragma once

#include "math/scales.h"

namespace perturb {

// toward: shifted by +tau g in costs, where the loss is less (the lower envelope's); away: by -tau g.
// reflected: 2 theta - truth; truth: the operand of SPO+.
enum class resolve_input { theta, toward, away, reflected, truth };

struct resolve_pair {
  resolve_input minuend, subtrahend;
};

struct resolve_options {
  float tau = 1.0f, rho = 0.0f;
  perturb_side side = PERTURB_SIDE_LOWER;
  bool relative = false;  // tau is in units of ||theta|| / ||cotangent|| of each row
};
// What tau may be multiplied by, before anything else.
static PERTURB_INLINE bool tau_scale_fits(float scale) { return scale >= 0.0f && scale <= FLT_MAX; }

static PERTURB_INLINE bool resolves(perturb_operation operation) {
  return operation == PERTURB_OP_LPGD || operation == PERTURB_OP_IMLE || operation == PERTURB_OP_SPO_PLUS;
}

static PERTURB_INLINE resolve_pair inputs_of(perturb_operation operation, perturb_side side) {
  if (operation == PERTURB_OP_SPO_PLUS) return {resolve_input::reflected, resolve_input::truth};
  if (side == PERTURB_SIDE_LOWER) return {resolve_input::theta, resolve_input::toward};
  if (side == PERTURB_SIDE_UPPER) return {resolve_input::away, resolve_input::theta};
  return {resolve_input::away, resolve_input::toward};
}

// y less what does not matter: half for 0/1 solutions, the smallest rank for permutations.
static PERTURB_INLINE float proximal_term(oracle_kind kind, int32_t base, int32_t y) {
  return kind == oracle_kind::rank ? (float)(y - base) : (float)y - 0.5f;
}

// Norms, for a relative tau: squares are added as integers of as many bits as n of them fit 62.
static PERTURB_INLINE double norm_unit(double largest, int64_t n) {
  int bits = 26;
  while (n >> (62 - 2 * bits) != 0) --bits;
  return power_of_two(largest > 0.0 ? scale_exponent(largest, bits) : 0);
}
static PERTURB_INLINE int64_t norm_term(double x, double unit) {
  const int64_t q = to_fixed(magnitude(x), unit);
  return q * q;
}
static PERTURB_INLINE double norm_of(int64_t terms, double unit) { return ::sqrt((double)terms) / unit; }
// Where a norm is 0, so is the gradient for any tau, or theta has no scale to go by.
static PERTURB_INLINE float relative_tau(float tau, double theta_norm, double operand_norm) {
  return theta_norm > 0.0 && operand_norm > 0.0 ? finite_float((double)tau * (theta_norm / operand_norm)) : tau;
}

// tau: the row's. y: of the unperturbed solution; read only where rho is not 0.
template <class V>
PERTURB_INLINE float resolve_value(resolve_input input, const resolve_options& o, float tau, oracle_kind kind, int32_t base, float sign, float theta, float operand, int32_t y) {
  switch (input) {
    case resolve_input::theta: return theta;
    case resolve_input::truth: return operand;
    case resolve_input::reflected: return V::fma(2.0f, theta, -operand);
    default: break;
  }
  const float shifted = V::fma(input == resolve_input::toward ? -sign * tau : sign * tau, operand, theta);
  return o.rho == 0.0f ? shifted : V::fma(sign * o.rho, proximal_term(kind, base, y), shifted);
}

// Whether no shifted input, perturbed by at most `reach`, leaves the range of float.
static PERTURB_INLINE bool resolve_fits(perturb_operation operation, const resolve_options& o, float tau, oracle_kind kind, int64_t n, float theta, float operand, double reach) {
  const double t = magnitude(theta), g = magnitude(operand);
  if (operation == PERTURB_OP_SPO_PLUS) return 2.0 * t + g <= (double)FLT_MAX;
  const double proximal = kind == oracle_kind::rank ? (double)(n - 1) : 0.5;
  return t + (double)tau * g + (double)o.rho * proximal + reach <= (double)FLT_MAX;
}

// difference: of the sums of y over the samples.
static PERTURB_INLINE float resolve_gradient(perturb_operation operation, const resolve_options& o, float tau, double sign, double difference, int64_t samples) {
  const double mean = sign * (difference / (double)samples);
  if (operation == PERTURB_OP_SPO_PLUS) return (float)(2.0 * mean);
  return mean == 0.0 || tau == 0.0f ? 0.0f : finite_float(mean / (o.side == PERTURB_SIDE_AVERAGE ? 2.0 * (double)tau : (double)tau));
}

// The SPO+ loss sign <y(reflected) - y(truth), reflected>: terms as integers of this scale.
static PERTURB_INLINE int spo_exponent(double weight, const row_bounds& reflected) { return scale_exponent(2.0 * weight * reflected.score_bound, 61); }
static PERTURB_INLINE float spo_loss(double sign, int64_t sum, int exponent) {
  const double loss = sign * (double)sum;
  // y is optimal for the scores as the oracle rounds them (int32 costs), which may differ in the last bits.
  return loss > 0.0 ? finite_float(loss * power_of_two(-exponent)) : 0.0f;
}

}  // namespace perturb
