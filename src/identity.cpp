// extern "C": theta projected before a solver, and the gradient that takes the solver for the identity (Sahoo et al. 2023). Checks, and the rows on the
// CPU; kernels/identity.cu has them on the device.
#include "identity.h"

#include <algorithm>
#include <cinttypes>
#include <cmath>
#include <limits>

#include "check.h"
#include "execute.h"
#include "guard.h"
#include "math/projection.h"
#include "shares.h"

namespace perturb {
namespace {

// In the order of math/projection.h.
template <class Term>
double sum_of_row(int64_t n, Term term) {
  double parts[projection_parts] = {};
  for (int64_t first = 0; first < n; first += projection_parts) {
    const int count = (int)std::min<int64_t>(projection_parts, n - first);
    for (int part = 0; part < count; ++part) parts[part] += term(first + part);
  }
  for (int half = projection_parts / 2; half > 0; half /= 2)
    for (int part = 0; part < half; ++part) parts[part] += parts[part + half];
  return parts[0];
}

void project_row(const projection_problem& p, int64_t b) {
  const float* theta = p.theta + b * p.n;
  const float* g = p.cotangent ? p.cotangent + b * p.n : nullptr;
  float* output = p.output + b * p.n;
  const auto counts = [&](int64_t i) { return !p.passable || p.passable[i]; };
  bool bad = g && first_non_finite(g, p.n) < p.n;
  for (int64_t i = 0; i < p.n && !bad; ++i) bad = counts(i) && !std::isfinite(theta[i]);
  if (p.row_status) p.row_status[b] = bad ? PERTURB_ERROR_NON_FINITE : PERTURB_OK;
  if (p.row_clamped) p.row_clamped[b] = 0;
  if (bad) {
    std::fill_n(output, p.n, std::numeric_limits<float>::quiet_NaN());
    return;
  }
  projected_row row = unprojected(g ? p.sign : 1.0);
  if (p.centred) {
    row.mean = sum_of_row(p.n, [&](int64_t i) { return (double)theta[i]; }) / (double)p.n;
    if (g) row.cotangent_mean = sum_of_row(p.n, [&](int64_t i) { return (double)g[i]; }) / (double)p.n;
  }
  if (p.scaled)
    row.measure(sum_of_row(p.n, [&](int64_t i) { return counts(i) ? row.x(theta[i]) * row.x(theta[i]) : 0.0; }),
                g ? sum_of_row(p.n, [&](int64_t i) { return counts(i) ? row.x(theta[i]) * row.h(g[i]) : 0.0; }) : 0.0, g != nullptr);
  for (int64_t i = 0; i < p.n; ++i) output[i] = !counts(i) ? 0.0f : g ? row.gradient(theta[i], g[i]) : row.projected(theta[i]);
}

perturb_status check_projection(const perturb_oracle& oracle, const perturb_projection& projection, bool identity) {
  const int number = enum_number(projection);
  if (const perturb_status s = check_size("projection", number, PERTURB_PROJECTION_NONE, PERTURB_PROJECTION_STD)) return s;
  if (oracle.grid && (number == PERTURB_PROJECTION_MEAN || number == PERTURB_PROJECTION_STD))
    return fail(PERTURB_ERROR_UNSUPPORTED,
                "projection: MEAN and STD make costs negative and change the shortest path; for a grid expected NONE (0) or NORM (2), got %d", number);
  if (identity && !oracle.has_value())
    return fail(PERTURB_ERROR_UNSUPPORTED,
                "oracle: a sort has y by position, which is not theta's; perturb_rank_create and perturb_top_k_create have the identity backward rule");
  if (identity && oracle.m != oracle.n)
    return fail(PERTURB_ERROR_UNSUPPORTED, "oracle: the identity backward rule needs m = n, this one has n = %" PRId64 " and m = %" PRId64, oracle.n, oracle.m);
  return PERTURB_OK;
}

// identity: the gradient is wanted, else theta projected.
perturb_status project(perturb_context* context, const perturb_oracle* oracle, perturb_projection projection, int64_t batch, const float* theta,
                       const float* cotangent, float* output, bool identity) {
  return guarded([&]() -> perturb_status {
    if (const perturb_status s = not_null("context", context)) return s;
    if (const perturb_status s = not_null("oracle", oracle)) return s;
    if (const perturb_status s = check_projection(*oracle, projection, identity)) return s;
    call c;
    c.operation = PERTURB_OP_VJP;  // for the checks: it has the same arrays
    c.oracle = oracle;
    c.batch = batch;
    c.theta = theta;
    c.operand = cotangent;
    if (const perturb_status s = check_sizes(c)) return s;
    if (batch == 0) return PERTURB_OK;
    const char* const output_name = identity ? "gradient" : "projected";
    if (const perturb_status s = not_null("theta", theta)) return s;
    if (identity) {
      if (const perturb_status s = not_null("cotangent", cotangent)) return s;
    }
    if (const perturb_status s = not_null(output_name, output)) return s;
    const int64_t n = oracle->n;
    const array_argument inputs[] = {{"theta", theta, batch * n}, {"cotangent", cotangent, batch * n}};
    const array_argument outputs[] = {{output_name, output, batch * n}, {"status", context->row_status, batch}, {"clamped", context->row_clamped, 2 * batch}};
    if (const perturb_status s = check_layout(inputs, outputs)) return s;

    projection_problem p = {};
    p.centred = projection == PERTURB_PROJECTION_MEAN || projection == PERTURB_PROJECTION_STD;
    p.scaled = projection == PERTURB_PROJECTION_NORM || projection == PERTURB_PROJECTION_STD;
    p.sign = oracle->loss_sign();
    p.batch = batch;
    p.n = n;
    p.theta = theta;
    p.cotangent = cotangent;
    p.output = output;
    p.row_status = context->row_status;
    p.row_clamped = context->row_clamped;
    if (!on_host(*context)) return cuda_project(context->cuda, *oracle, p);
    if (!p.row_status) {
      if (const perturb_status s = check_contents(c)) return s;
    }
    p.passable = oracle->grid ? oracle->grid->passable.data() : nullptr;
    shares(*context, batch, 8.0 * (double)n).run(*context, [&](int, int64_t first, int64_t last) {
      for (int64_t b = first; b < last; ++b) project_row(p, b);
    });
    return PERTURB_OK;
  });
}

}  // namespace
}  // namespace perturb

using namespace perturb;

perturb_status perturb_project(perturb_context* context, const perturb_oracle* oracle, perturb_projection projection, int64_t batch, const float* theta,
                               float* projected) {
  return project(context, oracle, projection, batch, theta, nullptr, projected, false);
}

perturb_status perturb_identity_vjp(perturb_context* context, const perturb_oracle* oracle, perturb_projection projection, int64_t batch, const float* theta,
                                    const float* cotangent, float* gradient) {
  return project(context, oracle, projection, batch, theta, cotangent, gradient, true);
}
