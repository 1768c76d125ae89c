// The engine: perturb -> solve -> reduce, as one kernel for any oracle and any estimator.
//
// A block takes tasks: one row, a chunk of its samples. Its groups solve one sample after the other; the estimator adds them up in
// registers and shared memory and flushes integers to the row's words. Nothing depends on how samples are cut into chunks.
//
// The interface of an oracle (kernels/oracles/argmax.cuh is the shortest):
//   plain, threads, samples_per_step     of the instantiation; a step is what a block solves between two calls of add()
//   blocks, value_blocks, dense          optional: see resident_blocks and is_dense
//   takes(problem, row)                  whether this instantiation solves that row (ranks have two kinds of keys)
//   shared_bytes(problem)                dynamic shared memory, host side
//   scratch_bytes(problem)               global memory of each resident block, host side; the block's is p.scratch + blockIdx.x * p.scratch_per_block
//   oracle(problem, row, shared)         begin_row() by all threads of the block, which may synchronise
//   step_sample(first)                   the sample that this lane answers for in the step that starts at `first`
//   solve(first, last)                   the samples of the step; those from `last` on are not wanted, but must do no harm
#pragma once

#include <type_traits>

#include "kernels/dispatch.h"
#include "kernels/estimators.cuh"

namespace perturb::cuda {

// How many blocks a multiprocessor must hold: ptxas then spills no registers to make room for more. An oracle may say, also for
// values alone; Fenchel-Young has the most state. 0: as ptxas likes.
template <class Oracle, template <class> class Estimator>
constexpr int resident_blocks() {
  if constexpr (requires { Oracle::value_blocks; } && std::is_same_v<Estimator<Oracle>, value_estimator<Oracle>>) {
    return Oracle::value_blocks;
  } else if constexpr (requires { Oracle::blocks; }) {
    return Oracle::blocks;
  } else {
    return std::is_same_v<Estimator<Oracle>, fenchel_young_estimator<Oracle>> ? 1 : 0;
  }
}

template <class Oracle, template <class> class Estimator>
__global__ void __launch_bounds__(Oracle::threads, resident_blocks<Oracle, Estimator>()) run(const __grid_constant__ problem p) {
  extern __shared__ __align__(16) unsigned char shared[];
  const int64_t tasks = p.rows * p.chunks;
  for (int64_t task = blockIdx.x; task < tasks; task += gridDim.x) {
    const int64_t row = task / p.chunks, first = p.first_of_run + task % p.chunks * p.chunk;
    const int64_t end = p.first_of_run + p.run, last = first + p.chunk < end ? first + p.chunk : end;
    if (p.state[row].bad || !Oracle::takes(p, row)) continue;
    Estimator<Oracle> estimator(p, row, shared);
    Oracle oracle(p, row, shared + p.oracle_shared);
    estimator.begin();
    oracle.begin_row();
    __syncthreads();
    for (int64_t s = first; s < last; s += Oracle::samples_per_step) {
      oracle.solve(s, last);
      const int64_t sample = oracle.step_sample(s);
      estimator.add(oracle, sample < last ? sample : last - 1, sample < last);
    }
    __syncthreads();
    estimator.flush();
    __syncthreads();
  }
}

// ---------------------------------------------------------------- what the host knows of an instantiation

template <template <bool> class Oracle>
shape make_shape(const char* name) {
  using general = Oracle<false>;
  using plain = Oracle<true>;
  return {name,
          general::threads,
          resident_blocks<general, count_estimator>() > 0 ? resident_blocks<general, count_estimator>() : 2048 / general::threads,
          general::samples_per_step,
          general::shared_bytes,
          general::scratch_bytes,
          {(const void*)run<general, store_estimator>, (const void*)run<general, count_estimator>, (const void*)run<general, value_estimator>,
           (const void*)run<general, inner_estimator>, (const void*)run<general, scaled_estimator>, (const void*)run<general, fenchel_young_estimator>},
          {nullptr, (const void*)run<plain, count_estimator>, (const void*)run<plain, value_estimator>, (const void*)run<plain, inner_estimator>, nullptr, nullptr}};
}

}  // namespace perturb::cuda
