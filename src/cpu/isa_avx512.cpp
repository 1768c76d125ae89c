// The kernels for AVX-512 (F, DQ, BW, VL): 16 lanes. Compiled with those flags; dispatch.cpp calls it only where they are there.
#include "cpu/lanes_avx512.h"
#include "cpu/isa.h"

namespace perturb {

const cpu_backend cpu_avx512 = isa_table<isa_avx512::lanes>::make("avx512");

}  // namespace perturb
