// Closed forms of perturbed optimizers: softmax, normal functions, and one-dimensional quadrature that is exact for iid noise:
//   P(i wins) = int g(z) prod_j G(z + a_ij) dz,  a_ij = (theta_i - theta_j) / eps,
// and likewise for top-k (a Poisson-binomial count of the items that beat i) and for mean and variance of ranks.
#pragma once

#include <perturb/perturb.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

namespace perturb::test::reference {

using doubles = std::vector<double>;

inline constexpr double euler_gamma = 0.57721566490153286;
inline double normal_cdf(double x) { return 0.5 * std::erfc(-x / std::numbers::sqrt2); }
inline double normal_density(double x) { return std::exp(-x * x / 2) / std::sqrt(2 * std::numbers::pi); }

inline double log_sum_exp(const doubles& theta, double eps) {
  const double top = *std::max_element(theta.begin(), theta.end());
  double sum = 0;
  for (double t : theta) sum += std::exp((t - top) / eps);
  return top + eps * std::log(sum);
}
inline doubles softmax(const doubles& theta, double eps) {
  const double total = log_sum_exp(theta, eps);
  doubles p(theta);
  for (double& entry : p) entry = std::exp((entry - total) / eps);
  return p;
}

inline double density(perturb_distribution d, double z) {
  switch (d) {
    case PERTURB_NORMAL:
      return normal_density(z);
    case PERTURB_GUMBEL:
      return std::exp(-z - std::exp(-z));
    case PERTURB_LOGISTIC: {
      const double e = std::exp(-std::abs(z));
      return e / ((1 + e) * (1 + e));
    }
    default:
      return std::exp(-std::abs(z)) / 2;
  }
}
inline double cdf(perturb_distribution d, double z) {
  switch (d) {
    case PERTURB_NORMAL:
      return normal_cdf(z);
    case PERTURB_GUMBEL:
      return std::exp(-std::exp(-z));
    case PERTURB_LOGISTIC:
      return z < 0 ? std::exp(z) / (1 + std::exp(z)) : 1 / (1 + std::exp(-z));
    default:
      return z < 0 ? std::exp(z) / 2 : 1 - std::exp(-z) / 2;
  }
}
inline double noise_mean(perturb_distribution d) { return d == PERTURB_GUMBEL ? euler_gamma : 0; }
inline double noise_variance(perturb_distribution d) {
  constexpr double pi2 = std::numbers::pi * std::numbers::pi;
  return d == PERTURB_NORMAL ? 1 : d == PERTURB_GUMBEL ? pi2 / 6 : d == PERTURB_LOGISTIC ? pi2 / 3 : 2;
}
inline double fisher_information(perturb_distribution d) { return d == PERTURB_LOGISTIC ? 1.0 / 3 : 1; }

// P(Z_j - Z_i <= t): what a difference of t in the scaled scores wins.
inline double win(perturb_distribution d, double t) {
  if (d == PERTURB_NORMAL) return normal_cdf(t / std::numbers::sqrt2);
  if (d == PERTURB_GUMBEL) return 1 / (1 + std::exp(-t));
  if (t < 0) return 1 - win(d, -t);
  const double e = std::exp(-t);
  if (d == PERTURB_LAPLACE) return 1 - 0.5 * (1 + t / 2) * e;
  return t < 1e-4 ? 0.5 + t / 6 : 1 / (1 - e) - t * e / ((1 - e) * (1 - e));
}

// E f(Z) by the trapezoid rule: for smooth densities its error vanishes faster than any power of the step (1e-10 here, checked against
// tables); the kinks of Laplace need small steps for 1e-8.
template <class Function>
double expect(perturb_distribution d, Function f) {
  const double low = d == PERTURB_NORMAL ? -10 : d == PERTURB_GUMBEL ? -4 : -36;
  const double high = d == PERTURB_NORMAL ? 10 : 36;
  const double step = d == PERTURB_LAPLACE ? 2e-4 : d == PERTURB_NORMAL ? 0.1 : 0.02;
  const int64_t steps = static_cast<int64_t>((high - low) / step);
  double sum = 0;
  for (int64_t i = 0; i <= steps; ++i) {
    const double z = low + step * static_cast<double>(i);
    sum += density(d, z) * f(z);
  }
  return sum * step;
}

// P(i is among the k largest of theta + eps Z).
inline doubles inclusion(perturb_distribution d, const doubles& theta, double eps, size_t k) {
  const size_t n = theta.size();
  doubles p(n), beats(k);
  for (size_t i = 0; i < n; ++i)
    p[i] = expect(d, [&](double z) {
      std::fill(beats.begin(), beats.end(), 0.0);  // beats[m] = P(m of the others beat i)
      beats[0] = 1;
      for (size_t j = 0; j < n; ++j) {
        if (j == i) continue;
        const double q = 1 - cdf(d, z + (theta[i] - theta[j]) / eps);
        for (size_t m = k; m-- > 0;) beats[m] = beats[m] * (1 - q) + (m > 0 ? beats[m - 1] * q : 0.0);
      }
      double sum = 0;
      for (double b : beats) sum += b;
      return sum;
    });
  return p;
}

struct rank_moments {
  doubles mean, variance;
};
// Given z_i the comparisons of item i with the others are independent, so one integral gives the variance too. Ascending, base 1.
inline rank_moments rank_law(perturb_distribution d, const doubles& theta, double eps) {
  const size_t n = theta.size();
  rank_moments out{doubles(n), doubles(n)};
  for (size_t i = 0; i < n; ++i) {
    double first = 0, second = 0;
    for (size_t j = 0; j < n; ++j)
      if (j != i) first += win(d, (theta[i] - theta[j]) / eps);
    second = expect(d, [&](double z) {
      double sum = 0, spread = 0;
      for (size_t j = 0; j < n; ++j) {
        if (j == i) continue;
        const double q = cdf(d, z + (theta[i] - theta[j]) / eps);
        sum += q;
        spread += q * (1 - q);
      }
      return sum * sum + spread;
    });
    out.mean[i] = 1 + first;
    out.variance[i] = second - first * first;
  }
  return out;
}

}  // namespace perturb::test::reference
