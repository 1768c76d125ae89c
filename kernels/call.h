// A call on its way to kernels: what the host side of the library's own oracles (backend.cpp) and of the caller's (custom.cpp) share.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "cuda_backend.h"
#include "error.h"
#include "kernels/device.h"
#include "kernels/problem.h"

#define PERTURB_CUDA_TRY(...)                 \
  do {                                        \
    const cudaError_t error_ = (__VA_ARGS__); \
    if (error_ != cudaSuccess) return error_; \
  } while (false)

namespace perturb::cuda {

constexpr int64_t slice_bytes = 4 << 20;  // of a slice of rows' memory, where more than one row fits

// Noise that a pass makes in memory, some samples at a time, before the engine reads it; and its scores, where a derivative needs others than z.
bool makes_noise(const problem& p);
bool wants_scores(const problem& p);
int64_t noise_buffers(const problem& p);

// The call's arguments, its outputs as if all were given where `any_outputs`; no memory of a slice, no arrays of the oracle.
problem make_problem(const call& c, bool any_outputs);

// The arrays of an oracle on a device: the masks of a grid, tables and sets.
struct oracle_arrays {
  uint8_t *steps, *passable;
  grid_ends* rows;
  int32_t *sources, *targets, *row_k;
};
// Copied to the device once, kept until the oracle is destroyed; null where there is nothing to keep.
cudaError_t arrays_on_device(const perturb_oracle& oracle, int ordinal, oracle_arrays& arrays);
inline void give_arrays(problem& p, const oracle_arrays& arrays) {
  p.grid.steps = arrays.steps;
  p.grid.passable = arrays.passable;
  p.grid.rows = arrays.rows;
  p.grid.sources = arrays.sources;
  p.grid.targets = arrays.targets;
  p.row_k = arrays.row_k;
}

// Hands out parts of a workspace; with a null base it only counts.
class carver {
 public:
  explicit carver(unsigned char* base) : base_(base) {}
  template <class T>
  void take(T*& pointer, int64_t count) {
    pointer = base_ ? reinterpret_cast<T*>(base_ + used_) : nullptr;
    used_ += ((size_t)count * sizeof(T) + alignment - 1) / alignment * alignment;
  }
  size_t used() const { return used_; }

 private:
  unsigned char* base_;
  size_t used_ = 0;
};

// The lent workspace, or memory that is freed in stream order when the call has been enqueued.
class device_scratch {
 public:
  explicit device_scratch(const cuda_device& device) : device_(device) {}
  ~device_scratch() {
    if (owned_) release_on(device_, owned_, bytes_);
  }
  device_scratch(const device_scratch&) = delete;
  device_scratch& operator=(const device_scratch&) = delete;

  perturb_status acquire(size_t bytes, void* workspace, size_t workspace_bytes) {
    if (workspace) {
      if (workspace_bytes < bytes + alignment - 1)
        return fail(PERTURB_ERROR_WORKSPACE_TOO_SMALL, "workspace: this call needs %zu bytes, the workspace has %zu", bytes + alignment - 1,
                    workspace_bytes);
      memory_ = reinterpret_cast<unsigned char*>(((uintptr_t)workspace + alignment - 1) / alignment * alignment);
      return PERTURB_OK;
    }
    if (const perturb_status s = allocate_on(device_, bytes, "scratch", &owned_)) return s;
    bytes_ = bytes;
    memory_ = static_cast<unsigned char*>(owned_);
    return PERTURB_OK;
  }
  unsigned char* memory() const { return memory_; }

 private:
  const cuda_device& device_;
  unsigned char* memory_ = nullptr;
  void* owned_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace perturb::cuda
