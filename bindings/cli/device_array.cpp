// Floats in the memory of the current CUDA device.
#include "device_array.h"

#include <cuda_runtime_api.h>

#include <string>

#include "error.h"

namespace perturb::cli {
namespace {

void check_cuda(cudaError_t error) {
  if (error != cudaSuccess) throw compute_error(std::string("CUDA: ") + cudaGetErrorString(error));
}

}  // namespace

device_array::device_array(const float* host, int64_t count) : count_(count) {
  if (!host) return;
  const size_t bytes = static_cast<size_t>(count) * sizeof(float);
  void* memory = nullptr;
  check_cuda(cudaMalloc(&memory, bytes));
  memory_ = static_cast<float*>(memory);
  const cudaError_t error = cudaMemcpy(memory_, host, bytes, cudaMemcpyHostToDevice);
  if (error != cudaSuccess) (void)cudaFree(memory_);
  check_cuda(error);
}

device_array::~device_array() { (void)cudaFree(memory_); }

void device_array::download(float* host) const {
  if (host) check_cuda(cudaMemcpy(host, memory_, static_cast<size_t>(count_) * sizeof(float), cudaMemcpyDeviceToHost));
}

}  // namespace perturb::cli
