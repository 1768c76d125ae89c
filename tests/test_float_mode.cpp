// The host program's floating-point mode: flush-to-zero, denormals-are-zero, directed rounding and unmasked traps change no bit of a
// result, stop no call, and are as they were afterwards.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "support.h"

#if defined(__x86_64__)
#include <xmmintrin.h>

namespace {

using namespace perturb::test;

struct results {
  std::vector<float> mean = std::vector<float>(100), gradient = std::vector<float>(100);
  float value = 0.0f;
  bool operator==(const results& other) const {
    return std::memcmp(mean.data(), other.mean.data(), 400) == 0 && std::memcmp(gradient.data(), other.gradient.data(), 400) == 0 &&
           std::memcmp(&value, &other.value, 4) == 0;
  }
};

struct fixture {
  context_ptr context;
  oracle_ptr oracle;
  std::vector<float> theta, cotangent;
  perturb_noise noise = PERTURB_NOISE_INIT;

  explicit fixture(int threads) {
    perturb_context_options options = PERTURB_CONTEXT_OPTIONS_INIT;
    options.backend = PERTURB_BACKEND_CPU;
    options.threads = threads;
    perturb_context* c = nullptr;
    require(perturb_context_create(&options, &c));
    context.reset(c);
    perturb_oracle* o = nullptr;
    require(perturb_rank_create(100, nullptr, &o));
    oracle.reset(o);
    for (int i = 0; i < 100; ++i) {
      theta.push_back(i % 7 == 0 ? 0x1p-149f * (float)i : (float)((i * 37) % 100) * 0.01f);
      cotangent.push_back((float)((i * 61) % 17) - 8.0f);
    }
    noise.samples = 2000;
  }

  results run() {
    results r;
    require(perturb_expectation(context.get(), oracle.get(), &noise, 1, theta.data(), r.mean.data(), nullptr, &r.value, nullptr));
    require(perturb_vjp(context.get(), oracle.get(), &noise, 1, theta.data(), cotangent.data(), r.gradient.data()));
    return r;
  }
};

class saved_mode {
 public:
  explicit saved_mode(unsigned mode) : before_(_mm_getcsr()) { _mm_setcsr(mode); }
  ~saved_mode() { _mm_setcsr(before_); }
  saved_mode(const saved_mode&) = delete;
  saved_mode& operator=(const saved_mode&) = delete;

 private:
  unsigned before_;
};

TEST(float_mode, changes_no_bit_and_is_restored) {
  for (int threads : {1, 2}) {
    fixture f(threads);
    const results expected = f.run();
    // default; flush to zero; denormals are zero; both; round down, up, to zero; all traps unmasked
    for (unsigned mode : {0x1f80u, 0x9f80u, 0x1fc0u, 0x9fc0u, 0x3f80u, 0x5f80u, 0x7f80u, 0x0000u}) {
      const saved_mode scope(mode);
      const results got = f.run();
      const unsigned after = _mm_getcsr();
      _mm_setcsr(0x1f80);
      EXPECT_EQ(after & ~0x3fu, mode & ~0x3fu) << mode;
      EXPECT_TRUE(got == expected) << mode;
      count(2);
    }
  }
}

TEST(float_mode, a_trapping_host_gets_an_error_for_infinity) {
  fixture f(1);
  f.theta[3] = INFINITY;
  perturb_status status;
  {
    const saved_mode scope(0x0000);
    float mean[100];
    status = perturb_expectation(f.context.get(), f.oracle.get(), &f.noise, 1, f.theta.data(), mean, nullptr, nullptr, nullptr);
  }
  EXPECT_EQ(status, PERTURB_ERROR_NON_FINITE);
  count();
}

}  // namespace
#endif
