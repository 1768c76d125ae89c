/* Every function of the C API from C11: the header compiles pedantically and twice, the INIT macros initialise, each call does what its
 * name says on one small problem. Depth is elsewhere; this file is also the shortest example of each call. */
#include <math.h>
#include <perturb/perturb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static long checks = 0;
static int failures = 0;

static void expect(int fine, const char* what, int line) {
  ++checks;
  if (fine) return;
  ++failures;
  printf("test_api.c:%d: failed: %s; last error: \"%s\"\n", line, what, perturb_last_error());
}
#define EXPECT(condition) expect((condition) ? 1 : 0, #condition, __LINE__)
#define EXPECT_OK(call) EXPECT((call) == PERTURB_OK && perturb_last_error()[0] == '\0')
#define EXPECT_STATUS(status, call) EXPECT((call) == (status) && perturb_last_error()[0] != '\0')

static void version_and_status(void) {
  EXPECT(perturb_version() == PERTURB_VERSION);
  EXPECT(strcmp(perturb_status_name(PERTURB_OK), "PERTURB_OK") == 0);
  EXPECT(strcmp(perturb_status_name(PERTURB_ERROR_INVALID_ARGUMENT), "PERTURB_ERROR_INVALID_ARGUMENT") == 0);
  EXPECT(strcmp(perturb_status_name(PERTURB_ERROR_INVALID_STRUCT), "PERTURB_ERROR_INVALID_STRUCT") == 0);
  EXPECT(strcmp(perturb_status_name(PERTURB_ERROR_NON_FINITE), "PERTURB_ERROR_NON_FINITE") == 0);
  EXPECT(strcmp(perturb_status_name(PERTURB_ERROR_UNREACHABLE), "PERTURB_ERROR_UNREACHABLE") == 0);
  EXPECT(strcmp(perturb_status_name(PERTURB_ERROR_UNSUPPORTED), "PERTURB_ERROR_UNSUPPORTED") == 0);
  EXPECT(strcmp(perturb_status_name(PERTURB_ERROR_BACKEND_UNAVAILABLE), "PERTURB_ERROR_BACKEND_UNAVAILABLE") == 0);
  EXPECT(strcmp(perturb_status_name(PERTURB_ERROR_OUT_OF_MEMORY), "PERTURB_ERROR_OUT_OF_MEMORY") == 0);
  EXPECT(strcmp(perturb_status_name(PERTURB_ERROR_WORKSPACE_TOO_SMALL), "PERTURB_ERROR_WORKSPACE_TOO_SMALL") == 0);
  EXPECT(strcmp(perturb_status_name(PERTURB_ERROR_CUDA), "PERTURB_ERROR_CUDA") == 0);
  EXPECT(strcmp(perturb_status_name(PERTURB_ERROR_CALLBACK), "PERTURB_ERROR_CALLBACK") == 0);
  EXPECT(strcmp(perturb_status_name(PERTURB_ERROR_NOT_CONVERGED), "PERTURB_ERROR_NOT_CONVERGED") == 0);
  EXPECT(strcmp(perturb_status_name(PERTURB_ERROR_INTERNAL), "PERTURB_ERROR_INTERNAL") == 0);
  EXPECT(strcmp(perturb_status_name((perturb_status)12345), "PERTURB_STATUS_UNKNOWN") == 0);
}

