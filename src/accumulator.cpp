// extern "C": accumulators. Sums of samples are integers, so adding them in parts gives what one call gives (docs/determinism.md).
#include "accumulator.h"

#include <algorithm>
#include <cstring>
#include <memory>

#include "accumulator_bytes.h"
#include "check.h"
#include "execute.h"
#include "guard.h"

namespace perturb {

int64_t sample_set::shared(const sample_range& range) const {
  for (const sample_range& r : ranges_)
    if (r.first < range.last && range.first < r.last) return std::max(r.first, range.first);
  return -1;
}

void sample_set::add(const sample_range& range) {
  std::vector<sample_range> all = ranges_;
  all.insert(std::find_if(all.begin(), all.end(), [&](const sample_range& r) { return r.first > range.first; }), range);
  std::vector<sample_range> joined;
  for (const sample_range& r : all) {
    if (!joined.empty() && joined.back().last == r.first) {
      joined.back().last = r.last;
    } else {
      joined.push_back(r);
    }
  }
  ranges_ = std::move(joined);
}

int64_t sample_set::size() const {
  int64_t total = 0;
  for (const sample_range& r : ranges_) total += r.last - r.first;
  return total;
}

namespace {

struct destroy {
  void operator()(perturb_accumulator* a) const { perturb_accumulator_destroy(a); }
};
using accumulator_ptr = std::unique_ptr<perturb_accumulator, destroy>;

size_t host_bytes(const perturb_accumulator& a) { return (size_t)a.word_count() * sizeof(int64_t) + (size_t)a.call.batch * 3 * sizeof(int128) + sizeof(int128); }

// The sums behind the words, aligned.
int128* sums_of(const perturb_accumulator& a) {
  const uintptr_t at = (uintptr_t)(a.words + a.word_count());
  return reinterpret_cast<int128*>((at + sizeof(int128) - 1) / sizeof(int128) * sizeof(int128));
}

perturb_status allocate(perturb_accumulator& a) {
  if (!on_host(*a.context)) {
    if (const perturb_status s = cuda_allocate_words(a.context->cuda, a.word_count(), &a.words)) return s;
    return cuda_clear_words(a.context->cuda, a.words, a.word_count());
  }
  a.words = static_cast<int64_t*>(a.context->allocate(host_bytes(a)));
  if (!a.words) return fail(PERTURB_ERROR_OUT_OF_MEMORY, "accumulator: %zu bytes cannot be had", host_bytes(a));
  a.sums = sums_of(a);
  std::memset(static_cast<void*>(a.words), 0, host_bytes(a));
  return PERTURB_OK;
}

// The call that adds samples, or that makes results of them.
call part_of(const perturb_accumulator& a, call_part part, int64_t first_sample, int64_t samples, const float* theta, const float* operand) {
  call c = a.call;
  c.part = part;
  c.first_sample = first_sample;
  c.samples = samples;
  c.theta = theta;
  c.operand = operand;
  c.words = a.words;
  c.sums = a.sums;
  return c;
}

// The rows of the saved form. CUDA keeps a sum as its low 32 bits and the rest.
perturb_status gather_rows(const perturb_accumulator& a, std::vector<int64_t>& rows) {
  const int64_t width = a.words_per_row + saved_sum_words;
  rows.resize((size_t)(a.call.batch * width));
  if (!on_host(*a.context)) {
    static_assert(cuda_sum_words == saved_sum_words);
    if (const perturb_status s = cuda_read_words(a.context->cuda, a.words, rows.data(), a.word_count())) return s;
  }
  for (int64_t b = 0; b < a.call.batch; ++b) {
    int64_t* row = rows.data() + b * width;
    if (on_host(*a.context)) std::copy_n(a.words + b * a.stride, a.words_per_row, row);
    for (int s = 0; s < 3; ++s) {
      int64_t* at = row + a.words_per_row + 2 * s;
      const int128 sum = on_host(*a.context) ? a.sums[3 * b + s] : ((int128)at[1] << 32) + at[0];
      at[0] = (int64_t)(uint64_t)sum;
      at[1] = (int64_t)(sum >> 64);
    }
  }
  return PERTURB_OK;
}

// Adds rows of the saved form.
perturb_status scatter_rows(perturb_accumulator& a, const unsigned char* bytes) {
  const int64_t width = a.words_per_row + saved_sum_words;
  const auto word = [&](int64_t i) { return (int64_t)word_at(bytes + 8 * i); };
  std::vector<int64_t> rows;
  if (!on_host(*a.context)) rows.resize((size_t)a.word_count());
  for (int64_t b = 0; b < a.call.batch; ++b) {
    int64_t* to = on_host(*a.context) ? a.words + b * a.stride : rows.data() + b * a.stride;
    for (int64_t w = 0; w < a.words_per_row; ++w) to[w] += word(b * width + w);
    for (int s = 0; s < 3; ++s) {
      const int64_t at = b * width + a.words_per_row + 2 * s;
      const int128 sum = ((int128)word(at + 1) << 64) + (uint64_t)word(at);
      if (on_host(*a.context)) {
        a.sums[3 * b + s] += sum;
      } else {
        to[a.words_per_row + 2 * s] = (int64_t)(uint32_t)sum;
        to[a.words_per_row + 2 * s + 1] = (int64_t)(sum >> 32);
      }
    }
  }
  if (on_host(*a.context)) return PERTURB_OK;
  // Through memory of its own, so that a failure leaves the sums as they were.
  int64_t* staged = nullptr;
  if (const perturb_status s = cuda_allocate_words(a.context->cuda, a.word_count(), &staged)) return s;
  perturb_status status = cuda_write_words(a.context->cuda, staged, rows.data(), a.word_count());
  if (status == PERTURB_OK) status = cuda_add_words(a.context->cuda, a.words, staged, a.word_count());
  cuda_release_words(a.context->cuda, staged, a.word_count());
  return status;
}

// The set with more ranges, all of them new to it, if the estimate allows so many samples.
perturb_status extend(const perturb_accumulator& a, const std::vector<sample_range>& ranges, sample_set& after) {
  after = a.samples;
  for (const sample_range& r : ranges) {
    const int64_t shared = after.shared(r);
    if (shared >= 0) return fail(PERTURB_ERROR_INVALID_ARGUMENT, "first_sample: sample %lld was added before", (long long)shared);
    after.add(r);
  }
  call together = a.call;
  together.samples = after.size();
  return check_sizes(together);
}

}  // namespace
}  // namespace perturb

