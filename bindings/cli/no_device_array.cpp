// The device memory of a command without CUDA: no session runs there, so there is none to be had.
#include "device_array.h"
#include "error.h"

namespace perturb::cli {

device_array::device_array(const float*, int64_t) { throw compute_error("this command was built without CUDA"); }
device_array::~device_array() = default;
void device_array::download(float*) const {}

}  // namespace perturb::cli
