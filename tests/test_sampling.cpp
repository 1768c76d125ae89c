// Antithetic pairs, Latin samples and baselines: what a pair is, bit by bit, and that no combination biases a derivative (a mean over
// samples that depend on each other would).
#include <gtest/gtest.h>

#include <cmath>

#include "compare.h"

namespace perturb::test {
namespace {

TEST(sampling, antithetic_pairs_mirror) {
  const context_ptr context = make_context(2);
  const int64_t n = 53, rows = 3, samples = 40;
  for (int d = 0; d < 4; ++d) {
    perturb_noise noise = make_noise(static_cast<perturb_distribution>(d), 1, samples, 5);
    noise.first_sample = 6;
    noise.sampling = PERTURB_SAMPLING_ANTITHETIC;
    perturb_noise single = noise;
    single.sampling = PERTURB_SAMPLING_IID;
    single.samples = samples / 2;
    single.first_sample = 3;
    std::vector<float> pairs(rows * samples * n), singles(rows * samples / 2 * n);
    require(perturb_noise_fill(context.get(), &noise, rows, n, pairs.data()));
    require(perturb_noise_fill(context.get(), &single, rows, n, singles.data()));
    for (int64_t b = 0; b < rows; ++b)
      for (int64_t j = 0; j < samples / 2; ++j) {
        const float* even = pairs.data() + (b * samples + 2 * j) * n;
        const float* odd = even + n;
        const float* of = singles.data() + (b * samples / 2 + j) * n;
        EXPECT_TRUE(same_bits(std::vector<float>(of, of + n), std::vector<float>(even, even + n))) << d;
        for (int64_t i = 0; i < n; ++i) {
          if (d == PERTURB_GUMBEL) {
            // u = exp(-exp(-z)) becomes 1 - u
            EXPECT_NEAR(std::exp(-std::exp(-static_cast<double>(even[i]))) + std::exp(-std::exp(-static_cast<double>(odd[i]))), 1.0, 4e-6);
          } else {
            EXPECT_EQ(odd[i], -even[i]) << d;
          }
          count();
        }
      }
  }
}

// The mean over many rows of the Jacobian of argmax at theta = (.3, -.2, .5, .1), eps .7, from few samples each, against quadrature.
TEST(sampling, no_baseline_biases) {
  const double normal[4][4] = {{.3890554609, -.0673927792, -.2068186861, -.1148439957},
                               {-.0673927792, .2051554062, -.0873543007, -.0504083263},
                               {-.2068186861, -.0873543007, .4447316369, -.1505586502},
                               {-.1148439957, -.0504083263, -.1505586502, .3158109721}};
  const double gumbel[4][4] = {{.2879850894, -.0548193767, -.1490145154, -.0841511973},
                               {-.0548193767, .1689637066, -.0729488132, -.0411955168},
                               {-.1490145154, -.0729488132, .3339443533, -.1119810247},
                               {-.0841511973, -.0411955168, -.1119810247, .2373277388}};
  const context_ptr context = make_context(2);
  const oracle_ptr oracle = make_argmax(4);
  const int64_t rows = 100000, samples = 8;
  std::vector<float> theta(rows * 4), jacobian(rows * 16);
  const float of_row[4] = {.3f, -.2f, .5f, .1f};
  for (size_t i = 0; i < theta.size(); ++i) theta[i] = of_row[i % 4];
  for (perturb_distribution d : {PERTURB_NORMAL, PERTURB_GUMBEL}) {
    const double(*const table)[4] = d == PERTURB_NORMAL ? normal : gumbel;
    for (perturb_sampling sampling : {PERTURB_SAMPLING_IID, PERTURB_SAMPLING_ANTITHETIC, PERTURB_SAMPLING_LATIN})
      for (perturb_baseline baseline : {PERTURB_BASELINE_LEAVE_ONE_OUT, PERTURB_BASELINE_NONE, PERTURB_BASELINE_UNPERTURBED}) {
        perturb_noise noise = make_noise(d, .7f, samples, 9);
        noise.sampling = sampling;
        noise.baseline = baseline;
        require(perturb_jacobian(context.get(), oracle.get(), &noise, rows, theta.data(), jacobian.data()));
        for (int entry = 0; entry < 16; ++entry) {
          double sum = 0, squares = 0;
          for (int64_t b = 0; b < rows; ++b) sum += jacobian[b * 16 + entry];
          const double mean = sum / static_cast<double>(rows);
          for (int64_t b = 0; b < rows; ++b) squares += std::pow(jacobian[b * 16 + entry] - mean, 2);
          const double error = std::sqrt(squares) / static_cast<double>(rows), expected = table[entry / 4][entry % 4];
          EXPECT_NEAR(mean, expected, 5 * error + 1e-6) << "distribution " << d << " sampling " << sampling << " baseline " << baseline << " entry " << entry;
          // The bias that 1/(M - 1) would cause is well above what this test lets pass.
          if (entry % 5 == 0) {
            EXPECT_GT(expected / 7, 15 * error);
          }
          count(2);
        }
      }
  }
}

// With one sample there is no mean to subtract; the unperturbed solution is, where epsilon is small, and then most samples give exactly 0.
TEST(sampling, unperturbed_baseline_of_one_sample) {
  const context_ptr context = make_context(1);
  const oracle_ptr oracle = make_argmax(4);
  const std::vector<float> theta{3, 1, 0, -1}, g{1, -1, 2, .5f};
  perturb_noise noise = make_noise(PERTURB_NORMAL, .5f, 1, 3);
  int zero[2] = {};
  for (int64_t row = 0; row < 200; ++row)
    for (perturb_baseline baseline : {PERTURB_BASELINE_LEAVE_ONE_OUT, PERTURB_BASELINE_UNPERTURBED}) {
      noise.first_row = row;
      noise.baseline = baseline;
      std::vector<float> gradient(4);
      require(perturb_vjp(context.get(), oracle.get(), &noise, 1, theta.data(), g.data(), gradient.data()));
      zero[baseline == PERTURB_BASELINE_UNPERTURBED] += gradient == std::vector<float>(4);
      count();
    }
  EXPECT_EQ(zero[0], 0);
  EXPECT_GT(zero[1], 190);
}

// What pairs are for: the odd part of the noise cancels in a value. The mean of M values spreads much less.
TEST(sampling, antithetic_values_spread_less) {
  const context_ptr context = make_context(2);
  const oracle_ptr oracle = make_rank(6);
  const int64_t rows = 4000;
  std::vector<float> theta(rows * 6), y(rows * 6), value(rows);
  for (size_t i = 0; i < theta.size(); ++i) theta[i] = static_cast<float>(i % 6);
  double variance[2];
  for (perturb_sampling sampling : {PERTURB_SAMPLING_IID, PERTURB_SAMPLING_ANTITHETIC}) {
    perturb_noise noise = make_noise(PERTURB_NORMAL, 1, 16, 4);
    noise.sampling = sampling;
    require(perturb_expectation(context.get(), oracle.get(), &noise, rows, theta.data(), y.data(), nullptr, value.data(), nullptr));
    double mean = 0, squares = 0;
    for (float v : value) mean += v / static_cast<double>(rows);
    for (float v : value) squares += (v - mean) * (v - mean);
    variance[sampling] = squares / static_cast<double>(rows);
  }
  EXPECT_LT(variance[PERTURB_SAMPLING_ANTITHETIC], 0.25 * variance[PERTURB_SAMPLING_IID]);
  count();
}

TEST(sampling, antithetic_has_no_standard_errors) {
  const context_ptr context = make_context(1);
  const oracle_ptr oracle = make_argmax(3);
  const std::vector<float> theta{1, 2, 3};
  perturb_noise noise = make_noise(PERTURB_NORMAL, 1, 4);
  noise.sampling = PERTURB_SAMPLING_ANTITHETIC;
  std::vector<float> y(3), y_error(3), value_error(1);
  for (const char* name : {"y_std_error", "value_std_error"}) {
    fill_canary(y);
    const bool of_y = name[0] == 'y';
    EXPECT_EQ(perturb_expectation(context.get(), oracle.get(), &noise, 1, theta.data(), y.data(), of_y ? y_error.data() : nullptr, nullptr,
                                  of_y ? nullptr : value_error.data()),
              PERTURB_ERROR_UNSUPPORTED);
    EXPECT_NE(std::string(perturb_last_error()).find(name), std::string::npos) << perturb_last_error();
    EXPECT_TRUE(untouched(y));
    count(3);
  }
}

}  // namespace
}  // namespace perturb::test
