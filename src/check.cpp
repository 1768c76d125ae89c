// Argument checks, in the order of the arguments: structs, sizes, pointers, overlaps, contents.
#include "check.h"

#include <cinttypes>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <tuple>

#include "error.h"
#include "math/scales.h"

namespace perturb {
namespace {

constexpr int64_t index_limit = INT64_C(1) << 32;  // rows and samples are 32-bit counters

perturb_status invalid(const char* format, const char* name, long long value) { return fail(PERTURB_ERROR_INVALID_ARGUMENT, format, name, value); }

template <class T>
perturb_status check_struct(const char* name, const T* options) {
  if (!options) return fail(PERTURB_ERROR_INVALID_ARGUMENT, "%s: must not be NULL", name);
  if (options->struct_size != sizeof(T))
    return fail(PERTURB_ERROR_INVALID_STRUCT, "%s.struct_size: expected %zu, got %u; use the _INIT macro", name, sizeof(T), (unsigned)options->struct_size);
  return PERTURB_OK;
}

// a * b * c as elements of 4 bytes, or of 8 bytes of scratch: false on overflow.
bool fits(int64_t a, int64_t b, int64_t c) {
  int64_t product = 0;
  return !__builtin_mul_overflow(a, b, &product) && !__builtin_mul_overflow(product, c, &product) && product <= INT64_MAX / 64;
}

}  // namespace

// The scan is branch-free so that it vectorises.
int64_t first_non_finite(const float* x, int64_t count) {
  constexpr int64_t block = 4096;
  for (int64_t i0 = 0; i0 < count; i0 += block) {
    const int64_t end = i0 + block < count ? i0 + block : count;
    float sum = 0.0f;
    for (int64_t i = i0; i < end; ++i) sum += x[i] * 0.0f;  // 0, or NaN for NaN and infinity
    if (sum == 0.0f) continue;
    for (int64_t i = i0; i < end; ++i)
      if (!std::isfinite(x[i])) return i;
  }
  return count;
}

namespace {

struct range {
  const char* name;
  const void* begin;
  int64_t count;  // floats
};

bool overlap(const range& a, const range& b) {
  const uintptr_t a0 = (uintptr_t)a.begin, b0 = (uintptr_t)b.begin;
  return a0 < b0 + (uintptr_t)b.count * 4 && b0 < a0 + (uintptr_t)a.count * 4;
}

struct names {
  const char* operand;
  const char* outputs[4];
};

names names_of(perturb_operation operation) {
  switch (operation) {
    case PERTURB_OP_SOLVE: return {nullptr, {"y", "value", nullptr, nullptr}};
    case PERTURB_OP_SAMPLE: return {nullptr, {"y", nullptr, nullptr, nullptr}};
    case PERTURB_OP_EXPECTATION: return {nullptr, {"y_mean", "y_std_error", "value", "value_std_error"}};
    case PERTURB_OP_VJP: return {"cotangent", {"gradient", nullptr, nullptr, nullptr}};
    case PERTURB_OP_JVP: return {"tangent", {"derivative", nullptr, nullptr, nullptr}};
    case PERTURB_OP_JACOBIAN: return {nullptr, {"jacobian", nullptr, nullptr, nullptr}};
    case PERTURB_OP_LPGD:
    case PERTURB_OP_IMLE: return {"cotangent", {"gradient", nullptr, nullptr, nullptr}};
    case PERTURB_OP_SPO_PLUS: return {"theta_true", {"loss", "gradient", nullptr, nullptr}};
    default: return {"target", {"loss", "gradient", "epsilon_gradient", nullptr}};
  }
}

}  // namespace

int64_t output_count(const call& c, int index) {
  if (!names_of(c.operation).outputs[index]) return 0;
  const int64_t rows_m = c.batch * c.m(), rows_n = c.batch * c.n();
  switch (c.operation) {
    case PERTURB_OP_SOLVE: return index == 0 ? rows_m : c.batch;
    case PERTURB_OP_SAMPLE: return rows_m * c.samples;
    case PERTURB_OP_EXPECTATION: return index < 2 ? rows_m : c.batch;
    case PERTURB_OP_VJP:
    case PERTURB_OP_LPGD:
    case PERTURB_OP_IMLE: return rows_n;
    case PERTURB_OP_JVP: return rows_m;
    case PERTURB_OP_JACOBIAN: return rows_m * c.n();
    default: return index == 1 ? rows_n : c.batch;
  }
}

namespace {

// No shifted input leaves the range of float.
perturb_status check_resolve(const call& c) {
  const double reach = c.operation == PERTURB_OP_IMLE && !c.multiplicative ? perturbation_reach(c.noise, c.epsilon) : 0.0;
  for (int64_t b = 0; b < c.batch; ++b) {
    const float tau = c.tau(b);
    for (int64_t i = 0; i < c.n(); ++i) {
      if (!c.counts(i)) continue;
      const float theta = c.theta[b * c.n() + i], operand = c.operand[b * c.n() + i];
      const double factor = c.epsilon_per_item ? c.epsilon_per_item[i] : 1.0;
      if (resolve_fits(c.operation, c.resolve, tau, c.oracle->kind, c.n(), theta, operand, factor * reach)) continue;
      if (c.operation == PERTURB_OP_SPO_PLUS)
        return fail(PERTURB_ERROR_INVALID_ARGUMENT, "theta_true[%" PRId64 ", %" PRId64 "]: 2 theta - theta_true = 2 * %g - %g leaves the range of float", b, i, (double)theta,
                    (double)operand);
      return fail(PERTURB_ERROR_INVALID_ARGUMENT, "cotangent[%" PRId64 ", %" PRId64 "]: theta %g shifted by tau %g times %g (and rho %g) can leave the range of float", b, i,
                  (double)theta, (double)tau, (double)operand, (double)c.resolve.rho);
    }
  }
  return PERTURB_OK;
}

// theta's walls may hold anything.
perturb_status check_theta(const call& c) {
  const int64_t n = c.n();
  const double reach = perturbation_reach(c.noise, c.epsilon);
  for (int64_t b = 0; b < c.batch; ++b) {
    const float* theta = c.theta + b * n;
    if (c.oracle->grid) {
      for (int64_t i = 0; i < n; ++i)
        if (c.oracle->grid->passable[i] && !std::isfinite(theta[i]))
          return fail(PERTURB_ERROR_NON_FINITE, "theta[%" PRId64 ", %" PRId64 "]: expected a finite number, got %g", b, i, (double)theta[i]);
    } else if (const int64_t i = first_non_finite(theta, n); i < n) {
      return fail(PERTURB_ERROR_NON_FINITE, "theta[%" PRId64 ", %" PRId64 "]: expected a finite number, got %g", b, i, (double)theta[i]);
    }
    if (c.multiplicative || c.epsilon == 0.0f) continue;
    for (int64_t i = 0; i < n; ++i) {
      if (c.oracle->grid && !c.oracle->grid->passable[i]) continue;
      const double factor = c.epsilon_per_item ? c.epsilon_per_item[i] : 1.0;
      if (magnitude(theta[i]) + factor * reach > (double)FLT_MAX)
        return fail(PERTURB_ERROR_INVALID_ARGUMENT, "theta[%" PRId64 ", %" PRId64 "]: %g with epsilon %g can leave the range of float", b, i, (double)theta[i],
                    (double)c.epsilon * factor);
    }
  }
  return PERTURB_OK;
}

// What a custom oracle cannot do: calls on CUDA, <y, theta> where m differs from n, and re-solving.
perturb_status check_custom_call(const call& c, bool on_host) {
  if (c.operation >= PERTURB_OP_LPGD) return fail(PERTURB_ERROR_UNSUPPORTED, "oracle: LPGD, I-MLE and SPO+ are not offered for solvers of the caller's in this version");
  if (!on_host) return fail(PERTURB_ERROR_UNSUPPORTED, "oracle: solvers of the caller's run on CPU contexts only in this version, this context is on CUDA");
  if (c.m() == c.n()) return PERTURB_OK;
  const auto refuse = [&](const char* what) {
    return fail(PERTURB_ERROR_UNSUPPORTED, "%s needs <y, theta> and so an oracle with m = n, this one has n = %" PRId64 " and m = %" PRId64, what, c.n(), c.m());
  };
  if (c.operation == PERTURB_OP_FENCHEL_YOUNG) return refuse("oracle: Fenchel-Young");
  if (c.operation == PERTURB_OP_SOLVE && c.output[1]) return refuse("value: it");
  if (c.operation == PERTURB_OP_EXPECTATION && c.output[2]) return refuse("value: it");
  if (c.operation == PERTURB_OP_EXPECTATION && c.output[3]) return refuse("value_std_error: it");
  return PERTURB_OK;
}

}  // namespace

perturb_status check_context_options(const perturb_context_options* options) {
  if (const perturb_status s = check_struct("options", options)) return s;
  const int backend = enum_number(options->backend);
  if (backend < PERTURB_BACKEND_AUTO || backend > PERTURB_BACKEND_CUDA) return invalid("%s: expected AUTO (0), CPU (1) or CUDA (2), got %lld", "options.backend", backend);
  if (options->device < -1) return invalid("%s: expected -1 or a CUDA ordinal, got %lld", "options.device", options->device);
  if (options->threads < 0 || options->threads > 1024) return invalid("%s: expected 0 to 1024, got %lld", "options.threads", options->threads);
  if (!options->host_allocator.allocate != !options->host_allocator.deallocate)
    return fail(PERTURB_ERROR_INVALID_ARGUMENT, "options.host_allocator: set both allocate and deallocate, or neither");
  if (!options->device_allocator.allocate != !options->device_allocator.deallocate)
    return fail(PERTURB_ERROR_INVALID_ARGUMENT, "options.device_allocator: set both allocate and deallocate, or neither");
  if (backend == PERTURB_BACKEND_CPU && options->stream) return fail(PERTURB_ERROR_INVALID_ARGUMENT, "options.stream: a CPU context has no stream; expected NULL");
  return PERTURB_OK;
}

perturb_status check_size(const char* name, int64_t value, int64_t lowest, int64_t highest) {
  if (value >= lowest && value <= highest) return PERTURB_OK;
  return fail(PERTURB_ERROR_INVALID_ARGUMENT, "%s: expected %" PRId64 " to %" PRId64 ", got %" PRId64, name, lowest, highest, value);
}

perturb_status check_grid_options(const perturb_grid_path_options* options) {
  if (const perturb_status s = check_struct("options", options)) return s;
  if (const perturb_status s = check_size("options.height", options->height, 1, 4096)) return s;
  if (const perturb_status s = check_size("options.width", options->width, 1, 4096)) return s;
  const int connectivity = enum_number(options->connectivity), negative = enum_number(options->negative);
  if (connectivity != PERTURB_CONNECT_4 && connectivity != PERTURB_CONNECT_8 && connectivity != PERTURB_CONNECT_8_NO_CORNER_CUTTING)
    return invalid("%s: expected 4, 8 or 80 (8 without corner cutting), got %lld", "options.connectivity", connectivity);
  if (!(options->diagonal_factor >= 1.0f && options->diagonal_factor <= 2.0f))
    return fail(PERTURB_ERROR_INVALID_ARGUMENT, "options.diagonal_factor: expected 1 to 2, got %g", (double)options->diagonal_factor);
  if (const perturb_status s = check_size("options.count_source", options->count_source, 0, 1)) return s;
  const int64_t cells = options->height * options->width;
  if (const perturb_status s = check_size("options.source", options->source, 0, cells - 1)) return s;
  if (const perturb_status s = check_size("options.target", options->target, 0, cells - 1)) return s;
  if (negative != PERTURB_NEGATIVE_CLAMP && negative != PERTURB_NEGATIVE_ERROR)
    return invalid("%s: expected CLAMP (0) or ERROR (1), got %lld", "options.negative", negative);
  if (!(options->cost_floor > 0.0f && std::isfinite(options->cost_floor)))
    return fail(PERTURB_ERROR_INVALID_ARGUMENT, "options.cost_floor: expected a finite number > 0, got %g", (double)options->cost_floor);
  return PERTURB_OK;
}

perturb_status check_custom_options(const perturb_custom_options* options) {
  if (const perturb_status s = check_struct("options", options)) return s;
  if (const perturb_status s = check_size("options.n", options->n, 1, items_limit)) return s;
  if (const perturb_status s = check_size("options.m", options->m, 1, items_limit)) return s;
  const int sense = enum_number(options->sense);
  if (sense != PERTURB_MAXIMIZE && sense != PERTURB_MINIMIZE) return invalid("%s: expected MAXIMIZE (0) or MINIMIZE (1), got %lld", "options.sense", sense);
  if (!options->solve) return fail(PERTURB_ERROR_INVALID_ARGUMENT, "options.solve: must not be NULL");
  return check_size("options.thread_safe", options->thread_safe, 0, 1);
}

perturb_status check_noise(const perturb_noise* noise, int64_t batch, int64_t n, bool on_host, call& c) {
  if (const perturb_status s = check_struct("noise", noise)) return s;
  const int kind = enum_number(noise->distribution), mode = enum_number(noise->mode);
  const int sampling = enum_number(noise->sampling), baseline = enum_number(noise->baseline);
  if (kind < PERTURB_NORMAL || kind > PERTURB_SUM_OF_GAMMA) return invalid("%s: expected 0 to 4, got %lld", "noise.distribution", kind);
  if (mode < PERTURB_ADDITIVE || mode > PERTURB_MULTIPLICATIVE) return invalid("%s: expected 0 or 1, got %lld", "noise.mode", mode);
  if (!(noise->epsilon >= 0.0f && std::isfinite(noise->epsilon)))
    return fail(PERTURB_ERROR_INVALID_ARGUMENT, "noise.epsilon: expected a finite number >= 0, got %g", (double)noise->epsilon);
  if (const perturb_status s = check_size("noise.samples", noise->samples, 1, index_limit)) return s;
  if (const perturb_status s = check_size("noise.first_sample", noise->first_sample, 0, index_limit - noise->samples)) return s;
  if (const perturb_status s = check_size("batch", batch, 0, index_limit)) return s;
  if (const perturb_status s = check_size("noise.first_row", noise->first_row, 0, index_limit - batch)) return s;
  if (sampling < PERTURB_SAMPLING_IID || sampling > PERTURB_SAMPLING_LATIN) return invalid("%s: expected 0 to 2, got %lld", "noise.sampling", sampling);
  if (baseline < PERTURB_BASELINE_LEAVE_ONE_OUT || baseline > PERTURB_BASELINE_UNPERTURBED)
    return invalid("%s: expected 0 to 2, got %lld", "noise.baseline", baseline);
  if (kind == PERTURB_SUM_OF_GAMMA) return fail(PERTURB_ERROR_UNSUPPORTED, "noise.distribution: SUM_OF_GAMMA is not in this version");
  if (mode == PERTURB_MULTIPLICATIVE && kind != PERTURB_NORMAL)
    return fail(PERTURB_ERROR_UNSUPPORTED, "noise.mode: MULTIPLICATIVE needs NORMAL noise, got distribution %d", kind);
  if (sampling == PERTURB_SAMPLING_LATIN) return fail(PERTURB_ERROR_UNSUPPORTED, "noise.sampling: LATIN is not in this version");
  if (sampling == PERTURB_SAMPLING_ANTITHETIC) {
    if (noise->samples % 2 != 0) return invalid("%s: antithetic samples come in pairs; expected an even number, got %lld", "noise.samples", noise->samples);
    if (noise->first_sample % 2 != 0)
      return invalid("%s: antithetic samples come in pairs; expected an even number, got %lld", "noise.first_sample", noise->first_sample);
  }
  if (noise->sum_of_gamma_k != 0 || noise->sum_of_gamma_terms != 0)
    return fail(PERTURB_ERROR_INVALID_ARGUMENT, "noise.sum_of_gamma_k, sum_of_gamma_terms: expected 0 unless the distribution is SUM_OF_GAMMA");
  if (noise->epsilon_per_item && on_host) {
    for (int64_t i = 0; i < n; ++i) {
      const float e = noise->epsilon_per_item[i];
      if (!(e >= 0.0f && std::isfinite(e) && std::isfinite(e * noise->epsilon)))
        return fail(PERTURB_ERROR_INVALID_ARGUMENT, "noise.epsilon_per_item[%" PRId64 "]: expected a finite number >= 0, got %g", i, (double)e);
    }
  }
  c.noise = (distribution)kind;
  c.multiplicative = mode == PERTURB_MULTIPLICATIVE;
  c.antithetic = sampling == PERTURB_SAMPLING_ANTITHETIC;
  // Not of antithetic samples: the others' mean depends on Z_m through the pair, which cancels a baseline already.
  c.baseline = baseline == PERTURB_BASELINE_UNPERTURBED                                                ? centring::unperturbed
               : baseline == PERTURB_BASELINE_LEAVE_ONE_OUT && noise->samples > 1 && !c.antithetic ? centring::leave_one_out
                                                                                              : centring::none;
  c.epsilon = noise->epsilon;
  c.epsilon_per_item = noise->epsilon_per_item;
  c.samples = noise->samples;
  c.first_sample = noise->first_sample;
  c.first_row = noise->first_row;
  c.keys = make_philox_keys(noise->seed);
  return PERTURB_OK;
}

perturb_status check_lpgd_options(const perturb_lpgd_options* options, call& c) {
  const perturb_lpgd_options defaults = PERTURB_LPGD_OPTIONS_INIT;
  perturb_lpgd_options o = defaults;
  if (!options) options = &defaults;
  // The first headers ended before `relative`.
  if (options->struct_size != sizeof o && options->struct_size != offsetof(perturb_lpgd_options, relative))
    return fail(PERTURB_ERROR_INVALID_STRUCT, "options.struct_size: expected %zu, got %u; use the _INIT macro", sizeof o, (unsigned)options->struct_size);
  std::memcpy(&o, options, options->struct_size);
  if (!(o.tau > 0.0f && std::isfinite(o.tau))) return fail(PERTURB_ERROR_INVALID_ARGUMENT, "options.tau: expected a finite number > 0, got %g", (double)o.tau);
  if (!(o.rho >= 0.0f && std::isfinite(o.rho))) return fail(PERTURB_ERROR_INVALID_ARGUMENT, "options.rho: expected a finite number >= 0, got %g", (double)o.rho);
  if (const perturb_status s = check_size("options.side", enum_number(o.side), PERTURB_SIDE_LOWER, PERTURB_SIDE_AVERAGE)) return s;
  if (const perturb_status s = check_size("options.relative", o.relative, 0, 1)) return s;
  if (o.rho != 0.0f && c.operation == PERTURB_OP_IMLE)
    return fail(PERTURB_ERROR_UNSUPPORTED, "options.rho: I-MLE has one solution per sample and none to stay near; expected 0, got %g", (double)o.rho);
  if (o.rho != 0.0f && c.oracle->grid && c.oracle->grid->diagonal_factor != 1.0f)
    return fail(PERTURB_ERROR_UNSUPPORTED, "options.rho: expected 0 with a grid of diagonal_factor %g (other than 1), got %g", (double)c.oracle->grid->diagonal_factor, (double)o.rho);
  c.resolve = {o.tau, o.rho, o.side, o.relative != 0};
  return PERTURB_OK;
}

perturb_status check_oracle(const call& c, bool on_host) {
  if (c.oracle->custom) return check_custom_call(c, on_host);
  if (!c.oracle->grid) return PERTURB_OK;
  if (c.operation == PERTURB_OP_FENCHEL_YOUNG && c.oracle->grid->diagonal_factor != 1.0f)
    return fail(PERTURB_ERROR_UNSUPPORTED, "oracle: Fenchel-Young needs a grid with diagonal_factor 1, got %g", (double)c.oracle->grid->diagonal_factor);
  if (!resolves(c.operation)) return PERTURB_OK;
  if (c.oracle->grid->refuse_negative)
    return fail(PERTURB_ERROR_UNSUPPORTED, "oracle: shifted costs may fall below cost_floor; LPGD, I-MLE and SPO+ need a grid with options.negative CLAMP");
  if (c.operation == PERTURB_OP_SPO_PLUS && c.oracle->grid->diagonal_factor != 1.0f)
    return fail(PERTURB_ERROR_UNSUPPORTED, "oracle: SPO+ needs a grid with diagonal_factor 1, got %g", (double)c.oracle->grid->diagonal_factor);
  return PERTURB_OK;
}

perturb_status check_sizes(const call& c) {
  if (const perturb_status s = check_size("batch", c.batch, 0, index_limit)) return s;
  const bool fit = fits(c.batch, c.samples, c.n()) && fits(c.batch, c.samples, c.m()) && (c.operation != PERTURB_OP_JACOBIAN || fits(c.batch, c.m(), c.n()));
  if (!fit)
    return fail(PERTURB_ERROR_INVALID_ARGUMENT, "batch: %" PRId64 " rows of %" PRId64 " samples of %" PRId64 " items overflow", c.batch, c.samples, c.n());
  const int64_t largest = c.oracle->kind == oracle_kind::rank ? c.n() : 1;  // entry of y
  const bool products = c.operation == PERTURB_OP_JVP || (c.operation == PERTURB_OP_FENCHEL_YOUNG && c.multiplicative);
  if (products && largest > (INT64_C(1) << 36) / c.samples)
    return fail(PERTURB_ERROR_UNSUPPORTED, "noise.samples: ranks of %" PRId64 " items allow %" PRId64 " samples here, got %" PRId64, c.n(), (INT64_C(1) << 36) / largest, c.samples);
  if (c.operation == PERTURB_OP_JACOBIAN && largest > (INT64_C(1) << 35) / c.samples)
    return fail(PERTURB_ERROR_UNSUPPORTED, "noise.samples: ranks of %" PRId64 " items allow %" PRId64 " samples here, got %" PRId64, c.n(), (INT64_C(1) << 35) / largest, c.samples);
  return PERTURB_OK;
}

perturb_status check_arrays(const call& c, unsigned required) {
  const names name = names_of(c.operation);
  if (!c.theta) return fail(PERTURB_ERROR_INVALID_ARGUMENT, "theta: must not be NULL");
  if (name.operand && !c.operand) return fail(PERTURB_ERROR_INVALID_ARGUMENT, "%s: must not be NULL", name.operand);
  const int64_t operand_count = c.operation == PERTURB_OP_JVP ? c.batch * c.n() : c.batch * c.m();
  for (int o = 0; o < 4; ++o)
    if (required >> o & 1 && !c.output[o]) return fail(PERTURB_ERROR_INVALID_ARGUMENT, "%s: must not be NULL", name.outputs[o]);
  if (c.part != call_part::sums && c.operation == PERTURB_OP_FENCHEL_YOUNG && !c.output[0] && !c.output[1] && !c.output[2])
    return fail(PERTURB_ERROR_INVALID_ARGUMENT, "loss, gradient, epsilon_gradient: at least one must not be NULL");
  if (c.operation == PERTURB_OP_SPO_PLUS && !c.output[0] && !c.output[1])
    return fail(PERTURB_ERROR_INVALID_ARGUMENT, "loss, gradient: at least one must not be NULL");

  range inputs[3] = {{"theta", c.theta, c.batch * c.n()}};
  int input_count = 1;
  if (c.operand) inputs[input_count++] = {name.operand, c.operand, operand_count};
  if (c.epsilon_per_item) inputs[input_count++] = {"noise.epsilon_per_item", c.epsilon_per_item, c.n()};
  for (int i = 0; i < input_count; ++i)
    if ((uintptr_t)inputs[i].begin % 4) return fail(PERTURB_ERROR_INVALID_ARGUMENT, "%s: must be aligned to 4 bytes", inputs[i].name);
  for (int o = 0; o < 4; ++o) {
    if (!c.output[o]) continue;
    const range out = {name.outputs[o], c.output[o], output_count(c, o)};
    if ((uintptr_t)out.begin % 4) return fail(PERTURB_ERROR_INVALID_ARGUMENT, "%s: must be aligned to 4 bytes", out.name);
    for (int i = 0; i < input_count; ++i)
      if (overlap(out, inputs[i])) return fail(PERTURB_ERROR_INVALID_ARGUMENT, "%s: overlaps %s", out.name, inputs[i].name);
    for (int other = 0; other < o; ++other) {
      if (c.output[other] && overlap(out, {nullptr, c.output[other], output_count(c, other)}))
        return fail(PERTURB_ERROR_INVALID_ARGUMENT, "%s: overlaps %s", out.name, name.outputs[other]);
    }
  }
  if (c.operation == PERTURB_OP_EXPECTATION && c.output[1] && c.oracle->kind == oracle_kind::rank) {
    const double squares = (double)(c.n() + 1) * (double)(c.n() + 1) * (double)c.samples;
    if (squares > 0x1p62) return fail(PERTURB_ERROR_UNSUPPORTED, "y_std_error: %" PRId64 " ranks of %" PRId64 " samples are too many for it", c.n(), c.samples);
  }
  if (c.operation == PERTURB_OP_EXPECTATION && c.antithetic && (c.output[1] || c.output[3]))
    return fail(PERTURB_ERROR_UNSUPPORTED, "%s: antithetic samples depend on each other, and their spread is no standard error; expected NULL", name.outputs[c.output[1] ? 1 : 3]);
  for (const auto& [name_of_rows, rows, bytes] : {std::tuple{"status", (const void*)c.row_status, c.batch * 4}, {"clamped", (const void*)c.row_clamped, c.batch * 8}}) {
    if (!rows) continue;
    const range out = {name_of_rows, rows, bytes / 4};
    for (int i = 0; i < input_count; ++i)
      if (overlap(out, inputs[i])) return fail(PERTURB_ERROR_INVALID_ARGUMENT, "%s of rows: overlaps %s", out.name, inputs[i].name);
    for (int o = 0; o < 4; ++o)
      if (c.output[o] && overlap(out, {nullptr, c.output[o], output_count(c, o)})) return fail(PERTURB_ERROR_INVALID_ARGUMENT, "%s of rows: overlaps %s", out.name, name.outputs[o]);
  }
  return PERTURB_OK;
}

perturb_status check_contents(const call& c) {
  const names name = names_of(c.operation);
  if (const perturb_status s = check_theta(c)) return s;
  if (c.operand) {
    const int64_t operand_count = c.operation == PERTURB_OP_JVP ? c.batch * c.n() : c.batch * c.m();
    const int64_t width = operand_count / c.batch;
    const bool walls = c.operation == PERTURB_OP_SPO_PLUS && c.oracle->grid;  // another theta: they may hold anything
    for (int64_t i = first_non_finite(c.operand, operand_count); i < operand_count; i += 1 + first_non_finite(c.operand + i + 1, operand_count - i - 1)) {
      if (walls && !c.counts(i % width)) continue;
      return fail(PERTURB_ERROR_NON_FINITE, "%s[%" PRId64 ", %" PRId64 "]: expected a finite number, got %g", name.operand, i / width, i % width, (double)c.operand[i]);
    }
    if (resolves(c.operation)) return check_resolve(c);
    if (c.operation == PERTURB_OP_FENCHEL_YOUNG) {
      for (int64_t i = 0; i < operand_count; ++i)
        if (std::fabs(c.operand[i]) > 0x1p31f)
          return fail(PERTURB_ERROR_INVALID_ARGUMENT, "target[%" PRId64 ", %" PRId64 "]: expected at most 2^31 in magnitude, got %g", i / width, i % width, (double)c.operand[i]);
    }
  }
  return PERTURB_OK;
}

}  // namespace perturb
