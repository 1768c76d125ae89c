// Sums over samples for a solver whose y may be any float: the interface that the estimators of this folder share.
//
//   estimator(call, arena)        carves scratch; with a counting arena it only adds up
//   begin(row)                    an empty sum of a row's samples
//   add(row, solved)              one sample; samples come in ascending order
//   merge(next)                   adds the sum of the chunk that follows
//   finish(row, outputs)          results of a row; outputs as in call.output, but the library's own copies
//
// One order, whatever the threads and the backend (kernels/custom.cu): samples of a chunk ascending, chunks ascending, items of an inner
// product ascending, in double. A row of one chunk is that chunk's sum alone.
#pragma once

#include <cstdint>

#include "backend.h"
#include "cpu/arena.h"
#include "custom/row.h"
#include "custom/sums.h"

namespace perturb {

// One solved sample of a row.
struct solved_sample {
  int64_t number;      // local
  const float* y;      // [m]; COST: [1], its cost
  const float* score;  // [n], what the solver saw
  const float* noise;  // [n], z, or S where sums_scores(); NULL for a plain solve
  const float* other;  // [m], LPGD and its family: the solution at the second input
};

// Whether a call sums products with noise scores S, and whether its workspace has to be ready for it.
inline bool may_sum_scores(perturb_operation operation) {
  return operation == PERTURB_OP_VJP || operation == PERTURB_OP_VJP_EPSILON || operation == PERTURB_OP_JVP || operation == PERTURB_OP_JACOBIAN || operation == PERTURB_OP_COST;
}
inline bool sums_scores(const call& c) { return may_sum_scores(c.operation) && (c.operation != PERTURB_OP_COST || c.output[2]); }

inline void set_zero(double* x, int64_t count) {
  for (int64_t i = 0; i < count; ++i) x[i] = 0.0;
}
inline void add(double* x, const double* y, int64_t count) {
  for (int64_t i = 0; i < count; ++i) x[i] += y[i];
}

}  // namespace perturb
