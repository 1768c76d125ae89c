// The engine of calls with callbacks: perturb -> the caller's solver, or cost function -> sums, block by block, on one thread or on the
// pool.
//
// Threads take units of the call in ascending order (progress.h). Whole rows are finished by the thread that solved them; where units are
// chunks, threads add them to the row's sums in turn. Results go to scratch first: a call whose solver fails has written nothing.
#include "execute.h"

#include <cstring>

#include "check.h"
#include "cpu/float_mode.h"
#include "custom/block.h"
#include "custom/cost.h"
#include "custom/covariance.h"
#include "custom/custom.h"
#include "custom/derivatives.h"
#include "custom/division.h"
#include "custom/expectation.h"
#include "custom/fenchel_young.h"
#include "custom/progress.h"
#include "custom/resolve.h"
#include "custom/solutions.h"
#include "error.h"

namespace perturb {
namespace {

// An estimator with scratch of its own, or with none where it will not be used.
template <class Estimator>
Estimator make_sums(const call& c, arena& a, bool used) {
  arena nothing(nullptr);
  return Estimator(c, used ? a : nothing);
}

// What a call keeps until it has succeeded, the inputs of LPGD and its family, the solutions without noise, and the sums of the row whose
// chunks threads add in turn.
template <class Estimator>
struct common_state {
  Estimator row;
  float *inputs = nullptr, *hard = nullptr;
  float* outputs[4] = {};

  common_state(const call& c, const division& d, arena& a) : row(make_sums<Estimator>(c, a, d.in_turns)) {
    if (resolves(c.operation)) inputs = a.take<float>(2 * c.batch * c.n());
    if (may_sum_scores(c.operation) && c.baseline == centring::unperturbed)
      hard = a.take<float>(c.batch * (c.operation == PERTURB_OP_COST ? 1 : c.m()));
    for (int o = 0; o < 4; ++o)
      if (c.operation != PERTURB_OP_SAMPLE) outputs[o] = a.take<float>(output_count(c, o));
  }
};

// Of one thread: the sums of the chunk at work and of its row, and a block of problems.
template <class Estimator>
struct thread_state {
  Estimator chunk, row;
  problem_block block;

  thread_state(const call& c, const cpu_backend& cpu, const division& d, arena& a)
      : chunk(c, a), row(make_sums<Estimator>(c, a, d.chunks > 1 && !d.in_turns)), block(c, cpu, d.block, a) {}
};

template <class Estimator>
class engine {
 public:
  engine(const perturb_context& context, const call& c) : cpu_(*context.cpu), c_(c), division_(c, context.pool->size()) {
    arena common(nullptr), share(nullptr);
    common_state<Estimator>(c, division_, common);
    thread_state<Estimator>(c, cpu_, division_, share);
    common_bytes_ = common.used();
    share_bytes_ = share.used();
  }

  perturb_status scratch_bytes(size_t& bytes) const {
    const double total = (double)common_bytes_ + (double)division_.most_threads * (double)share_bytes_;
    if (total > 0x1p62)
      return fail(PERTURB_ERROR_OUT_OF_MEMORY, "scratch: %g bytes for this call on %d threads are beyond any memory", total,
                  division_.most_threads);
    bytes = common_bytes_ + (size_t)division_.most_threads * share_bytes_;
    return PERTURB_OK;
  }

  perturb_status run(perturb_context& context) const {
    size_t bytes = 0;
    if (const perturb_status s = scratch_bytes(bytes)) return s;
    call_scratch scratch(context);
    if (const perturb_status s = scratch.acquire(bytes)) return s;
    char* memory = static_cast<char*>(scratch.memory());
    arena a(memory);
    common_state<Estimator> common(c_, division_, a);
    const auto with_threads = [&](auto&& f) {
      context.pool->run(division_.threads, [&](int thread) {
        const float_mode mode;
        arena own(memory + common_bytes_ + (size_t)thread * share_bytes_);
        thread_state<Estimator> mine(c_, cpu_, division_, own);
        f(mine);
      });
    };
    if (c_.oracle->grid && c_.oracle->grid->refuse_negative) {
      arena own(memory + common_bytes_);
      if (const perturb_status s = refuse_negative(context, c_, thread_state<Estimator>(c_, cpu_, division_, own).block.kernel_scratch()))
        return s;
    }
    if (common.inputs) fill_inputs(c_, common.inputs);
    if (common.hard && sums_scores(c_)) {
      if (const perturb_status s = solve_rows(with_threads, common.hard)) return s;
    }
    progress at(division_.units);
    with_threads([&](thread_state<Estimator>& mine) { work(at, common, mine); });
    if (at.failed()) return report(c_, at.first_failure());
    for (int o = 0; o < 4; ++o)
      if (common.outputs[o] && c_.output[o]) std::memcpy(c_.output[o], common.outputs[o], (size_t)output_count(c_, o) * sizeof(float));
    clear_error();  // the solver may have made calls of its own
    return PERTURB_OK;
  }

