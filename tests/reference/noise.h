// The score S(z) = -d log density / dz of each distribution and the perturbed scores s = theta (+-) eps Z, straight from the header.
// Scores are float like the library's (one fma), so that ties and near ties fall the same way; everything else is double.
#pragma once

#include <cmath>

#include "../cases.h"

namespace perturb::test::reference {

inline double score(perturb_distribution distribution, double z) {
  switch (distribution) {
    case PERTURB_NORMAL:
      return z;
    case PERTURB_GUMBEL:
      return -std::expm1(-z);
    case PERTURB_LOGISTIC:
      return std::tanh(z / 2);
    case PERTURB_LAPLACE:
      return z > 0 ? 1 : z < 0 ? -1 : 0;
    case PERTURB_GIVEN:  // the tests' own
      return std::tanh(z);
    case PERTURB_SUM_OF_GAMMA:
      break;
  }
  return 0;
}

// The largest |z| of each distribution that 32-bit uniforms can give, rounded up.
inline double largest_noise(perturb_distribution distribution) {
  return distribution == PERTURB_NORMAL ? 6.77 : distribution == PERTURB_SUM_OF_GAMMA ? 32 : distribution == PERTURB_GIVEN ? 64 : 23;
}

// eps_i of row b; each product is rounded to float.
inline std::vector<float> item_epsilons(const test_case& c, const std::vector<float>& factors, int64_t b = 0) {
  const float of_row = c.row_factors.empty() ? c.epsilon : c.epsilon * c.row_factors[b];
  std::vector<float> eps(c.n, of_row);
  for (int64_t i = 0; i < c.n && !factors.empty(); ++i) eps[i] = of_row * factors[i];
  return eps;
}
// d eps_i / d epsilon of row b.
inline std::vector<float> epsilon_slopes(const test_case& c, const std::vector<float>& factors, int64_t b) {
  std::vector<float> slopes = factors;
  if (c.row_factors.empty()) return slopes;
  slopes.resize(c.n, 1.0f);
  for (float& slope : slopes) slope *= c.row_factors[b];
  return slopes;
}

// W = exp(eps z - eps^2/2); 1 for additive noise.
inline double weight(const test_case& c, double eps, double z) {
  return c.mode == PERTURB_MULTIPLICATIVE ? std::exp(eps * z - eps * eps / 2) : 1.0;
}

inline double perturbed(const test_case& c, float theta, float eps, float z) {
  if (c.mode == PERTURB_MULTIPLICATIVE) return eps == 0 ? static_cast<double>(theta) : theta * weight(c, eps, z);
  return static_cast<double>(std::fma(c.minimizes() ? -eps : eps, z, theta));
}

}  // namespace perturb::test::reference
