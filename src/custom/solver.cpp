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
namespace {

using reason = solver_failure::reason;

// callback() -> what it returns.
template <class Callback>
solver_failure made_safe(int64_t first, int64_t count, bool by_cost, Callback&& callback) noexcept {
  solver_failure failure;
  failure.by_cost = by_cost;
  failure.problem = first;
  failure.count = count;
  try {
    const float_mode mode;  // restored after callbacks that change it
    failure.number = callback();
    if (failure.number != 0) failure.why = reason::returned;
  } catch (const std::exception& thrown) {
    failure.why = reason::threw;
    std::snprintf(failure.text, sizeof failure.text, ": %s", thrown.what());
  } catch (...) {
    failure.why = reason::threw;
  }
  return failure;
}

// The same, of a callback that fills values [count, width]. An entry that it forgets is then an error, not what an earlier block left
// there.
template <class Callback>
solver_failure made_to_fill(int64_t first, int64_t count, int64_t width, float* values, bool by_cost, Callback&& callback) noexcept {
  std::fill(values, values + count * width, std::numeric_limits<float>::quiet_NaN());
  solver_failure failure = made_safe(first, count, by_cost, callback);
  if (failure) return failure;
  if (const int64_t bad = first_non_finite(values, count * width); bad < count * width) {
    failure.why = reason::not_finite;
    failure.problem = first + bad / width;
    failure.item = bad % width;
    failure.value = values[bad];
  }
  return failure;
}

}  // namespace

solver_failure call_solver(const call& c, int64_t first, int64_t count, const float* theta, float* y) noexcept {
  const custom_solver& solver = *c.oracle->custom;
  return made_to_fill(first, count, c.m(), y, false, [&] { return solver.solve(count, theta, y, nullptr, solver.user); });
}

solver_failure call_cost(const call& c, int64_t first, int64_t count, const float* y, const int64_t* rows, float* costs) noexcept {
  return made_to_fill(first, count, 1, costs, true, [&] { return c.cost->cost(count, y, rows, costs, nullptr, c.cost->user); });
}

solver_failure enqueue_solver(const call& c, int64_t first, int64_t count, const float* theta, float* y, void* stream) noexcept {
  const custom_solver& solver = *c.oracle->custom;
  return made_safe(first, count, false, [&] { return solver.enqueue(count, theta, y, stream, solver.user); });
}

solver_failure enqueue_cost(const call& c, int64_t first, int64_t count, const float* y, const int64_t* rows, float* costs,
                            void* stream) noexcept {
  return made_safe(first, count, true, [&] { return c.cost->enqueue(count, y, rows, costs, stream, c.cost->user); });
}

const char* name_of(resolve_input input) {
  switch (input) {
    case resolve_input::theta:
      return "theta";
    case resolve_input::toward:
      return "theta shifted to less loss";
    case resolve_input::away:
      return "theta shifted to more loss";
    case resolve_input::reflected:
      return "2 theta - theta_true";
    case resolve_input::truth:
      break;
  }
  return "theta_true";
}

perturb_status report(const call& c, const solver_failure& failure) {
  char where[128], entry[64], what[sizeof failure.text + 32];
  const char* who = failure.by_cost ? "options: the cost function" : "oracle: the solver";
  const int64_t row = c.row_of_caller + failure.problem / c.samples, sample = failure.problem % c.samples;
  if (!takes_noise(c.operation))
    std::snprintf(where, sizeof where, "row %" PRId64 "%s%s", row, failure.input ? " of " : "", failure.input ? failure.input : "");
  else
    std::snprintf(where, sizeof where, "row %" PRId64 ", sample %" PRId64 "%s%s", row, sample, failure.input ? " of " : "",
                  failure.input ? failure.input : "");
  if (failure.why == reason::not_finite) {
    if (failure.by_cost)
      std::snprintf(entry, sizeof entry, "the cost");
    else
      std::snprintf(entry, sizeof entry, "y[%" PRId64 "]", failure.item);
    return fail(PERTURB_ERROR_CALLBACK, "%s left %s of %s at %g; expected a finite number in every entry", who, entry, where,
                (double)failure.value);
  }
  if (failure.why == reason::returned)
    std::snprintf(what, sizeof what, "returned %" PRId32, failure.number);
  else
    std::snprintf(what, sizeof what, "threw an exception%s", failure.text);
  return fail(PERTURB_ERROR_CALLBACK, "%s, given %" PRId64 " problems from %s on, %s; expected 0", who, failure.count, where, what);
}

}  // namespace perturb
