// The expectation of a cost of y: its mean with a standard error, and its derivative by the score function, the covariance of cost and S.
#pragma once

#include "custom/derivatives.h"

namespace perturb {

class custom_cost {
 public:
  custom_cost(const call& c, arena& a) : c_(c), products_(c, a) {}

  void begin(const custom_row&) {
    count_ = 0;
    cost_ = {};
    products_.begin();
  }

  void add(const custom_row&, const solved_sample& solved) {
    cost_.add(solved.y[0], count_++ == 0);
    if (c_.output[2]) products_.add((double)solved.y[0] - cost_.centre, solved.noise);
  }

  void merge(const custom_cost& next) {
    const bool empty = count_ == 0;
    if (c_.output[2]) products_.merge(next.products_, empty ? 0.0 : next.cost_.centre - cost_.centre);
    cost_.join(next.cost_, (double)next.count_, empty);
    count_ += next.count_;
  }

  void finish(const custom_row& row, float* const* outputs) const {
    outputs[0][row.b] = mean_of(cost_.total, c_.samples);
    outputs[1][row.b] = standard_error(cost_.moved, cost_.squares, c_.samples);
    if (c_.output[2]) products_.finish(row, cost_.moved, cost_.centre, hard_entry(row, 1, 0), outputs[2] + row.b * c_.n());
  }

 private:
  const call& c_;
  int64_t count_ = 0;
  moment_sum cost_;
  score_products products_;
};

}  // namespace perturb
