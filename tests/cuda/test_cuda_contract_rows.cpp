// Rows of a CUDA call whose contents the CPU would refuse: NaN in all their outputs, the CPU's bits in all others.
#include <gtest/gtest.h>

#include <cfloat>
#include <functional>

#include "cuda/contract.h"

namespace perturb::test {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity(), not_a_number = std::numeric_limits<float>::quiet_NaN();

// Rows in `bad` hold NaN in every output, all others the bits of the CPU's call on `good`.
testing::AssertionResult only_these_rows_are_nan(const prepared_case& good, const std::vector<int64_t>& bad, entry_point entry,
                                                 perturb_context* cpu, device_call& call) {
  host_call expected(cpu, good, entry);
  require(expected.valid.call());
  require(call.valid.call());
  for (size_t o = 0; o < call.widths.size(); ++o) {
    const std::vector<float> a = expected.memory.result(o), b = call.memory.result(o);
    const int64_t width = call.widths[o];
    for (int64_t row = 0; row < good.c.batch; ++row) {
      const bool is_bad = std::find(bad.begin(), bad.end(), row) != bad.end();
      for (int64_t i = row * width; is_bad && i < (row + 1) * width; ++i) {
        count();
        if (!std::isnan(b[i])) return testing::AssertionFailure() << "output " << o << ", row " << row << " is bad and holds " << b[i];
      }
      if (is_bad) continue;
      const auto part = [&](const std::vector<float>& x) {
        return std::vector<float>(x.begin() + row * width, x.begin() + (row + 1) * width);
      };
      const auto same = same_bits(part(a), part(b));
      if (!same) return testing::AssertionFailure() << "output " << o << ", row " << row << ": " << same.message();
    }
  }
  return testing::AssertionSuccess();
}

// Every kernel leaves bad rows alone: the first and the last row of four.
TEST_F(cuda_contract, non_finite_theta) {
  for (const test_case& c : shapes()) {
    const prepared_case good(cpu.get(), c);
    prepared_case bad(cpu.get(), c);
    const int64_t cell = c.is_grid() ? c.source : 0, end = c.is_grid() ? c.target : c.n - 1;
    bad.theta[cell] = not_a_number;
    bad.theta[(c.batch - 1) * c.n + end] = c.n % 2 ? infinity : -infinity;
    for (entry_point entry : entry_points) {
      if (entry == entry_point::noise_fill || !good.has(operation_of(entry))) continue;
      SCOPED_TRACE(c.name + " " + name_of(entry));
      device_call call(cuda.get(), bad, entry);
      EXPECT_TRUE(only_these_rows_are_nan(good, {0, c.batch - 1}, entry, cpu.get(), call));
    }
  }
}

TEST_F(cuda_contract, non_finite_operands) {
  for (const test_case& c : few_shapes())
    for (float value : {not_a_number, infinity, -infinity})
      for (entry_point entry : {entry_point::vjp, entry_point::jvp, entry_point::fenchel_young, entry_point::lpgd, entry_point::imle, entry_point::spo_plus,
                                entry_point::sorted_values_vjp}) {
        if (c.is_sort() ? !offered(entry, oracle_family::sort) : of_sorts(entry)) continue;
        if (entry == entry_point::spo_plus && (c.wall != walls::none || !c.has_fenchel_young())) continue;  // walls of theta_true may hold anything
        SCOPED_TRACE(c.name + " " + name_of(entry));
        const prepared_case good(cpu.get(), c);
        prepared_case bad(cpu.get(), c);
        const int64_t width = good.operand_width(operation_of(entry));
        for (std::vector<float>* operand : {&bad.cotangent, &bad.tangent, &bad.target, &bad.theta_true})
          if (static_cast<int64_t>(operand->size()) >= 3 * width) (*operand)[width + width / 2] = (*operand)[2 * width] = value;
        device_call call(cuda.get(), bad, entry);
        EXPECT_TRUE(only_these_rows_are_nan(good, {1, 2}, entry, cpu.get(), call));
      }
}

TEST_F(cuda_contract, targets_beyond_2_to_31) {
  for (const test_case& c : few_shapes()) {
    if (c.is_sort()) continue;
    SCOPED_TRACE(c.name);
    prepared_case good(cpu.get(), c), bad(cpu.get(), c);
    good.target[0] = bad.target[0] = 0x1p31f;  // allowed
    bad.target[2 * c.n] = std::nextafter(0x1p31f, infinity);
    bad.target[4 * c.n - 1] = -FLT_MAX;
    device_call call(cuda.get(), bad, entry_point::fenchel_young);
    EXPECT_TRUE(only_these_rows_are_nan(good, {2, 3}, entry_point::fenchel_young, cpu.get(), call));
  }
}

// theta + eps z could leave the range of float: refused on the CPU, NaN here.
TEST_F(cuda_contract, theta_too_large_for_epsilon) {
  for (test_case c : few_shapes()) {
    if (c.mode == PERTURB_MULTIPLICATIVE) continue;
    SCOPED_TRACE(c.name);
    c.epsilon = 1e36f;
    const prepared_case good(cpu.get(), c);
    prepared_case bad(cpu.get(), c);
    bad.theta[1 * c.n + (c.is_grid() ? c.target : 0)] = FLT_MAX;
    for (entry_point entry : {entry_point::sample, entry_point::expectation, entry_point::vjp}) {
      host_call refused_by_cpu(cpu.get(), bad, entry);
      EXPECT_EQ(refused_by_cpu.valid.call(), PERTURB_ERROR_INVALID_ARGUMENT);
      device_call call(cuda.get(), bad, entry);
      EXPECT_TRUE(only_these_rows_are_nan(good, {1}, entry, cpu.get(), call)) << name_of(entry);
    }
  }
}

// epsilon_per_item is every row's.
TEST_F(cuda_contract, bad_epsilon_per_item) {
  for (test_case c : few_shapes()) {
    c.per_item = true;
    const prepared_case good(cpu.get(), c);
    for (float value : {-1.0f, not_a_number, infinity, 3e38f}) {
      prepared_case bad(cpu.get(), c);
      bad.factors[c.n - 1] = value;
      if (value == 3e38f) bad.c.epsilon = 2;  // the product is infinite
      for (entry_point entry : {entry_point::sample, entry_point::expectation, entry_point::jvp,
                                c.is_sort() ? entry_point::sorted_values : entry_point::fenchel_young}) {
        SCOPED_TRACE(c.name + " " + name_of(entry) + " " + std::to_string(value));
        device_call call(cuda.get(), bad, entry);
        EXPECT_TRUE(only_these_rows_are_nan(good, {0, 1, 2, 3}, entry, cpu.get(), call));
      }
    }
  }
}

// These have a row's entries, and spoil that row alone.
TEST_F(cuda_contract, bad_epsilon_per_row) {
  for (test_case c : few_shapes()) {
    c.row_factors = {1, 0.5f, 0, 2};
    const prepared_case good(cpu.get(), c);
    for (float value : {-1.0f, not_a_number, infinity, 3e38f}) {
      prepared_case bad(cpu.get(), c);
      bad.c.row_factors[1] = value;
      if (value == 3e38f) {
        if (c.mode == PERTURB_MULTIPLICATIVE) continue;
        bad.c.row_factors[1] = 2e38f;  // leaves no room for the noise
      }
      for (entry_point entry : {entry_point::sample, entry_point::expectation, entry_point::jvp, entry_point::fenchel_young, entry_point::imle}) {
        if (!has(good, entry)) continue;
        SCOPED_TRACE(c.name + " " + name_of(entry) + " " + std::to_string(value));
        EXPECT_EQ(host_call(cpu.get(), bad, entry).valid.call(), PERTURB_ERROR_INVALID_ARGUMENT);
        device_call call(cuda.get(), bad, entry);
        EXPECT_TRUE(only_these_rows_are_nan(good, {1}, entry, cpu.get(), call));
      }
    }
  }
}

TEST_F(cuda_contract, bad_given_noise) {
  for (test_case c : few_shapes()) {
    if (c.mode == PERTURB_MULTIPLICATIVE) continue;
    c.distribution = PERTURB_GIVEN;
    c.sampling = PERTURB_SAMPLING_IID;
    const given_noise arrays(c.seed, c.batch * c.samples * c.n);
    c.given = std::make_shared<given_noise>(arrays);
    const prepared_case good(cpu.get(), c);
    for (float value : {not_a_number, -infinity, std::nextafter(64.0f, infinity), std::nextafter(-32.0f, -infinity)}) {
      const bool in_score = value == std::nextafter(-32.0f, -infinity);
      given_noise spoiled = arrays;
      std::vector<float>& of = in_score ? spoiled.score : spoiled.z;
      of[c.samples * c.n] = value;          // the first of row 1
      of[4 * c.samples * c.n - 1] = value;  // the last of row 3
      prepared_case bad(cpu.get(), c);
      bad.c.given = std::make_shared<given_noise>(spoiled);
      for (entry_point entry : {entry_point::sample, entry_point::expectation, entry_point::vjp, entry_point::jacobian, entry_point::fenchel_young, entry_point::imle}) {
        if (!has(good, entry)) continue;
        SCOPED_TRACE(c.name + " " + name_of(entry) + " " + std::to_string(value));
        EXPECT_NE(host_call(cpu.get(), bad, entry).valid.call(), PERTURB_OK);
        device_call call(cuda.get(), bad, entry);
        EXPECT_TRUE(only_these_rows_are_nan(good, {1, 3}, entry, cpu.get(), call));
      }
    }
  }
}

TEST_F(cuda_contract, walls_may_hold_anything) {
  for (const test_case& shape : shapes()) {
    if (!shape.is_grid() || shape.width == 130 || shape.tables) continue;
    test_case c = shape;
    c.wall = walls::random_nan;
    const prepared_case p(cpu.get(), c);
    for (entry_point entry : entry_points) {
      if (!has(p, entry)) continue;
      EXPECT_TRUE(same_bits(host_call(cpu.get(), p, entry).run(), device_call(cuda.get(), p, entry).run()))
          << c.name << " " << name_of(entry);
    }
  }
}

// With options.negative ERROR the CPU refuses a call that holds such a row; here the row is NaN.
TEST_F(cuda_contract, negative_costs_as_errors) {
  test_case c = first_shape();
  for (const test_case& each : shapes())
    if (each.height == 5 && !c.is_grid()) c = each;
  c.epsilon = 0.05f;  // costs are 2 to 9
  perturb_grid_path_options options = PERTURB_GRID_PATH_OPTIONS_INIT;
  options.height = c.height;
  options.width = c.width;
  options.target = c.target;
  options.negative = PERTURB_NEGATIVE_ERROR;
  options.cost_floor = 0.25f;
  for (perturb_sampling sampling : {PERTURB_SAMPLING_IID, PERTURB_SAMPLING_LATIN}) {
    c.sampling = sampling;
    prepared_case bad(cpu.get(), c);
    bad.oracle = make_grid(options);
    bad.theta[c.n + 3] = 0.2f;         // below without noise
    bad.theta[3 * c.n + 4] = 0.2501f;  // below in some sample
    for (entry_point entry : entry_points) {
      if (entry >= entry_point::lpgd) continue;  // noise_fill has no costs, the others refuse such grids
      device_call call(cuda.get(), bad, entry);
      prepared_case good(cpu.get(), c);
      good.oracle = make_grid(options);
      if (entry == entry_point::solve) good.theta = bad.theta, good.theta[c.n + 3] = 2;
      const std::vector<int64_t> rows = entry == entry_point::solve ? std::vector<int64_t>{1} : std::vector<int64_t>{1, 3};
      EXPECT_EQ(host_call(cpu.get(), bad, entry).valid.call(), PERTURB_ERROR_INVALID_ARGUMENT);
      EXPECT_TRUE(only_these_rows_are_nan(good, rows, entry, cpu.get(), call)) << name_of(entry);
    }
  }
}

}  // namespace
}  // namespace perturb::test
