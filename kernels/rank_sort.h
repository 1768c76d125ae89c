// Ranks of one sample of any n: its items sorted in global memory, for rank_sorted_oracle.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "kernels/problem.h"

namespace perturb::cuda {

// Scratch of one sample of p.n items; 0 if the device could not be asked, and rank_sort() then says why.
size_t rank_sort_scratch_bytes(const problem& p);

// Sorts sample `sample` of the slice's only row: the first n uint32 of scratch are then its items, ascending by score. Nothing is
// allocated and nothing waited for. Scratch is aligned to 256 bytes.
cudaError_t rank_sort(const problem& p, int64_t sample, void* scratch, cudaStream_t stream);

}  // namespace perturb::cuda
