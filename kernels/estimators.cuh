// What is summed over samples, on the device. The meaning of every sum is the CPU's (src/cpu/estimators), the scales are math/scales.h's.
//
// The interface of an estimator, and what it may ask of an oracle:
//   estimator(problem, row, shared)    shared: the block's memory for counts
//   begin()                            before the row's chunk; the engine synchronises after it
//   add(oracle, sample, present)       once per solved sample, by all lanes of its group; not present: a group without a sample left
//   flush()                            after the chunk: from the block to the row's words
//   oracle.for_each<D>(f)              f(item, coefficient, score, z) for the nonzeros of y, shared out over the sample's lanes; all lanes
//                                      of the block call it together. D says which of score and z are wanted: others than none only
//                                      where the problem says with_scores
//   Oracle::lanes                      the group (group.cuh) that shares a sample in for_each
#pragma once

#include "kernels/group.cuh"
#include "kernels/noise.cuh"

namespace perturb::cuda {

enum class detail { none, score, noise };

// An oracle whose y has no zeros says `dense`: then what the call alone decides is decided once and not for every item. Its for_each<none>
// neither shuffles nor synchronises, so that a group without a sample may leave it out.
template <class Oracle>
constexpr bool is_dense = requires { Oracle::dense; };

// Words of one row, and the block's share of its sums.
struct row_sums {
  const problem& p;
  int64_t row;

  __device__ __forceinline__ row_sums(const problem& problem_, int64_t row_) : p(problem_), row(row_) {}
  __device__ __forceinline__ int64_t* words() const { return p.words + row * p.words_per_row; }

  // Called by all threads of the block.
  __device__ __forceinline__ void flush(int index, const split_sum& part) const {
    const int64_t low = group<32>::sum(part.low), high = group<32>::sum(part.high);
    if (threadIdx.x % 32 != 0) return;
    int64_t* const sums = words() + p.words_per_row - sum_words;
    if (low) atomic_add(sums + 2 * index, low);
    if (high) atomic_add(sums + 2 * index + 1, high);
  }
};

// y of every sample, as floats or integers, and the value of the hard solution.
template <class Oracle>
struct store_estimator {
  const problem& p;
  int64_t row;

  __device__ __forceinline__ store_estimator(const problem& problem_, int64_t row_, unsigned char*) : p(problem_), row(row_) {}
  __device__ __forceinline__ void begin() {}
  __device__ __forceinline__ void flush() {}

  __device__ __forceinline__ void add(Oracle& oracle, int64_t sample, bool present) {
    const int64_t at = (row * p.y_samples + sample - p.first_of_run) * p.m;
    const auto put = [&](int64_t item, int64_t coefficient) {
      if (p.y) {
        p.y[at + item] = (float)coefficient;
      } else {
        p.y_integers[at + item] = (int32_t)coefficient;
      }
    };
    float* const value = p.operation == PERTURB_OP_SOLVE ? p.output[1] : nullptr;
    if (!value) {
      oracle.template for_each<detail::none>([&](int64_t item, int64_t coefficient, float, float) {
        if (present) put(item, coefficient);
      });
      return;
    }
    const int exponent = p.state[row].value.exponent;
    const double scale = power_of_two(exponent);
    int64_t total = 0;
    oracle.template for_each<detail::score>([&](int64_t item, int64_t coefficient, float score, float) {
      if (present) put(item, coefficient);
      total += coefficient * to_fixed(score, scale);
    });
    total = Oracle::lanes::sum(total);
    if (present && Oracle::lanes::leader()) value[row] = value_mean(total, 1, exponent);
  }
};

// Counts of y, in shared memory where they fit; with Values also sums of y^2 (ranks), of values and of their deviations.
template <class Oracle, bool Values>
struct tally_estimator {
  const problem& p;
  int64_t row;
  row_sums to;
  uint32_t* counts;
  bool squares, values;
  int exponent;
  double scale, to_deviation;
  int64_t centre;
  split_sum value, deviation, deviation_square;

