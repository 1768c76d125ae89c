// An epsilon of each row: as calls of one row with that epsilon, with per-item factors, for every operation; and what is refused.
#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>

#include "accumulators.h"
#include "compare.h"
#include "custom_solver.h"

namespace perturb::test {
namespace {

constexpr float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();

// A row is that row's call with its product as epsilon: all bits, but the derivative in epsilon, which has the row's factor.
TEST(epsilon_per_row, rows_are_calls_of_their_own) {
  const context_ptr context = make_context(2);
  case_list list;
  const std::vector<float> rows{1.3f, 0, 0.25f, 2.7f};
  std::vector<test_case> all{list.argmax_case(6),   list.argmax_case(30), list.top_k_case(40, 7),
                             list.rank_case(12, 1), list.rank_case(600),  list.grid_case(6, 7)};
  all.push_back(list.argmax_case(6));
  all.back().distribution = PERTURB_NORMAL;
  all.back().mode = PERTURB_MULTIPLICATIVE;
  for (test_case c : all)
    for (bool per_item : {false, true}) {
      c.batch = 4;
      c.samples = 33;
      c.per_item = per_item;
      c.epsilon = 0.37f;
      SCOPED_TRACE(c.name);
      const prepared_case p(context.get(), c);
      perturb_noise noise = make_noise(c, p.factors);
      for (perturb_operation operation : operations) {
        if (!p.has(operation) || operation == PERTURB_OP_SOLVE || operation == PERTURB_OP_LPGD || operation == PERTURB_OP_SPO_PLUS)
          continue;
        noise.epsilon_per_row = rows.data();
        noise.epsilon = c.epsilon;
        const std::vector<float> whole = run_rows(context.get(), p, operation, noise, 0, c.batch);
        const size_t width = whole.size() / 4;
        for (int64_t b = 0; b < c.batch; ++b) {
          perturb_noise one = noise;
          one.epsilon_per_row = nullptr;
          one.epsilon = c.epsilon * rows[b];
          std::vector<float> expected = run_rows(context.get(), p, operation, one, b, 1),
                             got(whole.begin() + b * width, whole.begin() + (b + 1) * width);
          if (operation == PERTURB_OP_FENCHEL_YOUNG) {
            EXPECT_NEAR(got.back(), rows[b] * expected.back(), 1e-6 * (1 + std::abs(expected.back())));
            expected.pop_back();
            got.pop_back();
          }
          EXPECT_TRUE(same_bits(expected, got)) << operation_names[operation] << " row " << b;
          if (rows[b] == 0 && (operation == PERTURB_OP_VJP || operation == PERTURB_OP_JACOBIAN)) {
            EXPECT_EQ(std::count(got.begin(), got.end(), 0.0f), static_cast<int64_t>(got.size()));
          }
        }
      }
    }
}

TEST(epsilon_per_row, refusals) {
  const context_ptr context = make_context(1);
  for (entry_point entry : entry_points) {
    if (of_sorts(entry)) continue;
    prepared_request p(context.get(), entry, make_argmax(6));
    if (!p.valid.takes_noise()) continue;
    std::vector<float> rows{1, 0, 2};
    p.noise.epsilon_per_row = rows.data();
    EXPECT_TRUE(accepted(p));
    for (size_t at : {0, 2})
      for (float bad : {-1.0f, nan, inf}) {
        const float before = rows[at];
        rows[at] = bad;
        EXPECT_TRUE(refused(p, p.valid, PERTURB_ERROR_INVALID_ARGUMENT, ("epsilon_per_row[" + std::to_string(at) + "]").c_str()));
        rows[at] = before;
      }
    if (entry == entry_point::noise_fill) continue;
    p.noise.epsilon = 3e38f;
    EXPECT_TRUE(refused(p, p.valid, PERTURB_ERROR_INVALID_ARGUMENT, "epsilon_per_row[2]"));
    p.noise.epsilon = 1e38f;  // finite products that leave no room for noise
    EXPECT_TRUE(refused(p, p.valid, PERTURB_ERROR_INVALID_ARGUMENT, "theta[0"));
    rows = {0, 0, 0};
    EXPECT_TRUE(accepted(p));
    p.noise.epsilon = 1;
    p.noise.epsilon_per_row = p.outputs[0].data();
    EXPECT_TRUE(refused(p, p.valid, {PERTURB_ERROR_INVALID_ARGUMENT}, {"overlaps", "epsilon_per_row"}));
  }
}

// The struct of the first headers.
TEST(noise_struct, older_sizes_are_accepted) {
  const context_ptr context = make_context(1);
  struct older_noise {
    unsigned char bytes[offsetof(perturb_noise, epsilon_per_row)];
  };
  const oracle_ptr oracle = make_argmax(6);
  const std::vector<float> theta{1, 2, 3, 2.5f, 0, 1};
  std::vector<float> expected(6), got(6);
  perturb_noise noise = make_noise(PERTURB_GUMBEL, .7f, 50, 3);
  require(perturb_expectation(context.get(), oracle.get(), &noise, 1, theta.data(), expected.data(), nullptr, nullptr, nullptr));
  noise.struct_size = sizeof(older_noise);
  // On the heap and no larger, so that a sanitizer sees reads past its end.
  const auto older = std::make_unique<older_noise>();
  std::memcpy(older.get(), &noise, sizeof *older);
  const perturb_noise* const given = reinterpret_cast<const perturb_noise*>(older.get());
  require(perturb_expectation(context.get(), oracle.get(), given, 1, theta.data(), got.data(), nullptr, nullptr, nullptr));
  EXPECT_TRUE(same_bits(expected, got));
  perturb_accumulator* made = nullptr;
  require(perturb_accumulator_create(context.get(), PERTURB_OP_EXPECTATION, oracle.get(), given, 1, &made));
  const accumulator_ptr a(made);
  require(perturb_accumulator_add(a.get(), 0, 50, theta.data(), nullptr));
  float* outputs[4] = {got.data(), nullptr, nullptr, nullptr};
  require(perturb_accumulator_result(a.get(), theta.data(), nullptr, outputs));
  EXPECT_TRUE(same_bits(expected, got));
}

}  // namespace
}  // namespace perturb::test
