// VJP: J^T g = sigma/(eps_i D) sum_m (r_m - b) S_m,i with r_m = <g, y_m> (Berthet et al. 2020, eq. 5).
//
// Everything that is summed is an integer, whatever the split of the samples:
//   r_m is exact in 2^-e_g of the largest possible <g, y>; R = r_m - r(y*), the unperturbed solution's, is its weight w (a float, |w| <= 1 in
//   units of a bound known beforehand). w S is added in two limbs, of 2^-(22 - b) and 2^-(44 - b) (b = score_bits), S alone in the first.
// A limb is made by adding 1.5 * 2^23: the sum's low mantissa bits are then the rounded integer, and adding the bits of floats
// modulo 2^32 adds those integers. Because the centre is y*, leave-one-out gives exactly 0 for any epsilon where y never
// moves.
// Leave-one-out is then sum w S - w_bar sum S over M - 1, algebraically the same as subtracting each sample's own baseline.
#pragma once

#include "cpu/engine.h"

namespace perturb {

// Noise scores times weights, summed over samples into three integers per item.
template <class V>
struct weighted_limbs {
  typename V::u32 high, low, plain;

  PERTURB_INLINE void clear() { high = low = plain = V::set1(0u); }

  // weight includes the factor 2^(22 - b); unit is 2^(22 - b).
  PERTURB_INLINE void add(typename V::f32 weight, typename V::f32 score, typename V::f32 unit) {
    using f32 = typename V::f32;
    const f32 magic = V::set1(limb_magic);
    const f32 first = V::fma(weight, score, magic);
    const f32 rest = V::fma(weight, score, V::sub(magic, first));  // exact but for the last bits of the product
    const f32 second = V::fma(rest, V::set1(0x1p22f), magic);
    high = V::add(high, V::bits(first));
    low = V::add(low, V::bits(second));
    plain = V::add(plain, V::bits(V::fma(score, unit, magic)));
  }
};

// Sums of <g, y_m> times S, or times what else W wants of the noise.
template <class Sampler, wanted W>
struct weighted_estimator {
  using V = typename Sampler::V;
  static constexpr bool looks_up_noise = false;
  static constexpr int most_groups = 16;        // of samples whose noise is weighted at a time: sums of their limbs fit 32 bits
  // Noise that waits for its weights: it stays in the second-level cache, and more groups bring little.
  static constexpr int kept_groups = 4;
  static constexpr int64_t kept_bytes = 1 << 18;
  static PERTURB_INLINE int64_t words(const call& c) { return 3 * c.n(); }

  PERTURB_INLINE weighted_estimator(const call& c, arena& a) {
    cotangent_ = a.take<int64_t>(c.m());
    scores_ = a.take<float>(item_block * (Sampler::lanes > 1 ? Sampler::lanes : most_groups));
    const int64_t bytes = Sampler::row_floats(c) * (int64_t)sizeof(float);
    // Normal noise is its own score.
    if (Sampler::lanes > 1 && c.noise == distribution::normal && c.plain_words() && bytes <= kept_bytes) {
      groups_ = kept_bytes / bytes < kept_groups ? (int)(kept_bytes / bytes) : kept_groups;
      kept_ = a.take<float>(groups_ * Sampler::row_floats(c));
    }
  }

  PERTURB_INLINE void stage(Sampler& sampler) { stage_samples(sampler, true); }

