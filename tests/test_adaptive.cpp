// Adaptive sampling: the bits of one call with as many samples, errors within their bounds, or NOT_CONVERGED with everything written.
#include <gtest/gtest.h>

#include "composed.h"

namespace perturb::test {
namespace {

struct adaptive_call {
  perturb_adaptive_options options = PERTURB_ADAPTIVE_OPTIONS_INIT;
  std::vector<float> y, y_error, value, value_error;
  int64_t samples = -1;
  perturb_status status = PERTURB_ERROR_INTERNAL;

  void run(perturb_context* context, const prepared_case& p, const perturb_noise& noise) {
    const int64_t n = p.c.n, B = p.c.batch;
    y.resize(B * n);
    y_error.resize(B * n);
    value.resize(B);
    value_error.resize(B);
    status = perturb_expectation_adaptive(context, p.oracle.get(), &noise, B, p.theta.data(), &options, y.data(), y_error.data(), value.data(),
                                          value_error.data(), &samples);
  }
  // Of one call with as many samples.
  testing::AssertionResult has_the_bits(perturb_context* context, const prepared_case& p, perturb_noise noise) const {
    noise.samples = samples;
    std::vector<float> e[4] = {y, y_error, value, value_error};
    require(perturb_expectation(context, p.oracle.get(), &noise, p.c.batch, p.theta.data(), e[0].data(), e[1].data(), e[2].data(), e[3].data()));
    const std::vector<float>* got[] = {&y, &y_error, &value, &value_error};
    for (int o = 0; o < 4; ++o) {
      const auto same = same_bits(e[o], *got[o]);
      if (!same) return testing::AssertionFailure() << "output " << o << ": " << same.message();
    }
    return testing::AssertionSuccess();
  }
};

float largest(const std::vector<float>& x) { return *std::max_element(x.begin(), x.end()); }

TEST(adaptive, bits_of_one_call) {
  const context_ptr context = make_context(2), other = make_context(1);
  for (test_case c : cases()) {
    if (!c.has_std_errors() || c.is_sort() || c.n > 40 || c.first_sample > 1000000000) continue;
    c.samples = 20;
    const prepared_case p(context.get(), c);
    const perturb_noise noise = make_noise(p.c, p.factors);
    adaptive_call call;
    call.options.y_std_error = c.oracle == oracle_kind::rank ? 0.4f : 0.03f;
    call.options.max_samples = 900;
    call.run(context.get(), p, noise);
    ASSERT_TRUE(call.status == PERTURB_OK || call.status == PERTURB_ERROR_NOT_CONVERGED) << c.name << perturb_last_error();
    EXPECT_EQ(call.status == PERTURB_OK, largest(call.y_error) <= call.options.y_std_error) << c.name;
    if (call.status != PERTURB_OK) {
      EXPECT_EQ(call.samples, 900);
    }
    EXPECT_TRUE(call.has_the_bits(other.get(), p, noise)) << c.name;
    adaptive_call again;
    again.options = call.options;
    again.run(other.get(), p, noise);
    EXPECT_EQ(call.samples, again.samples);
  }
}

// How many samples: about as many as the error asks for, and no more rounds than that.
TEST(adaptive, samples) {
  const context_ptr context = make_context(2);
  case_list list;
  test_case c = list.argmax_case(8);
  c.samples = 50;
  const prepared_case p(context.get(), c);
  const perturb_noise noise = make_noise(p.c, p.factors);
  int64_t before = 0;
  for (float bound : {0.5f, 0.02f, 0.01f, 0.005f, 0.0025f}) {
    adaptive_call call;
    call.options.y_std_error = bound;
    call.run(context.get(), p, noise);
    ASSERT_EQ(call.status, PERTURB_OK) << perturb_last_error();
    EXPECT_STREQ(perturb_last_error(), "");
    EXPECT_LE(largest(call.y_error), bound);
    if (bound == 0.5f) {
      EXPECT_EQ(call.samples, 50);  // the first part was enough
    } else {
      EXPECT_GE(largest(call.y_error), 0.8f * bound);
      EXPECT_GT(call.samples, 2 * before);
    }
    before = call.samples;
  }
  // The value's bound, alone and with the other.
  adaptive_call both;
  both.options.value_std_error = 0.004f;
  both.run(context.get(), p, noise);
  ASSERT_EQ(both.status, PERTURB_OK);
  EXPECT_LE(largest(both.value_error), 0.004f);
  EXPECT_GT(both.samples, 50);
  const int64_t for_value = both.samples;
  both.options.y_std_error = 0.001f;
  both.run(context.get(), p, noise);
  EXPECT_LE(largest(both.y_error), 0.001f);
  EXPECT_LE(largest(both.value_error), 0.004f);
  EXPECT_GT(both.samples, for_value);
}

TEST(adaptive, not_converged) {
  const context_ptr context = make_context(2);
  case_list list;
  test_case c = list.top_k_case(9, 4);
  c.samples = 2;
  const prepared_case p(context.get(), c);
  const perturb_noise noise = make_noise(p.c, p.factors);
  adaptive_call call;
  call.options.y_std_error = 1e-6f;
  for (int64_t most : {2, 3, 777}) {
    call.options.max_samples = most;
    call.run(context.get(), p, noise);
    EXPECT_EQ(call.status, PERTURB_ERROR_NOT_CONVERGED);
    EXPECT_NE(std::string(perturb_last_error()).find("options.max_samples"), std::string::npos) << perturb_last_error();
    EXPECT_EQ(call.samples, most);
    EXPECT_TRUE(call.has_the_bits(context.get(), p, noise));
  }
  // Outputs that are not wanted need not be given.
  std::vector<float> y(p.c.batch * 9);
  int64_t samples = 0;
  EXPECT_EQ(perturb_expectation_adaptive(context.get(), p.oracle.get(), &noise, p.c.batch, p.theta.data(), &call.options, y.data(), nullptr, nullptr, nullptr,
                                         &samples),
            PERTURB_ERROR_NOT_CONVERGED);
  EXPECT_TRUE(same_bits(call.y, y));
  EXPECT_EQ(samples, 777);
}

TEST(adaptive, refusals) {
  watching_allocator allocator;
  {
    const context_ptr context = make_context(1, allocator.hooks());
    const oracle_ptr oracle = make_argmax(3), custom = make_custom_argmax();
    const float theta[] = {1, 2, 3, 4, 5, 6};
    std::vector<float> y(6);
    int64_t samples = -7;
    const perturb_noise valid = make_noise(PERTURB_NORMAL, 1, 4);
    perturb_adaptive_options good = PERTURB_ADAPTIVE_OPTIONS_INIT;
    good.y_std_error = 0.5f;
    const auto refuses = [&](perturb_status expected, const char* name, const perturb_oracle* o, perturb_noise noise, const perturb_adaptive_options* options,
                             const float* t, float* out, int64_t* used) {
      fill_canary(y);
      EXPECT_EQ(perturb_expectation_adaptive(context.get(), o, &noise, 1, t, options, out, nullptr, nullptr, nullptr, used), expected) << name;
      EXPECT_NE(std::string(perturb_last_error()).find(name), std::string::npos) << perturb_last_error();
      EXPECT_TRUE(untouched(y));
      EXPECT_EQ(samples, -7);
    };
    const auto invalid = PERTURB_ERROR_INVALID_ARGUMENT, unsupported = PERTURB_ERROR_UNSUPPORTED;
    const auto spoiled = [&](perturb_status expected, const char* name, auto spoil) {
      perturb_adaptive_options options = good;
      spoil(options);
      refuses(expected, name, oracle.get(), valid, &options, theta, y.data(), &samples);
    };
    spoiled(PERTURB_ERROR_INVALID_STRUCT, "options.struct_size", [](auto& o) { o.struct_size = 3; });
    spoiled(invalid, "options.y_std_error", [](auto& o) { o.y_std_error = -1; });
    spoiled(invalid, "options.y_std_error", [](auto& o) { o.y_std_error = NAN; });
    spoiled(invalid, "options.value_std_error", [](auto& o) { o.value_std_error = HUGE_VALF; });
    spoiled(invalid, "options.y_std_error, options.value_std_error", [](auto& o) { o.y_std_error = 0; });
    spoiled(invalid, "options.max_samples", [](auto& o) { o.max_samples = 3; });
    spoiled(invalid, "options.max_samples", [](auto& o) { o.max_samples = (int64_t{1} << 32) + 1; });
    refuses(invalid, "options", oracle.get(), valid, nullptr, theta, y.data(), &samples);
    refuses(invalid, "samples_used", oracle.get(), valid, &good, theta, y.data(), nullptr);
    refuses(invalid, "theta", oracle.get(), valid, &good, nullptr, y.data(), &samples);
    refuses(invalid, "y_mean", oracle.get(), valid, &good, theta, nullptr, &samples);
    refuses(invalid, "oracle", nullptr, valid, &good, theta, y.data(), &samples);
    perturb_noise noise = valid;
    noise.samples = 1;
    refuses(invalid, "noise.samples", oracle.get(), noise, &good, theta, y.data(), &samples);
    noise = valid;
    noise.sampling = PERTURB_SAMPLING_ANTITHETIC;
    refuses(unsupported, "antithetic", oracle.get(), noise, &good, theta, y.data(), &samples);
    refuses(unsupported, "oracle", custom.get(), valid, &good, theta, y.data(), &samples);

    // Memory that cannot be had.
    for (int64_t k = 0;; ++k) {
      fill_canary(y);
      allocator.fail_at = allocator.calls + k;
      const perturb_status status =
          perturb_expectation_adaptive(context.get(), oracle.get(), &valid, 1, theta, &good, y.data(), nullptr, nullptr, nullptr, &samples);
      if (status == PERTURB_OK) {
        EXPECT_GT(k, 2);
        break;
      }
      EXPECT_EQ(status, PERTURB_ERROR_OUT_OF_MEMORY);
      EXPECT_TRUE(untouched(y));
    }
    samples = -7;
    EXPECT_EQ(perturb_expectation_adaptive(context.get(), oracle.get(), &valid, 0, nullptr, &good, nullptr, nullptr, nullptr, nullptr, &samples), PERTURB_OK);
    EXPECT_EQ(samples, 0);
  }
  EXPECT_EQ(allocator.verdict(), "");
}

}  // namespace
}  // namespace perturb::test
