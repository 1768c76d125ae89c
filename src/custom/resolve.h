// LPGD, I-MLE and SPO+ of a custom oracle with m = n: the sum of the differences of both solutions (math/resolve.h has the inputs).
#pragma once

#include "custom/estimators.h"
#include "math/resolve.h"

namespace perturb {

// The inputs of all rows: [2, batch, n], of the solution that is subtracted from, then of the other.
inline void fill_inputs(const call& c, float* inputs) {
  struct isa {};
  const resolve_pair pair = inputs_of(c.operation, c.resolve.side);
  for (const resolve_input input : {pair.minuend, pair.subtrahend})
    for (int64_t b = 0; b < c.batch; ++b) {
      const float tau = c.tau(b);
      for (int64_t i = b * c.n(); i < (b + 1) * c.n(); ++i)
        *inputs++ = resolve_value<scalar_lanes<isa>>(input, c.resolve, tau, c.oracle->kind, c.oracle->base, (float)c.oracle->loss_sign(),
                                                     c.theta[i], c.operand[i], 0);
    }
}

class custom_resolve {
 public:
  custom_resolve(const call& c, arena& a) : c_(c) { difference_ = a.take<double>(c.n()); }

  void begin(const custom_row&) {
    loss_ = 0.0;
    set_zero(difference_, c_.n());
  }

  void add(const custom_row&, const solved_sample& solved) {
    for (int64_t i = 0; i < c_.n(); ++i) difference_[i] += (double)solved.y[i] - (double)solved.other[i];
    if (c_.operation != PERTURB_OP_SPO_PLUS) return;
    for (int64_t i = 0; i < c_.n(); ++i) loss_ += loss_term(solved.y[i], solved.other[i], solved.score[i]);
  }

  void merge(const custom_resolve& next) { perturb::add(difference_, next.difference_, c_.n()); }

  void finish(const custom_row& row, float* const* outputs) const {
    const bool spo = c_.operation == PERTURB_OP_SPO_PLUS;
    const double sign = c_.oracle->loss_sign();
    const float tau = spo ? 1.0f : c_.tau(row.b);
    float* gradient = outputs[spo ? 1 : 0] + row.b * c_.n();
    for (int64_t i = 0; i < c_.n(); ++i) gradient[i] = resolve_gradient(c_.operation, c_.resolve, tau, sign, difference_[i], c_.samples);
    if (spo) outputs[0][row.b] = reflected_loss(sign, loss_);
  }

 private:
  const call& c_;
  double loss_ = 0.0;
  double* difference_;
};

}  // namespace perturb
