// Estimators without a mean: the hard solution of a row, and the solution of every sample.
#pragma once

#include "cpu/engine.h"

namespace perturb {

template <class Sampler>
struct solve_estimator {
  static constexpr bool looks_up_noise = false;
  static PERTURB_INLINE int64_t words(const call&) { return 0; }

  PERTURB_INLINE solve_estimator(const call&, arena&) {}
  PERTURB_INLINE void stage(Sampler& sampler) { sampler.stage(0, true); }
  PERTURB_INLINE void begin_row(Sampler&) {}

  PERTURB_INLINE void accumulate(Sampler& sampler, int64_t, int64_t, partial_sum& sum) {
    const call& c = sampler.problem();
    sampler.solve(0, true);
    const int exponent = make_value_scales(sampler.row().weight(), sampler.row().bounds).exponent;
    const double scale = power_of_two(exponent);
    float* y = c.output[0] + sum.b * c.m();
    for (int64_t i = 0; i < c.m(); ++i) y[i] = 0.0f;
    int64_t value = 0;
    sampler.template for_each<true>(1, [&](int, int64_t item, int64_t coefficient, float score) {
      y[item] = (float)coefficient;
      value += coefficient * to_fixed(score, scale);
    });
    if (c.output[1]) c.output[1][sum.b] = value_mean(value, 1, exponent);
  }

  PERTURB_INLINE void finish(Sampler&, const partial_sum&) {}
};

template <class Sampler>
struct sample_estimator {
  static constexpr bool looks_up_noise = false;
  static PERTURB_INLINE int64_t words(const call&) { return 0; }

  PERTURB_INLINE sample_estimator(const call&, arena&) {}
  PERTURB_INLINE void stage(Sampler& sampler) { stage_samples(sampler, false); }
  PERTURB_INLINE void begin_row(Sampler&) {}

  PERTURB_INLINE void accumulate(Sampler& sampler, int64_t first, int64_t last, partial_sum& sum) {
    const call& c = sampler.problem();
    for (int64_t m = first; m < last; m += Sampler::lanes) {
      const int count = last - m < Sampler::lanes ? (int)(last - m) : Sampler::lanes;
      sampler.solve(m, false);
      float* y = c.output[0] + (sum.b * c.samples + m) * c.m();
      for (int64_t i = 0; i < count * c.m(); ++i) y[i] = 0.0f;
      sampler.template for_each<false>(count, [&](int lane, int64_t item, int64_t coefficient, float) { y[lane * c.m() + item] = (float)coefficient; });
    }
  }

  PERTURB_INLINE void finish(Sampler&, const partial_sum&) {}
};

}  // namespace perturb
