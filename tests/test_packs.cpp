// Rows with few samples, which the CPU solves side by side, a lane each (src/cpu/pack_sampler.h): every grid and rank of the other tests with as
// few samples as fill a pack, nearly, or not quite, against scalar kernels, which know no packs; rows apart; and workspaces for fewer rows.
#include <gtest/gtest.h>

#include "compare.h"
#include "operations.h"

namespace perturb::test {
namespace {

struct shape {
  int64_t samples, batch;
};

// On both sides of a pack's end, of its half, and of the fewest problems worth one, for 8 lanes and for 16.
constexpr shape shapes[] = {{1, 1}, {1, 2}, {1, 3}, {1, 40}, {2, 17}, {3, 1}, {3, 9}, {4, 5}, {7, 4}, {8, 3}, {11, 2}, {14, 2}, {15, 3}, {16, 2}};

// Cases of each kind of noise hold arrays for four rows.
std::vector<test_case> few() {
  std::vector<test_case> some;
  int turn = 0;
  const auto take = [&](test_case c, int64_t most_rows) {
    if (c.oracle != oracle_kind::rank && !c.is_grid()) return;
    for (int i = 0; i < 2; ++i) {
      const shape& s = shapes[turn++ % std::size(shapes)];
      c.samples = c.sampling == PERTURB_SAMPLING_ANTITHETIC ? (s.samples + 1) / 2 * 2 : s.samples;
      c.batch = std::min(s.batch, most_rows);
      if (c.n > 500) c.batch = std::min<int64_t>(c.batch, 5);
      c.prox = turn % 3 == 0;
      some.push_back(c);
      some.back().name += "_samples" + std::to_string(c.samples) + "_batch" + std::to_string(c.batch);
    }
  };
  for (const test_case& c : cases()) take(c, 40);
  for (const test_case& c : noise_cases()) take(c, 4);
  case_list list;
  for (int64_t samples : {1, 3, 5})
    for (bool walled : {false, true}) {
      test_case c = list.grid_case(11, 13, walled ? PERTURB_CONNECT_8_NO_CORNER_CUTTING : PERTURB_CONNECT_8);
      c.tables = true;
      if (walled) c.wall = walls::random_nan, c.count_source = 0, c.diagonal_factor = 1.41421356f;
      c.samples = samples;
      c.batch = 13;
      c.first_row = samples;
      c.prox = false;
      c.name = "ends_of_rows_samples" + std::to_string(samples) + (walled ? "_walls" : "");
      some.push_back(c);
    }
  // Around the largest sizes of packs, and of groups of samples.
  for (test_case c : {list.rank_case(4096), list.rank_case(4097), list.rank_case(8192), list.rank_case(8193), list.grid_case(130, 140), list.grid_case(256, 256),
                      list.grid_case(256, 257)})
    for (int64_t samples : {1, 20}) {
      c.samples = samples;
      c.batch = samples == 1 ? 3 : 1;
      c.prox = false;
      c.name += "_largest_samples" + std::to_string(samples);
      some.push_back(c);
    }
  return some;
}

template <class Check>
void for_few(Check one) {
  const context_ptr reference = make_context_on("scalar", 1);
  int number = 0;
  for (const test_case& c : few()) {
    if (!picked(c, number++)) continue;
    const prepared_case p(reference.get(), c);
    for (perturb_operation operation : operations) {
      if (!p.has(operation) || operation == PERTURB_OP_JACOBIAN) continue;  // never in packs, and slow
      SCOPED_TRACE(c.name + " " + operation_names[operation]);
      one(p, operation, run_all(reference.get(), p, operation));
      if (testing::Test::HasFatalFailure()) return;
    }
  }
}

TEST(packs, have_the_bits_of_scalar_kernels) {
  std::vector<context_ptr> contexts;
  for (const char* isa : {"avx2", "avx512"})
    for (int32_t threads : {1, 3})
      if (context_ptr context = make_context_on(isa, threads)) contexts.push_back(std::move(context));
  if (contexts.empty()) GTEST_SKIP() << "this machine or build has scalar kernels only";
  for_few([&](const prepared_case& p, perturb_operation operation, const std::vector<float>& expected) {
    for (const context_ptr& context : contexts) EXPECT_TRUE(same_bits(expected, run_all(context.get(), p, operation)));
  });
}

// Two rows at a time, in a workspace made for all: it does for fewer, which may run in another way.
TEST(packs, fewer_rows_fit_the_workspace) {
  const context_ptr context = make_context(2);
  for_few([&](const prepared_case& p, perturb_operation operation, const std::vector<float>& expected) {
    const perturb_noise noise = make_noise(p.c, p.factors);
    const bool noisy = operation != PERTURB_OP_SOLVE && operation != PERTURB_OP_LPGD && operation != PERTURB_OP_SPO_PLUS;
    size_t bytes = 0;
    require(perturb_workspace_size(context.get(), operation, p.oracle.get(), noisy ? &noise : nullptr, p.c.batch, &bytes));
    std::vector<unsigned char> memory(bytes);
    require(perturb_context_set_workspace(context.get(), memory.data(), bytes));
    std::vector<float> joined;
    if (p.c.n > 4000) return;
    if (p.c.tables && !noisy) return;  // rows without noise are numbered from 0 in each call
    for (int64_t b = 0; b < p.c.batch; b += 2) {
      const std::vector<float> rows = run_rows(context.get(), p, operation, noise, b, std::min<int64_t>(2, p.c.batch - b));
      joined.insert(joined.end(), rows.begin(), rows.end());
    }
    EXPECT_TRUE(same_bits(expected, joined));
    require(perturb_context_set_workspace(context.get(), nullptr, 0));
  });
}

}  // namespace
}  // namespace perturb::test
