// One callback made safe: whatever a solver or cost function of the caller's does with its problems comes back as a value.
#pragma once

#include <cstdint>

#include "backend.h"

namespace perturb {

// Why a callback failed. Kept as numbers until the call ends: threads of the pool have no last error of the caller's.
struct solver_failure {
  enum class reason { none, returned, threw, not_finite };
  reason why = reason::none;
  bool by_cost = false;         // the cost function; else the solver
  const char* input = nullptr;  // of LPGD and its family: what was solved
  int32_t number = 0;           // returned
  char text[160] = "";          // threw: what it said
  int64_t problem = 0;          // of the flattened [batch, samples]: the first of the block, or the one whose y is not finite
  int64_t count = 0;            // problems of the block
  int64_t item = 0;             // not_finite
  float value = 0.0f;           // not_finite

  explicit operator bool() const { return why != reason::none; }
};

// On a CPU context, any thread: solves problems first..first+count-1, y [count, m], or makes their costs. Never throws.
solver_failure call_solver(const call& c, int64_t first, int64_t count, const float* theta, float* y) noexcept;
solver_failure call_cost(const call& c, int64_t first, int64_t count, const float* y, const int64_t* rows, float* costs) noexcept;

// The same on a CUDA context: enqueued.
solver_failure enqueue_solver(const call& c, int64_t first, int64_t count, const float* theta, float* y, void* stream) noexcept;
solver_failure enqueue_cost(const call& c, int64_t first, int64_t count, const float* y, const int64_t* rows, float* costs,
                            void* stream) noexcept;

// An input of LPGD and its family in a sentence.
const char* name_of(resolve_input input);

// Fails with CALLBACK and a sentence about it.
perturb_status report(const call& c, const solver_failure& failure);

}  // namespace perturb
