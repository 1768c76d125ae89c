// Closed forms as both backends are asked for them.
#pragma once

#include <cstdint>

namespace perturb {

enum class exact_form { softmax, ranks, top_k };
constexpr int64_t exact_top_k_limit = 16;  // n: tables have 2^n entries

struct exact_problem {
  exact_form form;
  bool gumbel;  // ranks: else normal
  bool descending;
  int32_t base;
  int64_t k;
  int64_t batch, n;
  double epsilon;          // > 0
  const float* theta;      // [batch, n]
  const float* cotangent;  // [batch, n]: the VJP is wanted; null: the expectation
  float* output;           // [batch, n]: y or gradient
  float* value;            // [batch] or null
  int32_t* row_status;     // [batch] or null: written by the device; the host's rows are kept apart before (row_status.h)
  int64_t* row_clamped;    // the same
};

}  // namespace perturb
