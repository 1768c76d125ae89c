// Floating-point mode of the kernels: round to nearest, denormals kept, whatever the host program has set; restored afterwards.
#pragma once

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace perturb {

class float_mode {
 public:
#if defined(__x86_64__)
  float_mode() : saved_(_mm_getcsr()) { _mm_setcsr(0x1f80); }
  ~float_mode() { _mm_setcsr(saved_); }

 private:
  unsigned saved_;
#else
  float_mode() {}
  ~float_mode() {}
#endif
 public:
  float_mode(const float_mode&) = delete;
  float_mode& operator=(const float_mode&) = delete;
};

}  // namespace perturb
