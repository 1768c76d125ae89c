// What must be known of a row before any sample is drawn: a block per row.
#include "kernels/block.cuh"
#include "kernels/launch.h"
#include "kernels/noise.cuh"
#include "kernels/passes.h"

namespace perturb::cuda {
namespace {

constexpr int prepare_threads = 128;
using reduce = block_reduce<prepare_threads>;

// Five blocks: registers that ptxas would otherwise spill for a sixth.
__global__ void __launch_bounds__(prepare_threads, 5) prepare(const __grid_constant__ problem p) {
  using source = noise_source<false>;
  const bool grid = p.oracle == oracle_kind::grid_path;
  const auto counts = [&](int64_t i) { return !grid || p.grid.passable[i] != 0; };
  for (int64_t row = blockIdx.x; row < p.rows; row += gridDim.x) {
    const float* theta = p.theta + row * p.n;
    const auto amplitude = [&](int64_t i) { return source::amplitude(p, row_counter(p, row), i); };
    const auto derivative = [&](int64_t i) { return counts(i) ? derivative_amplitude(p.multiplicative, amplitude(i), theta[i]) : 0.0; };
    row_state state = {};
    const float row_factor = p.epsilon_per_row ? p.epsilon_per_row[row] : 1.0f, epsilon = p.epsilon * row_factor;
    bool bad = !(row_factor >= 0.0f && isfinite(row_factor) && isfinite(epsilon));

    // theta and the amplitudes.
    const bool bounded = !p.multiplicative && epsilon != 0.0f;
    const double reach = perturbation_reach(p.noise, epsilon);
    double low = HUGE_VAL, high = -HUGE_VAL, epsilon_max = p.epsilon_per_item ? 0.0 : (double)epsilon, factor_max = p.epsilon_per_item ? 0.0 : (double)row_factor;
    for (int64_t i = threadIdx.x; i < p.n; i += prepare_threads) {
      double factor = 1.0;
      if (p.epsilon_per_item) {
        const float f = p.epsilon_per_item[i], e = epsilon * f;
        factor = f;
        bad = bad || !(f >= 0.0f && isfinite(f) && isfinite(e));
        epsilon_max = larger(epsilon_max, e);
        factor_max = larger(factor_max, (double)row_factor * (double)f);
      }
      if (!counts(i)) continue;
      const double t = theta[i];
      bad = bad || !isfinite(t) || (bounded && magnitude(t) + factor * reach > (double)FLT_MAX);
      low = t < low ? t : low;
      high = larger(high, t);
    }
    low = reduce::min(low);
    high = reduce::max(high);
    if (p.epsilon_per_item) {
      epsilon_max = reduce::max(epsilon_max);
      factor_max = reduce::max(factor_max);
    }
    const row_bounds bounds = make_row_bounds<device_isa>(p.noise, p.multiplicative, epsilon_max, low, high, grid ? p.grid.cost_floor : 0.0);
    // Where the oracle has tables: the row of the problem, whichever of its two inputs this is.
    const uint32_t entry = row_counter(p, row < p.call_rows ? row : row - p.call_rows);
    const grid_ends ends = p.grid.rows ? p.grid.rows[entry] : p.grid.ends;
    const int32_t k = p.row_k ? p.row_k[entry] : (int32_t)p.k;
    const double weight = oracle_weight(p.oracle, p.n, k, ends.reached, p.grid.diagonal_factor);
    if (p.oracle == oracle_kind::rank || p.oracle == oracle_kind::sort) {
      const rank_scales scales = make_rank_scales(bounds, p.noise, p.multiplicative, p.n, p.descending ? -1.0f : 1.0f, false);
      state.rank = scales.map;
      state.packed = scales.packed;
    } else if (grid) {
      const float scale = grid_row_scale(bounds, p.noise, p.multiplicative, p.grid.cost_floor, p.grid.diagonal_factor, ends.hops);
      state.grid = {ends.source, ends.target, scale};
    } else {
      state.k = k;
    }

    // The operand.
    if (p.operation == PERTURB_OP_VJP || p.operation == PERTURB_OP_VJP_EPSILON) {
      const int bits = factor_bits(p.operation == PERTURB_OP_VJP ? wanted::score : wanted::slope, p.noise);
      const float* g = p.operand + row * p.m;
      double g_low = HUGE_VAL, g_high = -HUGE_VAL;
      for (int64_t i = threadIdx.x; i < p.m; i += prepare_threads) {
        bad = bad || !isfinite(g[i]);
        if (!counts(i)) continue;
        g_low = g[i] < g_low ? g[i] : g_low;
        g_high = larger(g_high, g[i]);
      }
      g_low = reduce::min(g_low);
      g_high = reduce::max(g_high);
      const double largest = larger(-g_low, g_high), middle = 0.5 * (g_low + g_high), widest = 0.5 * (g_high - g_low);
      const double unit = magnitude_unit(largest), unit_spread = magnitude_unit(widest);
      int64_t absolute = 0, spread = 0;
      for (int64_t i = threadIdx.x; i < p.m; i += prepare_threads) {
        if (!counts(i)) continue;
        absolute += magnitude_term(g[i], unit);
        spread += magnitude_term(g[i] - middle, unit_spread);
      }
      absolute = reduce::sum(absolute);
      spread = reduce::sum(spread);
      state.vjp = make_vjp_scales(p.oracle, p.n, k, g_low, g_high, magnitude_sum(absolute, largest), magnitude_sum(spread, widest), bits);
    } else if (p.operation == PERTURB_OP_JVP) {
      const float* u = p.operand + row * p.n;
      double largest = 0.0;
      for (int64_t i = threadIdx.x; i < p.n; i += prepare_threads) {
        bad = bad || !isfinite(u[i]);
        largest = larger(largest, magnitude((double)u[i] * inverse_amplitude(derivative(i))));
      }
      largest = reduce::max(largest);
      state.jvp.direction_exponent = scale_exponent(largest, 0);  // directions of at most 1, so that a tiny epsilon cannot overflow
      const double scale = power_of_two(state.jvp.direction_exponent), unit = magnitude_unit(1.0);
      int64_t total = 0;
      for (int64_t i = threadIdx.x; i < p.n; i += prepare_threads) {
        const float d = (float)((double)u[i] * inverse_amplitude(derivative(i)) * scale);
        p.direction[row * p.n + i] = d;
        total += magnitude_term(d, unit);
      }
      state.jvp.chain_exponent = jvp_chain_exponent(p.noise, magnitude_sum(reduce::sum(total), 1.0));
    } else if (p.operation == PERTURB_OP_FENCHEL_YOUNG) {
      const float* t = p.operand + row * p.m;
      double largest = 0.0;
      bool integers = true;
      for (int64_t i = threadIdx.x; i < p.m; i += prepare_threads) {
        bad = bad || !(fabsf(t[i]) <= 0x1p31f);
        if (!counts(i)) continue;
        integers = integers && t[i] == rintf(t[i]);
        largest = larger(largest, magnitude(t[i]));
      }
      integers = !__syncthreads_or(!integers);
      largest = reduce::max(largest);
      const double unit = magnitude_unit(largest);
      int64_t terms = 0;
      for (int64_t i = threadIdx.x; i < p.m; i += prepare_threads)
        if (counts(i)) terms += magnitude_term(t[i], unit);
      const double total = magnitude_sum(reduce::sum(terms), largest);
      state.fenchel_young = make_fenchel_young_scales<device_isa>(weight, bounds, p.noise, p.multiplicative, integers, total, factor_max);
    } else if (p.operation == PERTURB_OP_SORTED_VALUES_VJP) {
      const float* g = p.operand + row * p.k;
      double largest = 0.0;
      for (int64_t i = threadIdx.x; i < p.k; i += prepare_threads) {
        bad = bad || !isfinite(g[i]);
        largest = larger(largest, magnitude(g[i]));
      }
      state.sorted = make_sorted_vjp_scales<device_isa>(bounds, p.noise, p.multiplicative, reduce::max(largest));
    } else if (p.operation == PERTURB_OP_SORTED_VALUES) {
      state.sorted = make_sorted_scales(bounds);
    } else if (p.operation == PERTURB_OP_SPO_PLUS) {
      state.spo_exponent = spo_exponent(weight, bounds);
    } else {
      state.value = make_value_scales(weight, bounds);
    }
    state.bad = __syncthreads_or(bad) ? row_not_finite : row_good;
    if (threadIdx.x == 0) p.state[row] = state;
  }
}

__global__ void __launch_bounds__(prepare_threads) refuse_negative(const __grid_constant__ problem p) {
  const int64_t quads = (p.n + 3) / 4, total = p.rows * p.run * quads;
  for (int64_t at = (int64_t)blockIdx.x * prepare_threads + threadIdx.x; at < total; at += (int64_t)gridDim.x * prepare_threads) {
    const int64_t q = at % quads, sample = p.first_of_run + at / quads % p.run, row = at / quads / p.run;
    float z[4];
    noise_source<false>::quad(p, row_counter(p, row), sample_counter(p, sample), (uint32_t)q, z);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int64_t i = 4 * q + j;
      if (i < p.n && p.grid.passable[i] && !(noise_source<false>::score(p, row_counter(p, row), p.theta[row * p.n + i], i, z[j]) >= p.grid.cost_floor)) atomicCAS(&p.state[row].bad, row_good, row_refused);
    }
  }
}

}  // namespace

cudaError_t launch_prepare(const problem& p, int multiprocessors, cudaStream_t stream) {
  return launch((const void*)prepare, p, blocks_for(p.rows, 16, multiprocessors), prepare_threads, 0, stream);
}

cudaError_t launch_refuse_negative(const problem& p, int multiprocessors, cudaStream_t stream) {
  const int64_t threads = p.rows * p.run * ((p.n + 3) / 4);
  return launch((const void*)refuse_negative, p, blocks_for((threads + prepare_threads - 1) / prepare_threads, 16, multiprocessors), prepare_threads, 0, stream);
}

}  // namespace perturb::cuda
