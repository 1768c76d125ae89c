// extern "C": translate, call, catch. A call goes check -> plan -> backend; there is no logic here.
#include <algorithm>

#include "check.h"
#include "context.h"
#include "cpu/float_mode.h"
#include "error.h"
#include "execute.h"
#include "grid_ends.h"
#include "guard.h"
#include "nearest_neighbors.h"
#include "oracle.h"
#include "perturb/perturb.h"
#include "plan.h"
#include "row_status.h"

using namespace perturb;

namespace {

struct arrays {
  const float* theta;
  const float* operand;
  float* output[4];
  unsigned required;  // bit mask of the outputs that must be there
  const perturb_lpgd_options* options = nullptr;
  const perturb_cost_options* cost = nullptr;
};

perturb_status check_and_execute(perturb_operation operation, perturb_context* context, const perturb_oracle* oracle, const perturb_noise* noise, int64_t batch,
                                 const arrays& a) {
  return guarded([&]() -> perturb_status {
    if (const perturb_status s = not_null("context", context)) return s;
    if (const perturb_status s = not_null("oracle", oracle)) return s;
    call c;
    c.operation = operation;
    c.oracle = oracle;
    c.batch = batch;
    c.theta = a.theta;
    c.operand = a.operand;
    for (int o = 0; o < 4; ++o) c.output[o] = a.output[o];
    if (takes_noise(operation)) {
      if (const perturb_status s = check_noise(noise, batch, oracle->n, on_host(*context), c)) return s;
    }
    if (operation == PERTURB_OP_LPGD || operation == PERTURB_OP_IMLE) {
      if (const perturb_status s = check_lpgd_options(a.options, on_host(*context), c)) return s;
    }
    if (const perturb_status s = check_estimator(c)) return s;
    if (operation == PERTURB_OP_COST) {
      if (const perturb_status s = check_cost_options(a.cost, on_host(*context), c)) return s;
    }
    if (const perturb_status s = check_oracle(c, on_host(*context))) return s;
    if (const perturb_status s = check_sizes(c)) return s;
    if (batch == 0) return PERTURB_OK;
    c.row_status = context->row_status;
    c.row_clamped = context->row_clamped;
    if (const perturb_status s = check_arrays(c, a.required)) return s;
    return execute_rows(*context, c);
  });
}

perturb_status finish_oracle(std::unique_ptr<perturb_oracle> made, perturb_oracle** oracle) {
  *oracle = made.release();
  return PERTURB_OK;
}

constexpr int64_t sort_limit = 46340;  // n n is at most items_limit

perturb_status make_sort(int64_t n, int64_t k, bool descending, perturb_oracle** oracle) {
  auto made = std::make_unique<perturb_oracle>();
  made->kind = oracle_kind::sort;
  made->n = n;
  made->k = k;
  made->m = k * n;
  made->descending = descending;
  made->base = 0;
  return finish_oracle(std::move(made), oracle);
}

}  // namespace

// ================================================================ version, status

uint32_t perturb_version(void) { return PERTURB_VERSION; }

const char* perturb_status_name(perturb_status status) {
  switch (enum_number(status)) {
#define PERTURB_NAME(name) \
  case name: return #name
    PERTURB_NAME(PERTURB_OK);
    PERTURB_NAME(PERTURB_ERROR_INVALID_ARGUMENT);
    PERTURB_NAME(PERTURB_ERROR_INVALID_STRUCT);
    PERTURB_NAME(PERTURB_ERROR_NON_FINITE);
    PERTURB_NAME(PERTURB_ERROR_UNREACHABLE);
    PERTURB_NAME(PERTURB_ERROR_UNSUPPORTED);
    PERTURB_NAME(PERTURB_ERROR_BACKEND_UNAVAILABLE);
    PERTURB_NAME(PERTURB_ERROR_OUT_OF_MEMORY);
    PERTURB_NAME(PERTURB_ERROR_WORKSPACE_TOO_SMALL);
    PERTURB_NAME(PERTURB_ERROR_CUDA);
    PERTURB_NAME(PERTURB_ERROR_CALLBACK);
    PERTURB_NAME(PERTURB_ERROR_NOT_CONVERGED);
    PERTURB_NAME(PERTURB_ERROR_INTERNAL);
#undef PERTURB_NAME
  }
  return "PERTURB_STATUS_UNKNOWN";
}

