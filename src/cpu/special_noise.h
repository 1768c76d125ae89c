// Noise that is no function of a value's own Philox words: the caller's, sums of gammas, Latin samples. One function for every engine: how
// samples and items lie over lanes is said by its arguments.
#pragma once

#include "backend.h"
#include "cpu/distributions.h"
#include "math/latin.h"
#include "math/sum_of_gamma.h"

namespace perturb {

template <class V>
PERTURB_NOINLINE void given_quad(const call& c, int64_t b, bool score, typename V::u32 samples, typename V::u32 quads,
                                 typename V::f32 values[4]) {
  const float* from = (score ? c.z_score : c.z) + b * c.samples * c.n();
  uint32_t sample[V::count], quad[V::count];
  V::store(sample, samples);
  V::store(quad, quads);
  for (int64_t j = 0; j < 4; ++j) {
    float lanes[V::count];
    for (int l = 0; l < V::count; ++l) {
      const int64_t s = sample[l] < c.samples ? sample[l] : c.samples - 1, i = 4 * (int64_t)quad[l] + j;
      lanes[l] = i < c.n() ? from[s * c.n() + i] : 0.0f;
    }
    values[j] = V::load(lanes);
  }
}

template <class V>
PERTURB_NOINLINE void latin_quad(const call& c, uint32_t row, bool score, typename V::u32 samples, typename V::u32 quads,
                                 typename V::f32 values[4]) {
  using scalar = scalar_lanes<typename V::isa>;
  typename V::u32 words[4];
  philox<V>(c.keys, quads, V::set1(0u), samples, V::set1(row), words);
  uint32_t sample[V::count], quad[V::count], of_lane[V::count];
  V::store(sample, samples);
  V::store(quad, quads);
  for (uint32_t j = 0; j < 4; ++j) {
    V::store(of_lane, words[j]);
    for (int l = 0; l < V::count; ++l) {
      if (sample[l] >= c.samples) continue;
      of_lane[l] = latin_word(make_latin_order<scalar>(c.keys, 4 * quad[l] + j, row), sample[l], (uint64_t)c.samples, of_lane[l]);
    }
    words[j] = V::load(of_lane);
  }
  with_distribution(c.noise, [&](auto d) {
    if (score) {
      latin_values<V, decltype(d)::value, true>(words, values);
    } else {
      latin_values<V, decltype(d)::value, false>(words, values);
    }
  });
}

// Noise, or its scores, of items 4 quads .. 4 quads + 3 of row b's samples, numbered within the call. Lanes past the last sample or item
// get some value too.
template <class V>
PERTURB_NOINLINE void special_quad(const call& c, int64_t b, bool score, typename V::u32 samples, typename V::u32 quads,
                                   typename V::f32 values[4]) {
  const uint32_t row = (uint32_t)(c.first_row + b);
  if (c.z) return given_quad<V>(c, b, score, samples, quads, values);
  if (c.latin) return latin_quad<V>(c, row, score, samples, quads, values);
  for (uint32_t j = 0; j < 4; ++j) {
    const typename V::u32 item = V::add(V::template shift_left<2>(quads), V::set1(j));
    values[j] = sum_of_gamma_noise<V>(c.keys, c.gamma, item, V::add(samples, V::set1((uint32_t)c.first_sample)), V::set1(row));
  }
}

}  // namespace perturb