 private:
  // The solutions without noise [batch, m], or their costs [batch].
  template <class WithThreads>
  perturb_status solve_rows(const WithThreads& with_threads, float* out) const {
    const call rows = solving_rows(c_);
    const int64_t width = c_.operation == PERTURB_OP_COST ? 1 : c_.m();
    const int64_t block = std::min(division_.block, (c_.batch + division_.threads - 1) / division_.threads);
    progress at((c_.batch + block - 1) / block);
    with_threads([&](thread_state<Estimator>& mine) {
      for (int64_t unit; (unit = at.take()) >= 0;) {
        const int64_t first = unit * block, count = std::min(block, c_.batch - first);
        if (const solver_failure failure = mine.block.solve_rows(rows, first, count, out + first * width)) at.fail(unit, failure);
      }
    });
    return at.failed() ? report(rows, at.first_failure()) : PERTURB_OK;
  }

  void work(progress& at, common_state<Estimator>& common, thread_state<Estimator>& mine) const {
    for (int64_t unit; (unit = at.take()) >= 0;) {
      const bool solved = solve_unit(unit, at, common, mine);
      if (!division_.in_turns) continue;
      at.await(unit);
      if (solved) add_chunk(unit / division_.chunks, unit % division_.chunks, mine.chunk, common.row, common);
      at.pass(unit);
    }
  }

  // Whole rows to their results, or one chunk into its sum. False if the solver failed, here or in an earlier unit.
  bool solve_unit(int64_t unit, progress& at, common_state<Estimator>& common, thread_state<Estimator>& mine) const {
    const division::range problems = division_.problems(unit);
    custom_row row{c_, 0, common.hard};
    for (int64_t first = problems.first; first < problems.last; first += division_.block) {
      if (at.stopped(unit)) return false;
      const int64_t count = std::min(division_.block, problems.last - first);
      if (const solver_failure failure = mine.block.solve(first, count, common.inputs)) {
        at.fail(unit, failure);
        return false;
      }
      for (int64_t p = first; p < first + count; ++p) {
        const int64_t sample = p % c_.samples;
        row.b = p / c_.samples;
        if (sample % chunk_samples == 0) mine.chunk.begin(row);
        mine.chunk.add(row, mine.block.solved(p - first));
        const bool chunk_ends = sample == c_.samples - 1 || sample % chunk_samples == chunk_samples - 1;
        if (chunk_ends && !division_.in_turns) add_chunk(row.b, sample / chunk_samples, mine.chunk, mine.row, common);
      }
    }
    return true;
  }

  // Adds a chunk's sum to its row's. A row of one chunk is that chunk's sum.
  void add_chunk(int64_t b, int64_t number, const Estimator& chunk, Estimator& sums, const common_state<Estimator>& common) const {
    const custom_row row{c_, b, common.hard};
    float* const* outputs = common.outputs;
    if (division_.chunks == 1) return chunk.finish(row, outputs);
    if (number == 0) sums.begin(row);
    sums.merge(chunk);
    if (number == division_.chunks - 1) sums.finish(row, outputs);
  }

  const cpu_backend& cpu_;
  const call& c_;
  const division division_;
  size_t common_bytes_, share_bytes_;
};

template <class F>
perturb_status with_engine(const perturb_context& context, const call& c, F&& f) {
  switch (c.operation) {
    case PERTURB_OP_SAMPLE:
      return f(engine<custom_sample>(context, c));
    case PERTURB_OP_EXPECTATION:
      return f(engine<custom_expectation>(context, c));
    case PERTURB_OP_VJP:
      return f(engine<custom_vjp>(context, c));
    case PERTURB_OP_JVP:
      return f(engine<custom_jvp>(context, c));
    case PERTURB_OP_JACOBIAN:
      return f(engine<custom_jacobian>(context, c));
    case PERTURB_OP_FENCHEL_YOUNG:
      return f(engine<custom_fenchel_young>(context, c));
    case PERTURB_OP_VJP_EPSILON:
      return f(engine<custom_vjp_epsilon>(context, c));
    case PERTURB_OP_COVARIANCE:
      return f(engine<custom_covariance>(context, c));
    case PERTURB_OP_LPGD:
    case PERTURB_OP_IMLE:
    case PERTURB_OP_SPO_PLUS:
      return f(engine<custom_resolve>(context, c));
    case PERTURB_OP_COST:
      return f(engine<custom_cost>(context, c));
    default:
      return f(engine<custom_solve>(context, c));
  }
}

}  // namespace

perturb_status custom_scratch_bytes(const perturb_context& context, const call& c, size_t& bytes) {
  return with_engine(context, c, [&](const auto& engine) { return engine.scratch_bytes(bytes); });
}

call solving_rows(const call& c) {
  call rows;
  rows.oracle = c.oracle;
  rows.batch = c.batch;
  rows.first_row = c.first_row;
  rows.theta = c.theta;
  rows.cost = c.cost;
  rows.row_of_caller = c.row_of_caller;
  return rows;
}

perturb_status custom_execute(perturb_context& context, const call& c) {
  return with_engine(context, c, [&](const auto& engine) { return engine.run(context); });
}

}  // namespace perturb