using namespace perturb;

perturb_status perturb_accumulator_create(perturb_context* context, perturb_operation operation, const perturb_oracle* oracle, const perturb_noise* noise, int64_t batch,
                                          perturb_accumulator** accumulator) {
  return guarded([&]() -> perturb_status {
    if (const perturb_status s = not_null("accumulator", accumulator)) return s;
    *accumulator = nullptr;
    if (const perturb_status s = not_null("context", context)) return s;
    if (const perturb_status s = check_operation(operation)) return s;
    if (operation < PERTURB_OP_EXPECTATION || operation > PERTURB_OP_FENCHEL_YOUNG)
      return fail(PERTURB_ERROR_UNSUPPORTED, "operation: accumulators are for EXPECTATION, VJP, JVP, JACOBIAN and FENCHEL_YOUNG, got %d", (int)operation);
    if (const perturb_status s = not_null("oracle", oracle)) return s;
    perturb_noise any;
    if (const perturb_status s = check_noise_struct(noise, any)) return s;
    if (enum_number(any.distribution) == PERTURB_GIVEN)
      return fail(PERTURB_ERROR_UNSUPPORTED, "noise.distribution: GIVEN noise is an array of one call; accumulators draw their own");
    if (enum_number(any.sampling) == PERTURB_SAMPLING_LATIN)
      return fail(PERTURB_ERROR_UNSUPPORTED, "noise.sampling: LATIN strata are made of all samples of one call; accumulators take samples in parts");
    any.samples = 2;
    any.first_sample = 0;
    accumulator_ptr made(new perturb_accumulator);
    call& c = made->call;
    c.operation = operation;
    c.oracle = oracle;
    c.batch = batch;
    if (const perturb_status s = check_noise(&any, batch, oracle->n, on_host(*context), c)) return s;
    if (const perturb_status s = check_size("batch", batch, 1, INT64_C(1) << 32)) return s;
    if (const perturb_status s = check_oracle(c, on_host(*context))) return s;
    if (oracle->custom) return fail(PERTURB_ERROR_UNSUPPORTED, "oracle: the sums of a solver of the caller's are not integers, and cannot be kept between calls");
    if (oracle->grid && oracle->grid->refuse_negative && !on_host(*context))  // add() returns before the device has looked at a cost
      return fail(PERTURB_ERROR_UNSUPPORTED, "oracle: on a CUDA context accumulators need a grid with options.negative CLAMP");
    if (const perturb_status s = check_sizes(c)) return s;
    made->context = context;
    made->seed = noise->seed;
    made->words_per_row = on_host(*context) ? context->cpu->row_words(c) : cuda_row_words(c) - cuda_sum_words;
    made->stride = made->words_per_row + (on_host(*context) ? 0 : cuda_sum_words);
    if (const perturb_status s = allocate(*made)) return s;
    *accumulator = made.release();
    return PERTURB_OK;
  });
}