const char* perturb_last_error(void) { return error_text(); }

// ================================================================ context

perturb_status perturb_context_create(const perturb_context_options* options, perturb_context** context) {
  return guarded([&]() -> perturb_status {
    if (const perturb_status s = not_null("context", context)) return s;
    *context = nullptr;
    const perturb_context_options defaults = PERTURB_CONTEXT_OPTIONS_INIT;
    if (!options) options = &defaults;
    if (const perturb_status s = check_context_options(options)) return s;
    return create_context(*options, context);
  });
}

void perturb_context_destroy(perturb_context* context) {
  if (context) destroy_context(context);
}

perturb_status perturb_context_set_stream(perturb_context* context, void* stream) {
  return guarded([&]() -> perturb_status {
    if (const perturb_status s = not_null("context", context)) return s;
    if (!on_host(*context)) {
      context->cuda.stream = stream;
      return PERTURB_OK;
    }
    if (stream) return fail(PERTURB_ERROR_INVALID_ARGUMENT, "stream: a CPU context has no stream; expected NULL, got %p", stream);
    return PERTURB_OK;
  });
}

perturb_status perturb_context_set_workspace(perturb_context* context, void* memory, size_t bytes) {
  return guarded([&]() -> perturb_status {
    if (const perturb_status s = not_null("context", context)) return s;
    if (!memory && bytes != 0) return fail(PERTURB_ERROR_INVALID_ARGUMENT, "memory: must not be NULL with %zu bytes; NULL, 0 takes it back", bytes);
    context->workspace = memory;
    context->workspace_bytes = bytes;
    return PERTURB_OK;
  });
}

perturb_status perturb_context_set_row_status(perturb_context* context, int32_t* status, int64_t* clamped) {
  return guarded([&]() -> perturb_status {
    if (const perturb_status s = not_null("context", context)) return s;
    if ((uintptr_t)status % 4) return fail(PERTURB_ERROR_INVALID_ARGUMENT, "status: must be aligned to 4 bytes");
    if ((uintptr_t)clamped % 8) return fail(PERTURB_ERROR_INVALID_ARGUMENT, "clamped: must be aligned to 8 bytes");
    context->row_status = status;
    context->row_clamped = clamped;
    return PERTURB_OK;
  });
}

perturb_backend perturb_context_backend(const perturb_context* context) { return context ? context->backend : PERTURB_BACKEND_AUTO; }

// ================================================================ oracles

perturb_status perturb_argmax_create(int64_t n, perturb_oracle** oracle) {
  return guarded([&]() -> perturb_status {
    if (const perturb_status s = not_null("oracle", oracle)) return s;
    *oracle = nullptr;
    if (const perturb_status s = check_size("n", n, 1, items_limit)) return s;
    auto made = std::make_unique<perturb_oracle>();
    made->kind = oracle_kind::argmax;
    made->n = made->m = n;
    return finish_oracle(std::move(made), oracle);
  });
}

perturb_status perturb_top_k_create(int64_t n, int64_t k, perturb_oracle** oracle) {
  return guarded([&]() -> perturb_status {
    if (const perturb_status s = not_null("oracle", oracle)) return s;
    *oracle = nullptr;
    if (const perturb_status s = check_size("n", n, 1, items_limit)) return s;
    if (const perturb_status s = check_size("k", k, 1, n)) return s;
    auto made = std::make_unique<perturb_oracle>();
    made->kind = oracle_kind::top_k;
    made->n = made->m = n;
    made->k = k;
    return finish_oracle(std::move(made), oracle);
  });
}

perturb_status perturb_top_k_rows_create(int64_t n, int64_t rows, const int64_t* k, perturb_oracle** oracle) {
  return guarded([&]() -> perturb_status {
    if (const perturb_status s = not_null("oracle", oracle)) return s;
    *oracle = nullptr;
    if (const perturb_status s = check_size("n", n, 1, items_limit)) return s;
    if (const perturb_status s = check_row_k(n, rows, k)) return s;
    auto made = std::make_unique<perturb_oracle>();
    made->kind = oracle_kind::top_k;
    made->n = made->m = n;
    made->row_k.assign(k, k + rows);
    made->k = *std::max_element(k, k + rows);
    return finish_oracle(std::move(made), oracle);
  });
}

