// What every test binary shares: owners of the C handles, the count of comparisons that main.cpp prints, deterministic values
// without a generator's state, and a call that throws (so that a test fails) when the library refuses what it should accept.
// No GoogleTest here: the benchmarks include this file too.
#pragma once

#include <perturb/perturb.h>

#include <atomic>
#include <bit>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace perturb::test {

// Comparisons made so far by this process. Every comparator of compare.h adds the number of values it compared.
inline std::atomic<int64_t>& checks() {
  static std::atomic<int64_t> total{0};
  return total;
}
inline void count(int64_t comparisons = 1) { checks().fetch_add(comparisons, std::memory_order_relaxed); }

struct destroy_context {
  void operator()(perturb_context* context) const { perturb_context_destroy(context); }
};
struct destroy_oracle {
  void operator()(perturb_oracle* oracle) const { perturb_oracle_destroy(oracle); }
};
using context_ptr = std::unique_ptr<perturb_context, destroy_context>;
using oracle_ptr = std::unique_ptr<perturb_oracle, destroy_oracle>;

// Throws with the library's own sentence: for calls that a test needs to succeed but is not about.
inline void require(perturb_status status) {
  if (status != PERTURB_OK) throw std::runtime_error(std::string(perturb_status_name(status)) + ": " + perturb_last_error());
}

// Forces an instruction set for contexts created in this scope ("" leaves the choice to the library).
class isa_override {
 public:
  explicit isa_override(const char* isa) {
    const char* before = std::getenv("PERTURB_ISA");
    if (before) before_ = before;
    had_ = before != nullptr;
    if (*isa) setenv("PERTURB_ISA", isa, 1);
  }
  ~isa_override() {
    if (had_)
      setenv("PERTURB_ISA", before_.c_str(), 1);
    else
      unsetenv("PERTURB_ISA");
  }
  isa_override(const isa_override&) = delete;
  isa_override& operator=(const isa_override&) = delete;

 private:
  std::string before_;
  bool had_ = false;
};

inline context_ptr make_context(int32_t threads = 1, perturb_allocator host = {nullptr, nullptr, nullptr}) {
  perturb_context_options options = PERTURB_CONTEXT_OPTIONS_INIT;
  options.backend = PERTURB_BACKEND_CPU;
  options.threads = threads;
  options.host_allocator = host;
  perturb_context* context = nullptr;
  require(perturb_context_create(&options, &context));
  return context_ptr(context);
}

// nullptr where this machine or this build lacks what the options ask for.
inline context_ptr make_context_if_there(const perturb_context_options& options) {
  perturb_context* context = nullptr;
  const perturb_status status = perturb_context_create(&options, &context);
  if (status == PERTURB_ERROR_BACKEND_UNAVAILABLE) return nullptr;
  require(status);
  return context_ptr(context);
}
inline context_ptr make_cuda_context(void* stream = nullptr) {
  perturb_context_options options = PERTURB_CONTEXT_OPTIONS_INIT;
  options.backend = PERTURB_BACKEND_CUDA;
  options.stream = stream;
  return make_context_if_there(options);
}
inline context_ptr make_context_on(const char* isa, int32_t threads) {
  isa_override scope(isa);
  perturb_context_options options = PERTURB_CONTEXT_OPTIONS_INIT;
  options.backend = PERTURB_BACKEND_CPU;
  options.threads = threads;
  return make_context_if_there(options);
}

inline oracle_ptr make_argmax(int64_t n) {
  perturb_oracle* oracle = nullptr;
  require(perturb_argmax_create(n, &oracle));
  return oracle_ptr(oracle);
}
inline oracle_ptr make_top_k(int64_t n, int64_t k) {
  perturb_oracle* oracle = nullptr;
  require(perturb_top_k_create(n, k, &oracle));
  return oracle_ptr(oracle);
}
inline oracle_ptr make_top_k_rows(int64_t n, const std::vector<int64_t>& k) {
  perturb_oracle* oracle = nullptr;
  require(perturb_top_k_rows_create(n, static_cast<int64_t>(k.size()), k.data(), &oracle));
  return oracle_ptr(oracle);
}
inline oracle_ptr make_rank(int64_t n, int32_t descending = 0, int32_t base = 1) {
  perturb_rank_options options = PERTURB_RANK_OPTIONS_INIT;
  options.descending = descending;
  options.base = base;
  perturb_oracle* oracle = nullptr;
  require(perturb_rank_create(n, &options, &oracle));
  return oracle_ptr(oracle);
}
inline oracle_ptr make_sort(int64_t n, int32_t descending = 0) {
  perturb_oracle* oracle = nullptr;
  require(perturb_sort_create(n, descending, &oracle));
  return oracle_ptr(oracle);
}
inline oracle_ptr make_ordered_top_k(int64_t n, int64_t k) {
  perturb_oracle* oracle = nullptr;
  require(perturb_ordered_top_k_create(n, k, &oracle));
  return oracle_ptr(oracle);
}
inline oracle_ptr make_grid(const perturb_grid_path_options& options) {
  perturb_oracle* oracle = nullptr;
  require(perturb_grid_path_create(&options, &oracle));
  return oracle_ptr(oracle);
}

inline oracle_ptr make_custom(const perturb_custom_options& options) {
  perturb_oracle* oracle = nullptr;
  require(perturb_custom_create(&options, &oracle));
  return oracle_ptr(oracle);
}
// The argmax of six as a solver of the caller's.
inline oracle_ptr make_custom_argmax() {
  perturb_custom_options options = PERTURB_CUSTOM_OPTIONS_INIT;
  options.n = options.m = 6;
  options.thread_safe = 1;
  options.solve = [](int64_t count, const float* theta, float* y, void*, void*) -> int32_t {
    for (int64_t k = 0; k < count; ++k, theta += 6, y += 6) {
      int best = 0;
      for (int i = 1; i < 6; ++i)
        if (theta[i] > theta[best]) best = i;
      for (int i = 0; i < 6; ++i) y[i] = i == best;
    }
    return 0;
  };
  return make_custom(options);
}

inline perturb_noise make_noise(perturb_distribution distribution, float epsilon, int64_t samples, uint64_t seed = 1) {
  perturb_noise noise = PERTURB_NOISE_INIT;
  noise.distribution = distribution;
  noise.epsilon = epsilon;
  noise.samples = samples;
  noise.seed = seed;
  return noise;
}

// A well mixed word for (seed, index): test inputs are functions of their index, never of the order of the tests.
inline uint64_t hashed(uint64_t seed, uint64_t index) {
  uint64_t x = (index + 1) * 0x9e3779b97f4a7c15u + (seed + 1) * 0xd1342543de82ef95u;
  for (int round = 0; round < 3; ++round) {
    x ^= x >> 29;
    x *= 0xbf58476d1ce4e5b9u;
  }
  return x ^ (x >> 32);
}
inline double uniform(uint64_t seed, uint64_t index) { return static_cast<double>(hashed(seed, index) >> 11) * 0x1p-53; }
inline float uniform_float(uint64_t seed, uint64_t index, double low, double high) {
  return static_cast<float>(low + (high - low) * uniform(seed, index));
}

}  // namespace perturb::test
