// One row of a call: its theta, its amplitudes, the perturbed score of an item, and the bounds that fixed-point scales need.
#pragma once

#include <cmath>
#include <cstdint>

#include "backend.h"
#include "cpu/arena.h"
#include "math/scales.h"
#include "math/score.h"

namespace perturb {

struct item_range {
  double low, high;
};

// Of the items that count, whatever the others hold; low > high where there are none.
template <class Vector>
PERTURB_NOINLINE item_range range_of(const float* x, int64_t n, const uint8_t* passable) {
  constexpr int L = Vector::count;
  typename Vector::f32 low = Vector::set1(HUGE_VALF), high = Vector::set1(-HUGE_VALF);
  const auto look = [&](const float* at) __attribute__((always_inline)) {  // min and max of a NaN and a number are the second
    low = Vector::min(Vector::load(at), low);
    high = Vector::max(Vector::load(at), high);
  };
  float counted[L];
  for (int64_t i = 0; i < n; i += L) {
    if (i + L > n && (passable || n < L)) {
      for (int64_t j = 0; j < L; ++j) counted[j] = i + j < n && (!passable || passable[i + j]) ? x[i + j] : NAN;
      look(counted);
    } else if (passable) {
      for (int64_t j = 0; j < L; ++j) {
        const float here = x[i + j];
        counted[j] = passable[i + j] ? here : NAN;
      }
      look(counted);
    } else {
      look(x + (i + L <= n ? i : n - L));
    }
  }
  float lows[Vector::count], highs[Vector::count];
  Vector::store(lows, low);
  Vector::store(highs, high);
  item_range r = {lows[0], highs[0]};
  for (int l = 1; l < Vector::count; ++l) {
    r.low = lows[l] < r.low ? lows[l] : r.low;
    r.high = highs[l] > r.high ? highs[l] : r.high;
  }
  return r;
}

template <class Isa>
struct row_view {
  using scalar = scalar_lanes<Isa>;

  const call& c;
  int64_t b = 0;      // row of this call
  uint32_t row = 0;   // row of the whole problem
  const float* theta = nullptr;
  float* epsilon = nullptr;  // eps_i, signed when additive; one entry, or n
  int64_t stride = 0;        // of epsilon: 0 or 1

  const uint8_t* passable = nullptr;  // the items that count; null: all

  double epsilon_max = 0.0;  // of |eps_i|
  row_bounds bounds = {};

  PERTURB_INLINE row_view(const call& call_, arena& a) : c(call_) {
    stride = c.epsilon_per_item ? 1 : 0;
    epsilon = a.take<float>(stride ? c.n() : 1);
    if (c.oracle->grid) passable = c.oracle->grid->counted();
  }

  PERTURB_INLINE bool counts(int64_t i) const { return !passable || passable[i]; }
  PERTURB_INLINE float amplitude(int64_t i) const { return epsilon[i * stride]; }
  // The largest sum of |y|.
  PERTURB_INLINE double weight() const {
    const grid* g = c.oracle->grid.get();
    return oracle_weight(c.oracle->kind, c.n(), c.oracle->k_of(row), g ? g->ends_of(row).reached : 0, g ? g->diagonal_factor : 1.0f);
  }
  // math/scales.h; 0 also where an item does not count.
  PERTURB_INLINE double derivative_amplitude(int64_t i) const { return counts(i) ? perturb::derivative_amplitude(c.multiplicative, amplitude(i), theta[i]) : 0.0; }

  // Once per call, for what rows have in common.
  PERTURB_INLINE void begin_call() {
    if (!c.epsilon_per_row) set_amplitudes(c.epsilon);
  }

  PERTURB_NOINLINE void set_amplitudes(float of_row) {
    const float sign = c.multiplicative ? 1.0f : c.oracle->noise_sign();
    epsilon_max = 0.0;
    for (int64_t i = 0; i < (stride ? c.n() : 1); ++i) {
      const float e = stride ? of_row * c.epsilon_per_item[i] : of_row;
      epsilon[i] = sign * e;
      if (e > epsilon_max) epsilon_max = e;
    }
  }

  // theta_: the row's, or what stands for it. Vector: the widest lanes there are.
  template <class Vector>
  PERTURB_NOINLINE void begin(int64_t b_, const float* theta_) {
    b = b_;
    row = (uint32_t)(c.first_row + b);
    theta = theta_;
    if (c.epsilon_per_row) set_amplitudes(c.row_epsilon(b));
    const auto [theta_low, theta_high] = range_of<Vector>(theta, c.n(), passable);
    bounds = make_row_bounds<Isa>(c.noise, c.multiplicative, epsilon_max, theta_low, theta_high, c.oracle->grid ? c.oracle->grid->cost_floor : 0.0);
  }

  // The perturbed score of one item for one z: the same bits as the vector forms.
  PERTURB_INLINE float score(int64_t i, float z) const {
    return c.multiplicative ? multiplicative_score<scalar>(theta[i], amplitude(i), z) : additive_score<scalar>(theta[i], amplitude(i), z);
  }

  // Calls f(g) with g(V{}, i, z) -> score, the mode decided outside of f's loops.
  template <class F>
  PERTURB_INLINE void with_score(F&& f) const {
    const float* t = theta;
    const float* e = epsilon;
    const int64_t s = stride;
    if (c.multiplicative) {
      f([=](auto v, int64_t i, auto z) __attribute__((always_inline)) { return multiplicative_score<decltype(v)>(t[i], e[i * s], z); });
    } else if (s == 0) {
      const float e0 = e[0];
      f([=](auto v, int64_t i, auto z) __attribute__((always_inline)) { return additive_score<decltype(v)>(t[i], e0, z); });
    } else {
      f([=](auto v, int64_t i, auto z) __attribute__((always_inline)) { return additive_score<decltype(v)>(t[i], e[i], z); });
    }
  }
};

}  // namespace perturb
