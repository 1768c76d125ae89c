// One callback made safe: whatever the caller's solver does with its problems comes back as a value.
#pragma once

#include <cstdint>

#include "backend.h"

namespace perturb {

// Why a callback failed. Kept as numbers until the call ends: threads of the pool have no last error of the caller's.
struct solver_failure {
  enum class reason { none, returned, threw, not_finite };
  reason why = reason::none;
  int32_t number = 0;   // returned
  char text[160] = "";  // threw: what it said
  int64_t problem = 0;  // of the flattened [batch, samples]: the first of the block, or the one whose y is not finite
  int64_t count = 0;    // problems of the block
  int64_t item = 0;     // not_finite
  float value = 0.0f;   // not_finite
};

// Solves problems first..first+count-1, y [count, m]. Runs on any thread, never throws.
solver_failure call_solver(const call& c, int64_t first, int64_t count, const float* theta, float* y) noexcept;

// Fails with CALLBACK and a sentence about it.
perturb_status report(const call& c, const solver_failure& failure);

}  // namespace perturb
