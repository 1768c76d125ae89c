// grid_path on the device where a column of lanes' registers holds the grid: up to 16 x 16, two samples per warp, or 32 x 32, one.
//
// A warp solves Batch samples before the estimator sees them, and leaves their distances in shared memory. Then a few lanes together walk
// the path of each: where all steps of a cell cost the same, the step that enters it comes from the nearest neighbour, the first by the tie
// rule. Elsewhere the lane that solved a column leaves these steps in place of the distances.
#pragma once

#include "kernels/oracles/grid_path.cuh"

namespace perturb::cuda {

template <bool Plain, int Lanes, int Batch>
class grid_path_columns_oracle {
 public:
  static constexpr bool plain = Plain;
  static constexpr int threads = 128, warps = threads / 32, per_warp = 32 / Lanes, rows = Lanes;
  static constexpr int blocks = Lanes == 16 ? 5 : 4, value_blocks = blocks - 1;
  static constexpr int sample_lanes = 32 / Batch;
  static constexpr int64_t samples_per_step = warps * Batch;
  using lanes = group<sample_lanes>;
  using source = noise_source<Plain>;

  static __device__ __forceinline__ bool takes(const problem&, int64_t) { return true; }
  static size_t shared_bytes(const problem& p) { return sizeof(float) * (quads((int32_t)p.n) * 4 + mask_words + 4 + warps * Batch + warps * warp_words); }
  static size_t scratch_bytes(const problem&) { return 0; }

  __device__ __forceinline__ grid_path_columns_oracle(const problem& problem_, int64_t row, unsigned char* shared)
      : p(problem_), theta_(problem_.theta + row * problem_.n), shared_((float*)shared), row_(row_counter(problem_, row)), scale_(problem_.state[row].grid.scale) {}

  __device__ __forceinline__ void begin_row() {
    const device_grid& g = p.grid;
    const int32_t n = (int32_t)p.n;
    for (int32_t i = threadIdx.x; i < quads(n) * 4; i += threads) staged()[i] = i < n && g.passable[i] ? theta_[i] : INFINITY;
    float4* const all = (float4*)(nearest_targets() + warps * Batch);
    for (int32_t i = threadIdx.x; i < warps * warp_words / 4; i += threads) all[i] = make_float4(INFINITY, INFINITY, INFINITY, INFINITY);
    bool even = true;
    if (threadIdx.x < 32) {
      const int32_t column = threadIdx.x % Lanes;
      uint32_t open = 0;
      diagonal_masks steps = {0, 0, 0, 0};
#pragma unroll 4
      for (int32_t r = 0, height = column < g.width ? g.height : 0; r < height; ++r) {
        const uint32_t here = g.steps[r * g.width + column];
        open |= (uint32_t)g.passable[r * g.width + column] << r;
        steps.nw |= (here >> 0 & 1) << r;
        steps.ne |= (here >> 2 & 1) << r;
        steps.sw |= (here >> 5 & 1) << r;
        steps.se |= (here >> 7 & 1) << r;
      }
      uint32_t west = columns::west(open), east = columns::east(open);
      if (column == 0) west = 0;
      if (column == Lanes - 1) east = 0;
      // Where every step between open cells exists, walls do without masks.
      even = g.diagonal_factor == 1.0f && steps.nw == (open & west << 1) && steps.ne == (open & east << 1) && steps.sw == (open & west >> 1) &&
             steps.se == (open & east >> 1);
      if (threadIdx.x < Lanes) {
        uint32_t* const of_column = masks() + column;
        of_column[0] = steps.nw;
        of_column[Lanes] = steps.ne;
        of_column[2 * Lanes] = steps.sw;
        of_column[3 * Lanes] = steps.se;
        of_column[4 * Lanes] = of_column[5 * Lanes] = 0;
      }
    }
    const grid_row& ends = p.state[row_ - p.first_row].grid;
    if (threadIdx.x == 0) {
      const uint32_t of_one = (uint32_t)quads(n), width = (uint32_t)g.width;
      // Exact: fewer than 2^10 quads at once, and 2^11 cells.
      *numbers() = {g.sources ? -1 : cell_at(ends.source), cell_at(ends.target), ((1u << 20) + of_one - 1) / of_one, ((1u << 16) + width - 1) / width};
    }
    __syncthreads();
    if (g.sources) {
      for (int32_t i = threadIdx.x; i < g.source_count; i += threads) mark(4, g.sources[i]);
      for (int32_t i = threadIdx.x; i < g.target_count; i += threads) mark(5, g.targets[i]);
    } else if (threadIdx.x == 0) {
      mark(4, ends.source);
    }
    even_ = __syncthreads_and(even);
  }

