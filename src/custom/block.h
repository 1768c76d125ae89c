// A block of consecutive problems of a call on its way through the callbacks: noise, perturbed scores, solutions, costs. One thread's.
#pragma once

#include "backend.h"
#include "cpu/arena.h"
#include "custom/estimators.h"
#include "custom/solver.h"

namespace perturb {

class problem_block {
 public:
  // size: problems at most.
  problem_block(const call& c, const cpu_backend& cpu, int64_t size, arena& a);

  // Solves problems first .. first + count - 1 of the flattened [batch, samples]. inputs [2, batch, n]: of LPGD and its family. What fails
  // is the first of these problems that does, whichever callback it fails in and however problems are put together.
  solver_failure solve(int64_t first, int64_t count, const float* inputs);
  // One of them, by its place in the block.
  solved_sample solved(int64_t k) const;

  // The solutions of rows without noise, or their costs: out [count, m or 1]. `rows` is the call as PERTURB_OP_SOLVE.
  solver_failure solve_rows(const call& rows, int64_t first, int64_t count, float* out);

  // Scratch for what the CPU kernels do alone.
  void* kernel_scratch() const { return kernel_scratch_; }

 private:
  solver_failure solve_at(const call& c, int64_t first, int64_t count, float* y);
  void sample(int64_t first, int64_t count);
  solver_failure add_costs(const call& c, int64_t first, int64_t count, const solver_failure& solving, float* costs);

  const call& c_;
  const cpu_backend& cpu_;
  int64_t first_ = 0;
  float *noise_, *scores_, *y_, *other_, *costs_;
  int64_t* rows_;
  char* kernel_scratch_;
  const float* theta_ = nullptr;  // what the solver was given: the scores, or rows as they are
};

}  // namespace perturb
