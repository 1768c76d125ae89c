// The CUDA backend gives the CPU backend's bits: every case, every operation, memcmp. Runs on a GPU where there is one, else in the
// emulator (tests/cusim), where PERTURB_TEST_CASES picks the cases whose names contain a string.
#include <gtest/gtest.h>

#include <cstdlib>

#include "compare.h"
#include "cuda/device_memory.h"
#include "operations.h"

namespace perturb::test {
namespace {

bool picked(const test_case& c) {
  const char* names = std::getenv("PERTURB_TEST_CASES");
  return !names || c.name.find(names) != std::string::npos;
}

TEST(cuda_bits, cases) {
  const context_ptr cpu = make_context(2), cuda = make_cuda_context();
  ASSERT_TRUE(cuda) << perturb_last_error();
  for (const test_case& c : cases()) {
    if (!picked(c)) continue;
    const prepared_case p(cpu.get(), c);
    for (perturb_operation operation : operations) {
      if (!p.has(operation)) continue;
      SCOPED_TRACE(c.name + " " + operation_names[operation]);
      const std::vector<float> expected = run_all(cpu.get(), p, operation);
      device_memory memory;
      const std::vector<float> got = run_rows(memory, cuda.get(), p, operation, make_noise(p.c, p.factors), 0, c.batch);
      EXPECT_TRUE(same_bits(expected, got));
    }
  }
}

}  // namespace
}  // namespace perturb::test
