// Rows one by one: the good ones run as they would alone, since no result depends on how rows are split over calls; the others become NaN.
#include "row_status.h"

#include <algorithm>
#include <limits>

#include "check.h"
#include "error.h"
#include "execute.h"
#include "plan.h"

namespace perturb {
namespace {

call rows_of(const call& c, int64_t first, int64_t count) {
  call rows = c;
  rows.batch = count;
  rows.first_row += first;
  rows.row_of_caller += first;
  rows.theta += first * c.n();
  if (rows.epsilon_per_row) rows.epsilon_per_row += first;
  if (rows.z) rows.z += first * c.samples * c.n();
  if (rows.z_score) rows.z_score += first * c.samples * c.n();
  if (rows.operand) rows.operand += first * operand_width(c);
  for (int o = 0; o < 4; ++o)
    if (rows.output[o]) rows.output[o] += first * (output_count(c, o) / c.batch);
  return rows;
}

void make_nan(const call& row) {
  for (int o = 0; o < 4; ++o)
    if (row.output[o]) std::fill_n(row.output[o], output_count(row, o), std::numeric_limits<float>::quiet_NaN());
}

perturb_status count_clamped(perturb_context& context, const call& c) {
  if (!c.oracle->grid || resolves(c.operation)) {
    std::fill_n(c.row_clamped, c.batch, 0);
    return PERTURB_OK;
  }
  call sized = c;
  if (c.operation == PERTURB_OP_COST) {  // within the kernels' part of its workspace
    sized.operation = PERTURB_OP_SAMPLE;
    sized.samples = 1;
  }
  call_scratch scratch(context);
  if (const perturb_status s = scratch.acquire(make_plan(*context.cpu, sized, 1, false).bytes())) return s;
  for (int64_t b = 0; b < c.batch; ++b)
    c.row_clamped[b] = c.row_status && c.row_status[b] != PERTURB_OK ? 0 : context.cpu->below_floor(c, b * c.samples, (b + 1) * c.samples, scratch.memory(), nullptr);
  return PERTURB_OK;
}

// Row b by itself, where only the solve can tell whether it is refused; else whether its contents are.
perturb_status try_row(const row_runner& run, const call& row, bool refuses_costs, bool& done) {
  perturb_status s = check_contents(row);
  done = s == PERTURB_OK && refuses_costs;
  if (done) {
    s = run(row);
    if (s != PERTURB_OK && s != PERTURB_ERROR_INVALID_ARGUMENT) return s;
    *row.row_status = s;
  } else {
    *row.row_status = s == PERTURB_OK ? PERTURB_OK : PERTURB_ERROR_NON_FINITE;
  }
  if (s != PERTURB_OK) make_nan(row);
  clear_error();
  return PERTURB_OK;
}

perturb_status execute_good_rows(const row_runner& run, const call& c) {
  const bool refuses_costs = c.oracle->grid && c.oracle->grid->refuse_negative;
  int64_t first = 0;  // of the good rows that are still to run
  const auto run_to = [&](int64_t last) { return last > first ? run(rows_of(c, first, last - first)) : PERTURB_OK; };
  for (int64_t b = 0; b < c.batch; ++b) {
    call row = rows_of(c, b, 1);
    row.row_status = c.row_status + b;
    bool done = false;
    if (const perturb_status s = try_row(run, row, refuses_costs, done)) return s;
    if (*row.row_status == PERTURB_OK && !done) continue;
    if (const perturb_status s = run_to(b)) return s;
    first = b + 1;
  }
  return run_to(c.batch);
}

}  // namespace

perturb_status execute_rows(perturb_context& context, const call& c, const row_runner& run) {
  if (c.row_status) {
    if (const perturb_status s = execute_good_rows(run, c)) return s;
  } else {
    if (const perturb_status s = check_contents(c)) return s;
    if (const perturb_status s = run(c)) return s;
  }
  return c.row_clamped ? count_clamped(context, c) : PERTURB_OK;
}

perturb_status execute_rows(perturb_context& context, const call& c) {
  if (!on_host(context)) return execute(context, c);  // the device keeps rows apart and writes their status itself
  return execute_rows(context, c, [&](const call& rows) { return execute(context, rows); });
}

}  // namespace perturb
