// The CUDA backend's host side: a call becomes slices of rows, a slice becomes launches on the caller's stream. Nothing here waits for
// the device, and with a workspace nothing allocates, so every call can be captured in a graph.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdint>

#include "cuda_backend.h"
#include "error.h"
#include "kernels/call.h"
#include "kernels/device.h"
#include "kernels/dispatch.h"
#include "kernels/launch.h"
#include "kernels/passes.h"
#include "kernels/rank_sort.h"
#include "kernels/sort.h"

namespace perturb {
namespace {

using namespace cuda;

constexpr int64_t scratch_limit = 256 << 20;  // of all blocks that keep a problem in global memory
constexpr size_t default_shared_bytes = (48 << 10) - static_shared_bytes;  // without opting in

// ---------------------------------------------------------------- the memory of a problem

int64_t item_words(const problem& p) {
  switch (p.operation) {
    case PERTURB_OP_EXPECTATION: return (p.output[1] || p.part != call_part::whole) && p.oracle == oracle_kind::rank ? 2 * p.m : p.m;
    case PERTURB_OP_VJP:
    case PERTURB_OP_VJP_EPSILON: return 3 * p.n;
    case PERTURB_OP_JVP: return 3 * p.m;
    case PERTURB_OP_JACOBIAN: return p.m + p.n + p.m * p.n;
    case PERTURB_OP_COVARIANCE: return p.m + p.m * p.m;
    case PERTURB_OP_FENCHEL_YOUNG: return p.multiplicative ? 5 * p.m : p.m;
    case PERTURB_OP_LPGD:
    case PERTURB_OP_IMLE:
    case PERTURB_OP_SPO_PLUS: return p.m;
    case PERTURB_OP_SORTED_VALUES: return (p.output[1] ? 5 : 2) * p.k;
    case PERTURB_OP_SORTED_VALUES_VJP: return 2 * p.n;
    default: return 0;
  }
}

// Floats of the operand per row.
int64_t operand_width(const problem& p) {
  return p.operation == PERTURB_OP_JVP ? p.n : p.operation == PERTURB_OP_SORTED_VALUES_VJP ? p.k : p.m;
}

// What is kept of a sample at a time where y is: a sort's y is kept as the ranks of its items.
int64_t y_width(const problem& p) { return p.oracle == oracle_kind::sort ? p.n : p.m; }

// The memory of a slice of `rows` rows.
void lay_out(problem& p, int64_t rows, carver& memory) {
  p.words_per_row = item_words(p) + (item_words(p) > 0 ? sum_words : 0);
  const int64_t solved = resolves(p.operation) ? 2 * rows : rows;
  memory.take(p.state, solved);
  if (p.part == call_part::whole) memory.take(p.words, solved * p.words_per_row);  // else an accumulator's
  if (resolves(p.operation)) {
    memory.take(p.shifted, solved * p.n);
    memory.take(p.tau, rows);
  }
  if (p.operation == PERTURB_OP_VJP || p.operation == PERTURB_OP_VJP_EPSILON) {
    if (p.part != call_part::results) memory.take(p.weights, rows * p.samples);
  }
  if (p.operation == PERTURB_OP_JVP) {
    memory.take(p.direction, rows * p.n);
    if (p.part != call_part::results) memory.take(p.chains, rows * p.samples);
  }
  if (p.operation == PERTURB_OP_JVP || p.operation == PERTURB_OP_JACOBIAN || p.operation == PERTURB_OP_LPGD) memory.take(p.centre, rows * p.m);
  if (p.operation == PERTURB_OP_SORTED_VALUES && p.output[1]) memory.take(p.sorted_centre, rows * p.k);
  if (makes_noise(p) && p.part != call_part::results) {
    memory.take(p.z, rows * p.z_samples * p.n);
    if (wants_scores(p)) p.z_score = p.z;
    if (noise_buffers(p) == 2) memory.take(p.z_score, rows * p.z_samples * p.n);
  }
}

struct schedule {
  int64_t rows;           // of a slice
  int64_t y_samples;      // Jacobian, covariance, sorts: samples whose y is kept at a time
  size_t scratch_bytes;   // of all blocks that keep a problem in global memory
  size_t bytes;
};

device_limits limits_of(const cuda_device& device) { return {device.multiprocessors, device.shared_bytes}; }

// Pure: sizes in, sizes out.
schedule make_schedule(const cuda_device& device, const call& c, bool any_outputs) {
  problem p = make_problem(c, any_outputs);
  schedule s = {};
  problem widest = make_problem(c, true);  // the same slices whichever outputs are given, as perturb_workspace_size promises
  carver one(nullptr);
  lay_out(widest, 1, one);
  const bool keeps_y = p.operation == PERTURB_OP_JACOBIAN || p.operation == PERTURB_OP_COVARIANCE || p.oracle == oracle_kind::sort;
  int32_t* y = nullptr;
  if (p.oracle == oracle_kind::sort) one.take(y, y_width(p));
  s.rows = std::clamp<int64_t>(slice_bytes / (int64_t)one.used(), 1, std::max<int64_t>(c.batch, 1));
  // Parts are aligned one by one: with many rows a row takes less than with one, so the bound holds.
  if (keeps_y) s.y_samples = std::clamp<int64_t>(slice_bytes / (s.rows * y_width(p) * 4), 1, c.samples);
  for (const int64_t samples : {int64_t{1}, c.samples}) {
    const shape_choice choice = choose_shapes(p, samples, limits_of(device));
    for (const shape* each : {choice.first, choice.second}) {
      if (!each) continue;
      const int64_t per_block = each == &rank_sorted() ? (int64_t)rank_sort_scratch_bytes(p) : (int64_t)each->scratch_bytes(p);
      if (per_block == 0) continue;
      const int64_t blocks = each == &rank_sorted() ? 1 : std::clamp<int64_t>(scratch_limit / per_block, 1, 2 * device.multiprocessors);
      s.scratch_bytes = std::max(s.scratch_bytes, (size_t)(blocks * per_block));
    }
  }
  carver all(nullptr);
  lay_out(p, s.rows, all);
  all.take(y, s.rows * s.y_samples * y_width(p));
  all.take(p.scratch, (int64_t)s.scratch_bytes);
  s.bytes = all.used();
  return s;
}

// ---------------------------------------------------------------- launches

class runner {
 public:
  runner(const cuda_device& device, const schedule& plan) : limits_(limits_of(device)), plan_(plan), stream_(static_cast<cudaStream_t>(device.stream)) {}

