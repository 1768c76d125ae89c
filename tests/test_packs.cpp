// Rows with few samples, which the CPU solves side by side, a lane each (src/cpu/pack_sampler.h): every grid and rank of the other tests with as
// few samples as fill a pack, nearly, or not quite, against scalar kernels, which know no packs; rows apart; and workspaces for fewer rows.
#include <gtest/gtest.h>

#include "compare.h"
#include "composed.h"
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
      some.push_back(c);
      some.back().name += "_largest_samples" + std::to_string(samples);
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

// Of every instruction set that has packs, with one thread and with three.
std::vector<context_ptr> vector_contexts() {
  std::vector<context_ptr> contexts;
  for (const char* isa : {"avx2", "avx512"})
    for (int32_t threads : {1, 3})
      if (context_ptr context = make_context_on(isa, threads)) contexts.push_back(std::move(context));
  return contexts;
}

TEST(packs, have_the_bits_of_scalar_kernels) {
  const std::vector<context_ptr> contexts = vector_contexts();
  if (contexts.empty()) GTEST_SKIP() << "this machine or build has scalar kernels only";
  for_few([&](const prepared_case& p, perturb_operation operation, const std::vector<float>& expected) {
    for (const context_ptr& context : contexts) EXPECT_TRUE(same_bits(expected, run_all(context.get(), p, operation)));
  });
}

// Rows whose paths lie in parts of the grid that walls separate: the cells that one row's source reaches are not another's.
TEST(packs, rows_of_separate_parts) {
  constexpr int64_t height = 6, width = 7, cells = height * width;
  std::vector<uint8_t> passable(cells, 1);
  for (int64_t r = 0; r < height; ++r) passable[r * width + 3] = 0;
  std::vector<int64_t> sources, targets;
  for (int64_t row = 0; row < 20; ++row) {
    const int64_t left = row % 3 == 1 ? 4 : 0;
    sources.push_back(left + row % 2);
    targets.push_back(cells - width + left + 2 - row % 2);
  }
  perturb_grid_path_options options = PERTURB_GRID_PATH_OPTIONS_INIT;
  options.height = height, options.width = width;
  options.passable = passable.data();
  options.rows = 20;
  options.row_sources = sources.data(), options.row_targets = targets.data();
  const oracle_ptr oracle = make_grid(options);
  std::vector<float> theta(20 * cells);
  for (size_t i = 0; i < theta.size(); ++i) theta[i] = uniform_float(5, i, 1, 9);
  const perturb_noise noise = make_noise(PERTURB_NORMAL, 0.3f, 3, 8);
  const auto paths = [&](perturb_context* context) {
    std::vector<float> y(3 * theta.size());
    require(perturb_sample(context, oracle.get(), &noise, 20, theta.data(), y.data()));
    return y;
  };
  const std::vector<float> expected = paths(make_context_on("scalar", 1).get());
  for (const context_ptr& context : vector_contexts()) EXPECT_TRUE(same_bits(expected, paths(context.get())));
}

// A lane has ranks in exact order in one pack and in packed order, with ties, in the next.
TEST(packs, orders_take_turns) {
  constexpr int64_t n = 40, batch = 80;
  const oracle_ptr oracle = make_rank(n);
  std::vector<float> theta(batch * n), factors(n);
  factors[1] = 1;
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t i = 0; i < n; ++i) theta[b * n + i] = static_cast<float>(hashed(b, i) % 3);
    if (hashed(9, b) % 2) theta[b * n] = -1e9f;  // a range too wide for packed keys
  }
  perturb_noise noise = make_noise(PERTURB_NORMAL, 1, 1, 4);
  noise.epsilon_per_item = factors.data();
  const auto ranks = [&](perturb_context* context) {
    std::vector<float> y(theta.size());
    require(perturb_sample(context, oracle.get(), &noise, batch, theta.data(), y.data()));
    return y;
  };
  const std::vector<float> expected = ranks(make_context_on("scalar", 1).get());
  for (const context_ptr& context : vector_contexts()) EXPECT_TRUE(same_bits(expected, ranks(context.get())));
}

// The same of perturb_vjp_epsilon, which the list of operations lacks.
TEST(packs, gradients_in_epsilon) {
  const std::vector<context_ptr> contexts = vector_contexts();
  const context_ptr reference = make_context_on("scalar", 1);
  if (contexts.empty()) GTEST_SKIP() << "this machine or build has scalar kernels only";
  int number = 0;
  for (const test_case& c : few()) {
    const bool plain = c.distribution <= PERTURB_LAPLACE && c.sampling != PERTURB_SAMPLING_LATIN;
    if (!picked(c, number++) || !has_vjp_epsilon(c) || !plain || c.n > 4000) continue;
    const prepared_case p(reference.get(), c);
    const std::vector<float> expected = run_case(reference.get(), p, PERTURB_OP_VJP_EPSILON);
    for (const context_ptr& context : contexts) EXPECT_TRUE(same_bits(expected, run_case(context.get(), p, PERTURB_OP_VJP_EPSILON))) << c.name;
  }
}

// Two rows at a time, in a workspace made for all: it does for fewer, which may run in another way.
TEST(packs, fewer_rows_fit_the_workspace) {
  const context_ptr context = make_context(2);
  for_few([&](const prepared_case& p, perturb_operation operation, const std::vector<float>& expected) {
    const bool noisy = operation != PERTURB_OP_SOLVE && operation != PERTURB_OP_LPGD && operation != PERTURB_OP_SPO_PLUS;
    if (p.c.n > 4000) return;            // slow, and the same classes
    if (p.c.tables && !noisy) return;  // rows without noise are numbered from 0 in each call
    const perturb_noise noise = make_noise(p.c, p.factors);
    size_t bytes = 0;
    require(perturb_workspace_size(context.get(), operation, p.oracle.get(), noisy ? &noise : nullptr, p.c.batch, &bytes));
    std::vector<unsigned char> memory(bytes);
    require(perturb_context_set_workspace(context.get(), memory.data(), bytes));
    std::vector<float> joined;
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
