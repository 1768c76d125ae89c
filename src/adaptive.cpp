// extern "C": an expectation with as many samples as its standard errors need, over an accumulator.
#include <algorithm>
#include <cinttypes>
#include <cmath>
#include <memory>
#include <vector>

#include "accumulator.h"
#include "check.h"
#include "execute.h"
#include "guard.h"

namespace perturb {
namespace {

// Floats of the context's memory that the host reads.
class error_memory {
 public:
  explicit error_memory(perturb_context& context) : context_(context) {}
  ~error_memory() {
    if (!words_) return;
    if (on_host(context_)) {
      context_.deallocate(words_, bytes());
    } else {
      cuda_release(context_.cuda, words_, bytes());
    }
  }
  error_memory(const error_memory&) = delete;
  error_memory& operator=(const error_memory&) = delete;

  perturb_status acquire(int64_t floats) {
    word_count_ = (floats + 1) / 2;
    if (!on_host(context_)) {
      host_.resize((size_t)word_count_);
      return cuda_allocate(context_.cuda, bytes(), "standard errors", &words_);
    }
    words_ = context_.allocate(bytes());
    return words_ ? PERTURB_OK : fail(PERTURB_ERROR_OUT_OF_MEMORY, "standard errors: %zu bytes cannot be had", bytes());
  }
  float* floats() const { return static_cast<float*>(words_); }
  // Waits for the stream.
  perturb_status read(const float*& values) {
    if (on_host(context_)) {
      values = floats();
      return PERTURB_OK;
    }
    values = reinterpret_cast<const float*>(host_.data());
    return cuda_read_words(context_.cuda, static_cast<const int64_t*>(words_), host_.data(), word_count_);
  }

 private:
  size_t bytes() const { return (size_t)word_count_ * sizeof(int64_t); }

  perturb_context& context_;
  void* words_ = nullptr;
  int64_t word_count_ = 0;
  std::vector<int64_t> host_;
};

// The largest of the errors in units of the bound; NaN, of rows that the device refused, is none.
double largest_excess(const float* errors, int64_t count, float bound) {
  float largest = 0.0f;
  for (int64_t i = 0; i < count; ++i)
    if (errors[i] > largest) largest = errors[i];
  return (double)largest / (double)bound;
}

// Samples in all that should bring an error that is `excess` times too large within its bound, with a tenth to spare; at least a quarter more.
int64_t next_total(int64_t samples, double excess, int64_t most) {
  const double wanted = std::ceil((double)samples * std::max(1.25, 1.1 * excess * excess));
  return wanted < (double)most ? (int64_t)wanted : most;
}

perturb_status check_adaptive_options(const perturb_adaptive_options* options, const perturb_noise& noise) {
  if (const perturb_status s = not_null("options", options)) return s;
  if (options->struct_size != sizeof *options)
    return fail(PERTURB_ERROR_INVALID_STRUCT, "options.struct_size: expected %zu, got %u; use the _INIT macro", sizeof *options,
                (unsigned)options->struct_size);
  for (const auto& [name, bound] : {std::pair{"options.y_std_error", options->y_std_error}, std::pair{"options.value_std_error", options->value_std_error}})
    if (!(bound >= 0.0f && std::isfinite(bound))) return fail(PERTURB_ERROR_INVALID_ARGUMENT, "%s: expected a finite number >= 0, got %g", name, (double)bound);
  if (options->y_std_error == 0.0f && options->value_std_error == 0.0f)
    return fail(PERTURB_ERROR_INVALID_ARGUMENT, "options.y_std_error, options.value_std_error: expected one of them to be > 0");
  return check_size("options.max_samples", options->max_samples, noise.samples, (INT64_C(1) << 32) - noise.first_sample);
}

struct destroy {
  void operator()(perturb_accumulator* a) const { perturb_accumulator_destroy(a); }
};

}  // namespace
}  // namespace perturb

using namespace perturb;

