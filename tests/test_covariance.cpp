// Covariances of y: against the samples themselves, against standard errors and a closed form, bits, refusals.
#include <gtest/gtest.h>

#include "composed.h"
#include "statistics.h"

namespace perturb::test {
namespace {

// Of integers below 2^26 the sums are exact in double here.
std::vector<double> covariance_of(const float* y, int64_t samples, int64_t m) {
  std::vector<double> mean(m), sums(m * m);
  for (int64_t s = 0; s < samples; ++s)
    for (int64_t i = 0; i < m; ++i) mean[i] += y[s * m + i];
  for (int64_t s = 0; s < samples; ++s)
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < m && y[s * m + i] != 0; ++j) sums[i * m + j] += static_cast<double>(y[s * m + i]) * y[s * m + j];
  const double M = static_cast<double>(samples);
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < m; ++j) sums[i * m + j] = (M * sums[i * m + j] - mean[i] * mean[j]) / (M * (M - 1));
  return sums;
}

TEST(covariance, of_the_samples) {
  const context_ptr context = make_context(2);
  for (const test_case& c : cases()) {
    if (!has_covariance(c)) continue;
    const prepared_case p(context.get(), c);
    const perturb_noise noise = make_noise(p.c, p.factors);
    const int64_t n = c.n;
    std::vector<float> y(c.batch * c.samples * n), mean(c.batch * n), error(c.batch * n);
    require(perturb_sample(context.get(), p.oracle.get(), &noise, c.batch, p.theta.data(), y.data()));
    require(perturb_expectation(context.get(), p.oracle.get(), &noise, c.batch, p.theta.data(), mean.data(), error.data(), nullptr, nullptr));
    const std::vector<float> got = run_case(context.get(), p, PERTURB_OP_COVARIANCE);
    for (int64_t b = 0; b < c.batch; ++b) {
      const std::vector<float> row(got.begin() + b * n * n, got.begin() + (b + 1) * n * n);
      EXPECT_TRUE(all_within_one_ulp(covariance_of(y.data() + b * c.samples * n, c.samples, n), row)) << c.name;
      for (int64_t i = 0; i < n; ++i) {
        const double squared = static_cast<double>(error[b * n + i]) * error[b * n + i] * static_cast<double>(c.samples);
        EXPECT_TRUE(near(squared, row[i * n + i], 3e-7 * squared)) << c.name;
        for (int64_t j = 0; j < i; ++j) EXPECT_EQ(row[i * n + j], row[j * n + i]);
      }
    }
  }
}

TEST(covariance, gumbel_argmax) {
  const std::vector<double> theta{.5, -.2, .9, .1, -1};
  const double eps = .7;
  const std::vector<double> p = reference::softmax(theta, eps);
  const context_ptr context = make_context(2);
  const oracle_ptr oracle = make_argmax(5);
  const int64_t rows = 400;
  const std::vector<float> all = repeated(theta, rows);
  std::vector<float> covariance(rows * 25);
  const perturb_noise noise = make_noise(PERTURB_GUMBEL, static_cast<float>(eps), 60, 19);
  require(perturb_covariance(context.get(), oracle.get(), &noise, rows, all.data(), covariance.data()));
  const replicate_summary got = summarize_rows(covariance, 25);
  for (size_t i = 0; i < 5; ++i)
    for (size_t j = 0; j < 5; ++j) {
      const double expected = (i == j ? p[i] : 0) - p[i] * p[j];
      EXPECT_TRUE(within_errors(expected, got.mean[i * 5 + j], got.error[i * 5 + j])) << i << j;
    }
}

