// A checked call, to its end on a CPU context, onto its stream on a CUDA context.
#pragma once

#include "context.h"

namespace perturb {

inline bool on_host(const perturb_context& context) { return context.backend == PERTURB_BACKEND_CPU; }

perturb_status execute(perturb_context& context, const call& c);

// The workspace that a call needs, whichever optional outputs it is given, with what any alignment of the workspace may cost.
perturb_status workspace_bytes(const perturb_context& context, const call& c, size_t& bytes);
// Grids that refuse negative costs look for one in all samples before anything is written. scratch: of a thread of the call's.
perturb_status refuse_negative(const perturb_context& context, const call& c, void* scratch);

}  // namespace perturb
