// grid_path on the device where a column of lanes' registers holds the grid: up to 16 x 16, two samples per warp, or 32 x 32, one.
//
// A warp solves Batch samples before the estimator sees them. It leaves 4 bits per cell in shared memory, the step that enters the cell
// by the tie rule, and then every lane (or few lanes together) walks the path of its own sample.
#pragma once

#include "kernels/oracles/grid_path.cuh"

namespace perturb::cuda {

template <bool Plain, int Lanes, int Batch>
class grid_path_columns_oracle {
 public:
  static constexpr bool plain = Plain;
  static constexpr int threads = 128, warps = threads / 32, per_warp = 32 / Lanes, rows = Lanes;
  static constexpr int blocks = Lanes == 16 ? 5 : 4, value_blocks = Lanes == 16 ? 5 : 3;
  static constexpr int sample_lanes = 32 / Batch;
  static constexpr int64_t samples_per_step = warps * Batch;
  using lanes = group<sample_lanes>;
  using source = noise_source<Plain>;

  static __device__ __forceinline__ bool takes(const problem&, int64_t) { return true; }
  static size_t shared_bytes(const problem& p) {
    return sizeof(float) * (quads((int32_t)p.n) * 4 + mask_words + warps * warp_words(p.grid.height, p.grid.width));
  }
  static size_t scratch_bytes(const problem&) { return 0; }

  __device__ __forceinline__ grid_path_columns_oracle(const problem& problem_, int64_t row, unsigned char* shared)
      : p(problem_), theta_(problem_.theta + row * problem_.n), shared_((float*)shared), row_(row_counter(problem_, row)), scale_(problem_.state[row].grid_scale) {}

  __device__ __forceinline__ void begin_row() {
    const device_grid& g = p.grid;
    const int32_t n = (int32_t)p.n;
    for (int32_t i = threadIdx.x; i < quads(n) * 4; i += threads) staged()[i] = i < n && g.passable[i] ? theta_[i] : INFINITY;
    for (int32_t i = threadIdx.x; i < mask_words; i += threads) {
      const int32_t which = i / Lanes, column = i % Lanes, k = 2 * which + (which > 1);  // 0, 2, 5, 7
      uint32_t mask = 0;
      if (column < g.width)
        for (int32_t r = 0; r < g.height; ++r) mask |= (uint32_t)(g.steps[r * g.width + column] >> k & 1) << r;
      masks()[i] = mask;
    }
    bool even = g.diagonal_factor == 1.0f;
    for (int32_t i = threadIdx.x; i < n; i += threads) even = even && all_steps(g, i);
    even_ = __syncthreads_and(even);
  }

  __device__ __forceinline__ int64_t step_sample(int64_t first) const { return first + threadIdx.x / sample_lanes; }

  __device__ __forceinline__ void solve(int64_t first, int64_t last) {
    const int64_t own = step_sample(first), start = first + (int64_t)(threadIdx.x / 32 * Batch);
    present_ = own < last;
    sample_ = sample_counter(p, present_ ? own : last - 1);
    const int32_t wanted = last - start < Batch ? (int32_t)(last - start) : Batch, at_once = problems_at_once((int32_t)p.n, even_);
    for (int32_t b = 0; b < Batch; b += at_once) {
      // Votes: the compiler then knows that the loop is the same for the whole warp.
      if (!__any_sync(full_mask, b < wanted)) break;
      const int32_t here = wanted - b < at_once ? (wanted - b + per_warp - 1) / per_warp * per_warp : at_once;
      __syncwarp();
      draw_costs(start + b, here, last);
      __syncwarp();
      for (int32_t j = 0; j < at_once; j += per_warp) {
        if (!__any_sync(full_mask, j < here)) break;
        const int32_t which = j + (int)(threadIdx.x % 32 / Lanes);
        solve_one(costs() + which * cost_pitch((int32_t)p.n), codes() + (b + which) * code_pitch(p.grid.height, p.grid.width));
      }
    }
    __syncwarp();
  }

