// Naive argmax: one-hot at the largest score, the lowest index among equals (-0 equals +0).
#pragma once

#include <cstdint>
#include <vector>

namespace perturb::test::reference {

inline std::vector<double> argmax(const std::vector<double>& score) {
  size_t best = 0;
  for (size_t i = 1; i < score.size(); ++i)
    if (score[i] > score[best]) best = i;
  std::vector<double> y(score.size(), 0.0);
  y[best] = 1;
  return y;
}

}  // namespace perturb::test::reference
