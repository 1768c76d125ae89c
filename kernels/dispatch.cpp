// Which shape solves a problem. The table of docs/kernels.md, as code: sizes only, so that a captured graph stays right for other data.
#include "kernels/dispatch.h"

namespace perturb::cuda {
namespace {

const shape& choose_argmax(const problem& p, int64_t samples) {
  // A thread per sample wants a block's worth of samples; more lanes share a sample where there are too few, or items too many.
  if (samples >= 64 && p.n <= 4096) return argmax_thread();
  if (p.n <= 4096 || samples >= 64) return argmax_warp();
  return argmax_block();
}

const shape& choose_top_k(const problem& p, int64_t samples) {
  if (p.n <= 32) return top_k_1x32();
  // Few lanes per sample want a block's worth of samples.
  if (samples >= 16 && p.n <= 128) return top_k_4x32();
  if (samples >= 16 && p.n <= 256) return top_k_8x32();
  if (p.n <= 1024) return top_k_32x32();
  return top_k_block();
}

const shape& choose_packed_rank(const problem& p) {
  if (p.n <= 8) return rank_packed_1x8();
  if (p.n <= 16) return rank_packed_1x16();
  if (p.n <= 32) return rank_packed_1x32();
  if (p.n <= 64) return rank_packed_4x16();
  if (p.n <= 128) return rank_packed_4x32();
  if (p.n <= 256) return rank_packed_8x32();
  return rank_packed_16x32();
}

constexpr int64_t rank_block_limit = 65536;  // its items have 16 bits

const shape& choose_exact_rank(const problem& p, const device_limits& limits) {
  if (p.n <= 16) return rank_exact_1x16();
  if (p.n <= 64) return rank_exact_4x16();
  if (p.n <= 128) return rank_exact_4x32();
  if (p.n <= 512) return rank_exact_16x32();
  if (p.n <= 1024) return rank_exact_32x32();
  if (p.n <= rank_block_limit && rank_block().shared_bytes(p) + static_shared_bytes <= limits.shared_bytes) return rank_block();
  return rank_sorted();
}

const shape& choose_grid_path(const problem& p, const device_limits& limits) {
  const int32_t side = p.grid.height > p.grid.width ? p.grid.height : p.grid.width;
  if (side <= 16) return grid_path_16();
  if (side <= 32) return grid_path_32();
  if (side <= 128 && grid_path_strips().shared_bytes(p) + static_shared_bytes <= limits.shared_bytes) return grid_path_strips();
  return grid_path_tiles();
}

}  // namespace

shape_choice choose_shapes(const problem& p, int64_t samples, const device_limits& limits) {
  switch (p.oracle) {
    case oracle_kind::argmax: return {&choose_argmax(p, samples), nullptr};
    case oracle_kind::top_k: return {&choose_top_k(p, samples), nullptr};
    case oracle_kind::sort:  // solved as ranks
    case oracle_kind::rank: {
      // Which keys a row has depends on its theta (rank_scales); what rules packed keys out for all rows is known here.
      const shape* exact = &choose_exact_rank(p, limits);
      if (p.n > rank_packed_limit || p.multiplicative || p.epsilon == 0.0f) return {exact, nullptr};
      return {&choose_packed_rank(p), exact};
    }
    case oracle_kind::grid_path: break;
  }
  return {&choose_grid_path(p, limits), nullptr};
}

}  // namespace perturb::cuda
