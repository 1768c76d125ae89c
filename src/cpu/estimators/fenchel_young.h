// Fenchel-Young: the loss mean_m <y_m, s_m> - <t, s_m> of a target, its gradient and its derivative in epsilon
// (Berthet et al. 2020, section 4; multiplicative: Dalle et al. 2022).
//
// Both inner products of a sample are one exact integer sum of (y_i - t_i) times the fixed-point score of item i, so that the loss of a
// vertex target cannot come out negative by rounding. Only items with y_i or t_i nonzero are looked at.
// Words: counts of y [m]; with multiplicative noise also sums of y W and of W over samples in halves of 26 bits, [n] each.
// Sums: the loss; its derivative in epsilon.
#pragma once

#include "cpu/estimators/vjp.h"

namespace perturb {

template <class Sampler>
struct fenchel_young_estimator {
  static constexpr bool looks_up_noise = true;
  static PERTURB_INLINE int64_t words(const call& c) { return c.multiplicative ? 5 * c.m() : c.m(); }

  PERTURB_INLINE fenchel_young_estimator(const call& c, arena& a) {
    items_ = a.take<int64_t>(c.m());
    targets_ = a.take<int64_t>(c.m());
    if (Sampler::dense) {
      coefficients_ = a.take<int32_t>(c.n() * Sampler::lanes);
      dense_targets_ = a.take<int32_t>(c.n());
    }
  }

  PERTURB_NOINLINE void begin_row(Sampler& sampler) {
    const call& c = sampler.problem();
    const auto& row = sampler.row();
    const float* t = c.operand + row.b * c.m();
    bool integers = true;
    double total = 0.0;
    for (int64_t i = 0; i < c.m(); ++i) {
      if (!row.counts(i)) continue;
      integers = integers && t[i] == __builtin_rintf(t[i]);
      total += t[i] < 0 ? -(double)t[i] : (double)t[i];
    }
    fraction_bits_ = integers ? 0 : 16;
    const double coefficient_unit = power_of_two(fraction_bits_);
    nonzeros_ = 0;
    for (int64_t i = 0; i < c.m(); ++i) {
      if (!row.counts(i) || t[i] == 0.0f) continue;
      items_[nonzeros_] = i;
      targets_[nonzeros_++] = to_fixed(t[i], coefficient_unit);
    }
    by_items_ = Sampler::dense && !c.multiplicative && c.n() <= lookup_rows_limit && (total + (double)c.n() + 1.0) * coefficient_unit < 0x1p30;
    if (by_items_) {
      for (int64_t i = 0; i < c.n(); ++i) dense_targets_[i] = (int32_t)to_fixed(t[i], coefficient_unit);
    }
    // Bounds of the two sums over items of |y_i - t_i| times a score, and times a score's derivative in epsilon.
    const double weight = (Sampler::weight(c) + total) * coefficient_unit;
    loss_exponent_ = scale_exponent(weight * row.score_bound, 61);
    const int d = (int)c.noise;
    const double reach = noise_high[d] > -noise_low[d] ? noise_high[d] : -noise_low[d];
    double factor = 0.0;
    for (int64_t i = 0; i < (row.stride ? c.n() : 1); ++i) {
      const double f = item_factor(row, i);
      factor = f > factor ? f : factor;
    }
    const double slope = c.multiplicative ? row.score_bound * factor * (reach + row.epsilon_max) : factor * reach;
    slope_exponent_ = scale_exponent(weight * slope, 61);
    const float largest = exponential_function<scalar_lanes<typename Sampler::isa>>((float)(reach * row.epsilon_max > 88.0 ? 88.0 : reach * row.epsilon_max));
    factor_exponent_ = scale_exponent(1.001 * (double)largest, 51);
  }

  PERTURB_INLINE void accumulate(Sampler& sampler, int64_t first, int64_t last, partial_sum& sum) {
    const call& c = sampler.problem();
    const auto& row = sampler.row();
    const double loss_scale = power_of_two(loss_exponent_), slope_scale = power_of_two(slope_exponent_);
    const double sign = c.oracle->loss_sign();
    const bool want_loss = c.output[0], want_slope = c.output[2], want_factors = c.output[1] && c.multiplicative;
    for (int64_t m = first; m < last; m += Sampler::lanes) {
      const int count = last - m < Sampler::lanes ? (int)(last - m) : Sampler::lanes;
      sampler.solve(m, false);
      int64_t loss[Sampler::lanes] = {}, slope[Sampler::lanes] = {};
      const auto tally = [&](int lane, int64_t item, int64_t coefficient) {
        const float z = sampler.noise_at(lane, item);
        const float score = row.score(item, z);
        if (want_loss) loss[lane] += coefficient * to_fixed(cost(c, score), loss_scale);
        if (want_slope) slope[lane] += coefficient * to_fixed(slope_of(row, item, z, score), slope_scale);
      };
      bool done = false;
      if constexpr (Sampler::dense) {
        done = by_items_ && (want_loss || want_slope);
        if (done) tally_items(sampler, count, loss_scale, slope_scale, sum.words, loss, slope);
      }
      if (!done) {
        sampler.template for_each<false>(count, [&](int lane, int64_t item, int64_t coefficient, float) {
          sum.words[item] += coefficient;
          if (want_loss || want_slope) tally(lane, item, coefficient << fraction_bits_);
          if (want_factors) add_factor(sampler, lane, item, coefficient, sum.words + c.m());
        });
        for (int64_t j = 0; j < nonzeros_; ++j) {
          for (int l = 0; l < count; ++l) {
            if (want_loss || want_slope) tally(l, items_[j], -targets_[j]);
            if (want_factors) add_factor(sampler, l, items_[j], 1, sum.words + 3 * c.m());
          }
        }
      }
      for (int l = 0; l < count; ++l) {
        // y is optimal for the scores as the oracle rounds them (keys, int32 costs), which may differ in the last bits.
        const int64_t signed_loss = sign > 0 ? loss[l] : -loss[l];
        sum.sums[0] += signed_loss > 0 ? signed_loss : 0;
        sum.sums[1] += sign > 0 ? slope[l] : -slope[l];
      }
    }
  }

