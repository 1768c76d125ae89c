// A block of problems: which callback or kernel gets what.
#include "custom/block.h"

#include <algorithm>

#include "custom/sums.h"

namespace perturb {
namespace {

// Of the calls that a block makes to the built-in oracle under a cost function: samples of a row, or rows without noise. Which kernels run
// depends on whether there are many samples or few.
size_t kernel_scratch_bytes(const call& c, const cpu_backend& cpu) {
  call part = c;
  std::fill(std::begin(part.output), std::end(part.output), nullptr);
  part.operation = PERTURB_OP_SOLVE;
  size_t bytes = cpu.scratch_bytes(part);
  part.operation = PERTURB_OP_SAMPLE;
  for (const int64_t samples : {int64_t{1}, std::min(c.samples, chunk_samples)}) {
    part.samples = samples;
    bytes = std::max(bytes, cpu.scratch_bytes(part));
  }
  return bytes;
}

}  // namespace

problem_block::problem_block(const call& c, const cpu_backend& cpu, int64_t size, arena& a) : c_(c), cpu_(cpu) {
  const bool costs = c.operation == PERTURB_OP_COST;
  const int64_t noisy = takes_noise(c.operation) ? size : 0;
  noise_ = a.take<float>(noisy * c.n());
  scores_ = a.take<float>(c.oracle->custom ? noisy * c.n() : 0);
  y_ = a.take<float>(size * c.m());
  other_ = a.take<float>(resolves(c.operation) ? size * c.m() : 0);
  costs_ = a.take<float>(costs ? size : 0);
  rows_ = a.take<int64_t>(costs ? size : 0);
  kernel_scratch_ = a.take<char>(c.oracle->custom ? 0 : (int64_t)kernel_scratch_bytes(c, cpu));
}

solver_failure problem_block::solve(int64_t first, int64_t count, const float* inputs) {
  const int64_t n = c_.n(), last = first + count;
  first_ = first;
  if (takes_noise(c_.operation) && c_.oracle->custom) cpu_.noise_fill(c_, n, first, last, noise_);
  solver_failure failure;
  if (resolves(c_.operation)) {
    const resolve_pair pair = inputs_of(c_.operation, c_.resolve.side);
    call at = c_;
    at.theta = inputs + c_.batch * n;
    failure = solve_at(at, first, count, other_);
    failure.input = name_of(pair.subtrahend);
    at.theta = inputs;
    // After a failure only the problems up to it matter.
    solver_failure earlier = solve_at(at, first, failure ? failure.problem - first + 1 : count, y_);
    earlier.input = name_of(pair.minuend);
    return earlier ? earlier : failure;
  }
  if (c_.oracle->custom) {
    failure = solve_at(c_, first, count, y_);
    if (c_.operation == PERTURB_OP_VJP_EPSILON) {
      cpu_.slope_fill(c_, n, first, last, noise_);
    } else if (sums_scores(c_) && c_.noise != distribution::normal) {
      cpu_.score_fill(c_, n, first, last, noise_);
    }
  } else {
    sample(first, count);
    if (sums_scores(c_)) cpu_.score_fill(c_, n, first, last, noise_);
  }
  return c_.operation == PERTURB_OP_COST ? add_costs(c_, first, count, failure, costs_) : failure;
}

solved_sample problem_block::solved(int64_t k) const {
  const int64_t n = c_.n(), m = c_.m();
  return {(first_ + k) % c_.samples, c_.operation == PERTURB_OP_COST ? costs_ + k : y_ + k * m, theta_ ? theta_ + k * n : nullptr,
          takes_noise(c_.operation) ? noise_ + k * n : nullptr, resolves(c_.operation) ? other_ + k * m : nullptr};
}

solver_failure problem_block::solve_rows(const call& rows, int64_t first, int64_t count, float* out) {
  const bool costs = c_.operation == PERTURB_OP_COST;
  const float* theta = rows.theta + first * c_.n();
  float* y = costs ? y_ : out;
  solver_failure failure;
  if (rows.oracle->custom) {
    failure = call_solver(rows, first, count, theta, y);
  } else {
    call part = rows;
    part.theta = theta;
    part.first_row = rows.first_row + first;
    part.batch = count;
    part.output[0] = y;
    part.output[1] = nullptr;
    cpu_.run(part, 0, 1, kernel_scratch_);
  }
  return costs ? add_costs(rows, first, count, failure, out) : failure;
}

// From the noise, if the operation has any, to y. c: the call, with its own theta or another input.
solver_failure problem_block::solve_at(const call& c, int64_t first, int64_t count, float* y) {
  theta_ = c.theta + first * c.n();
  if (takes_noise(c.operation)) {
    cpu_.perturb(c, first, first + count, noise_, scores_);
    theta_ = scores_;
  }
  return call_solver(c, first, count, theta_, y);
}

// The built-in oracle, row by row.
void problem_block::sample(int64_t first, int64_t count) {
  call part = c_;
  part.operation = PERTURB_OP_SAMPLE;
  part.batch = 1;
  part.output[1] = part.output[2] = part.output[3] = nullptr;
  for (int64_t p = first; p < first + count; p += part.samples) {
    const int64_t b = p / c_.samples, s = p % c_.samples;
    part.theta = c_.theta + b * c_.n();
    part.first_row = c_.first_row + b;
    if (part.epsilon_per_row) part.epsilon_per_row = c_.epsilon_per_row + b;
    part.first_sample = c_.first_sample + s;
    part.samples = std::min(c_.samples - s, first + count - p);
    part.output[0] = y_ + (p - first) * c_.m();
    cpu_.run(part, 0, 1, kernel_scratch_);
  }
}

// The costs of what was solved before `solving` failed.
solver_failure problem_block::add_costs(const call& c, int64_t first, int64_t count, const solver_failure& solving, float* costs) {
  if (solving) count = solving.problem - first;
  if (count == 0) return solving;
  for (int64_t k = 0; k < count; ++k) rows_[k] = c.row_of_caller + (first + k) / c.samples;
  const solver_failure failure = call_cost(c, first, count, y_, rows_, costs);
  return failure ? failure : solving;
}

}  // namespace perturb