perturb_status perturb_rank_create(int64_t n, const perturb_rank_options* options, perturb_oracle** oracle) {
  return guarded([&]() -> perturb_status {
    if (const perturb_status s = not_null("oracle", oracle)) return s;
    *oracle = nullptr;
    if (const perturb_status s = check_size("n", n, 1, items_limit)) return s;
    const perturb_rank_options defaults = PERTURB_RANK_OPTIONS_INIT;
    if (!options) options = &defaults;
    if (options->struct_size != sizeof *options)
      return fail(PERTURB_ERROR_INVALID_STRUCT, "options.struct_size: expected %zu, got %u; use the _INIT macro", sizeof *options, (unsigned)options->struct_size);
    if (const perturb_status s = check_size("options.descending", options->descending, 0, 1)) return s;
    if (const perturb_status s = check_size("options.base", options->base, 0, 1)) return s;
    auto made = std::make_unique<perturb_oracle>();
    made->kind = oracle_kind::rank;
    made->n = made->m = n;
    made->descending = options->descending != 0;
    made->base = options->base;
    return finish_oracle(std::move(made), oracle);
  });
}

perturb_status perturb_sort_create(int64_t n, int32_t descending, perturb_oracle** oracle) {
  return guarded([&]() -> perturb_status {
    if (const perturb_status s = not_null("oracle", oracle)) return s;
    *oracle = nullptr;
    if (const perturb_status s = check_size("n", n, 1, sort_limit)) return s;
    if (const perturb_status s = check_size("descending", descending, 0, 1)) return s;
    return make_sort(n, n, descending != 0, oracle);
  });
}

perturb_status perturb_ordered_top_k_create(int64_t n, int64_t k, perturb_oracle** oracle) {
  return guarded([&]() -> perturb_status {
    if (const perturb_status s = not_null("oracle", oracle)) return s;
    *oracle = nullptr;
    if (const perturb_status s = check_size("n", n, 1, items_limit)) return s;
    if (const perturb_status s = check_size("k", k, 1, n)) return s;
    if (k > items_limit / n)
      return fail(PERTURB_ERROR_INVALID_ARGUMENT, "k: y has k n entries, at most 2^31 - 1; of %lld items expected k at most %lld, got %lld", (long long)n,
                  (long long)(items_limit / n), (long long)k);
    return make_sort(n, k, true, oracle);
  });
}

perturb_status perturb_grid_path_create(const perturb_grid_path_options* options, perturb_oracle** oracle) {
  return guarded([&]() -> perturb_status {
    if (const perturb_status s = not_null("oracle", oracle)) return s;
    *oracle = nullptr;
    perturb_grid_path_options o;
    if (const perturb_status s = check_grid_options(options, o)) return s;
    auto g = std::make_unique<grid>();
    g->height = o.height;
    g->width = o.width;
    g->diagonal_factor = o.diagonal_factor;
    g->cost_floor = o.cost_floor;
    g->count_source = o.count_source != 0;
    g->refuse_negative = o.negative == PERTURB_NEGATIVE_ERROR;
    g->passable.assign(g->cells(), 1);
    if (o.passable)
      for (int64_t i = 0; i < g->cells(); ++i) g->passable[i] = o.passable[i] != 0;
    make_steps(*g, o.connectivity);
    if (const perturb_status s = read_grid_ends(o, *g)) return s;
    auto made = std::make_unique<perturb_oracle>();
    made->kind = oracle_kind::grid_path;
    made->n = made->m = g->cells();
    made->grid = std::move(g);
    return finish_oracle(std::move(made), oracle);
  });
}

perturb_status perturb_custom_create(const perturb_custom_options* options, perturb_oracle** oracle) {
  return guarded([&]() -> perturb_status {
    if (const perturb_status s = not_null("oracle", oracle)) return s;
    *oracle = nullptr;
    auto solver = std::make_unique<custom_solver>();
    if (const perturb_status s = check_custom_options(options, *solver)) return s;
    auto made = std::make_unique<perturb_oracle>();
    made->kind = custom_kind;
    made->n = options->n;
    made->m = options->m;
    made->minimize = options->sense == PERTURB_MINIMIZE;
    made->custom = std::move(solver);
    return finish_oracle(std::move(made), oracle);
  });
}

