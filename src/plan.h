// How a call will run: a pure function of its sizes and the context's threads.
#pragma once

#include <cstddef>

#include "backend.h"

namespace perturb {

struct plan {
  int threads;           // that take part
  size_t stride;         // scratch bytes of each
  size_t bytes() const { return stride * (size_t)threads; }
};

// Scratch is the same for any optional outputs when `any_outputs` is set: what perturb_workspace_size promises.
plan make_plan(const cpu_backend& cpu, const call& c, int threads, bool any_outputs);

}  // namespace perturb
