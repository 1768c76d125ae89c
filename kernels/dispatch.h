// The shapes that exist, and which of them solves a problem: a pure function of its sizes (docs/kernels.md has the table).
#pragma once

#include "kernels/problem.h"

namespace perturb::cuda {

struct shape;

// One function per kernels/inst/*.cu.
const shape& argmax_thread();
const shape& argmax_warp();
const shape& argmax_block();
const shape& top_k_small();
const shape& top_k_warp();
const shape& top_k_block();
// Ranks by packed keys (rows whose rank_scales are packed), and by exact ones. AxB: A lanes with B keys each share a sample.
const shape& rank_packed_1x8();
const shape& rank_packed_1x16();
const shape& rank_packed_1x32();
const shape& rank_packed_4x16();
const shape& rank_packed_4x32();
const shape& rank_packed_8x32();
const shape& rank_packed_16x32();
const shape& rank_exact_1x16();
const shape& rank_exact_4x16();
const shape& rank_exact_4x32();
const shape& rank_exact_16x32();
const shape& rank_exact_32x32();
const shape& rank_block();
const shape& rank_sorted();
const shape& grid_path_16();
const shape& grid_path_32();
const shape& grid_path_strips();
const shape& grid_path_tiles();

}  // namespace perturb::cuda
