// Between rows of one problem each, items side by side, and vectors over the lanes by item: V::count x V::count tiles, by zips.
#pragma once

#include "math/lanes.h"

namespace perturb {

// r[i] lane j becomes r[j] lane i: each round of zips rotates the bits of (row, lane) by one.
template <class V>
PERTURB_INLINE void transpose_tile(typename V::u32 (&r)[V::count]) {
  constexpr int L = V::count;
  for (int round = 1; round < L; round *= 2) {
    typename V::u32 s[L];
PERTURB_UNROLL
    for (int j = 0; j < L / 2; ++j) V::zip(r[j], r[j + L / 2], s[2 * j], s[2 * j + 1]);
PERTURB_UNROLL
    for (int j = 0; j < L; ++j) r[j] = s[j];
  }
}

// out[i * L + l] = rows[l * pitch + i] for i < n, of the first `lanes` rows; other lanes repeat the first. pitch is a multiple of L, and out holds as many
// vectors.
template <class V>
PERTURB_NOINLINE void rows_to_lanes(const uint32_t* rows, int64_t pitch, int lanes, int64_t n, uint32_t* out) {
  constexpr int L = V::count;
  for (int64_t i = 0; i < n; i += L) {
    typename V::u32 r[L];
PERTURB_UNROLL
    for (int l = 0; l < L; ++l) r[l] = V::load(rows + (l < lanes ? l : 0) * pitch + i);
    transpose_tile<V>(r);
PERTURB_UNROLL
    for (int j = 0; j < L; ++j) V::store(out + (i + j) * L, r[j]);
  }
}

// The way back: rows[l * pitch + i] = in[i * L + l].
template <class V>
PERTURB_NOINLINE void lanes_to_rows(const uint32_t* in, int64_t n, uint32_t* rows, int64_t pitch) {
  constexpr int L = V::count;
  for (int64_t i = 0; i < n; i += L) {
    typename V::u32 r[L];
PERTURB_UNROLL
    for (int j = 0; j < L; ++j) r[j] = V::load(in + (i + j) * L);
    transpose_tile<V>(r);
PERTURB_UNROLL
    for (int l = 0; l < L; ++l) V::store(rows + l * pitch + i, r[l]);
  }
}

}  // namespace perturb
