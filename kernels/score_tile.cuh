// Noise scores of 16 samples by 32 items in shared memory, for Jacobians: a block of 128 threads makes a quad of them each.
#pragma once

#include "kernels/noise.cuh"

namespace perturb::cuda {

constexpr int tile_side = 32, tile_samples = 16, tile_threads = tile_samples * tile_side / 4;

// Samples from s0 on of the run, items from first_item on, in the Jacobian's fixed point; 0 past the run and past the items. Scores in memory end with
// the run: its last sample stands in for those past it.
static __device__ __forceinline__ void make_score_tile(const problem& p, int64_t row, int64_t s0, int64_t first_item, int32_t (&scores)[tile_samples][tile_side]) {
  const int s = (int)threadIdx.x / (tile_side / 4), q = (int)threadIdx.x % (tile_side / 4);
  const bool in_run = s0 + s < p.run;
  float value[4];
  score_quad(p, row_counter(p, row), sample_counter(p, p.first_of_run + (in_run ? s0 + s : p.run - 1)), (uint32_t)(first_item / 4 + q), value);
#pragma unroll
  for (int j = 0; j < 4; ++j)
    scores[s][4 * q + j] = in_run && first_item + 4 * q + j < p.n ? (int32_t)to_fixed(value[j], (double)(1 << jacobian_score_bits)) : 0;
}

}  // namespace perturb::cuda
