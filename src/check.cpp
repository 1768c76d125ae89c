// Argument checks, in the order of the arguments: structs, sizes, pointers, overlaps. What arrays hold: check_contents.cpp.
#include "check.h"

#include <algorithm>
#include <cinttypes>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <utility>

#include "error.h"
#include "guard.h"
#include "math/sorted_values.h"
#include "math/sum_of_gamma.h"

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

}  // namespace

bool fits(int64_t a, int64_t b, int64_t c) {
  int64_t product = 0;
  return !__builtin_mul_overflow(a, b, &product) && !__builtin_mul_overflow(product, c, &product) && product <= INT64_MAX / 64;
}

namespace {

bool overlap(const array_argument& a, const array_argument& b) {
  if (!a.begin || !b.begin) return false;
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
    case PERTURB_OP_VJP_EPSILON: return {"cotangent", {"gradient_epsilon", "gradient_per_item", nullptr, nullptr}};
    case PERTURB_OP_COVARIANCE: return {nullptr, {"covariance", nullptr, nullptr, nullptr}};
    case PERTURB_OP_SORTED_VALUES: return {nullptr, {"values", "std_error", nullptr, nullptr}};
    case PERTURB_OP_SORTED_VALUES_VJP: return {"cotangent", {"gradient", nullptr, nullptr, nullptr}};
    case PERTURB_OP_COST: return {nullptr, {"mean", "std_error", "gradient", nullptr}};
    default: return {"target", {"loss", "gradient", "epsilon_gradient", nullptr}};
  }
}

}  // namespace

const char* operand_name(perturb_operation operation) { return names_of(operation).operand; }

int64_t operand_width(const call& c) {
  return c.operation == PERTURB_OP_JVP ? c.n() : c.operation == PERTURB_OP_SORTED_VALUES_VJP ? c.oracle->k : c.m();
}

int64_t output_count(const call& c, int index) {
  if (!names_of(c.operation).outputs[index]) return 0;
  const int64_t rows_m = c.batch * c.m(), rows_n = c.batch * c.n();
  switch (c.operation) {
    case PERTURB_OP_SOLVE: return index == 0 ? rows_m : c.batch;
    case PERTURB_OP_SAMPLE: return rows_m * c.samples;
    case PERTURB_OP_EXPECTATION: return index < 2 ? rows_m : c.batch;
    case PERTURB_OP_VJP:
    case PERTURB_OP_LPGD:
    case PERTURB_OP_IMLE:
    case PERTURB_OP_SORTED_VALUES_VJP: return rows_n;
    case PERTURB_OP_SORTED_VALUES: return c.batch * c.oracle->k;
    case PERTURB_OP_JVP: return rows_m;
    case PERTURB_OP_JACOBIAN: return rows_m * c.n();
    case PERTURB_OP_COVARIANCE: return rows_m * c.m();
    case PERTURB_OP_COST: return index == 2 ? rows_n : c.batch;
    default: return index == 1 ? rows_n : c.batch;
  }
}

