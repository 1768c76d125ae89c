// Large problems: 10^8 items in memory that grows with n alone, and more samples than 32 bits count.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "compare.h"

namespace perturb::test {
namespace {

constexpr int64_t n = 100000000;

std::vector<float> large_theta() {
  std::vector<float> theta(n);
  uint64_t state = 12345;
  for (float& t : theta) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    t = static_cast<float>(state >> 40) * 0x1p-24f;
  }
  return theta;
}

// The perturbed scores of one sample, from the noise that perturb_noise_fill gives.
std::vector<float> scores(perturb_context* context, perturb_noise noise, int64_t sample, const std::vector<float>& theta) {
  std::vector<float> s(n);
  noise.samples = 1;
  noise.first_sample = sample;
  require(perturb_noise_fill(context, &noise, 1, n, s.data()));
  for (int64_t i = 0; i < n; ++i) s[i] = std::fmaf(noise.epsilon, s[i], theta[i]);
  return s;
}

double scratch_per_item(perturb_context* context, const perturb_oracle* oracle, perturb_operation operation, const perturb_noise& noise) {
  size_t bytes = 0;
  require(perturb_workspace_size(context, operation, oracle, &noise, 1, &bytes));
  return static_cast<double>(bytes) / n;
}

TEST(large, argmax_and_top_k_of_a_hundred_million) {
  const context_ptr context = make_context(1);
  const std::vector<float> theta = large_theta();
  perturb_noise noise = make_noise(PERTURB_NORMAL, 0.5f, 2, 9);
  std::vector<float> y(n);
  {
    const oracle_ptr oracle = make_argmax(n);
    require(perturb_expectation(context.get(), oracle.get(), &noise, 1, theta.data(), y.data(), nullptr, nullptr, nullptr));
    for (int64_t sample : {0, 1}) {
      const std::vector<float> s = scores(context.get(), noise, sample, theta);
      y[std::max_element(s.begin(), s.end()) - s.begin()] -= 0.5f;
    }
    EXPECT_EQ(std::count(y.begin(), y.end(), 0.0f), n);
    count(n);
    EXPECT_LE(scratch_per_item(context.get(), oracle.get(), PERTURB_OP_EXPECTATION, noise), 17);
    EXPECT_LE(scratch_per_item(context.get(), oracle.get(), PERTURB_OP_VJP, noise), 64);
  }
  constexpr int64_t k = 1000;
  const oracle_ptr oracle = make_top_k(n, k);
  noise.samples = 1;
  require(perturb_expectation(context.get(), oracle.get(), &noise, 1, theta.data(), y.data(), nullptr, nullptr, nullptr));
  const std::vector<float> s = scores(context.get(), noise, 0, theta);
  std::vector<float> sorted = s;
  std::nth_element(sorted.begin(), sorted.begin() + (k - 1), sorted.end(), std::greater<>());
  const float least = sorted[k - 1];
  int64_t left = k - std::count_if(s.begin(), s.end(), [&](float x) { return x > least; }), wrong = 0;  // of those that are equal to the k-th
  for (int64_t i = 0; i < n; ++i) {
    const bool chosen = s[i] > least || (s[i] == least && left-- > 0);
    wrong += y[i] != (chosen ? 1.0f : 0.0f);
  }
  EXPECT_EQ(wrong, 0);
  count(n);
  EXPECT_LE(scratch_per_item(context.get(), oracle.get(), PERTURB_OP_EXPECTATION, noise), 40);
}

// Numbers of samples and counts of y pass 31 bits.
TEST(large, more_samples_than_an_int_counts) {
  const context_ptr context = make_context(2);
  const oracle_ptr oracle = make_argmax(1);
  const perturb_noise noise = make_noise(PERTURB_LAPLACE, 0.5f, (int64_t{1} << 31) + 100, 3);
  const float theta = 2;
  float y = 0;
  require(perturb_expectation(context.get(), oracle.get(), &noise, 1, &theta, &y, nullptr, nullptr, nullptr));
  EXPECT_EQ(y, 1.0f);
  count();
}

// 2^40 and more of batch x samples x n, and what no 64-bit number holds.
TEST(large, sizes_whose_products_are_large) {
  const context_ptr context = make_context(2);
  size_t bytes = 0, few = 0;
  const oracle_ptr argmax = make_argmax(1000000), rank = make_rank(1000);
  for (perturb_operation operation : {PERTURB_OP_EXPECTATION, PERTURB_OP_VJP, PERTURB_OP_FENCHEL_YOUNG}) {
    perturb_noise noise = make_noise(PERTURB_NORMAL, 1, int64_t{1} << 31, 1);
    require(perturb_workspace_size(context.get(), operation, argmax.get(), &noise, 10, &bytes));  // 2^54
    noise.samples = 1000;
    require(perturb_workspace_size(context.get(), operation, argmax.get(), &noise, 10, &few));
    EXPECT_EQ(bytes, few);
    noise.samples = int64_t{1} << 32;
    EXPECT_EQ(perturb_workspace_size(context.get(), operation, argmax.get(), &noise, int64_t{1} << 31, &bytes), PERTURB_ERROR_INVALID_ARGUMENT);
  }
  count(6);
}

}  // namespace
}  // namespace perturb::test
