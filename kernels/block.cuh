// Reductions over a block, by CUB, whose result every thread gets.
#pragma once

#include <cub/block/block_reduce.cuh>
#include <cuda/functional>
#include <cuda/std/functional>

namespace perturb::cuda {

template <int Threads>
struct block_reduce {
  template <class T, class Op>
  static __device__ T all(T x, Op op) {
    using reduce = cub::BlockReduce<T, Threads>;
    __shared__ typename reduce::TempStorage storage;
    __shared__ T result;
    __syncthreads();  // the last call's result has been read
    const T total = reduce(storage).Reduce(x, op);
    if (threadIdx.x == 0) result = total;
    __syncthreads();
    return result;
  }
  static __device__ double max(double x) { return all(x, ::cuda::maximum<double>{}); }
  static __device__ double min(double x) { return all(x, ::cuda::minimum<double>{}); }
  static __device__ int64_t sum(int64_t x) { return all(x, ::cuda::std::plus<int64_t>{}); }
};

}  // namespace perturb::cuda
