// Kinds of noise beyond iid words: the caller's own, sums of gammas, Latin samples. Against what they replace bit for bit, against closed
// forms, and what is refused. test_epsilon_per_row.cpp has amplitudes by row.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <functional>
#include <numeric>

#include "accumulators.h"
#include "compare.h"
#include "custom_solver.h"
#include "reference/closed_forms.h"
#include "statistics.h"

namespace perturb::test {
namespace {

constexpr float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();

std::vector<float> fill(const perturb_noise& noise, int64_t batch, int64_t n) {
  const context_ptr context = make_context(2);
  std::vector<float> z(batch * noise.samples * n);
  require(perturb_noise_fill(context.get(), &noise, batch, n, z.data()));
  return z;
}

// ---------------------------------------------------------------- noise of the caller's

// The library's own normal noise, given: what is made of counts and of fixed scales has the same bits, the rest agrees to rounding.
TEST(given, own_noise_given_back) {
  const context_ptr context = make_context(2);
  case_list list;
  for (test_case c : {list.argmax_case(9), list.top_k_case(40, 7), list.rank_case(600), list.top_k_case(20, 6, inputs::ties)}) {
    c.distribution = PERTURB_NORMAL;
    c.first_row = 5;
    c.first_sample = 17;
    SCOPED_TRACE(c.name);
    const prepared_case p(context.get(), c);
    const perturb_noise built_in = make_noise(c, p.factors);
    const std::vector<float> z = fill(built_in, c.batch, c.n);
    perturb_noise own = built_in;
    own.distribution = PERTURB_GIVEN;
    own.z = own.z_score = z.data();
    for (perturb_operation operation : operations) {
      if (!p.has(operation)) continue;
      const std::vector<float> expected = run_rows(context.get(), p, operation, built_in, 0, c.batch),
                               got = run_rows(context.get(), p, operation, own, 0, c.batch);
      if (operation == PERTURB_OP_EXPECTATION || operation == PERTURB_OP_FENCHEL_YOUNG || operation == PERTURB_OP_VJP ||
          operation == PERTURB_OP_JVP) {
        // Scores are rounded to 2^-17, normal ones to 2^-19.
        const bool derivative = operation == PERTURB_OP_VJP || operation == PERTURB_OP_JVP;
        std::vector<double> tolerance;
        for (float x : expected)
          tolerance.push_back(derivative ? 3e-5 * (std::abs(x) + static_cast<double>(c.n)) + 1e-7 * static_cast<double>(c.n * c.n)
                                         : 3e-6 * (std::abs(x) + 1));
        EXPECT_TRUE(all_near(std::vector<double>(expected.begin(), expected.end()), got, tolerance)) << operation_names[operation];
      } else {
        EXPECT_TRUE(same_bits(expected, got)) << operation_names[operation];
      }
    }
    std::vector<float> mean[2], error[2];
    for (int which : {0, 1}) {
      mean[which].resize(c.batch * c.n);
      error[which].resize(c.batch * c.n);
      require(perturb_expectation(context.get(), p.oracle.get(), which ? &own : &built_in, c.batch, p.theta.data(), mean[which].data(),
                                  error[which].data(), nullptr, nullptr));
    }
    EXPECT_TRUE(same_bits(mean[0], mean[1]));
    EXPECT_TRUE(same_bits(error[0], error[1]));
  }
}

// A density that the library does not have: Student's t with 9 degrees of freedom (clipped, which changes it by 1e-13). The estimates are
// unbiased for the derivative of its own closed form: P(item 0 wins of two) = E F(a + Z), a = (theta_0 - theta_1) / eps.
TEST(given, a_density_of_ones_own) {
  const context_ptr context = make_context(2);
  const oracle_ptr oracle = make_argmax(2);
  const int64_t rows = 400, samples = 500;
  // t = normal / sqrt(chi2 / 9) from ten of the library's normals.
  const std::vector<float> normals = fill(make_noise(PERTURB_NORMAL, 1, samples, 31), rows, 2 * 10);
  std::vector<float> z, score;
  for (int64_t i = 0; i < rows * samples * 2; ++i) {
    double squares = 0;
    for (int j = 1; j < 10; ++j) squares += std::pow(normals[i * 10 + j], 2);
    const double t = std::clamp(normals[i * 10] / std::sqrt(squares / 9), -64.0, 64.0);
    z.push_back(static_cast<float>(t));
    score.push_back(static_cast<float>(10 * t / (9 + t * t)));
  }
  perturb_noise noise = make_noise(PERTURB_GIVEN, .7f, samples);
  noise.z = z.data();
  noise.z_score = score.data();
  const double theta[2] = {.3, -.1};
  std::vector<float> all;
  for (int64_t b = 0; b < rows; ++b) all.insert(all.end(), {static_cast<float>(theta[0]), static_cast<float>(theta[1])});
  std::vector<float> y(rows * 2), jacobian(rows * 4);
  require(perturb_expectation(context.get(), oracle.get(), &noise, rows, all.data(), y.data(), nullptr, nullptr, nullptr));
  require(perturb_jacobian(context.get(), oracle.get(), &noise, rows, all.data(), jacobian.data()));
  // By quadrature over the density of t.
  const double c9 = std::tgamma(5.0) / (std::sqrt(9 * std::numbers::pi) * std::tgamma(4.5)), a = (theta[0] - theta[1]) / .7f, h = 1e-3;
  const auto f = [&](double x) { return c9 * std::pow(1 + x * x / 9, -5); };
  double wins = 0, slope = 0;  // int int_{x > v - a} f f; and its derivative int f(v) f(v - a)
  double F = 0;
  for (double v = -64; v < 64; v += h) {
    const double middle = v + h / 2;
    F += h * f(middle + a - h / 2) * 1.0;  // P(Z < v + a), accumulated with v
    wins += h * f(middle) * F;
    slope += h * f(middle) * f(middle + a);
  }
  const auto check = [&](const std::vector<float>& values, int64_t width, int64_t entry, double expected) {
    double sum = 0, squares = 0;
    for (int64_t b = 0; b < rows; ++b) sum += values[b * width + entry];
    const double mean = sum / rows;
    for (int64_t b = 0; b < rows; ++b) squares += std::pow(values[b * width + entry] - mean, 2);
    EXPECT_NEAR(mean, expected, 5 * std::sqrt(squares) / rows + 2e-4);
    count();
  };
  check(y, 2, 0, wins);
  check(jacobian, 4, 0, slope / .7);
  check(jacobian, 4, 1, -slope / .7);
}

TEST(given, refusals) {
  const context_ptr context = make_context(1);
  const auto invalid = PERTURB_ERROR_INVALID_ARGUMENT, unsupported = PERTURB_ERROR_UNSUPPORTED, non_finite = PERTURB_ERROR_NON_FINITE;
  for (entry_point entry : entry_points) {
    if (of_sorts(entry)) continue;
    prepared_request p(context.get(), entry, make_argmax(6));
    if (!p.valid.takes_noise()) continue;
    std::vector<float> z(3 * 5 * 6, 0.5f), score(z);
    p.noise.distribution = PERTURB_GIVEN;
    p.noise.z = z.data();
    p.noise.z_score = score.data();
    if (entry == entry_point::noise_fill) {
      EXPECT_TRUE(refused(p, p.valid, unsupported, "GIVEN"));
      continue;
    }
    if (entry == entry_point::cost) {
      EXPECT_TRUE(refused(p, p.valid, unsupported, "GIVEN"));
      continue;
    }
    EXPECT_TRUE(accepted(p));
    for (size_t at : {size_t{0}, size_t{47}, z.size() - 1})
      for (std::vector<float>* of : {&z, &score}) {
        const float before = (*of)[at], limit = of == &z ? 64 : 32;
        const std::string name = std::string(of == &z ? "noise.z[" : "noise.z_score[") + std::to_string(at / 30) + ", " +
                                 std::to_string(at / 6 % 5) + ", " + std::to_string(at % 6) + "]";
        for (float bad : {nan, inf, -inf, std::nextafter(limit, inf), -1e30f}) {
          (*of)[at] = bad;
          EXPECT_TRUE(refused(p, p.valid, std::isfinite(bad) ? invalid : non_finite, name.c_str()));
        }
        for (float good : {limit, -limit}) {
          (*of)[at] = good;
          EXPECT_TRUE(accepted(p));
        }
        (*of)[at] = before;
      }
    p.noise.z_score = nullptr;
    if (entry == entry_point::vjp || entry == entry_point::jvp || entry == entry_point::jacobian) {
      EXPECT_TRUE(refused(p, p.valid, unsupported, "z_score"));
    } else {
      EXPECT_TRUE(accepted(p));
    }
    // Outputs may not lie in the inputs.
    p.noise.z_score = score.data();
    for (const float** of : {&p.noise.z, &p.noise.z_score}) {
      const float* const before = *of;
      *of = p.outputs[0].data();
      EXPECT_TRUE(refused(p, p.valid, {invalid, non_finite}, {"overlaps"}));
      *of = before;
    }
  }
}

// ---------------------------------------------------------------- sums of gammas

perturb_noise gamma_noise(int32_t k, int32_t terms, int64_t samples, uint64_t seed = 1) {
  perturb_noise noise = make_noise(PERTURB_SUM_OF_GAMMA, 1, samples, seed);
  noise.sum_of_gamma_k = k;
  noise.sum_of_gamma_terms = terms;
  return noise;
}

// P(a, x) of the gamma distribution of shape a: its series, and beyond its reach Lentz's continued fraction.
double gamma_cdf(double a, double x) {
  if (x <= 0) return 0;
  const double front = std::exp(-x + a * std::log(x) - std::lgamma(a));
  if (x < a + 1) {
    double term = 1 / a, sum = term;
    for (int n = 1; n < 500; ++n) sum += term *= x / (a + n);
    return front * sum;
  }
  double b = x + 1 - a, c = 1e300, d = 1 / b, h = d;
  for (int i = 1; i < 500; ++i) {
    const double an = -i * (i - a);
    b += 2;
    d = 1 / (an * d + b);
    c = b + an / c;
    h *= d * c;
  }
  return 1 - front * h;
}

// Mean (H_s - log s) / k and variance H_s^(2) / k.
TEST(sum_of_gamma, mean_and_variance) {
  for (int32_t k : {1, 2, 5, 30, 1000, 1 << 20})
    for (int32_t terms : {1, 10, 100}) {
      const std::vector<float> z = fill(gamma_noise(k, terms, 100, 7 + k), 5, terms == 100 ? 50 : 200);
      double harmonic = 0, squares = 0;
      for (int32_t i = terms; i > 0; --i) {
        harmonic += 1.0 / i;
        squares += 1.0 / i / i;
      }
      const double mean = (harmonic - std::log(terms)) / k, variance = squares / k, n = static_cast<double>(z.size());
      double sum = 0, second = 0, fourth = 0;
      for (float x : z) {
        const double off = x - mean;
        sum += off;
        second += off * off;
        fourth += off * off * off * off;
        EXPECT_GE(x, -std::log(terms) / k - 1e-6);
      }
      if (k <= 1000) {  // at 2^20 nearly all values are the least one
        EXPECT_TRUE(within_errors(0, sum / n, std::sqrt(variance / n))) << k << " " << terms;
        EXPECT_TRUE(within_errors(variance, second / n, std::sqrt((fourth / n - variance * variance) / n))) << k << " " << terms;
      } else {
        EXPECT_LT(sum / n + mean, mean + 0.01);
      }
    }
}

// One term is Gamma(1/k). With k = 1 the sum of E_i / i is the largest of s exponentials; and so is the sum of any k values with that k.
TEST(sum_of_gamma, distribution) {
  for (int32_t k : {1, 2, 3, 7})  // of larger k many are 0 but for 1e-37
    EXPECT_TRUE(has_distribution(fill(gamma_noise(k, 1, 200, 40 + k), 5, 300), [&](double x) { return gamma_cdf(1.0 / k, x); })) << k;
  for (int32_t terms : {2, 10, 50})
    EXPECT_TRUE(has_distribution(fill(gamma_noise(1, terms, 100, 50 + terms), 5, 200), [&](double x) {
      return std::pow(-std::expm1(-std::max(0.0, x + std::log(terms))), terms);
    })) << terms;
  for (int32_t k : {2, 5, 16})
    for (int32_t terms : {3, 10}) {
      const std::vector<float> z = fill(gamma_noise(k, terms, 200, 60 + k), 10, 10 * k);
      std::vector<float> sums;
      for (size_t at = 0; at < z.size(); at += k)
        sums.push_back(static_cast<float>(std::accumulate(z.begin() + at, z.begin() + at + k, 0.0)));
      EXPECT_TRUE(has_distribution(sums, [&](double x) { return std::pow(-std::expm1(-std::max(0.0, x + std::log(terms))), terms); }))
          << k << " " << terms;
    }
}

// The sum of k tends to Gumbel noise: with many terms it cannot be told from it.
TEST(sum_of_gamma, tends_to_gumbel) {
  const int32_t k = 4;
  const std::vector<float> z = fill(gamma_noise(k, 1000, 20, 5), 5, 25 * k);
  std::vector<float> sums;
  for (size_t at = 0; at < z.size(); at += k) sums.push_back(static_cast<float>(std::accumulate(z.begin() + at, z.begin() + at + k, 0.0)));
  EXPECT_TRUE(has_distribution(sums, [](double x) { return std::exp(-std::exp(-x)); }));
}

// Rows, samples, items and terms are independent of each other.
TEST(sum_of_gamma, independent) {
  const int64_t n = 50, samples = 40, rows = 10;
  const std::vector<float> z = fill(gamma_noise(3, 2, samples, 9), rows, n);
  const double mean = (1.5 - std::log(2)) / 3, variance = 1.25 / 3;
  for (const int64_t step : {int64_t{1}, int64_t{2}, int64_t{3}, int64_t{4}, n, 2 * n, n * samples}) {
    double sum = 0;
    const int64_t pairs = static_cast<int64_t>(z.size()) - step;
    for (int64_t i = 0; i < pairs; ++i) sum += (z[i] - mean) * (z[i + step] - mean);
    EXPECT_TRUE(within_errors(0, sum / pairs, variance / std::sqrt(pairs))) << step;
  }
}

TEST(sum_of_gamma, refusals) {
  const context_ptr context = make_context(1);
  for (entry_point entry : entry_points) {
    if (of_sorts(entry)) continue;
    prepared_request p(context.get(), entry, make_argmax(6));
    if (!p.valid.takes_noise()) continue;
    p.noise.distribution = PERTURB_SUM_OF_GAMMA;
    p.noise.sum_of_gamma_k = 2;
    p.noise.sum_of_gamma_terms = 10;
    if (entry == entry_point::vjp || entry == entry_point::jvp || entry == entry_point::jacobian || entry == entry_point::cost) {
      EXPECT_TRUE(refused(p, p.valid, PERTURB_ERROR_UNSUPPORTED, "SUM_OF_GAMMA"));
    } else {
      EXPECT_TRUE(accepted(p));
    }
  }
}

// ---------------------------------------------------------------- Latin samples

// In each item of each row the u of M samples lie one in each of M strata.
TEST(latin, one_sample_in_each_stratum) {
  for (int d = 0; d < 4; ++d)
    for (int64_t samples : {1, 2, 3, 7, 64, 100, 1000}) {
      perturb_noise noise = make_noise(static_cast<perturb_distribution>(d), 1, samples, 3);
      noise.sampling = PERTURB_SAMPLING_LATIN;
      noise.first_row = 2;
      const int64_t rows = 3, n = 21;
      const std::vector<float> z = fill(noise, rows, n);
      for (int64_t b = 0; b < rows; ++b)
        for (int64_t i = 0; i < n; ++i) {
          std::vector<double> u;
          for (int64_t m = 0; m < samples; ++m) u.push_back(reference::cdf(noise.distribution, z[(b * samples + m) * n + i]));
          std::sort(u.begin(), u.end());
          for (int64_t m = 0; m < samples; ++m) {
            EXPECT_GE(u[m] * static_cast<double>(samples), static_cast<double>(m) - 1e-3) << d;
            EXPECT_LE(u[m] * static_cast<double>(samples), static_cast<double>(m + 1) + 1e-3) << d;
          }
          count(samples);
        }
    }
}

// One sample is an iid sample of the distribution: by itself, whatever its number.
TEST(latin, every_sample_has_the_distribution) {
  for (int d = 0; d < 4; ++d) {
    perturb_noise noise = make_noise(static_cast<perturb_distribution>(d), 1, 7, 11 + d);
    noise.sampling = PERTURB_SAMPLING_LATIN;
    const int64_t rows = 300, n = 100;
    const std::vector<float> z = fill(noise, rows, n);
    for (int64_t m = 0; m < 7; ++m) {
      std::vector<float> of_sample;
      for (int64_t b = 0; b < rows; ++b) of_sample.insert(of_sample.end(), z.begin() + (b * 7 + m) * n, z.begin() + (b * 7 + m + 1) * n);
      EXPECT_TRUE(has_distribution(of_sample, [&](double x) { return reference::cdf(noise.distribution, x); })) << d << " sample " << m;
    }
  }
}

// Orders of strata: every pair of samples has every pair of different strata equally often, and those of two items know nothing of each
// other.
TEST(latin, orders_are_even) {
  for (int64_t samples : {2, 3, 5, 8}) {
    perturb_noise noise = make_noise(PERTURB_LOGISTIC, 1, samples, 21);
    noise.sampling = PERTURB_SAMPLING_LATIN;
    const int64_t rows = 400, n = 200;
    const std::vector<float> z = fill(noise, rows, n);
    const auto stratum = [&](int64_t b, int64_t m, int64_t i) {
      const double u = 1 / (1 + std::exp(-static_cast<double>(z[(b * samples + m) * n + i])));
      return std::clamp<int64_t>(static_cast<int64_t>(u * static_cast<double>(samples)), 0, samples - 1);
    };
    const double trials = static_cast<double>(rows * n);
    for (int64_t first = 0; first < samples; ++first)
      for (int64_t second = 0; second < samples; ++second) {
        std::vector<int64_t> pairs(samples * samples), items(samples * samples);
        for (int64_t b = 0; b < rows; ++b)
          for (int64_t i = 0; i < n; ++i) {
            ++pairs[stratum(b, first, i) * samples + stratum(b, second, i)];
            ++items[stratum(b, first, i) * samples + stratum(b, second, (i + 1) % n)];
          }
        for (int64_t s = 0; s < samples; ++s)
          for (int64_t t = 0; t < samples; ++t) {
            const double p = first == second ? (s == t ? 1.0 / samples : 0)
                             : s == t        ? 0
                                             : 1.0 / static_cast<double>(samples * (samples - 1)),
                         q = 1.0 / static_cast<double>(samples * samples);
            // Values within rounding of a stratum's edge may be counted in the next.
            EXPECT_NEAR(static_cast<double>(pairs[s * samples + t]) / trials, p, 5 * std::sqrt(p / trials) + 3e-5)
                << samples << ": " << first << " " << second << " in " << s << " " << t;
            EXPECT_NEAR(static_cast<double>(items[s * samples + t]) / trials, q, 5 * std::sqrt(q / trials) + 3e-5);
          }
        count(2 * samples * samples);
      }
  }
}

// What strata are for: the mean of an additive function hardly varies, and derivatives vary less.
TEST(latin, varies_less) {
  const context_ptr context = make_context(2);
  const int64_t rows = 2000;
  const auto variance = [&](const std::vector<float>& x, int64_t width, int64_t entry) {
    double mean = 0, squares = 0;
    for (int64_t b = 0; b < rows; ++b) mean += x[b * width + entry] / static_cast<double>(rows);
    for (int64_t b = 0; b < rows; ++b) squares += std::pow(x[b * width + entry] - mean, 2);
    return squares / static_cast<double>(rows);
  };
  for (perturb_distribution d : {PERTURB_NORMAL, PERTURB_GUMBEL, PERTURB_LOGISTIC, PERTURB_LAPLACE}) {
    double of_value[2], of_mean[2], of_jacobian[2];
    for (int latin : {0, 1}) {
      perturb_noise noise = make_noise(d, 1, 32, 6);
      if (latin) noise.sampling = PERTURB_SAMPLING_LATIN;
      const oracle_ptr all = make_top_k(6, 6), one = make_argmax(4);
      std::vector<float> theta(rows * 6), y(rows * 6), value(rows), jacobian(rows * 16);
      require(perturb_expectation(context.get(), all.get(), &noise, rows, theta.data(), y.data(), nullptr, value.data(), nullptr));
      of_value[latin] = variance(value, 1, 0);
      theta.resize(rows * 4);
      for (size_t i = 0; i < theta.size(); ++i) theta[i] = i % 4 == 2 ? .5f : 0.0f;
      require(perturb_expectation(context.get(), one.get(), &noise, rows, theta.data(), y.data(), nullptr, nullptr, nullptr));
      of_mean[latin] = variance(y, 4, 2);
      require(perturb_jacobian(context.get(), one.get(), &noise, rows, theta.data(), jacobian.data()));
      of_jacobian[latin] = variance(jacobian, 16, 10);
    }
    EXPECT_LT(of_value[1], 0.15 * of_value[0]) << d;
    EXPECT_LT(of_mean[1], 0.8 * of_mean[0]) << d;
    EXPECT_LT(of_jacobian[1], 0.95 * of_jacobian[0]) << d;
    count(3);
  }
}

// E y under Gumbel noise is the softmax, with 1, 2 and 30 strata.
TEST(latin, means_are_unbiased) {
  const context_ptr context = make_context(2);
  const oracle_ptr oracle = make_argmax(4);
  const std::vector<double> theta{.3, -.2, .5, .1}, expected = reference::softmax(theta, .7f);
  for (int64_t samples : {1, 2, 30}) {
    const int64_t rows = 60000 / samples;
    perturb_noise noise = make_noise(PERTURB_GUMBEL, .7f, samples, 8);
    noise.sampling = PERTURB_SAMPLING_LATIN;
    std::vector<float> all, y(rows * 4);
    for (int64_t b = 0; b < rows; ++b)
      for (double t : theta) all.push_back(static_cast<float>(t));
    require(perturb_expectation(context.get(), oracle.get(), &noise, rows, all.data(), y.data(), nullptr, nullptr, nullptr));
    for (int i = 0; i < 4; ++i) {
      double sum = 0, squares = 0;
      for (int64_t b = 0; b < rows; ++b) {
        sum += y[b * 4 + i];
        squares += y[b * 4 + i] * y[b * 4 + i];
      }
      const double mean = sum / static_cast<double>(rows);
      EXPECT_TRUE(
          within_errors(expected[i], mean, std::sqrt((squares / static_cast<double>(rows) - mean * mean) / static_cast<double>(rows))))
          << samples;
    }
  }
}

// Leave-one-out is no baseline here: the same bits.
TEST(latin, leave_one_out_is_none) {
  const context_ptr context = make_context(2);
  case_list list;
  test_case c = list.top_k_case(12, 4);
  c.sampling = PERTURB_SAMPLING_LATIN;
  const prepared_case p(context.get(), c);
  perturb_noise noise = make_noise(c, p.factors);
  for (perturb_operation operation : {PERTURB_OP_VJP, PERTURB_OP_JVP, PERTURB_OP_JACOBIAN}) {
    noise.baseline = PERTURB_BASELINE_LEAVE_ONE_OUT;
    const std::vector<float> with = run_rows(context.get(), p, operation, noise, 0, c.batch);
    noise.baseline = PERTURB_BASELINE_NONE;
    EXPECT_TRUE(same_bits(with, run_rows(context.get(), p, operation, noise, 0, c.batch)));
  }
}

TEST(latin, has_no_standard_errors) {
  const context_ptr context = make_context(1);
  prepared_request p(context.get(), entry_point::expectation, make_argmax(6));
  p.noise.sampling = PERTURB_SAMPLING_LATIN;
  request r = p.valid;
  EXPECT_TRUE(refused(p, r, PERTURB_ERROR_UNSUPPORTED, "y_std_error: Latin"));
  r.output[1] = nullptr;
  EXPECT_TRUE(refused(p, r, PERTURB_ERROR_UNSUPPORTED, "value_std_error: Latin"));
  r.output[3] = nullptr;
  EXPECT_EQ(r.call(), PERTURB_OK) << perturb_last_error();
}

// ---------------------------------------------------------------- with the rest of the library

TEST(kinds_of_noise, accumulators) {
  const context_ptr context = make_context(2);
  for (test_case c : noise_cases()) {
    c.first_sample = 0;
    const prepared_case p(context.get(), c);
    host_call whole(context.get(), p, entry_point::expectation);
    perturb_accumulator* made = nullptr;
    const perturb_status status =
        perturb_accumulator_create(context.get(), PERTURB_OP_EXPECTATION, whole.valid.oracle, whole.valid.noise, c.batch, &made);
    if (c.given || c.sampling == PERTURB_SAMPLING_LATIN) {
      EXPECT_EQ(status, PERTURB_ERROR_UNSUPPORTED);
      EXPECT_NE(std::string(perturb_last_error()).find(c.given ? "GIVEN" : "LATIN"), std::string::npos) << perturb_last_error();
      count(2);
      continue;
    }
    require(status);
    perturb_accumulator_destroy(made);
    for (entry_point entry : accumulated) {
      if (!has(p, entry)) continue;
      SCOPED_TRACE(c.name + " " + name_of(entry));
      host_call call(context.get(), p, entry);
      const std::vector<float> expected = call.run();
      const accumulator_ptr a = make_accumulator(call.valid);
      require(perturb_accumulator_add(a.get(), 3, c.samples - 3, call.valid.theta, call.valid.extra));
      require(perturb_accumulator_add(a.get(), 0, 3, call.valid.theta, call.valid.extra));
      require(perturb_accumulator_result(a.get(), call.valid.theta, call.valid.extra, call.valid.output));
      EXPECT_TRUE(same_bits(expected, call.results()));
      // Not an estimate with other numbers.
      perturb_noise other = *call.valid.noise;
      if (other.distribution == PERTURB_SUM_OF_GAMMA) {
        ++other.sum_of_gamma_k;
      } else {
        other.epsilon_per_row = nullptr;
      }
      request r = call.valid;
      r.noise = &other;
      const accumulator_ptr b = make_accumulator(r);
      EXPECT_EQ(perturb_accumulator_merge(a.get(), b.get()), PERTURB_ERROR_INVALID_ARGUMENT);
      count();
    }
  }
}

// Solvers of the caller's see the same perturbed theta, and derivatives of the same noise.
TEST(kinds_of_noise, custom_solvers) {
  const context_ptr context = make_context(2);
  for (const test_case& c : noise_cases()) {
    if (c.oracle != oracle_kind::argmax) continue;
    SCOPED_TRACE(c.name);
    watched_solver solver(c.n, c.n, twin_of(c));
    const prepared_case built_in(context.get(), c);
    prepared_case twin(context.get(), c);
    twin.oracle = solver.oracle();
    for (perturb_operation operation :
         {PERTURB_OP_SAMPLE, PERTURB_OP_EXPECTATION, PERTURB_OP_VJP, PERTURB_OP_JVP, PERTURB_OP_JACOBIAN, PERTURB_OP_FENCHEL_YOUNG}) {
      if (!built_in.has(operation)) continue;
      const std::vector<float> expected = run_all(context.get(), built_in, operation), got = run_all(context.get(), twin, operation);
      if (operation == PERTURB_OP_SAMPLE) {
        EXPECT_TRUE(same_bits(expected, got));
      } else {
        std::vector<double> tolerance;
        for (float x : expected) tolerance.push_back(1e-5 * (10 + std::abs(x)));
        EXPECT_TRUE(all_near(std::vector<double>(expected.begin(), expected.end()), got, tolerance)) << operation_names[operation];
      }
    }
  }
}

}  // namespace
}  // namespace perturb::test
