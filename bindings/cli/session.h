// The library's calls on host arrays, wherever they run: on a CUDA device the arrays are copied there and back.
#ifndef PERTURB_CLI_SESSION_H
#define PERTURB_CLI_SESSION_H

#include <cstdint>
#include <string>

#include "library.h"

namespace perturb::cli {

enum class gradient_method { vjp, lpgd, imle };

class session {
 public:
  // device: "cpu", "cuda", or "auto" for CUDA where a device works, else the CPU. threads: of the CPU, 0 for one per processor.
  session(const std::string& device, int threads);

  const char* device() const;  // "cpu" or "cuda"

  // As the functions of the C API; outputs may be null where they may be there. Done when they return.
  void solve(const perturb_oracle* oracle, int64_t rows, const float* theta, float* y, float* value);
  void expectation(const perturb_oracle* oracle, const perturb_noise& noise, int64_t rows, const float* theta, float* y, float* y_std_error,
                   float* value, float* value_std_error);
  void sorted_values(const perturb_oracle* oracle, const perturb_noise& noise, int64_t rows, const float* theta, float* values, float* std_error);
  void nearest_neighbors(const perturb_oracle* oracle, const perturb_noise& noise, int64_t rows, int64_t dimensions, const float* queries, const float* points,
                         float* y, float* y_std_error);
  void nearest_neighbors_vjp(const perturb_oracle* oracle, const perturb_noise& noise, int64_t rows, int64_t dimensions, const float* queries,
                             const float* points, const float* cotangent, float* gradient_queries, float* gradient_points);
  // By perturb_vjp, perturb_lpgd or perturb_imle.
  void gradient(gradient_method method, const perturb_oracle* oracle, const perturb_noise& noise, const perturb_lpgd_options& options,
                int64_t rows, const float* theta, const float* cotangent, float* gradient);

 private:
  context_handle context_;
};

}  // namespace perturb::cli

#endif
