// The shapes that exist, and which of them solves a problem: a pure function of its sizes (docs/kernels.md has the table).
#pragma once

#include <cstddef>

#include "kernels/problem.h"

namespace perturb::cuda {

enum class estimator_kind : int { store, count, value, inner, scaled, fenchel_young };
constexpr int estimator_kinds = 6;

// One shape of an oracle: its kernels, general and (where calls are hot) plain. kernels/engine.cuh makes them.
struct shape {
  const char* name;
  int threads;
  int resident;  // blocks of it that a multiprocessor holds at least
  int64_t samples_per_step;
  size_t (*shared_bytes)(const problem&);
  size_t (*scratch_bytes)(const problem&);
  const void* general[estimator_kinds];
  const void* plain[estimator_kinds];  // null: there is only the general one
};

// One function per kernels/inst/*.cu.
const shape& argmax_thread();
const shape& argmax_warp();
const shape& argmax_block();
const shape& top_k_1x32();
const shape& top_k_4x32();
const shape& top_k_8x32();
const shape& top_k_32x32();
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

// No kernel has more static shared memory than this; it counts towards a block's limit.
constexpr size_t static_shared_bytes = 2 << 10;

struct device_limits {
  int multiprocessors;
  size_t shared_bytes;  // a block's largest, by opting in
};

// The shapes of a problem that runs `samples` samples a row. Ranks may need two, each for the rows whose kind of keys it takes; null: one.
struct shape_choice {
  const shape* first;
  const shape* second;
};
shape_choice choose_shapes(const problem& p, int64_t samples, const device_limits& limits);

}  // namespace perturb::cuda
