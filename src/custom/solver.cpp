// One callback made safe: exceptions, return values and y that is not finite.
#include "custom/solver.h"

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <exception>
#include <limits>

#include "check.h"
#include "cpu/float_mode.h"
#include "error.h"

namespace perturb {

solver_failure call_solver(const call& c, int64_t first, int64_t count, const float* theta, float* y) noexcept {
  using reason = solver_failure::reason;
  solver_failure failure;
  failure.problem = first;
  failure.count = count;
  // An entry that the solver forgets is then an error, not what an earlier block left there.
  std::fill(y, y + count * c.m(), std::numeric_limits<float>::quiet_NaN());
  try {
    const float_mode mode;  // restored after solvers that change it
    failure.number = c.oracle->custom->solve(count, theta, y, nullptr, c.oracle->custom->user);
    if (failure.number != 0) failure.why = reason::returned;
  } catch (const std::exception& thrown) {
    failure.why = reason::threw;
    std::snprintf(failure.text, sizeof failure.text, ": %s", thrown.what());
  } catch (...) {
    failure.why = reason::threw;
  }
  if (failure.why != reason::none) return failure;
  if (const int64_t bad = first_non_finite(y, count * c.m()); bad < count * c.m()) {
    failure.why = reason::not_finite;
    failure.problem = first + bad / c.m();
    failure.item = bad % c.m();
    failure.value = y[bad];
  }
  return failure;
}

perturb_status report(const call& c, const solver_failure& failure) {
  char where[64], what[sizeof failure.text + 32];
  const int64_t row = failure.problem / c.samples, sample = failure.problem % c.samples;
  if (c.operation == PERTURB_OP_SOLVE)
    std::snprintf(where, sizeof where, "row %" PRId64, row);
  else
    std::snprintf(where, sizeof where, "row %" PRId64 ", sample %" PRId64, row, sample);
  if (failure.why == solver_failure::reason::not_finite)
    return fail(PERTURB_ERROR_CALLBACK, "oracle: the solver left y[%" PRId64 "] of %s at %g; expected a finite number in every entry",
                failure.item, where, (double)failure.value);
  if (failure.why == solver_failure::reason::returned)
    std::snprintf(what, sizeof what, "returned %" PRId32, failure.number);
  else
    std::snprintf(what, sizeof what, "threw an exception%s", failure.text);
  return fail(PERTURB_ERROR_CALLBACK, "oracle: the solver, given %" PRId64 " problems from %s on, %s; expected 0", failure.count, where,
              what);
}

}  // namespace perturb
