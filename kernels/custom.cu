// Kernels between the callbacks of the caller's solvers and cost functions. Everything per sample is a thread's own loop over ascending
// items, everything per output entry a loop over ascending samples: the order of src/custom/estimators.h, so that both backends give the
// same bits.
#include "kernels/custom.h"
#include "kernels/launch.h"
#include "kernels/noise.cuh"
#include "kernels/passes.h"

namespace perturb::cuda {
namespace {

constexpr int custom_threads = 128;
using source = noise_source<false>;

__device__ __forceinline__ float not_a_number() { return __int_as_float(0x7fffffff); }
__device__ __forceinline__ bool counts(const problem& p, int64_t i) {
  return p.oracle != oracle_kind::grid_path || p.grid.passable[i] != 0;
}
__device__ __forceinline__ double factor(const problem& p, int64_t row, int64_t i) {
  const double of_row = p.epsilon_per_row ? (double)p.epsilon_per_row[row] : 1.0;
  return p.epsilon_per_item ? of_row * (double)p.epsilon_per_item[i] : of_row;
}
__device__ __forceinline__ double divisor(const problem& p, int64_t row, int64_t i) {
  return counts(p, i) ? derivative_amplitude(p.multiplicative, source::amplitude(p, row_counter(p, row), i), p.theta[row * p.n + i]) : 0.0;
}
__device__ __forceinline__ int64_t first_thread() { return (int64_t)blockIdx.x * custom_threads + threadIdx.x; }
__device__ __forceinline__ int64_t all_threads() { return (int64_t)gridDim.x * custom_threads; }
__device__ __forceinline__ int64_t problems(const custom_tile& t) { return t.rows * t.samples; }

// ---------------------------------------------------------------- before and after the callbacks

// Five blocks: registers that ptxas would otherwise spill.
__global__ void __launch_bounds__(custom_threads, 5) examine(const __grid_constant__ problem p, const __grid_constant__ custom_tile t) {
  const bool bounded = !p.multiplicative && p.epsilon != 0.0f;
  const double reach = perturbation_reach(p.noise, p.epsilon);
  for (int64_t row = blockIdx.x; row < p.rows; row += gridDim.x) {
    const float of_row = p.epsilon_per_row ? p.epsilon_per_row[row] : 1.0f, epsilon = p.epsilon * of_row;
    bool bad = !(of_row >= 0.0f && isfinite(of_row) && isfinite(epsilon));
    for (int64_t i = threadIdx.x; i < p.n; i += custom_threads) {
      if (p.epsilon_per_item) {
        const float f = p.epsilon_per_item[i];
        bad = bad || !(f >= 0.0f && isfinite(f) && isfinite(epsilon * f));
      }
      if (counts(p, i)) {
        const double x = p.theta[row * p.n + i];
        bad = bad || !isfinite(x) || (bounded && magnitude(x) + factor(p, row, i) * reach > (double)FLT_MAX);
      }
      if (p.shifted) bad = bad || !isfinite(p.shifted[row * p.n + i]) || !isfinite(p.shifted[(p.rows + row) * p.n + i]);
    }
    if (p.operand && !p.shifted) {
      const int64_t width = p.operation == PERTURB_OP_JVP ? p.n : p.m;
      const float most = p.operation == PERTURB_OP_FENCHEL_YOUNG ? 0x1p31f : FLT_MAX;
      for (int64_t i = threadIdx.x; i < width; i += custom_threads) bad = bad || !(fabsf(p.operand[row * width + i]) <= most);
    }
    bad = __syncthreads_or(bad);
    if (threadIdx.x == 0) t.bad[row] = bad ? row_not_finite : row_good;
  }
}

// A thread per quad of items.
__global__ void __launch_bounds__(custom_threads)
    perturb_inputs(const __grid_constant__ problem p, const __grid_constant__ custom_tile t, bool scores) {
  const int64_t quads = (p.n + 3) / 4;
  for (int64_t at = first_thread(); at < problems(t) * quads; at += all_threads()) {
    const int64_t quad = at % quads, k = at / quads, row = t.first_row + k / t.samples;
    const uint32_t row_number = row_counter(p, row), sample = sample_counter(p, t.first_sample + k % t.samples);
    const bool bad = t.bad[row];
    float z[4], s[4];
    if (!p.silent && (t.theta || !scores)) source::quad(p, row_number, sample, (uint32_t)quad, z);
    if (scores) score_quad(p, row_number, sample, (uint32_t)quad, s);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int64_t i = 4 * quad + j;
      if (i >= p.n) break;
      if (t.theta) {
        const float x = bad ? 0.0f : t.inputs[row * p.n + i];
        t.theta[k * p.n + i] = p.silent || bad ? x : source::score(p, row_number, x, i, z[j]);
      }
      if (t.noise) t.noise[k * p.n + i] = scores ? s[j] : z[j];
    }
  }
}

__global__ void __launch_bounds__(custom_threads) number_rows(const __grid_constant__ custom_tile t) {
  for (int64_t k = first_thread(); k < problems(t); k += all_threads()) t.row_numbers[k] = t.first_row + k / t.samples;
}

__global__ void __launch_bounds__(custom_threads) settle(const __grid_constant__ custom_tile t, float* values, int64_t width, int32_t why) {
  for (int64_t at = first_thread(); at < problems(t) * width; at += all_threads()) {
    if (isfinite(values[at])) continue;
    values[at] = 0.0f;
    atomicCAS(t.bad + t.first_row + at / width / t.samples, row_good, why);
  }
}

__global__ void __launch_bounds__(custom_threads) add_clamped(const __grid_constant__ custom_tile t, int64_t* clamped) {
  for (int64_t r = first_thread(); r < t.rows; r += all_threads()) clamped[t.first_row + r] += t.clamped[r];
}

__global__ void __launch_bounds__(custom_threads) tell_rows(const __grid_constant__ problem p, const __grid_constant__ custom_tile t, int32_t* status, int64_t* clamped) {
  for (int64_t row = first_thread(); row < p.rows; row += all_threads()) {
    if (status) status[row] = status_of(t.bad[row]);
    if (clamped && t.bad[row] != row_good) clamped[row] = 0;
  }
}

// A thread per problem. terms[1] is Fenchel-Young's alone.
__global__ void __launch_bounds__(custom_threads) make_terms(const __grid_constant__ problem p, const __grid_constant__ custom_tile t) {
  for (int64_t k = first_thread(); k < problems(t); k += all_threads()) {
    const int64_t row = t.first_row + k / t.samples;
    const float* y = t.y + k * p.m;
    const float* theta = t.theta + k * p.n;
    double sum = 0.0;
    switch (p.operation) {
      case PERTURB_OP_SOLVE:
      case PERTURB_OP_EXPECTATION:
        sum = inner_product(theta, y, p.m);
        break;
      case PERTURB_OP_VJP:
        sum = inner_product(p.operand + row * p.m, y, p.m);
        break;
      case PERTURB_OP_JVP:
        for (int64_t i = 0; i < p.n; ++i)
          sum += (double)p.operand[row * p.n + i] * inverse_amplitude(divisor(p, row, i)) * (double)t.noise[k * p.n + i];
        break;
      case PERTURB_OP_SPO_PLUS:
        for (int64_t i = 0; i < p.n; ++i) sum += loss_term(y[i], t.other[k * p.n + i], t.inputs[row * p.n + i]);
        break;
      default: {
        const float* target = p.operand + row * p.n;
        double slope = 0.0;
        for (int64_t i = 0; i < p.n; ++i) {
          sum += loss_term(y[i], target[i], theta[i]);
          slope +=
              loss_term(y[i], target[i],
                        score_slope(p.multiplicative, p.noise_sign, factor(p, row, i), source::amplitude(p, row_counter(p, row), i), t.noise[k * p.n + i], theta[i]));
        }
        sum = larger(0.0, p.loss_sign * sum);
        t.terms[1][k] = p.loss_sign * slope;
      }
    }
    if (p.operation == PERTURB_OP_SOLVE)
      t.staged[1][row] = (float)sum;
    else
      t.terms[0][k] = sum;
  }
}

__global__ void __launch_bounds__(custom_threads) publish(const __grid_constant__ problem p, const __grid_constant__ custom_tile t) {
  for (int o = 0; o < 4; ++o) {
    if (!p.output[o]) continue;
    int64_t width = 1;  // floats per row
    switch (p.operation) {
      case PERTURB_OP_SOLVE:
        width = o == 0 ? p.m : 1;
        break;
      case PERTURB_OP_SAMPLE:
        width = p.samples * p.m;
        break;
      case PERTURB_OP_EXPECTATION:
        width = o < 2 ? p.m : 1;
        break;
      case PERTURB_OP_JVP:
        width = p.m;
        break;
      case PERTURB_OP_JACOBIAN:
        width = p.m * p.n;
        break;
      case PERTURB_OP_COST:
        width = o == 2 ? p.n : 1;
        break;
      case PERTURB_OP_FENCHEL_YOUNG:
      case PERTURB_OP_SPO_PLUS:
        width = o == 1 ? p.n : 1;
        break;
      default:
        width = p.n;
        break;
    }
    for (int64_t at = first_thread(); at < p.rows * width; at += all_threads()) {
      const bool bad = t.bad[at / width];
      if (bad || t.staged[o]) p.output[o][at] = bad ? not_a_number() : t.staged[o][at];
    }
  }
}

// ---------------------------------------------------------------- sums: what a sample adds to an entry, and what becomes of it

// Problem k is a sample of `row`. Entries past the items are the row's scalars.
__device__ void add_sample(const problem& p, const custom_tile& t, plain_sum& sum, int64_t k, int64_t row, int64_t entry, bool) {
  if (entry == p.n) {
    sum.a += t.terms[0][k];
    if (p.operation == PERTURB_OP_FENCHEL_YOUNG) sum.b += t.terms[1][k];
    return;
  }
  const float y = t.y[k * p.n + entry];
  if (p.operation != PERTURB_OP_FENCHEL_YOUNG) {
    sum.a += (double)y - (double)t.other[k * p.n + entry];
    return;
  }
  sum.a += (double)y;
  if (!p.multiplicative) return;
  const float e = source::amplitude(p, row_counter(p, row), entry);
  const double weight = multiplicative_factor<lane>(t.noise[k * p.n + entry], e, -0.5f * (e * e));
  sum.b += weight * (double)y;
  sum.c += weight;
}

__device__ void add_sample(const problem& p, const custom_tile& t, moment_sum& sum, int64_t k, int64_t, int64_t entry, bool first) {
  sum.add(p.operation == PERTURB_OP_COST ? (double)t.costs[k] : entry == p.m ? t.terms[0][k] : (double)t.y[k * p.m + entry], first);
}

__device__ void add_sample(const problem& p, const custom_tile& t, covariance_sum& sum, int64_t k, int64_t, int64_t entry, bool first) {
  switch (p.operation) {
    case PERTURB_OP_VJP:
      return sum.add(t.terms[0][k], t.noise[k * p.n + entry], first);
    case PERTURB_OP_JVP:
      return sum.add(t.y[k * p.m + entry], t.terms[0][k], first);
    case PERTURB_OP_JACOBIAN:
      return sum.add(t.y[k * p.m + entry / p.n], t.noise[k * p.n + entry % p.n], first);
    default:
      return sum.add(t.costs[k], t.noise[k * p.n + entry], first);
  }
}

__device__ void finish_entry(const problem& p, const custom_tile& t, const plain_sum& sum, int64_t row, int64_t entry) {
  const int64_t at = row * p.n + entry;
  if (p.operation == PERTURB_OP_FENCHEL_YOUNG) {
    if (entry == p.n) {
      t.staged[0][row] = mean_of(sum.a, p.samples);
      t.staged[2][row] = mean_of(sum.b, p.samples);
    } else {
      t.staged[1][at] = loss_gradient(p.loss_sign, p.multiplicative, sum.a, sum.b, sum.c, p.samples, p.operand[at]);
    }
    return;
  }
  const bool spo = p.operation == PERTURB_OP_SPO_PLUS;
  if (entry == p.n)
    t.staged[0][row] = reflected_loss(p.loss_sign, sum.a);
  else
    t.staged[spo ? 1 : 0][at] = resolve_gradient(p.operation, p.resolve, p.tau[row], p.loss_sign, sum.a, p.samples);
}

__device__ void finish_entry(const problem& p, const custom_tile& t, const moment_sum& sum, int64_t row, int64_t entry) {
  const bool of_row = p.operation == PERTURB_OP_EXPECTATION && entry == p.m;  // the value
  const int64_t at = p.operation == PERTURB_OP_EXPECTATION && !of_row ? row * p.m + entry : row;
  t.staged[of_row ? 2 : 0][at] = mean_of(sum.total, p.samples);
  t.staged[of_row ? 3 : 1][at] = standard_error(sum.moved, sum.squares, p.samples);
}

__device__ void finish_entry(const problem& p, const custom_tile& t, const covariance_sum& sum, int64_t row, int64_t entry) {
  const auto total = [&](double hard) {
    return derivative_total(p.baseline, p.samples, sum.products, sum.moved, sum.factors, sum.centre, hard);
  };
  const bool hard = p.baseline == centring::unperturbed;
  switch (p.operation) {
    case PERTURB_OP_VJP:
      t.staged[0][row * p.n + entry] = derivative_entry(total(hard ? t.hard_terms[row] : 0.0), divisor(p, row, entry));
      break;
    case PERTURB_OP_JVP:
      t.staged[0][row * p.m + entry] = finite_float(total(hard ? (double)t.hard[row * p.m + entry] : 0.0));
      break;
    case PERTURB_OP_JACOBIAN:
      t.staged[0][row * p.m * p.n + entry] =
          finite_float(total(hard ? (double)t.hard[row * p.m + entry / p.n] : 0.0) * inverse_amplitude(divisor(p, row, entry % p.n)));
      break;
    default:
      t.staged[2][row * p.n + entry] = derivative_entry(total(hard ? (double)t.hard[row] : 0.0), divisor(p, row, entry));
      break;
  }
}

// A thread per chunk and entry. A chunk that began in an earlier tile goes on where that left it; a row of one chunk is that chunk's sum.
template <class Sum>
__global__ void __launch_bounds__(custom_threads)
    sum_chunks(const __grid_constant__ problem p, const __grid_constant__ custom_tile t, int64_t entries) {
  Sum* const sums = reinterpret_cast<Sum*>(t.chunk_sums);
  for (int64_t at = first_thread(); at < t.rows * t.chunks * entries; at += all_threads()) {
    const int64_t entry = at % entries, r = at / entries / t.chunks, first = at / entries % t.chunks * chunk_samples;
    const int64_t last = first + chunk_samples < t.samples ? first + chunk_samples : t.samples;
    Sum sum;
    if ((t.first_sample + first) % chunk_samples != 0) sum = sums[at];
    for (int64_t s = first; s < last; ++s)
      add_sample(p, t, sum, r * t.samples + s, t.first_row + r, entry, (t.first_sample + s) % chunk_samples == 0);
    if (p.samples <= chunk_samples && t.first_sample + last == p.samples)
      finish_entry(p, t, sum, t.first_row + r, entry);
    else
      sums[at] = sum;
  }
}

// A thread per row and entry: the tile's chunks, which are finished, in ascending order.
template <class Sum>
__global__ void __launch_bounds__(custom_threads)
    join_chunks(const __grid_constant__ problem p, const __grid_constant__ custom_tile t, int64_t entries) {
  const Sum* const sums = reinterpret_cast<const Sum*>(t.chunk_sums);
  Sum* const kept = reinterpret_cast<Sum*>(t.row_sums);
  const int64_t first_chunk = t.first_sample / chunk_samples;
  for (int64_t at = first_thread(); at < t.rows * entries; at += all_threads()) {
    const int64_t entry = at % entries, r = at / entries;
    Sum sum;
    if (first_chunk > 0) sum = kept[entry];
    for (int64_t q = 0; q < t.chunks; ++q) {
      const int64_t left = p.samples - (first_chunk + q) * chunk_samples;
      sum.join(sums[(r * t.chunks + q) * entries + entry], (double)(left < chunk_samples ? left : chunk_samples), first_chunk + q == 0);
    }
    if (t.first_sample + t.samples == p.samples)
      finish_entry(p, t, sum, t.first_row + r, entry);
    else
      kept[entry] = sum;
  }
}

template <class... Rest>
cudaError_t enqueue(const void* kernel, int64_t work, int multiprocessors, cudaStream_t stream, const Rest&... rest) {
  void* arguments[] = {const_cast<void*>(static_cast<const void*>(&rest))...};
  const unsigned blocks = blocks_for((work + custom_threads - 1) / custom_threads, 16, multiprocessors);
  return cudaLaunchKernel(kernel, dim3(blocks), dim3(custom_threads), arguments, 0, stream);
}

template <class Sum>
cudaError_t sum_tile(const problem& p, const custom_tile& t, int64_t entries, int multiprocessors, cudaStream_t stream) {
  const int64_t end = t.first_sample + t.samples;
  const cudaError_t error = enqueue((const void*)sum_chunks<Sum>, t.rows * t.chunks * entries, multiprocessors, stream, p, t, entries);
  if (error != cudaSuccess || p.samples <= chunk_samples || (end != p.samples && end % chunk_samples != 0)) return error;
  return enqueue((const void*)join_chunks<Sum>, t.rows * entries, multiprocessors, stream, p, t, entries);
}

}  // namespace

