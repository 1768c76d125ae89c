// A checked call, to its end on a CPU context, onto its stream on a CUDA context.
#pragma once

#include "context.h"

namespace perturb {

inline bool on_host(const perturb_context& context) { return context.backend == PERTURB_BACKEND_CPU; }

perturb_status execute(perturb_context& context, const call& c);

}  // namespace perturb
