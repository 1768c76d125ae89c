// Expectation: y_mean, its standard error, the value F_eps and its standard error (Berthet et al. 2020, section 2).
//
// Words: counts of y [m], and for ranks the counts of y^2 [m]. Sums: values; deviations of the value from its unperturbed
// centre, in a coarser unit, and their squares.
#pragma once

#include "cpu/estimators/solve.h"

namespace perturb {

template <class Sampler>
struct expectation_estimator {
  static constexpr bool looks_up_noise = false;
  static PERTURB_INLINE bool ranks(const call& c) { return c.oracle->kind == oracle_kind::rank; }
  static PERTURB_INLINE int64_t words(const call& c) { return ranks(c) ? 2 * c.m() : c.m(); }

  PERTURB_INLINE expectation_estimator(const call& c, arena& a) {
    if (Sampler::dense) coefficients_ = a.take<int32_t>(c.n() * Sampler::lanes);
  }

  PERTURB_INLINE void stage(Sampler& sampler) { stage_samples(sampler, sampler.problem().output[3]); }

  PERTURB_NOINLINE void begin_row(Sampler& sampler) {
    const call& c = sampler.problem();
    want_value_ = c.output[2] || c.output[3];
    want_squares_ = c.output[1] && ranks(c);
    scales_ = make_value_scales(sampler.row().weight(), sampler.row().bounds);
    scale_ = power_of_two(scales_.exponent);
    if (!c.output[3]) return;
    sampler.solve(0, true);
    centre_ = 0;
    sampler.template for_each<true>(1, [&](int, int64_t, int64_t coefficient, float score) { centre_ += coefficient * to_fixed(score, scale_); });
  }

  PERTURB_INLINE void accumulate(Sampler& sampler, int64_t first, int64_t last, partial_sum& sum) {
    const call& c = sampler.problem();
    int64_t* counts = sum.words;
    int64_t* squares = sum.words + c.m();
    const double to_deviation = power_of_two(scales_.deviation_exponent - scales_.exponent);
    for (int64_t m = first; m < last; m += Sampler::lanes) {
      const int count = last - m < Sampler::lanes ? (int)(last - m) : Sampler::lanes;
      sampler.solve(m, false);
      if (!want_value_ && !want_squares_) {
        sampler.template for_each<false>(count, [&](int, int64_t item, int64_t coefficient, float) { counts[item] += coefficient; });
        continue;
      }
      int64_t values[Sampler::lanes] = {};
      const auto tally = [&](int lane, int64_t item, int64_t coefficient, float score) __attribute__((always_inline)) {
        counts[item] += coefficient;
        if (want_squares_) squares[item] += coefficient * coefficient;  // n^2 M < 2^63 is checked
        values[lane] += coefficient * to_fixed(score, scale_);
      };
      if (!want_value_) {
        sampler.template for_each<false>(count, tally);
      } else if constexpr (Sampler::dense) {
        tally_items(sampler, count, counts, squares, values);
      } else {
        sampler.template for_each<true>(count, tally);
      }
      for (int l = 0; l < count; ++l) {
        sum.sums[0] += values[l];
        if (!c.output[3]) continue;
        const int64_t deviation = to_fixed((double)(values[l] - centre_), to_deviation);
        sum.sums[1] += deviation;
        sum.sums[2] += (int128)deviation * deviation;
      }
    }
  }

  PERTURB_NOINLINE void finish(Sampler& sampler, const partial_sum& sum) {
    const call& c = sampler.problem();
    float* mean = c.output[0] + sum.b * c.m();
    for (int64_t i = 0; i < c.m(); ++i) mean[i] = expectation_mean(sum.words[i], c.samples);
    if (float* error = c.output[1]) {
      error += sum.b * c.m();
      for (int64_t i = 0; i < c.m(); ++i) error[i] = expectation_error(sum.words[i], sum.words[ranks(c) ? c.m() + i : i], c.samples);
    }
    if (c.output[2]) c.output[2][sum.b] = value_mean(sum.sums[0], c.samples, scales_.exponent);
    if (c.output[3]) c.output[3][sum.b] = value_error(sum.sums[1], sum.sums[2], c.samples, scales_.deviation_exponent);
  }

 private:
  // The same sums where y has a nonzero for every item: coefficients by item first, then all lanes' values at once.
  PERTURB_INLINE void tally_items(Sampler& sampler, int count, int64_t* counts, int64_t* squares, int64_t* values) {
    using V = typename Sampler::V;
    sampler.template for_each<false>(Sampler::lanes, [&](int lane, int64_t item, int64_t coefficient, float) __attribute__((always_inline)) {
      coefficients_[item * Sampler::lanes + lane] = (int32_t)coefficient;
      if (lane >= count) return;
      counts[item] += coefficient;
      if (want_squares_) squares[item] += coefficient * coefficient;
    });
    typename V::sum64 sum;
    sampler.for_items([&](int64_t item, auto score, auto) __attribute__((always_inline)) {
      V::add_fixed(sum, score, scale_, V::load(coefficients_ + item * Sampler::lanes));
    });
    V::store(values, sum);
  }

  int32_t* coefficients_ = nullptr;
  bool want_value_ = false, want_squares_ = false;
  value_scales scales_ = {};
  double scale_ = 1.0;
  int64_t centre_ = 0;
};

}  // namespace perturb
