// Batches with rows that a call refuses: what the other rows must be, and the status of each, on either backend.
#pragma once

#include <functional>
#include <memory>

#include "compare.h"
#include "composed.h"
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

// The same of the calls made of other calls. `context` has a status lent to it, which `status` reads after each call; memory[i]: where the arrays of
// the i-th call live.

template <class Memory, class Status>
void expect_case_apart(perturb_context* cpu, perturb_context* context, Memory* memory, const prepared_case& p, Status status) {
  for (perturb_operation operation : {PERTURB_OP_VJP_EPSILON, PERTURB_OP_COVARIANCE}) {
    SCOPED_TRACE(p.c.name + (operation == PERTURB_OP_COVARIANCE ? " covariance" : " vjp_epsilon"));
    const std::vector<float> rows = run_case(*memory++, context, p, operation, 0, spoiled_batch);
    const std::vector<int32_t> of_row = status();
    const int64_t width = static_cast<int64_t>(rows.size()) / spoiled_batch;
    for (int64_t b = 0; b < spoiled_batch; ++b) {
      const bool bad = b == bad_theta || (b == bad_operand && operation == PERTURB_OP_VJP_EPSILON);
      EXPECT_EQ(of_row[b], bad ? PERTURB_ERROR_NON_FINITE : PERTURB_OK) << "row " << b;
      const std::vector<float> row(rows.begin() + b * width, rows.begin() + (b + 1) * width);
      host_memory alone;
      if (bad) {
        for (const float value : row) EXPECT_TRUE(std::isnan(value)) << "row " << b;
      } else {
        EXPECT_TRUE(same_bits(run_case(alone, cpu, p, operation, b, 1), row)) << "row " << b;
      }
      count(width);
    }
  }
}

// Six queries: one of NaN, one whose squares are beyond float, and in the VJP one whose cotangent is infinite. The points' gradients are those of the
// other queries alone.
template <class Memory, class Status>
void expect_neighbors_apart(perturb_context* cpu, perturb_context* context, Memory* memory, Status status) {
  constexpr int64_t batch = 6, n = 70, d = 5;
  const auto bad = std::make_unique<neighbors_case>(batch, n, 4, d, PERTURB_NORMAL, .5f, 8), good = std::make_unique<neighbors_case>(batch, n, 4, d, PERTURB_NORMAL, .5f, 8);
  bad->queries[1 * d + 2] = std::numeric_limits<float>::quiet_NaN();
  bad->queries[4 * d] = 3e19f;
  bad->cotangent[5 * n + 7] = std::numeric_limits<float>::infinity();
  for (int64_t j = 0; j < d; ++j) good->queries[4 * d + j] = 0;  // what is left out does not matter
  for (int64_t b : {1, 4, 5}) std::fill_n(good->cotangent.begin() + b * n, n, 0.0f);
  for (bool vjp : {false, true}) {
    SCOPED_TRACE(vjp ? "nearest_neighbors_vjp" : "nearest_neighbors");
    const std::vector<float> expected = run_neighbors(cpu, *good, vjp), got = run_neighbors(*memory++, context, *bad, vjp, 0, batch);
    const std::vector<int32_t> of_row = status();
    const int64_t width = vjp ? d : 2 * n;
    for (int64_t b = 0; b < batch; ++b) {
      const bool refused = b == 1 || b == 4 || (vjp && b == 5);
      EXPECT_EQ(of_row[b], refused ? PERTURB_ERROR_NON_FINITE : PERTURB_OK) << b;
      for (int64_t i = b * width; i < (b + 1) * width; ++i) EXPECT_TRUE(refused ? std::isnan(got[i]) : got[i] == expected[i]) << "row " << b << " entry " << i;
      count(width);
    }
    if (!vjp) continue;
    EXPECT_TRUE(same_bits({expected.begin() + batch * d, expected.end()}, {got.begin() + batch * d, got.end()})) << "gradient_points";
  }
  bad->points[3] = -std::numeric_limits<float>::infinity();  // every row has a distance to it
  const std::vector<float> got = run_neighbors(*memory, context, *bad, true, 0, batch);
  EXPECT_EQ(status(), std::vector<int32_t>(batch, PERTURB_ERROR_NON_FINITE));
  for (int64_t i = 0; i < batch * d + d; ++i) EXPECT_EQ(std::isnan(got[i]), i < batch * d || i == batch * d + 3) << i;
}

// Closed forms: NaN in row 0, and infinity in the cotangent of row 2.
template <class Memory, class Status>
void expect_exact_apart(perturb_context* cpu, perturb_context* context, Memory* memory, const test_case& c, Status status) {
  const prepared_case good(cpu, c);
  prepared_case bad(cpu, c);
  bad.theta[c.n - 1] = std::numeric_limits<float>::quiet_NaN();
  bad.cotangent[2 * c.n] = std::numeric_limits<float>::infinity();
  const perturb_noise noise = make_noise(c, good.factors);
  const std::vector<float> expected = run_exact(cpu, good);
  const size_t n = c.n, width = expected.size() / 3;
  const bool has_value = width > 2 * n;
  std::vector<float> got[2];
  {
    const float* theta = memory[0].input(bad.theta.data(), 3 * c.n);
    float *y = memory[0].output(3 * c.n), *value = has_value ? memory[0].output(3) : nullptr;
    require(perturb_exact_expectation(context, bad.oracle.get(), &noise, 3, theta, y, value));
    EXPECT_EQ(status(), (std::vector<int32_t>{PERTURB_ERROR_NON_FINITE, PERTURB_OK, PERTURB_OK})) << c.name;
    got[0] = joined_rows(memory[0], 3, value ? std::vector<int64_t>{c.n, 1} : std::vector<int64_t>{c.n});
  }
  const float *theta = memory[1].input(bad.theta.data(), 3 * c.n), *cotangent = memory[1].input(bad.cotangent.data(), 3 * c.n);
  require(perturb_exact_vjp(context, bad.oracle.get(), &noise, 3, theta, cotangent, memory[1].output(3 * c.n)));
  EXPECT_EQ(status(), (std::vector<int32_t>{PERTURB_ERROR_NON_FINITE, PERTURB_OK, PERTURB_ERROR_NON_FINITE})) << c.name;
  got[1] = joined_rows(memory[1], 3, {c.n});
  for (size_t b = 0; b < 3; ++b)
    for (size_t i = 0; i < n + has_value; ++i) {
      const float y = got[0][b * (n + has_value) + i], expected_y = expected[b * width + (i < n ? i : 2 * n)];
      EXPECT_TRUE(b == 0 ? std::isnan(y) : y == expected_y) << c.name << " " << c.epsilon << " row " << b << " entry " << i << " holds " << y;
      if (i == n) break;
      const float gradient = got[1][b * n + i];
      EXPECT_TRUE(b != 1 ? std::isnan(gradient) : gradient == expected[b * width + n + i]) << c.name << " row " << b << " gradient " << i;
      count(2);
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
