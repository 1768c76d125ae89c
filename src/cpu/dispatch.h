// Which instruction set a context runs on.
#pragma once

#include "backend.h"

namespace perturb {

// The widest that this processor and this build have. PERTURB_ISA = scalar, avx2 or avx512 in the environment overrides it, for
// tests; null if it names one that is unknown or not there.
const cpu_backend* choose_cpu_backend();

}  // namespace perturb
