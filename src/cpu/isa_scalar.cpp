// The kernels for any x86-64 and any other processor: one lane.
#include "math/lanes.h"
#include "cpu/isa.h"

namespace perturb::isa_scalar {
struct tag {};
}  // namespace perturb::isa_scalar

namespace perturb {

const cpu_backend cpu_scalar = isa_table<scalar_lanes<isa_scalar::tag>>::make("scalar");

}  // namespace perturb
