// perturb_context_set_row_status: rows that are refused do not stop their batch, and clamped costs are counted.
#include <gtest/gtest.h>

#include <bit>

#include "allocator.h"
#include "composed.h"
#include "custom_solver.h"
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

// ---------------------------------------------------------------- costs and solvers of the caller's

// Cost functions know their rows, so that a part of a batch that numbered them anew would have other costs.
int32_t cost_by_row(int64_t count, const float* y, const int64_t* row, float* cost, void*, void* user) {
  const int64_t m = *static_cast<const int64_t*>(user);
  for (int64_t k = 0; k < count; ++k) {
    cost[k] = static_cast<float>(row[k]);
    for (int64_t i = 0; i < m; ++i) cost[k] += static_cast<float>((row[k] + 2 * i) % 5) * y[k * m + i];
  }
  return 0;
}

struct cost_rows {
  std::vector<float> mean, error, gradient;
};
cost_rows run_cost(perturb_context* context, const prepared_case& p, perturb_cost cost) {
  const int64_t batch = p.c.batch;
  int64_t m = p.c.m();
  perturb_cost_options options = PERTURB_COST_OPTIONS_INIT;
  options.thread_safe = 1;
  options.cost = cost;
  options.user = &m;
  const perturb_noise noise = make_noise(p.c, p.factors);
  cost_rows out{std::vector<float>(batch), std::vector<float>(batch), std::vector<float>(batch * p.c.n)};
  require(perturb_cost_expectation(context, p.oracle.get(), &noise, &options, batch, p.theta.data(), out.mean.data(), out.error.data(), out.gradient.data()));
  return out;
}

// `of` with NaN in rows 0 and 3 of six.
prepared_case with_two_bad_rows(perturb_context* context, test_case of) {
  of.batch = 6;
  prepared_case p(context, of);
  for (int64_t b : {0, 3}) p.theta[b * of.n + 1] = std::numeric_limits<float>::quiet_NaN();
  return p;
}

TEST(row_status, costs_of_true_rows) {
  const context_ptr reference = make_context(1);
  case_list list;
  for (test_case c : {list.argmax_case(6), list.rank_case(5), list.grid_case(4, 5)})
    for (int64_t samples : {7, 300})
      for (perturb_baseline baseline : {PERTURB_BASELINE_LEAVE_ONE_OUT, PERTURB_BASELINE_UNPERTURBED})
        for (bool custom : {false, true}) {
          if (custom && c.is_grid()) continue;
          c.samples = samples;
          c.baseline = baseline;
          c.batch = 6;
          watched_solver solver(c.n, c.n, smooth_solver(c.n, c.n));
          prepared_case good(reference.get(), c), bad = with_two_bad_rows(reference.get(), c);
          if (custom) good.oracle = solver.oracle(), bad.oracle = solver.oracle();
          const cost_rows expected = run_cost(reference.get(), good, cost_by_row);
          for (int threads : {1, 3}) {
            const context_ptr context = make_context(threads);
            std::vector<int32_t> status(6, -7);
            std::vector<int64_t> clamped(6, -7);
            require(perturb_context_set_row_status(context.get(), status.data(), clamped.data()));
            const cost_rows got = run_cost(context.get(), bad, cost_by_row);
            for (int64_t b = 0; b < 6; ++b) {
              const bool refused = b == 0 || b == 3;
              EXPECT_EQ(status[b], refused ? PERTURB_ERROR_NON_FINITE : PERTURB_OK) << b;
              if (refused || !c.is_grid()) {
                EXPECT_EQ(clamped[b], 0) << b;
              }
              for (int64_t i = -2; i < c.n; ++i) {
                const auto entry = [&](const cost_rows& of) { return i == -2 ? of.mean[b] : i == -1 ? of.error[b] : of.gradient[b * c.n + i]; };
                EXPECT_TRUE(refused ? std::isnan(entry(got)) : std::bit_cast<uint32_t>(entry(got)) == std::bit_cast<uint32_t>(entry(expected)))
                    << c.name << " row " << b << " entry " << i << " holds " << entry(got);
                count();
              }
            }
          }
        }
}