  PERTURB_NOINLINE void begin_row(Sampler& sampler) {
    const call& c = sampler.problem();
    const float* g = c.operand + sampler.row().b * c.m();
    const uint8_t* passable = sampler.row().passable;
    const auto [low, high] = range_of<typename Sampler::vector>(g, c.m(), passable);
    const double largest = larger(-low, high), middle = 0.5 * (low + high), widest = 0.5 * (high - low);
    const double unit = magnitude_unit(largest), unit_spread = magnitude_unit(widest);
    int64_t absolute = 0, spread = 0;
    for (int64_t i = 0; i < c.m(); ++i) {
      const bool counted = !passable || passable[i];
      absolute += counted ? magnitude_term(g[i], unit) : 0;
      spread += counted ? magnitude_term(g[i] - middle, unit_spread) : 0;
    }
    scales_ = make_vjp_scales(c.oracle->kind, c.n(), c.oracle->k_of(sampler.row().row), low, high, magnitude_sum(absolute, largest), magnitude_sum(spread, widest),
                              factor_bits(W, c.noise));
    const double scale = power_of_two(scales_.cotangent_exponent);
    for (int64_t i = 0; i < c.m(); ++i) cotangent_[i] = !passable || passable[i] ? to_fixed(g[i], scale) : 0;
    sampler.solve(0, true);
    centre_ = 0;
    sampler.template for_each<false>(1, [&](int, int64_t item, int64_t coefficient, float) { centre_ += coefficient * cotangent_[item]; });
  }

  PERTURB_INLINE void accumulate(Sampler& sampler, int64_t first, int64_t last, partial_sum& sum) {
    const int64_t chunk = (int64_t)groups_ * Sampler::lanes;
    const double to_weight = vjp_weight_scale(scales_);
    for (int64_t m0 = first; m0 < last; m0 += chunk) {
      const int64_t samples = last - m0 < chunk ? last - m0 : chunk;
      for (int64_t m = 0; m < samples; m += Sampler::lanes) {
        const int count = samples - m < Sampler::lanes ? (int)(samples - m) : Sampler::lanes;
        sampler.solve(m0 + m, false, kept_ ? kept_ + m * (Sampler::row_floats(sampler.problem()) / Sampler::lanes) : nullptr);
        if (Sampler::lanes == 1) noise_[m] = sampler.noise_row();
        int64_t r[Sampler::lanes];
        sampler.inner_products(count, cotangent_, r);
        for (int l = 0; l < count; ++l) {
          sum.sums[0] += r[l] - centre_;
          weights_[m + l] = (float)((double)(r[l] - centre_) * to_weight);
        }
      }
      add_scores(sampler, m0, samples, sum.words);
    }
  }

  PERTURB_INLINE vjp_ending ending(const call& c, const partial_sum& sum) const { return make_vjp_ending(scales_, sum.sums[0], centre_, c.samples, c.baseline); }

 private:
  // Adds weight * S and S of samples m0..m0+samples-1 for all items.
  PERTURB_INLINE void add_scores(Sampler& sampler, int64_t m0, int64_t samples, int64_t* words) {
    const call& c = sampler.problem();
    if constexpr (Sampler::lanes == 1) {
      add_scores_by_items(sampler, m0, samples, words);
    } else {
      for (int64_t m = samples; m % Sampler::lanes != 0; ++m) weights_[m] = 0.0f;
      if (kept_) return add_kept(c, samples, words);
      if (c.plain_words()) return with_distribution(c.noise, [&](auto d) { add_scores_of<decltype(d)::value>(sampler, m0, samples, words); });
      add_scores_by_group(sampler, m0, samples, words);
    }
  }

