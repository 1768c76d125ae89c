// Where the frontend and a backend meet: one validated call, and the functions that a CPU instruction set supplies.
#pragma once

#include <cstddef>
#include <cstdint>

#include "call_part.h"
#include "distances.h"
#include "math/noise.h"
#include "math/resolve.h"
#include "oracle.h"
#include "perturb/perturb.h"

namespace perturb {

inline bool takes_noise(perturb_operation operation) {
  return operation != PERTURB_OP_SOLVE && operation != PERTURB_OP_LPGD && operation != PERTURB_OP_SPO_PLUS;
}

// Everything a kernel needs to know of one call of the C API. Pointers are as the caller gave them; checked, not copied.
struct call {
  perturb_operation operation = PERTURB_OP_SOLVE;
  const perturb_oracle* oracle = nullptr;
  int64_t batch = 0;
  const float* theta = nullptr;
  const float* operand = nullptr;  // cotangent, tangent, target or the true theta
  // solve: y, value. sample: y. expectation: y_mean, y_std_error, value, value_std_error. vjp, jvp, jacobian: the result.
  // fenchel_young: loss, gradient, epsilon_gradient. lpgd, imle: gradient. spo_plus: loss, gradient. vjp_epsilon: of epsilon, per item.
  // sorted_values: values, std_error. sorted_values_vjp: gradient. covariance: the result. cost: mean, std_error, gradient.
  float* output[4] = {nullptr, nullptr, nullptr, nullptr};

  distribution noise = distribution::normal;
  bool multiplicative = false;
  centring baseline = centring::none;
  bool antithetic = false;
  bool latin = false;
  float epsilon = 0.0f;
  const float* epsilon_per_item = nullptr;
  const float* epsilon_per_row = nullptr;
  sum_of_gamma gamma = {};
  const float *z = nullptr, *z_score = nullptr;  // given noise: [batch, samples, n]
  int64_t samples = 1;
  int64_t first_sample = 0, first_row = 0;
  philox_keys keys = {};
  resolve_options resolve;
  const perturb_cost_options* cost = nullptr;  // COST; null where only sizes matter

  // Accumulators: where sums are kept between calls. CPU: words [batch, row_words], sums [batch, 3]. CUDA: words [batch, row_words + sum_words].
  call_part part = call_part::whole;
  int64_t* words = nullptr;
  int128* sums = nullptr;

  // Where a status and a count of clamped costs of each row go, if anywhere (src/row_status.h), and which row of the caller's row 0 is: with a
  // status of rows a batch may run in parts.
  int32_t* row_status = nullptr;
  int64_t* row_clamped = nullptr;
  int64_t row_of_caller = 0;

  const float* tau_scale = nullptr;  // LPGD and I-MLE: one float in the backend's memory that tau is multiplied by, or null

  // LPGD and I-MLE: tau of row b.
  float tau(int64_t b) const {
    const float step = tau_scale ? resolve.tau * *tau_scale : resolve.tau;
    if (!resolve.relative) return step;
    const float* rows[2] = {theta + b * n(), operand + b * n()};
    double norms[2];
    for (int r = 0; r < 2; ++r) {
      double largest = 0.0;
      for (int64_t i = 0; i < n(); ++i)
        if (counts(i)) largest = larger(largest, magnitude(rows[r][i]));
      const double unit = norm_unit(largest, n());
      int64_t terms = 0;
      for (int64_t i = 0; i < n(); ++i)
        if (counts(i)) terms += norm_term(rows[r][i], unit);
      norms[r] = norm_of(terms, unit);
    }
    return relative_tau(step, norms[0], norms[1]);
  }

  // The amplitude of row b without its items' factors, and what epsilon is multiplied by: d eps_i / d epsilon.
  PERTURB_INLINE float row_epsilon(int64_t b) const { return epsilon_per_row ? epsilon * epsilon_per_row[b] : epsilon; }
  PERTURB_INLINE double epsilon_factor(int64_t b, int64_t i) const {
    return (epsilon_per_row ? (double)epsilon_per_row[b] : 1.0) * (epsilon_per_item ? (double)epsilon_per_item[i] : 1.0);
  }
  // Whether a value is a function of its own Philox word (or pair) alone; else cpu/special_noise.h makes it.
  PERTURB_INLINE bool plain_words() const { return !latin && noise < distribution::sum_of_gamma; }

  bool counts(int64_t i) const { return !oracle->grid || oracle->grid->passable[i]; }
  int64_t n() const { return oracle->n; }
  int64_t m() const { return oracle->m; }
};

// The kernels of one instruction set. A call runs as: scratch_bytes, then run on every thread, then finish on one.
struct cpu_backend {
  const char* name;
  int lanes;
  // Bytes of scratch for each thread; only the sizes and kinds in the call matter, not its pointers.
  size_t (*scratch_bytes)(const call&);
  // Integers per item sums of a row.
  int64_t (*row_words)(const call&);
  // Does share `thread` of `threads`.
  void (*run)(const call&, int thread, int threads, void* scratch);
  // Joins what threads left in their scratch (stride bytes apart) and writes those rows.
  void (*finish)(const call&, int threads, void* scratch, size_t stride);
  // How many perturbed costs are below the floor among problems [first, last) of the flattened [batch, samples]. With `where` it stops at the
  // first: {row, sample, item}.
  int64_t (*below_floor)(const call&, int64_t first, int64_t last, void* scratch, int64_t* where);
  // The noise z [last - first, n] of problems first..last of the flattened [batch, samples], their noise scores S, and T = S z - 1.
  void (*noise_fill)(const call&, int64_t n, int64_t first, int64_t last, float* z);
  void (*score_fill)(const call&, int64_t n, int64_t first, int64_t last, float* s);
  void (*slope_fill)(const call&, int64_t n, int64_t first, int64_t last, float* t);
  // The same problems' perturbed theta [last - first, n], from their noise z.
  void (*perturb)(const call&, int64_t first, int64_t last, const float* z, float* perturbed);
  // Nearest neighbours (cpu/distances.h): theta of points [first, last) for all queries; rows [first, last) of a gradient.
  void (*negative_distances)(const distance_problem&, int64_t first, int64_t last, float* theta);
  void (*distance_gradient)(const distance_sum&, int64_t first, int64_t last, float* gradient);
};

extern const cpu_backend cpu_scalar;
extern const cpu_backend cpu_avx2;
extern const cpu_backend cpu_avx512;

}  // namespace perturb
