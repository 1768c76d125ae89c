/* A perturbed argmax of three scores. With Gumbel noise y_eps is softmax(theta / epsilon): 0.090 0.245 0.665. */
#include <perturb/perturb.h>
#include <stdio.h>

int main(void) {
  const float theta[3] = {1.0f, 2.0f, 3.0f};
  float y_eps[3];
  perturb_context* context = NULL;
  perturb_oracle* oracle = NULL;
  perturb_context_options options = PERTURB_CONTEXT_OPTIONS_INIT;
  options.backend = PERTURB_BACKEND_CPU;
  perturb_noise noise = PERTURB_NOISE_INIT;
  noise.distribution = PERTURB_GUMBEL;
  noise.samples = 10000;

  perturb_status status = perturb_context_create(&options, &context);
  if (status == PERTURB_OK) status = perturb_argmax_create(3, &oracle);
  if (status == PERTURB_OK) status = perturb_expectation(context, oracle, &noise, 1, theta, y_eps, NULL, NULL, NULL);
  if (status == PERTURB_OK)
    printf("y_eps = %.3f %.3f %.3f\n", y_eps[0], y_eps[1], y_eps[2]);
  else
    fprintf(stderr, "%s: %s\n", perturb_status_name(status), perturb_last_error());
  perturb_oracle_destroy(oracle);
  perturb_context_destroy(context);
  return status == PERTURB_OK ? 0 : 1;
}
