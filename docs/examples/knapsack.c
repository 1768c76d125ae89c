/* A solver of your own: which items go into a knapsack, and how that moves with their values. Dynamic programming finds the best subset;
 * perturb makes its expectation and gradients of it. cc knapsack.c $(pkg-config --cflags --libs perturb) */
#include <perturb/perturb.h>
#include <stdio.h>

enum { items = 6, room = 10 };

/* What the solver needs beside theta. It may not change while a call runs. */
typedef struct problem {
  int weight[items];
} problem;

/* perturb calls this with `count` arrays of values, [count, items], and takes the best subsets, [count, items] of 0 and 1. It uses
 * nothing but its arguments, so it may run on several threads at once. */
static int32_t solve_knapsack(int64_t count, const float* theta, float* y, void* stream, void* user) {
  const problem* p = user;
  (void)stream; /* of CUDA contexts */
  for (int64_t k = 0; k < count; ++k, theta += items, y += items) {
    double best[room + 1] = {0};
    char taken[items][room + 1] = {{0}};
    for (int i = 0; i < items; ++i)
      for (int left = room; left >= p->weight[i]; --left)
        if (best[left - p->weight[i]] + theta[i] > best[left]) {
          best[left] = best[left - p->weight[i]] + theta[i];
          taken[i][left] = 1;
        }
    for (int i = items - 1, left = room; i >= 0; --i) {
      y[i] = taken[i][left]; /* every entry of y is written */
      if (taken[i][left]) left -= p->weight[i];
    }
  }
  return 0; /* anything else stops the call */
}

static int failed(perturb_status status) {
  if (status != PERTURB_OK) fprintf(stderr, "%s: %s\n", perturb_status_name(status), perturb_last_error());
  return status != PERTURB_OK;
}

int main(void) {
  problem p = {{5, 4, 3, 2, 6, 1}};
  const float value[items] = {5.0f, 4.5f, 2.9f, 2.0f, 5.8f, 0.4f};
  const float wanted[items] = {1, 1, 0, 0, 0, 1}; /* a subset that fits, as training data would have it */
  float best[items], y_eps[items], loss, gradient[items];

  perturb_custom_options options = PERTURB_CUSTOM_OPTIONS_INIT;
  options.n = options.m = items;
  options.sense = PERTURB_MAXIMIZE;
  options.solve = solve_knapsack;
  options.user = &p;
  options.thread_safe = 1;
  perturb_context_options cpu = PERTURB_CONTEXT_OPTIONS_INIT;
  cpu.backend = PERTURB_BACKEND_CPU;
  perturb_noise noise = PERTURB_NOISE_INIT;
  noise.epsilon = 0.5f;
  noise.samples = 2000;

  perturb_context* context = NULL;
  perturb_oracle* oracle = NULL;
  int bad = failed(perturb_context_create(&cpu, &context)) || failed(perturb_custom_create(&options, &oracle)) ||
            failed(perturb_solve(context, oracle, 1, value, best, NULL)) ||
            failed(perturb_expectation(context, oracle, &noise, 1, value, y_eps, NULL, NULL, NULL)) ||
            failed(perturb_fenchel_young(context, oracle, &noise, 1, value, wanted, &loss, gradient, NULL));
  if (!bad) {
    printf("item  weight  value  best  P(taken)  d loss / d value\n");
    for (int i = 0; i < items; ++i)
      printf("%4d  %6d  %5.1f  %4.0f  %8.3f  %16.3f\n", i, p.weight[i], (double)value[i], (double)best[i], (double)y_eps[i],
             (double)gradient[i]);
    printf("loss of the wanted subset: %.3f\n", (double)loss);
  }
  perturb_oracle_destroy(oracle);
  perturb_context_destroy(context);
  return bad;
}
