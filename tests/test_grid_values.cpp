// Values of grid paths where fixed point is hard: floors above every cost, costs of zero, steps in the hundred thousands, and wide
// ranges of costs within the documented bound.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "support.h"

namespace {

using namespace perturb::test;

context_ptr make_context() {
  perturb_context_options options = PERTURB_CONTEXT_OPTIONS_INIT;
  options.backend = PERTURB_BACKEND_CPU;
  perturb_context* context = nullptr;
  require(perturb_context_create(&options, &context));
  return context_ptr(context);
}

oracle_ptr make_grid(const perturb_grid_path_options& options) {
  perturb_oracle* oracle = nullptr;
  require(perturb_grid_path_create(&options, &oracle));
  return oracle_ptr(oracle);
}

perturb_grid_path_options square(int64_t side) {
  perturb_grid_path_options options = PERTURB_GRID_PATH_OPTIONS_INIT;
  options.height = options.width = side;
  options.target = side * side - 1;
  return options;
}

// The value of a hard solve, and of an expectation with epsilon 0, which must agree.
double value_of(perturb_context* context, const perturb_oracle* oracle, const std::vector<float>& theta) {
  std::vector<float> y(theta.size());
  float hard = 0.0f, mean = 0.0f, error = 1.0f;
  require(perturb_solve(context, oracle, 1, theta.data(), y.data(), &hard));
  perturb_noise noise = PERTURB_NOISE_INIT;
  noise.epsilon = 0.0f;
  noise.samples = 5;
  require(perturb_expectation(context, oracle, &noise, 1, theta.data(), y.data(), nullptr, &mean, &error));
  EXPECT_EQ(hard, mean);
  EXPECT_EQ(error, 0.0f);
  count(2);
  return hard;
}

TEST(grid_values, floors_above_every_cost) {
  const context_ptr context = make_context();
  const std::vector<float> ones(144, 1.0f);
  for (float floor : {1e-6f, 0.5f, 1.0f, 100.0f, 1e6f, 1e30f}) {
    perturb_grid_path_options options = square(12);
    options.cost_floor = floor;
    const double expected = 12.0 * std::fmax(1.0, (double)floor);
    EXPECT_NEAR(value_of(context.get(), make_grid(options).get(), ones), expected, 2e-5 * expected) << floor;
    count();
  }
}

TEST(grid_values, costs_of_zero_and_below_cost_the_floor) {
  const context_ptr context = make_context();
  for (float cost : {0.0f, -1e-30f, -5.0f}) {
    const std::vector<float> theta(144, cost);
    EXPECT_NEAR(value_of(context.get(), make_grid(square(12)).get(), theta), 1.2e-5, 2e-10) << cost;
    count();
  }
}

// A comb: one corridor up and down all columns, as long as half of all cells.
TEST(grid_values, paths_of_a_hundred_thousand_steps) {
  const context_ptr context = make_context();
  const int64_t side = 511;
  std::vector<uint8_t> passable(side * side, 1);
  for (int64_t c = 1; c < side; c += 2)
    for (int64_t r = 0; r < side; ++r) passable[r * side + c] = r == (c % 4 == 1 ? side - 1 : 0);
  perturb_grid_path_options options = square(side);
  options.connectivity = PERTURB_CONNECT_8_NO_CORNER_CUTTING;
  options.diagonal_factor = 1.41421356f;
  options.passable = passable.data();
  options.target = side - 1;  // the last column is entered at its foot
  const oracle_ptr oracle = make_grid(options);
  std::vector<float> theta(side * side);
  double total = 0.0;
  int64_t cells = 0;
  for (int64_t i = 0; i < side * side; ++i) {
    theta[i] = 1.0f + (float)((i * 7919) % 1000) * 0.001f;
    if (!passable[i]) continue;
    total += theta[i];
    ++cells;
  }
  EXPECT_GT(cells, 130000);
  EXPECT_NEAR(value_of(context.get(), oracle.get(), theta), total, 2e-5 * total);
  count();
}

// Expensive cells off the path must not cost the path its accuracy, up to the bound that perturb.h states.
TEST(grid_values, wide_ranges_within_the_bound) {
  const context_ptr context = make_context();
  const oracle_ptr oracle = make_grid(square(32));
  for (float wall : {1e1f, 1e2f, 1e3f}) {
    std::vector<float> theta(1024, 1.37f);
    for (int64_t r = 0; r < 31; ++r) theta[r * 32 + 5] = wall;  // open in the last row
    // Through the wall: 31 diagonal steps and the source, one of them in the wall. Around it: 57 steps and the source.
    const double expected = std::fmin(31 * 1.37 + (double)wall, 58 * 1.37);
    EXPECT_NEAR(value_of(context.get(), oracle.get(), theta), expected, 2e-5 * expected) << wall;
    count();
  }
}

}  // namespace
