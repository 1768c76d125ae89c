// Floats in the memory of the current CUDA device. device_array.cpp needs the CUDA runtime; builds without it never make one.
#ifndef PERTURB_CLI_DEVICE_ARRAY_H
#define PERTURB_CLI_DEVICE_ARRAY_H

#include <cstdint>

namespace perturb::cli {

class device_array {
 public:
  // A copy of `count` floats; of a null array, null.
  device_array(const float* host, int64_t count);
  ~device_array();
  device_array(const device_array&) = delete;
  device_array& operator=(const device_array&) = delete;

  float* data() const { return memory_; }
  void download(float* host) const;  // waits for the device

 private:
  float* memory_ = nullptr;
  int64_t count_ = 0;
};

}  // namespace perturb::cli

#endif