  // Solves the run's samples of every row of the slice and hands them to an estimator.
  cudaError_t solve(const problem& p, estimator_kind kind) const {
    const shape_choice choice = choose_shapes(p, p.run, limits_);
    for (const shape* each : {choice.first, choice.second}) {
      if (!each) continue;
      const cudaError_t error = each == &rank_sorted() ? solve_sorted(p, *each, kind) : launch_shape(p, *each, kind);
      if (error != cudaSuccess) return error;
    }
    return cudaSuccess;
  }

  // The unperturbed solution.
  cudaError_t solve_silent(problem p, estimator_kind kind) const {
    p.silent = true;
    p.first_of_run = 0;
    p.run = 1;
    return solve(p, kind);
  }

  cudaError_t clear(void* memory, size_t bytes) const { return bytes ? cudaMemsetAsync(memory, 0, bytes, stream_) : cudaSuccess; }
  template <class Launch>
  cudaError_t pass(Launch launch, const problem& p) const {
    return launch(p, limits_.multiprocessors, stream_);
  }
  cudaError_t report(const problem& p, int32_t* status, int64_t* clamped) const { return launch_row_status(p, status, clamped, limits_.multiprocessors, stream_); }
  cudaError_t count_clamped(const problem& p, int64_t* clamped) const { return launch_count_clamped(p, clamped, limits_.multiprocessors, stream_); }