namespace {

// What a sort cannot do: whatever needs <y, theta>.
perturb_status check_sort_call(const call& c) {
  const auto refuse = [&](const char* what) {
    return fail(PERTURB_ERROR_UNSUPPORTED,
                "%s needs <y, theta>, but a sort has y [%" PRId64 ", %" PRId64 "] by position and theta [%" PRId64 "]; perturb_rank_create has it", what, c.oracle->k,
                c.n(), c.n());
  };
  if (c.operation == PERTURB_OP_FENCHEL_YOUNG) return refuse("oracle: Fenchel-Young");
  if (resolves(c.operation)) return refuse("oracle: LPGD, I-MLE or SPO+");
  if (c.operation == PERTURB_OP_COVARIANCE)
    return fail(PERTURB_ERROR_UNSUPPORTED, "oracle: the covariance of a sort has (k n)^2 = %" PRId64 "^2 entries and is not offered; perturb_rank_create has one of n^2", c.m());
  if (c.operation == PERTURB_OP_SOLVE && c.output[1]) return refuse("value: it");
  if (c.operation == PERTURB_OP_EXPECTATION && c.output[2]) return refuse("value: it");
  if (c.operation == PERTURB_OP_EXPECTATION && c.output[3]) return refuse("value_std_error: it");
  return PERTURB_OK;
}

// What a custom oracle cannot do: calls on a backend that it has no solver for, and <y, theta> where m differs from n.
perturb_status check_custom_call(const call& c, bool on_host) {
  if (on_host && !c.oracle->custom->solve) return fail(PERTURB_ERROR_UNSUPPORTED, "oracle: it was made without options.solve, which calls on a CPU context need");
  if (!on_host && !c.oracle->custom->enqueue)
    return fail(PERTURB_ERROR_UNSUPPORTED, "oracle: it was made without options.enqueue, which calls on a CUDA context need");
  if (!on_host && (c.latin || c.noise == distribution::given || c.noise == distribution::sum_of_gamma))
    return fail(PERTURB_ERROR_UNSUPPORTED, "noise: solvers of the caller's have iid and antithetic samples of NORMAL to LAPLACE on CUDA contexts");
  if (!on_host && (c.operation == PERTURB_OP_VJP_EPSILON || c.operation == PERTURB_OP_COVARIANCE))
    return fail(PERTURB_ERROR_UNSUPPORTED, "oracle: covariances and derivatives in epsilon of solvers of the caller's are offered on CPU contexts, this context is on CUDA");
  if (c.m() == c.n()) return PERTURB_OK;
  const auto refuse = [&](const char* what) {
    return fail(PERTURB_ERROR_UNSUPPORTED, "%s needs <y, theta> and so an oracle with m = n, this one has n = %" PRId64 " and m = %" PRId64, what, c.n(), c.m());
  };
  if (c.operation == PERTURB_OP_FENCHEL_YOUNG) return refuse("oracle: Fenchel-Young");
  if (resolves(c.operation)) return refuse(c.operation == PERTURB_OP_LPGD ? "oracle: LPGD" : c.operation == PERTURB_OP_IMLE ? "oracle: I-MLE" : "oracle: SPO+");
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

perturb_status check_operation(const perturb_operation& operation) {
  const int number = enum_number(operation);
  return check_size("operation", number, PERTURB_OP_SOLVE, PERTURB_OP_COST);
}

namespace {

// A table or set of `count` cells: the array is there where there are entries, and only there.
perturb_status check_cells(const char* count_name, int64_t count, int64_t largest, const char* name, const int64_t* cells) {
  if (const perturb_status s = check_size(count_name, count, 0, largest)) return s;
  if (count > 0 && !cells) return fail(PERTURB_ERROR_INVALID_ARGUMENT, "%s: must not be NULL with %s %" PRId64, name, count_name, count);
  if (count == 0 && cells) return fail(PERTURB_ERROR_INVALID_ARGUMENT, "%s: expected at least 1 with %s, got 0", count_name, name);
  return PERTURB_OK;
}

}  // namespace

perturb_status check_grid_options(const perturb_grid_path_options* given, perturb_grid_path_options& options) {
  options = PERTURB_GRID_PATH_OPTIONS_INIT;
  if (!given) return fail(PERTURB_ERROR_INVALID_ARGUMENT, "options: must not be NULL");
  // The first headers ended before `rows`.
  if (given->struct_size != sizeof options && given->struct_size != offsetof(perturb_grid_path_options, rows))
    return fail(PERTURB_ERROR_INVALID_STRUCT, "options.struct_size: expected %zu, got %u; use the _INIT macro", sizeof options, (unsigned)given->struct_size);
  std::memcpy(&options, given, given->struct_size);
  if (const perturb_status s = check_size("options.height", options.height, 1, 4096)) return s;
  if (const perturb_status s = check_size("options.width", options.width, 1, 4096)) return s;
  const int connectivity = enum_number(options.connectivity), negative = enum_number(options.negative);
  if (connectivity != PERTURB_CONNECT_4 && connectivity != PERTURB_CONNECT_8 && connectivity != PERTURB_CONNECT_8_NO_CORNER_CUTTING)
    return invalid("%s: expected 4, 8 or 80 (8 without corner cutting), got %lld", "options.connectivity", connectivity);
  if (!(options.diagonal_factor >= 1.0f && options.diagonal_factor <= 2.0f))
    return fail(PERTURB_ERROR_INVALID_ARGUMENT, "options.diagonal_factor: expected 1 to 2, got %g", (double)options.diagonal_factor);
  if (const perturb_status s = check_size("options.count_source", options.count_source, 0, 1)) return s;
  if (negative != PERTURB_NEGATIVE_CLAMP && negative != PERTURB_NEGATIVE_ERROR)
    return invalid("%s: expected CLAMP (0) or ERROR (1), got %lld", "options.negative", negative);
  if (!(options.cost_floor > 0.0f && std::isfinite(options.cost_floor)))
    return fail(PERTURB_ERROR_INVALID_ARGUMENT, "options.cost_floor: expected a finite number > 0, got %g", (double)options.cost_floor);
  const int64_t cells = options.height * options.width;
  if (const perturb_status s = check_cells("options.rows", options.rows, index_limit, "options.row_sources", options.row_sources)) return s;
  if (const perturb_status s = check_cells("options.rows", options.rows, index_limit, "options.row_targets", options.row_targets)) return s;
  if (const perturb_status s = check_cells("options.source_count", options.source_count, cells, "options.sources", options.sources)) return s;
  if (const perturb_status s = check_cells("options.target_count", options.target_count, cells, "options.targets", options.targets)) return s;
  if (options.rows > 0 && (options.source_count > 0 || options.target_count > 0))
    return fail(PERTURB_ERROR_UNSUPPORTED, "options.rows: expected 0 with sets of sources or targets, got %" PRId64 "; sets that differ by row are not in this version",
                options.rows);
  return PERTURB_OK;
}

perturb_status check_row_k(int64_t n, int64_t rows, const int64_t* k) {
  if (const perturb_status s = check_size("rows", rows, 1, index_limit)) return s;
  if (!k) return fail(PERTURB_ERROR_INVALID_ARGUMENT, "k: must not be NULL");
  for (int64_t r = 0; r < rows; ++r)
    if (k[r] < 1 || k[r] > n) return fail(PERTURB_ERROR_INVALID_ARGUMENT, "k[%" PRId64 "]: expected 1 to %" PRId64 ", got %" PRId64, r, n, k[r]);
  return PERTURB_OK;
}

perturb_status check_custom_options(const perturb_custom_options* options, custom_solver& solver) {
  perturb_custom_options o = PERTURB_CUSTOM_OPTIONS_INIT;
  if (!options) return fail(PERTURB_ERROR_INVALID_ARGUMENT, "options: must not be NULL");
  // The first headers ended before `enqueue`.
  if (options->struct_size != sizeof o && options->struct_size != offsetof(perturb_custom_options, enqueue))
    return fail(PERTURB_ERROR_INVALID_STRUCT, "options.struct_size: expected %zu, got %u; use the _INIT macro", sizeof o, (unsigned)options->struct_size);
  std::memcpy(&o, options, options->struct_size);
  options = &o;
  if (const perturb_status s = check_size("options.n", options->n, 1, items_limit)) return s;
  if (const perturb_status s = check_size("options.m", options->m, 1, items_limit)) return s;
  const int sense = enum_number(options->sense);
  if (sense != PERTURB_MAXIMIZE && sense != PERTURB_MINIMIZE) return invalid("%s: expected MAXIMIZE (0) or MINIMIZE (1), got %lld", "options.sense", sense);
  if (!options->solve && !options->enqueue) return fail(PERTURB_ERROR_INVALID_ARGUMENT, "options.solve, options.enqueue: at least one must not be NULL");
  if (const perturb_status s = check_size("options.thread_safe", options->thread_safe, 0, 1)) return s;
  solver = {options->solve, options->enqueue, options->user, options->thread_safe != 0};
  return PERTURB_OK;
}

perturb_status check_cost_options(const perturb_cost_options* options, bool on_host, call& c) {
  if (const perturb_status s = check_struct("options", options)) return s;
  if (const perturb_status s = check_size("options.thread_safe", options->thread_safe, 0, 1)) return s;
  if (!options->cost && !options->enqueue) return fail(PERTURB_ERROR_INVALID_ARGUMENT, "options.cost, options.enqueue: at least one must not be NULL");
  if (on_host && !options->cost) return fail(PERTURB_ERROR_UNSUPPORTED, "options.cost: must not be NULL for a call on a CPU context");
  if (!on_host && !options->enqueue) return fail(PERTURB_ERROR_UNSUPPORTED, "options.enqueue: must not be NULL for a call on a CUDA context");
  c.cost = options;
  return PERTURB_OK;
}

namespace {

// Distribution and sampling against each other, and the fields that only some of them have.
perturb_status check_kind(const perturb_noise& noise, int kind, int mode, int sampling) {
  const bool gamma = kind == PERTURB_SUM_OF_GAMMA, given = kind == PERTURB_GIVEN;
  if (mode == PERTURB_MULTIPLICATIVE && kind != PERTURB_NORMAL)
    return fail(PERTURB_ERROR_UNSUPPORTED, "noise.mode: MULTIPLICATIVE needs NORMAL noise, got distribution %d", kind);
  if ((gamma || given) && sampling != PERTURB_SAMPLING_IID)
    return fail(PERTURB_ERROR_UNSUPPORTED, "noise.sampling: %s noise has IID (0) sampling only, got %d", gamma ? "SUM_OF_GAMMA" : "GIVEN", sampling);
  if (gamma) {
    if (const perturb_status s = check_size("noise.sum_of_gamma_k", noise.sum_of_gamma_k, 1, sum_of_gamma_largest_k)) return s;
    if (const perturb_status s = check_size("noise.sum_of_gamma_terms", noise.sum_of_gamma_terms, 1, sum_of_gamma_most_terms)) return s;
  } else if (noise.sum_of_gamma_k != 0 || noise.sum_of_gamma_terms != 0) {
    return fail(PERTURB_ERROR_INVALID_ARGUMENT, "noise.sum_of_gamma_k, sum_of_gamma_terms: expected 0 unless the distribution is SUM_OF_GAMMA");
  }
  if (given && !noise.z) return fail(PERTURB_ERROR_INVALID_ARGUMENT, "noise.z: must not be NULL with distribution GIVEN");
  for (const auto& [name, values] : {std::pair{"noise.z", noise.z}, std::pair{"noise.z_score", noise.z_score}}) {
    if (!given && values) return fail(PERTURB_ERROR_INVALID_ARGUMENT, "%s: expected NULL unless the distribution is GIVEN", name);
    if ((uintptr_t)values % 4) return fail(PERTURB_ERROR_INVALID_ARGUMENT, "%s: must be aligned to 4 bytes", name);
  }
  if (sampling == PERTURB_SAMPLING_ANTITHETIC) {
    if (noise.samples % 2 != 0) return invalid("%s: antithetic samples come in pairs; expected an even number, got %lld", "noise.samples", noise.samples);
    if (noise.first_sample % 2 != 0) return invalid("%s: antithetic samples come in pairs; expected an even number, got %lld", "noise.first_sample", noise.first_sample);
  }
  if (sampling == PERTURB_SAMPLING_LATIN && noise.first_sample != 0)
    return invalid("%s: LATIN strata are made of all samples of a call; expected 0, got %lld", "noise.first_sample", noise.first_sample);
  return PERTURB_OK;
}

// Factors of epsilon: [count], on the host.
perturb_status check_factors(const char* name, const float* factors, int64_t count, float epsilon) {
  for (int64_t i = 0; i < count; ++i) {
    const float e = factors[i];
    if (!(e >= 0.0f && std::isfinite(e) && std::isfinite(e * epsilon)))
      return fail(PERTURB_ERROR_INVALID_ARGUMENT, "%s[%" PRId64 "]: expected a finite number >= 0, got %g", name, i, (double)e);
  }
  return PERTURB_OK;
}

}  // namespace

perturb_status check_noise_struct(const perturb_noise* options, perturb_noise& noise) {
  if (const perturb_status s = not_null("noise", options)) return s;
  // The first headers ended before epsilon_per_row.
  if (options->struct_size != sizeof noise && options->struct_size != offsetof(perturb_noise, epsilon_per_row))
    return fail(PERTURB_ERROR_INVALID_STRUCT, "noise.struct_size: expected %zu, got %u; use the _INIT macro", sizeof noise, (unsigned)options->struct_size);
  const perturb_noise defaults = PERTURB_NOISE_INIT;
  noise = defaults;
  std::memcpy(&noise, options, options->struct_size);
  return PERTURB_OK;
}

perturb_status check_noise(const perturb_noise* options, int64_t batch, int64_t n, bool on_host, call& c) {
  perturb_noise noise;
  if (const perturb_status s = check_noise_struct(options, noise)) return s;
  const int kind = enum_number(noise.distribution), mode = enum_number(noise.mode);
  const int sampling = enum_number(noise.sampling), baseline = enum_number(noise.baseline);
  if (kind < PERTURB_NORMAL || kind > PERTURB_GIVEN) return invalid("%s: expected 0 to 5, got %lld", "noise.distribution", kind);
  if (mode < PERTURB_ADDITIVE || mode > PERTURB_MULTIPLICATIVE) return invalid("%s: expected 0 or 1, got %lld", "noise.mode", mode);
  if (!(noise.epsilon >= 0.0f && std::isfinite(noise.epsilon)))
    return fail(PERTURB_ERROR_INVALID_ARGUMENT, "noise.epsilon: expected a finite number >= 0, got %g", (double)noise.epsilon);
  if (const perturb_status s = check_size("noise.samples", noise.samples, 1, index_limit)) return s;
  if (const perturb_status s = check_size("noise.first_sample", noise.first_sample, 0, index_limit - noise.samples)) return s;
  if (const perturb_status s = check_size("batch", batch, 0, index_limit)) return s;
  if (const perturb_status s = check_size("noise.first_row", noise.first_row, 0, index_limit - batch)) return s;
  if (sampling < PERTURB_SAMPLING_IID || sampling > PERTURB_SAMPLING_LATIN) return invalid("%s: expected 0 to 2, got %lld", "noise.sampling", sampling);
  if (baseline < PERTURB_BASELINE_LEAVE_ONE_OUT || baseline > PERTURB_BASELINE_UNPERTURBED)
    return invalid("%s: expected 0 to 2, got %lld", "noise.baseline", baseline);
  if (const perturb_status s = check_kind(noise, kind, mode, sampling)) return s;
  const bool scores = c.operation == PERTURB_OP_VJP || c.operation == PERTURB_OP_JVP || c.operation == PERTURB_OP_JACOBIAN;
  if (scores && kind == PERTURB_SUM_OF_GAMMA)
    return fail(PERTURB_ERROR_UNSUPPORTED, "noise.distribution: SUM_OF_GAMMA has no score in closed form; VJP, JVP and Jacobian are not offered, I-MLE and Fenchel-Young are");
  if (scores && kind == PERTURB_GIVEN && !noise.z_score)
    return fail(PERTURB_ERROR_UNSUPPORTED, "noise.z_score: VJP, JVP and Jacobian need the score of GIVEN noise, got NULL");
  if (noise.epsilon_per_item && on_host)
    if (const perturb_status s = check_factors("noise.epsilon_per_item", noise.epsilon_per_item, n, noise.epsilon)) return s;
  if (noise.epsilon_per_row && on_host) {
    if (const perturb_status s = check_factors("noise.epsilon_per_row", noise.epsilon_per_row, batch, noise.epsilon)) return s;
    float largest = 0.0f;
    for (int64_t b = 0; b < batch; ++b) largest = std::max(largest, noise.epsilon * noise.epsilon_per_row[b]);
    if (noise.epsilon_per_item)
      if (const perturb_status s = check_factors("noise.epsilon_per_item times epsilon_per_row", noise.epsilon_per_item, n, largest)) return s;
  }
  c.noise = (distribution)kind;
  c.multiplicative = mode == PERTURB_MULTIPLICATIVE;
  c.antithetic = sampling == PERTURB_SAMPLING_ANTITHETIC;
  c.latin = sampling == PERTURB_SAMPLING_LATIN;
  // Not of samples that depend on each other: of antithetic ones the pair cancels a baseline (but not that of an even function of Z), Latin
  // ones sum S to nearly 0.
  const bool even = c.antithetic && c.operation == PERTURB_OP_VJP_EPSILON;
  c.baseline = baseline == PERTURB_BASELINE_UNPERTURBED || (baseline == PERTURB_BASELINE_LEAVE_ONE_OUT && even)                                                                        ? centring::unperturbed
               : baseline == PERTURB_BASELINE_LEAVE_ONE_OUT && noise.samples > 1 && sampling == PERTURB_SAMPLING_IID ? centring::leave_one_out
                                                                                                                  : centring::none;
  c.epsilon = noise.epsilon;
  c.epsilon_per_item = noise.epsilon_per_item;
  c.epsilon_per_row = noise.epsilon_per_row;
  if (kind == PERTURB_SUM_OF_GAMMA) c.gamma = make_sum_of_gamma(noise.sum_of_gamma_k, noise.sum_of_gamma_terms);
  c.z = noise.z;
  c.z_score = noise.z_score;
  c.samples = noise.samples;
  c.first_sample = noise.first_sample;
  c.first_row = noise.first_row;
  c.keys = make_philox_keys(noise.seed);
  return PERTURB_OK;
}

namespace {

// What needs a path's cost to be <y, theta> up to a constant.
perturb_status check_linear(const call& c, const char* name, const char* what) {
  const grid* g = c.oracle->grid.get();
  if (!g || g->linear()) return PERTURB_OK;
  if (g->diagonal_factor != 1.0f)
    return fail(PERTURB_ERROR_UNSUPPORTED, "%s: %s needs a grid with diagonal_factor 1, this one has %g", name, what, (double)g->diagonal_factor);
  return fail(PERTURB_ERROR_UNSUPPORTED, "%s: %s needs a grid with count_source 1 or one source, this one has %zu sources that are not counted", name, what,
              g->sources.size());
}

}  // namespace

perturb_status check_lpgd_options(const perturb_lpgd_options* options, bool on_host, call& c) {
  const perturb_lpgd_options defaults = PERTURB_LPGD_OPTIONS_INIT;
  perturb_lpgd_options o = defaults;
  if (!options) options = &defaults;
  // The first headers ended before `relative`, later ones with it.
  constexpr size_t with_relative = offsetof(perturb_lpgd_options, relative) + sizeof o.relative;
  if (options->struct_size != sizeof o && options->struct_size != with_relative && options->struct_size != offsetof(perturb_lpgd_options, relative))
    return fail(PERTURB_ERROR_INVALID_STRUCT, "options.struct_size: expected %zu, got %u; use the _INIT macro", sizeof o, (unsigned)options->struct_size);
  std::memcpy(&o, options, options->struct_size);
  if (!(o.tau > 0.0f && std::isfinite(o.tau))) return fail(PERTURB_ERROR_INVALID_ARGUMENT, "options.tau: expected a finite number > 0, got %g", (double)o.tau);
  if (!(o.rho >= 0.0f && std::isfinite(o.rho))) return fail(PERTURB_ERROR_INVALID_ARGUMENT, "options.rho: expected a finite number >= 0, got %g", (double)o.rho);
  if (const perturb_status s = check_size("options.side", enum_number(o.side), PERTURB_SIDE_LOWER, PERTURB_SIDE_AVERAGE)) return s;
  if (const perturb_status s = check_size("options.relative", o.relative, 0, 1)) return s;
  if (o.rho != 0.0f && c.operation == PERTURB_OP_IMLE)
    return fail(PERTURB_ERROR_UNSUPPORTED, "options.rho: I-MLE has one solution per sample and none to stay near; expected 0, got %g", (double)o.rho);
  if (o.rho != 0.0f && c.oracle->custom)
    return fail(PERTURB_ERROR_UNSUPPORTED, "options.rho: a solver of the caller's knows no prox term; expected 0, got %g", (double)o.rho);
  if (o.rho != 0.0f) {
    if (const perturb_status s = check_linear(c, "options.rho", "the prox term")) return s;
  }
  if ((uintptr_t)o.tau_scale % 4) return fail(PERTURB_ERROR_INVALID_ARGUMENT, "options.tau_scale: must be aligned to 4 bytes");
  if (o.tau_scale && on_host && !tau_scale_fits(*o.tau_scale))
    return fail(PERTURB_ERROR_INVALID_ARGUMENT, "options.tau_scale: expected a finite number >= 0, got %g", (double)*o.tau_scale);
  c.resolve = {o.tau, o.rho, o.side, o.relative != 0};
  c.tau_scale = o.tau_scale;
  return PERTURB_OK;
}

perturb_status check_estimator(const call& c) {
  if (c.operation == PERTURB_OP_VJP_EPSILON && c.multiplicative)
    return fail(PERTURB_ERROR_UNSUPPORTED, "noise.mode: derivatives in the amplitudes are offered for ADDITIVE noise, got MULTIPLICATIVE");
  const bool special = c.latin || c.noise == distribution::given || c.noise == distribution::sum_of_gamma;
  if (c.operation == PERTURB_OP_VJP_EPSILON && special)
    return fail(PERTURB_ERROR_UNSUPPORTED, "noise: derivatives in the amplitudes are offered for iid and antithetic samples of NORMAL to LAPLACE");
  if (c.operation == PERTURB_OP_COST && c.noise == distribution::sum_of_gamma && c.output[2])
    return fail(PERTURB_ERROR_UNSUPPORTED, "gradient: SUM_OF_GAMMA has no score in closed form; expected NULL");
  if (c.operation == PERTURB_OP_COST && (c.latin || c.noise == distribution::given))
    return fail(PERTURB_ERROR_UNSUPPORTED, "noise: costs are not offered with LATIN sampling or GIVEN noise");
  if (c.operation != PERTURB_OP_COVARIANCE) return PERTURB_OK;
  if (c.latin) return fail(PERTURB_ERROR_UNSUPPORTED, "noise.sampling: Latin samples depend on each other, and their spread is no covariance; expected IID");
  if (c.samples < 2) return fail(PERTURB_ERROR_INVALID_ARGUMENT, "noise.samples: a covariance needs at least 2, got %" PRId64, c.samples);
  if (c.antithetic) return fail(PERTURB_ERROR_UNSUPPORTED, "noise.sampling: antithetic samples depend on each other, and their spread is no covariance; expected IID");
  if (c.m() > covariance_limit)
    return fail(PERTURB_ERROR_UNSUPPORTED, "oracle: a covariance has m x m entries, for m up to %" PRId64 ", got %" PRId64, covariance_limit, c.m());
  return PERTURB_OK;
}

perturb_status check_oracle(const call& c, bool on_host) {
  if (sorts(c.operation) && c.oracle->kind != oracle_kind::sort)
    return fail(PERTURB_ERROR_UNSUPPORTED, "oracle: sorted values are of perturb_sort_create's and perturb_ordered_top_k_create's oracles");
  if (!c.oracle->has_value()) return check_sort_call(c);
  if (c.oracle->custom) return check_custom_call(c, on_host);
  if (!c.oracle->grid) return PERTURB_OK;
  if (c.operation == PERTURB_OP_FENCHEL_YOUNG) return check_linear(c, "oracle", "Fenchel-Young");
  if (!resolves(c.operation)) return PERTURB_OK;
  if (c.oracle->grid->refuse_negative)
    return fail(PERTURB_ERROR_UNSUPPORTED, "oracle: shifted costs may fall below cost_floor; LPGD, I-MLE and SPO+ need a grid with options.negative CLAMP");
  return c.operation == PERTURB_OP_SPO_PLUS ? check_linear(c, "oracle", "SPO+") : PERTURB_OK;
}

perturb_status check_sizes(const call& c) {
  if (const perturb_status s = check_size("batch", c.batch, 0, index_limit)) return s;
  const int64_t rows = c.oracle->table_rows();
  if (rows > 0 && c.batch > 0 && c.first_row + c.batch > rows)
    return fail(PERTURB_ERROR_INVALID_ARGUMENT, "batch: expected rows of the oracle's table, 0 to %" PRId64 ", got rows %" PRId64 " to %" PRId64, rows - 1, c.first_row,
                c.first_row + c.batch - 1);
  const bool fit = fits(c.batch, c.samples, c.n()) && (sorts(c.operation) || fits(c.batch, c.samples, c.m())) && (c.operation != PERTURB_OP_JACOBIAN || fits(c.batch, c.m(), c.n())) &&
                   (c.operation != PERTURB_OP_COVARIANCE || fits(c.batch, c.m(), c.m()));
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

perturb_status check_layout(std::span<const array_argument> inputs, std::span<const array_argument> outputs) {
  const auto misaligned = [](const array_argument& a) { return fail(PERTURB_ERROR_INVALID_ARGUMENT, "%s: must be aligned to 4 bytes", a.name); };
  for (const array_argument& in : inputs)
    if ((uintptr_t)in.begin % 4) return misaligned(in);
  for (size_t o = 0; o < outputs.size(); ++o) {
    const array_argument& out = outputs[o];
    if (!out.begin) continue;
    if ((uintptr_t)out.begin % 4) return misaligned(out);
    for (const array_argument& in : inputs)
      if (overlap(out, in)) return fail(PERTURB_ERROR_INVALID_ARGUMENT, "%s: overlaps %s", out.name, in.name);
    for (const array_argument& other : outputs.first(o))
      if (overlap(out, other)) return fail(PERTURB_ERROR_INVALID_ARGUMENT, "%s: overlaps %s", out.name, other.name);
  }
  return PERTURB_OK;
}

perturb_status check_arrays(const call& c, unsigned required) {
  const names name = names_of(c.operation);
  if (!c.theta) return fail(PERTURB_ERROR_INVALID_ARGUMENT, "theta: must not be NULL");
  if (name.operand && !c.operand) return fail(PERTURB_ERROR_INVALID_ARGUMENT, "%s: must not be NULL", name.operand);
  const int64_t operand_count = c.batch * operand_width(c);
  for (int o = 0; o < 4; ++o)
    if (required >> o & 1 && !c.output[o]) return fail(PERTURB_ERROR_INVALID_ARGUMENT, "%s: must not be NULL", name.outputs[o]);
  if (c.part != call_part::sums && c.operation == PERTURB_OP_FENCHEL_YOUNG && !c.output[0] && !c.output[1] && !c.output[2])
    return fail(PERTURB_ERROR_INVALID_ARGUMENT, "loss, gradient, epsilon_gradient: at least one must not be NULL");
  if (c.operation == PERTURB_OP_VJP_EPSILON && !c.output[0] && !c.output[1])
    return fail(PERTURB_ERROR_INVALID_ARGUMENT, "gradient_epsilon, gradient_per_item: at least one must not be NULL");
  if (c.operation == PERTURB_OP_SPO_PLUS && !c.output[0] && !c.output[1])
    return fail(PERTURB_ERROR_INVALID_ARGUMENT, "loss, gradient: at least one must not be NULL");

  const int64_t problems = c.batch * c.samples;
  array_argument inputs[7] = {{"theta", c.theta, c.batch * c.n()}, {name.operand, c.operand, operand_count}, {"noise.epsilon_per_item", c.epsilon_per_item, c.n()},
                              {"noise.epsilon_per_row", c.epsilon_per_row, c.batch}, {"noise.z", c.z, problems * c.n()}, {"noise.z_score", c.z_score, problems * c.n()},
                              {"options.tau_scale", c.tau_scale, 1}};
  array_argument outputs[6] = {{}, {}, {}, {}, {"status", c.row_status, c.batch}, {"clamped", c.row_clamped, 2 * c.batch}};
  for (int o = 0; o < 4; ++o) outputs[o] = {name.outputs[o], c.output[o], output_count(c, o)};
  if (const perturb_status s = check_layout(inputs, outputs)) return s;
  if (c.operation == PERTURB_OP_EXPECTATION && c.output[1] && c.oracle->kind == oracle_kind::rank) {
    const double squares = (double)(c.n() + 1) * (double)(c.n() + 1) * (double)c.samples;
    if (squares > 0x1p62) return fail(PERTURB_ERROR_UNSUPPORTED, "y_std_error: %" PRId64 " ranks of %" PRId64 " samples are too many for it", c.n(), c.samples);
  }
  if (c.antithetic || c.latin) {
    const char* kind = c.latin ? "Latin" : "antithetic";
    const auto refuse = [&](const char* output) { return fail(PERTURB_ERROR_UNSUPPORTED, "%s: %s samples depend on each other, and their spread is no standard error; expected NULL", output, kind); };
    if ((c.operation == PERTURB_OP_EXPECTATION || c.operation == PERTURB_OP_SORTED_VALUES) && (c.output[1] || c.output[3])) return refuse(name.outputs[c.output[1] ? 1 : 3]);
    if (c.operation == PERTURB_OP_COST && c.output[1]) return refuse("std_error");
  }
  return PERTURB_OK;
}

}  // namespace perturb
