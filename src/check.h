// Argument checks: every bad argument is found here, before any work, and named in one sentence.
#pragma once

#include <cstring>

#include "backend.h"
#include "perturb/perturb.h"

namespace perturb {

// The number in an enum that a caller set, which may be none of its enumerators: reading it as the enum would be undefined.
template <class Enum>
int enum_number(const Enum& value) {
  int number;
  static_assert(sizeof number == sizeof value);
  std::memcpy(&number, &value, sizeof number);
  return number;
}

constexpr int64_t items_limit = INT32_MAX;  // n and m

perturb_status check_context_options(const perturb_context_options* options);
perturb_status check_size(const char* name, int64_t value, int64_t lowest, int64_t highest);
perturb_status check_grid_options(const perturb_grid_path_options* options);
perturb_status check_custom_options(const perturb_custom_options* options);

// The noise of a call into `c`; n items per row. on_host: whether arrays are host memory, and can be looked at.
perturb_status check_noise(const perturb_noise* noise, int64_t batch, int64_t n, bool on_host, call& c);

// The options of LPGD and I-MLE into `c`, whose operation and oracle are set; NULL: the defaults.
perturb_status check_lpgd_options(const perturb_lpgd_options* options, call& c);
// Whether the operation is offered for the oracle.
perturb_status check_oracle(const call& c, bool on_host);

// Sizes of a call whose oracle, operation, batch and noise are set.
perturb_status check_sizes(const call& c);

// The floats of output `index` of a call, given or not; 0 where the operation has no such output.
int64_t output_count(const call& c, int index);

// The first entry that is not finite, or count.
int64_t first_non_finite(const float* x, int64_t count);

// Pointers and overlaps of a call whose sizes are right and not zero. `required` says which outputs must be there.
perturb_status check_arrays(const call& c, unsigned required);
// What theta and the operand hold, in host memory; a device looks at its arrays itself.
perturb_status check_contents(const call& c);

}  // namespace perturb