 private:
  cudaError_t launch_shape(problem p, const shape& s, estimator_kind kind) const {
    const bool plain = p.noise == distribution::normal && !p.antithetic && !p.multiplicative && !p.epsilon_per_item && !p.epsilon_per_row && !p.z && !p.silent;
    const void* kernel = plain && s.plain[(int)kind] ? s.plain[(int)kind] : s.general[(int)kind];
    p.with_scores = kind == estimator_kind::fenchel_young || (kind == estimator_kind::store && p.operation == PERTURB_OP_SOLVE && p.output[1]) ||
                    (kind == estimator_kind::value && (p.output[2] || p.output[3]));
    const size_t oracle_bytes = s.shared_bytes(p);
    const bool counts = (kind == estimator_kind::count || kind == estimator_kind::value) && !p.silent;
    const bool cotangent = kind == estimator_kind::inner && p.oracle == oracle_kind::rank;
    const size_t item_bytes = ((size_t)p.m * (cotangent ? sizeof(int64_t) : sizeof(uint32_t)) + 15) / 16 * 16;
    const bool fits = item_bytes + oracle_bytes <= default_shared_bytes;
    p.shared_counts = counts && fits;
    p.shared_cotangent = cotangent && fits;
    p.oracle_shared = p.shared_counts || p.shared_cotangent ? (uint32_t)item_bytes : 0;
    const size_t shared = p.oracle_shared + oracle_bytes;
    if (shared > default_shared_bytes) {
      const cudaError_t error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared);
      if (error != cudaSuccess) return error;
    }
    // Chunks: enough tasks to fill the device, no smaller than a step, and no larger than 32-bit counts allow.
    const int64_t steps = (p.run + s.samples_per_step - 1) / s.samples_per_step;
    const int64_t resident = (int64_t)limits_.multiprocessors * s.resident;
    const int64_t wanted = std::clamp<int64_t>((2 * resident + p.rows - 1) / p.rows, 1, steps);
    int64_t steps_per_chunk = (steps + wanted - 1) / wanted;
    const int64_t largest_count = INT64_C(0xffffffff) / ((p.oracle == oracle_kind::rank ? p.n : 1) * s.samples_per_step);
    steps_per_chunk = std::clamp<int64_t>(steps_per_chunk, 1, std::max<int64_t>(largest_count, 1));
    p.chunk = steps_per_chunk * s.samples_per_step;
    p.chunks = (p.run + p.chunk - 1) / p.chunk;
    p.scratch_per_block = (int64_t)s.scratch_bytes(p);
    const int64_t most = p.scratch_per_block ? (int64_t)plan_.scratch_bytes / p.scratch_per_block : 16 * resident;
    return launch(kernel, p, (unsigned)std::min<int64_t>(p.rows * p.chunks, most), s.threads, shared, stream_);
  }

  // Rows too long for a block: every sample is sorted by itself on the whole device, then read.
  cudaError_t solve_sorted(const problem& whole, const shape& s, estimator_kind kind) const {
    for (int64_t row = 0; row < whole.rows; ++row) {
      problem p = whole;
      p.rows = 1;
      p.first_row += (uint32_t)row;
      p.theta += row * p.n;
      if (p.epsilon_per_row) p.epsilon_per_row += row;
      if (p.z) p.z += row * p.z_samples * p.n;
      if (p.operand) p.operand += row * operand_width(p);
      p.state += row;
      p.words += row * p.words_per_row;
      if (p.weights) p.weights += row * p.samples;
      if (p.chains) p.chains += row * p.samples;
      if (p.operation == PERTURB_OP_SOLVE && p.output[1]) p.output[1] += row;
      if (p.y) p.y += row * p.y_samples * p.m;
      if (p.y_integers) p.y_integers += row * p.y_samples * p.m;
      for (int64_t sample = whole.first_of_run; sample < whole.first_of_run + whole.run; ++sample) {
        cudaError_t error = rank_sort(p, sample, p.scratch, stream_);
        if (error != cudaSuccess) return error;
        problem one = p;
        one.first_of_run = sample;
        one.run = 1;
        if (one.y) one.y += (sample - whole.first_of_run) * p.m;
        if (one.y_integers) one.y_integers += (sample - whole.first_of_run) * p.m;
        error = launch_shape(one, s, kind);
        if (error != cudaSuccess) return error;
      }
    }
    return cudaSuccess;
  }

