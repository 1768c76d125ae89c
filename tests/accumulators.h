// What tests of accumulators share: owners, and the saved bytes.
#pragma once

#include "arranged_call.h"

namespace perturb::test {

struct destroy_accumulator {
  void operator()(perturb_accumulator* a) const { perturb_accumulator_destroy(a); }
};
using accumulator_ptr = std::unique_ptr<perturb_accumulator, destroy_accumulator>;

inline accumulator_ptr make_accumulator(const request& r) {
  perturb_accumulator* made = nullptr;
  require(perturb_accumulator_create(r.context, operation_of(r.entry), r.oracle, r.noise, r.batch, &made));
  return accumulator_ptr(made);
}

inline constexpr entry_point accumulated[] = {entry_point::expectation, entry_point::vjp, entry_point::jvp, entry_point::jacobian,
                                              entry_point::fenchel_young};

inline std::vector<unsigned char> saved(const perturb_accumulator* a) {
  size_t size = 0;
  require(perturb_accumulator_save(a, nullptr, &size));
  std::vector<unsigned char> bytes(size);
  require(perturb_accumulator_save(a, bytes.data(), &size));
  EXPECT_EQ(size, bytes.size());
  return bytes;
}

}  // namespace perturb::test
