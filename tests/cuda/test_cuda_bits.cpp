// The CUDA backend gives the CPU backend's bits: every case, every operation, memcmp. Runs on a GPU where there is one, else in the
// emulator (tests/cusim).
#include <gtest/gtest.h>

#include "compare.h"
#include "cuda/cuda_call.h"

namespace perturb::test {
namespace {

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

// Those of every backend, one for every kernel, top-k's guesses, a large grid with walls, both kinds of diagonal steps and a factor, and tables
// whose rows lie in several slices and begin elsewhere than at 0.
std::vector<test_case> all_cases() {
  std::vector<test_case> all = cases();
  for (const std::vector<test_case>& more : {noise_cases(), shapes()}) all.insert(all.end(), more.begin(), more.end());
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
  // Sources at the edge of a tile whose only way on is the next tile.
  struct corridor {
    int64_t height, width, source, target;
  };
  for (const corridor& at : {corridor{100, 1, 16, 0}, {100, 1, 15, 99}, {200, 1, 16, 0}, {200, 1, 47, 199}, {1, 200, 32, 0}, {1, 200, 31, 199}}) {
    test_case c = list.grid_case(at.height, at.width);
    c.source = at.source;
    c.target = at.target;
    c.samples = 3;
    list.add(c, "corridor");
  }
  test_case rows = list.top_k_case(1000, 900);
  rows.tables = true;
  rows.samples = 2;
  rows.batch = 150;
  list.add(rows, "tables_of_many_rows");
  for (test_case later : {list.top_k_case(100, 90), list.grid_case(7, 9, PERTURB_CONNECT_4), list.grid_case(20, 20)}) {
    later.tables = true;
    later.first_row = 5;
    later.samples = 20;
    list.add(later, "tables_later_rows");
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

// Noise in memory that is more than a slice holds is made some samples at a time; and rows in slices read their own. Each only in the
// operations that differ.
struct sliced_case {
  test_case c;
  std::vector<perturb_operation> operations;
};

std::vector<sliced_case> sliced_cases() {
  std::vector<sliced_case> all;
  case_list list;
  test_case c = list.argmax_case(100000);
  c.sampling = PERTURB_SAMPLING_LATIN;
  c.distribution = PERTURB_LOGISTIC;  // z and S: 5 samples at a time
  c.batch = 1;
  c.samples = 6;
  all.push_back({list.add(c, "latin_parts"), {PERTURB_OP_VJP, PERTURB_OP_JVP}});
  c.distribution = PERTURB_SUM_OF_GAMMA;
  c.sampling = PERTURB_SAMPLING_IID;
  c.gamma_k = c.gamma_terms = 1;
  c.samples = 11;  // 10 at a time
  all.push_back({list.add(c, "parts"), {PERTURB_OP_SAMPLE, PERTURB_OP_IMLE}});
  c = list.argmax_case(1000);
  c.sampling = PERTURB_SAMPLING_LATIN;
  c.samples = 3;
  c.batch = 230;
  all.push_back({list.add(c, "latin_many_rows"), {PERTURB_OP_EXPECTATION}});
  c = list.argmax_case(10);
  c.distribution = PERTURB_GIVEN;
  c.samples = 2;
  c.batch = 6000;
  c.given = std::make_shared<given_noise>(c.seed, c.batch * c.samples * c.n);
  for (int64_t b = 0; b < c.batch; ++b) c.row_factors.push_back(uniform_float(3, b, 0, 2));
  for (perturb_operation operation : {PERTURB_OP_EXPECTATION, PERTURB_OP_VJP, PERTURB_OP_JACOBIAN, PERTURB_OP_FENCHEL_YOUNG, PERTURB_OP_IMLE})
    all.push_back({list.add(c, "many_rows"), {operation}});
  return all;
}

TEST(cuda_bits, noise_in_parts) {
  const context_ptr cpu = make_context(2), cuda = make_cuda_context();
  ASSERT_TRUE(cuda) << perturb_last_error();
  int number = 0;
  for (const sliced_case& s : sliced_cases()) {
    if (!picked(s.c, number++)) continue;
    const prepared_case p(cpu.get(), s.c);
    for (perturb_operation operation : s.operations) {
      SCOPED_TRACE(s.c.name + " " + operation_names[operation]);
      device_memory memory;
      EXPECT_TRUE(same_bits(run_all(cpu.get(), p, operation), run_rows(memory, cuda.get(), p, operation, make_noise(p.c, p.factors), 0, s.c.batch)));
    }
  }
}

}  // namespace
}  // namespace perturb::test
