// Expectation of a custom oracle: y_mean, the value, and their standard errors.
#pragma once

#include "custom/estimators.h"

namespace perturb {

class custom_expectation {
 public:
  static constexpr bool wants_scores = false;

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
      const double value = inner_product(solved.score, solved.y, c_.m());
      if (count_ == 0) value_.centre = value;
      const double deviation = value - value_.centre;
      value_.sum += value;
      value_.moved += deviation;
      value_.squares += deviation * deviation;
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
        move(moved_[i], squares_[i], next.moved_[i], next.squares_[i], next.centre_[i] - centre_[i], count);
      }
    }
    if (empty) value_.centre = next.value_.centre;
    value_.sum += next.value_.sum;
    move(value_.moved, value_.squares, next.value_.moved, next.value_.squares, next.value_.centre - value_.centre, count);
    count_ += next.count_;
  }

  void finish(const custom_row& row, float* const* outputs) const {
    const double samples = (double)c_.samples;
    const int64_t m = c_.m();
    for (int64_t i = 0; i < m; ++i) outputs[0][row.b * m + i] = (float)(y_[i] / samples);
    if (c_.output[1])
      for (int64_t i = 0; i < m; ++i) outputs[1][row.b * m + i] = standard_error(moved_[i], squares_[i], c_.samples);
    if (c_.output[2]) outputs[2][row.b] = (float)(value_.sum / samples);
    if (c_.output[3]) outputs[3][row.b] = standard_error(value_.moved, value_.squares, c_.samples);
  }

 private:
  // Adds a chunk's deviations and squares, whose centre lies `step` above that of the row.
  static void move(double& moved, double& squares, double next_moved, double next_squares, double step, double count) {
    squares += next_squares + (2.0 * step * next_moved + count * (step * step));
    moved += next_moved + count * step;
  }

  const call& c_;
  int64_t count_ = 0;
  double *y_, *centre_, *moved_, *squares_;
  struct {
    double sum, centre, moved, squares;
  } value_ = {};
};

}  // namespace perturb