  // A lane reports every sample_lanes-th cell of its sample's path: lanes of a sample walk together.
  template <detail D, class F>
  __device__ __forceinline__ void for_each(F&& f) const {
    if (!present_) return;
    const device_grid& g = p.grid;
    const uint32_t* const own = codes() + (int)(threadIdx.x % 32 / sample_lanes) * code_pitch(g.height, g.width);
    int32_t cell = g.target, r = cell / g.width, c = cell % g.width;
    bool more = true;
    while (more) {
      int32_t item = -1;
      uint32_t by = 0;
      bool is_source = false;
      for (int i = 0; i < sample_lanes && more; ++i) {
        more = cell != g.source;
        const uint32_t k = own[(r >> 3) * g.width + c] >> (4 * (r & 7)) & 15u;
        if (i == lanes::rank()) {
          item = cell;
          by = k;
          is_source = !more;
        }
        if (!more) break;
        r += step_row(k);
        c += step_column(k);
        cell = r * g.width + c;
      }
      if (item >= 0) report_cell<Plain, D>(p, theta_, row_, sample_, item, by, is_source, f);
    }
  }

 private:
  using columns = grid_column<Lanes, rows>;
  static constexpr int mask_words = 4 * Lanes;
  static constexpr int cost_words = Lanes == 16 ? 1152 : 1040;  // of a warp: 4 samples of 16 x 16, 8 of 12 x 12, one of 32 x 32

  static __host__ __device__ __forceinline__ int32_t quads(int32_t n) { return (n + 3) / 4; }
  // 16 mod 32: the two halves of a warp then use different banks.
  static __host__ __device__ __forceinline__ int32_t cost_pitch(int32_t n) { return (n + 15) / 32 * 32 + 16; }
  // Of how many samples costs are drawn at once, for the sake of whole quads per lane. Uneven ones overwrite the costs.
  static __device__ __forceinline__ int32_t problems_at_once(int32_t n, bool even) {
    const int32_t fit = even ? cost_words / cost_pitch(n) / per_warp * per_warp : per_warp;
    return fit < Batch ? fit : Batch;
  }
  static __host__ __device__ __forceinline__ int32_t code_pitch(int32_t height, int32_t width) { return ((height + 7) / 8 * width) | 1; }  // odd: banks
  static __host__ __device__ __forceinline__ int32_t warp_words(int32_t height, int32_t width) { return cost_words + (Batch * code_pitch(height, width) + 3) / 4 * 4; }

  // Shared memory, found anew each time: a pointer is dearer to keep in registers.
  __device__ __forceinline__ float* staged() const { return shared_; }
  __device__ __forceinline__ uint32_t* masks() const { return (uint32_t*)shared_ + quads((int32_t)p.n) * 4; }
  __device__ __forceinline__ float* costs() const { return (float*)masks() + mask_words + (int32_t)(threadIdx.x / 32) * warp_words(p.grid.height, p.grid.width); }
  __device__ __forceinline__ uint32_t* codes() const { return (uint32_t*)costs() + cost_words; }

  // Costs of `count` samples from `start` on, quads shared out over the warp.
  __device__ __forceinline__ void draw_costs(int64_t start, int32_t count, int64_t last) {
    const uint32_t of_one = (uint32_t)quads((int32_t)p.n), reciprocal = ((1u << 20) + of_one - 1) / of_one;  // exact: fewer than 2^12 quads
    for (uint32_t i = threadIdx.x % 32; i < count * of_one; i += 32) {
      const uint32_t which = i * reciprocal >> 20, q = i - which * of_one;
      const int64_t sample = start + which < last ? start + which : last - 1;
      float z[4];
      source::quad(p, row_, sample_counter(p, sample), q, z);
      const float4 t = ((const float4*)staged())[q];
      ((float4*)(costs() + (int32_t)which * cost_pitch((int32_t)p.n)))[q] =
          make_float4(cell_cost<Plain>(p, t.x, 4 * q, z[0]), cell_cost<Plain>(p, t.y, 4 * q + 1, z[1]), cell_cost<Plain>(p, t.z, 4 * q + 2, z[2]),
                      cell_cost<Plain>(p, t.w, 4 * q + 3, z[3]));
    }
  }

