// perturb_context_set_row_status: rows that are refused do not stop their batch, and clamped costs are counted.
#include <gtest/gtest.h>

#include "refusal.h"
#include "row_status.h"

namespace perturb::test {
namespace {

TEST(row_status, refused_rows_leave_the_others_as_they_are) {
  const context_ptr reference = make_context(1);
  for (int threads : {1, 3}) {
    const context_ptr context = make_context(threads);
    for (const test_case& c : spoiled_cases()) {
      const prepared_case p = spoiled_case(reference.get(), c);
      for (perturb_operation operation : operations) {
        if (!p.has(operation)) continue;
        SCOPED_TRACE(c.name + " " + operation_names[operation]);
        std::vector<int32_t> status(spoiled_batch + 1, -7);
        require(perturb_context_set_row_status(context.get(), status.data(), nullptr));
        const std::vector<float> rows = run_all(context.get(), p, operation);
        EXPECT_EQ(status.back(), -7);
        expect_rows_apart(reference.get(), p, operation, rows, status);
        EXPECT_STREQ(perturb_last_error(), "");
      }
    }
  }
}

TEST(row_status, without_it_the_call_fails) {
  const context_ptr context = make_context(1);
  const prepared_case p = spoiled_case(context.get(), spoiled_cases().front());
  std::vector<int32_t> status(spoiled_batch);
  std::vector<int64_t> clamped(spoiled_batch);
  std::vector<float> y(spoiled_batch * p.c.n);
  require(perturb_context_set_row_status(context.get(), status.data(), nullptr));
  require(perturb_context_set_row_status(context.get(), nullptr, clamped.data()));
  EXPECT_EQ(perturb_solve(context.get(), p.oracle.get(), spoiled_batch, p.theta.data(), y.data(), nullptr), PERTURB_ERROR_NON_FINITE);
  require(perturb_context_set_row_status(context.get(), nullptr, nullptr));
  EXPECT_EQ(perturb_solve(context.get(), p.oracle.get(), spoiled_batch, p.theta.data(), y.data(), nullptr), PERTURB_ERROR_NON_FINITE);
  count(2);
}

TEST(row_status, clamped_costs_are_counted) {
  const context_ptr context = make_context(2), other = make_context(1);
  case_list list;
  for (int64_t side : {5, 40}) {
    test_case c = list.grid_case(side, side + 2, PERTURB_CONNECT_8);
    c.wall = walls::random_nan;
    c.theta = inputs::cheap;
    c.cost_floor = 0.4f;
    c.samples = 7;
    c.batch = 3;
    c.first_row = 11;
    const prepared_case p(other.get(), c);
    const perturb_noise noise = make_noise(p.c, p.factors);
    std::vector<int64_t> clamped(3, -1);
    require(perturb_context_set_row_status(context.get(), nullptr, clamped.data()));
    for (perturb_operation operation : operations) {
      if (!p.has(operation)) continue;
      run_all(context.get(), p, operation);
      const bool takes_noise = operation != PERTURB_OP_SOLVE, counted = operation != PERTURB_OP_LPGD && operation != PERTURB_OP_IMLE && operation != PERTURB_OP_SPO_PLUS;
      int64_t all = 0;
      for (int64_t b = 0; b < 3; ++b) {
        const int64_t expected = counted ? below_floor(other.get(), p, takes_noise ? &noise : nullptr, b) : 0;
        EXPECT_EQ(clamped[b], expected) << operation_names[operation] << " row " << b;
        all += expected;
        count();
      }
      EXPECT_TRUE(!counted || !takes_noise || all > 20) << "the case clamps too little to show anything";
    }
  }
  const prepared_case p(other.get(), list.argmax_case(6));
  std::vector<int64_t> clamped(p.c.batch, -1);
  require(perturb_context_set_row_status(context.get(), nullptr, clamped.data()));
  run_all(context.get(), p, PERTURB_OP_EXPECTATION);
  for (const int64_t count_of_row : clamped) EXPECT_EQ(count_of_row, 0);
}

// A grid that refuses costs below its floor: only a sample's noise tells.
TEST(row_status, refused_costs) {
  const context_ptr context = make_context(2);
  const oracle_ptr oracle = refusing_grid();
  std::vector<float> theta(3 * 36, 9.0f), y(3 * 36), value(3), expected_y(36), expected_value(1);
  for (int i = 0; i < 36; ++i) theta[36 + i] = 0.5f;
  perturb_noise noise = PERTURB_NOISE_INIT;
  noise.samples = 50;
  std::vector<int32_t> status(3, -7);
  require(perturb_context_set_row_status(context.get(), status.data(), nullptr));
  require(perturb_expectation(context.get(), oracle.get(), &noise, 3, theta.data(), y.data(), nullptr, value.data(), nullptr));
  EXPECT_EQ(status, (std::vector<int32_t>{PERTURB_OK, PERTURB_ERROR_INVALID_ARGUMENT, PERTURB_OK}));
  EXPECT_TRUE(std::isnan(y[36]) && std::isnan(y[71]) && std::isnan(value[1]));
  require(perturb_context_set_row_status(context.get(), nullptr, nullptr));
  for (int64_t b : {0, 2}) {
    noise.first_row = b;
    require(perturb_expectation(context.get(), oracle.get(), &noise, 1, theta.data(), expected_y.data(), nullptr, expected_value.data(), nullptr));
    EXPECT_TRUE(same_bits(expected_y, {y.begin() + b * 36, y.begin() + (b + 1) * 36}));
    EXPECT_TRUE(same_bits(expected_value, {value[b]}));
  }
}

// Parts of a batch would number their rows anew for the cost function.
TEST(row_status, costs_are_refused) {
  const context_ptr context = make_context(1);
  prepared_request p(context.get(), entry_point::cost, make_argmax(6));
  EXPECT_EQ(p.valid.call(), PERTURB_OK);
  std::vector<int32_t> status(p.valid.batch, -7);
  require(perturb_context_set_row_status(context.get(), status.data(), nullptr));
  EXPECT_TRUE(refused(p, p.valid, {PERTURB_ERROR_UNSUPPORTED}, {"status of rows"}));
  EXPECT_EQ(status, std::vector<int32_t>(p.valid.batch, -7));
}

TEST(row_status, bad_arrays_are_refused) {
  const context_ptr context = make_context(1);
  std::vector<int64_t> rows(4);
  char* bytes = reinterpret_cast<char*>(rows.data());
  EXPECT_EQ(perturb_context_set_row_status(nullptr, nullptr, nullptr), PERTURB_ERROR_INVALID_ARGUMENT);
  EXPECT_EQ(perturb_context_set_row_status(context.get(), reinterpret_cast<int32_t*>(bytes + 1), nullptr), PERTURB_ERROR_INVALID_ARGUMENT);
  EXPECT_EQ(perturb_context_set_row_status(context.get(), nullptr, reinterpret_cast<int64_t*>(bytes + 4)), PERTURB_ERROR_INVALID_ARGUMENT);
  const prepared_case p(context.get(), case_list().argmax_case(6));
  std::vector<float> theta = p.theta, y(p.theta.size());
  const int64_t batch = p.c.batch;
  require(perturb_context_set_row_status(context.get(), reinterpret_cast<int32_t*>(y.data()), nullptr));
  EXPECT_EQ(perturb_solve(context.get(), p.oracle.get(), batch, theta.data(), y.data(), nullptr), PERTURB_ERROR_INVALID_ARGUMENT);
  EXPECT_NE(std::string(perturb_last_error()).find("status"), std::string::npos);
  require(perturb_context_set_row_status(context.get(), reinterpret_cast<int32_t*>(theta.data()), nullptr));
  EXPECT_EQ(perturb_solve(context.get(), p.oracle.get(), batch, theta.data(), y.data(), nullptr), PERTURB_ERROR_INVALID_ARGUMENT);
  count(6);
}

}  // namespace
}  // namespace perturb::test
