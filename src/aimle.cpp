// extern "C": AIMLE's step, adapted to how many entries of a gradient are not 0. Checks, and the counts on the CPU; kernels/aimle.cu has them on the device.
#include "aimle.h"

#include <atomic>
#include <cmath>

#include "check.h"
#include "execute.h"
#include "guard.h"
#include "shares.h"

namespace perturb {
namespace {

perturb_status check_options(const perturb_aimle_options* options, aimle_rule& rule) {
  const perturb_aimle_options defaults = PERTURB_AIMLE_OPTIONS_INIT;
  if (!options) options = &defaults;
  if (options->struct_size != sizeof *options)
    return fail(PERTURB_ERROR_INVALID_STRUCT, "options.struct_size: expected %zu, got %u; use the _INIT macro", sizeof *options,
                (unsigned)options->struct_size);
  if (!(options->step >= 0.0f && std::isfinite(options->step)))
    return fail(PERTURB_ERROR_INVALID_ARGUMENT, "options.step: expected a finite number >= 0, got %g", (double)options->step);
  if (!(options->decay >= 0.0f && options->decay < 1.0f))
    return fail(PERTURB_ERROR_INVALID_ARGUMENT, "options.decay: expected a number in [0, 1), got %g", (double)options->decay);
  if (!(options->target >= 0.0f && std::isfinite(options->target)))
    return fail(PERTURB_ERROR_INVALID_ARGUMENT, "options.target: expected a finite number >= 0, got %g", (double)options->target);
  rule = {options->step, options->decay, options->target};
  return PERTURB_OK;
}

perturb_status check_state(const perturb_aimle_state& state) {
  if (!(state.alpha >= 0.0f && std::isfinite(state.alpha)))
    return fail(PERTURB_ERROR_INVALID_ARGUMENT, "state.alpha: expected a finite number >= 0, got %g", (double)state.alpha);
  if (!(state.average >= 0.0f && std::isfinite(state.average)))
    return fail(PERTURB_ERROR_INVALID_ARGUMENT, "state.average: expected a finite number >= 0, got %g", (double)state.average);
  return PERTURB_OK;
}

void update_on_host(perturb_context& context, const aimle_problem& p) {
  std::atomic<int64_t> nonzeros = 0, rows = 0;
  shares(context, p.batch, (double)p.n).run(context, [&](int, int64_t first, int64_t last) {
    int64_t entries = 0, finite_rows = 0;
    for (int64_t b = first; b < last; ++b) {
      const float* gradient = p.gradient + b * p.n;
      if (first_non_finite(gradient, p.n) < p.n) continue;
      ++finite_rows;
      for (int64_t i = 0; i < p.n; ++i) entries += gradient[i] != 0.0f;
    }
    nonzeros += entries;
    rows += finite_rows;
  });
  p.state->nonzeros = nonzeros;
  p.state->rows = rows;
  const float_mode mode;
  adapt(p.rule, *p.state);
}

}  // namespace
}  // namespace perturb

using namespace perturb;

perturb_status perturb_aimle_update(perturb_context* context, const perturb_aimle_options* options, int64_t batch, int64_t n, const float* gradient,
                                    perturb_aimle_state* state) {
  return guarded([&]() -> perturb_status {
    if (const perturb_status s = not_null("context", context)) return s;
    aimle_problem p = {{}, batch, n, gradient, state};
    if (const perturb_status s = check_options(options, p.rule)) return s;
    if (const perturb_status s = check_size("n", n, 1, items_limit)) return s;
    perturb_oracle items;
    items.kind = oracle_kind::argmax;
    items.n = items.m = n;
    call c;
    c.oracle = &items;
    c.batch = batch;
    if (const perturb_status s = check_sizes(c)) return s;
    if (batch == 0) return PERTURB_OK;
    if (const perturb_status s = not_null("gradient", gradient)) return s;
    if (const perturb_status s = not_null("state", state)) return s;
    if ((uintptr_t)state % 8) return fail(PERTURB_ERROR_INVALID_ARGUMENT, "state: must be aligned to 8 bytes");
    const array_argument inputs[] = {{"gradient", gradient, batch * n}};
    const array_argument outputs[] = {{"state", state, sizeof *state / 4}};
    if (const perturb_status s = check_layout(inputs, outputs)) return s;
    if (!on_host(*context)) return cuda_aimle_update(context->cuda, p);
    if (const perturb_status s = check_state(*state)) return s;
    update_on_host(*context, p);
    return PERTURB_OK;
  });
}
