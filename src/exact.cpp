// extern "C": closed forms instead of samples. Which there are, and their rows on the CPU; kernels/exact.cu has them on the device.
#include "exact.h"

#include <algorithm>

#include "check.h"
#include "execute.h"
#include "guard.h"
#include "math/closed_forms.h"
#include "row_status.h"
#include "shares.h"

namespace perturb {
namespace {

void softmax_row(const exact_problem& p, int64_t b) {
  const float* theta = p.theta + b * p.n;
  const float* g = p.cotangent ? p.cotangent + b * p.n : nullptr;
  const double top = *std::max_element(theta, theta + p.n);
  double sum = 0.0, product = 0.0;
  for (int part = 0; part < exact_parts; ++part) {
    double weights, products;
    softmax_part(theta, g, p.n, top, p.epsilon, part, weights, products);
    sum += weights;
    product += products;
  }
  for (int64_t i = 0; i < p.n; ++i) p.output[b * p.n + i] = softmax_entry(theta, g, i, top, p.epsilon, sum, product);
  if (p.value) p.value[b] = softmax_value(top, p.epsilon, sum);
}

// Entries first .. last of [batch, n].
void rank_entries(const exact_problem& p, int64_t first, int64_t last) {
  const pair_law law = {p.gumbel, p.epsilon};
  for (int64_t at = first; at < last; ++at) {
    const int64_t b = at / p.n, i = at % p.n;
    const float* theta = p.theta + b * p.n;
    p.output[at] = finite_float(p.cotangent ? rank_gradient(law, p.descending, theta, p.cotangent + b * p.n, p.n, i)
                                            : rank_entry(law, p.descending, p.base, theta, p.n, i));
  }
}

void rank_value(const exact_problem& p, int64_t b) {
  const pair_law law = {p.gumbel, p.epsilon};
  double total = 0.0;
  for (int part = 0; part < exact_parts; ++part) total += rank_value_part(law, p.descending, p.base, p.theta + b * p.n, p.n, part);
  p.value[b] = finite_float(total);
}

// tables: 2 * 2^n doubles.
void top_k_row(const exact_problem& p, int64_t b, double* tables) {
  constexpr int limit = exact_top_k_limit;
  const float* theta = p.theta + b * p.n;
  double ratio[limit * limit], sorted[limit], g[limit] = {};
  int place[limit];
  const int n = (int)p.n;
  for (int i = 0; i < n; ++i) {
    place[i] = place_of(theta, n, i);
    sorted[place[i]] = theta[i];
    if (p.cotangent) g[place[i]] = p.cotangent[b * p.n + i];
  }
  for (int i = 0; i < n; ++i)
    for (int j = i; j < n; ++j) ratio[i * n + j] = exponential((sorted[j] - sorted[i]) / p.epsilon);
  const drawing d = {n, (int)p.k, ratio, g, tables, tables + (1 << n)};
  const uint32_t sets = 1u << n;
  // A set comes after its subsets in the order of numbers.
  for (uint32_t set = 0; set < sets; ++set)
    if (items_in(set) <= d.k) d.reach[set] = d.reach_of(set);
  if (p.cotangent)
    for (uint32_t set = sets; set-- > 0;)
      if (items_in(set) <= d.k) d.worth[set] = d.worth_of(set);
  for (int i = 0; i < n; ++i) {
    double sum = 0.0;
    for (int part = 0; part < subset_parts; ++part) sum += p.cotangent ? d.gradient_part(place[i], part) : d.inclusion_part(place[i], part);
    p.output[b * p.n + i] = finite_float(p.cotangent ? sum / p.epsilon : sum);
  }
}

perturb_status exact_on_host(perturb_context& context, const exact_problem& p) {
  constexpr double function = 64.0;  // additions that an exponential or so takes
  const double n = (double)p.n;
  if (p.form == exact_form::softmax) {
    shares(context, p.batch, 2.0 * n * function).run(context, [&](int, int64_t first, int64_t last) {
      for (int64_t b = first; b < last; ++b) softmax_row(p, b);
    });
    return PERTURB_OK;
  }
  if (p.form == exact_form::ranks) {
    shares(context, p.batch * p.n, n * function).run(context, [&](int, int64_t first, int64_t last) { rank_entries(p, first, last); });
    if (!p.value) return PERTURB_OK;
    shares(context, p.batch, 0.5 * n * n * function).run(context, [&](int, int64_t first, int64_t last) {
      for (int64_t b = first; b < last; ++b) rank_value(p, b);
    });
    return PERTURB_OK;
  }
  const int64_t table = INT64_C(2) << p.n;  // doubles of a thread
  const shares rows(context, p.batch, (double)table * n);
  const size_t bytes = (size_t)(table * rows.count()) * sizeof(double);
  double* const tables = static_cast<double*>(context.allocate(bytes));
  if (!tables) return fail(PERTURB_ERROR_OUT_OF_MEMORY, "tables: %zu bytes cannot be had", bytes);
  rows.run(context, [&](int share, int64_t first, int64_t last) {
    for (int64_t b = first; b < last; ++b) top_k_row(p, b, tables + table * share);
  });
  context.deallocate(tables, bytes);
  return PERTURB_OK;
}

// The closed form of a call, if there is one.
perturb_status find_form(const call& c, exact_problem& p) {
  const bool gumbel = c.noise == distribution::gumbel;
  const bool plain = !c.multiplicative && !c.epsilon_per_item && !c.epsilon_per_row;
  const oracle_kind kind = c.oracle->kind;
  bool found = plain;
  if (kind == oracle_kind::argmax) {
    p.form = exact_form::softmax;
    found = found && gumbel;
  } else if (kind == oracle_kind::rank) {
    p.form = exact_form::ranks;
    found = found && (gumbel || c.noise == distribution::normal);
  } else if (kind == oracle_kind::top_k) {
    p.form = exact_form::top_k;
    found = found && gumbel && c.n() <= exact_top_k_limit && c.oracle->row_k.empty();
  } else {
    found = false;
  }
  if (!found)
    return fail(
        PERTURB_ERROR_UNSUPPORTED,
        "oracle, noise: there is no closed form for them here; expected argmax or top-k of at most %d items (one k for all rows) with GUMBEL noise, or ranks with GUMBEL or NORMAL "
        "noise, ADDITIVE and without epsilon_per_item or epsilon_per_row",
        (int)exact_top_k_limit);
  p.gumbel = gumbel;
  p.descending = c.oracle->descending;
  p.base = c.oracle->base;
  p.k = c.oracle->k;
  p.n = c.n();
  p.epsilon = (double)c.epsilon;
  return PERTURB_OK;
}

// The same form of a call's rows.
exact_problem rows_of(exact_problem p, const call& c) {
  p.batch = c.batch;
  p.theta = c.theta;
  p.cotangent = c.operand;
  p.output = c.output[0];
  p.value = c.output[1];
  p.row_status = c.row_status;
  p.row_clamped = c.row_clamped;
  return p;
}

// c.operation, theta, operand and outputs are those of the call without noise: SOLVE or VJP.
perturb_status run_exact(perturb_context* context, const perturb_oracle* oracle, const perturb_noise* noise, call c) {
  return guarded([&]() -> perturb_status {
    if (const perturb_status s = not_null("context", context)) return s;
    if (const perturb_status s = not_null("oracle", oracle)) return s;
    const bool host = on_host(*context);
    c.oracle = oracle;
    if (const perturb_status s = check_noise(noise, c.batch, oracle->n, host, c)) return s;
    exact_problem form = {};
    if (const perturb_status s = find_form(c, form)) return s;
    if (form.form == exact_form::top_k && c.operation == PERTURB_OP_SOLVE && c.output[1]) return fail(PERTURB_ERROR_UNSUPPORTED, "value: there is no closed form of top-k's; expected NULL");
    c.samples = 1;
    c.first_sample = 0;
    c.epsilon = 0.0f;
    if (const perturb_status s = check_sizes(c)) return s;
    if (c.batch == 0) return PERTURB_OK;
    c.row_status = context->row_status;
    c.row_clamped = context->row_clamped;
    if (const perturb_status s = check_arrays(c, 1)) return s;
    if (form.epsilon == 0.0) return execute_rows(*context, c);
    if (!host) return cuda_exact(context->cuda, rows_of(form, c));
    return execute_rows(*context, c, [&](const call& rows) { return exact_on_host(*context, rows_of(form, rows)); });
  });
}

}  // namespace
}  // namespace perturb

using namespace perturb;

perturb_status perturb_exact_expectation(perturb_context* context, const perturb_oracle* oracle, const perturb_noise* noise, int64_t batch, const float* theta,
                                         float* y, float* value) {
  call c;
  c.operation = PERTURB_OP_SOLVE;
  c.batch = batch;
  c.theta = theta;
  c.output[0] = y;
  c.output[1] = value;
  return run_exact(context, oracle, noise, c);
}

perturb_status perturb_exact_vjp(perturb_context* context, const perturb_oracle* oracle, const perturb_noise* noise, int64_t batch, const float* theta,
                                 const float* cotangent, float* gradient) {
  call c;
  c.operation = PERTURB_OP_VJP;
  c.batch = batch;
  c.theta = theta;
  c.operand = cotangent;
  c.output[0] = gradient;
  return run_exact(context, oracle, noise, c);
}
