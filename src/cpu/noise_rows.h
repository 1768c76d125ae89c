// Fills scratch with noise: the two ways in which an engine's samples lie over the lanes of a vector.
//
// samples_over_lanes<V>: V::count samples of one row, one per lane; item i of all samples is the vector at out + i * count.
// items_over_lanes<V>:   one sample; item i is out[i], and the vector runs over items while the noise is made.
// Both give the same bits: a value depends on its (row, sample, item) alone.
#pragma once

#include <cstdint>

#include "backend.h"
#include "cpu/distributions.h"
#include "cpu/special_noise.h"

namespace perturb {

// Items whose noise is made at a time where an oracle does not need whole rows: of 16 samples they stay in the first-level cache.
constexpr int64_t item_block = 64;

template <class V_>
struct samples_over_lanes {
  using V = V_;       // the lanes that an oracle works in
  using vector = V_;  // the lanes that noise is made in
  static constexpr int count = V::count;

  const call* problem;
  int64_t b, first_sample;  // of the call
  uint32_t row;
  philox_group<V> group;
  typename V::u32 mirrored;  // lanes whose words are mirrored

  // Samples from `first` on of row b_, both numbered within the call.
  void begin(const call& c, int64_t b_, int64_t first) {
    problem = &c;
    b = b_;
    first_sample = first;
    row = (uint32_t)(c.first_row + b);
    const typename V::u32 sample = V::add(V::set1((uint32_t)(c.first_sample + first)), V::iota());
    mirrored = mirror_mask<V>(sample);
    group = make_philox_group<V>(c.keys, c.antithetic ? V::template shift_right<1>(sample) : sample, 0);
  }

  // Items [first, first + items), first a multiple of 4; writes whole quads.
  template <wanted W>
  PERTURB_INLINE void fill(int64_t first, int64_t items, float* out) const {
    if (!problem->plain_words()) return fill_special(W, first, items, out);
    with_distribution(problem->noise, [&](auto d) { fill_words<decltype(d)::value, W>(first, items, out); });
  }

  // Normal noise of plain words, of the pairs of items that keep(item, first word) is true of; returns how many. The pair of items pairs[p] and
  // pairs[p] + 1 has its z in the vectors 2 p and 2 p + 1 of out. out and pairs have room for `items`, at most item_block, and their quad.
  template <class Keep>
  PERTURB_INLINE int64_t fill_pairs(int64_t first, int64_t items, Keep&& keep, float* out, uint32_t* pairs) const {
    int64_t kept = 0, i = 0;
    for (; i + 4 < items; i += 8) kept = write_pairs<2>(first + i, keep, kept, out, pairs);
    if (i < items) kept = write_pairs<1>(first + i, keep, kept, out, pairs);
    while (kept > 0 && pairs[kept - 1] >= first + items) --kept;  // of the last quad
    values_in_place<distribution::normal, wanted::noise>(2 * kept, out);
    return kept;
  }

 private:
  PERTURB_NOINLINE void fill_special(wanted what, int64_t first, int64_t items, float* out) const {
    for (int64_t i = 0; i < items; i += 4) {
      typename V::f32 values[4];
      special_quad<V>(*problem, b, what == wanted::score, V::add(V::set1((uint32_t)first_sample), V::iota()), V::set1((uint32_t)((first + i) >> 2)), values);
      for (int j = 0; j < 4; ++j) V::store(out + (i + j) * count, values[j]);
    }
  }

  // Words first, then in place what is made of them, a block at a time: one loop that does both has too much in flight and is 1.3 times slower.
  template <distribution D, wanted W>
  PERTURB_NOINLINE void fill_words(int64_t first, int64_t items, float* out) const {
    for (int64_t start = 0; start < items; start += item_block) {
      const int64_t end = items - start < item_block ? items : start + item_block;
      int64_t i = start;
      for (; i + 4 < end; i += 8) write_words<D, 2>(first, i, out);
      if (i < end) write_words<D, 1>(first, i, out);
      values_in_place<D, W>(end - start, out + start * count);
    }
  }

  template <distribution D, int quads>
  PERTURB_INLINE void write_words(int64_t first, int64_t i, float* out) const {
    typename V::u32 words[4 * quads];
    make_words<D, quads>(first + i, words);
    for (int j = 0; j < 4 * quads; ++j) V::store(out + (i + j) * count, V::floats(words[j]));
  }