  __device__ __forceinline__ int64_t step_sample(int64_t first) const { return first + threadIdx.x / sample_lanes; }

  __device__ __forceinline__ void solve(int64_t first, int64_t last) {
    const int64_t own = step_sample(first), start = first + (int64_t)(threadIdx.x / 32 * Batch);
    present_ = own < last;
    sample_ = sample_counter(p, present_ ? own : last - 1);
    const int32_t wanted = last - start < Batch ? (int32_t)(last - start) : Batch;
    __syncwarp();
    draw_costs(sample_counter(p, start), wanted);
    __syncwarp();
    for (int32_t b = 0; b < Batch; b += per_warp) {
      // A vote: the compiler then knows that the loop is the same for the whole warp.
      if (!__any_sync(full_mask, b < wanted)) break;
      solve_one(b + (int)(threadIdx.x % 32 / Lanes));
    }
    __syncwarp();
  }

  // The lanes of a sample walk its path together, and a lane reports every sample_lanes-th cell.
  template <detail D, class F>
  __device__ __forceinline__ void for_each(F&& f) const {
    const device_grid& g = p.grid;
    const int32_t* const own = (const int32_t*)cells((int)(threadIdx.x % 32 / sample_lanes));
    const bool even = __all_sync(full_mask, even_);
    const int32_t step = step_offset(threadIdx.x % grid_neighbours);
    int32_t at = g.sources && present_ ? nearest_targets()[threadIdx.x / sample_lanes] : numbers()->target;
    bool more = present_;
    while (__any_sync(full_mask, more)) {
      int32_t mine = -1;
      uint32_t by = 0;
      for (int i = 0; i < sample_lanes && __any_sync(full_mask, more); ++i) {
        const uint32_t k = even ? nearest(own + at) : (uint32_t)own[at];
        if (more && i == lanes::rank()) {
          mine = at;
          by = k;
        }
        more = more && !is_source(at);
        const int32_t ahead = __shfl_sync(full_mask, step, (int)k);
        if (more) at += ahead;
      }
      if (mine >= 0) report_cell<Plain, D>(p, theta_, row_, sample_, mine - mine / pitch * (pitch - g.width), by, is_source(mine), f);
    }
  }

 private:
  using columns = grid_column<Lanes, rows>;
  static constexpr int mask_words = 6 * Lanes;  // by column: diagonal steps, sources, targets of sets
  // A sample's cells, in a frame of cells that nobody writes: infinite costs, or distances. Neighbours share a frame. The pitch of samples
  // lets the two halves of a warp use different banks.
  static constexpr int pitch = Lanes + 1, cells_pitch = (Lanes + 1) * pitch + (Lanes == 16 ? 15 : 0);
  static constexpr int warp_words = (Batch * cells_pitch + pitch + 1 + 3) / 4 * 4;

  // What would need divisions.
  struct row_numbers {
    int32_t source, target;  // cells; no source with sets
    uint32_t quads_reciprocal, width_reciprocal;
  };

  static __host__ __device__ __forceinline__ int32_t quads(int32_t n) { return (n + 3) / 4; }
  static __device__ __forceinline__ int32_t step_offset(uint32_t k) { return step_row(k) * pitch + step_column(k); }
  __device__ __forceinline__ int32_t cell_at(int32_t item) const { return item + item / p.grid.width * (pitch - p.grid.width); }

