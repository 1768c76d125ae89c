// A checked call on the CPU: plan, scratch, threads. CUDA has its own (kernels/backend.cpp).
#include "execute.h"

#include "cpu/float_mode.h"
#include "custom/custom.h"
#include "error.h"
#include "plan.h"

namespace perturb {

perturb_status refuse_negative(const perturb_context& context, const call& c, void* scratch) {
  int64_t where[3];
  if (context.cpu->below_floor(c, 0, c.batch * c.samples, scratch, where) == 0) return PERTURB_OK;
  return fail(PERTURB_ERROR_INVALID_ARGUMENT, "theta[%lld, %lld]: its perturbed cost in sample %lld is below cost_floor %g, and options.negative is ERROR", (long long)where[0],
              (long long)where[2], (long long)where[1], (double)c.oracle->grid->cost_floor);
}

perturb_status execute(perturb_context& context, const call& c) {
  if (!on_host(context))
    return (runs_custom(c) ? cuda_custom_execute : cuda_execute)(context.cuda, c, context.workspace, context.workspace_bytes);
  if (runs_custom(c)) return custom_execute(context, c);
  const plan p = make_plan(*context.cpu, c, context.pool->size(), false);
  call_scratch scratch(context);
  if (const perturb_status s = scratch.acquire(p.bytes())) return s;
  if (c.oracle->grid && c.oracle->grid->refuse_negative && c.part != call_part::results) {
    if (const perturb_status s = refuse_negative(context, c, scratch.memory())) return s;
  }
  char* memory = static_cast<char*>(scratch.memory());
  context.pool->run(p.threads, [&](int thread) {
    const float_mode mode_of_thread;
    context.cpu->run(c, thread, p.threads, memory + (size_t)thread * p.stride);
  });
  if (p.threads > 1) context.cpu->finish(c, p.threads, memory, p.stride);
  return PERTURB_OK;
}

perturb_status workspace_bytes(const perturb_context& context, const call& c, size_t& bytes) {
  if (c.batch == 0) {
    bytes = 0;
  } else if (runs_custom(c)) {
    size_t scratch = 0;
    if (const perturb_status s = on_host(context) ? custom_scratch_bytes(context, c, scratch) : cuda_custom_scratch_bytes(context.cuda, c, scratch)) return s;
    bytes = scratch + (on_host(context) ? 63 : 255);
  } else if (on_host(context)) {
    bytes = make_plan(*context.cpu, c, context.pool->size(), true).bytes() + 63;
  } else {
    bytes = cuda_scratch_bytes(context.cuda, c, true) + 255;
  }
  return PERTURB_OK;
}

}  // namespace perturb