  __device__ __forceinline__ tally_estimator(const problem& problem_, int64_t row_, unsigned char* shared)
      : p(problem_), row(row_), to(problem_, row_), counts((uint32_t*)shared) {
    if constexpr (Values) {
      const row_state& state = p.state[row];
      squares = p.output[1] && p.oracle == oracle_kind::rank;
      values = p.output[2] || p.output[3];
      scale = power_of_two(state.value.exponent);
      to_deviation = power_of_two(state.value.deviation_exponent - state.value.exponent);
      centre = state.centre;
    }
  }

  __device__ __forceinline__ void begin() {
    if (!p.shared_counts) return;
    for (int64_t i = threadIdx.x; i < p.m; i += blockDim.x) counts[i] = 0;
  }

  __device__ __forceinline__ void add(Oracle& oracle, int64_t, bool present) {
    const auto to_shared = [&](int64_t item, int64_t coefficient) { atomicAdd(counts + item, (uint32_t)coefficient); };
    const auto anywhere = [&](int64_t item, int64_t coefficient) {
      if (Values && p.silent) return;
      if (p.shared_counts) {
        to_shared(item, coefficient);
      } else {
        atomic_add(to.words() + item, coefficient);
      }
      if (Values && squares) atomic_add(to.words() + p.m + item, coefficient * coefficient);
    };
    if (is_dense<Oracle> && p.shared_counts && !(Values && squares)) {
      add_items(oracle, present, to_shared);
    } else {
      add_items(oracle, present, anywhere);
    }
  }

  // y of a sample, by put(item, coefficient), and its value.
  template <class Put>
  __device__ __forceinline__ void add_items(Oracle& oracle, bool present, Put&& put) {
    if (!Values || !values) {
      if (is_dense<Oracle> && !present) return;
      oracle.template for_each<detail::none>([&](int64_t item, int64_t coefficient, float, float) {
        if (is_dense<Oracle> || present) put(item, coefficient);
      });
      return;
    }
    if constexpr (Values) {
      int64_t total = 0;
      oracle.template for_each<detail::score>([&](int64_t item, int64_t coefficient, float score, float) {
        if (!present) return;
        put(item, coefficient);
        total += coefficient * to_fixed(score, scale);
      });
      total = Oracle::lanes::sum(total);
      if (!present || !Oracle::lanes::leader()) return;
      if (p.silent) {
        p.state[row].centre = total;
        return;
      }
      value.add(total);
      const int64_t moved = to_fixed((double)(total - centre), to_deviation);
      deviation.add(moved);
      deviation_square.add((__int128)moved * moved);
    }
  }

  __device__ __forceinline__ void flush() {
    if (p.shared_counts && !p.silent) {
      for (int64_t i = threadIdx.x; i < p.m; i += blockDim.x)
        if (counts[i]) atomic_add(to.words() + i, (int64_t)counts[i]);
    }
    if constexpr (Values) {
      if (!values || p.silent) return;
      to.flush(0, value);
      to.flush(1, deviation);
      to.flush(2, deviation_square);
    }
  }
};

template <class Oracle>
using count_estimator = tally_estimator<Oracle, false>;
template <class Oracle>
using value_estimator = tally_estimator<Oracle, true>;

// r_m = <g, y_m> of every sample, less the unperturbed solution's, as the weights that the second pass of a VJP reads.
template <class Oracle>
struct inner_estimator {
  const problem& p;
  int64_t row;
  row_sums to;
  const float* cotangent;
  int64_t* staged;  // the same in fixed point
  int64_t centre;
  double to_weight;
  split_sum moved_sum;