  // Shared memory, found anew each time: a pointer is dearer to keep in registers.
  __device__ __forceinline__ float* staged() const { return shared_; }
  __device__ __forceinline__ uint32_t* masks() const { return (uint32_t*)shared_ + quads((int32_t)p.n) * 4; }
  __device__ __forceinline__ row_numbers* numbers() const { return (row_numbers*)(masks() + mask_words); }
  // With sets: the target of each sample of the block, as a cell.
  __device__ __forceinline__ int32_t* nearest_targets() const { return (int32_t*)(numbers() + 1); }
  // Cell (0, 0) of a sample of this warp.
  __device__ __forceinline__ float* cells(int32_t which) const {
    return (float*)(nearest_targets() + warps * Batch) + (int32_t)(threadIdx.x / 32) * warp_words + which * cells_pitch + pitch + 1;
  }

  __device__ __forceinline__ void mark(int mask, int32_t item) const {
    atomicOr(masks() + mask * Lanes + item % p.grid.width, 1u << item / p.grid.width);
  }
  __device__ __forceinline__ bool is_source(int32_t cell) const {
    if (!p.grid.sources) return cell == numbers()->source;
    return masks()[4 * Lanes + cell % pitch] >> cell / pitch & 1;
  }

  // Costs of `count` samples from counter `first` on, quads shared out over the warp.
  __device__ __forceinline__ void draw_costs(uint32_t first, int32_t count) {
    const uint32_t of_one = (uint32_t)quads((int32_t)p.n), quads_reciprocal = numbers()->quads_reciprocal, width_reciprocal = numbers()->width_reciprocal;
    for (int32_t i = threadIdx.x % 32; i < count * (int32_t)of_one; i += 32) {
      const uint32_t which = i * quads_reciprocal >> 20, q = i - which * of_one;
      float z[4];
      source::quad(p, row_, first + which, q, z);
      const float4 t = ((const float4*)staged())[q];
      const float theta[4] = {t.x, t.y, t.z, t.w};
      float* const to = cells((int32_t)which);
#pragma unroll
      for (uint32_t j = 0; j < 4; ++j) {
        // An item past the last is a cell below the grid, with an infinite cost.
        const uint32_t item = 4 * q + j, r = item * width_reciprocal >> 16;
        to[item + r * (pitch - p.grid.width)] = cell_cost<Plain>(p, row_, theta[j], item, z[j]);
      }
    }
  }

  // which: the sample of this warp.
  __device__ __forceinline__ void solve_one(int32_t which) {
    const device_grid& g = p.grid;
    const int column = (int)(threadIdx.x % Lanes);
    const bool even = __all_sync(full_mask, even_);
    columns x;
    float* const costs = cells(which) + column;
    int32_t* const kept = (int32_t*)costs;
    const int32_t inside = column < g.width ? g.height : 0;
    const uint32_t* const of_column = masks() + column;
    const uint32_t sources = of_column[4 * Lanes];
    const int32_t first = __ffs((int)sources) - 1, start = first >= 0 && g.count_source ? step_quanta(costs[first * pitch], scale_) : 0;
#pragma unroll
    for (int r = 0; r < rows; ++r) {
      x.distance[r] = r == first ? start : far_quanta;
      if (r / 4 * 4 < g.height) x.quanta[r] = step_quanta(costs[r * pitch], scale_);
    }
    if (g.sources) {  // there may be more in the column
#pragma unroll
      for (int r = 0; r < rows; ++r)
        if (r / 4 * 4 < g.height && (sources >> r & 1)) x.distance[r] = g.count_source ? x.quanta[r] : 0;
    }
    if (even) {
      x.settle(0, [&] { return x.template sweep<true>(g.height); }, [&] { return x.template sweep<false>(g.height); });
      if (g.sources) find_target(x, which);
#pragma unroll
      for (int r = 0; r < rows; ++r)
        if (r < inside) kept[r * pitch] = x.distance[r];
      return;
    }
    // Diagonal quanta take the place of the costs, and the steps take theirs.
#pragma unroll
    for (int r = 0; r < rows; ++r)
      if (r / 4 * 4 < g.height) kept[r * pitch] = step_quanta(costs[r * pitch] * g.diagonal_factor, scale_);
    const auto diagonal = [&](int r) { return kept[r * pitch]; };
    const diagonal_masks steps = {of_column[0], of_column[Lanes], of_column[2 * Lanes], of_column[3 * Lanes]};
    x.settle(0, [&] { return x.template sweep<true>(g.height, steps, diagonal); }, [&] { return x.template sweep<false>(g.height, steps, diagonal); });
    if (g.sources) find_target(x, which);
    write_steps(x, kept, inside, steps);
  }

