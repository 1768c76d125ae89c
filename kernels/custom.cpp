// Calls with callbacks on a CUDA context, the host side: tiles of problems go through kernels (custom.cu) and callbacks, all on the
// caller's stream. Nothing here waits for the device. Outputs are staged in scratch and published when no callback has failed.
#include "kernels/custom.h"

#include <algorithm>
#include <cstdint>

#include "check.h"
#include "cuda_backend.h"
#include "custom/custom.h"
#include "custom/estimators.h"
#include "custom/solver.h"
#include "error.h"
#include "kernels/call.h"
#include "kernels/passes.h"

namespace perturb {
namespace {

using namespace cuda;

constexpr int64_t tile_problems = 1 << 16;  // of one callback: perturb.h promises it
constexpr int64_t tile_floats = 1 << 19;    // of theta or of y in one callback, where one problem is not larger
constexpr int64_t sum_bytes = 4 << 20;      // of a tile's chunks, where one chunk's are not more

// ---------------------------------------------------------------- tiles

// How rows and samples are cut into tiles; depends on sizes alone.
struct tiling {
  int64_t rows = 1;     // of a tile; 1 also where a row takes several tiles
  int64_t samples = 0;  // of a tile: all of a row's, whole chunks, or less than a chunk

  // entries: sums per row.
  tiling(const call& c, int64_t entries) {
    const int64_t most = std::clamp<int64_t>(tile_floats / std::max(c.n(), c.m()), 1, tile_problems);
    const int64_t chunks = (c.samples + chunk_samples - 1) / chunk_samples;
    if (chunks == 1 || most < chunk_samples) {
      samples = std::min({c.samples, most, chunk_samples});
      if (samples == c.samples) rows = std::min(most / samples, std::max<int64_t>(c.batch, 1));
      return;
    }
    const int64_t kept = std::max<int64_t>(sum_bytes / (int64_t)largest_sum / std::max<int64_t>(entries, 1), 1);
    const int64_t chunks_of_tile = std::min(most / chunk_samples, kept);
    samples = std::min(chunks_of_tile * chunk_samples, c.samples);
    if (samples == c.samples) rows = std::clamp<int64_t>(chunks_of_tile / chunks, 1, std::max<int64_t>(c.batch, 1));
  }
  int64_t problems() const { return rows * samples; }
  int64_t chunks() const { return (samples + chunk_samples - 1) / chunk_samples; }
  // Samples of the tile that begins at sample `first` of a row: it ends with the row, and where it is a part of a chunk also with that.
  int64_t samples_at(int64_t first, int64_t all) const {
    const int64_t count = std::min(samples, all - first);
    return samples < chunk_samples ? std::min(count, chunk_samples - first % chunk_samples) : count;
  }
};

// ---------------------------------------------------------------- a call

#define PERTURB_ENQUEUE(...)                                       \
  do {                                                             \
    const cudaError_t error_ = (__VA_ARGS__);                      \
    if (error_ != cudaSuccess) return cuda_fail(error_, "launch"); \
  } while (false)

class custom_call {
 public:
  custom_call(const cuda_device& device, const call& c) : device_(device), c_(c), p_(make_problem(c, false)), tiling_(c, entries()) {
    p_.rows = c.batch;
    p_.silent = !takes_noise(c.operation);
    const bool value =
        (c.operation == PERTURB_OP_SOLVE && c.output[1]) || (c.operation == PERTURB_OP_EXPECTATION && (c.output[2] || c.output[3]));
    with_terms_ = value || c.operation == PERTURB_OP_VJP || c.operation == PERTURB_OP_JVP ||
                  (c.operation == PERTURB_OP_SPO_PLUS && c.output[0]) ||
                  (c.operation == PERTURB_OP_FENCHEL_YOUNG && (c.output[0] || c.output[2]));
  }

