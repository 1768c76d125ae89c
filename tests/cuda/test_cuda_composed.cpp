// Derivatives in the amplitudes, covariances, nearest neighbours, adaptive sampling, closed forms, projections and AIMLE's step on CUDA: the CPU's bits, in the workspace that is
// advertised and without allocating, and NaN in the rows that the CPU refuses. Capture is test_cuda_graphs.cpp's.
#include <gtest/gtest.h>

#include <cstring>

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

// ---------------------------------------------------------------- projections, and AIMLE's step

TEST_F(cuda_composed, identity) {
  for (const test_case& c : identity_cases()) {
    const prepared_case p(cpu.get(), c);
    for (perturb_projection projection : projections) {
      if (!has_projection(c, projection)) continue;
      device_memory memory;
      EXPECT_TRUE(same_bits(run_identity(cpu.get(), p, projection), run_identity(memory, cuda.get(), p, projection, 0, c.batch))) << c.name << " " << projection;
    }
  }
}

TEST_F(cuda_composed, identity_nan_and_row_status) {
  test_case c = case_list().rank_case(150);
  c.batch = 7;
  const prepared_case good(cpu.get(), c);
  prepared_case bad(cpu.get(), c);
  bad.theta[1 * 150 + 149] = NAN;
  bad.cotangent[5 * 150] = HUGE_VALF;
  const device_buffer status(7 * sizeof(int32_t)), clamped(7 * sizeof(int64_t));
  for (bool with_status : {false, true})
    for (perturb_projection projection : projections) {
      require(perturb_context_set_row_status(cuda.get(), with_status ? status.as<int32_t>() : nullptr, with_status ? clamped.as<int64_t>() : nullptr));
      require_cuda(cudaMemset(clamped.as<void>(), 0xff, 7 * sizeof(int64_t)));
      const std::vector<float> expected = run_identity(cpu.get(), good, projection);
      device_memory memory;
      const std::vector<float> got = run_identity(memory, cuda.get(), bad, projection, 0, 7);
      for (size_t i = 0; i < got.size(); ++i) {
        const size_t row = i / 300;
        ASSERT_TRUE(row == 1 || (row == 5 && i % 300 >= 150) ? std::isnan(got[i]) : got[i] == expected[i]) << projection << " entry " << i << " holds " << got[i];
      }
      if (!with_status) continue;
      int32_t statuses[7];
      int64_t counts[7];
      require_cuda(cudaMemcpy(statuses, status.as<void>(), sizeof statuses, cudaMemcpyDeviceToHost));
      require_cuda(cudaMemcpy(counts, clamped.as<void>(), sizeof counts, cudaMemcpyDeviceToHost));
      for (int b = 0; b < 7; ++b) {
        EXPECT_EQ(statuses[b], b == 1 || b == 5 ? PERTURB_ERROR_NON_FINITE : PERTURB_OK) << b;
        EXPECT_EQ(counts[b], 0);
      }
    }
}

// A state in device memory.
struct device_state {
  device_buffer buffer{sizeof(perturb_aimle_state)};
  explicit device_state(const perturb_aimle_state& state) { require_cuda(cudaMemcpy(buffer.as<void>(), &state, sizeof state, cudaMemcpyHostToDevice)); }
  perturb_aimle_state* get() const { return buffer.as<perturb_aimle_state>(); }
  perturb_aimle_state read() const {
    perturb_aimle_state state;
    require_cuda(cudaDeviceSynchronize());
    require_cuda(cudaMemcpy(&state, buffer.as<void>(), sizeof state, cudaMemcpyDeviceToHost));
    return state;
  }
};

