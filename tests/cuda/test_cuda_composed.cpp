// Derivatives in the amplitudes, covariances, nearest neighbours, adaptive sampling and closed forms on CUDA: the CPU's bits, in the workspace that is
// advertised and without allocating, and NaN in the rows that the CPU refuses. Capture is test_cuda_graphs.cpp's.
#include <gtest/gtest.h>

#include "composed.h"
#include "cuda/contract.h"
#include "cuda/device_allocators.h"

namespace perturb::test {
namespace {

using cuda_composed = cuda_contract;

// `cuda` in a workspace of the advertised size, from an allocator that must not be called.
struct lent {
  watching_device_allocator allocator;
  context_ptr context;
  std::unique_ptr<device_buffer> memory;

  lent(perturb_operation operation, const perturb_oracle* oracle, const perturb_noise* noise, int64_t batch) {
    perturb_context_options options = cuda_options();
    options.device_allocator = allocator.hooks();
    context = create(options);
    allocator.fail = true;
    size_t bytes = 0;
    require(perturb_workspace_size(context.get(), operation, oracle, noise, batch, &bytes));
    memory = std::make_unique<device_buffer>(bytes + 1);
    require(perturb_context_set_workspace(context.get(), memory->as<char>() + 1, bytes));
  }
};

// Those of every kernel, and the small ones of cases() with their baselines, samplings and amplitudes.
std::vector<test_case> composed_cases() {
  std::vector<test_case> all = shapes();
  int turn = 0;
  for (const test_case& c : cases())
    if (c.n <= 40 && turn++ % 3 == 0) all.push_back(c);
  return all;
}

TEST_F(cuda_composed, vjp_epsilon_and_covariance) {
  for (const test_case& c : composed_cases()) {
    for (perturb_operation operation : {PERTURB_OP_VJP_EPSILON, PERTURB_OP_COVARIANCE}) {
      if (!(operation == PERTURB_OP_COVARIANCE ? has_covariance(c) : has_vjp_epsilon(c)) || c.n > 10000) continue;
      const prepared_case p(cpu.get(), c);
      const std::vector<float> expected = run_case(cpu.get(), p, operation);
      device_memory memory;
      EXPECT_TRUE(same_bits(expected, run_case(memory, cuda.get(), p, operation, 0, c.batch))) << c.name << " " << operation;
    }
  }
}

// More rows than a slice of 4 MiB holds.
TEST_F(cuda_composed, slices_of_rows) {
  case_list list;
  test_case c = list.argmax_case(150);
  c.batch = 60;
  c.samples = 5;
  for (perturb_operation operation : {PERTURB_OP_VJP_EPSILON, PERTURB_OP_COVARIANCE}) {
    const prepared_case p(cpu.get(), c);
    device_memory memory;
    EXPECT_TRUE(same_bits(run_case(cpu.get(), p, operation), run_case(memory, cuda.get(), p, operation, 0, c.batch))) << operation;
  }
}

// More samples than a slice of y holds.
TEST_F(cuda_composed, covariance_slices_of_samples) {
  case_list list;
  test_case c = list.rank_case(100);
  c.batch = 1;
  c.samples = 12000;
  const prepared_case p(cpu.get(), c);
  device_memory memory;
  EXPECT_TRUE(same_bits(run_case(cpu.get(), p, PERTURB_OP_COVARIANCE), run_case(memory, cuda.get(), p, PERTURB_OP_COVARIANCE, 0, 1)));
}

TEST_F(cuda_composed, workspace) {
  for (const test_case& c : few_shapes())
    for (perturb_operation operation : {PERTURB_OP_VJP_EPSILON, PERTURB_OP_COVARIANCE}) {
      if (!(operation == PERTURB_OP_COVARIANCE ? has_covariance(c) : has_vjp_epsilon(c)) || c.is_grid()) continue;
      const prepared_case p(cpu.get(), c);
      const perturb_noise noise = make_noise(p.c, p.factors);
      lent to(operation, p.oracle.get(), &noise, c.batch);
      device_memory memory;
      EXPECT_TRUE(same_bits(run_case(cpu.get(), p, operation), run_case(memory, to.context.get(), p, operation, 0, c.batch))) << c.name;
      EXPECT_EQ(to.allocator.calls, 0);
    }
}

TEST_F(cuda_composed, nan_rows) {
  for (const test_case& c : few_shapes()) {
    if (!has_vjp_epsilon(c)) continue;
    const prepared_case good(cpu.get(), c);
    prepared_case bad(cpu.get(), c);
    bad.theta[c.is_grid() ? c.source : 0] = NAN;
    bad.cotangent[c.m() + (c.is_grid() ? c.source : 0)] = -HUGE_VALF;
    for (perturb_operation operation : {PERTURB_OP_VJP_EPSILON, PERTURB_OP_COVARIANCE}) {
      if (operation == PERTURB_OP_COVARIANCE && !has_covariance(c)) continue;
      const std::vector<float> expected = run_case(cpu.get(), good, operation);
      device_memory memory;
      const std::vector<float> got = run_case(memory, cuda.get(), bad, operation, 0, c.batch);
      const size_t width = expected.size() / c.batch;
      for (size_t i = 0; i < got.size(); ++i) {
        const bool refused = i / width == 0 || (i / width == 1 && operation == PERTURB_OP_VJP_EPSILON);
        ASSERT_TRUE(refused ? std::isnan(got[i]) : got[i] == expected[i]) << c.name << " " << operation << " entry " << i << " holds " << got[i];
      }
    }
  }
}

// ---------------------------------------------------------------- nearest neighbours

struct shape {
  int64_t batch, n, k, d;
};
constexpr shape neighbor_shapes[] = {{1, 1, 1, 1}, {3, 7, 2, 3}, {2, 33, 5, 65}, {33, 31, 7, 32}, {40, 70, 0, 5}, {5, 100, 10, 33}, {70, 5, 2, 70}};

TEST_F(cuda_composed, nearest_neighbors) {
  int turn = 0;
  for (const shape& s : neighbor_shapes)
    for (bool vjp : {false, true}) {
      neighbors_case p(s.batch, s.n, s.k, s.d, static_cast<perturb_distribution>(turn % 4), .3f, 10, turn % 3 == 1);
      if (s.n == 31) p.noise.sampling = PERTURB_SAMPLING_ANTITHETIC;
      ++turn;
      const std::vector<float> expected = run_neighbors(cpu.get(), p, vjp);
      device_memory memory;
      EXPECT_TRUE(same_bits(expected, run_neighbors(memory, cuda.get(), p, vjp, 0, s.batch))) << s.n << " " << vjp;
      lent to(vjp ? PERTURB_OP_NEAREST_NEIGHBORS_VJP : PERTURB_OP_NEAREST_NEIGHBORS, p.oracle.get(), &p.noise, s.batch);
      device_memory again;
      EXPECT_TRUE(same_bits(expected, run_neighbors(again, to.context.get(), p, vjp, 0, s.batch))) << s.n << " " << vjp;
      EXPECT_EQ(to.allocator.calls, 0);
    }
}

TEST_F(cuda_composed, nearest_neighbors_nan) {
  const neighbors_case good(4, 9, 2, 3, PERTURB_NORMAL, .5f, 8);
  neighbors_case bad(4, 9, 2, 3, PERTURB_NORMAL, .5f, 8);
  bad.queries[3] = NAN;
  bad.queries[6] = 3e19f;  // squares beyond float
  const std::vector<float> expected = run_neighbors(cpu.get(), good, false), expected_vjp = run_neighbors(cpu.get(), good, true);
  device_memory memory, vjp_memory;
  const std::vector<float> got = run_neighbors(memory, cuda.get(), bad, false, 0, 4), got_vjp = run_neighbors(vjp_memory, cuda.get(), bad, true, 0, 4);
  for (size_t i = 0; i < got.size(); ++i) EXPECT_TRUE(i / 18 == 1 || i / 18 == 2 ? std::isnan(got[i]) : got[i] == expected[i]) << i;
  for (size_t i = 0; i < got_vjp.size(); ++i) {
    const bool refused = i >= 12 || i / 3 == 1 || i / 3 == 2;  // and all of the points, whose gradients are sums over rows
    EXPECT_TRUE(refused ? std::isnan(got_vjp[i]) : got_vjp[i] == expected_vjp[i]) << i;
  }
}

// ---------------------------------------------------------------- adaptive sampling

TEST_F(cuda_composed, adaptive) {
  for (test_case c : few_shapes()) {
    if (!c.has_std_errors() || c.n > 40) continue;
    if (c.is_sort()) continue;  // which have no value
    c.samples = 10;
    const prepared_case p(cpu.get(), c);
    perturb_noise noise = make_noise(p.c, p.factors);
    perturb_adaptive_options options = PERTURB_ADAPTIVE_OPTIONS_INIT;
    options.y_std_error = c.oracle == oracle_kind::rank ? 0.7f : 0.06f;
    options.value_std_error = 1;
    options.max_samples = 120;
    const auto run = [&](auto& memory, perturb_context* context, int64_t& samples, perturb_status& status) {
      perturb_noise on = noise;
      if (on.epsilon_per_item) on.epsilon_per_item = memory.input(on.epsilon_per_item, c.n);
      const float* theta = memory.input(p.theta.data(), c.batch * c.n);
      float *y = memory.output(c.batch * c.n), *error = memory.output(c.batch * c.n), *value = memory.output(c.batch);
      status = perturb_expectation_adaptive(context, p.oracle.get(), &on, c.batch, theta, &options, y, error, value, nullptr, &samples);
      return joined_rows(memory, c.batch, {c.n, c.n, 1});
    };
    host_memory host;
    device_memory device;
    int64_t samples[2] = {};
    perturb_status status[2] = {};
    const std::vector<float> expected = run(host, cpu.get(), samples[0], status[0]), got = run(device, cuda.get(), samples[1], status[1]);
    ASSERT_TRUE(status[0] == PERTURB_OK || status[0] == PERTURB_ERROR_NOT_CONVERGED) << c.name << " " << perturb_last_error();
    EXPECT_EQ(status[0], status[1]) << c.name;
    EXPECT_EQ(samples[0], samples[1]) << c.name;
    EXPECT_TRUE(same_bits(expected, got)) << c.name;
  }
}

// ---------------------------------------------------------------- closed forms

TEST_F(cuda_composed, exact) {
  for (const test_case& c : exact_cases()) {
    if (c.oracle == oracle_kind::top_k && c.n == 16 && c.k == 8 && c.epsilon != 0.3f) continue;
    const prepared_case p(cpu.get(), c);
    device_memory memory;
    EXPECT_TRUE(same_bits(run_exact(cpu.get(), p), run_exact(memory, cuda.get(), p, 0, c.batch))) << c.name << " " << c.epsilon;
  }
}

TEST_F(cuda_composed, exact_nan) {
  for (test_case c : exact_cases()) {
    if (c.n < 2 || c.n > 5 || c.batch < 3) continue;
    for (float wrong : {NAN, HUGE_VALF, -HUGE_VALF}) {
      const prepared_case good(cpu.get(), c);
      prepared_case bad(cpu.get(), c);
      bad.theta[1] = wrong;
      bad.cotangent[2 * c.n + 1] = wrong;
      const std::vector<float> expected = run_exact(cpu.get(), good);
      device_memory memory;
      const std::vector<float> got = run_exact(memory, cuda.get(), bad, 0, c.batch);
      const size_t width = expected.size() / c.batch, n = c.n;
      for (size_t i = 0; i < got.size(); ++i) {
        const size_t row = i / width, at = i % width;
        const bool refused = row == 0 || (row == 2 && at >= n && at < 2 * n);  // y, gradient, value
        ASSERT_TRUE(refused ? std::isnan(got[i]) : got[i] == expected[i]) << c.name << " " << c.epsilon << " entry " << i << " holds " << got[i];
      }
    }
  }
}

}  // namespace
}  // namespace perturb::test