cudaError_t launch_examine(const problem& p, const custom_tile& t, int multiprocessors, cudaStream_t stream) {
  return enqueue((const void*)examine, p.rows * custom_threads, multiprocessors, stream, p, t);
}

cudaError_t launch_perturb(const problem& p, const custom_tile& t, int multiprocessors, cudaStream_t stream) {
  const bool scores = t.noise && p.operation != PERTURB_OP_FENCHEL_YOUNG;
  return enqueue((const void*)perturb_inputs, t.rows * t.samples * ((p.n + 3) / 4), multiprocessors, stream, p, t, scores);
}

cudaError_t launch_number_rows(const problem&, const custom_tile& t, int multiprocessors, cudaStream_t stream) {
  return enqueue((const void*)number_rows, t.rows * t.samples, multiprocessors, stream, t);
}

cudaError_t launch_settle(const custom_tile& t, float* values, int64_t width, int32_t why, int multiprocessors, cudaStream_t stream) {
  return enqueue((const void*)settle, t.rows * t.samples * width, multiprocessors, stream, t, values, width, why);
}

cudaError_t launch_add_clamped(const custom_tile& t, int64_t* clamped, int multiprocessors, cudaStream_t stream) {
  return enqueue((const void*)add_clamped, t.rows, multiprocessors, stream, t, clamped);
}