void perturb_oracle_destroy(perturb_oracle* oracle) { delete oracle; }
int64_t perturb_oracle_input_size(const perturb_oracle* oracle) { return oracle ? oracle->n : 0; }
int64_t perturb_oracle_output_size(const perturb_oracle* oracle) { return oracle ? oracle->m : 0; }

// ================================================================ noise

perturb_status perturb_workspace_size(const perturb_context* context, perturb_operation operation, const perturb_oracle* oracle, const perturb_noise* noise,
                                      int64_t batch, size_t* bytes) {
  return guarded([&]() -> perturb_status {
    if (const perturb_status s = not_null("context", context)) return s;
    if (const perturb_status s = check_operation(operation)) return s;
    if (const perturb_status s = not_null("oracle", oracle)) return s;
    if (const perturb_status s = not_null("bytes", bytes)) return s;
    call c;
    c.operation = operation_at_distances(operation);
    c.oracle = oracle;
    c.batch = batch;
    if (takes_noise(operation)) {
      if (const perturb_status s = check_noise(noise, batch, oracle->n, on_host(*context), c)) return s;
    }
    if (const perturb_status s = check_estimator(c)) return s;
    if (c.operation != operation) {
      if (const perturb_status s = check_neighbors_oracle(*oracle)) return s;
    }
    if (const perturb_status s = check_oracle(c, on_host(*context))) return s;
    if (const perturb_status s = check_sizes(c)) return s;
    if (const perturb_status s = workspace_bytes(*context, c, *bytes)) return s;
    *bytes += distance_bytes(operation, c);
    return PERTURB_OK;
  });
}

perturb_status perturb_noise_fill(perturb_context* context, const perturb_noise* noise, int64_t batch, int64_t n, float* z) {
  return guarded([&]() -> perturb_status {
    if (const perturb_status s = not_null("context", context)) return s;
    if (const perturb_status s = check_size("n", n, 1, items_limit)) return s;
    call c;
    c.operation = PERTURB_OP_SAMPLE;
    if (const perturb_status s = check_noise(noise, batch, n, on_host(*context), c)) return s;
    if (c.z) return fail(PERTURB_ERROR_UNSUPPORTED, "noise.distribution: GIVEN noise is the caller's array already");
    perturb_oracle items;
    items.kind = oracle_kind::argmax;
    items.n = items.m = n;
    c.oracle = &items;
    c.batch = batch;
    if (const perturb_status s = check_sizes(c)) return s;
    if (batch == 0) return PERTURB_OK;
    if (const perturb_status s = not_null("z", z)) return s;
    if ((uintptr_t)z % 4) return fail(PERTURB_ERROR_INVALID_ARGUMENT, "z: must be aligned to 4 bytes");
    if (!on_host(*context)) return cuda_noise_fill(context->cuda, c, z);
    const int64_t problems = batch * c.samples;
    const int threads = make_plan(*context->cpu, c, context->pool->size(), false).threads;
    context->pool->run(threads, [&](int thread) {
      const float_mode mode;
      const auto edge = [&](int t) { return problems / threads * t + (problems % threads) * t / threads; };
      context->cpu->noise_fill(c, n, edge(thread), edge(thread + 1), z + edge(thread) * n);
    });
    return PERTURB_OK;
  });
}

// ================================================================ the perturbed optimizer and its derivatives

perturb_status perturb_solve(perturb_context* context, const perturb_oracle* oracle, int64_t batch, const float* theta, float* y, float* value) {
  return check_and_execute(PERTURB_OP_SOLVE, context, oracle, nullptr, batch, {theta, nullptr, {y, value}, 1});
}

perturb_status perturb_sample(perturb_context* context, const perturb_oracle* oracle, const perturb_noise* noise, int64_t batch, const float* theta, float* y) {
  return check_and_execute(PERTURB_OP_SAMPLE, context, oracle, noise, batch, {theta, nullptr, {y}, 1});
}

perturb_status perturb_expectation(perturb_context* context, const perturb_oracle* oracle, const perturb_noise* noise, int64_t batch, const float* theta,
                                   float* y_mean, float* y_std_error, float* value, float* value_std_error) {
  return check_and_execute(PERTURB_OP_EXPECTATION, context, oracle, noise, batch, {theta, nullptr, {y_mean, y_std_error, value, value_std_error}, 1});
}