  __device__ __forceinline__ inner_estimator(const problem& problem_, int64_t row_, unsigned char* shared)
      : p(problem_), row(row_), to(problem_, row_), cotangent(problem_.operand + row_ * problem_.m), staged((int64_t*)shared), centre(problem_.state[row_].centre),
        to_weight(vjp_weight_scale(problem_.state[row_].vjp)) {}
  __device__ __forceinline__ void begin() {
    if constexpr (is_dense<Oracle>) {
      if (!p.shared_cotangent) return;
      const double scale = cotangent_scale();
      for (int64_t i = threadIdx.x; i < p.m; i += blockDim.x) staged[i] = to_fixed(cotangent[i], scale);
    }
  }

  __device__ __forceinline__ void add(Oracle& oracle, int64_t sample, bool present) {
    int64_t r = 0;
    if (is_dense<Oracle> && p.shared_cotangent) {
      oracle.template for_each<detail::none>([&](int64_t item, int64_t coefficient, float, float) { r += coefficient * staged[item]; });
    } else {
      const double scale = cotangent_scale();
      oracle.template for_each<detail::none>([&](int64_t item, int64_t coefficient, float, float) { r += coefficient * to_fixed(cotangent[item], scale); });
    }
    r = Oracle::lanes::sum(r);
    if (!present || !Oracle::lanes::leader()) return;
    if (p.silent) {
      p.state[row].centre = r;
      return;
    }
    p.weights[row * p.samples + sample] = (float)((double)(r - centre) * to_weight);
    moved_sum.add(r - centre);
  }

  __device__ __forceinline__ void flush() {
    if (!p.silent) to.flush(0, moved_sum);
  }

 private:
  __device__ __forceinline__ double cotangent_scale() const { return power_of_two(p.state[row].vjp.cotangent_exponent); }
};

// y_m times a scalar of every sample that another pass has made: the sums of a JVP.
template <class Oracle>
struct scaled_estimator {
  const problem& p;
  int64_t row;
  row_sums to;

  __device__ __forceinline__ scaled_estimator(const problem& problem_, int64_t row_, unsigned char*) : p(problem_), row(row_), to(problem_, row_) {}
  __device__ __forceinline__ void begin() {}
  __device__ __forceinline__ void flush() {}

  __device__ __forceinline__ void add(Oracle& oracle, int64_t sample, bool present) {
    const int64_t chain = p.chains[row * p.samples + sample];
    const int64_t high = chain >> chain_half_bits, low = chain & ((1 << chain_half_bits) - 1);
    oracle.template for_each<detail::none>([&](int64_t item, int64_t coefficient, float, float) {
      if (!present) return;
      atomic_add(to.words() + item, coefficient);
      atomic_add(to.words() + p.m + item, coefficient * high);
      atomic_add(to.words() + 2 * p.m + item, coefficient * low);
    });
  }
};

// <y - t, s> of every sample, its derivative in epsilon, and what the gradient is made of.
template <class Oracle>
struct fenchel_young_estimator {
  using source = noise_source<Oracle::plain>;
  const problem& p;
  int64_t row;
  row_sums to;
  const float* theta;
  const float* target;
  fenchel_young_scales scales;
  double loss_scale, slope_scale;
  bool want_loss, want_slope, want_factors;
  split_sum loss_sum, slope_sum;

  __device__ __forceinline__ fenchel_young_estimator(const problem& problem_, int64_t row_, unsigned char*)
      : p(problem_), row(row_), to(problem_, row_), theta(problem_.theta + row_ * problem_.n), target(problem_.operand + row_ * problem_.m),
        scales(problem_.state[row_].fenchel_young), want_loss(problem_.output[0]), want_slope(problem_.output[2]),
        want_factors(problem_.output[1] && problem_.multiplicative) {
    loss_scale = power_of_two(scales.loss_exponent);
    slope_scale = power_of_two(scales.slope_exponent);
  }
  __device__ __forceinline__ void begin() {}

