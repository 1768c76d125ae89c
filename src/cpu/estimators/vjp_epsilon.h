// d <g, y_eps> / d eps_i = 1/(eps_i D) sum_m (r_m - b) T_m,i with T = S z - 1: the VJP's sums with another factor (docs/composed.md derives it).
//
// d / d epsilon is the sum over items of d eps_i / d epsilon times that, and d eps_i / d epsilon / eps_i is 1 / epsilon for all: so it is the same formula
// with the exact sums over the items that are perturbed.
#pragma once

#include "cpu/estimators/vjp.h"

namespace perturb {

template <class Sampler>
struct vjp_epsilon_estimator : weighted_estimator<Sampler, wanted::slope> {
  using weighted_estimator<Sampler, wanted::slope>::weighted_estimator;

  PERTURB_NOINLINE void finish(Sampler& sampler, const partial_sum& sum) {
    const call& c = sampler.problem();
    const auto& row = sampler.row();
    const int64_t n = c.n();
    const vjp_ending ending = this->ending(c, sum);
    int128 high = 0, low = 0, plain = 0;
    for (int64_t i = 0; i < n; ++i) {
      const double amplitude = row.counts(i) ? magnitude(row.amplitude(i)) : 0.0;
      if (amplitude > 0.0) {
        high += sum.words[i];
        low += sum.words[n + i];
        plain += sum.words[2 * n + i];
      }
      if (c.output[1])
        c.output[1][sum.b * n + i] = amplitude > 0.0 ? vjp_gradient(ending, sum.words[i], sum.words[n + i], sum.words[2 * n + i], amplitude) : 0.0f;
    }
    if (c.output[0]) c.output[0][sum.b] = c.epsilon == 0.0f ? 0.0f : vjp_gradient(ending, high, low, plain, (double)c.epsilon);
  }
};

}  // namespace perturb