  // A sampler of one sample: vectors run over items.
  PERTURB_NOINLINE void add_scores_by_items(Sampler& sampler, int64_t m0, int64_t samples, int64_t* words) {
    using vector = typename Sampler::vector;
    constexpr int L = vector::count;
    const call& c = sampler.problem();
    const bool own_score = c.noise == distribution::normal && c.plain_words();  // normal noise is its own score
    const typename vector::f32 unit = vector::set1((float)(1 << (limb_bits - factor_bits(W, c.noise))));
    const typename vector::u32 magic = vector::set1((uint32_t)samples * limb_magic_bits);
    for (int64_t i0 = 0; i0 < c.n(); i0 += item_block) {
      const int64_t count = c.n() - i0 < item_block ? c.n() - i0 : item_block;
      const float* scores[most_groups];
      bool noise[most_groups];
      for (int64_t m = 0; m < samples; ++m) {
        noise[m] = noise_[m] && own_score;
        scores[m] = noise[m] ? noise_[m] + i0 : scores_ + m * item_block;
        if (noise[m]) continue;
        auto source = sampler.source();
        source.begin(c, sampler.row().b, m0 + m);
        source.template fill<W>(i0, count, scores_ + m * item_block);
      }
      int32_t sums[3][item_block];
      for (int64_t i = 0; i < count; i += L) {
        weighted_limbs<vector> limbs;
        limbs.clear();
        for (int64_t m = 0; m < samples; ++m) {
          typename vector::f32 score = vector::load(scores[m] + i);
          if (W == wanted::slope && noise[m]) score = vector::fma(score, score, vector::set1(-1.0f));
          limbs.add(vector::set1(weights_[m]), score, unit);
        }
        vector::store(sums[0] + i, vector::sub(limbs.high, magic));
        vector::store(sums[1] + i, vector::sub(limbs.low, magic));
        vector::store(sums[2] + i, vector::sub(limbs.plain, magic));
      }
      for (int s = 0; s < 3; ++s)
        for (int64_t i = 0; i < count; ++i) words[s * c.n() + i0 + i] += sums[s][i];
    }
  }

  // One group of samples after the other.
  PERTURB_NOINLINE void add_scores_by_group(Sampler& sampler, int64_t m0, int64_t samples, int64_t* words) {
    const call& c = sampler.problem();
    const typename V::f32 unit = V::set1((float)(1 << (limb_bits - factor_bits(W, c.noise))));
    const typename V::u32 magic = V::set1(limb_magic_bits);
    for (int64_t m = 0; m < samples; m += Sampler::lanes) {
      auto source = sampler.source();
      source.begin(c, sampler.row().b, m0 + m);
      const auto present = V::less(V::iota(), V::set1((uint32_t)(samples - m)));
      const typename V::f32 weight = V::load(weights_ + m);
      for (int64_t i0 = 0; i0 < c.n(); i0 += item_block) {
        const int64_t count = c.n() - i0 < item_block ? c.n() - i0 : item_block;
        source.template fill<W>(i0, count, scores_);
        for (int64_t i = 0; i < count; ++i) {
          weighted_limbs<V> limbs;
          limbs.clear();
          limbs.add(weight, V::select(present, V::load(scores_ + i * Sampler::lanes), V::set1(0.0f)), unit);
          words[i0 + i] += V::sum_signed(V::sub(limbs.high, magic));
          words[c.n() + i0 + i] += V::sum_signed(V::sub(limbs.low, magic));
          words[2 * c.n() + i0 + i] += V::sum_signed(V::sub(limbs.plain, magic));
        }
      }
    }
  }

  // Of noise that is made of words again: what groups share of Philox is made once.
  template <distribution D>
  PERTURB_NOINLINE void add_scores_of(Sampler& sampler, int64_t m0, int64_t samples, int64_t* words) {
    const call& c = sampler.problem();
    philox_group<V> group[most_groups];
    const auto sample_of = [&](int g) { return V::add(V::set1((uint32_t)(c.first_sample + m0 + g * Sampler::lanes)), V::iota()); };
    for (int g = 0; g * Sampler::lanes < samples; ++g)
      group[g] = make_philox_group<V>(c.keys, c.antithetic ? V::template shift_right<1>(sample_of(g)) : sample_of(g), 0);
    const typename V::u32 mirrored = mirror_mask<V>(sample_of(0));  // of every group: they have an even number of lanes
    sum_limbs<D>(c, samples, words, [&](int g, int64_t i0, typename V::f32(&score)[4]) __attribute__((always_inline)) {
      typename V::u32 bits[4];
      philox<V, 1>(c.keys, group[g], sampler.row().row, (uint32_t)(i0 >> 2), bits);
      if (c.antithetic) mirror_words<V>(D, mirrored, bits);
      values_of_words<V, D, W>(bits, score);
    });
  }

