// Launches of kernels that take a problem: the error comes back with the launch, nothing is left behind for others to find.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/problem.h"

namespace perturb::cuda {

// Enough blocks for `work` of them, but no more than fill the device some times over: kernels loop.
inline unsigned blocks_for(int64_t work, int per_multiprocessor, int multiprocessors) {
  const int64_t most = (int64_t)per_multiprocessor * multiprocessors;
  return (unsigned)(work < 1 ? 1 : work < most ? work : most);
}

inline cudaError_t launch(const void* kernel, const problem& p, unsigned blocks, int threads, size_t shared, cudaStream_t stream) {
  void* arguments[] = {const_cast<problem*>(&p)};
  return cudaLaunchKernel(kernel, dim3(blocks), dim3((unsigned)threads), arguments, shared, stream);
}

}  // namespace perturb::cuda