TEST(covariance, bits) {
  const context_ptr one = make_context(1);
  for (const test_case& c : cases()) {
    if (!has_covariance(c)) continue;
    const prepared_case p(one.get(), c);
    const perturb_noise noise = make_noise(p.c, p.factors);
    const std::vector<float> expected = run_case(one.get(), p, PERTURB_OP_COVARIANCE);
    EXPECT_TRUE(same_everywhere(expected, PERTURB_OP_COVARIANCE, p.oracle.get(), &noise, c.batch, [&](perturb_context* context) {
      return run_case(context, p, PERTURB_OP_COVARIANCE);
    })) << c.name;
    host_memory memory;
    const std::vector<float> last = run_case(memory, one.get(), p, PERTURB_OP_COVARIANCE, c.batch - 1, 1);
    EXPECT_TRUE(same_bits(std::vector<float>(expected.end() - c.n * c.n, expected.end()), last)) << c.name;
  }
}

// Solvers of the caller's: the argmax of six, and a solution that is not a vertex, m differs from n, and its mean is far from 0.
TEST(covariance, custom) {
  const context_ptr context = make_context(3);
  const oracle_ptr custom = make_custom_argmax(), built_in = make_argmax(6);
  perturb_custom_options options = PERTURB_CUSTOM_OPTIONS_INIT;
  options.n = 2;
  options.m = 3;
  options.thread_safe = 1;
  options.solve = [](int64_t count, const float* theta, float* y, void*, void*) -> int32_t {
    for (int64_t k = 0; k < count; ++k, theta += 2, y += 3) {
      y[0] = 1000 + theta[0];
      y[1] = theta[0] - 2 * theta[1];
      y[2] = theta[1];
    }
    return 0;
  };
  const oracle_ptr linear = make_custom(options);
  const float theta[] = {.1f, .4f, -.2f, .3f, .2f, 0};
  for (int64_t samples : {2, 127, 128, 129, 1000}) {
    const perturb_noise noise = make_noise(PERTURB_NORMAL, .5f, samples, 23);
    std::vector<float> expected(36), got(36), y(samples * 3), moved(9);
    require(perturb_covariance(context.get(), built_in.get(), &noise, 1, theta, expected.data()));
    require(perturb_covariance(context.get(), custom.get(), &noise, 1, theta, got.data()));
    for (size_t i = 0; i < 36; ++i) EXPECT_TRUE(near(expected[i], got[i], 1e-7));
    require(perturb_sample(context.get(), linear.get(), &noise, 1, theta, y.data()));
    require(perturb_covariance(context.get(), linear.get(), &noise, 1, theta, moved.data()));
    for (int64_t s = 0; s < samples; ++s) y[s * 3] -= 1000;  // exact, and no part of a covariance
    EXPECT_TRUE(all_near(covariance_of(y.data(), samples, 3), moved, 1e-6)) << samples;
  }
}

TEST(covariance, refusals) {
  const context_ptr context = make_context(1);
  const float theta[] = {1, 2, 3};
  std::vector<float> out(9);
  const auto refuses = [&](perturb_status expected, const char* name, const oracle_ptr& oracle, const perturb_noise& noise, float* covariance) {
    fill_canary(out);
    EXPECT_EQ(perturb_covariance(context.get(), oracle.get(), &noise, 1, theta, covariance), expected);
    EXPECT_NE(std::string(perturb_last_error()).find(name), std::string::npos) << perturb_last_error();
    EXPECT_TRUE(untouched(out));
    size_t bytes = 0;
    if (covariance) {
      EXPECT_EQ(perturb_workspace_size(context.get(), PERTURB_OP_COVARIANCE, oracle.get(), &noise, 1, &bytes), expected);
    }
  };
  const oracle_ptr three = make_argmax(3), large = make_argmax(4097);
  perturb_noise noise = make_noise(PERTURB_NORMAL, 1, 4);
  refuses(PERTURB_ERROR_INVALID_ARGUMENT, "covariance", three, noise, nullptr);
  refuses(PERTURB_ERROR_UNSUPPORTED, "4096", large, noise, out.data());
  noise.sampling = PERTURB_SAMPLING_ANTITHETIC;
  refuses(PERTURB_ERROR_UNSUPPORTED, "antithetic", three, noise, out.data());
  noise = make_noise(PERTURB_NORMAL, 1, 1);
  refuses(PERTURB_ERROR_INVALID_ARGUMENT, "noise.samples", three, noise, out.data());
}

}  // namespace
}  // namespace perturb::test
