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

  PERTURB_INLINE void stage(Sampler& sampler) { stage_samples(sampler, false); }

  PERTURB_NOINLINE void begin_row(Sampler& sampler) {
    const call& c = sampler.problem();
    const auto& row = sampler.row();
    const float* t = c.operand + row.b * c.m();
    bool integers = true;
    double largest = 0.0, factor = 0.0;
    for (int64_t i = 0; i < c.m(); ++i) {
      if (!row.counts(i)) continue;
      integers = integers && t[i] == __builtin_rintf(t[i]);
      largest = larger(largest, magnitude(t[i]));
    }
    const double unit = magnitude_unit(largest);
    int64_t terms = 0;
    for (int64_t i = 0; i < c.m(); ++i)
      if (row.counts(i)) terms += magnitude_term(t[i], unit);
    const double total = magnitude_sum(terms, largest);
    for (int64_t i = 0; i < (row.stride ? c.n() : 1); ++i) factor = larger(factor, item_factor(row, i));
    scales_ = make_fenchel_young_scales<typename Sampler::isa>(row.weight(), row.bounds, c.noise, c.multiplicative, integers, total, factor);
    const double coefficient_unit = power_of_two(scales_.fraction_bits);
    nonzeros_ = 0;
    for (int64_t i = 0; i < c.m(); ++i) {
      if (!row.counts(i) || t[i] == 0.0f) continue;
      items_[nonzeros_] = i;
      targets_[nonzeros_++] = to_fixed(t[i], coefficient_unit);
    }
    sampler.begin_lookups(c.output[0] || c.output[2] ? (int64_t)row.weight() * Sampler::lanes + nonzeros_ : 0);
    by_items_ = Sampler::dense && !c.multiplicative && c.n() <= lookup_rows_limit && (total + (double)c.n() + 1.0) * coefficient_unit < 0x1p30;
    if (by_items_) {
      for (int64_t i = 0; i < c.n(); ++i) dense_targets_[i] = (int32_t)to_fixed(t[i], coefficient_unit);
    }
  }

  PERTURB_INLINE void accumulate(Sampler& sampler, int64_t first, int64_t last, partial_sum& sum) {
    const call& c = sampler.problem();
    const auto& row = sampler.row();
    const double loss_scale = power_of_two(scales_.loss_exponent), slope_scale = power_of_two(scales_.slope_exponent);
    const double sign = c.oracle->loss_sign();
    const bool want_loss = c.output[0], want_slope = c.output[2], want_factors = c.output[1] && c.multiplicative;
    const bool want_noise = want_loss || want_slope || want_factors;
    for (int64_t m = first; m < last; m += Sampler::lanes) {
      const int count = last - m < Sampler::lanes ? (int)(last - m) : Sampler::lanes;
      sampler.solve(m, false);
      int64_t loss[Sampler::lanes] = {}, slope[Sampler::lanes] = {};
      const auto tally = [&](int lane, int64_t item, int64_t coefficient, float z) {
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
          if (!want_noise) return;
          const float z = sampler.noise_at(lane, item);
          if (want_loss || want_slope) tally(lane, item, coefficient << scales_.fraction_bits, z);
          if (want_factors) add_factor(row, item, coefficient, z, sum.words + c.m());
        });
        for (int64_t j = 0; want_noise && j < nonzeros_; ++j) {
          float room[4 * Sampler::lanes];
          const float* z = sampler.noise_of(items_[j], room);
          for (int l = 0; l < count; ++l) {
            if (want_loss || want_slope) tally(l, items_[j], -targets_[j], z[l]);
            if (want_factors) add_factor(row, items_[j], 1, z[l], sum.words + 3 * c.m());
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
    if (c.output[0]) c.output[0][sum.b] = fenchel_young_loss(scales_, sum.sums[0], c.samples);
    if (c.output[2]) c.output[2][sum.b] = fenchel_young_slope(scales_, sum.sums[1], c.samples);
    if (!c.output[1]) return;
    const double sign = c.oracle->loss_sign();
    const float* t = c.operand + sum.b * c.m();
    const int64_t* words = sum.words;
    float* gradient = c.output[1] + sum.b * c.n();
    for (int64_t i = 0; i < c.n(); ++i) {
      if (!sampler.row().counts(i)) {
        gradient[i] = 0.0f;
      } else if (c.multiplicative) {
        gradient[i] = fenchel_young_gradient(scales_, sign, words[c.m() + i], words[2 * c.m() + i], words[3 * c.m() + i], words[4 * c.m() + i], c.samples, t[i]);
      } else {
        gradient[i] = fenchel_young_gradient(sign, words[i], c.samples, t[i]);
      }
    }
  }

 private:
  // Both sums where y has a nonzero for every item: y by item first, then all lanes' (y_i - t_i) times score and slope at once.
  PERTURB_INLINE void tally_items(Sampler& sampler, int count, double loss_scale, double slope_scale, int64_t* counts, int64_t* loss, int64_t* slope) {
    using V = typename Sampler::V;
    const auto& row = sampler.row();
    sampler.template for_each<false>(Sampler::lanes, [&](int lane, int64_t item, int64_t coefficient, float) __attribute__((always_inline)) {
      coefficients_[item * Sampler::lanes + lane] = (int32_t)(coefficient << scales_.fraction_bits) - dense_targets_[item];
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
    return row.c.epsilon_factor(row.b, i);
  }

  // d cost / d epsilon of one item.
  template <class Row>
  static PERTURB_INLINE double slope_of(const Row& row, int64_t item, float z, float score) {
    const call& c = row.c;
    if (c.oracle->grid && !(score > c.oracle->grid->cost_floor)) return 0.0;
    return score_slope(c.multiplicative, c.oracle->noise_sign(), item_factor(row, item), row.amplitude(item), z, score);
  }

  // coefficient * W of one item to its two words.
  template <class Row>
  PERTURB_INLINE void add_factor(const Row& row, int64_t item, int64_t coefficient, float z, int64_t* words) const {
    const call& c = row.c;
    const float e = row.amplitude(item);
    const float w = multiplicative_factor<scalar_lanes<typename Sampler::isa>>(z, e, -0.5f * (e * e));
    const int64_t fixed = to_fixed(w, power_of_two(scales_.factor_exponent));
    words[item] += coefficient * (fixed >> chain_half_bits);
    words[c.m() + item] += coefficient * (fixed & ((1 << chain_half_bits) - 1));
  }

  int64_t* items_ = nullptr;
  int64_t* targets_ = nullptr;
  int64_t nonzeros_ = 0;
  int32_t* coefficients_ = nullptr;
  int32_t* dense_targets_ = nullptr;
  bool by_items_ = false;
  fenchel_young_scales scales_ = {};
};

}  // namespace perturb
