// The sums of an accumulator in device memory.
#include "kernels/device.h"

namespace perturb {
namespace {

using namespace cuda;

constexpr int word_threads = 256;

__global__ void __launch_bounds__(word_threads) add_words(int64_t* to, const int64_t* from, int64_t count) {
  for (int64_t i = (int64_t)blockIdx.x * word_threads + threadIdx.x; i < count; i += (int64_t)gridDim.x * word_threads) to[i] += from[i];
}

// Runs f with the device current; its error as a status.
template <class F>
perturb_status on_device(const cuda_device& device, const char* what, F&& f) {
  const device_scope scope(device.ordinal);
  cudaError_t error = scope.error();
  if (error == cudaSuccess) error = f(static_cast<cudaStream_t>(device.stream));
  return error == cudaSuccess ? PERTURB_OK : cuda_fail(error, what);
}

}  // namespace

perturb_status cuda_allocate_words(const cuda_device& device, int64_t count, int64_t** words) {
  void* memory = nullptr;
  const perturb_status status = cuda_allocate(device, (size_t)count * sizeof(int64_t), "accumulator", &memory);
  *words = static_cast<int64_t*>(memory);
  return status;
}

void cuda_release_words(const cuda_device& device, int64_t* words, int64_t count) {
  cuda_release(device, words, (size_t)count * sizeof(int64_t));
}

perturb_status cuda_clear_words(const cuda_device& device, int64_t* words, int64_t count) {
  return on_device(device, "accumulator", [&](cudaStream_t stream) { return cudaMemsetAsync(words, 0, (size_t)count * sizeof(int64_t), stream); });
}

perturb_status cuda_add_words(const cuda_device& device, int64_t* to, const int64_t* from, int64_t count) {
  return on_device(device, "accumulator", [&](cudaStream_t stream) {
    const int64_t blocks = (count + word_threads - 1) / word_threads, most = (int64_t)16 * device.multiprocessors;
    void* arguments[] = {&to, &from, &count};
    return cudaLaunchKernel((const void*)add_words, dim3((unsigned)(blocks < most ? blocks : most)), dim3(word_threads), arguments, 0, stream);
  });
}

perturb_status cuda_read_words(const cuda_device& device, const int64_t* words, int64_t* host, int64_t count) {
  return on_device(device, "accumulator", [&](cudaStream_t stream) {
    const cudaError_t error = cudaMemcpyAsync(host, words, (size_t)count * sizeof(int64_t), cudaMemcpyDeviceToHost, stream);
    return error == cudaSuccess ? cudaStreamSynchronize(stream) : error;
  });
}

perturb_status cuda_write_words(const cuda_device& device, int64_t* words, const int64_t* host, int64_t count) {
  return on_device(device, "accumulator", [&](cudaStream_t stream) {
    const cudaError_t error = cudaMemcpyAsync(words, host, (size_t)count * sizeof(int64_t), cudaMemcpyHostToDevice, stream);
    return error == cudaSuccess ? cudaStreamSynchronize(stream) : error;
  });
}

}  // namespace perturb