void perturb_accumulator_destroy(perturb_accumulator* accumulator) {
  if (!accumulator) return;
  if (accumulator->words) {
    if (on_host(*accumulator->context)) {
      accumulator->context->deallocate(accumulator->words, host_bytes(*accumulator));
    } else {
      cuda_release_words(accumulator->context->cuda, accumulator->words, accumulator->word_count());
    }
  }
  delete accumulator;
}

perturb_status perturb_accumulator_add(perturb_accumulator* accumulator, int64_t first_sample, int64_t samples, const float* theta, const float* operand) {
  return guarded([&]() -> perturb_status {
    if (const perturb_status s = not_null("accumulator", accumulator)) return s;
    perturb_accumulator& a = *accumulator;
    constexpr int64_t limit = INT64_C(1) << 32;
    if (const perturb_status s = check_size("samples", samples, 1, limit)) return s;
    if (const perturb_status s = check_size("first_sample", first_sample, 0, limit - samples)) return s;
    if (a.call.antithetic && (samples % 2 != 0 || first_sample % 2 != 0))
      return fail(PERTURB_ERROR_INVALID_ARGUMENT, "samples, first_sample: antithetic samples come in pairs; expected even numbers, got %lld and %lld", (long long)samples,
                  (long long)first_sample);
    const sample_range range = {first_sample, first_sample + samples};
    sample_set after;
    if (const perturb_status s = extend(a, {range}, after)) return s;
    call c = part_of(a, call_part::sums, first_sample, samples, theta, operand);
    if (const perturb_status s = check_arrays(c, 0)) return s;
    if (on_host(*a.context)) {
      if (const perturb_status s = check_contents(c)) return s;
    }
    float all_outputs;  // every sum is kept, whichever outputs are asked for later
    for (int o = 0; o < (a.call.oracle->has_value() ? 4 : 2); ++o) c.output[o] = &all_outputs;
    if (const perturb_status s = execute(*a.context, c)) return s;
    a.samples = std::move(after);
    return PERTURB_OK;
  });
}