perturb_status perturb_expectation_adaptive(perturb_context* context, const perturb_oracle* oracle, const perturb_noise* noise, int64_t batch,
                                            const float* theta, const perturb_adaptive_options* options, float* y_mean, float* y_std_error, float* value,
                                            float* value_std_error, int64_t* samples_used) {
  return guarded([&]() -> perturb_status {
    if (const perturb_status s = not_null("context", context)) return s;
    if (const perturb_status s = not_null("oracle", oracle)) return s;
    const bool host = on_host(*context);
    call c;
    c.operation = PERTURB_OP_EXPECTATION;
    c.oracle = oracle;
    c.batch = batch;
    if (const perturb_status s = check_noise(noise, batch, oracle->n, host, c)) return s;
    if (const perturb_status s = check_size("noise.samples", noise->samples, 2, INT64_C(1) << 32)) return s;
    if (const perturb_status s = check_adaptive_options(options, *noise)) return s;
    if (const perturb_status s = not_null("samples_used", samples_used)) return s;
    if (const perturb_status s = check_oracle(c, host)) return s;
    if (!host && cuda_is_capturing(context->cuda))
      return fail(PERTURB_ERROR_UNSUPPORTED, "context: its stream is being captured, and adaptive sampling waits for the stream to read errors");
    // The whole call, with every output whose limits the errors bring.
    c.samples = options->max_samples;
    if (const perturb_status s = check_sizes(c)) return s;
    if (batch == 0) {
      *samples_used = 0;
      return PERTURB_OK;
    }
    error_memory memory(*context);
    const int64_t entries = batch * c.m();
    if (const perturb_status s = memory.acquire(2 * entries + batch)) return s;
    float* const mean = memory.floats();  // the accumulator wants it with the errors
    float* const y_error = options->y_std_error > 0.0f ? mean + entries : nullptr;
    float* const value_error = options->value_std_error > 0.0f ? mean + 2 * entries : nullptr;
    c.theta = theta;
    float* const errors[] = {mean, y_error, nullptr, value_error};
    float* const outputs[] = {y_mean, y_std_error, value, value_std_error};
    for (float* const* each : {errors, outputs}) {
      std::copy_n(each, 4, c.output);
      if (const perturb_status s = check_oracle(c, host)) return s;
      if (const perturb_status s = check_arrays(c, 1)) return s;
    }
    if (host) {
      if (const perturb_status s = check_contents(c)) return s;
    }
    perturb_accumulator* made = nullptr;
    if (const perturb_status s = perturb_accumulator_create(context, PERTURB_OP_EXPECTATION, oracle, noise, batch, &made)) return s;
    const std::unique_ptr<perturb_accumulator, destroy> accumulator(made);

    int64_t samples = 0, total = noise->samples;
    double excess = HUGE_VAL;
    for (;;) {
      if (const perturb_status s = perturb_accumulator_add(made, noise->first_sample + samples, total - samples, theta, nullptr)) return s;
      samples = total;
      if (const perturb_status s = perturb_accumulator_result(made, theta, nullptr, errors)) return s;
      const float* read = nullptr;
      if (const perturb_status s = memory.read(read)) return s;
      excess = 0.0;
      if (y_error) excess = largest_excess(read + entries, entries, options->y_std_error);
      if (value_error) excess = std::max(excess, largest_excess(read + 2 * entries, batch, options->value_std_error));
      if (excess <= 1.0 || samples == options->max_samples) break;
      total = next_total(samples, excess, options->max_samples);
    }
    if (const perturb_status s = perturb_accumulator_result(made, theta, nullptr, outputs)) return s;
    *samples_used = samples;
    if (excess <= 1.0) return PERTURB_OK;
    return fail(PERTURB_ERROR_NOT_CONVERGED, "options.max_samples: %" PRId64 " samples leave an error of %g times its bound; the outputs are written", samples,
                excess);
  });
}
