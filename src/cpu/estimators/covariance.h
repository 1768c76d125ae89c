// Covariance of y: sums of y [m] and of y_i y_j, i <= j [m, m], exact integers.
#pragma once

#include "cpu/engine.h"

namespace perturb {

template <class Sampler>
struct covariance_estimator {
  static constexpr bool looks_up_noise = false;
  static PERTURB_INLINE int64_t words(const call& c) { return c.m() + c.m() * c.m(); }

  PERTURB_INLINE covariance_estimator(const call& c, arena& a) {
    items_ = a.take<int32_t>(c.m() * Sampler::lanes);
    y_ = a.take<int32_t>(c.m() * Sampler::lanes);
  }

  PERTURB_INLINE void begin_row(Sampler&) {}

  PERTURB_INLINE void accumulate(Sampler& sampler, int64_t first, int64_t last, partial_sum& sum) {
    const int64_t m = sampler.problem().m();
    for (int64_t s = first; s < last; s += Sampler::lanes) {
      const int lanes = last - s < Sampler::lanes ? (int)(last - s) : Sampler::lanes;
      sampler.solve(s, false);
      // By item where y has no zeros, else as a list of its nonzeros.
      int64_t nonzeros[Sampler::lanes] = {};
      sampler.template for_each<false>(lanes, [&](int lane, int64_t item, int64_t coefficient, float) {
        const int64_t at = lane * m + (Sampler::dense ? item : nonzeros[lane]++);
        items_[at] = (int32_t)item;
        y_[at] = (int32_t)coefficient;
      });
      for (int l = 0; l < lanes; ++l) add_products(m, Sampler::dense ? m : nonzeros[l], items_ + l * m, y_ + l * m, sum.words, sum.words + m);
    }
  }

  PERTURB_NOINLINE void finish(Sampler& sampler, const partial_sum& sum) {
    const call& c = sampler.problem();
    const int64_t m = c.m();
    float* covariance = c.output[0] + sum.b * m * m;
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = i; j < m; ++j)
        covariance[i * m + j] = covariance[j * m + i] = covariance_entry(sum.words[i], sum.words[j], sum.words[m + i * m + j], c.samples);
  }

 private:
  static PERTURB_NOINLINE void add_products(int64_t m, int64_t nonzeros, const int32_t* items, const int32_t* y, int64_t* counts, int64_t* products) {
    for (int64_t a = 0; a < nonzeros; ++a) {
      const int64_t i = items[a], factor = y[a];
      counts[i] += factor;
      int64_t* row = products + i * m;
      if constexpr (Sampler::dense) {
        for (int64_t j = i; j < m; ++j) row[j] += factor * y[j];
      } else {
        for (int64_t b = 0; b < nonzeros; ++b)
          if (items[b] >= i) row[items[b]] += factor * y[b];
      }
    }
  }

  int32_t* items_ = nullptr;
  int32_t* y_ = nullptr;
};

}  // namespace perturb
