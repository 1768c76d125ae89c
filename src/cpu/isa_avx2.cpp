// The kernels for AVX2 and FMA: 8 lanes. Compiled with those flags; dispatch.cpp calls it only where they are there.
#include "cpu/lanes_avx2.h"
#include "cpu/isa.h"

namespace perturb {

const cpu_backend cpu_avx2 = isa_table<isa_avx2::lanes>::make("avx2");

}  // namespace perturb
