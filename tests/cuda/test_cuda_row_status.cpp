// perturb_context_set_row_status on a CUDA context: the CPU's statuses, counts and good rows.
#include <gtest/gtest.h>

#include "cuda/cuda_call.h"
#include "row_status.h"

namespace perturb::test {
namespace {

template <class T>
std::vector<T> copy_of(const device_buffer& buffer, int64_t count) {
  require_cuda(cudaDeviceSynchronize());
  std::vector<T> values(count);
  require_cuda(cudaMemcpy(values.data(), buffer.as<T>(), values.size() * sizeof(T), cudaMemcpyDeviceToHost));
  return values;
}

TEST(cuda_row_status, refused_rows_leave_the_others_as_they_are) {
  const context_ptr cpu = make_context(1), cuda = make_cuda_context();
  ASSERT_TRUE(cuda) << perturb_last_error();
  const device_buffer status(spoiled_batch * sizeof(int32_t));
  require(perturb_context_set_row_status(cuda.get(), status.as<int32_t>(), nullptr));
  for (const test_case& c : spoiled_cases()) {
    const prepared_case p = spoiled_case(cpu.get(), c);
    for (perturb_operation operation : operations) {
      if (!p.has(operation)) continue;
      SCOPED_TRACE(c.name + " " + operation_names[operation]);
      device_memory memory;
      const std::vector<float> rows = run_rows(memory, cuda.get(), p, operation, make_noise(p.c, p.factors), 0, spoiled_batch);
      expect_rows_apart(cpu.get(), p, operation, rows, copy_of<int32_t>(status, spoiled_batch));
    }
  }
}

TEST(cuda_row_status, clamped_costs_are_counted) {
  const context_ptr cpu = make_context(1), cuda = make_cuda_context();
  ASSERT_TRUE(cuda) << perturb_last_error();
  test_case c = case_list().grid_case(9, 11);
  c.wall = walls::random_nan;
  c.theta = inputs::cheap;
  c.cost_floor = 0.4f;
  c.samples = 70;
  c.batch = 3;
  const prepared_case p(cpu.get(), c);
  const device_buffer counts(3 * sizeof(int64_t));
  std::vector<int64_t> expected(3);
  require(perturb_context_set_row_status(cuda.get(), nullptr, counts.as<int64_t>()));
  require(perturb_context_set_row_status(cpu.get(), nullptr, expected.data()));
  for (perturb_operation operation : operations) {
    if (!p.has(operation)) continue;
    run_all(cpu.get(), p, operation);
    device_memory memory;
    run_rows(memory, cuda.get(), p, operation, make_noise(p.c, p.factors), 0, 3);
    EXPECT_EQ(copy_of<int64_t>(counts, 3), expected) << operation_names[operation];
    count(3);
  }
}

// ---------------------------------------------------------------- calls made of other calls

TEST(cuda_row_status, amplitudes_and_covariances) {
  const context_ptr cpu = make_context(1), cuda = make_cuda_context();
  ASSERT_TRUE(cuda) << perturb_last_error();
  const device_buffer status(spoiled_batch * sizeof(int32_t));
  require(perturb_context_set_row_status(cuda.get(), status.as<int32_t>(), nullptr));
  for (const test_case& c : spoiled_cases()) {
    device_memory memory[2];
    expect_case_apart(cpu.get(), cuda.get(), memory, spoiled_case(cpu.get(), c), [&] { return copy_of<int32_t>(status, spoiled_batch); });
  }
}

TEST(cuda_row_status, nearest_neighbors) {
  const context_ptr cpu = make_context(1), cuda = make_cuda_context();
  ASSERT_TRUE(cuda) << perturb_last_error();
  const device_buffer status(6 * sizeof(int32_t)), clamped(6 * sizeof(int64_t));
  require(perturb_context_set_row_status(cuda.get(), status.as<int32_t>(), clamped.as<int64_t>()));
  device_memory memory[3];
  expect_neighbors_apart(cpu.get(), cuda.get(), memory, [&] { return copy_of<int32_t>(status, 6); });
  EXPECT_EQ(copy_of<int64_t>(clamped, 6), std::vector<int64_t>(6, 0));
}

TEST(cuda_row_status, exact) {
  const context_ptr cpu = make_context(1), cuda = make_cuda_context();
  ASSERT_TRUE(cuda) << perturb_last_error();
  const device_buffer status(3 * sizeof(int32_t)), clamped(3 * sizeof(int64_t));
  require(perturb_context_set_row_status(cuda.get(), status.as<int32_t>(), clamped.as<int64_t>()));
  for (const test_case& c : exact_cases()) {
    if (c.n > 5 && c.n != 129) continue;
    device_memory memory[2];
    expect_exact_apart(cpu.get(), cuda.get(), memory, c, [&] { return copy_of<int32_t>(status, 3); });
  }
  EXPECT_EQ(copy_of<int64_t>(clamped, 3), std::vector<int64_t>(3, 0));
}

TEST(cuda_row_status, refused_costs) {
  const context_ptr cuda = make_cuda_context();
  ASSERT_TRUE(cuda) << perturb_last_error();
  const oracle_ptr oracle = refusing_grid();
  std::vector<float> theta(3 * 36, 9.0f);
  for (int i = 0; i < 36; ++i) theta[36 + i] = 0.5f;
  theta[75] = std::numeric_limits<float>::quiet_NaN();
  perturb_noise noise = PERTURB_NOISE_INIT;
  noise.samples = 50;
  const device_buffer status(3 * sizeof(int32_t));
  device_memory memory;
  require(perturb_context_set_row_status(cuda.get(), status.as<int32_t>(), nullptr));
  require(perturb_expectation(cuda.get(), oracle.get(), &noise, 3, memory.input(theta.data(), 3 * 36), memory.output(3 * 36), nullptr, nullptr, nullptr));
  EXPECT_EQ(copy_of<int32_t>(status, 3), (std::vector<int32_t>{PERTURB_OK, PERTURB_ERROR_INVALID_ARGUMENT, PERTURB_ERROR_NON_FINITE}));
  EXPECT_TRUE(std::isnan(memory.result(0)[36]) && !std::isnan(memory.result(0)[0]));
  count(3);
}

}  // namespace
}  // namespace perturb::test
