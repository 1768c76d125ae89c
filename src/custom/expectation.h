// Expectation of a custom oracle: y_mean, the value, and their standard errors.
#pragma once

#include "custom/estimators.h"

namespace perturb {

class custom_expectation {
 public:
  custom_expectation(const call& c, arena& a) : c_(c) {
    y_ = a.take<double>(c.m());
    centre_ = a.take<double>(c.m());
    moved_ = a.take<double>(c.m());
    squares_ = a.take<double>(c.m());
  }

  void begin(const custom_row&) {
    count_ = 0;
    for (double* x : {y_, moved_, squares_}) set_zero(x, c_.m());
    value_ = {};
  }

  void add(const custom_row&, const solved_sample& solved) {
    for (int64_t i = 0; i < c_.m(); ++i) y_[i] += solved.y[i];
    if (c_.output[1]) {
      if (count_ == 0)
        for (int64_t i = 0; i < c_.m(); ++i) centre_[i] = solved.y[i];
      for (int64_t i = 0; i < c_.m(); ++i) {
        const double deviation = solved.y[i] - centre_[i];
        moved_[i] += deviation;
        squares_[i] += deviation * deviation;
      }
    }
    if (c_.output[2] || c_.output[3]) {
      value_.add(inner_product(solved.score, solved.y, c_.m()), count_ == 0);
    }
    ++count_;
  }

  void merge(const custom_expectation& next) {
    const double count = (double)next.count_;
    const bool empty = count_ == 0;
    perturb::add(y_, next.y_, c_.m());
    if (c_.output[1]) {
      for (int64_t i = 0; i < c_.m(); ++i) {
        if (empty) centre_[i] = next.centre_[i];
        const double step = next.centre_[i] - centre_[i];
        join_squares(squares_[i], next.squares_[i], next.moved_[i], step, count);
        join_moved(moved_[i], next.moved_[i], step, count);
      }
    }
    value_.join(next.value_, count, empty);
    count_ += next.count_;
  }

  void finish(const custom_row& row, float* const* outputs) const {
    const int64_t m = c_.m();
    for (int64_t i = 0; i < m; ++i) outputs[0][row.b * m + i] = mean_of(y_[i], c_.samples);
    if (c_.output[1])
      for (int64_t i = 0; i < m; ++i) outputs[1][row.b * m + i] = standard_error(moved_[i], squares_[i], c_.samples);
    if (c_.output[2]) outputs[2][row.b] = mean_of(value_.total, c_.samples);
    if (c_.output[3]) outputs[3][row.b] = standard_error(value_.moved, value_.squares, c_.samples);
  }

 private:
  const call& c_;
  int64_t count_ = 0;
  double *y_, *centre_, *moved_, *squares_;
  moment_sum value_;
};

}  // namespace perturb
