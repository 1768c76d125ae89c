// Fills scratch with noise: the two ways in which an engine's samples lie over the lanes of a vector.
//
// samples_over_lanes<V>: V::count samples of one row, one per lane; item i of all samples is the vector at out + i * count.
// items_over_lanes<V>:   one sample; item i is out[i], and the vector runs over items while the noise is made.
// Both give the same bits: a value depends on its (row, sample, item) alone.
#pragma once

#include <cstdint>

#include "math/noise.h"

namespace perturb {

// What is wanted of the noise: Z, or its score S.
enum class wanted { noise, score };

template <class V, distribution D, wanted W>
PERTURB_INLINE void values_of_words(const typename V::u32 words[4], typename V::f32 values[4]) {
  if constexpr (W == wanted::noise) {
    noise_of_words<V, D>(words, values);
  } else {
    scores_of_words<V, D>(words, values);
  }
}

// Calls f(std::integral_constant-like tag) for a run-time distribution.
template <distribution D>
struct distribution_tag {
  static constexpr distribution value = D;
};
template <class F>
PERTURB_INLINE void with_distribution(distribution d, F&& f) {
  switch (d) {
    case distribution::normal: return f(distribution_tag<distribution::normal>{});
    case distribution::gumbel: return f(distribution_tag<distribution::gumbel>{});
    case distribution::logistic: return f(distribution_tag<distribution::logistic>{});
    case distribution::laplace: return f(distribution_tag<distribution::laplace>{});
  }
}

template <class V_>
struct samples_over_lanes {
  using V = V_;       // the lanes that an oracle works in
  using vector = V_;  // the lanes that noise is made in
  static constexpr int count = V::count;

  const philox_keys* keys;
  uint32_t row;
  philox_group<V> group;
  bool antithetic;
  typename V::u32 mirrored;  // lanes whose words are mirrored

  void begin(const philox_keys& k, bool antithetic_, uint32_t r, uint32_t first_sample) {
    keys = &k;
    row = r;
    antithetic = antithetic_;
    const typename V::u32 sample = V::add(V::set1(first_sample), V::iota());
    mirrored = mirror_mask<V>(sample);
    group = make_philox_group<V>(k, antithetic ? V::template shift_right<1>(sample) : sample, 0);
  }

  // Items [first, first + items), first a multiple of 4; writes whole quads.
  template <distribution D, wanted W>
  PERTURB_NOINLINE void fill(int64_t first, int64_t items, float* out) const {
    for (int64_t i = 0; i < items; i += 4) {
      typename V::u32 words[4];
      typename V::f32 values[4];
      philox<V>(*keys, group, row, (uint32_t)((first + i) >> 2), words);
      if (antithetic) mirror_words<V>(D, mirrored, words);
      values_of_words<V, D, W>(words, values);
      for (int j = 0; j < 4; ++j) V::store(out + (i + j) * count, values[j]);
    }
  }
};

template <class Vector>
struct items_over_lanes {
  using V = scalar_lanes<typename Vector::isa>;
  using vector = Vector;
  static constexpr int count = 1;

  const philox_keys* keys;
  uint32_t row, sample, mirrored;

  void begin(const philox_keys& k, bool antithetic, uint32_t r, uint32_t s) {
    keys = &k;
    row = r;
    sample = sample_counter_of(antithetic, s);
    mirrored = antithetic ? mirror_mask<scalar_lanes<typename Vector::isa>>(s) : 0u;
  }

  // As above; writes exactly `items` values.
  template <distribution D, wanted W>
  PERTURB_NOINLINE void fill(int64_t first, int64_t items, float* out) const {
    constexpr int L = Vector::count;
    for (int64_t i = 0; i < items; i += 4 * L) {
      typename Vector::u32 words[4];
      typename Vector::f32 values[4];
      const typename Vector::u32 quads = Vector::add(Vector::set1((uint32_t)((first + i) >> 2)), Vector::iota());
      philox<Vector>(*keys, quads, Vector::set1(0u), Vector::set1(sample), Vector::set1(row), words);
      if (mirrored) mirror_words<Vector>(D, Vector::set1(mirrored), words);
      values_of_words<Vector, D, W>(words, values);
      float parts[4][L];
      for (int j = 0; j < 4; ++j) Vector::store(parts[j], values[j]);
      const int64_t left = items - i < 4 * L ? items - i : 4 * L;
      for (int64_t j = 0; j < left; ++j) out[i + j] = parts[j & 3][j >> 2];
    }
  }
};

}  // namespace perturb
