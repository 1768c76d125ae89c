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

// What top-k's shapes guess, they must make good where it is wrong: in plain kernels and in the general ones.
void add_top_k_guesses(case_list& list) {
  const auto add = [&](int64_t n, int64_t k, const char* note, inputs theta, bool quiet, float epsilon = 0.5f) {
    for (perturb_distribution distribution : {PERTURB_NORMAL, PERTURB_GUMBEL}) {
      test_case c = list.top_k_case(n, k, theta);
      c.distribution = distribution;
      c.quiet = quiet;
      c.epsilon = epsilon;
      c.samples = n <= 256 ? 20 : 3;
      if (n > 100000) c.batch = 1;
      list.add(c, note);
    }
  };
  for (int64_t n : {15, 30, 64, 100, 200, 1000, 1025, 4096, 4097, 5001}) {
    for (int64_t k : {int64_t{7}, n / 2, n}) add(n, k, "guess", inputs::distinct, false);
    add(n, 7, "quiet_ties", inputs::ties, true);
    add(n, 7, "equal", inputs::equal, true);
    add(n, 7, "equal_rounded", inputs::equal, false, 1e-6f);
  }
  for (int64_t n : {100, 1000, 5000}) add(n, 10, "striped", inputs::striped, false);
  add(5000, 60, "striped", inputs::striped, false);  // the buffer of the block's filter is left with too few
  add(4097, 2048, "half", inputs::distinct, false);
  add(4097, 2049, "half", inputs::distinct, false);
  add(140000, 20, "two_strides", inputs::distinct, false);
}

// Those of every backend, one for every kernel, top-k's guesses, and a large grid with walls, both kinds of diagonal steps and a factor.
std::vector<test_case> all_cases() {
  std::vector<test_case> all = cases();
  const std::vector<test_case> of_kernels = shapes();
  all.insert(all.end(), of_kernels.begin(), of_kernels.end());
  case_list list;
  add_top_k_guesses(list);
  test_case large = list.grid_case(140, 150, PERTURB_CONNECT_8_NO_CORNER_CUTTING);
  large.wall = walls::random;
  large.diagonal_factor = 1.41421356f;
  large.samples = 3;
  list.add(large, "tiles_walls");
  for (test_case longest : {list.grid_case(5, 4096), list.grid_case(4096, 5)}) {
    longest.samples = longest.batch = 1;
    list.add(longest, "longest_side");
  }
  all.insert(all.end(), list.all.begin(), list.all.end());
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
