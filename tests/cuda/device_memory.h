// The arrays of a call on a CUDA context: copies of host arrays, freed with this object.
#pragma once

#include <cuda_runtime_api.h>

#include <bit>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace perturb::test {

inline void require_cuda(cudaError_t error) {
  if (error != cudaSuccess) throw std::runtime_error(std::string("CUDA: ") + cudaGetErrorString(error));
}

// Device memory of `bytes` bytes, at least one.
class device_buffer {
 public:
  explicit device_buffer(size_t bytes) { require_cuda(cudaMalloc(&memory_, bytes ? bytes : 1)); }
  ~device_buffer() { (void)cudaFree(memory_); }
  device_buffer(device_buffer&& other) noexcept : memory_(other.memory_) { other.memory_ = nullptr; }
  device_buffer(const device_buffer&) = delete;
  device_buffer& operator=(const device_buffer&) = delete;
  template <class T>
  T* as() const {
    return static_cast<T*>(memory_);
  }

 private:
  void* memory_ = nullptr;
};

// For run_rows() of operations.h. Outputs start as a pattern that no result has.
class device_memory {
 public:
  const float* input(const float* values, int64_t count) {
    buffers_.emplace_back(static_cast<size_t>(count) * sizeof(float));
    float* copy = buffers_.back().as<float>();
    require_cuda(cudaMemcpy(copy, values, static_cast<size_t>(count) * sizeof(float), cudaMemcpyHostToDevice));
    return copy;
  }
  float* output(int64_t count) {
    buffers_.emplace_back(static_cast<size_t>(count) * sizeof(float));
    float* memory = buffers_.back().as<float>();
    require_cuda(cudaMemset(memory, 0xa5, static_cast<size_t>(count) * sizeof(float)));
    outputs_.push_back({memory, count});
    return memory;
  }
  std::vector<float> result(size_t i) {
    require_cuda(cudaDeviceSynchronize());
    std::vector<float> values(outputs_[i].count);
    require_cuda(cudaMemcpy(values.data(), outputs_[i].memory, values.size() * sizeof(float), cudaMemcpyDeviceToHost));
    return values;
  }
  // Whether every output still holds the pattern of output().
  bool untouched() {
    for (size_t i = 0; i < outputs_.size(); ++i)
      for (const float value : result(i))
        if (std::bit_cast<uint32_t>(value) != 0xa5a5a5a5u) return false;
    return true;
  }
  // The cost function of refusal.h in this memory.
  static int32_t middle_entry(int64_t count, const float* y, const int64_t*, float* cost, void* on, void* user) {
    const int64_t m = *static_cast<const int64_t*>(user);
    const cudaError_t error = cudaMemcpy2DAsync(cost, sizeof(float), y + m / 2, static_cast<size_t>(m) * sizeof(float), sizeof(float),
                                                static_cast<size_t>(count), cudaMemcpyDeviceToDevice, static_cast<cudaStream_t>(on));
    return static_cast<int32_t>(error);
  }
  void reset_outputs() {
    for (const out& each : outputs_) require_cuda(cudaMemset(each.memory, 0xa5, static_cast<size_t>(each.count) * sizeof(float)));
  }

 private:
  struct out {
    float* memory;
    int64_t count;
  };
  std::vector<device_buffer> buffers_;
  std::vector<out> outputs_;
};

}  // namespace perturb::test