static void init_macros(void) {
  const perturb_context_options context = PERTURB_CONTEXT_OPTIONS_INIT;
  const perturb_rank_options rank = PERTURB_RANK_OPTIONS_INIT;
  const perturb_grid_path_options grid = PERTURB_GRID_PATH_OPTIONS_INIT;
  const perturb_custom_options custom = PERTURB_CUSTOM_OPTIONS_INIT;
  const perturb_noise noise = PERTURB_NOISE_INIT;
  const perturb_lpgd_options lpgd = PERTURB_LPGD_OPTIONS_INIT;
  const perturb_cost_options cost = PERTURB_COST_OPTIONS_INIT;
  EXPECT(cost.struct_size == sizeof cost && cost.cost == NULL && cost.enqueue == NULL && cost.user == NULL && cost.thread_safe == 0);
  EXPECT(custom.enqueue == NULL);
  EXPECT(context.struct_size == sizeof context && context.backend == PERTURB_BACKEND_AUTO && context.device == -1 && context.threads == 0);
  EXPECT(context.stream == NULL && context.host_allocator.allocate == NULL && context.device_allocator.deallocate == NULL);
  EXPECT(rank.struct_size == sizeof rank && rank.descending == 0 && rank.base == 1);
  EXPECT(grid.struct_size == sizeof grid && grid.height == 0 && grid.width == 0 && grid.connectivity == PERTURB_CONNECT_8);
  EXPECT(grid.diagonal_factor == 1.0f && grid.count_source == 1 && grid.passable == NULL && grid.source == 0 && grid.target == 0);
  EXPECT(grid.negative == PERTURB_NEGATIVE_CLAMP && grid.cost_floor == 1e-6f);
  EXPECT(custom.struct_size == sizeof custom && custom.solve == NULL && custom.sense == PERTURB_MAXIMIZE && custom.thread_safe == 0);
  EXPECT(noise.struct_size == sizeof noise && noise.distribution == PERTURB_NORMAL && noise.mode == PERTURB_ADDITIVE);
  EXPECT(noise.epsilon == 1.0f && noise.epsilon_per_item == NULL && noise.samples == 1000 && noise.seed == 0);
  EXPECT(noise.first_sample == 0 && noise.first_row == 0 && noise.sampling == PERTURB_SAMPLING_IID);
  EXPECT(noise.baseline == PERTURB_BASELINE_LEAVE_ONE_OUT && noise.sum_of_gamma_k == 0 && noise.sum_of_gamma_terms == 0);
  EXPECT(lpgd.struct_size == sizeof lpgd && lpgd.tau == 1.0f && lpgd.rho == 0.0f && lpgd.side == PERTURB_SIDE_LOWER);
}

/* y = (theta_1, theta_0), counting its problems. */
static int32_t swap_solver(int64_t count, const float* theta, float* y, void* stream, void* user) {
  (void)stream;
  *(int64_t*)user += count;
  for (int64_t k = 0; k < count; ++k) {
    y[2 * k] = theta[2 * k + 1];
    y[2 * k + 1] = theta[2 * k];
  }
  return 0;
}

static void contexts(void) {
  perturb_context* context = NULL;
  EXPECT_OK(perturb_context_create(NULL, &context));
  EXPECT(context != NULL);
  EXPECT(perturb_context_backend(context) == PERTURB_BACKEND_CPU || perturb_context_backend(context) == PERTURB_BACKEND_CUDA);
  perturb_context_destroy(context);
  EXPECT(perturb_context_backend(NULL) == PERTURB_BACKEND_AUTO);
  perturb_context_destroy(NULL);

  perturb_context_options options = PERTURB_CONTEXT_OPTIONS_INIT;
  options.backend = PERTURB_BACKEND_CPU;
  options.threads = 2;
  EXPECT_OK(perturb_context_create(&options, &context));
  EXPECT(perturb_context_backend(context) == PERTURB_BACKEND_CPU);
  EXPECT_OK(perturb_context_set_stream(context, NULL));
  char memory[1 << 16];
  EXPECT_OK(perturb_context_set_workspace(context, memory, sizeof memory));
  EXPECT_OK(perturb_context_set_workspace(context, NULL, 0));
  EXPECT_STATUS(PERTURB_ERROR_INVALID_ARGUMENT, perturb_context_create(&options, NULL));
  perturb_context_destroy(context);
}

static void oracles(void) {
  perturb_oracle* oracle = NULL;
  EXPECT_OK(perturb_argmax_create(3, &oracle));
  EXPECT(perturb_oracle_input_size(oracle) == 3 && perturb_oracle_output_size(oracle) == 3);
  perturb_oracle_destroy(oracle);
  EXPECT_OK(perturb_top_k_create(5, 2, &oracle));
  perturb_oracle_destroy(oracle);
  const int64_t k[] = {1, 5, 2};
  EXPECT_OK(perturb_top_k_rows_create(5, 3, k, &oracle));
  perturb_oracle_destroy(oracle);
  EXPECT_OK(perturb_rank_create(4, NULL, &oracle));
  perturb_oracle_destroy(oracle);
  const perturb_rank_options rank = PERTURB_RANK_OPTIONS_INIT;
  EXPECT_OK(perturb_rank_create(4, &rank, &oracle));
  perturb_oracle_destroy(oracle);
  perturb_oracle_destroy(NULL);
  oracle = NULL;
  perturb_custom_options custom = PERTURB_CUSTOM_OPTIONS_INIT;
  EXPECT_STATUS(PERTURB_ERROR_INVALID_ARGUMENT, perturb_custom_create(&custom, &oracle));
  EXPECT(oracle == NULL);
  int64_t problems = 0;
  custom.n = custom.m = 2;
  custom.solve = swap_solver;
  custom.user = &problems;
  EXPECT_OK(perturb_custom_create(&custom, &oracle));
  EXPECT(perturb_oracle_input_size(oracle) == 2 && perturb_oracle_output_size(oracle) == 2);
  perturb_context_options options = PERTURB_CONTEXT_OPTIONS_INIT;
  options.backend = PERTURB_BACKEND_CPU;
  perturb_context* context = NULL;
  EXPECT_OK(perturb_context_create(&options, &context));
  const float theta[6] = {1, 2, 3, 4, 5, 6};
  float y[6], value[3];
  EXPECT_OK(perturb_solve(context, oracle, 3, theta, y, value));
  EXPECT(problems == 3 && y[0] == 2 && y[1] == 1 && y[5] == 5 && value[0] == 4 && value[2] == 60);
  perturb_context_destroy(context);
  perturb_oracle_destroy(oracle);
  EXPECT(perturb_oracle_input_size(NULL) == 0 && perturb_oracle_output_size(NULL) == 0);
}

