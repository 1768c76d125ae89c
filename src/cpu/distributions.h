// The distributions that are made of words, as compile-time values.
#pragma once

#include "math/noise.h"

namespace perturb {

// Calls f(std::integral_constant-like tag) for a run-time distribution.
template <distribution D>
struct distribution_tag {
  static constexpr distribution value = D;
};
template <class F>
PERTURB_INLINE void with_distribution(distribution d, F&& f) {
  switch (d) {
    case distribution::normal:
      return f(distribution_tag<distribution::normal>{});
    case distribution::gumbel:
      return f(distribution_tag<distribution::gumbel>{});
    case distribution::logistic:
      return f(distribution_tag<distribution::logistic>{});
    case distribution::laplace:
      return f(distribution_tag<distribution::laplace>{});
    case distribution::sum_of_gamma:
    case distribution::given:
      break;  // special_noise.h
  }
}

}  // namespace perturb
