// A device as host code sees it: errors as statuses, which device is current, memory in stream order.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>

#include "cuda_backend.h"

namespace perturb::cuda {

constexpr size_t alignment = 256;

// Translates a CUDA error, and takes it from the thread. `what`: what failed.
perturb_status cuda_fail(cudaError_t error, const char* what);

// The context's device is current in this scope.
class device_scope {
 public:
  explicit device_scope(int ordinal) {
    error_ = cudaGetDevice(&before_);
    if (error_ == cudaSuccess && before_ != ordinal) {
      error_ = cudaSetDevice(ordinal);
      changed_ = error_ == cudaSuccess;
    }
  }
  ~device_scope() {
    if (changed_) (void)cudaSetDevice(before_);
  }
  device_scope(const device_scope&) = delete;
  device_scope& operator=(const device_scope&) = delete;
  cudaError_t error() const { return error_; }

 private:
  int before_ = 0;
  bool changed_ = false;
  cudaError_t error_;
};

// Device memory from the context's allocator, else cudaMallocAsync. `what` is for the error's sentence.
perturb_status allocate_on(const cuda_device& device, size_t bytes, const char* what, void** memory);
void release_on(const cuda_device& device, void* memory, size_t bytes);

}  // namespace perturb::cuda