  device_limits limits_;
  schedule plan_;
  cudaStream_t stream_;
};

// Calls f(problem) for runs of at most `most` samples, one after the other. Noise that is made in memory is made before each.
template <class F>
cudaError_t for_runs(const runner& run, problem p, int64_t most, F&& f) {
  if (makes_noise(p)) most = std::min(most, p.z_samples);
  for (int64_t first = 0; first < p.samples; first += most) {
    p.first_of_run = first;
    p.run = std::min(most, p.samples - first);
    if (makes_noise(p)) {
      p.first_of_z = p.first_sample + (uint32_t)first;
      PERTURB_CUDA_TRY(run.pass(launch_special_noise, p));
    }
    PERTURB_CUDA_TRY(f(p));
  }
  return cudaSuccess;
}
cudaError_t solve_all(const runner& run, const problem& p, estimator_kind kind) {
  return for_runs(run, p, p.samples, [&](const problem& part) { return run.solve(part, kind); });
}

// What must be known of each row before its samples.
cudaError_t prepare(const runner& run, const problem& p) {
  PERTURB_CUDA_TRY(run.pass(launch_prepare, p));
  return p.noise == distribution::given ? run.pass(launch_check_given, p) : cudaSuccess;
}

// The unperturbed solution as integers, into the centre.
cudaError_t solve_centre(const runner& run, problem p) {
  PERTURB_CUDA_TRY(run.clear(p.centre, (size_t)(p.rows * p.m) * sizeof(int32_t)));
  p.y_integers = p.centre;
  p.y_samples = 1;
  return run.solve_silent(p, estimator_kind::store);
}

// LPGD and its family: both solves of each row, as rows of one problem, then their difference.
cudaError_t resolve_slice(const runner& run, const problem& p) {
  if (p.operation == PERTURB_OP_LPGD && p.resolve.rho != 0.0f) {
    PERTURB_CUDA_TRY(run.pass(launch_prepare, p));
    PERTURB_CUDA_TRY(solve_centre(run, p));
  }
  PERTURB_CUDA_TRY(run.pass(launch_shift, p));
  problem both = p;
  both.theta = p.shifted;
  both.rows = 2 * p.rows;
  PERTURB_CUDA_TRY(run.clear(both.words, (size_t)(both.rows * both.words_per_row) * sizeof(int64_t)));
  if (p.operation == PERTURB_OP_IMLE) {
    // Two problems: they have the same rows of noise.
    problem first = both;
    first.rows = p.rows;
    problem second = first;
    second.theta += p.rows * p.n;
    second.state += p.rows;
    second.words += p.rows * p.words_per_row;
    PERTURB_CUDA_TRY(prepare(run, first));
    PERTURB_CUDA_TRY(prepare(run, second));
    PERTURB_CUDA_TRY(for_runs(run, first, p.samples, [&](const problem& part) {
      second.first_of_run = part.first_of_run;
      second.run = part.run;
      second.first_of_z = part.first_of_z;
      const cudaError_t error = run.solve(part, estimator_kind::count);
      return error == cudaSuccess ? run.solve(second, estimator_kind::count) : error;
    }));
  } else {
    PERTURB_CUDA_TRY(run.pass(launch_prepare, both));
    PERTURB_CUDA_TRY(run.solve_silent(both, estimator_kind::count));
  }
  return run.pass(launch_difference, p);
}

// Outputs from sums, where there are to be any.
cudaError_t write_results(const runner& run, const problem& p) {
  if (p.part == call_part::sums) return cudaSuccess;
  switch (p.operation) {
    case PERTURB_OP_VJP_EPSILON: return run.pass(launch_vjp_epsilon_results, p);
    case PERTURB_OP_COVARIANCE: return run.pass(launch_covariance_results, p);
    default: return run.pass(launch_finalize, p);
  }
}

// Solves all samples, some at a time, and hands their y to a pass that sums over them.
template <class Pass>
cudaError_t sum_solutions(const runner& run, problem p, int32_t* y_buffer, int64_t y_samples, Pass pass) {
  p.y_integers = y_buffer;
  p.y_samples = y_samples;
  return for_runs(run, p, y_samples, [&](const problem& part) {
    cudaError_t error = run.clear(part.y_integers, (size_t)(p.rows * p.m * y_samples) * sizeof(int32_t));
    if (error == cudaSuccess) error = run.solve(part, estimator_kind::store);
    return error == cudaSuccess ? run.pass(pass, part) : error;
  });
}

// A sort is solved as ranks from 0: the rank of an item is its position.
problem as_ranks(problem p) {
  p.oracle = oracle_kind::rank;
  p.m = p.n;
  p.base = 0;
  p.y = nullptr;
  return p;
}

// Sorts: the ranks of some samples at a time, and passes over them (kernels/sort.cu) instead of the engine's estimators.
cudaError_t sort_slice(const runner& run, problem p, int32_t* ranks, int64_t y_samples) {
  p.y_integers = ranks;
  p.y_samples = y_samples;
  const auto silent = [&](auto pass) {
    problem one = p;
    one.silent = true;
    one.run = 1;
    PERTURB_CUDA_TRY(run.solve_silent(as_ranks(one), estimator_kind::store));
    return run.pass(pass, one);
  };
  const auto all = [&](auto pass) {
    return for_runs(run, p, y_samples, [&](const problem& part) {
      const cudaError_t error = run.solve(as_ranks(part), estimator_kind::store);
      return error == cudaSuccess ? run.pass(pass, part) : error;
    });
  };
  PERTURB_CUDA_TRY(prepare(run, p));
  if (p.part == call_part::whole) PERTURB_CUDA_TRY(run.clear(p.words, (size_t)(p.rows * p.words_per_row) * sizeof(int64_t)));
  const bool sums = p.part != call_part::results;
  switch (p.operation) {
    case PERTURB_OP_SOLVE:
    case PERTURB_OP_SAMPLE:
      p.y = p.output[0];
      PERTURB_CUDA_TRY(run.clear(p.y, (size_t)(p.rows * p.samples * p.m) * sizeof(float)));
      PERTURB_CUDA_TRY(p.operation == PERTURB_OP_SOLVE ? silent(launch_sort_solutions) : all(launch_sort_solutions));
      p.y_samples = p.samples;
      break;
    case PERTURB_OP_EXPECTATION:
      if (sums) PERTURB_CUDA_TRY(all(launch_sort_counts));
      break;
    case PERTURB_OP_VJP:
    case PERTURB_OP_VJP_EPSILON:
      PERTURB_CUDA_TRY(silent(launch_sort_inner));
      if (!sums) break;
      PERTURB_CUDA_TRY(all(launch_sort_inner));
      PERTURB_CUDA_TRY(for_runs(run, p, p.samples, [&](const problem& part) { return run.pass(launch_weighted_scores, part); }));
      break;
    case PERTURB_OP_JVP:
    case PERTURB_OP_JACOBIAN:
      PERTURB_CUDA_TRY(run.clear(p.centre, (size_t)(p.rows * p.m) * sizeof(int32_t)));
      PERTURB_CUDA_TRY(silent(launch_sort_centre));
      if (!sums) break;
      if (p.operation == PERTURB_OP_JVP) PERTURB_CUDA_TRY(for_runs(run, p, p.samples, [&](const problem& part) { return run.pass(launch_chains, part); }));
      PERTURB_CUDA_TRY(p.operation == PERTURB_OP_JVP ? all(launch_sort_scaled) : all(launch_sort_products));
      break;
    case PERTURB_OP_SORTED_VALUES:
      if (p.output[1]) PERTURB_CUDA_TRY(silent(launch_sorted_values));
      PERTURB_CUDA_TRY(all(launch_sorted_values));
      break;
    default:
      PERTURB_CUDA_TRY(all(launch_sorted_gradient));
      break;
  }
  return write_results(run, p);
}

// One slice of rows, from its inputs to its outputs.
cudaError_t run_slice(const runner& run, problem p, int32_t* y_buffer, int64_t y_samples) {
  if (resolves(p.operation)) return resolve_slice(run, p);
  if (p.oracle == oracle_kind::sort) return sort_slice(run, p, y_buffer, y_samples);
  const size_t y_bytes = (size_t)(p.rows * p.m) * sizeof(int32_t);
  PERTURB_CUDA_TRY(prepare(run, p));
  const bool sums = p.part != call_part::results;
  if (p.grid.refuse_negative && sums)
    PERTURB_CUDA_TRY(for_runs(run, p, p.samples, [&](const problem& part) { return run.pass(launch_refuse_negative, part); }));
  if (p.part == call_part::whole) PERTURB_CUDA_TRY(run.clear(p.words, (size_t)(p.rows * p.words_per_row) * sizeof(int64_t)));
  switch (p.operation) {
    case PERTURB_OP_SOLVE:
    case PERTURB_OP_SAMPLE:
      p.y = p.output[0];
      p.y_samples = p.samples;
      PERTURB_CUDA_TRY(run.clear(p.y, y_bytes * (size_t)p.samples));
      if (p.operation == PERTURB_OP_SOLVE) {
        PERTURB_CUDA_TRY(run.solve_silent(p, estimator_kind::store));
        break;
      }
      PERTURB_CUDA_TRY(for_runs(run, p, p.samples, [&](problem part) {
        part.y += part.first_of_run * p.m;
        return run.solve(part, estimator_kind::store);
      }));
      break;
    case PERTURB_OP_EXPECTATION: {
      const bool values = p.output[2] || p.output[3];
      if (!sums) break;
      if (p.output[3]) PERTURB_CUDA_TRY(run.solve_silent(p, estimator_kind::value));
      const bool squares = p.output[1] && p.oracle == oracle_kind::rank;
      PERTURB_CUDA_TRY(solve_all(run, p, values || squares ? estimator_kind::value : estimator_kind::count));
      break;
    }
    case PERTURB_OP_VJP:
    case PERTURB_OP_VJP_EPSILON:
      PERTURB_CUDA_TRY(run.solve_silent(p, estimator_kind::inner));
      if (!sums) break;
      PERTURB_CUDA_TRY(for_runs(run, p, p.samples, [&](const problem& part) {
        const cudaError_t error = run.solve(part, estimator_kind::inner);
        return error == cudaSuccess ? run.pass(launch_weighted_scores, part) : error;
      }));
      break;
    case PERTURB_OP_JVP:
      PERTURB_CUDA_TRY(solve_centre(run, p));
      if (!sums) break;
      PERTURB_CUDA_TRY(for_runs(run, p, p.samples, [&](const problem& part) {
        const cudaError_t error = run.pass(launch_chains, part);
        return error == cudaSuccess ? run.solve(part, estimator_kind::scaled) : error;
      }));
      break;
    case PERTURB_OP_JACOBIAN:
      PERTURB_CUDA_TRY(solve_centre(run, p));
      if (!sums) break;
      PERTURB_CUDA_TRY(sum_solutions(run, p, y_buffer, y_samples, launch_products));
      break;
    case PERTURB_OP_COVARIANCE:
      if (!sums) break;
      PERTURB_CUDA_TRY(sum_solutions(run, p, y_buffer, y_samples, launch_covariance_sums));
      break;
    default:
      if (sums) PERTURB_CUDA_TRY(solve_all(run, p, estimator_kind::fenchel_young));
      break;
  }
  return write_results(run, p);
}

// What perturb_context_set_row_status asks for.
cudaError_t report_rows(const runner& run, problem p, int32_t* status, int64_t* clamped) {
  PERTURB_CUDA_TRY(run.report(p, status, clamped));
  if (!clamped || p.oracle != oracle_kind::grid_path || resolves(p.operation)) return cudaSuccess;
  p.silent = p.operation == PERTURB_OP_SOLVE;
  return for_runs(run, p, p.samples, [&](const problem& part) { return run.count_clamped(part, clamped); });
}

cudaError_t run_call(const cuda_device& device, const call& c, const schedule& plan, unsigned char* memory, const oracle_arrays& arrays) {
  problem whole = make_problem(c, false);
  give_arrays(whole, arrays);
  carver parts(memory);
  lay_out(whole, plan.rows, parts);
  int32_t* y = nullptr;
  parts.take(y, plan.rows * plan.y_samples * y_width(whole));
  parts.take(whole.scratch, (int64_t)plan.scratch_bytes);
  const runner run(device, plan);
  for (int64_t first = 0; first < c.batch; first += plan.rows) {
    problem p = whole;
    p.rows = p.call_rows = std::min(plan.rows, c.batch - first);
    p.first_row += (uint32_t)first;
    p.theta += first * p.n;
    if (p.epsilon_per_row) p.epsilon_per_row += first;
    if (c.z) p.z += first * p.samples * p.n;
    if (c.z_score) p.z_score += first * p.samples * p.n;
    if (p.part != call_part::whole) p.words = c.words + first * p.words_per_row;
    if (p.operand) p.operand += first * operand_width(p);
    // Floats of each output per row.
    int64_t width[4] = {p.m, p.m, 1, 1};
    if (p.operation == PERTURB_OP_SOLVE) width[1] = 1;
    if (p.operation == PERTURB_OP_SAMPLE) width[0] = p.m * p.samples;
    if (p.operation == PERTURB_OP_VJP || p.operation == PERTURB_OP_SORTED_VALUES_VJP) width[0] = p.n;
    if (p.operation == PERTURB_OP_SORTED_VALUES) width[0] = width[1] = p.k;
    if (p.operation == PERTURB_OP_JACOBIAN) width[0] = p.m * p.n;
    if (p.operation == PERTURB_OP_COVARIANCE) width[0] = p.m * p.m;
    if (p.operation == PERTURB_OP_FENCHEL_YOUNG || p.operation == PERTURB_OP_SPO_PLUS || p.operation == PERTURB_OP_VJP_EPSILON) width[0] = 1;
    for (int i = 0; i < 4; ++i)
      if (p.output[i]) p.output[i] += first * width[i];
    PERTURB_CUDA_TRY(run_slice(run, p, y, plan.y_samples));
    if (c.row_status || c.row_clamped) PERTURB_CUDA_TRY(report_rows(run, p, c.row_status ? c.row_status + first : nullptr, c.row_clamped ? c.row_clamped + first : nullptr));
  }
  return cudaSuccess;
}

}  // namespace