// I-MLE and the update in turn, on both backends, without an allocation where there is a workspace.
TEST_F(cuda_composed, aimle) {
  for (const test_case& c : few_shapes()) {
    if (c.is_sort()) continue;
    const prepared_case p(cpu.get(), c);
    perturb_noise noise = make_noise(c, p.factors), device_noise = noise;
    device_memory memory;
    if (noise.epsilon_per_item) device_noise.epsilon_per_item = memory.input(noise.epsilon_per_item, c.n);
    const float *theta = memory.input(p.theta.data(), c.batch * c.n), *cotangent = memory.input(p.cotangent.data(), c.batch * c.n);
    float* gradient = memory.output(c.batch * c.n);
    perturb_aimle_options adapt = PERTURB_AIMLE_OPTIONS_INIT;
    adapt.step = 0.125f;
    adapt.target = 4;
    perturb_aimle_state state = PERTURB_AIMLE_STATE_INIT;
    const device_state on_device(state);
    perturb_lpgd_options options = make_lpgd(c, PERTURB_OP_IMLE), device_options = options;
    options.tau_scale = &state.alpha;
    device_options.tau_scale = &on_device.get()->alpha;
    lent to(PERTURB_OP_IMLE, p.oracle.get(), &noise, c.batch);
    perturb_context* const device = c.is_grid() ? cuda.get() : to.context.get();  // a grid's masks are allocated
    for (int turn = 0; turn < 3; ++turn) {
      std::vector<float> expected(c.batch * c.n);
      require(perturb_imle(cpu.get(), p.oracle.get(), &noise, &options, c.batch, p.theta.data(), p.cotangent.data(), expected.data()));
      require(perturb_aimle_update(cpu.get(), &adapt, c.batch, c.n, expected.data(), &state));
      require(perturb_imle(device, p.oracle.get(), &device_noise, &device_options, c.batch, theta, cotangent, gradient));
      require(perturb_aimle_update(device, &adapt, c.batch, c.n, gradient, on_device.get()));
      EXPECT_TRUE(same_bits(expected, memory.result(0))) << c.name << " " << turn;
      const perturb_aimle_state got = on_device.read();
      EXPECT_EQ(std::memcmp(&state, &got, sizeof got), 0) << c.name << " " << turn << ": " << got.alpha << " " << got.average << " " << got.nonzeros << " " << got.rows;
      count();
    }
    EXPECT_EQ(to.allocator.calls, 0);
  }
}

TEST_F(cuda_composed, aimle_counts) {
  for (int64_t n : {1, 31, 127, 128, 129, 2000})
    for (int64_t rows : {1, 2, 300}) {
      std::vector<float> gradient(rows * n);
      for (int64_t i = 0; i < rows * n; ++i) gradient[i] = hashed(n, i) % 3 ? 0.0f : uniform_float(1, i, -1, 1);
      std::vector<float> part_bad = gradient;
      part_bad[rows * n / 2] = n % 2 ? NAN : HUGE_VALF;  // its row is left out
      perturb_aimle_state state = PERTURB_AIMLE_STATE_INIT;
      const device_state on_device(state);
      device_memory memory;
      for (const std::vector<float>& each : {gradient, part_bad}) {
        require(perturb_aimle_update(cpu.get(), nullptr, rows, n, each.data(), &state));
        require(perturb_aimle_update(cuda.get(), nullptr, rows, n, memory.input(each.data(), rows * n), on_device.get()));
      }
      const perturb_aimle_state got = on_device.read();
      EXPECT_EQ(std::memcmp(&state, &got, sizeof got), 0) << n << " " << rows << ": " << got.alpha << " " << got.average << " " << got.nonzeros << " " << got.rows;
      EXPECT_EQ(got.rows, rows - 1);
      count(2);
    }
  // A state that the CPU refuses, and a scale that it refuses: numbers that tell.
  for (float wrong : {-1.0f, NAN, HUGE_VALF}) {
    perturb_aimle_state state = PERTURB_AIMLE_STATE_INIT;
    state.alpha = wrong;
    const device_state bad(state);
    const float theta[] = {1, 2, 3};
    device_memory memory;
    const oracle_ptr oracle = make_argmax(3);
    perturb_lpgd_options options = PERTURB_LPGD_OPTIONS_INIT;
    options.tau_scale = &bad.get()->alpha;
    const float* input = memory.input(theta, 3);
    require(perturb_lpgd(cuda.get(), oracle.get(), &options, 1, input, input, memory.output(3)));
    for (const float value : memory.result(0)) EXPECT_TRUE(std::isnan(value)) << wrong;
    require(perturb_aimle_update(cuda.get(), nullptr, 1, 3, input, bad.get()));
    EXPECT_TRUE(std::isnan(bad.read().alpha) && std::isnan(bad.read().average)) << wrong;
    count(4);
  }
}

}  // namespace
}  // namespace perturb::test