  // Of a set: the target of least distance, the lowest cell among equal ones.
  __device__ __forceinline__ void find_target(const columns& x, int32_t which) const {
    const int column = (int)(threadIdx.x % Lanes);
    const uint32_t targets = masks()[5 * Lanes + column];
    int32_t least = INT32_MAX, nearest = INT32_MAX;
#pragma unroll
    for (int r = 0; r < rows; ++r) {
      const int32_t distance = targets >> r & 1 ? x.distance[r] : INT32_MAX;
      if (distance < least) nearest = r * pitch + column;
      least = ::min(distance, least);
    }
#pragma unroll
    for (int d = 1; d < Lanes; d *= 2) {
      const int32_t other = __shfl_xor_sync(full_mask, least, d), cell = __shfl_xor_sync(full_mask, nearest, d);
      nearest = other < least ? cell : other > least ? nearest : ::min(cell, nearest);
      least = ::min(other, least);
    }
    if (column == 0) nearest_targets()[(int32_t)(threadIdx.x / 32) * Batch + which] = nearest;
  }

  // The step that enters the cell from its nearest neighbour.
  static __device__ __forceinline__ uint32_t nearest(const int32_t* cell) {
    constexpr int looking = sample_lanes < grid_neighbours ? sample_lanes : grid_neighbours, each = grid_neighbours / looking;
    int32_t near[each], least = INT32_MAX;
#pragma unroll
    for (int j = 0; j < each; ++j) {
      near[j] = cell[step_offset(threadIdx.x % looking + j * looking)];
      least = ::min(least, near[j]);
    }
#pragma unroll
    for (int d = looking / 2; d > 0; d /= 2) least = ::min(least, __shfl_xor_sync(full_mask, least, d));
    uint32_t nearest = 0;
#pragma unroll
    for (int j = 0; j < each; ++j)
      nearest |= (__ballot_sync(full_mask, near[j] == least) >> (threadIdx.x % 32 / sample_lanes * sample_lanes) & ((1u << looking) - 1)) << (j * looking);
    return (uint32_t)__ffs((int)nearest) - 1;
  }

  // The step that enters each cell: the first neighbour that explains its distance.
  __device__ __forceinline__ void write_steps(const columns& x, int32_t* kept, int32_t inside, const diagonal_masks& steps) const {
    int32_t north = grid_infinity, north_west = north, north_east = north, here = x.distance[0], west = columns::west(here), east = columns::east(here);
#pragma unroll
    for (int r = 0; r < rows; ++r) {
      if (r / 4 * 4 >= p.grid.height) continue;
      const int32_t south = r + 1 < rows ? x.distance[r + 1] : grid_infinity, south_west = columns::west(south), south_east = columns::east(south);
      const int32_t before = here - x.quanta[r], slanted = here - kept[r * pitch];
      uint32_t k = 7;
      if (south == before) k = 6;
      if (south_west == slanted && (steps.sw >> r & 1)) k = 5;
      if (east == before) k = 4;
      if (west == before) k = 3;
      if (north_east == slanted && (steps.ne >> r & 1)) k = 2;
      if (north == before) k = 1;
      if (north_west == slanted && (steps.nw >> r & 1)) k = 0;
      kept[r * pitch] = r < inside ? (int32_t)k : __float_as_int(INFINITY);
      north = here;
      north_west = west;
      north_east = east;
      here = south;
      west = south_west;
      east = south_east;
    }
  }

  const problem& p;
  const float* theta_;
  float* shared_;
  uint32_t row_, sample_ = 0;
  float scale_;
  bool even_ = false, present_ = false;
};

}  // namespace perturb::cuda