// ---------------------------------------------------------------- the interface

perturb_status open_cuda_device(int ordinal, void* stream, const perturb_allocator& allocator, cuda_device& device) {
  int count = 0;
  cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess) return cuda_fail(error, "options.backend: no CUDA device works here");
  if (count == 0) return fail(PERTURB_ERROR_BACKEND_UNAVAILABLE, "options.backend: no CUDA device works here: there is none");
  if (ordinal >= count) return fail(PERTURB_ERROR_INVALID_ARGUMENT, "options.device: expected -1 to %d, got %d", count - 1, ordinal);
  device = {};
  device.ordinal = ordinal;
  if (ordinal < 0) error = cudaGetDevice(&device.ordinal);
  int shared = 0;
  if (error == cudaSuccess) error = cudaDeviceGetAttribute(&device.multiprocessors, cudaDevAttrMultiProcessorCount, device.ordinal);
  if (error == cudaSuccess) error = cudaDeviceGetAttribute(&shared, cudaDevAttrMaxSharedMemoryPerBlockOptin, device.ordinal);
  // Whether this build has code for the device.
  if (error == cudaSuccess) {
    const device_scope scope(device.ordinal);
    cudaFuncAttributes attributes;
    error = scope.error();
    if (error == cudaSuccess) error = cudaFuncGetAttributes(&attributes, argmax_thread().general[0]);
  }
  if (error != cudaSuccess) return cuda_fail(error, "options.backend: the CUDA device does not work");
  device.shared_bytes = (size_t)shared;
  device.stream = stream;
  device.allocator = allocator;
  return PERTURB_OK;
}