  // Of the noise that the solves left.
  PERTURB_NOINLINE void add_kept(const call& c, int64_t samples, int64_t* words) {
    const int64_t stride = Sampler::row_floats(c);
    sum_limbs<distribution::normal>(c, samples, words, [&](int g, int64_t i0, typename V::f32(&score)[4]) __attribute__((always_inline)) {
      for (int j = 0; j < 4; ++j) {
        const typename V::f32 z = V::load(kept_ + g * stride + (i0 + j) * Sampler::lanes);
        score[j] = W == wanted::slope ? V::fma(z, z, V::set1(-1.0f)) : z;
      }
    });
  }

  // scores(g, i0, score): of items i0..i0+3 of group g.
  template <distribution D, class Scores>
  PERTURB_INLINE void sum_limbs(const call& c, int64_t samples, int64_t* words, Scores&& scores) {
    const float unit = (float)(1 << (limb_bits - factor_bits(W, D)));
    int64_t* high = words;
    int64_t* low = words + c.n();
    int64_t* plain = words + 2 * c.n();
    const int groups = (int)((samples + Sampler::lanes - 1) / Sampler::lanes);
    const auto present = V::less(V::iota(), V::set1((uint32_t)(samples - (groups - 1) * Sampler::lanes)));  // lanes of the last group
    const typename V::u32 magic = V::set1((uint32_t)groups * limb_magic_bits);
    for (int64_t i0 = 0; i0 < c.n(); i0 += 4) {
      weighted_limbs<V> limbs[4];
      for (weighted_limbs<V>& l : limbs) l.clear();
      for (int g = 0; g < groups; ++g) {
        typename V::f32 score[4];
        scores(g, i0, score);
        if (g == groups - 1)
          for (int j = 0; j < 4; ++j) score[j] = V::select(present, score[j], V::set1(0.0f));
        const typename V::f32 weight = V::load(weights_ + g * Sampler::lanes);
        for (int j = 0; j < 4; ++j) limbs[j].add(weight, score[j], V::set1(unit));
      }
      for (int j = 0; j < 4 && i0 + j < c.n(); ++j) {
        high[i0 + j] += V::sum_signed(V::sub(limbs[j].high, magic));
        low[i0 + j] += V::sum_signed(V::sub(limbs[j].low, magic));
        plain[i0 + j] += V::sum_signed(V::sub(limbs[j].plain, magic));
      }
    }
  }

  int64_t* cotangent_ = nullptr;
  float* scores_ = nullptr;
  vjp_scales scales_ = {};
  int64_t centre_ = 0;
  float weights_[most_groups * Sampler::lanes];
  int groups_ = most_groups;
  float* kept_ = nullptr;  // the noise of those groups, where it is kept
  const float* noise_[Sampler::lanes > 1 ? 1 : most_groups];  // of each sample, or null
};

template <class Sampler>
struct vjp_estimator : weighted_estimator<Sampler, wanted::score> {
  using weighted_estimator<Sampler, wanted::score>::weighted_estimator;

  PERTURB_NOINLINE void finish(Sampler& sampler, const partial_sum& sum) {
    const call& c = sampler.problem();
    const int64_t n = c.n();
    float* __restrict gradient = c.output[0] + sum.b * n;
    const int64_t* words = sum.words;
    const vjp_ending ending = this->ending(c, sum);
    for (int64_t i = 0; i < n; ++i) {
      const double amplitude = sampler.row().derivative_amplitude(i);
      gradient[i] = amplitude == 0.0 ? 0.0f : vjp_gradient(ending, words[i], words[n + i], words[2 * n + i], amplitude);
    }
  }
};

}  // namespace perturb