perturb_status perturb_accumulator_result(perturb_accumulator* accumulator, const float* theta, const float* operand, float* const* outputs) {
  return guarded([&]() -> perturb_status {
    if (const perturb_status s = not_null("accumulator", accumulator)) return s;
    if (const perturb_status s = not_null("outputs", outputs)) return s;
    perturb_accumulator& a = *accumulator;
    if (a.samples.size() == 0) return fail(PERTURB_ERROR_INVALID_ARGUMENT, "accumulator: has no samples yet");
    call c = part_of(a, call_part::results, 0, a.samples.size(), theta, operand);
    c.baseline = a.call.baseline == centring::leave_one_out && c.samples == 1 ? centring::none : a.call.baseline;
    const int count = c.operation == PERTURB_OP_EXPECTATION ? 4 : c.operation == PERTURB_OP_FENCHEL_YOUNG ? 3 : 1;
    for (int o = 0; o < count; ++o) c.output[o] = outputs[o];
    if (const perturb_status s = check_oracle(c, on_host(*a.context))) return s;
    if (const perturb_status s = check_arrays(c, c.operation == PERTURB_OP_FENCHEL_YOUNG ? 0 : 1)) return s;
    if (on_host(*a.context)) {
      if (const perturb_status s = check_contents(c)) return s;
    }
    return execute(*a.context, c);
  });
}

int64_t perturb_accumulator_samples(const perturb_accumulator* accumulator) { return accumulator ? accumulator->samples.size() : 0; }

perturb_status perturb_accumulator_merge(perturb_accumulator* accumulator, const perturb_accumulator* other) {
  return guarded([&]() -> perturb_status {
    if (const perturb_status s = not_null("accumulator", accumulator)) return s;
    if (const perturb_status s = not_null("other", other)) return s;
    perturb_accumulator& a = *accumulator;
    if (a.context->backend != other->context->backend || (!on_host(*a.context) && a.context->cuda.ordinal != other->context->cuda.ordinal))
      return fail(PERTURB_ERROR_INVALID_ARGUMENT, "other: lives on another device; save it and load the bytes");
    if (const perturb_status s = check_same_estimate(a, *other)) return s;
    sample_set after;
    if (const perturb_status s = extend(a, other->samples.ranges(), after)) return s;
    if (on_host(*a.context)) {
      for (int64_t w = 0; w < a.word_count(); ++w) a.words[w] += other->words[w];
      for (int64_t s = 0; s < 3 * a.call.batch; ++s) a.sums[s] += other->sums[s];
    } else if (const perturb_status s = cuda_add_words(a.context->cuda, a.words, other->words, a.word_count())) {
      return s;
    }
    a.samples = std::move(after);
    return PERTURB_OK;
  });
}

perturb_status perturb_accumulator_save(const perturb_accumulator* accumulator, void* bytes, size_t* size) {
  return guarded([&]() -> perturb_status {
    if (const perturb_status s = not_null("accumulator", accumulator)) return s;
    if (const perturb_status s = not_null("size", size)) return s;
    const size_t needed = saved_size(*accumulator);
    if (!bytes) {
      *size = needed;
      return PERTURB_OK;
    }
    if (*size < needed) return fail(PERTURB_ERROR_INVALID_ARGUMENT, "size: expected at least %zu, got %zu", needed, *size);
    std::vector<int64_t> rows;
    if (const perturb_status s = gather_rows(*accumulator, rows)) return s;
    write_accumulator(*accumulator, rows.data(), bytes);
    *size = needed;
    return PERTURB_OK;
  });
}

perturb_status perturb_accumulator_load(perturb_accumulator* accumulator, const void* bytes, size_t size) {
  return guarded([&]() -> perturb_status {
    if (const perturb_status s = not_null("accumulator", accumulator)) return s;
    if (const perturb_status s = not_null("bytes", bytes)) return s;
    perturb_accumulator& a = *accumulator;
    saved_accumulator saved;
    if (const perturb_status s = read_accumulator(a, bytes, size, saved)) return s;
    sample_set after;
    if (const perturb_status s = extend(a, saved.ranges, after)) return s;
    if (const perturb_status s = scatter_rows(a, saved.rows)) return s;
    a.samples = std::move(after);
    return PERTURB_OK;
  });
}
