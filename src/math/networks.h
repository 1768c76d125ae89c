// Sorting networks over rows of lanes: row r of lane l is rows[r * V::count + l]; every lane is sorted ascending by itself.
//
// Blocks of 16 rows are sorted in registers by Green's 60-comparator network (Knuth, TAOCP vol. 3, 5.3.4) and merged pairwise: one
// flip (row i against row 2r-1-i of the pair of runs), then half-cleaners, the last four of them in registers. All comparators
// point the same way, so rows past the end behave as +infinity and are simply left out.
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

template <class V>
PERTURB_INLINE void compare_exchange(typename V::u32& low, typename V::u32& high) {
  const typename V::u32 smaller = V::min(low, high);
  high = V::max(low, high);
  low = smaller;
}

// Constants of their own: device code reads no host array.
template <size_t I>
struct green_comparator {
  static constexpr int low = green_network[I].low, high = green_network[I].high;
};

template <class V, size_t... I>
PERTURB_INLINE void apply_green(typename V::u32* r, std::index_sequence<I...>) {
  (compare_exchange<V>(r[green_comparator<I>::low], r[green_comparator<I>::high]), ...);
}

// One stage of half-cleaners of distance `distance` within 16 rows.
template <class V, int distance, size_t... I>
PERTURB_INLINE void apply_half_cleaner(typename V::u32* r, std::index_sequence<I...>) {
  (compare_exchange<V>(r[I / distance * 2 * distance + I % distance], r[I / distance * 2 * distance + I % distance + distance]), ...);
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

template <class V>
PERTURB_INLINE void compare_rows(uint32_t* low, uint32_t* high) {
  typename V::u32 a = V::load(low), b = V::load(high);
  compare_exchange<V>(a, b);
  V::store(low, a);
  V::store(high, b);
}

// Sorts `count` rows, a multiple of 16; pad with 0xffffffff.
template <class V>
PERTURB_INLINE void sort_rows(uint32_t* rows, int64_t count) {
  constexpr int L = V::count;
  for (int64_t b = 0; b < count; b += network_block) sort_block<V>(rows + b * L);
  for (int64_t run = network_block; run < count; run *= 2) {
    for (int64_t a = 0; a + run < count; a += 2 * run) {
      const int64_t end = a + 2 * run < count ? a + 2 * run : count;
      for (int64_t i = a + 2 * run - end; i < run; ++i) compare_rows<V>(rows + (a + i) * L, rows + (a + 2 * run - 1 - i) * L);
      for (int64_t distance = run / 2; distance >= network_block; distance /= 2)
        for (int64_t base = a; base < end; base += 2 * distance)
          for (int64_t i = base; i < base + distance && i + distance < end; ++i) compare_rows<V>(rows + i * L, rows + (i + distance) * L);
      for (int64_t b = a; b < end; b += network_block) merge_block<V>(rows + b * L);
    }
  }
}

}  // namespace perturb
