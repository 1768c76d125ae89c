// Estimates for the statistical tests: one row as doubles in, float results out, and errors measured from replicate rows where no
// closed form exists. Equal rows of a batch are independent replicates of one problem (their noise is keyed by the row).
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>

#include "compare.h"
#include "reference/closed_forms.h"
#include "reference/noise.h"
#include "support.h"

namespace perturb::test {

struct means {
  std::vector<float> y;
  std::vector<int64_t> counts;  // y * M as the integers they are
  float value = 0, value_error = 0;
};

inline std::vector<float> to_floats(const std::vector<double>& values) { return std::vector<float>(values.begin(), values.end()); }

inline means estimate_means(const perturb_oracle* oracle, const std::vector<double>& theta, const perturb_noise& noise) {
  const context_ptr context = make_context(2);
  const std::vector<float> row = to_floats(theta);
  means out;
  out.y.resize(row.size());
  require(perturb_expectation(context.get(), oracle, &noise, 1, row.data(), out.y.data(), nullptr, &out.value, &out.value_error));
  // A float mean has 24 bits: the count is recovered exactly while it stays below 2^23.
  for (float mean : out.y) out.counts.push_back(std::llround(static_cast<double>(mean) * static_cast<double>(noise.samples)));
  return out;
}

inline std::vector<float> estimate_jacobian(const perturb_oracle* oracle, const std::vector<double>& theta, const perturb_noise& noise) {
  const context_ptr context = make_context(2);
  const std::vector<float> row = to_floats(theta);
  std::vector<float> jacobian(row.size() * row.size());
  require(perturb_jacobian(context.get(), oracle, &noise, 1, row.data(), jacobian.data()));
  return jacobian;
}

inline std::vector<float> estimate_vjp(const perturb_oracle* oracle, const std::vector<double>& theta, const std::vector<double>& cotangent,
                                       const perturb_noise& noise) {
  const context_ptr context = make_context(2);
  const std::vector<float> row = to_floats(theta), g = to_floats(cotangent);
  std::vector<float> gradient(row.size());
  require(perturb_vjp(context.get(), oracle, &noise, 1, row.data(), g.data(), gradient.data()));
  return gradient;
}

inline std::vector<double> binary_errors(const std::vector<double>& p, int64_t samples) {
  std::vector<double> errors(p);
  for (double& e : errors) e = std::sqrt(std::max(0.0, e * (1 - e)) / static_cast<double>(samples));
  return errors;
}

// ---------------------------------------------------------------- replicates

struct replicate_summary {
  std::vector<double> mean, deviation, error;  // of one row; error = deviation / sqrt(rows)
};

inline replicate_summary summarize_rows(const std::vector<float>& values, size_t width) {
  const size_t rows = values.size() / width;
  replicate_summary out{std::vector<double>(width), std::vector<double>(width), std::vector<double>(width)};
  for (size_t i = 0; i < values.size(); ++i) out.mean[i % width] += values[i] / static_cast<double>(rows);
  for (size_t i = 0; i < values.size(); ++i) {
    const double off = values[i] - out.mean[i % width];
    out.deviation[i % width] += off * off;
  }
  for (size_t i = 0; i < width; ++i) {
    out.deviation[i] = std::sqrt(out.deviation[i] / static_cast<double>(rows - 1));
    out.error[i] = out.deviation[i] / std::sqrt(static_cast<double>(rows));
  }
  return out;
}

inline std::vector<float> repeated(const std::vector<double>& row, int64_t rows) {
  std::vector<float> all;
  for (int64_t b = 0; b < rows; ++b) all.insert(all.end(), row.begin(), row.end());
  return all;
}

// Standard errors of the Jacobian's entries where no formula exists: the spread over 256 rows of 256 samples, scaled to noise.samples.
// Accurate to about 5%; rows of another seed, so that errors and estimate are independent.
inline std::vector<double> measured_jacobian_errors(const perturb_oracle* oracle, const std::vector<double>& theta, perturb_noise noise) {
  const context_ptr context = make_context(2);
  const int64_t rows = 256, samples = 256;
  const double scale = std::sqrt(static_cast<double>(samples) / static_cast<double>(noise.samples));
  noise.samples = samples;
  noise.seed += 1000003;
  const std::vector<float> all = repeated(theta, rows);
  std::vector<float> jacobian(rows * theta.size() * theta.size());
  require(perturb_jacobian(context.get(), oracle, &noise, rows, all.data(), jacobian.data()));
  std::vector<double> errors = summarize_rows(jacobian, theta.size() * theta.size()).deviation;
  for (double& e : errors) e *= scale;
  return errors;
}

struct fenchel_young_replicates {
  replicate_summary loss, gradient, epsilon_gradient;
};
inline fenchel_young_replicates replicate_fenchel_young(const perturb_oracle* oracle, const std::vector<double>& theta,
                                                        const std::vector<double>& target, const perturb_noise& noise, int64_t rows) {
  const context_ptr context = make_context(2);
  const std::vector<float> all = repeated(theta, rows), targets = repeated(target, rows);
  perturb_noise fewer = noise;
  fewer.samples = std::min<int64_t>(noise.samples, 2500);
  std::vector<float> loss(rows), gradient(rows * theta.size()), epsilon_gradient(rows);
  require(perturb_fenchel_young(context.get(), oracle, &fewer, rows, all.data(), targets.data(), loss.data(), gradient.data(),
                                epsilon_gradient.data()));
  return {summarize_rows(loss, 1), summarize_rows(gradient, theta.size()), summarize_rows(epsilon_gradient, 1)};
}

// Kolmogorov-Smirnov: P(sqrt(N) D > 2.74) is 6e-7, the level of five standard errors.
inline testing::AssertionResult has_distribution(std::vector<float> z, const std::function<double(double)>& cdf) {
  std::sort(z.begin(), z.end());
  const double count_of = static_cast<double>(z.size());
  double distance = 0;
  for (size_t i = 0; i < z.size(); ++i) {
    const double F = cdf(z[i]);
    distance = std::max({distance, F - static_cast<double>(i) / count_of, static_cast<double>(i + 1) / count_of - F});
  }
  return near(0, std::sqrt(count_of) * distance, 2.74);
}

}  // namespace perturb::test
