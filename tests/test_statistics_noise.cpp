// The noise as a random variable (moments, scores, distribution, independence) and whether the reported standard errors are the true
// ones: the spread of estimates over thousands of replicate rows against what each row reports.
#include <gtest/gtest.h>

#include "compare.h"
#include "reference/tables.h"
#include "statistics.h"

namespace perturb::test {
namespace {

using namespace reference;

std::vector<float> fill(perturb_distribution d, int64_t batch, int64_t samples, int64_t n, uint64_t seed) {
  const context_ptr context = make_context(2);
  const perturb_noise noise = make_noise(d, 1, samples, seed);
  std::vector<float> z(batch * samples * n);
  require(perturb_noise_fill(context.get(), &noise, batch, n, z.data()));
  return z;
}

struct moment {
  double mean = 0, error = 0;
};
template <class Function>
moment average(const std::vector<float>& z, Function f) {
  double sum = 0, squares = 0;
  for (float value : z) {
    const double x = f(static_cast<double>(value));
    sum += x;
    squares += x * x;
  }
  const double count = static_cast<double>(z.size()), mean = sum / count;
  return {mean, std::sqrt((squares / count - mean * mean) / count)};
}

TEST(noise, moments) {
  for (perturb_distribution d : all_distributions) {
    const std::vector<float> z = fill(d, 10, 500, 400, 3);
    const double count = static_cast<double>(z.size()), mu = noise_mean(d), variance = noise_variance(d);
    EXPECT_TRUE(within_errors(mu, average(z, [](double x) { return x; }).mean, std::sqrt(variance / count))) << d;
    const moment second = average(z, [mu](double x) { return (x - mu) * (x - mu); });
    EXPECT_TRUE(within_errors(variance, second.mean, second.error)) << d;
    const moment s = average(z, [d](double x) { return score(d, x); });
    EXPECT_TRUE(within_errors(0, s.mean, std::sqrt(fisher_information(d) / count))) << d;
    const moment ss = average(z, [d](double x) { return score(d, x) * score(d, x); });
    EXPECT_TRUE(within_errors(fisher_information(d), ss.mean, ss.error)) << d;
    const moment zs = average(z, [d](double x) { return x * score(d, x); });
    EXPECT_TRUE(within_errors(1, zs.mean, zs.error)) << d;
  }
}

// Rounding z to float moves the CDF by 1e-7.
TEST(noise, kolmogorov_smirnov) {
  for (perturb_distribution d : all_distributions)
    for (uint64_t seed : {1u, 2u, 3u})
      EXPECT_TRUE(has_distribution(fill(d, 5, 200, 500, seed), [d](double x) { return cdf(d, x); })) << d << " seed " << seed;
}

// Tail counts in cells of known probability, where a coarse generator shows first.
TEST(noise, tails) {
  for (perturb_distribution d : all_distributions) {
    const std::vector<float> z = fill(d, 10, 1000, 400, 4);
    const double count_of = static_cast<double>(z.size());
    for (double p : {1e-2, 1e-3, 1e-4, 1e-5})
      for (bool upper : {false, true}) {
        double low = -40, high = 40;
        for (int i = 0; i < 100; ++i) {
          const double middle = (low + high) / 2;
          (cdf(d, middle) < (upper ? 1 - p : p) ? low : high) = middle;
        }
        double beyond = 0;
        for (float x : z) beyond += upper ? x > low : x < low;
        EXPECT_TRUE(within_errors(p * count_of, beyond, std::sqrt(p * count_of))) << d << " tail " << p << " upper " << upper;
      }
  }
}

// No correlation between neighbours along items, samples and rows, between streams of nearby seeds, and of squares.
TEST(noise, independence) {
  const int64_t batch = 40, samples = 100, n = 100;
  for (perturb_distribution d : all_distributions) {
    const std::vector<float> z = fill(d, batch, samples, n, 5), other = fill(d, batch, samples, n, 6);
    const double mu = noise_mean(d), variance = noise_variance(d), count_of = static_cast<double>(z.size());
    for (int64_t lag : {int64_t{1}, int64_t{2}, int64_t{4}, n, samples * n}) {
      double sum = 0;
      for (size_t i = 0; i < z.size(); ++i) sum += (z[i] - mu) * (z[(i + lag) % z.size()] - mu);
      EXPECT_TRUE(within_errors(0, sum / count_of / variance, 1 / std::sqrt(count_of))) << d << " lag " << lag;
    }
    double across = 0;
    for (size_t i = 0; i < z.size(); ++i) across += (z[i] - mu) * (other[i] - mu);
    EXPECT_TRUE(within_errors(0, across / count_of / variance, 1 / std::sqrt(count_of))) << d << " seeds";
    double squares = 0, spread = 0;
    for (size_t i = 0; i + 1 < z.size(); i += 2) {  // pairs of a Box-Muller transform must not share their radius
      const double a = (z[i] - mu) * (z[i] - mu) - variance, b = (z[i + 1] - mu) * (z[i + 1] - mu) - variance;
      squares += a * b;
      spread += a * b * a * b;
    }
    EXPECT_TRUE(within_errors(0, squares, std::sqrt(spread))) << d << " squares";
  }
}

TEST(noise, support) {
  const std::vector<float> z = fill(PERTURB_NORMAL, 10, 1000, 400, 7);
  for (float x : z) ASSERT_LE(std::abs(x), 6.77f);
  count(static_cast<int64_t>(z.size()));
  for (perturb_distribution d : {PERTURB_GUMBEL, PERTURB_LOGISTIC, PERTURB_LAPLACE})
    for (float x : fill(d, 10, 100, 400, 8)) ASSERT_TRUE(std::isfinite(x));
}

// ---------------------------------------------------------------- reported standard errors

// The root of the mean reported variance equals the spread over rows. 20000 rows: the ratio has a relative error of about 0.5% for
// y (5 of them allowed) and a bit more for heavier tails.
TEST(standard_errors, of_means_and_values) {
  const context_ptr context = make_context(2);
  const std::vector<double> theta{.3, -.2, .5, .1};
  const int64_t rows = 20000, samples = 8;
  for (perturb_distribution d : all_distributions)
    for (const oracle_ptr& oracle : {make_argmax(4), make_top_k(4, 2), make_rank(4)}) {
      const std::vector<float> all = repeated(theta, rows);
      const perturb_noise noise = make_noise(d, .7f, samples, 9);
      std::vector<float> y(rows * 4), y_error(rows * 4), value(rows), value_error(rows);
      require(perturb_expectation(context.get(), oracle.get(), &noise, rows, all.data(), y.data(), y_error.data(), value.data(),
                                  value_error.data()));
      const replicate_summary got = summarize_rows(y, 4), got_value = summarize_rows(value, 1);
      for (size_t i = 0; i < 4; ++i) {
        double reported = 0;
        for (int64_t b = 0; b < rows; ++b)
          reported += static_cast<double>(y_error[b * 4 + i]) * y_error[b * 4 + i] / static_cast<double>(rows);
        EXPECT_TRUE(near(1, std::sqrt(reported) / got.deviation[i], 0.03)) << d << " item " << i;
      }
      double reported = 0;
      for (float e : value_error) reported += static_cast<double>(e) * e / static_cast<double>(rows);
      EXPECT_TRUE(near(1, std::sqrt(reported) / got_value.deviation[0], 0.04)) << d;
    }
}

TEST(standard_errors, one_sample_has_none) {
  const context_ptr context = make_context(1);
  const std::vector<float> theta{.3f, -.2f, .5f, .1f};
  const oracle_ptr oracle = make_argmax(4);
  for (float eps : {0.0f, .7f}) {
    const perturb_noise noise = make_noise(PERTURB_NORMAL, eps, 1, 9);
    std::vector<float> y(4), y_error(4), value(1), value_error(1);
    require(perturb_expectation(context.get(), oracle.get(), &noise, 1, theta.data(), y.data(), y_error.data(), value.data(),
                                value_error.data()));
    EXPECT_TRUE(all_near(std::vector<double>(4, HUGE_VAL), y_error, 0.0)) << eps;
    EXPECT_EQ(value_error[0], HUGE_VALF) << eps;
  }
}

}  // namespace
}  // namespace perturb::test
