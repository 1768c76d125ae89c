// Squared distances as both backends are asked for them: theta of queries and points, and the two gradients, which are one sum.
#pragma once

#include <cstdint>

namespace perturb {

// theta [queries, points] = -||q - x||^2: the negative of a chain of fma(q_j - x_j, q_j - x_j, sum) over ascending j, in float.
struct distance_problem {
  int64_t queries, points, dimensions;
  const float* q;  // [queries, dimensions]
  const float* x;  // [points, dimensions]
};

// gradient [rows, dimensions]: gradient_rj = -2 sum_s w_rs (a_rj - c_sj), s ascending, in double; w_rs = weights[r row_stride + s term_stride].
// Of queries: a = q, c = x, w = the gradient in theta; of points: a = x, c = q, w = its transpose.
struct distance_sum {
  int64_t rows, terms, dimensions;
  const float* a;  // [rows, dimensions]
  const float* c;  // [terms, dimensions]
  const float* weights;
  int64_t row_stride, term_stride;
  bool leave_out;  // terms whose weights are NaN, those of refused rows, count as 0 (a - 0)
};

}  // namespace perturb
