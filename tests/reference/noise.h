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
    case PERTURB_SUM_OF_GAMMA:
      break;
  }
  return 0;
}

// The largest |z| of each distribution that 32-bit uniforms can give, rounded up.
inline double largest_noise(perturb_distribution distribution) { return distribution == PERTURB_NORMAL ? 6.77 : 23; }

inline std::vector<float> item_epsilons(const test_case& c, const std::vector<float>& factors) {
  std::vector<float> eps(c.n, c.epsilon);
  for (int64_t i = 0; i < c.n && !factors.empty(); ++i) eps[i] = c.epsilon * factors[i];
  return eps;
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