static int32_t first_entry(int64_t count, const float* y, const int64_t* row, float* cost, void* stream, void* user) {
  const int64_t m = *(const int64_t*)user;
  (void)row, (void)stream;
  for (int64_t k = 0; k < count; ++k) cost[k] = y[k * m];
  return 0;
}

static void calls(void) {
  perturb_context_options options = PERTURB_CONTEXT_OPTIONS_INIT;
  options.backend = PERTURB_BACKEND_CPU;
  perturb_context* context = NULL;
  perturb_oracle* oracle = NULL;
  EXPECT_OK(perturb_context_create(&options, &context));
  EXPECT_OK(perturb_argmax_create(3, &oracle));
  perturb_noise noise = PERTURB_NOISE_INIT;
  noise.distribution = PERTURB_GUMBEL;
  noise.samples = 100000;
  const float theta[3] = {0.5f, 1.5f, -0.5f}, target[3] = {0, 1, 0}, g[3] = {1, 0, 0};
  float y[3], value, y_mean[3], y_error[3], value_error, gradient[3], derivative[3], jacobian[9], loss, epsilon_gradient, z[6], sampled[6];

  EXPECT_OK(perturb_solve(context, oracle, 1, theta, y, &value));
  EXPECT(y[0] == 0 && y[1] == 1 && y[2] == 0 && value == 1.5f);

  EXPECT_OK(perturb_expectation(context, oracle, &noise, 1, theta, y_mean, y_error, &value, &value_error));
  const double total = exp(0.5) + exp(1.5) + exp(-0.5);
  for (int i = 0; i < 3; ++i) EXPECT(fabs(y_mean[i] - exp((double)theta[i]) / total) <= 5 * (double)y_error[i]);
  EXPECT(fabs(value - (log(total) + 0.5772156649)) <= 5 * (double)value_error);

  EXPECT_OK(perturb_vjp(context, oracle, &noise, 1, theta, g, gradient));
  EXPECT_OK(perturb_jvp(context, oracle, &noise, 1, theta, g, derivative));
  EXPECT_OK(perturb_jacobian(context, oracle, &noise, 1, theta, jacobian));
  for (int i = 0; i < 3; ++i) EXPECT(fabsf(gradient[i] - jacobian[i]) < 1e-4f && fabsf(derivative[i] - jacobian[3 * i]) < 1e-4f);
  const double p = (double)y_mean[0];
  EXPECT(fabs(jacobian[0] - p * (1 - p)) < 0.02);

  EXPECT_OK(perturb_fenchel_young(context, oracle, &noise, 1, theta, target, &loss, gradient, &epsilon_gradient));
  EXPECT(loss >= 0 && fabsf(gradient[1] - (y_mean[1] - 1)) < 1e-6f && epsilon_gradient > 0);
  EXPECT_STATUS(PERTURB_ERROR_INVALID_ARGUMENT, perturb_fenchel_young(context, oracle, &noise, 1, theta, target, NULL, NULL, NULL));

  noise.samples = 2;
  EXPECT_OK(perturb_noise_fill(context, &noise, 1, 3, z));
  EXPECT_OK(perturb_sample(context, oracle, &noise, 1, theta, sampled));
  for (int m = 0; m < 2; ++m) {
    int best = 0;
    for (int i = 1; i < 3; ++i)
      if (theta[i] + z[3 * m + i] > theta[best] + z[3 * m + best]) best = i;
    EXPECT(sampled[3 * m + best] == 1);
  }

  size_t bytes = 0;
  EXPECT_OK(perturb_workspace_size(context, PERTURB_OP_EXPECTATION, oracle, &noise, 1, &bytes));
  void* memory = malloc(bytes + 1);
  EXPECT(memory != NULL);
  EXPECT_OK(perturb_context_set_workspace(context, memory, bytes + 1));
  EXPECT_OK(perturb_expectation(context, oracle, &noise, 1, theta, y_mean, NULL, NULL, NULL));
  EXPECT_OK(perturb_context_set_workspace(context, NULL, 0));
  free(memory);

  perturb_lpgd_options lpgd = PERTURB_LPGD_OPTIONS_INIT;
  EXPECT_OK(perturb_lpgd(context, oracle, &lpgd, 1, theta, g, gradient));
  EXPECT_OK(perturb_imle(context, oracle, &noise, &lpgd, 1, theta, g, gradient));
  EXPECT_OK(perturb_spo_plus(context, oracle, 1, theta, target, &loss, gradient));
  perturb_aimle_state state = PERTURB_AIMLE_STATE_INIT;
  perturb_aimle_options aimle = PERTURB_AIMLE_OPTIONS_INIT;
  lpgd.tau_scale = &state.alpha;
  EXPECT_OK(perturb_imle(context, oracle, &noise, &lpgd, 1, theta, g, gradient));
  EXPECT_OK(perturb_aimle_update(context, &aimle, 1, 3, gradient, &state));
  EXPECT(state.rows == 1 && state.alpha != 1);
  EXPECT_OK(perturb_project(context, oracle, PERTURB_PROJECTION_STD, 1, theta, gradient));
  EXPECT(fabsf(gradient[0] + gradient[1] + gradient[2]) < 1e-6f);
  EXPECT_OK(perturb_identity_vjp(context, oracle, PERTURB_PROJECTION_NONE, 1, theta, g, gradient));
  EXPECT(gradient[0] == g[0] && gradient[1] == g[1] && gradient[2] == g[2]);
  perturb_cost_options cost_options = PERTURB_COST_OPTIONS_INIT;
  cost_options.cost = first_entry;
  int64_t size = 3;
  cost_options.user = &size;
  float mean = -1;
  EXPECT_OK(perturb_cost_expectation(context, oracle, &noise, &cost_options, 1, theta, &mean, &loss, gradient));
  EXPECT(fabsf(mean - y_mean[0]) < 1e-6f);
  perturb_oracle_destroy(oracle);

  const float scores[3] = {2, 3, 1};
  float matrix[9], sorted[3], sorted_error[3];
  EXPECT_OK(perturb_sort_create(3, 1, &oracle));
  EXPECT_OK(perturb_solve(context, oracle, 1, scores, matrix, NULL));
  EXPECT(matrix[1] == 1 && matrix[3] == 1 && matrix[8] == 1);
  EXPECT_OK(perturb_sorted_values(context, oracle, &noise, 1, scores, sorted, sorted_error));
  EXPECT(sorted[0] >= sorted[1] && sorted[1] >= sorted[2]);
  EXPECT_OK(perturb_sorted_values_vjp(context, oracle, &noise, 1, scores, sorted, gradient));
  perturb_oracle_destroy(oracle);
  EXPECT_OK(perturb_ordered_top_k_create(3, 1, &oracle));
  EXPECT(perturb_oracle_output_size(oracle) == 3);
  perturb_oracle_destroy(oracle);

  perturb_grid_path_options grid = PERTURB_GRID_PATH_OPTIONS_INIT;
  grid.height = 2;
  grid.width = 3;
  grid.target = 5;
  grid.connectivity = PERTURB_CONNECT_4;
  EXPECT_OK(perturb_grid_path_create(&grid, &oracle));
  const float cost[6] = {1, 5, 1, 1, 1, 1};
  float path[6];
  EXPECT_OK(perturb_solve(context, oracle, 1, cost, path, &value));
  EXPECT(path[0] == 1 && path[3] == 1 && path[4] == 1 && path[5] == 1 && path[1] == 0 && path[2] == 0 && fabsf(value - 4) < 1e-4f);
  perturb_oracle_destroy(oracle);
  perturb_context_destroy(context);
}

int main(void) {
  version_and_status();
  init_macros();
  contexts();
  oracles();
  calls();
  printf("checks: %ld\n", checks);
  return failures != 0;
}
