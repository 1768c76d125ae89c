// Squared distances and their gradients on the CPU: the arithmetic that src/distances.h states, vectors over points and over dimensions.
#pragma once

#include <cstdint>

#include "backend.h"
#include "math/scales.h"

namespace perturb {

// Dimensions at a time: what a tile of points takes when transposed.
constexpr int64_t distance_block = 64;

// Points [first, last) lie over lanes, V::count at a time, transposed block by block; theta holds the chains in between.
template <class V>
void negative_distances(const distance_problem& p, int64_t first, int64_t last, float* theta) {
  constexpr int L = V::count;
  alignas(64) float tile[distance_block * L] = {};
  alignas(64) float partial[L];
  for (int64_t i0 = first; i0 < last; i0 += L) {
    const int64_t lanes = last - i0 < L ? last - i0 : L;
    for (int64_t j0 = 0; j0 < p.dimensions; j0 += distance_block) {
      const int64_t block = p.dimensions - j0 < distance_block ? p.dimensions - j0 : distance_block;
      const bool ends = j0 + block == p.dimensions;
      for (int64_t l = 0; l < lanes; ++l)
        for (int64_t j = 0; j < block; ++j) tile[j * L + l] = p.x[(i0 + l) * p.dimensions + j0 + j];
      for (int64_t b = 0; b < p.queries; ++b) {
        const float* q = p.q + b * p.dimensions + j0;
        float* chains = theta + b * p.points + i0;
        for (int64_t l = 0; l < L; ++l) partial[l] = j0 > 0 && l < lanes ? chains[l] : 0.0f;
        typename V::f32 chain = V::load(partial);
        for (int64_t j = 0; j < block; ++j) {
          const typename V::f32 step = V::sub(V::set1(q[j]), V::load(tile + j * L));
          chain = V::fma(step, step, chain);
        }
        V::store(partial, chain);
        for (int64_t l = 0; l < lanes; ++l) chains[l] = ends ? -partial[l] : partial[l];
      }
    }
  }
}

template <class Isa>
void distance_gradient(const distance_sum& s, int64_t first, int64_t last, float* gradient) {
  double sums[distance_block];
  for (int64_t r = first; r < last; ++r) {
    for (int64_t j0 = 0; j0 < s.dimensions; j0 += distance_block) {
      const int64_t block = s.dimensions - j0 < distance_block ? s.dimensions - j0 : distance_block;
      const float* a = s.a + r * s.dimensions + j0;
      for (int64_t j = 0; j < block; ++j) sums[j] = 0.0;
      for (int64_t t = 0; t < s.terms; ++t) {
        const double weight = s.weights[r * s.row_stride + t * s.term_stride];
        const float* c = s.c + t * s.dimensions + j0;
        if (s.leave_out && weight != weight) {
          for (int64_t j = 0; j < block; ++j) sums[j] += 0.0 * (double)a[j];
          continue;
        }
        for (int64_t j = 0; j < block; ++j) sums[j] += weight * ((double)a[j] - (double)c[j]);
      }
      for (int64_t j = 0; j < block; ++j) gradient[r * s.dimensions + j0 + j] = finite_float(-2.0 * sums[j]);
    }
  }
}

}  // namespace perturb
