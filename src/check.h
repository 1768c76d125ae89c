// Argument checks: every bad argument is found here, before any work, and named in one sentence.
#pragma once

#include <cstring>
#include <span>

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
// Whether it is one of the enumerators.
perturb_status check_operation(const perturb_operation& operation);
// `options` becomes what was given, with defaults for fields that the caller's header did not have. Entries of tables and sets: grid_ends.h.
perturb_status check_grid_options(const perturb_grid_path_options* given, perturb_grid_path_options& options);
perturb_status check_row_k(int64_t n, int64_t rows, const int64_t* k);
// The solver of a custom oracle into `solver`.
perturb_status check_custom_options(const perturb_custom_options* options, custom_solver& solver);

// The caller's struct, of any size that a header has had, as one of this version.
perturb_status check_noise_struct(const perturb_noise* options, perturb_noise& noise);
// The noise of a call into `c`, whose operation is set; n items per row. on_host: whether arrays are host memory, and can be looked at.
perturb_status check_noise(const perturb_noise* noise, int64_t batch, int64_t n, bool on_host, call& c);

// The options of LPGD and I-MLE into `c`, whose operation and oracle are set; NULL: the defaults.
perturb_status check_lpgd_options(const perturb_lpgd_options* options, bool on_host, call& c);
// Whether the operation is offered for the noise and sizes that are set.
perturb_status check_estimator(const call& c);
// The cost function of a call into `c`.
perturb_status check_cost_options(const perturb_cost_options* options, bool on_host, call& c);
// Whether the operation is offered for the oracle.
perturb_status check_oracle(const call& c, bool on_host);

// Sizes of a call whose oracle, operation, batch and noise are set.
perturb_status check_sizes(const call& c);

// What the header calls the operand, NULL where the operation has none.
const char* operand_name(perturb_operation operation);
// The floats of the operand per row.
int64_t operand_width(const call& c);
// The floats of output `index` of a call, given or not; 0 where the operation has no such output.
int64_t output_count(const call& c, int index);

// Whether a * b * c elements of 4 bytes, or of 8 bytes of scratch, can be counted.
bool fits(int64_t a, int64_t b, int64_t c);

// An array of a call, NULL where it is not given.
struct array_argument {
  const char* name;
  const void* begin;
  int64_t count;  // floats
};
// Alignment, and that no output overlaps an input or another output.
perturb_status check_layout(std::span<const array_argument> inputs, std::span<const array_argument> outputs);

// The first entry that is not finite, or count.
int64_t first_non_finite(const float* x, int64_t count);

// Pointers and overlaps of a call whose sizes are right and not zero. `required` says which outputs must be there.
perturb_status check_arrays(const call& c, unsigned required);
// What theta and the operand hold, in host memory; a device looks at its arrays itself.
perturb_status check_contents(const call& c);

}  // namespace perturb
