// Sorting networks over rows of lanes: row r of lane l is rows[r * V::count + l]; every lane is sorted ascending by itself.
//
// Blocks of 16 rows are sorted in registers by Green's 60-comparator network (Knuth, TAOCP vol. 3, 5.3.4) and merged pairwise: one
// flip (row i against row 2r-1-i of the pair of runs), then half-cleaners. Up to three of these stages take place in registers on columns of
// rows at equal distances, and the last four on blocks of 16: long columns of rows leave the first-level cache in every pass. All comparators
// point the same way, so rows past the end behave as +infinity and are left out.
#pragma once

#include <cstdint>
#include <utility>

#include "math/lanes.h"

namespace perturb {

constexpr int network_block = 16;

struct comparator {
  uint8_t low, high;
};

constexpr comparator green_network[60] = {
    {0, 1},  {2, 3},  {4, 5},   {6, 7},   {8, 9},  {10, 11}, {12, 13}, {14, 15}, {0, 2},   {4, 6},   {8, 10}, {12, 14}, {1, 3},  {5, 7},   {9, 11},
    {13, 15}, {0, 4},  {8, 12},  {1, 5},   {9, 13}, {2, 6},   {10, 14}, {3, 7},   {11, 15}, {0, 8},   {1, 9},  {2, 10},  {3, 11}, {4, 12},  {5, 13},
    {6, 14}, {7, 15}, {5, 10},  {6, 9},   {3, 12}, {13, 14}, {4, 8},   {7, 11},  {1, 2},   {1, 4},   {7, 13}, {2, 8},   {11, 14}, {2, 4},  {5, 6},
    {9, 10}, {11, 13}, {3, 8},  {7, 12},  {6, 8},  {10, 12}, {3, 5},   {7, 9},   {3, 4},   {5, 6},   {7, 8},  {9, 10},  {11, 12}, {6, 7},  {8, 9}};

// Constants of their own: device code reads no host array.
template <size_t I>
struct green_comparator {
  static constexpr int low = green_network[I].low, high = green_network[I].high;
};

template <class V, size_t... I>
PERTURB_INLINE void apply_green(typename V::u32* r, std::index_sequence<I...>) {
  (V::compare_exchange(r[green_comparator<I>::low], r[green_comparator<I>::high]), ...);
}

// One stage of half-cleaners of distance `distance` within 16 rows.
template <class V, int distance, size_t... I>
PERTURB_INLINE void apply_half_cleaner(typename V::u32* r, std::index_sequence<I...>) {
  (V::compare_exchange(r[I / distance * 2 * distance + I % distance], r[I / distance * 2 * distance + I % distance + distance]), ...);
}

template <class V, size_t... I>
PERTURB_INLINE void load_rows(const uint32_t* rows, typename V::u32* r, std::index_sequence<I...>) {
  ((r[I] = V::load(rows + I * V::count)), ...);
}
template <class V, size_t... I>
PERTURB_INLINE void store_rows(uint32_t* rows, const typename V::u32* r, std::index_sequence<I...>) {
  (V::store(rows + I * V::count, r[I]), ...);
}

template <class V>
PERTURB_INLINE void sort_block(uint32_t* rows) {
  constexpr auto all = std::make_index_sequence<network_block>{};
  typename V::u32 r[network_block];
  load_rows<V>(rows, r, all);
  apply_green<V>(r, std::make_index_sequence<60>{});
  store_rows<V>(rows, r, all);
}

// Sorts 16 rows that are bitonic in every lane.
template <class V>
PERTURB_INLINE void merge_block(uint32_t* rows) {
  constexpr auto all = std::make_index_sequence<network_block>{};
  constexpr auto half = std::make_index_sequence<network_block / 2>{};
  typename V::u32 r[network_block];
  load_rows<V>(rows, r, all);
  apply_half_cleaner<V, 8>(r, half);
  apply_half_cleaner<V, 4>(r, half);
  apply_half_cleaner<V, 2>(r, half);
  apply_half_cleaner<V, 1>(r, half);
  store_rows<V>(rows, r, all);
}

// Half-cleaners of distances half, half/2 .. 1 within every 2 * half of `rows` registers.
template <class V, int rows, int half>
PERTURB_INLINE void clean(typename V::u32* r) {
  if constexpr (half > 0) {
    apply_half_cleaner<V, half>(r, std::make_index_sequence<rows / 2>{});
    clean<V, rows, half / 2>(r);
  }
}

// `levels` stages of half-cleaners on the 2^levels * s rows from `base` on, the last of distance s.
template <class V, int levels>
PERTURB_INLINE void clean_columns(uint32_t* rows, int64_t base, int64_t s, int64_t end) {
  constexpr int R = 1 << levels;
  for (int64_t i = base; i < base + s && i < end; ++i) {
    typename V::u32 r[R];
PERTURB_UNROLL
    for (int j = 0; j < R; ++j) r[j] = i + j * s < end ? V::load(rows + (i + j * s) * V::count) : V::set1(0xffffffffu);
    clean<V, R, R / 2>(r);
PERTURB_UNROLL
    for (int j = 0; j < R; ++j)
      if (i + j * s < end) V::store(rows + (i + j * s) * V::count, r[j]);
  }
}

// The flip of two runs, the first at `a`, and levels - 1 stages of half-cleaners after it, the last of distance s = run / 2^(levels - 1).
template <class V, int levels>
PERTURB_INLINE void flip_columns(uint32_t* rows, int64_t a, int64_t run, int64_t end) {
  constexpr int half = 1 << (levels - 1), R = 2 * half;
  const int64_t s = run / half;
  for (int64_t i = 0; i < s; ++i) {
    const int64_t low = a + i, high = a + run + s - 1 - i;
    typename V::u32 r[R];
PERTURB_UNROLL
    for (int j = 0; j < half; ++j) {
      r[j] = V::load(rows + (low + j * s) * V::count);
      r[half + j] = high + j * s < end ? V::load(rows + (high + j * s) * V::count) : V::set1(0xffffffffu);
    }
PERTURB_UNROLL
    for (int j = 0; j < half; ++j) V::compare_exchange(r[j], r[R - 1 - j]);
    clean<V, R, half / 2>(r);
PERTURB_UNROLL
    for (int j = 0; j < half; ++j) {
      V::store(rows + (low + j * s) * V::count, r[j]);
      if (high + j * s < end) V::store(rows + (high + j * s) * V::count, r[half + j]);
    }
  }
}

// Sorts `count` rows, a multiple of 16; pad with 0xffffffff.
template <class V>
PERTURB_INLINE void sort_rows(uint32_t* rows, int64_t count) {
  constexpr int L = V::count;
  for (int64_t b = 0; b < count; b += network_block) sort_block<V>(rows + b * L);
  for (int64_t run = network_block; run < count; run *= 2) {
    for (int64_t a = 0; a + run < count; a += 2 * run) {
      const int64_t end = a + 2 * run < count ? a + 2 * run : count;
      int64_t done = run;  // the distance of the last stage
      if (run == network_block) {
        flip_columns<V, 1>(rows, a, run, end);
      } else if (run == 2 * network_block) {
        flip_columns<V, 2>(rows, a, run, end);
        done = run / 2;
      } else {
        flip_columns<V, 3>(rows, a, run, end);
        done = run / 4;
      }
      while (done > network_block) {
        const int levels = done >= 8 * network_block ? 3 : done == 4 * network_block ? 2 : 1;
        const int64_t s = done >> levels;
        for (int64_t base = a; base < end; base += done) {
          if (levels == 3) clean_columns<V, 3>(rows, base, s, end);
          if (levels == 2) clean_columns<V, 2>(rows, base, s, end);
          if (levels == 1) clean_columns<V, 1>(rows, base, s, end);
        }
        done = s;
      }
      for (int64_t b = a; b < end; b += network_block) merge_block<V>(rows + b * L);
    }
  }
}

}  // namespace perturb