  __device__ __forceinline__ void solve_one(float* costs, uint32_t* codes) {
    const device_grid& g = p.grid;
    const int column = (int)(threadIdx.x % Lanes);
    const int32_t source_row = column == g.source % g.width ? g.source / g.width : -1;
    const bool even = __all_sync(full_mask, even_);
    columns x;
    // Behind an empty asm, or all rows' addresses and predicates would be kept in registers from sample to sample.
    int32_t width = g.width, height = column < g.width ? g.height : 0, at = column;
    asm volatile("" : "+r"(width), "+r"(height));
#pragma unroll
    for (int r = 0; r < rows; ++r) {
      x.quanta[r] = __float_as_int(r < height ? costs[at] : INFINITY);
      at += width;
    }
    // Diagonal quanta, where they are needed, take the place of the costs, at offsets known to the compiler.
    int32_t* const slanted = (int32_t*)this->costs() + threadIdx.x % 32;
    if (!even) {
      __syncwarp();
#pragma unroll
      for (int r = 0; r < rows; ++r) slanted[32 * r] = step_quanta(__int_as_float(x.quanta[r]) * g.diagonal_factor, scale_);
    }
#pragma unroll
    for (int r = 0; r < rows; ++r) {
      x.quanta[r] = step_quanta(__int_as_float(x.quanta[r]), scale_);
      x.distance[r] = r == source_row ? (g.count_source ? x.quanta[r] : 0) : grid_infinity;
    }
    if (even) {
      x.settle([&] { return x.template sweep<true>(g.height); }, [&] { return x.template sweep<false>(g.height); });
      write_codes(x, codes, column);
      return;
    }
    const auto diagonal = [&](int r) { return slanted[32 * r]; };
    const uint32_t* const of_column = masks() + column;
    const diagonal_masks steps = {of_column[0], of_column[Lanes], of_column[2 * Lanes], of_column[3 * Lanes]};
    x.settle([&] { return x.template sweep<true>(g.height, steps, diagonal); }, [&] { return x.template sweep<false>(g.height, steps, diagonal); });
    write_codes(x, codes, column, steps, diagonal);
  }

  // Which of three neighbours in a row is nearest, and how near.
  struct triple {
    int32_t west, east, least;
    uint32_t first;
  };
  static __device__ __forceinline__ triple triple_of(int32_t here, int column) {
    triple t = {columns::west(here), columns::east(here), 0, 2};
    t.least = __vimin3_s32(here, t.west, t.east);
    if (here == t.least) t.first = 1;
    if (t.west == t.least && column > 0) t.first = 0;
    return t;
  }

  // The step that enters each cell: the first neighbour that explains its distance. One row of eight codes per word and column.
  __device__ __forceinline__ void write_codes(const columns& x, uint32_t* codes, int column) const {
    const device_grid& g = p.grid;
    triple north = {0, 0, grid_infinity, 0}, here = triple_of(x.distance[0], column);
    uint32_t word = 0;
#pragma unroll
    for (int r = 0; r < rows; ++r) {
      if (r / 4 * 4 >= g.height) continue;
      const triple south = r + 1 < rows ? triple_of(x.distance[r + 1], column) : triple{0, 0, grid_infinity, 0};
      const int32_t before = x.distance[r] - x.quanta[r];
      uint32_t code = 5 + south.first;
      if (here.east == before) code = 4;
      if (here.west == before) code = 3;
      if (north.least == before) code = north.first;
      put_code(codes, word, code, r, column);
      north = here;
      here = south;
    }
  }

  template <class Diagonal>
  __device__ __forceinline__ void write_codes(const columns& x, uint32_t* codes, int column, const diagonal_masks& steps, Diagonal&& diagonal) const {
    const device_grid& g = p.grid;
    int32_t north = grid_infinity, north_west = north, north_east = north, here = x.distance[0], west = columns::west(here), east = columns::east(here);
    uint32_t word = 0;
#pragma unroll
    for (int r = 0; r < rows; ++r) {
      if (r / 4 * 4 >= g.height) continue;
      const int32_t south = r + 1 < rows ? x.distance[r + 1] : grid_infinity, south_west = columns::west(south), south_east = columns::east(south);
      const int32_t before = here - x.quanta[r], slanted = here - diagonal(r);
      uint32_t code = 7;
      if (south == before) code = 6;
      if (south_west == slanted && (steps.sw >> r & 1)) code = 5;
      if (east == before) code = 4;
      if (west == before) code = 3;
      if (north_east == slanted && (steps.ne >> r & 1)) code = 2;
      if (north == before) code = 1;
      if (north_west == slanted && (steps.nw >> r & 1)) code = 0;
      put_code(codes, word, code, r, column);
      north = here;
      north_west = west;
      north_east = east;
      here = south;
      west = south_west;
      east = south_east;
    }
  }

  __device__ __forceinline__ void put_code(uint32_t* codes, uint32_t& word, uint32_t code, int r, int column) const {
    word = r % 8 ? word | code << (4 * (r % 8)) : code;
    if ((r % 8 == 7 || r % 8 == 3) && column < p.grid.width) codes[r / 8 * p.grid.width + column] = word;
  }

  const problem& p;
  const float* theta_;
  float* shared_;
  uint32_t row_, sample_ = 0;
  float scale_;
  bool even_ = false, present_ = false;
};

}  // namespace perturb::cuda
