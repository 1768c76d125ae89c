// Run-time choice of the instruction set by CPUID, with an override for tests.
#include "cpu/dispatch.h"

#include <cstdlib>
#include <cstring>

namespace perturb {
namespace {

struct candidate {
  const cpu_backend* backend;
  bool present;
};

}  // namespace

const cpu_backend* choose_cpu_backend() {
  const candidate candidates[] = {
#if defined(PERTURB_X86_KERNELS)
      {&cpu_avx512, __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2")},
      {&cpu_avx2, __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2")},
#endif
      {&cpu_scalar, true},
  };
  const char* wanted = std::getenv("PERTURB_ISA");
  for (const candidate& c : candidates)
    if (c.present && (!wanted || !*wanted || std::strcmp(wanted, c.backend->name) == 0)) return c.backend;
  return nullptr;
}

}  // namespace perturb
