// Errors and memory of a device.
#include "kernels/device.h"

#include <cstdio>

#include "error.h"

namespace perturb::cuda {
namespace {

// After these no call on the device works until the process ends.
bool is_sticky(cudaError_t error) {
  switch (error) {
    case cudaErrorIllegalAddress:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorIllegalInstruction:
    case cudaErrorHardwareStackError:
    case cudaErrorLaunchFailure:
    case cudaErrorLaunchTimeout:
    case cudaErrorAssert:
    case cudaErrorECCUncorrectable: return true;
    default: return false;
  }
}

}  // namespace

perturb_status cuda_fail(cudaError_t error, const char* what) {
  (void)cudaGetLastError();  // reported here: not left for the caller's next check
  switch (error) {
    case cudaErrorMemoryAllocation: return fail(PERTURB_ERROR_OUT_OF_MEMORY, "%s: %s", what, cudaGetErrorString(error));
    case cudaErrorNoDevice:
    case cudaErrorInsufficientDriver:
    case cudaErrorInvalidDevice:
    case cudaErrorDevicesUnavailable:
    case cudaErrorInitializationError:
    case cudaErrorNoKernelImageForDevice:
    case cudaErrorUnsupportedPtxVersion:
      return fail(PERTURB_ERROR_BACKEND_UNAVAILABLE, "%s: %s (%s)", what, cudaGetErrorString(error), cudaGetErrorName(error));
    default: break;
  }
  return fail(PERTURB_ERROR_CUDA, "%s: %s (%s)%s", what, cudaGetErrorString(error), cudaGetErrorName(error),
              is_sticky(error) ? "; a kernel failed before, the device is lost to this process" : "; the context can be used again");
}

perturb_status allocate_on(const cuda_device& device, size_t bytes, const char* what, void** memory) {
  if (device.allocator.allocate) {
    *memory = device.allocator.allocate(bytes, alignment, device.stream, device.allocator.user);
    return *memory ? PERTURB_OK : fail(PERTURB_ERROR_OUT_OF_MEMORY, "%s: %zu bytes cannot be had from device_allocator", what, bytes);
  }
  const cudaError_t error = cudaMallocAsync(memory, bytes, static_cast<cudaStream_t>(device.stream));
  if (error == cudaSuccess) return PERTURB_OK;
  *memory = nullptr;
  char sentence[96];
  std::snprintf(sentence, sizeof sentence, "%s: %zu bytes", what, bytes);
  return cuda_fail(error, sentence);
}

void release_on(const cuda_device& device, void* memory, size_t bytes) {
  if (device.allocator.deallocate) {
    device.allocator.deallocate(memory, bytes, device.stream, device.allocator.user);
  } else {
    (void)cudaFreeAsync(memory, static_cast<cudaStream_t>(device.stream));
  }
}

}  // namespace perturb::cuda

namespace perturb {

perturb_status cuda_allocate(const cuda_device& device, size_t bytes, const char* what, void** memory) {
  const cuda::device_scope scope(device.ordinal);
  if (scope.error() != cudaSuccess) return cuda::cuda_fail(scope.error(), "context: its device cannot be made current");
  return cuda::allocate_on(device, bytes, what, memory);
}

void cuda_release(const cuda_device& device, void* memory, size_t bytes) {
  const cuda::device_scope scope(device.ordinal);
  cuda::release_on(device, memory, bytes);
}

bool cuda_is_capturing(const cuda_device& device) {
  const cuda::device_scope scope(device.ordinal);
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  if (cudaStreamIsCapturing(static_cast<cudaStream_t>(device.stream), &status) == cudaSuccess) return status != cudaStreamCaptureStatusNone;
  (void)cudaGetLastError();  // the default stream while another is captured
  return true;
}

}  // namespace perturb
