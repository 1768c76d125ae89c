// The CUDA backend gives the CPU backend's bits: every case, every operation, memcmp. Runs on a GPU where there is one, else in the
// emulator (tests/cusim). PERTURB_TEST_CASES picks the cases whose names contain a string, PERTURB_TEST_EVERY=n/k every n-th from the k-th.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>

#include "compare.h"
#include "cuda/cuda_call.h"

namespace perturb::test {
namespace {

bool picked(const test_case& c, int number) {
  const char* names = std::getenv("PERTURB_TEST_CASES");
  if (names && c.name.find(names) == std::string::npos) return false;
  int every = 1, first = 0;
  if (const char* part = std::getenv("PERTURB_TEST_EVERY")) {
    if (std::sscanf(part, "%d/%d", &every, &first) != 2 || every < 1) throw std::runtime_error("PERTURB_TEST_EVERY: expected n/k");
  }
  return number % every == first;
}

// Those of every backend, one for every kernel, and a large grid with walls, both kinds of diagonal steps and a factor.
std::vector<test_case> all_cases() {
  std::vector<test_case> all = cases();
  const std::vector<test_case> of_kernels = shapes();
  all.insert(all.end(), of_kernels.begin(), of_kernels.end());
  case_list list;
  test_case large = list.grid_case(140, 150, PERTURB_CONNECT_8_NO_CORNER_CUTTING);
  large.wall = walls::random;
  large.diagonal_factor = 1.41421356f;
  large.samples = 3;
  all.push_back(list.add(large, "tiles_walls"));
  return all;
}

TEST(cuda_bits, cases) {
  const context_ptr cpu = make_context(2), cuda = make_cuda_context();
  ASSERT_TRUE(cuda) << perturb_last_error();
  int number = 0, run = 0;
  for (const test_case& c : all_cases()) {
    if (!picked(c, number++)) continue;
    ++run;
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
  EXPECT_GT(run, 0) << "no case was picked";
}

}  // namespace
}  // namespace perturb::test
