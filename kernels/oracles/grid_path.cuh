// Shortest grid paths on the device: what all shapes share. Lanes are columns, and the rows of a grid or of a tile are in registers.
//
// Distances have one fixpoint (math/grid_cost.h), so any order of relaxation gives the CPU's. A wall, or a cell outside the grid, is a
// cell that costs one quantum less than infinity, and so far are cells that nothing has reached: sums with it fit int32, a wall brings no
// cell nearer, and no reached cell has one as predecessor. What remains for masks are diagonal steps that the connectivity forbids between
// two open cells.
#pragma once

#include "grid.h"
#include "kernels/estimators.cuh"
#include "math/grid_cost.h"

namespace perturb::cuda {

constexpr int32_t far_quanta = grid_infinity - 1;

// src/grid.h's tables as arithmetic: device code reads no host arrays.
static __device__ __forceinline__ int32_t step_row(uint32_t k) { return (k > 2) + (k > 4) - 1; }
static __device__ __forceinline__ int32_t step_column(uint32_t k) { return (int32_t)(0x9224u >> (2 * k) & 3u) - 1; }
static __device__ __forceinline__ bool step_is_diagonal(uint32_t k) { return grid_diagonals >> k & 1u; }

// cost: +infinity for a wall, which the conversion saturates.
static __device__ __forceinline__ int32_t step_quanta(float cost, float scale) { return ::min((int32_t)grid_quanta<lane>(cost, scale), far_quanta); }

// theta: +infinity for a wall.
template <bool Plain>
static __device__ __forceinline__ float cell_cost(const problem& p, uint32_t row, float theta, int64_t item, float z) {
  if (!Plain && !(theta < INFINITY)) return INFINITY;  // clamping a multiplicative score would make it finite
  return grid_cost<lane>(noise_source<Plain>::score(p, row, theta, item, z), p.grid.cost_floor);
}

// Whether every step of cell v exists that leads to an open cell. Then walls do without masks.
static __device__ __forceinline__ bool all_steps(const device_grid& g, int32_t v) {
  if (!g.passable[v] || g.steps[v] == 0xff) return true;
  const int32_t row = v / g.width, column = v % g.width;
  for (uint32_t k = 0; k < grid_neighbours; ++k) {
    const int32_t y = row + step_row(k), x = column + step_column(k);
    if (y < 0 || y >= g.height || x < 0 || x >= g.width) continue;
    if (g.passable[y * g.width + x] && !(g.steps[v] >> k & 1)) return false;
  }
  return true;
}

// One path cell for an estimator. by: the step that enters it; is_source: none does.
template <bool Plain, detail D, class F>
static __device__ __forceinline__ void report_cell(const problem& p, const float* theta, uint32_t row, uint32_t sample, int32_t item, uint32_t by, bool is_source, F&& f) {
  if constexpr (D == detail::none) {
    f((int64_t)item, (int64_t)1, 0.0f, 0.0f);
  } else {
    using source = noise_source<Plain>;
    const float z = source::at(p, row, sample, item);
    const float cost = grid_cost<lane>(source::score(p, row, theta[item], item, z), p.grid.cost_floor);
    const float score = is_source ? (p.grid.count_source ? cost : 0.0f) : cost * (step_is_diagonal(by) ? p.grid.diagonal_factor : 1.0f);
    f((int64_t)item, (int64_t)1, score, z);
  }
}

// Diagonal steps that exist, bit r for row r of this lane's column.
struct diagonal_masks {
  uint32_t nw, ne, sw, se;
};

// A column of a grid: distances and the quanta of a step into each cell.
template <int Lanes, int Rows>
struct grid_column {
  int32_t distance[Rows], quanta[Rows];

  static __device__ __forceinline__ int32_t west(int32_t x) { return __shfl_up_sync(full_mask, x, 1, Lanes); }  // the first lane gets its own,
  static __device__ __forceinline__ int32_t east(int32_t x) { return __shfl_down_sync(full_mask, x, 1, Lanes); }  // so does the last: no harm

  // The sum of the distances, never 0. No distance ever grows, so it stays only where all stay.
  __device__ __forceinline__ uint64_t sum() const {
    uint64_t all = 0;
#pragma unroll
    for (int r = 0; r < Rows; r += 4) all += sum_of_four(r);
    return all;
  }
  __device__ __forceinline__ uint32_t sum_of_four(int r) const {
    return (uint32_t)distance[r] + (uint32_t)distance[r + 1] + (uint32_t)distance[r + 2] + (uint32_t)distance[r + 3];
  }

  // One sweep over the rows: each is relaxed from the row before and sideways. Two shuffles do for both, since a row hands on what it had
  // before its sideways step. Returns the sum of the rows.
  template <bool Down>
  __device__ __forceinline__ uint64_t sweep(int32_t height) {
    int32_t from = grid_infinity;
    uint64_t all = 0;
#pragma unroll
    for (int g = 0; g < Rows / 4; ++g) {
      const int first = Down ? 4 * g : Rows - 4 - 4 * g;
      if (first >= height) continue;
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int r = first + (Down ? j : 3 - j);
        const int32_t here = __viaddmin_s32(from, quanta[r], distance[r]);
        from = __vimin3_s32(here, west(here), east(here));
        distance[r] = __viaddmin_s32(from, quanta[r], here);
      }
      all += sum_of_four(first);
    }
    return all;
  }

  // The same where diagonal steps cost something else (diagonal(r)) or some do not exist.
  template <bool Down, class Diagonal>
  __device__ __forceinline__ uint64_t sweep(int32_t height, const diagonal_masks& steps, Diagonal&& diagonal) {
    int32_t from = grid_infinity, from_west = grid_infinity, from_east = grid_infinity;
    uint64_t all = 0;
    const uint32_t west_steps = Down ? steps.nw : steps.sw, east_steps = Down ? steps.ne : steps.se;
#pragma unroll
    for (int g = 0; g < Rows / 4; ++g) {
      const int first = Down ? 4 * g : Rows - 4 - 4 * g;
      if (first >= height) continue;
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int r = first + (Down ? j : 3 - j);
        const int32_t slanted = ::min(west_steps >> r & 1 ? from_west : grid_infinity, east_steps >> r & 1 ? from_east : grid_infinity);
        const int32_t here = __viaddmin_s32(slanted, diagonal(r), __viaddmin_s32(from, quanta[r], distance[r]));
        from_west = west(here);
        from_east = east(here);
        from = distance[r] = __viaddmin_s32(::min(from_west, from_east), quanta[r], here);
      }
      all += sum_of_four(first);
    }
    return all;
  }

  // Sweeps down and up in turn until neither changes a sum in the warp. sum: before, or 0; returns the sum after.
  template <class Down, class Up>
  static __device__ __forceinline__ uint64_t settle(uint64_t sum, Down&& down, Up&& up) {
    bool quiet = false;
    for (;;) {
      const uint64_t before = sum, between = down();
      const bool still = !__any_sync(full_mask, between != before);
      if (still && quiet) return between;
      sum = up();
      quiet = !__any_sync(full_mask, sum != between);
      if (still && quiet) return sum;
    }
  }
};

}  // namespace perturb::cuda
