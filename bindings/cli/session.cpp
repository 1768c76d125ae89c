// The library's calls on host arrays, wherever they run.
#include "session.h"

#include "device_array.h"

namespace perturb::cli {

namespace {
bool on_cuda(const context_handle& context) { return perturb_context_backend(context.get()) == PERTURB_BACKEND_CUDA; }
}  // namespace

session::session(const std::string& device, int threads) : context_(make_context(device, threads)) {}

const char* session::device() const { return on_cuda(context_) ? "cuda" : "cpu"; }

void session::solve(const perturb_oracle* oracle, int64_t rows, const float* theta, float* y, float* value) {
  if (!on_cuda(context_)) return check(perturb_solve(context_.get(), oracle, rows, theta, y, value));
  const int64_t n = rows * perturb_oracle_input_size(oracle), m = rows * perturb_oracle_output_size(oracle);
  const device_array device_theta(theta, n);
  device_array device_y(y, m), device_value(value, rows);
  check(perturb_solve(context_.get(), oracle, rows, device_theta.data(), device_y.data(), device_value.data()));
  device_y.download(y);
  device_value.download(value);
}

void session::expectation(const perturb_oracle* oracle, const perturb_noise& noise, int64_t rows, const float* theta, float* y,
                          float* y_std_error, float* value, float* value_std_error) {
  if (!on_cuda(context_))
    return check(perturb_expectation(context_.get(), oracle, &noise, rows, theta, y, y_std_error, value, value_std_error));
  const int64_t n = rows * perturb_oracle_input_size(oracle), m = rows * perturb_oracle_output_size(oracle);
  const device_array device_theta(theta, n);
  device_array device_y(y, m), device_y_error(y_std_error, m), device_value(value, rows), device_value_error(value_std_error, rows);
  check(perturb_expectation(context_.get(), oracle, &noise, rows, device_theta.data(), device_y.data(), device_y_error.data(),
                            device_value.data(), device_value_error.data()));
  device_y.download(y);
  device_y_error.download(y_std_error);
  device_value.download(value);
  device_value_error.download(value_std_error);
}

void session::sorted_values(const perturb_oracle* oracle, const perturb_noise& noise, int64_t rows, const float* theta, float* values,
                            float* std_error) {
  if (!on_cuda(context_)) return check(perturb_sorted_values(context_.get(), oracle, &noise, rows, theta, values, std_error));
  const int64_t n = perturb_oracle_input_size(oracle), k = perturb_oracle_output_size(oracle) / n;
  const device_array device_theta(theta, rows * n);
  device_array device_values(values, rows * k), device_error(std_error, rows * k);
  check(perturb_sorted_values(context_.get(), oracle, &noise, rows, device_theta.data(), device_values.data(), device_error.data()));
  device_values.download(values);
  device_error.download(std_error);
}

void session::nearest_neighbors(const perturb_oracle* oracle, const perturb_noise& noise, int64_t rows, int64_t dimensions, const float* queries,
                                const float* points, float* y, float* y_std_error) {
  const auto call = [&](const float* q, const float* x, float* mean, float* error) {
    check(perturb_nearest_neighbors(context_.get(), oracle, &noise, rows, dimensions, q, x, mean, error));
  };
  if (!on_cuda(context_)) return call(queries, points, y, y_std_error);
  const int64_t n = perturb_oracle_input_size(oracle);
  const device_array device_queries(queries, rows * dimensions), device_points(points, n * dimensions);
  device_array device_y(y, rows * n), device_error(y_std_error, rows * n);
  call(device_queries.data(), device_points.data(), device_y.data(), device_error.data());
  device_y.download(y);
  device_error.download(y_std_error);
}

void session::nearest_neighbors_vjp(const perturb_oracle* oracle, const perturb_noise& noise, int64_t rows, int64_t dimensions, const float* queries,
                                    const float* points, const float* cotangent, float* gradient_queries, float* gradient_points) {
  const auto call = [&](const float* q, const float* x, const float* g, float* of_queries, float* of_points) {
    check(perturb_nearest_neighbors_vjp(context_.get(), oracle, &noise, rows, dimensions, q, x, g, of_queries, of_points));
  };
  if (!on_cuda(context_)) return call(queries, points, cotangent, gradient_queries, gradient_points);
  const int64_t n = perturb_oracle_input_size(oracle);
  const device_array device_queries(queries, rows * dimensions), device_points(points, n * dimensions), device_cotangent(cotangent, rows * n);
  device_array of_queries(gradient_queries, rows * dimensions), of_points(gradient_points, n * dimensions);
  call(device_queries.data(), device_points.data(), device_cotangent.data(), of_queries.data(), of_points.data());
  of_queries.download(gradient_queries);
  of_points.download(gradient_points);
}

void session::gradient(gradient_method method, const perturb_oracle* oracle, const perturb_noise& noise, const perturb_lpgd_options& options,
                       int64_t rows, const float* theta, const float* cotangent, float* gradient) {
  const auto call = [&](const float* t, const float* g, float* out) {
    switch (method) {
      case gradient_method::vjp:
        return perturb_vjp(context_.get(), oracle, &noise, rows, t, g, out);
      case gradient_method::lpgd:
        return perturb_lpgd(context_.get(), oracle, &options, rows, t, g, out);
      case gradient_method::imle:
        break;
    }
    return perturb_imle(context_.get(), oracle, &noise, &options, rows, t, g, out);
  };
  if (!on_cuda(context_)) return check(call(theta, cotangent, gradient));
  const int64_t n = rows * perturb_oracle_input_size(oracle), m = rows * perturb_oracle_output_size(oracle);
  const device_array device_theta(theta, n), device_cotangent(cotangent, m);
  device_array device_gradient(gradient, n);
  check(call(device_theta.data(), device_cotangent.data(), device_gradient.data()));
  device_gradient.download(gradient);
}

}  // namespace perturb::cli
