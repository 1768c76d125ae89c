// Covariance of a custom oracle's y: deviations from a chunk's first sample, their sums and the sums of their products, in double.
#pragma once

#include "custom/estimators.h"

namespace perturb {

class custom_covariance {
 public:
  custom_covariance(const call& c, arena& a) : c_(c) {
    centre_ = a.take<double>(c.m());
    moved_ = a.take<double>(c.m());
    step_ = a.take<double>(c.m());
    products_ = a.take<double>(c.m() * c.m());
  }

  void begin(const custom_row&) {
    count_ = 0;
    set_zero(moved_, c_.m());
    set_zero(products_, c_.m() * c_.m());
  }

  void add(const custom_row&, const solved_sample& solved) {
    const int64_t m = c_.m();
    if (count_++ == 0)
      for (int64_t i = 0; i < m; ++i) centre_[i] = solved.y[i];
    for (int64_t i = 0; i < m; ++i) {
      step_[i] = solved.y[i] - centre_[i];
      moved_[i] += step_[i];
    }
    for (int64_t i = 0; i < m; ++i) {
      if (step_[i] == 0.0) continue;  // it would add 0 to a whole row, and most of a sparse y rests
      for (int64_t j = i; j < m; ++j) products_[i * m + j] += step_[i] * step_[j];
    }
  }

  void merge(const custom_covariance& next) {
    const int64_t m = c_.m();
    const double count = (double)next.count_;
    for (int64_t i = 0; i < m; ++i) {
      if (count_ == 0) centre_[i] = next.centre_[i];
      step_[i] = next.centre_[i] - centre_[i];
    }
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = i; j < m; ++j)
        products_[i * m + j] += next.products_[i * m + j] + (step_[i] * next.moved_[j] + step_[j] * next.moved_[i] + count * (step_[i] * step_[j]));
    for (int64_t i = 0; i < m; ++i) moved_[i] += next.moved_[i] + count * step_[i];
    count_ += next.count_;
  }

  void finish(const custom_row& row, float* const* outputs) const {
    const int64_t m = c_.m();
    const double samples = (double)c_.samples;
    float* covariance = outputs[0] + row.b * m * m;
    for (int64_t i = 0; i < m; ++i) {
      for (int64_t j = i; j < m; ++j) {
        const double spread = samples * products_[i * m + j] - moved_[i] * moved_[j];
        covariance[i * m + j] = covariance[j * m + i] = finite_float(spread / (samples * (samples - 1.0)));
      }
      if (covariance[i * m + i] < 0.0f) covariance[i * m + i] = 0.0f;
    }
  }

 private:
  const call& c_;
  int64_t count_ = 0;
  double *centre_, *moved_, *step_, *products_;
};

}  // namespace perturb
