// The example of example.c through perturb.hpp, and every other call of that header once: it must compile, link and agree.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <perturb/perturb.hpp>
#include <utility>

static int failures = 0;
static void expect(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "failed: %s\n", what);
  ++failures;
}

static float sum(const std::vector<float>& values) {
  float total = 0;
  for (float value : values) total += value;
  return total;
}

int main() try {
  perturb::context context(perturb::cpu());
  const perturb::oracle argmax = perturb::oracle::argmax(3);
  const std::vector<float> theta = {1, 2, 3};
  perturb::noise noise;
  noise.distribution = PERTURB_GUMBEL;
  noise.samples = 10000;
  const std::vector<float> y_eps = perturb::expectation(context, argmax, noise, theta);
  std::printf("y_eps = %.3f %.3f %.3f\n", double(y_eps[0]), double(y_eps[1]), double(y_eps[2]));

  expect(context.backend() == PERTURB_BACKEND_CPU, "backend");
  expect(argmax.input_size() == 3 && argmax.output_size() == 3, "sizes");
  expect(perturb::solve(context, argmax, theta) == std::vector<float>({0, 0, 1}), "solve");
  std::vector<float> y(3), value(1), std_error(3), value_std_error(1);
  perturb::solve(context, argmax, theta, y, value);
  expect(y[2] == 1 && value[0] == 3, "solve into spans");
  perturb::expectation(context, argmax, noise, theta, y, std_error, value, value_std_error);
  expect(y == y_eps && std_error[0] > 0 && value[0] > 3 && value_std_error[0] > 0, "expectation into spans");
  expect(perturb::vjp(context, argmax, noise, theta, y).size() == 3, "vjp");
  expect(perturb::jvp(context, argmax, noise, theta, theta).size() == 3, "jvp");
  expect(perturb::jacobian(context, argmax, noise, theta).size() == 9, "jacobian");
  const perturb::fenchel_young_result loss = perturb::fenchel_young(context, argmax, noise, theta, std::vector<float>{0, 0, 1});
  expect(loss.loss.size() == 1 && loss.loss[0] >= 0 && loss.gradient.size() == 3, "fenchel_young");
  expect(std::abs(sum(loss.gradient)) < 1e-5f, "the gradient of the loss sums to 0");

  const std::vector<float> cotangent{1, 0, -1};
  perturb_lpgd_options options = PERTURB_LPGD_OPTIONS_INIT;
  options.tau = 3;
  expect(perturb::lpgd(context, argmax, options, theta, cotangent).size() == 3, "lpgd");
  expect(std::abs(sum(perturb::imle(context, argmax, noise, options, theta, cotangent))) < 1e-5f, "imle: sums of y are constant");
  perturb_aimle_state state = PERTURB_AIMLE_STATE_INIT;
  options.tau_scale = &state.alpha;
  perturb::aimle_update(context, argmax, PERTURB_AIMLE_OPTIONS_INIT, perturb::imle(context, argmax, noise, options, theta, cotangent), &state);
  expect(state.rows == 1 && state.nonzeros == 3 && state.alpha < 1, "aimle_update: the step is larger than it needs to be");
  const std::vector<float> w = perturb::project(context, argmax, PERTURB_PROJECTION_MEAN, theta);
  expect(w == std::vector<float>({-1, 0, 1}), "project");
  expect(perturb::identity_vjp(context, argmax, PERTURB_PROJECTION_MEAN, theta, cotangent) == cotangent, "identity_vjp");
  const perturb::spo_plus_result spo = perturb::spo_plus(context, argmax, theta, theta);
  expect(spo.loss[0] == 0 && sum(spo.gradient) == 0, "spo_plus of the truth");

  // With Gumbel noise y_eps is a softmax: exactly, and by as many samples as an error needs.
  const std::vector<float> softmax = perturb::exact_expectation(context, argmax, noise, theta);
  expect(std::abs(softmax[2] - 0.66524096f) < 1e-6f, "exact_expectation");
  expect(std::abs(sum(perturb::exact_vjp(context, argmax, noise, theta, cotangent))) < 1e-6f, "exact_vjp: sums of y are constant");
  perturb_adaptive_options error_bound = PERTURB_ADAPTIVE_OPTIONS_INIT;
  error_bound.y_std_error = 0.002f;
  const perturb::adaptive_result adaptive = perturb::expectation_adaptive(context, argmax, noise, theta, error_bound, y);
  expect(adaptive.converged && adaptive.samples > noise.samples && std::abs(y[2] - softmax[2]) < 0.01f, "expectation_adaptive");
  expect(std::abs(perturb::covariance(context, argmax, noise, theta)[8] - softmax[2] * (1 - softmax[2])) < 0.02f, "covariance");
  expect(perturb::vjp_epsilon(context, argmax, noise, theta, std::vector<float>{0, 0, 1})[0] < 0, "vjp_epsilon: more noise, less of the best");
  const std::vector<float> points{0, 0, 1, 0, 0, 3}, query{0.1f, 0};
  const perturb::oracle one = perturb::oracle::top_k(3, 1);
  expect(perturb::nearest_neighbors(context, one, noise, 1, 2, query, points)[0] > 0.5f, "nearest_neighbors");
  std::vector<float> of_query(2), of_points(6);
  perturb::nearest_neighbors_vjp(context, one, noise, 1, 2, query, points, std::vector<float>{1, 0, 0}, of_query, of_points);
  expect(of_query[0] < 0 && of_points.size() == 6, "nearest_neighbors_vjp: away from the second point");
  const perturb::oracle sort = perturb::oracle::sort(3), largest = perturb::oracle::ordered_top_k(3, 2);
  expect(perturb::expectation(context, sort, noise, theta).size() == 9 && largest.output_size() == 6, "sort");
  const std::vector<float> sorted = perturb::sorted_values(context, perturb::oracle::sort(3, true), noise, theta);
  expect(sorted[0] > sorted[1] && sorted[1] > sorted[2], "sorted_values");
  expect(std::abs(sum(perturb::sorted_values_vjp(context, largest, noise, theta, std::vector<float>{1, -1}))) < 1e-5f, "sorted_values_vjp");

  perturb::accumulator total(context, PERTURB_OP_EXPECTATION, argmax, noise, 1), rest(context, PERTURB_OP_EXPECTATION, argmax, noise, 1);
  total.add(0, 300, theta);
  rest.add(300, noise.samples - 300, theta);
  total.load(rest.save());
  expect(total.samples() == noise.samples, "accumulator");
  std::vector<float> mean(3);
  float* const outputs[4] = {mean.data(), nullptr, nullptr, nullptr};
  total.result(theta, {}, outputs);
  expect(mean == perturb::expectation(context, argmax, noise, theta), "an accumulator has the bits of one call");

  noise.samples = 4;
  const std::vector<float> all = perturb::sample(context, argmax, noise, theta);
  expect(all.size() == 12 && sum(all) == 4, "sample");
  expect(perturb::noise_fill(context, noise, 2, 3).size() == 24, "noise_fill");
  std::vector<unsigned char> memory(perturb::workspace_size(context, PERTURB_OP_EXPECTATION, argmax, &noise, 1));
  context.set_workspace(memory.data(), memory.size());
  expect(sum(perturb::expectation(context, argmax, noise, theta)) == 1, "with a workspace");
  context.set_workspace(nullptr, 0);

  expect(sum(perturb::solve(context, perturb::oracle::top_k(3, 2), theta)) == 2, "top_k");
  const std::vector<int64_t> k{1, 3};
  expect(sum(perturb::solve(context, perturb::oracle::top_k_rows(3, k), std::vector<float>(6, 1))) == 4, "top_k_rows");
  expect(perturb::solve(context, perturb::oracle::rank(3), theta) == std::vector<float>({1, 2, 3}), "rank");
  perturb_grid_path_options grid = PERTURB_GRID_PATH_OPTIONS_INIT;
  grid.height = grid.width = 2;
  grid.target = 3;
  expect(perturb::solve(context, perturb::oracle::grid_path(grid), std::vector<float>(4, 1)) == std::vector<float>({1, 0, 0, 1}),
         "grid_path");

  // Solvers of our own: one problem at a time, and all that a call hands over.
  const perturb::oracle signs = perturb::oracle::custom(3, 2, PERTURB_MAXIMIZE, [](std::span<const float> in, std::span<float> out) {
    out[0] = in[0] > 0;
    out[1] = in[1] > in[2];
  });
  expect(signs.input_size() == 3 && signs.output_size() == 2, "sizes of a custom oracle");
  expect(perturb::solve(context, signs, theta) == std::vector<float>({1, 0}), "custom, one problem at a time");
  const perturb::oracle copies = perturb::oracle::custom(
      3, 3, PERTURB_MAXIMIZE,
      [](int64_t count, std::span<const float> in, std::span<float> out) {
        if (count < 1) throw std::runtime_error("no problem");
        std::copy(in.begin(), in.end(), out.begin());
      },
      true);
  expect(perturb::solve(context, copies, theta) == theta, "custom, all problems at once");
  const perturb::oracle stubborn =
      perturb::oracle::custom(3, 3, PERTURB_MINIMIZE, [](std::span<const float>, std::span<float>) { throw std::runtime_error("no way"); });
  try {
    perturb::solve(context, stubborn, theta);
    expect(false, "a solver that throws is an error");
  } catch (const perturb::error& error) {
    expect(error.status() == PERTURB_ERROR_CALLBACK && std::string(error.what()).find("no way") != std::string::npos, "its text is kept");
  }

  // The expectation of a cost of our own: 2 where the last item wins, so twice its chance.
  noise.samples = 10000;
  const auto last_wins = [](std::span<const float> y, int64_t) { return 2 * y[2]; };
  const perturb::cost_result cost = perturb::cost_expectation(context, argmax, noise, last_wins, theta);
  expect(std::abs(cost.mean[0] - 2 * y_eps[2]) < 1e-6f && cost.gradient.size() == 3, "cost_expectation");
  const perturb::oracle elsewhere = perturb::oracle::custom_cuda(
      3, 3, PERTURB_MAXIMIZE, [](int64_t, const float*, float*, void*) { throw std::runtime_error("never called here"); });
  try {
    perturb::solve(context, elsewhere, theta);
    expect(false, "a solver for device memory on a CPU context is an error");
  } catch (const perturb::error& error) {
    expect(error.status() == PERTURB_ERROR_UNSUPPORTED, "its status");
  }

  perturb::context moved = std::move(context);
  expect(context.get() == nullptr && moved.get() != nullptr, "move");
  try {
    perturb::oracle::top_k(2, 3);
    expect(false, "k > n throws");
  } catch (const perturb::error& error) {
    expect(error.status() == PERTURB_ERROR_INVALID_ARGUMENT && error.what()[0] != 0, "status and text of an error");
  }
  try {
    perturb::solve(moved, argmax, std::vector<float>(4));
    expect(false, "a size that is no multiple of n throws");
  } catch (const perturb::error& error) {
    expect(error.status() == PERTURB_ERROR_INVALID_ARGUMENT, "status of a size error");
  }
  return failures == 0 ? 0 : 1;
} catch (const perturb::error& error) {
  std::fprintf(stderr, "%s: %s\n", perturb_status_name(error.status()), error.what());
  return 1;
}
