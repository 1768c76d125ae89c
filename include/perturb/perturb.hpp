// perturb.hpp: the C API of perturb.h for C++20. Handles that free themselves, exceptions for statuses, spans and vectors for arrays.
//
// Each function here calls the C function of the same name; perturb.h has the mathematics and the contracts. What is added:
//   - a status other than PERTURB_OK is thrown as perturb::error, with the sentence of perturb_last_error();
//   - the batch is theta.size() / n, and a span of another size than the call's is an error before the call;
//   - functions that end in output spans write there; an empty optional span is not computed. On a CUDA context the spans are
//     device memory;
//   - functions without output spans return new vectors. They are for CPU contexts.
// Everything is inline and lies in an inline namespace, apart from the names that the library itself uses.
#ifndef PERTURB_PERTURB_HPP
#define PERTURB_PERTURB_HPP

#include <perturb/perturb.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace perturb {
inline namespace cxx {

// What a call throws: the status of the C API, and its sentence as what().
class error : public std::runtime_error {
 public:
  error(perturb_status status, const std::string& text) : std::runtime_error(text), status_(status) {}
  perturb_status status() const noexcept { return status_; }

 private:
  perturb_status status_;
};

// Throws unless the status is PERTURB_OK. For calls of the C API made directly.
inline void check(perturb_status status) {
  if (status != PERTURB_OK) throw error(status, perturb_last_error());
}

// The options of a context on the CPU; threads = 0: one per processor.
inline perturb_context_options cpu(int32_t threads = 0) {
  perturb_context_options options = PERTURB_CONTEXT_OPTIONS_INIT;
  options.backend = PERTURB_BACKEND_CPU;
  options.threads = threads;
  return options;
}

// Where the work runs. Movable; use it from one thread at a time.
class context {
 public:
  context() : context(nullptr) {}
  explicit context(const perturb_context_options& options) : context(&options) {}

  perturb_context* get() const noexcept { return handle_.get(); }
  perturb_backend backend() const noexcept { return perturb_context_backend(get()); }
  void set_stream(void* stream) { check(perturb_context_set_stream(get(), stream)); }
  void set_row_status(int32_t* status, int64_t* clamped) { check(perturb_context_set_row_status(get(), status, clamped)); }
  void set_workspace(void* memory, size_t bytes) { check(perturb_context_set_workspace(get(), memory, bytes)); }

 private:
  explicit context(const perturb_context_options* options) {
    perturb_context* handle = nullptr;
    check(perturb_context_create(options, &handle));
    handle_.reset(handle);
  }
  struct destroy {
    void operator()(perturb_context* handle) const noexcept { perturb_context_destroy(handle); }
  };
  std::unique_ptr<perturb_context, destroy> handle_;
};

// What is optimised. Movable, immutable; may be shared by threads.
class oracle {
 public:
  // Takes over a handle that the C API made.
  explicit oracle(perturb_oracle* handle) noexcept : handle_(handle) {}

  static oracle argmax(int64_t n) { return make(perturb_argmax_create, n); }
  static oracle top_k(int64_t n, int64_t k) { return make(perturb_top_k_create, n, k); }
  static oracle top_k_rows(int64_t n, std::span<const int64_t> k) { return make(perturb_top_k_rows_create, n, static_cast<int64_t>(k.size()), k.data()); }
  static oracle rank(int64_t n) { return make(perturb_rank_create, n, nullptr); }
  static oracle rank(int64_t n, const perturb_rank_options& options) { return make(perturb_rank_create, n, &options); }
  static oracle sort(int64_t n, bool descending = false) { return make(perturb_sort_create, n, static_cast<int32_t>(descending)); }
  static oracle ordered_top_k(int64_t n, int64_t k) { return make(perturb_ordered_top_k_create, n, k); }
  static oracle grid_path(const perturb_grid_path_options& options) { return make(perturb_grid_path_create, &options); }
  static oracle custom(const perturb_custom_options& options) { return make(perturb_custom_create, &options); }
  // A solver of the caller's, kept by the oracle: solve(std::span<const float> theta, std::span<float> y) for one problem, or
  // solve(int64_t count, std::span<const float> theta, std::span<float> y) for `count` problems at once. What it throws becomes a
  // perturb::error of the call, with status PERTURB_ERROR_CALLBACK and its text.
  template <class Solve>
  static oracle custom(int64_t n, int64_t m, perturb_sense sense, Solve solve, bool thread_safe = false) {
    struct state {
      Solve solve;
      size_t n, m;
    };
    const auto kept = std::make_shared<state>(state{std::move(solve), static_cast<size_t>(n), static_cast<size_t>(m)});
    perturb_custom_options options = PERTURB_CUSTOM_OPTIONS_INIT;
    options.n = n;
    options.m = m;
    options.sense = sense;
    options.thread_safe = thread_safe;
    options.user = kept.get();
    options.solve = [](int64_t count, const float* theta, float* y, void*, void* user) -> int32_t {
      state& self = *static_cast<state*>(user);
      const size_t problems = static_cast<size_t>(count);
      if constexpr (std::is_invocable_v<Solve&, std::span<const float>, std::span<float>>) {
        for (size_t k = 0; k < problems; ++k)
          self.solve(std::span<const float>(theta + k * self.n, self.n), std::span<float>(y + k * self.m, self.m));
      } else {
        self.solve(count, std::span<const float>(theta, problems * self.n), std::span<float>(y, problems * self.m));
      }
      return 0;
    };
    oracle made = custom(options);
    made.solver_ = kept;
    return made;
  }
  // The same for CUDA contexts: enqueue(int64_t count, const float* theta, float* y, void* stream), arrays in device memory, puts its work on
  // the stream and does not wait.
  template <class Enqueue>
  static oracle custom_cuda(int64_t n, int64_t m, perturb_sense sense, Enqueue enqueue) {
    const auto kept = std::make_shared<Enqueue>(std::move(enqueue));
    perturb_custom_options options = PERTURB_CUSTOM_OPTIONS_INIT;
    options.n = n;
    options.m = m;
    options.sense = sense;
    options.user = kept.get();
    options.enqueue = [](int64_t count, const float* theta, float* y, void* stream, void* user) -> int32_t {
      (*static_cast<Enqueue*>(user))(count, theta, y, stream);
      return 0;
    };
    oracle made = custom(options);
    made.solver_ = kept;
    return made;
  }

  perturb_oracle* get() const noexcept { return handle_.get(); }
  int64_t input_size() const noexcept { return perturb_oracle_input_size(get()); }
  int64_t output_size() const noexcept { return perturb_oracle_output_size(get()); }

 private:
  template <class Create, class... Arguments>
  static oracle make(Create create, Arguments... arguments) {
    perturb_oracle* handle = nullptr;
    check(create(arguments..., &handle));
    return oracle(handle);
  }
  struct destroy {
    void operator()(perturb_oracle* handle) const noexcept { perturb_oracle_destroy(handle); }
  };
  std::shared_ptr<void> solver_;  // of a custom oracle
  std::unique_ptr<perturb_oracle, destroy> handle_;
};

// How theta is perturbed: the C struct, filled with its defaults.
struct noise : perturb_noise {
  noise() : perturb_noise PERTURB_NOISE_INIT {}
};

namespace detail {

inline int64_t batch_of(const oracle& oracle, std::span<const float> theta) {
  const int64_t n = oracle.input_size(), size = static_cast<int64_t>(theta.size());
  if (n == 0) throw error(PERTURB_ERROR_INVALID_ARGUMENT, "oracle: it was moved from");
  if (size % n != 0)
    throw error(PERTURB_ERROR_INVALID_ARGUMENT,
                "theta: a multiple of " + std::to_string(n) + " floats expected, got " + std::to_string(size));
  return size / n;
}

// The pointer of a span of rows * columns * depth floats. Sizes that overflow cannot equal the span's, and are an error like others.
template <class Float>
Float* data(const char* name, std::span<Float> values, int64_t rows, int64_t columns = 1, int64_t depth = 1) {
  int64_t expected = 0;
  if (__builtin_mul_overflow(rows, columns, &expected) || __builtin_mul_overflow(expected, depth, &expected) ||
      static_cast<uint64_t>(expected) != values.size())
    throw error(PERTURB_ERROR_INVALID_ARGUMENT, std::string(name) + ": " + std::to_string(rows) + " x " + std::to_string(columns) + " x " +
                                                    std::to_string(depth) + " floats expected, got " + std::to_string(values.size()));
  return values.data();
}

template <class Float>
Float* optional(const char* name, std::span<Float> values, int64_t rows, int64_t columns = 1) {
  return values.empty() ? nullptr : data(name, values, rows, columns);
}

// The array that a function returns.
inline std::vector<float> make(const context& context, int64_t rows, int64_t columns, int64_t depth = 1) {
  if (context.backend() == PERTURB_BACKEND_CUDA)
    throw error(PERTURB_ERROR_UNSUPPORTED, "context: vectors are host memory; on a CUDA context call the function that writes to spans");
  int64_t size = 0;
  if (rows < 0 || columns < 0 || depth < 0 || __builtin_mul_overflow(rows, columns, &size) || __builtin_mul_overflow(size, depth, &size))
    throw error(PERTURB_ERROR_INVALID_ARGUMENT, "sizes: negative, or their product overflows");
  return std::vector<float>(static_cast<size_t>(size));
}

}  // namespace detail

// The bytes of workspace that a call uses; noise: nullptr for PERTURB_OP_SOLVE.
inline size_t workspace_size(const context& context, perturb_operation operation, const oracle& oracle, const perturb_noise* noise,
                             int64_t batch) {
  size_t bytes = 0;
  check(perturb_workspace_size(context.get(), operation, oracle.get(), noise, batch, &bytes));
  return bytes;
}

// The noise of a run, z [batch, samples, n].
inline void noise_fill(context& context, const perturb_noise& noise, int64_t batch, int64_t n, std::span<float> z) {
  check(perturb_noise_fill(context.get(), &noise, batch, n, detail::data("z", z, batch, noise.samples, n)));
}
inline std::vector<float> noise_fill(context& context, const perturb_noise& noise, int64_t batch, int64_t n) {
  std::vector<float> z = detail::make(context, batch, noise.samples, n);
  noise_fill(context, noise, batch, n, z);
  return z;
}

// The hard optimizer: y [batch, m], value [batch].
inline void solve(context& context, const oracle& oracle, std::span<const float> theta, std::span<float> y, std::span<float> value = {}) {
  const int64_t batch = detail::batch_of(oracle, theta);
  float* const y_data = detail::data("y", y, batch, oracle.output_size());
  check(perturb_solve(context.get(), oracle.get(), batch, theta.data(), y_data, detail::optional("value", value, batch)));
}
inline std::vector<float> solve(context& context, const oracle& oracle, std::span<const float> theta) {
  std::vector<float> y = detail::make(context, detail::batch_of(oracle, theta), oracle.output_size());
  solve(context, oracle, theta, y);
  return y;
}

// Every sample's solution: y [batch, samples, m].
inline void sample(context& context, const oracle& oracle, const perturb_noise& noise, std::span<const float> theta, std::span<float> y) {
  const int64_t batch = detail::batch_of(oracle, theta);
  check(perturb_sample(context.get(), oracle.get(), &noise, batch, theta.data(),
                       detail::data("y", y, batch, noise.samples, oracle.output_size())));
}
inline std::vector<float> sample(context& context, const oracle& oracle, const perturb_noise& noise, std::span<const float> theta) {
  std::vector<float> y = detail::make(context, detail::batch_of(oracle, theta), noise.samples, oracle.output_size());
  sample(context, oracle, noise, theta, y);
  return y;
}

// y_eps: y_mean and y_std_error [batch, m], value and value_std_error [batch].
inline void expectation(context& context, const oracle& oracle, const perturb_noise& noise, std::span<const float> theta,
                        std::span<float> y_mean, std::span<float> y_std_error = {}, std::span<float> value = {},
                        std::span<float> value_std_error = {}) {
  const int64_t batch = detail::batch_of(oracle, theta), m = oracle.output_size();
  check(perturb_expectation(context.get(), oracle.get(), &noise, batch, theta.data(), detail::data("y_mean", y_mean, batch, m),
                            detail::optional("y_std_error", y_std_error, batch, m), detail::optional("value", value, batch),
                            detail::optional("value_std_error", value_std_error, batch)));
}
inline std::vector<float> expectation(context& context, const oracle& oracle, const perturb_noise& noise, std::span<const float> theta) {
  std::vector<float> y_mean = detail::make(context, detail::batch_of(oracle, theta), oracle.output_size());
  expectation(context, oracle, noise, theta, y_mean);
  return y_mean;
}

// gradient [batch, n] = J^T cotangent, cotangent [batch, m].
inline void vjp(context& context, const oracle& oracle, const perturb_noise& noise, std::span<const float> theta,
                std::span<const float> cotangent, std::span<float> gradient) {
  const int64_t batch = detail::batch_of(oracle, theta);
  check(perturb_vjp(context.get(), oracle.get(), &noise, batch, theta.data(),
                    detail::data("cotangent", cotangent, batch, oracle.output_size()),
                    detail::data("gradient", gradient, batch, oracle.input_size())));
}
inline std::vector<float> vjp(context& context, const oracle& oracle, const perturb_noise& noise, std::span<const float> theta,
                              std::span<const float> cotangent) {
  std::vector<float> gradient = detail::make(context, detail::batch_of(oracle, theta), oracle.input_size());
  vjp(context, oracle, noise, theta, cotangent, gradient);
  return gradient;
}

// derivative [batch, m] = J tangent, tangent [batch, n].
inline void jvp(context& context, const oracle& oracle, const perturb_noise& noise, std::span<const float> theta,
                std::span<const float> tangent, std::span<float> derivative) {
  const int64_t batch = detail::batch_of(oracle, theta);
  check(perturb_jvp(context.get(), oracle.get(), &noise, batch, theta.data(), detail::data("tangent", tangent, batch, oracle.input_size()),
                    detail::data("derivative", derivative, batch, oracle.output_size())));
}
inline std::vector<float> jvp(context& context, const oracle& oracle, const perturb_noise& noise, std::span<const float> theta,
                              std::span<const float> tangent) {
  std::vector<float> derivative = detail::make(context, detail::batch_of(oracle, theta), oracle.output_size());
  jvp(context, oracle, noise, theta, tangent, derivative);
  return derivative;
}

// jacobian [batch, m, n].
inline void jacobian(context& context, const oracle& oracle, const perturb_noise& noise, std::span<const float> theta,
                     std::span<float> jacobian) {
  const int64_t batch = detail::batch_of(oracle, theta);
  check(perturb_jacobian(context.get(), oracle.get(), &noise, batch, theta.data(),
                         detail::data("jacobian", jacobian, batch, oracle.output_size(), oracle.input_size())));
}
inline std::vector<float> jacobian(context& context, const oracle& oracle, const perturb_noise& noise, std::span<const float> theta) {
  std::vector<float> result = detail::make(context, detail::batch_of(oracle, theta), oracle.output_size(), oracle.input_size());
  jacobian(context, oracle, noise, theta, result);
  return result;
}

// d <cotangent, y_eps> in epsilon: gradient_epsilon [batch], and in every item's amplitude: gradient_per_item [batch, n]; one at least.
inline void vjp_epsilon(context& context, const oracle& oracle, const perturb_noise& noise, std::span<const float> theta, std::span<const float> cotangent,
                        std::span<float> gradient_epsilon, std::span<float> gradient_per_item = {}) {
  const int64_t batch = detail::batch_of(oracle, theta);
  check(perturb_vjp_epsilon(context.get(), oracle.get(), &noise, batch, theta.data(), detail::data("cotangent", cotangent, batch, oracle.output_size()),
                            detail::optional("gradient_epsilon", gradient_epsilon, batch),
                            detail::optional("gradient_per_item", gradient_per_item, batch, oracle.input_size())));
}
inline std::vector<float> vjp_epsilon(context& context, const oracle& oracle, const perturb_noise& noise, std::span<const float> theta,
                                      std::span<const float> cotangent) {
  std::vector<float> gradient = detail::make(context, detail::batch_of(oracle, theta), 1);
  vjp_epsilon(context, oracle, noise, theta, cotangent, gradient);
  return gradient;
}

// The sample covariance of y: covariance [batch, m, m].
inline void covariance(context& context, const oracle& oracle, const perturb_noise& noise, std::span<const float> theta, std::span<float> covariance) {
  const int64_t batch = detail::batch_of(oracle, theta), m = oracle.output_size();
  check(perturb_covariance(context.get(), oracle.get(), &noise, batch, theta.data(), detail::data("covariance", covariance, batch, m, m)));
}
inline std::vector<float> covariance(context& context, const oracle& oracle, const perturb_noise& noise, std::span<const float> theta) {
  std::vector<float> result = detail::make(context, detail::batch_of(oracle, theta), oracle.output_size(), oracle.output_size());
  covariance(context, oracle, noise, theta, result);
  return result;
}

// The Fenchel-Young loss of target [batch, m]: loss [batch], gradient [batch, n], epsilon_gradient [batch]; one at least.
inline void fenchel_young(context& context, const oracle& oracle, const perturb_noise& noise, std::span<const float> theta,
                          std::span<const float> target, std::span<float> loss, std::span<float> gradient,
                          std::span<float> epsilon_gradient = {}) {
  const int64_t batch = detail::batch_of(oracle, theta);
  check(perturb_fenchel_young(context.get(), oracle.get(), &noise, batch, theta.data(),
                              detail::data("target", target, batch, oracle.output_size()), detail::optional("loss", loss, batch),
                              detail::optional("gradient", gradient, batch, oracle.input_size()),
                              detail::optional("epsilon_gradient", epsilon_gradient, batch)));
}
struct fenchel_young_result {
  std::vector<float> loss, gradient;
};
inline fenchel_young_result fenchel_young(context& context, const oracle& oracle, const perturb_noise& noise, std::span<const float> theta,
                                          std::span<const float> target) {
  const int64_t batch = detail::batch_of(oracle, theta);
  fenchel_young_result result{detail::make(context, batch, 1), detail::make(context, batch, oracle.input_size())};
  fenchel_young(context, oracle, noise, theta, target, result.loss, result.gradient);
  return result;
}

// gradient [batch, n] of a loss with gradient cotangent [batch, m] at the hard solution, by re-solving (LPGD).
inline void lpgd(context& context, const oracle& oracle, const perturb_lpgd_options& options, std::span<const float> theta,
                 std::span<const float> cotangent, std::span<float> gradient) {
  const int64_t batch = detail::batch_of(oracle, theta);
  check(perturb_lpgd(context.get(), oracle.get(), &options, batch, theta.data(), detail::data("cotangent", cotangent, batch, oracle.output_size()),
                     detail::data("gradient", gradient, batch, oracle.input_size())));
}
inline std::vector<float> lpgd(context& context, const oracle& oracle, const perturb_lpgd_options& options, std::span<const float> theta,
                               std::span<const float> cotangent) {
  std::vector<float> gradient = detail::make(context, detail::batch_of(oracle, theta), oracle.input_size());
  lpgd(context, oracle, options, theta, cotangent, gradient);
  return gradient;
}

// The same under noise (I-MLE).
inline void imle(context& context, const oracle& oracle, const perturb_noise& noise, const perturb_lpgd_options& options,
                 std::span<const float> theta, std::span<const float> cotangent, std::span<float> gradient) {
  const int64_t batch = detail::batch_of(oracle, theta);
  check(perturb_imle(context.get(), oracle.get(), &noise, &options, batch, theta.data(),
                     detail::data("cotangent", cotangent, batch, oracle.output_size()),
                     detail::data("gradient", gradient, batch, oracle.input_size())));
}
inline std::vector<float> imle(context& context, const oracle& oracle, const perturb_noise& noise, const perturb_lpgd_options& options,
                               std::span<const float> theta, std::span<const float> cotangent) {
  std::vector<float> gradient = detail::make(context, detail::batch_of(oracle, theta), oracle.input_size());
  imle(context, oracle, noise, options, theta, cotangent, gradient);
  return gradient;
}

// AIMLE: the state's alpha, which perturb_lpgd_options::tau_scale points to, adapted to the gradient [batch, n] that imle returned. state is host or device
// memory as the arrays are.
inline void aimle_update(context& context, const oracle& oracle, const perturb_aimle_options& options, std::span<const float> gradient,
                         perturb_aimle_state* state) {
  check(perturb_aimle_update(context.get(), &options, detail::batch_of(oracle, gradient), oracle.input_size(), gradient.data(), state));
}

// The SPO+ loss of a prediction theta of theta_true [batch, n]: loss [batch], gradient [batch, n]; one at least.
inline void spo_plus(context& context, const oracle& oracle, std::span<const float> theta, std::span<const float> theta_true, std::span<float> loss,
                     std::span<float> gradient) {
  const int64_t batch = detail::batch_of(oracle, theta);
  check(perturb_spo_plus(context.get(), oracle.get(), batch, theta.data(), detail::data("theta_true", theta_true, batch, oracle.input_size()),
                         detail::optional("loss", loss, batch), detail::optional("gradient", gradient, batch, oracle.input_size())));
}
struct spo_plus_result {
  std::vector<float> loss, gradient;
};
inline spo_plus_result spo_plus(context& context, const oracle& oracle, std::span<const float> theta, std::span<const float> theta_true) {
  const int64_t batch = detail::batch_of(oracle, theta);
  spo_plus_result result{detail::make(context, batch, 1), detail::make(context, batch, oracle.input_size())};
  spo_plus(context, oracle, theta, theta_true, result.loss, result.gradient);
  return result;
}

// theta [batch, n] projected before a solver.
inline void project(context& context, const oracle& oracle, perturb_projection projection, std::span<const float> theta, std::span<float> projected) {
  const int64_t batch = detail::batch_of(oracle, theta);
  check(perturb_project(context.get(), oracle.get(), projection, batch, theta.data(), detail::data("projected", projected, batch, oracle.input_size())));
}
inline std::vector<float> project(context& context, const oracle& oracle, perturb_projection projection, std::span<const float> theta) {
  std::vector<float> projected = detail::make(context, detail::batch_of(oracle, theta), oracle.input_size());
  project(context, oracle, projection, theta, projected);
  return projected;
}

// gradient [batch, n] in theta of a loss with gradient cotangent [batch, n] at the solution of theta projected, the solver taken for the identity.
inline void identity_vjp(context& context, const oracle& oracle, perturb_projection projection, std::span<const float> theta,
                         std::span<const float> cotangent, std::span<float> gradient) {
  const int64_t batch = detail::batch_of(oracle, theta);
  check(perturb_identity_vjp(context.get(), oracle.get(), projection, batch, theta.data(),
                             detail::data("cotangent", cotangent, batch, oracle.output_size()),
                             detail::data("gradient", gradient, batch, oracle.input_size())));
}
inline std::vector<float> identity_vjp(context& context, const oracle& oracle, perturb_projection projection, std::span<const float> theta,
                                       std::span<const float> cotangent) {
  std::vector<float> gradient = detail::make(context, detail::batch_of(oracle, theta), oracle.input_size());
  identity_vjp(context, oracle, projection, theta, cotangent, gradient);
  return gradient;
}

// Expected sorted values of a sort or ordered top-k of k positions: values [batch, k] and std_error [batch, k].
inline void sorted_values(context& context, const oracle& oracle, const perturb_noise& noise, std::span<const float> theta,
                          std::span<float> values, std::span<float> std_error = {}) {
  const int64_t batch = detail::batch_of(oracle, theta), k = oracle.output_size() / oracle.input_size();
  check(perturb_sorted_values(context.get(), oracle.get(), &noise, batch, theta.data(), detail::data("values", values, batch, k),
                              detail::optional("std_error", std_error, batch, k)));
}
inline std::vector<float> sorted_values(context& context, const oracle& oracle, const perturb_noise& noise, std::span<const float> theta) {
  std::vector<float> values = detail::make(context, detail::batch_of(oracle, theta), oracle.output_size() / oracle.input_size());
  sorted_values(context, oracle, noise, theta, values);
  return values;
}

// Their gradient [batch, n] for a cotangent [batch, k].
inline void sorted_values_vjp(context& context, const oracle& oracle, const perturb_noise& noise, std::span<const float> theta,
                              std::span<const float> cotangent, std::span<float> gradient) {
  const int64_t batch = detail::batch_of(oracle, theta), k = oracle.output_size() / oracle.input_size();
  check(perturb_sorted_values_vjp(context.get(), oracle.get(), &noise, batch, theta.data(), detail::data("cotangent", cotangent, batch, k),
                                  detail::data("gradient", gradient, batch, oracle.input_size())));
}
inline std::vector<float> sorted_values_vjp(context& context, const oracle& oracle, const perturb_noise& noise, std::span<const float> theta,
                                            std::span<const float> cotangent) {
  std::vector<float> gradient = detail::make(context, detail::batch_of(oracle, theta), oracle.input_size());
  sorted_values_vjp(context, oracle, noise, theta, cotangent, gradient);
  return gradient;
}

// The expectation of a cost of y: mean [batch], std_error [batch], gradient [batch, n]; the last two may be empty.
inline void cost_expectation(context& context, const oracle& oracle, const perturb_noise& noise, const perturb_cost_options& options,
                             std::span<const float> theta, std::span<float> mean, std::span<float> std_error = {}, std::span<float> gradient = {}) {
  const int64_t batch = detail::batch_of(oracle, theta);
  check(perturb_cost_expectation(context.get(), oracle.get(), &noise, &options, batch, theta.data(), detail::data("mean", mean, batch),
                                 detail::optional("std_error", std_error, batch), detail::optional("gradient", gradient, batch, oracle.input_size())));
}
struct cost_result {
  std::vector<float> mean, gradient;
};
// On a CPU context, cost(std::span<const float> y, int64_t row) -> float. What it throws becomes a perturb::error, as a solver's.
template <class Cost>
cost_result cost_expectation(context& context, const oracle& oracle, const perturb_noise& noise, Cost cost, std::span<const float> theta,
                             bool thread_safe = false) {
  struct state {
    Cost cost;
    size_t m;
  } kept{std::move(cost), static_cast<size_t>(oracle.output_size())};
  perturb_cost_options options = PERTURB_COST_OPTIONS_INIT;
  options.thread_safe = thread_safe;
  options.user = &kept;
  options.cost = [](int64_t count, const float* y, const int64_t* row, float* costs, void*, void* user) -> int32_t {
    state& self = *static_cast<state*>(user);
    for (int64_t k = 0; k < count; ++k) costs[k] = self.cost(std::span<const float>(y + static_cast<size_t>(k) * self.m, self.m), row[k]);
    return 0;
  };
  const int64_t batch = detail::batch_of(oracle, theta);
  cost_result result{detail::make(context, batch, 1), detail::make(context, batch, oracle.input_size())};
  cost_expectation(context, oracle, noise, options, theta, result.mean, {}, result.gradient);
  return result;
}

// One estimate over many calls. Context, oracle, epsilon_per_item and epsilon_per_row must outlive it.
class accumulator {
 public:
  accumulator(context& context, perturb_operation operation, const oracle& oracle, const perturb_noise& noise, int64_t batch) {
    perturb_accumulator* made = nullptr;
    check(perturb_accumulator_create(context.get(), operation, oracle.get(), &noise, batch, &made));
    handle_.reset(made);
  }

  perturb_accumulator* get() const noexcept { return handle_.get(); }
  int64_t samples() const noexcept { return perturb_accumulator_samples(get()); }
  // theta [batch, n]; operand: cotangent, tangent or target, empty where the operation has none. The same values in every call.
  void add(int64_t first_sample, int64_t samples, std::span<const float> theta, std::span<const float> operand = {}) {
    check(perturb_accumulator_add(get(), first_sample, samples, theta.data(), operand.data()));
  }
  // outputs: of the operation's function, in its order; nullptr where not wanted.
  void result(std::span<const float> theta, std::span<const float> operand, std::span<float* const> outputs) const {
    check(perturb_accumulator_result(get(), theta.data(), operand.data(), outputs.data()));
  }
  void merge(const accumulator& other) { check(perturb_accumulator_merge(get(), other.get())); }
  std::vector<unsigned char> save() const {
    size_t size = 0;
    check(perturb_accumulator_save(get(), nullptr, &size));
    std::vector<unsigned char> bytes(size);
    check(perturb_accumulator_save(get(), bytes.data(), &size));
    return bytes;
  }
  void load(std::span<const unsigned char> bytes) { check(perturb_accumulator_load(get(), bytes.data(), bytes.size())); }

 private:
  struct destroy {
    void operator()(perturb_accumulator* a) const noexcept { perturb_accumulator_destroy(a); }
  };
  std::unique_ptr<perturb_accumulator, destroy> handle_;
};

// Perturbed k nearest neighbours of queries [batch, dimensions] among points [n, dimensions]: y_mean and y_std_error [batch, n].
inline void nearest_neighbors(context& context, const oracle& oracle, const perturb_noise& noise, int64_t batch, int64_t dimensions, std::span<const float> queries,
                              std::span<const float> points, std::span<float> y_mean, std::span<float> y_std_error = {}) {
  const int64_t n = oracle.input_size();
  check(perturb_nearest_neighbors(context.get(), oracle.get(), &noise, batch, dimensions, detail::data("queries", queries, batch, dimensions),
                                  detail::data("points", points, n, dimensions), detail::data("y_mean", y_mean, batch, n),
                                  detail::optional("y_std_error", y_std_error, batch, n)));
}
inline std::vector<float> nearest_neighbors(context& context, const oracle& oracle, const perturb_noise& noise, int64_t batch, int64_t dimensions,
                                            std::span<const float> queries, std::span<const float> points) {
  std::vector<float> y_mean = detail::make(context, batch, oracle.input_size());
  nearest_neighbors(context, oracle, noise, batch, dimensions, queries, points, y_mean);
  return y_mean;
}

// Its VJP, cotangent [batch, n]: gradient_queries [batch, dimensions], gradient_points [n, dimensions]; one at least.
inline void nearest_neighbors_vjp(context& context, const oracle& oracle, const perturb_noise& noise, int64_t batch, int64_t dimensions, std::span<const float> queries,
                                  std::span<const float> points, std::span<const float> cotangent, std::span<float> gradient_queries,
                                  std::span<float> gradient_points = {}) {
  const int64_t n = oracle.input_size();
  check(perturb_nearest_neighbors_vjp(context.get(), oracle.get(), &noise, batch, dimensions, detail::data("queries", queries, batch, dimensions),
                                      detail::data("points", points, n, dimensions), detail::data("cotangent", cotangent, batch, n),
                                      detail::optional("gradient_queries", gradient_queries, batch, dimensions),
                                      detail::optional("gradient_points", gradient_points, n, dimensions)));
}

// perturb_expectation with as many samples as the errors asked for need. converged: false where options.max_samples were not enough.
struct adaptive_result {
  int64_t samples;
  bool converged;
};
inline adaptive_result expectation_adaptive(context& context, const oracle& oracle, const perturb_noise& noise, std::span<const float> theta,
                                            const perturb_adaptive_options& options, std::span<float> y_mean, std::span<float> y_std_error = {},
                                            std::span<float> value = {}, std::span<float> value_std_error = {}) {
  const int64_t batch = detail::batch_of(oracle, theta), m = oracle.output_size();
  adaptive_result result{0, true};
  const perturb_status status =
      perturb_expectation_adaptive(context.get(), oracle.get(), &noise, batch, theta.data(), &options, detail::data("y_mean", y_mean, batch, m),
                                   detail::optional("y_std_error", y_std_error, batch, m), detail::optional("value", value, batch),
                                   detail::optional("value_std_error", value_std_error, batch), &result.samples);
  result.converged = status != PERTURB_ERROR_NOT_CONVERGED;
  if (result.converged) check(status);
  return result;
}

// Closed forms: y [batch, m] and value [batch] without samples, and gradient [batch, n] = J^T cotangent.
inline void exact_expectation(context& context, const oracle& oracle, const perturb_noise& noise, std::span<const float> theta, std::span<float> y,
                              std::span<float> value = {}) {
  const int64_t batch = detail::batch_of(oracle, theta);
  check(perturb_exact_expectation(context.get(), oracle.get(), &noise, batch, theta.data(), detail::data("y", y, batch, oracle.output_size()),
                                  detail::optional("value", value, batch)));
}
inline std::vector<float> exact_expectation(context& context, const oracle& oracle, const perturb_noise& noise, std::span<const float> theta) {
  std::vector<float> y = detail::make(context, detail::batch_of(oracle, theta), oracle.output_size());
  exact_expectation(context, oracle, noise, theta, y);
  return y;
}
inline void exact_vjp(context& context, const oracle& oracle, const perturb_noise& noise, std::span<const float> theta, std::span<const float> cotangent,
                      std::span<float> gradient) {
  const int64_t batch = detail::batch_of(oracle, theta);
  check(perturb_exact_vjp(context.get(), oracle.get(), &noise, batch, theta.data(), detail::data("cotangent", cotangent, batch, oracle.output_size()),
                          detail::data("gradient", gradient, batch, oracle.input_size())));
}
inline std::vector<float> exact_vjp(context& context, const oracle& oracle, const perturb_noise& noise, std::span<const float> theta,
                                    std::span<const float> cotangent) {
  std::vector<float> gradient = detail::make(context, detail::batch_of(oracle, theta), oracle.input_size());
  exact_vjp(context, oracle, noise, theta, cotangent, gradient);
  return gradient;
}

}  // namespace cxx
}  // namespace perturb
#endif