int64_t cuda_row_words(const call& c) {
  static_assert(cuda_sum_words == sum_words);
  return item_words(make_problem(c, true)) + sum_words;
}

size_t cuda_scratch_bytes(const cuda_device& device, const call& c, bool any_outputs) { return make_schedule(device, c, any_outputs).bytes; }

perturb_status cuda_execute(const cuda_device& device, const call& c, void* workspace, size_t workspace_bytes) {
  const device_scope scope(device.ordinal);
  if (scope.error() != cudaSuccess) return cuda_fail(scope.error(), "context: its device cannot be made current");
  oracle_arrays arrays = {};
  if (const cudaError_t copied = arrays_on_device(*c.oracle, device.ordinal, arrays); copied != cudaSuccess)
    return cuda_fail(copied, "oracle: its grid or tables cannot be copied to the device");
  const schedule plan = make_schedule(device, c, false);
  device_scratch scratch(device);
  if (const perturb_status s = scratch.acquire(plan.bytes, workspace, workspace_bytes)) return s;
  const cudaError_t error = run_call(device, c, plan, scratch.memory(), arrays);
  return error == cudaSuccess ? PERTURB_OK : cuda_fail(error, "launch");
}

perturb_status cuda_noise_fill(const cuda_device& device, const call& c, float* z) {
  const device_scope scope(device.ordinal);
  if (scope.error() != cudaSuccess) return cuda_fail(scope.error(), "context: its device cannot be made current");
  problem p = make_problem(c, false);
  p.rows = c.batch;
  if (makes_noise(p)) {
    p.z = z;
    p.z_samples = p.run = p.samples;
  }
  const cudaStream_t stream = static_cast<cudaStream_t>(device.stream);
  const cudaError_t error = makes_noise(p) ? launch_special_noise(p, device.multiprocessors, stream) : launch_noise_fill(p, z, device.multiprocessors, stream);
  return error == cudaSuccess ? PERTURB_OK : cuda_fail(error, "launch");
}

}  // namespace perturb