// Only a sample's noise tells that a cost is refused, and how many are clamped.
TEST(row_status, costs_on_grids) {
  const context_ptr context = make_context(2), other = make_context(1);
  case_list list;
  test_case c = list.grid_case(6, 6);
  c.batch = 3;
  c.samples = 50;
  c.epsilon = 1;
  prepared_case p(other.get(), c);
  p.oracle = refusing_grid();
  std::fill(p.theta.begin(), p.theta.end(), 9.0f);
  for (int i = 0; i < 36; ++i) p.theta[36 + i] = 0.5f;
  std::vector<int32_t> status(3, -7);
  require(perturb_context_set_row_status(context.get(), status.data(), nullptr));
  const cost_rows got = run_cost(context.get(), p, cost_by_row);
  EXPECT_EQ(status, (std::vector<int32_t>{PERTURB_OK, PERTURB_ERROR_INVALID_ARGUMENT, PERTURB_OK}));
  EXPECT_TRUE(std::isnan(got.mean[1]) && std::isnan(got.error[1]) && std::isnan(got.gradient[36]));
  for (int i = 0; i < 36; ++i) p.theta[36 + i] = 9.0f;
  const cost_rows expected = run_cost(other.get(), p, cost_by_row);
  EXPECT_TRUE(got.mean[0] == expected.mean[0] && got.mean[2] == expected.mean[2]);

  c.theta = inputs::cheap;
  c.cost_floor = 0.4f;
  const prepared_case cheap(other.get(), c);
  const perturb_noise noise = make_noise(c, {});
  std::vector<int64_t> clamped(3, -1);
  require(perturb_context_set_row_status(context.get(), nullptr, clamped.data()));
  run_cost(context.get(), cheap, cost_by_row);
  for (int64_t b = 0; b < 3; ++b) {
    EXPECT_EQ(clamped[b], below_floor(other.get(), cheap, &noise, b)) << b;
    EXPECT_GT(clamped[b], 0);
  }
}

// A callback that fails in a part of the batch: the sentence counts from the caller's first row.
TEST(row_status, failures_name_the_callers_row) {
  for (int threads : {1, 3}) {
    const context_ptr context = make_context(threads);
    std::vector<int32_t> status(6);
    require(perturb_context_set_row_status(context.get(), status.data(), nullptr));
    test_case c = case_list().argmax_case(6);
    c.samples = 4;
    c.epsilon = 0.01f;
    watched_solver solver(c.n, c.n, [](const float* theta, float* y) {
      for (int i = 0; i < 6; ++i) y[i] = theta[0] > 100 && i == 2 ? std::numeric_limits<float>::infinity() : 1.0f;
    });
    prepared_case p = with_two_bad_rows(context.get(), c);
    p.oracle = solver.oracle();
    p.theta[5 * c.n] = 200;  // in the part of rows 4 and 5
    const auto fails = [&](perturb_operation operation, const std::string& sentence) {
      try {
        run_all(context.get(), p, operation);
        ADD_FAILURE() << operation_names[operation] << " succeeded";
      } catch (const std::runtime_error& error) {
        EXPECT_NE(std::string(error.what()).find(sentence), std::string::npos) << error.what();
      }
      count();
    };
    fails(PERTURB_OP_SOLVE, "left y[2] of row 5 at inf");
    fails(PERTURB_OP_EXPECTATION, "left y[2] of row 5, sample 0 at inf");
    p.c.baseline = PERTURB_BASELINE_UNPERTURBED;
    fails(PERTURB_OP_VJP, "left y[2] of row 5 at inf");
    p.c.baseline = PERTURB_BASELINE_NONE;
    fails(PERTURB_OP_VJP, "left y[2] of row 5, sample 0 at inf");
    solver.instead = [](int64_t, const float* theta, float*) -> int32_t { return theta[0] > 100 ? 3 : 0; };
    fails(PERTURB_OP_LPGD, "of row");
    p.oracle = make_argmax(6);
    try {
      run_cost(context.get(), p, [](int64_t rows, const float*, const int64_t* row, float* cost, void*, void*) -> int32_t {
        for (int64_t k = 0; k < rows; ++k) cost[k] = row[k] == 4 ? std::numeric_limits<float>::quiet_NaN() : 1.0f;
        return 0;
      });
      ADD_FAILURE() << "the cost succeeded";
    } catch (const std::runtime_error& error) {
      EXPECT_NE(std::string(error.what()).find("left the cost of row 4, sample 0 at nan"), std::string::npos) << error.what();
    }
  }
}