  __device__ __forceinline__ void add(Oracle& oracle, int64_t sample, bool present) {
    int64_t loss = 0, slope = 0;
    const bool need_noise = want_loss || want_slope || want_factors;
    const uint32_t row_number = row_counter(p, row);
    const auto tally = [&](int64_t item, int64_t coefficient, float z) {
      const float score = source::score(p, row_number, theta[item], item, z);
      if (want_loss) loss += coefficient * to_fixed(cost(score), loss_scale);
      if (want_slope) slope += coefficient * to_fixed(slope_of(item, z, score), slope_scale);
    };
    const auto of_solution = [&](int64_t item, int64_t coefficient, float, float z) {
      if (!present) return;
      atomic_add(to.words() + item, coefficient);
      if (want_loss || want_slope) tally(item, coefficient << scales.fraction_bits, z);
      if (want_factors) add_factor(item, coefficient, z, to.words() + p.m);
    };
    if (!need_noise) {
      oracle.template for_each<detail::none>(of_solution);
      return;
    }
    oracle.template for_each<detail::noise>(of_solution);
    // The target's part: its nonzeros, a quad of items at a time.
    const uint32_t number = sample_counter(p, sample);
    for (int64_t q = Oracle::lanes::rank(); q < (p.m + 3) / 4; q += Oracle::lanes::count) {
      float t[4], z[4];
      bool any = false;
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int64_t i = 4 * q + j;
        t[j] = present && i < p.m && counts(i) ? target[i] : 0.0f;
        any = any || t[j] != 0.0f;
      }
      if (!any) continue;
      source::quad(p, row_number, number, (uint32_t)q, z);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        if (t[j] == 0.0f) continue;
        const int64_t i = 4 * q + j;
        if (want_loss || want_slope) tally(i, -to_fixed(t[j], power_of_two(scales.fraction_bits)), z[j]);
        if (want_factors) add_factor(i, 1, z[j], to.words() + 3 * p.m);
      }
    }
    loss = Oracle::lanes::sum(loss);
    slope = Oracle::lanes::sum(slope);
    if (!present || !Oracle::lanes::leader()) return;
    // y is optimal for the scores as the oracle rounds them (keys, int32 costs), which may differ in the last bits.
    const int64_t signed_loss = p.loss_sign > 0 ? loss : -loss;
    loss_sum.add(signed_loss > 0 ? signed_loss : (int64_t)0);
    slope_sum.add(p.loss_sign > 0 ? slope : -slope);
  }

  __device__ __forceinline__ void flush() {
    to.flush(0, loss_sum);
    to.flush(1, slope_sum);
  }

 private:
  __device__ __forceinline__ bool counts(int64_t i) const { return p.oracle != oracle_kind::grid_path || p.grid.passable[i]; }
  __device__ __forceinline__ float cost(float score) const {
    return p.oracle == oracle_kind::grid_path && !(score > p.grid.cost_floor) ? p.grid.cost_floor : score;
  }
  __device__ __forceinline__ double slope_of(int64_t item, float z, float score) const {
    if (p.oracle == oracle_kind::grid_path && !(score > p.grid.cost_floor)) return 0.0;
    const double factor = (p.epsilon_per_row ? (double)p.epsilon_per_row[row] : 1.0) * (p.epsilon_per_item ? (double)p.epsilon_per_item[item] : 1.0);
    return score_slope(p.multiplicative, p.noise_sign, factor, source::amplitude(p, row_counter(p, row), item), z, score);
  }
  __device__ __forceinline__ void add_factor(int64_t item, int64_t coefficient, float z, int64_t* words) const {
    const float e = source::amplitude(p, row_counter(p, row), item);
    const int64_t fixed = to_fixed(multiplicative_factor<lane>(z, e, -0.5f * (e * e)), power_of_two(scales.factor_exponent));
    atomic_add(words + item, coefficient * (fixed >> chain_half_bits));
    atomic_add(words + p.m + item, coefficient * (fixed & ((1 << chain_half_bits) - 1)));
  }
};

}  // namespace perturb::cuda