perturb_status perturb_vjp(perturb_context* context, const perturb_oracle* oracle, const perturb_noise* noise, int64_t batch, const float* theta,
                           const float* cotangent, float* gradient) {
  return check_and_execute(PERTURB_OP_VJP, context, oracle, noise, batch, {theta, cotangent, {gradient}, 1});
}

perturb_status perturb_jvp(perturb_context* context, const perturb_oracle* oracle, const perturb_noise* noise, int64_t batch, const float* theta,
                           const float* tangent, float* derivative) {
  return check_and_execute(PERTURB_OP_JVP, context, oracle, noise, batch, {theta, tangent, {derivative}, 1});
}

perturb_status perturb_jacobian(perturb_context* context, const perturb_oracle* oracle, const perturb_noise* noise, int64_t batch, const float* theta,
                                float* jacobian) {
  return check_and_execute(PERTURB_OP_JACOBIAN, context, oracle, noise, batch, {theta, nullptr, {jacobian}, 1});
}

perturb_status perturb_vjp_epsilon(perturb_context* context, const perturb_oracle* oracle, const perturb_noise* noise, int64_t batch, const float* theta,
                                   const float* cotangent, float* gradient_epsilon, float* gradient_per_item) {
  return check_and_execute(PERTURB_OP_VJP_EPSILON, context, oracle, noise, batch, {theta, cotangent, {gradient_epsilon, gradient_per_item}, 0});
}

perturb_status perturb_covariance(perturb_context* context, const perturb_oracle* oracle, const perturb_noise* noise, int64_t batch, const float* theta,
                                  float* covariance) {
  return check_and_execute(PERTURB_OP_COVARIANCE, context, oracle, noise, batch, {theta, nullptr, {covariance}, 1});
}

perturb_status perturb_fenchel_young(perturb_context* context, const perturb_oracle* oracle, const perturb_noise* noise, int64_t batch, const float* theta,
                                     const float* target, float* loss, float* gradient, float* epsilon_gradient) {
  return check_and_execute(PERTURB_OP_FENCHEL_YOUNG, context, oracle, noise, batch, {theta, target, {loss, gradient, epsilon_gradient}, 0});
}

// ================================================================ LPGD and its family

perturb_status perturb_lpgd(perturb_context* context, const perturb_oracle* oracle, const perturb_lpgd_options* options, int64_t batch, const float* theta,
                            const float* cotangent, float* gradient) {
  return check_and_execute(PERTURB_OP_LPGD, context, oracle, nullptr, batch, {theta, cotangent, {gradient}, 1, options});
}

perturb_status perturb_imle(perturb_context* context, const perturb_oracle* oracle, const perturb_noise* noise, const perturb_lpgd_options* options, int64_t batch,
                            const float* theta, const float* cotangent, float* gradient) {
  return check_and_execute(PERTURB_OP_IMLE, context, oracle, noise, batch, {theta, cotangent, {gradient}, 1, options});
}

perturb_status perturb_spo_plus(perturb_context* context, const perturb_oracle* oracle, int64_t batch, const float* theta, const float* theta_true, float* loss,
                                float* gradient) {
  return check_and_execute(PERTURB_OP_SPO_PLUS, context, oracle, nullptr, batch, {theta, theta_true, {loss, gradient}, 0});
}

// ================================================================ expected sorted values

perturb_status perturb_sorted_values(perturb_context* context, const perturb_oracle* oracle, const perturb_noise* noise, int64_t batch, const float* theta,
                                     float* values, float* std_error) {
  return check_and_execute(PERTURB_OP_SORTED_VALUES, context, oracle, noise, batch, {theta, nullptr, {values, std_error}, 1});
}

perturb_status perturb_sorted_values_vjp(perturb_context* context, const perturb_oracle* oracle, const perturb_noise* noise, int64_t batch, const float* theta,
                                         const float* cotangent, float* gradient) {
  return check_and_execute(PERTURB_OP_SORTED_VALUES_VJP, context, oracle, noise, batch, {theta, cotangent, {gradient}, 1});
}

// ================================================================ the expectation of a cost

perturb_status perturb_cost_expectation(perturb_context* context, const perturb_oracle* oracle, const perturb_noise* noise, const perturb_cost_options* options,
                                        int64_t batch, const float* theta, float* mean, float* std_error, float* gradient) {
  return check_and_execute(PERTURB_OP_COST, context, oracle, noise, batch, {theta, nullptr, {mean, std_error, gradient}, 1, nullptr, options});
}
