// Fenchel-Young loss of a custom oracle with m = n: the mean over samples of <y - t, s>, its gradient and its derivative in epsilon.
//
// Both inner products of a sample are one sum of (y_i - t_i) s_i, so that where y = t the loss is exactly 0. A sample whose y is worse than
// the target, as an inexact solver's may be, counts as 0.
#pragma once

#include "custom/estimators.h"

namespace perturb {

class custom_fenchel_young {
 public:
  custom_fenchel_young(const call& c, arena& a) : c_(c) {
    y_ = a.take<double>(c.n());
    weighted_ = a.take<double>(c.n());
    weights_ = a.take<double>(c.n());
  }

  void begin(const custom_row&) {
    loss_ = slope_ = 0.0;
    for (double* x : {y_, weighted_, weights_}) set_zero(x, c_.n());
  }

  void add(const custom_row& row, const solved_sample& solved) {
    const float* t = row.operand(c_.n());
    const double sign = c_.oracle->loss_sign();
    if (c_.output[0]) {
      double loss = 0.0;
      for (int64_t i = 0; i < c_.n(); ++i) loss += loss_term(solved.y[i], t[i], solved.score[i]);
      loss_ += larger(0.0, sign * loss);
    }
    if (c_.output[2]) {
      double slope = 0.0;
      for (int64_t i = 0; i < c_.n(); ++i)
        slope += loss_term(
            solved.y[i], t[i],
            score_slope(c_.multiplicative, c_.oracle->noise_sign(), row.factor(i), row.amplitude(i), solved.noise[i], solved.score[i]));
      slope_ += sign * slope;
    }
    if (c_.output[1]) {
      for (int64_t i = 0; i < c_.n(); ++i) y_[i] += solved.y[i];
      for (int64_t i = 0; c_.multiplicative && i < c_.n(); ++i) {
        const double weight = row.multiplicative_weight(i, solved.noise[i]);
        weighted_[i] += weight * (double)solved.y[i];
        weights_[i] += weight;
      }
    }
  }

  void merge(const custom_fenchel_young& next) {
    loss_ += next.loss_;
    slope_ += next.slope_;
    perturb::add(y_, next.y_, c_.n());
    perturb::add(weighted_, next.weighted_, c_.n());
    perturb::add(weights_, next.weights_, c_.n());
  }

  void finish(const custom_row& row, float* const* outputs) const {
    if (c_.output[0]) outputs[0][row.b] = mean_of(loss_, c_.samples);
    if (c_.output[2]) outputs[2][row.b] = mean_of(slope_, c_.samples);
    if (!c_.output[1]) return;
    const float* t = row.operand(c_.n());
    float* gradient = outputs[1] + row.b * c_.n();
    for (int64_t i = 0; i < c_.n(); ++i)
      gradient[i] = loss_gradient(c_.oracle->loss_sign(), c_.multiplicative, y_[i], weighted_[i], weights_[i], c_.samples, t[i]);
  }

 private:
  const call& c_;
  double loss_ = 0.0, slope_ = 0.0;
  double *y_, *weighted_, *weights_;
};

}  // namespace perturb
