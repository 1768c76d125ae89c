// What the frontend asks of the CUDA backend. kernels/backend.cpp answers; in a build without CUDA, src/no_cuda.cpp does.
#pragma once

#include <cstddef>

#include "backend.h"
#include "perturb/perturb.h"

namespace perturb {

// A device, its stream and its memory. Lives in the context that owns it.
struct cuda_device {
  int ordinal = 0;
  int multiprocessors = 0;
  size_t shared_bytes = 0;  // of a block, by opting in
  void* stream = nullptr;
  perturb_allocator allocator = {};
};

// Whether a device is there and works; else the reason, as the status to fail with. Ordinal -1: the current one.
perturb_status open_cuda_device(int ordinal, void* stream, const perturb_allocator& allocator, cuda_device& device);

// Device scratch of a call, for any optional outputs when `any_outputs` is set.
size_t cuda_scratch_bytes(const cuda_device& device, const call& c, bool any_outputs);

// Enqueue a checked call on the device's stream. `workspace` may be null: the scratch is then allocated and freed in stream order.
perturb_status cuda_execute(const cuda_device& device, const call& c, void* workspace, size_t workspace_bytes);
perturb_status cuda_noise_fill(const cuda_device& device, const call& c, float* z);

}  // namespace perturb
