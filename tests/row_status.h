// Batches with rows that a call refuses: what the other rows must be, and the status of each, on either backend.
#pragma once

#include <functional>

#include "compare.h"
#include "operations.h"

namespace perturb::test {

constexpr int64_t spoiled_batch = 5, bad_theta = 1, bad_operand = 3;

// Five rows with a NaN in the theta of one and infinity in the operands of another, where cells count.
inline prepared_case spoiled_case(perturb_context* cpu, test_case c) {
  c.batch = spoiled_batch;
  prepared_case p(cpu, c);
  const std::vector<uint8_t> passable = make_passable(c);
  int64_t item = 0;
  while (!passable[item]) ++item;
  p.theta[bad_theta * c.n + item] = std::numeric_limits<float>::quiet_NaN();
  for (std::vector<float>* operand : {&p.cotangent, &p.tangent, &p.target, &p.theta_true}) (*operand)[bad_operand * c.n + item] = std::numeric_limits<float>::infinity();
  return p;
}

inline bool takes_operand(perturb_operation operation) {
  return operation != PERTURB_OP_SOLVE && operation != PERTURB_OP_SAMPLE && operation != PERTURB_OP_EXPECTATION && operation != PERTURB_OP_JACOBIAN;
}

inline std::vector<test_case> spoiled_cases() {
  case_list list;
  list.add(list.argmax_case(6), "");
  list.add(list.top_k_case(40, 11), "");
  list.add(list.rank_case(20), "");
  test_case walled = list.grid_case(6, 6);
  walled.wall = walls::random_nan;
  list.add(walled, "");
  for (test_case& c : list.all) c.samples = 20;
  return list.all;
}

// rows: all outputs of a spoiled batch in the order of run_rows(), from `context`; the good ones must be those that the CPU gives one by one.
inline void expect_rows_apart(perturb_context* cpu, const prepared_case& p, perturb_operation operation, const std::vector<float>& rows, const std::vector<int32_t>& status) {
  const int64_t width = static_cast<int64_t>(rows.size()) / spoiled_batch;
  for (int64_t b = 0; b < spoiled_batch; ++b) {
    const bool bad = b == bad_theta || (b == bad_operand && takes_operand(operation));
    EXPECT_EQ(status[b], bad ? PERTURB_ERROR_NON_FINITE : PERTURB_OK) << "row " << b;
    const std::vector<float> row(rows.begin() + b * width, rows.begin() + (b + 1) * width);
    if (bad) {
      for (const float value : row) EXPECT_TRUE(std::isnan(value)) << "row " << b;
      count(width);
    } else {
      EXPECT_TRUE(same_bits(run_rows(cpu, p, operation, make_noise(p.c, p.factors), b, 1), row)) << "row " << b;
    }
  }
}

// 6 x 6, from corner to corner, refusing costs below the floor.
inline oracle_ptr refusing_grid() {
  perturb_grid_path_options options = PERTURB_GRID_PATH_OPTIONS_INIT;
  options.height = options.width = 6;
  options.target = 35;
  options.negative = PERTURB_NEGATIVE_ERROR;
  return make_grid(options);
}

// Perturbed costs below the floor, of row b: counted with the noise that perturb_noise_fill gives. `noise` null: of theta itself.
inline int64_t below_floor(perturb_context* cpu, const prepared_case& p, const perturb_noise* noise, int64_t b) {
  const test_case& c = p.c;
  const std::vector<uint8_t> passable = make_passable(c);
  const int64_t samples = noise ? noise->samples : 1;
  std::vector<float> z(samples * c.n);
  if (noise) {
    perturb_noise row = *noise;
    row.first_row += b;
    require(perturb_noise_fill(cpu, &row, 1, c.n, z.data()));
  }
  int64_t below = 0;
  for (int64_t m = 0; m < samples; ++m)
    for (int64_t i = 0; i < c.n; ++i)
      if (passable[i] && std::fmaf(noise ? -noise->epsilon : 0.0f, z[m * c.n + i], p.theta[b * c.n + i]) < c.cost_floor) ++below;
  return below;
}

}  // namespace perturb::test