  // Writes every pair to the place after the last one kept, and counts it if it is kept: no branch.
  template <int quads, class Keep>
  PERTURB_INLINE int64_t write_pairs(int64_t item, Keep&& keep, int64_t kept, float* out, uint32_t* pairs) const {
    typename V::u32 words[4 * quads];
    make_words<distribution::normal, quads>(item, words);
    for (int j = 0; j < 4 * quads; j += 2) {
      float* to = out + 2 * kept * count;
      V::store(to, V::floats(words[j]));
      V::store(to + count, V::floats(words[j + 1]));
      pairs[kept] = (uint32_t)(item + j);
      kept += keep(item + j, words[j]);
    }
    return kept;
  }

  template <distribution D, int quads>
  PERTURB_INLINE void make_words(int64_t item, typename V::u32 (&words)[4 * quads]) const {
    philox<V, quads>(problem->keys, group, row, (uint32_t)(item >> 2), words);
    for (int q = 0; q < quads; ++q)
      if (problem->antithetic) mirror_words<V>(D, mirrored, words + 4 * q);
  }

  template <distribution D, wanted W>
  static PERTURB_INLINE void values_in_place(int64_t items, float* out) {
    for (int64_t i = 0; i < items; i += 4) {
      typename V::u32 words[4];
      typename V::f32 values[4];
      for (int j = 0; j < 4; ++j) words[j] = V::bits(V::load(out + (i + j) * count));
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

  const call* problem;
  int64_t b, number;  // of the call
  uint32_t row, sample, mirrored;

  void begin(const call& c, int64_t b_, int64_t first) {
    problem = &c;
    b = b_;
    number = first;
    row = (uint32_t)(c.first_row + b);
    const uint32_t s = (uint32_t)(c.first_sample + first);
    sample = sample_counter_of(c.antithetic, s);
    mirrored = c.antithetic ? mirror_mask<scalar_lanes<typename Vector::isa>>(s) : 0u;
  }

  // As above; writes exactly `items` values.
  template <wanted W>
  PERTURB_INLINE void fill(int64_t first, int64_t items, float* out) const {
    if (!problem->plain_words()) return fill_special(W, first, items, out);
    with_distribution(problem->noise, [&](auto d) { fill_words<decltype(d)::value, W>(first, items, out); });
  }

 private:
  PERTURB_NOINLINE void fill_special(wanted what, int64_t first, int64_t items, float* out) const {
    for (int64_t i = 0; i < items; i += 4 * L) {
      typename Vector::f32 values[4];
      special_quad<Vector>(*problem, b, what == wanted::score, Vector::set1((uint32_t)number),
                           Vector::add(Vector::set1((uint32_t)((first + i) >> 2)), Vector::iota()), values);
      store(values, i, items, out);
    }
  }

  template <distribution D, wanted W>
  PERTURB_NOINLINE void fill_words(int64_t first, int64_t items, float* out) const {
    for (int64_t i = 0; i < items; i += 4 * L) {
      typename Vector::u32 words[4];
      typename Vector::f32 values[4];
      const typename Vector::u32 quads = Vector::add(Vector::set1((uint32_t)((first + i) >> 2)), Vector::iota());
      philox<Vector>(problem->keys, quads, Vector::set1(0u), Vector::set1(sample), Vector::set1(row), words);
      if (mirrored) mirror_words<Vector>(D, Vector::set1(mirrored), words);
      values_of_words<Vector, D, W>(words, values);
      store(values, i, items, out);
    }
  }

  // Items from i on of a vector of quads.
  static PERTURB_INLINE void store(const typename Vector::f32 values[4], int64_t i, int64_t items, float* out) {
    typename Vector::u32 even[2], odd[2], rows[4];
    Vector::zip(Vector::bits(values[0]), Vector::bits(values[2]), even[0], even[1]);
    Vector::zip(Vector::bits(values[1]), Vector::bits(values[3]), odd[0], odd[1]);
    for (int half = 0; half < 2; ++half) Vector::zip(even[half], odd[half], rows[2 * half], rows[2 * half + 1]);
    if (items - i >= 4 * L) {
      for (int j = 0; j < 4; ++j) Vector::store(out + i + j * L, Vector::floats(rows[j]));
    } else {
      float last[4 * L];
      for (int j = 0; j < 4; ++j) Vector::store(last + j * L, Vector::floats(rows[j]));
      for (int64_t j = 0; j < items - i; ++j) out[i + j] = last[j];
    }
  }

  static constexpr int L = Vector::count;
};

}  // namespace perturb
