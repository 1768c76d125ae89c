// extern "C": perturbed k nearest neighbours. Distances into scratch, top-k's expectation or VJP at them, and the chain rule through the distances.
#include "nearest_neighbors.h"

#include <algorithm>
#include <cfloat>
#include <cinttypes>

#include "check.h"
#include "composed.h"
#include "execute.h"
#include "guard.h"
#include "math/scales.h"
#include "row_status.h"
#include "shares.h"

namespace perturb {

perturb_operation operation_at_distances(perturb_operation operation) {
  return operation == PERTURB_OP_NEAREST_NEIGHBORS ? PERTURB_OP_EXPECTATION : operation == PERTURB_OP_NEAREST_NEIGHBORS_VJP ? PERTURB_OP_VJP : operation;
}

perturb_status check_neighbors_oracle(const perturb_oracle& oracle) {
  if (oracle.kind == oracle_kind::top_k || oracle.kind == oracle_kind::argmax) return PERTURB_OK;
  return fail(PERTURB_ERROR_UNSUPPORTED, "oracle: nearest neighbours need top-k of n points for k neighbours, or argmax for one");
}

namespace {

// Of one array [batch, n].
size_t array_bytes(const call& c) {
  const size_t unit = composed_scratch::alignment;
  return ((size_t)(c.batch * c.n()) * sizeof(float) + unit - 1) / unit * unit;
}

perturb_status distances(perturb_context& context, const distance_problem& p, float* theta) {
  if (!on_host(context)) return cuda_negative_distances(context.cuda, p, theta);
  // Shares end where vectors do, so that no vector is half empty but the last.
  const int64_t lanes = context.cpu->lanes, groups = (p.points + lanes - 1) / lanes;
  shares(context, groups, (double)lanes * (double)p.queries * (double)p.dimensions).run(context, [&](int, int64_t first, int64_t last) {
    context.cpu->negative_distances(p, first * lanes, std::min(last * lanes, p.points), theta);
  });
  return PERTURB_OK;
}

perturb_status gradient(perturb_context& context, const distance_sum& s, float* result) {
  if (!on_host(context)) return cuda_distance_gradient(context.cuda, s, result);
  shares(context, s.rows, (double)s.terms * (double)s.dimensions).run(context, [&](int, int64_t first, int64_t last) {
    context.cpu->distance_gradient(s, first, last, result);
  });
  return PERTURB_OK;
}

perturb_status check_finite(const char* name, const float* values, int64_t rows, int64_t dimensions) {
  const int64_t i = first_non_finite(values, rows * dimensions);
  if (i == rows * dimensions) return PERTURB_OK;
  return fail(PERTURB_ERROR_NON_FINITE, "%s[%" PRId64 ", %" PRId64 "]: expected a finite number, got %g", name, i / dimensions, i % dimensions,
              (double)values[i]);
}

// What check_arrays would say of theta, in the words of this call.
perturb_status check_distances(const call& c, const float* theta) {
  const double reach = c.multiplicative || c.epsilon == 0.0f ? 0.0 : perturbation_reach(c.noise, c.epsilon);
  for (int64_t b = 0; b < c.batch; ++b)
    for (int64_t i = 0; i < c.n(); ++i) {
      const double factor = c.epsilon_per_item ? c.epsilon_per_item[i] : 1.0;
      if (magnitude(theta[b * c.n() + i]) + factor * reach <= (double)FLT_MAX) continue;
      return fail(PERTURB_ERROR_INVALID_ARGUMENT,
                  "queries[%" PRId64 "], points[%" PRId64 "]: their squared distance %g with epsilon %g can leave the range of float", b, i,
                  (double)-theta[b * c.n() + i], (double)c.epsilon * factor);
    }
  return PERTURB_OK;
}

struct neighbors_arguments {
  int64_t dimensions;
  const float *queries, *points;
  const float* cotangent;                     // VJP
  float *y_mean, *y_std_error;                // expectation
  float *gradient_queries, *gradient_points;  // VJP
};

perturb_status nearest_neighbors(perturb_operation operation, perturb_context* context, const perturb_oracle* oracle, const perturb_noise* noise, int64_t batch,
                                 const neighbors_arguments& a) {
  return guarded([&]() -> perturb_status {
    if (const perturb_status s = not_null("context", context)) return s;
    if (const perturb_status s = not_null("oracle", oracle)) return s;
    const bool host = on_host(*context), vjp = operation == PERTURB_OP_NEAREST_NEIGHBORS_VJP;
    call c;
    c.operation = operation_at_distances(operation);
    c.oracle = oracle;
    c.batch = batch;
    if (const perturb_status s = check_noise(noise, batch, oracle->n, host, c)) return s;
    if (const perturb_status s = check_neighbors_oracle(*oracle)) return s;
    if (const perturb_status s = check_sizes(c)) return s;
    if (const perturb_status s = check_size("dimensions", a.dimensions, 1, items_limit)) return s;
    const int64_t n = c.n(), d = a.dimensions;
    if (!fits(batch, d, 1) || !fits(n, d, 1))
      return fail(PERTURB_ERROR_INVALID_ARGUMENT, "dimensions: %" PRId64 " queries and %" PRId64 " points of %" PRId64 " dimensions overflow", batch, n, d);
    if (batch == 0) return PERTURB_OK;

    // Arrays, those of the call inside among them.
    if (const perturb_status s = not_null("queries", a.queries)) return s;
    if (const perturb_status s = not_null("points", a.points)) return s;
    if (vjp) {
      if (const perturb_status s = not_null("cotangent", a.cotangent)) return s;
      if (!a.gradient_queries && !a.gradient_points)
        return fail(PERTURB_ERROR_INVALID_ARGUMENT, "gradient_queries, gradient_points: at least one must not be NULL");
    } else if (const perturb_status s = not_null("y_mean", a.y_mean)) {
      return s;
    }
    const array_argument inputs[] = {{"queries", a.queries, batch * d},
                                     {"points", a.points, n * d},
                                     {"cotangent", a.cotangent, batch * n},
                                     {"noise.epsilon_per_item", c.epsilon_per_item, n}};
    c.row_status = context->row_status;
    c.row_clamped = context->row_clamped;
    const bool in_one = !c.row_status;  // a row that is refused stops the call
    const array_argument outputs[] = {{"y_mean", a.y_mean, batch * n},
                                      {"y_std_error", a.y_std_error, batch * n},
                                      {"gradient_queries", a.gradient_queries, batch * d},
                                      {"gradient_points", a.gradient_points, n * d},
                                      {"status", c.row_status, batch},
                                      {"clamped", c.row_clamped, 2 * batch}};
    if (const perturb_status s = check_layout(inputs, outputs)) return s;
    if (host && in_one) {
      if (const perturb_status s = check_finite("queries", a.queries, batch, d)) return s;
      if (const perturb_status s = check_finite("points", a.points, n, d)) return s;
    }
    size_t inner = 0;
    if (const perturb_status s = workspace_bytes(*context, c, inner)) return s;
    composed_scratch scratch(*context);
    if (const perturb_status s = scratch.acquire(distance_bytes(operation, c), inner)) return s;
    float* const theta = static_cast<float*>(scratch.memory());
    float* const gradient_theta = reinterpret_cast<float*>(static_cast<char*>(scratch.memory()) + array_bytes(c));
    c.theta = theta;
    c.operand = a.cotangent;
    c.output[0] = vjp ? gradient_theta : a.y_mean;
    c.output[1] = a.y_std_error;
    if (const perturb_status s = check_arrays(c, 1)) return s;

    if (const perturb_status s = distances(*context, {batch, n, d, a.queries, a.points}, theta)) return s;
    if (host && in_one) {
      if (const perturb_status s = check_distances(c, theta)) return s;
    }
    if (const perturb_status s = execute_rows(*context, c)) return s;
    if (a.gradient_queries) {
      if (const perturb_status s = gradient(*context, {batch, n, d, a.queries, a.points, gradient_theta, n, 1, false}, a.gradient_queries)) return s;
    }
    if (a.gradient_points) return gradient(*context, {n, batch, d, a.points, a.queries, gradient_theta, 1, n, !in_one}, a.gradient_points);
    return PERTURB_OK;
  });
}

}  // namespace

size_t distance_bytes(perturb_operation operation, const call& c) {
  if (operation_at_distances(operation) == operation || c.batch == 0) return 0;
  return (operation == PERTURB_OP_NEAREST_NEIGHBORS_VJP ? 2 : 1) * array_bytes(c) + composed_scratch::alignment;
}

}  // namespace perturb

using namespace perturb;

perturb_status perturb_nearest_neighbors(perturb_context* context, const perturb_oracle* oracle, const perturb_noise* noise, int64_t batch, int64_t dimensions,
                                         const float* queries, const float* points, float* y_mean, float* y_std_error) {
  return nearest_neighbors(PERTURB_OP_NEAREST_NEIGHBORS, context, oracle, noise, batch,
                           {dimensions, queries, points, nullptr, y_mean, y_std_error, nullptr, nullptr});
}

perturb_status perturb_nearest_neighbors_vjp(perturb_context* context, const perturb_oracle* oracle, const perturb_noise* noise, int64_t batch,
                                             int64_t dimensions, const float* queries, const float* points, const float* cotangent, float* gradient_queries,
                                             float* gradient_points) {
  return nearest_neighbors(PERTURB_OP_NEAREST_NEIGHBORS_VJP, context, oracle, noise, batch,
                           {dimensions, queries, points, cotangent, nullptr, nullptr, gradient_queries, gradient_points});
}