  PERTURB_NOINLINE void finish(Sampler& sampler, const partial_sum& sum) {
    const call& c = sampler.problem();
    const double samples = (double)c.samples;
    if (c.output[0]) c.output[0][sum.b] = (float)((double)sum.sums[0] / samples * power_of_two(-loss_exponent_ - fraction_bits_));
    if (c.output[2]) c.output[2][sum.b] = (float)((double)sum.sums[1] / samples * power_of_two(-slope_exponent_ - fraction_bits_));
    if (!c.output[1]) return;
    const double sign = c.oracle->loss_sign();
    const float* t = c.operand + sum.b * c.m();
    float* gradient = c.output[1] + sum.b * c.n();
    for (int64_t i = 0; i < c.n(); ++i) {
      if (!sampler.row().counts(i)) {
        gradient[i] = 0.0f;
      } else if (c.multiplicative) {
        const double unit = power_of_two(-factor_exponent_) / samples;
        const double solved = (double)(((int128)sum.words[c.m() + i] << 26) + sum.words[2 * c.m() + i]) * unit;
        const double target = (double)(((int128)sum.words[3 * c.m() + i] << 26) + sum.words[4 * c.m() + i]) * unit * (double)t[i];
        gradient[i] = vjp_estimator<Sampler>::finite(sign * (solved - target));
      } else {
        gradient[i] = (float)(sign * ((double)sum.words[i] / samples - (double)t[i]));
      }
    }
  }

 private:
  // Both sums where y has a nonzero for every item: y by item first, then all lanes' (y_i - t_i) times score and slope at once.
  PERTURB_INLINE void tally_items(Sampler& sampler, int count, double loss_scale, double slope_scale, int64_t* counts, int64_t* loss, int64_t* slope) {
    using V = typename Sampler::V;
    const auto& row = sampler.row();
    sampler.template for_each<false>(Sampler::lanes, [&](int lane, int64_t item, int64_t coefficient, float) __attribute__((always_inline)) {
      coefficients_[item * Sampler::lanes + lane] = (int32_t)(coefficient << fraction_bits_) - dense_targets_[item];
      if (lane < count) counts[item] += coefficient;
    });
    const bool want_slope = sampler.problem().output[2];
    typename V::sum64 losses, slopes;
    sampler.for_items([&](int64_t item, auto score, auto z) __attribute__((always_inline)) {
      const auto coefficient = V::load(coefficients_ + item * Sampler::lanes);
      V::add_fixed(losses, score, loss_scale, coefficient);
      if (want_slope) V::add_fixed(slopes, z, row.c.oracle->noise_sign() * item_factor(row, item) * slope_scale, coefficient);
    });
    V::store(loss, losses);
    V::store(slope, slopes);
  }

  // What a perturbed theta costs or scores: grids clamp at their floor.
  static PERTURB_INLINE float cost(const call& c, float score) {
    if (!c.oracle->grid) return score;
    return score > c.oracle->grid->cost_floor ? score : c.oracle->grid->cost_floor;
  }

  // d eps_i / d epsilon.
  template <class Row>
  static PERTURB_INLINE double item_factor(const Row& row, int64_t i) {
    return row.stride ? (double)row.c.epsilon_per_item[i] : 1.0;
  }

  // d cost / d epsilon of one item.
  template <class Row>
  static PERTURB_INLINE double slope_of(const Row& row, int64_t item, float z, float score) {
    const call& c = row.c;
    if (c.oracle->grid && !(score > c.oracle->grid->cost_floor)) return 0.0;
    const double factor = item_factor(row, item);
    if (c.multiplicative) return (double)score * (factor * ((double)z - (double)row.amplitude(item)));
    return (double)c.oracle->noise_sign() * (factor * (double)z);
  }

  // coefficient * W of one item to its two words.
  PERTURB_INLINE void add_factor(Sampler& sampler, int lane, int64_t item, int64_t coefficient, int64_t* words) const {
    const call& c = sampler.problem();
    const float e = sampler.row().amplitude(item);
    const float w = multiplicative_factor<scalar_lanes<typename Sampler::isa>>(sampler.noise_at(lane, item), e, -0.5f * (e * e));
    const int64_t fixed = to_fixed(w, power_of_two(factor_exponent_));
    words[item] += coefficient * (fixed >> 26);
    words[c.m() + item] += coefficient * (fixed & ((1 << 26) - 1));
  }

  int64_t* items_ = nullptr;
  int64_t* targets_ = nullptr;
  int64_t nonzeros_ = 0;
  int32_t* coefficients_ = nullptr;
  int32_t* dense_targets_ = nullptr;
  bool by_items_ = false;
  int fraction_bits_ = 0, loss_exponent_ = 0, slope_exponent_ = 0, factor_exponent_ = 0;
};

}  // namespace perturb