cudaError_t launch_tell_rows(const problem& p, const custom_tile& t, int32_t* status, int64_t* clamped, int multiprocessors, cudaStream_t stream) {
  return enqueue((const void*)tell_rows, p.rows, multiprocessors, stream, p, t, status, clamped);
}

cudaError_t launch_terms(const problem& p, const custom_tile& t, int multiprocessors, cudaStream_t stream) {
  return enqueue((const void*)make_terms, t.rows * t.samples, multiprocessors, stream, p, t);
}

int64_t custom_entries(const problem& p, custom_sums kind, bool with_terms) {
  const int64_t scalars = with_terms ? 1 : 0;
  switch (p.operation) {
    case PERTURB_OP_EXPECTATION:
      return p.m + scalars;
    case PERTURB_OP_VJP:
      return p.n;
    case PERTURB_OP_JVP:
      return p.m;
    case PERTURB_OP_JACOBIAN:
      return p.m * p.n;
    case PERTURB_OP_COST:
      return kind == custom_sums::moments ? 1 : p.n;
    case PERTURB_OP_SOLVE:
    case PERTURB_OP_SAMPLE:
      return 0;
    default:
      return p.n + scalars;
  }
}

cudaError_t launch_sums(const problem& p, const custom_tile& t, custom_sums kind, int multiprocessors, cudaStream_t stream) {
  const int64_t entries = custom_entries(p, kind, t.terms[0] != nullptr);
  if (kind == custom_sums::plain) return sum_tile<plain_sum>(p, t, entries, multiprocessors, stream);
  if (kind == custom_sums::moments) return sum_tile<moment_sum>(p, t, entries, multiprocessors, stream);
  return sum_tile<covariance_sum>(p, t, entries, multiprocessors, stream);
}

cudaError_t launch_publish(const problem& p, const custom_tile& t, int multiprocessors, cudaStream_t stream) {
  const int64_t depth = p.operation == PERTURB_OP_SAMPLE ? p.samples : p.operation == PERTURB_OP_JACOBIAN ? p.n : 1;
  return enqueue((const void*)publish, p.rows * (p.m > p.n ? p.m : p.n) * depth, multiprocessors, stream, p, t);
}

}  // namespace perturb::cuda