  // Takes the memory of the call and its tiles; with a null base it only counts.
  size_t lay_out(unsigned char* base) {
    carver memory(base);
    const bool costs = c_.operation == PERTURB_OP_COST, noisy = takes_noise(c_.operation), staged = c_.operation != PERTURB_OP_SAMPLE;
    const int64_t batch = c_.batch, n = c_.n(), m = c_.m(), problems = std::max(tiling_.problems(), rows_of_tile());
    memory.take(t_.bad, batch);
    for (int o = 0; o < 4; ++o)
      if (const int64_t count = staged ? output_count(c_, o) : 0) memory.take(t_.staged[o], count);
    if (resolves(c_.operation)) {
      memory.take(p_.shifted, 2 * batch * n);
      memory.take(p_.tau, batch);
      memory.take(t_.other, problems * m);
    }
    if (may_sum_scores(c_.operation) && c_.baseline == centring::unperturbed) {
      memory.take(t_.hard, batch * (costs ? 1 : m));
      memory.take(t_.hard_terms, batch);
    }
    if (c_.oracle->custom) memory.take(t_.theta, problems * n);
    if (may_sum_scores(c_.operation) || c_.operation == PERTURB_OP_FENCHEL_YOUNG) memory.take(t_.noise, problems * n);
    if (noisy ? staged : c_.operation != PERTURB_OP_SOLVE) memory.take(t_.y, problems * m);
    if (costs) {
      memory.take(t_.costs, problems);
      memory.take(t_.row_numbers, problems);
      memory.take(t_.clamped, tiling_.rows);
    }
    for (double*& terms : t_.terms) memory.take(terms, problems);
    // A row of one chunk, all in one tile, needs none. COST has its moments after its covariances.
    const bool kept = c_.samples > std::min(tiling_.samples, chunk_samples);
    memory.take(t_.chunk_sums, kept ? tiling_.rows * tiling_.chunks() * sums_of_row() : 0);
    memory.take(t_.row_sums, kept ? sums_of_row() : 0);
    kernel_bytes_ = c_.oracle->custom ? 0 : kernel_scratch_bytes();
    memory.take(kernel_scratch_, (int64_t)kernel_bytes_);
    return memory.used();
  }

  perturb_status run(const oracle_arrays& arrays) {
    give_arrays(p_, arrays);
    if (resolves(c_.operation)) PERTURB_ENQUEUE(launch_shift(p_, device_.multiprocessors, stream()));
    PERTURB_ENQUEUE(launch_examine(p_, t_, device_.multiprocessors, stream()));
    if (c_.row_clamped) PERTURB_ENQUEUE(cudaMemsetAsync(c_.row_clamped, 0, (size_t)c_.batch * sizeof(int64_t), stream()));
    if (t_.hard && sums_scores(c_)) {
      for (int64_t row = 0; row < c_.batch; row += rows_of_tile())
        if (const perturb_status s = solve_rows(row, std::min(rows_of_tile(), c_.batch - row))) return s;
    }
    for (int64_t row = 0; row < c_.batch; row += tiling_.rows)
      for (int64_t sample = 0; sample < c_.samples;) {
        custom_tile t = t_;
        t.first_row = row;
        t.rows = std::min(tiling_.rows, c_.batch - row);
        t.first_sample = sample;
        t.samples = tiling_.samples_at(sample, c_.samples);
        t.chunks = (t.samples + chunk_samples - 1) / chunk_samples;
        if (const perturb_status s = run_tile(t)) return s;
        sample += t.samples;
      }
    clear_error();  // a callback may have made calls of its own
    PERTURB_ENQUEUE(launch_publish(p_, t_, device_.multiprocessors, stream()));
    if (c_.row_status || c_.row_clamped) PERTURB_ENQUEUE(launch_tell_rows(p_, t_, c_.row_status, c_.row_clamped, device_.multiprocessors, stream()));
    return PERTURB_OK;
  }

 private:
  cudaStream_t stream() const { return static_cast<cudaStream_t>(device_.stream); }
  // Why a row that was examined has no finite y. The library's own oracles refuse costs below a grid's floor, and nothing else.
  int32_t why_no_y() const { return c_.oracle->custom ? row_of_callback : row_refused; }
  int64_t entries() const {
    const bool costs = c_.operation == PERTURB_OP_COST;
    return custom_entries(p_, custom_sums::covariances, true) + (costs ? custom_entries(p_, custom_sums::moments, true) : 0);
  }
  int64_t sums_of_row() const { return entries() * (int64_t)largest_sum; }
  // Rows that are solved without noise at a time.
  int64_t rows_of_tile() const {
    if (!may_sum_scores(c_.operation) || c_.baseline != centring::unperturbed) return 1;
    return std::clamp<int64_t>(tile_floats / std::max(c_.n(), c_.m()), 1, std::min(tile_problems, std::max<int64_t>(c_.batch, 1)));
  }

  // ---------------------------------------------------------------- the library's own oracle, under a cost function