// A part of the rows may keep more threads busy than the whole batch does.
TEST(row_status, parts_fit_the_workspace) {
  for (int64_t samples : {3, 300})
    for (int64_t batch : {5, 6, 9, 10}) {
      watching_allocator allocator;
      const context_ptr context = make_context(8, allocator.hooks());
      test_case c = case_list().argmax_case(6);
      c.samples = samples;
      c.batch = batch;
      watched_solver solver(c.n, c.n, smooth_solver(c.n, c.n));
      prepared_case p(context.get(), c);
      p.theta[0] = std::numeric_limits<float>::quiet_NaN();
      p.oracle = solver.oracle();
      std::vector<int32_t> status(batch);
      require(perturb_context_set_row_status(context.get(), status.data(), nullptr));
      for (perturb_operation operation : custom_operations) {
        const perturb_noise noise = make_noise(p.c, p.factors);
        const bool takes_noise = operation != PERTURB_OP_SOLVE && operation != PERTURB_OP_LPGD && operation != PERTURB_OP_SPO_PLUS;
        size_t bytes = 0;
        require(perturb_workspace_size(context.get(), operation, p.oracle.get(), takes_noise ? &noise : nullptr, batch, &bytes));
        std::vector<unsigned char> memory(bytes);
        require(perturb_context_set_workspace(context.get(), memory.data(), bytes));
        const int64_t calls = allocator.calls;
        run_all(context.get(), p, operation);
        EXPECT_EQ(status[0], PERTURB_ERROR_NON_FINITE);
        EXPECT_EQ(allocator.calls, calls);
        require(perturb_context_set_workspace(context.get(), nullptr, 0));
        count();
      }
    }
}

// ---------------------------------------------------------------- calls made of other calls

TEST(row_status, amplitudes_and_covariances) {
  const context_ptr reference = make_context(1), context = make_context(3);
  std::vector<int32_t> status(spoiled_batch);
  require(perturb_context_set_row_status(context.get(), status.data(), nullptr));
  for (const test_case& c : spoiled_cases()) {
    host_memory memory[2];
    expect_case_apart(reference.get(), context.get(), memory, spoiled_case(reference.get(), c), [&] { return status; });
  }
}

TEST(row_status, nearest_neighbors) {
  const context_ptr reference = make_context(1);
  for (int threads : {1, 3}) {
    const context_ptr context = make_context(threads);
    std::vector<int32_t> status(6, -7);
    std::vector<int64_t> clamped(6, -7);
    require(perturb_context_set_row_status(context.get(), status.data(), clamped.data()));
    host_memory memory[3];
    expect_neighbors_apart(reference.get(), context.get(), memory, [&] {
      EXPECT_EQ(clamped, std::vector<int64_t>(6, 0));
      return status;
    });
  }
}

TEST(row_status, exact) {
  const context_ptr reference = make_context(1);
  for (int threads : {1, 3}) {
    const context_ptr context = make_context(threads);
    std::vector<int32_t> status(3);
    std::vector<int64_t> clamped(3, -7);
    require(perturb_context_set_row_status(context.get(), status.data(), clamped.data()));
    for (const test_case& c : exact_cases()) {
      if (c.n > 10) continue;
      host_memory memory[2];
      expect_exact_apart(reference.get(), context.get(), memory, c, [&] { return status; });
      EXPECT_EQ(clamped, std::vector<int64_t>(3, 0));
    }
  }
}

// A status may not lie in an array of the call, whichever call it is.
TEST(row_status, overlaps_of_composed_calls) {
  const context_ptr context = make_context(1);
  neighbors_case p(4, 9, 2, 3, PERTURB_NORMAL, .5f, 8);
  std::vector<float> y(36);
  for (float* array : {p.queries.data(), p.points.data(), y.data()}) {
    require(perturb_context_set_row_status(context.get(), reinterpret_cast<int32_t*>(array), nullptr));
    EXPECT_EQ(perturb_nearest_neighbors(context.get(), p.oracle.get(), &p.noise, 4, 3, p.queries.data(), p.points.data(), y.data(), nullptr),
              PERTURB_ERROR_INVALID_ARGUMENT);
    EXPECT_NE(std::string(perturb_last_error()).find("status"), std::string::npos);
    count();
  }
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
