// Calls that run callbacks of the caller's, a solver or a cost function, on a CPU context: what the frontend asks of src/custom.
//
// The solver is called with blocks of perturbed scores and returns blocks of y; a cost function gets blocks of y. Everything else is as for
// other oracles: the same noise, the same scores to the bit, the same formulas. y and costs may be any finite floats, so sums are in double
// precision; their order is fixed (estimators.h), and with it the bits for any number of threads.
#pragma once

#include <cstddef>

#include "backend.h"
#include "context.h"

namespace perturb {

inline bool runs_custom(const call& c) { return c.oracle->custom || c.operation == PERTURB_OP_COST; }

// Scratch of a call, whichever optional outputs and options it is given. Fails with OUT_OF_MEMORY where no address space could hold it.
perturb_status custom_scratch_bytes(const perturb_context& context, const call& c, size_t& bytes);

// Runs a checked call to its end. A call that fails has written nothing, but for PERTURB_OP_SAMPLE.
perturb_status custom_execute(perturb_context& context, const call& c);

// The call's rows without noise.
call solving_rows(const call& c);

}  // namespace perturb