  // Of every size of tile that there is.
  size_t kernel_scratch_bytes() const {
    size_t bytes = 0;
    const auto need = [&](perturb_operation operation, int64_t rows, int64_t samples) {
      if (rows < 1 || samples < 1) return;
      call part = operation == PERTURB_OP_SOLVE ? solving_rows(c_) : c_;
      part.operation = operation;
      part.batch = rows;
      part.samples = samples;
      bytes = std::max(bytes, cuda_scratch_bytes(device_, part, true));
    };
    const int64_t whole = tiling_.samples, last_chunk = c_.samples % chunk_samples;
    for (const int64_t rows : {tiling_.rows, c_.batch % tiling_.rows})
      for (const int64_t samples : {whole, c_.samples % whole, std::min(whole, last_chunk), last_chunk % whole, chunk_samples % whole})
        need(PERTURB_OP_SAMPLE, rows, samples);
    for (const int64_t rows : {rows_of_tile(), c_.batch % rows_of_tile()}) need(PERTURB_OP_SOLVE, rows, 1);
    return bytes;
  }

  // A call of it on rows first_row .. of this one. Its rows are told at the end of this one.
  perturb_status run_kernels(call part, const custom_tile& t, float* y) const {
    part.theta = c_.theta + t.first_row * c_.n();
    part.first_row = c_.first_row + t.first_row;
    if (c_.epsilon_per_row) part.epsilon_per_row = c_.epsilon_per_row + t.first_row;
    part.batch = t.rows;
    part.output[0] = y;
    part.output[1] = part.output[2] = part.output[3] = nullptr;
    part.row_status = nullptr;
    part.row_clamped = part.row_clamped ? t.clamped : nullptr;
    return cuda_execute(device_, part, kernel_scratch_, kernel_bytes_ + alignment - 1);
  }

  // ---------------------------------------------------------------- solving

  // From theta of the tile to y. `input`: of LPGD and its family, what is solved.
  perturb_status solve(const call& c, const custom_tile& t, float* y, const char* input = nullptr) const {
    const int64_t problems = t.rows * t.samples;
    // An entry that the solver forgets is then not a number.
    PERTURB_ENQUEUE(cudaMemsetAsync(y, 0xff, (size_t)(problems * c_.m()) * sizeof(float), stream()));
    solver_failure failure = enqueue_solver(c, t.first_row * c.samples + t.first_sample, problems, t.theta, y, device_.stream);
    failure.input = input;
    if (failure) return report(c, failure);
    PERTURB_ENQUEUE(launch_settle(t, y, c_.m(), why_no_y(), device_.multiprocessors, stream()));
    return PERTURB_OK;
  }

  perturb_status add_costs(const call& c, const custom_tile& t, const float* y, float* costs) const {
    const int64_t problems = t.rows * t.samples;
    PERTURB_ENQUEUE(launch_number_rows(p_, t, device_.multiprocessors, stream()));
    PERTURB_ENQUEUE(cudaMemsetAsync(costs, 0xff, (size_t)problems * sizeof(float), stream()));
    const solver_failure failure =
        enqueue_cost(c, t.first_row * c.samples + t.first_sample, problems, y, t.row_numbers, costs, device_.stream);
    if (failure) return report(c, failure);
    PERTURB_ENQUEUE(launch_settle(t, costs, 1, row_of_callback, device_.multiprocessors, stream()));
    return PERTURB_OK;
  }

  // The solutions of rows without noise, or their costs.
  perturb_status solve_rows(int64_t first, int64_t rows) const {
    const bool costs = c_.operation == PERTURB_OP_COST;
    const call plain = solving_rows(c_);
    problem p = p_;
    p.silent = true;
    custom_tile t = t_;
    t.first_row = first;
    t.rows = rows;
    t.first_sample = 0;
    t.samples = 1;
    t.inputs = c_.theta;
    t.noise = nullptr;
    float* y = costs ? t_.y : t_.hard + first * c_.m();
    if (c_.oracle->custom) {
      PERTURB_ENQUEUE(launch_perturb(p, t, device_.multiprocessors, stream()));
      if (const perturb_status s = solve(plain, t, y)) return s;
    } else {
      if (const perturb_status s = run_kernels(plain, t, y)) return s;
      PERTURB_ENQUEUE(launch_settle(t, y, c_.m(), why_no_y(), device_.multiprocessors, stream()));
    }
    if (costs) return add_costs(plain, t, y, t_.hard + first);
    if (c_.operation != PERTURB_OP_VJP) return PERTURB_OK;
    t.y = y;
    t.terms[0] = t_.hard_terms + first;
    PERTURB_ENQUEUE(launch_terms(p_, t, device_.multiprocessors, stream()));
    return PERTURB_OK;
  }

  // From the tile's inputs to its part of the sums.
  perturb_status run_tile(custom_tile t) const {
    const bool costs = c_.operation == PERTURB_OP_COST, plain = resolves(c_.operation) || c_.operation == PERTURB_OP_FENCHEL_YOUNG;
    const int multiprocessors = device_.multiprocessors;
    const int64_t first = t.first_row * c_.samples + t.first_sample;
    if (c_.operation == PERTURB_OP_SOLVE) t.y = t_.staged[0] + first * c_.m();
    if (c_.operation == PERTURB_OP_SAMPLE) t.y = c_.output[0] + first * c_.m();
    if (costs && !c_.output[2]) t.noise = nullptr;
    t.inputs = resolves(c_.operation) ? p_.shifted + c_.batch * c_.n() : c_.theta;
    if (t.theta || t.noise) PERTURB_ENQUEUE(launch_perturb(p_, t, multiprocessors, stream()));
    const resolve_pair pair = inputs_of(c_.operation, c_.resolve.side);
    if (resolves(c_.operation)) {
      if (const perturb_status s = solve(c_, t, t.other, name_of(pair.subtrahend))) return s;
      t.inputs = p_.shifted;
      PERTURB_ENQUEUE(launch_perturb(p_, t, multiprocessors, stream()));
    }
    if (c_.oracle->custom) {
      if (const perturb_status s = solve(c_, t, t.y, resolves(c_.operation) ? name_of(pair.minuend) : nullptr)) return s;
    } else {
      call part = c_;
      part.operation = PERTURB_OP_SAMPLE;
      part.first_sample += t.first_sample;
      part.samples = t.samples;
      if (const perturb_status s = run_kernels(part, t, t.y)) return s;
      if (c_.row_clamped) PERTURB_ENQUEUE(launch_add_clamped(t, c_.row_clamped, multiprocessors, stream()));
      PERTURB_ENQUEUE(launch_settle(t, t.y, c_.m(), why_no_y(), multiprocessors, stream()));
    }
    if (costs) {
      if (const perturb_status s = add_costs(c_, t, t.y, t.costs)) return s;
    }
    if (with_terms_)
      PERTURB_ENQUEUE(launch_terms(p_, t, multiprocessors, stream()));
    else
      t.terms[0] = nullptr;
    if (c_.operation == PERTURB_OP_SOLVE || c_.operation == PERTURB_OP_SAMPLE) return PERTURB_OK;
    if (plain) PERTURB_ENQUEUE(launch_sums(p_, t, custom_sums::plain, multiprocessors, stream()));
    if (sums_scores(c_)) PERTURB_ENQUEUE(launch_sums(p_, t, custom_sums::covariances, multiprocessors, stream()));
    if (costs) {
      t.chunk_sums += tiling_.rows * tiling_.chunks() * c_.n() * (int64_t)largest_sum;
      t.row_sums += c_.n() * (int64_t)largest_sum;
    }
    if (costs || c_.operation == PERTURB_OP_EXPECTATION)
      PERTURB_ENQUEUE(launch_sums(p_, t, custom_sums::moments, multiprocessors, stream()));
    return PERTURB_OK;
  }

  const cuda_device& device_;
  const call& c_;
  problem p_;
  custom_tile t_ = {};
  tiling tiling_;
  bool with_terms_;
  unsigned char* kernel_scratch_ = nullptr;
  size_t kernel_bytes_ = 0;
};

}  // namespace

perturb_status cuda_custom_scratch_bytes(const cuda_device& device, const call& c, size_t& bytes) {
  bytes = custom_call(device, c).lay_out(nullptr);
  if ((double)bytes > 0x1p62)
    return fail(PERTURB_ERROR_OUT_OF_MEMORY, "scratch: %g bytes for this call are beyond any memory", (double)bytes);
  return PERTURB_OK;
}

perturb_status cuda_custom_execute(const cuda_device& device, const call& c, void* workspace, size_t workspace_bytes) {
  const device_scope scope(device.ordinal);
  if (scope.error() != cudaSuccess) return cuda_fail(scope.error(), "context: its device cannot be made current");
  oracle_arrays arrays = {};
  const cudaError_t error = arrays_on_device(*c.oracle, device.ordinal, arrays);
  if (error != cudaSuccess) return cuda_fail(error, "oracle: its grid and tables cannot be copied to the device");
  size_t bytes = 0;
  if (const perturb_status s = cuda_custom_scratch_bytes(device, c, bytes)) return s;
  device_scratch scratch(device);
  if (const perturb_status s = scratch.acquire(bytes, workspace, workspace_bytes)) return s;
  custom_call made(device, c);
  made.lay_out(scratch.memory());
  return made.run(arrays);
}

}  // namespace perturb
