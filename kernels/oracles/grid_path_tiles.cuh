// grid_path on the device for larger grids: a block per sample, distances and costs in shared memory (strips) or in the block's global
// scratch (tiles).
//
// The grid is cut into tiles of 32 columns and 16 rows. A warp takes a tile into registers, relaxes it once from its surroundings and
// then sweeps it until it is stable; tiles whose surroundings changed are listed for the next round. All warps of the block read before
// any writes, so a round has no races, and what a warp sees never depends on another's speed. The first list is the tiles that have a source
// or touch one.
//
// Large grids have many more tiles at the front than the block has warps. A round then takes only those nearest to the sources, about as
// many as warps: a far tile that waits is more often complete when its turn comes.
//
// A source's distance is what starting there costs, and no other cell's is (src/cpu/oracles/grid_path.h): the walk back may end there.
#pragma once

#include "kernels/oracles/grid_path.cuh"

namespace perturb::cuda {

template <bool Plain, int Threads, bool Shared>
class grid_path_tiles_oracle {
 public:
  static constexpr bool plain = Plain;
  static constexpr int threads = Threads, warps = threads / 32, blocks = Threads == 128 ? 3 : 1;
  static constexpr int64_t samples_per_step = 1;
  using lanes = group<Threads>;
  using source = noise_source<Plain>;

  static __device__ __forceinline__ bool takes(const problem&, int64_t) { return true; }
  static size_t shared_bytes(const problem& p) { return (Shared ? bytes(p) : 0) + warps * slanted_words * sizeof(int32_t); }
  static size_t scratch_bytes(const problem& p) { return Shared ? 0 : bytes(p); }

  __device__ __forceinline__ grid_path_tiles_oracle(const problem& problem_, int64_t row, unsigned char* shared)
      : p(problem_), theta_(problem_.theta + row * problem_.n), row_(row_counter(problem_, row)), scale_(problem_.state[row].grid.scale) {
    slanted_ = (int32_t*)shared + threadIdx.x / 32 * slanted_words + threadIdx.x % 32;
    distance_ = Shared ? (int32_t*)shared + warps * slanted_words : (int32_t*)(p.scratch + blockIdx.x * p.scratch_per_block);
    costs_ = (float*)(distance_ + (int32_t)p.n);
    listed_ = (int32_t*)(costs_ + (int32_t)p.n);
    lists_ = listed_ + tiles(p.grid);
    keys_ = lists_ + 3 * tiles(p.grid);
  }

  __device__ __forceinline__ void begin_row() {
    bool even = p.grid.diagonal_factor == 1.0f;
    for (int32_t i = threadIdx.x; i < (int32_t)p.n; i += threads) even = even && all_steps(p.grid, i);
    even_ = __syncthreads_and(even);
  }

  __device__ __forceinline__ int64_t step_sample(int64_t first) const { return first; }

  __device__ __forceinline__ void solve(int64_t first, int64_t) {
    sample_ = sample_counter(p, first);
    round_state& state = shared_state();
    __syncthreads();  // the last sample's path has been walked
    start();
    int32_t* list = lists_;
    int32_t* next = lists_ + tiles(p.grid);
    int now = 0;
    int32_t reach = 1;
    for (;;) {
      __syncthreads();
      int32_t count = state.waiting[now];
      // Votes: the compiler then knows that the loops are the same for the whole warp.
      if (!__any_sync(full_mask, count > 0)) break;
      const int32_t* work = list;
      if constexpr (!Shared) {
        work = lists_ + 2 * tiles(p.grid);
        choose(list, count, reach, next, state.waiting + (now ^ 1));
        count = state.chosen;
        reach = count < warps ? ::min(2 * reach, grid_infinity / 2) : count > 2 * warps ? ::max(reach / 2, 1) : reach;
      }
      for (int32_t base = 0; __any_sync(full_mask, base < count); base += warps) {
        const int32_t at = base + (int)(threadIdx.x / 32);
        const bool busy = __any_sync(full_mask, at < count);
        tile x;
        if (busy) x.load(*this, work[at]);
        __syncthreads();
        if (busy) x.relax(*this, next, state.waiting + (now ^ 1));
        __syncthreads();
      }
      if (threadIdx.x == 0) {
        state.waiting[now] = 0;
        state.chosen = 0;
        state.least = INT32_MAX;
      }
      now ^= 1;
      int32_t* const spare = list;
      list = next;
      next = spare;
    }
  }

  // The first warp walks: each lane looks at one neighbour, and every 32nd cell is a lane's to report.
  template <detail D, class F>
  __device__ __forceinline__ void for_each(F&& f) const {
    if (threadIdx.x >= 32) return;
    const device_grid& g = p.grid;
    int32_t cell = g.targets ? nearest_target() : ends().target;
    const int32_t source = Shared ? ends().source : -1;  // for large grids a register too many
    const uint32_t k = threadIdx.x % grid_neighbours;
    const int32_t offset = step_row(k) * g.width + step_column(k);
    const float factor = step_is_diagonal(k) ? g.diagonal_factor : 1.0f;
    bool more = true;
    while (more) {
      int32_t item = -1;
      uint32_t by = 0;
      bool is_source = false;
      for (int i = 0; i < 32 && more; ++i) {
        more = Shared && !g.sources ? cell != source : distance_[cell] != start_of(cell);
        const bool explains = more && (g.steps[cell] >> k & 1) && distance_[cell + offset] + step_quanta(costs_[cell] * factor, scale_) == distance_[cell];
        const int first = more ? __ffs((int)__ballot_sync(full_mask, explains)) - 1 : 0;
        if (i == (int)threadIdx.x) {
          item = cell;
          by = (uint32_t)first;
          is_source = !more;
        }
        cell += step_row((uint32_t)first) * g.width + step_column((uint32_t)first);
      }
      if (item >= 0) report_cell<Plain, D>(p, theta_, row_, sample_, item, by, is_source, f);
    }
  }

 private:
  static constexpr int tile_rows = 16, tile_columns = 32, slanted_words = tile_rows * tile_columns;
  static constexpr int32_t listed = 1, unsettled = 2;  // unsettled: it has not been relaxed yet, and may have a source

  static __host__ __device__ __forceinline__ int32_t tiles_across(const device_grid& g) { return (g.width + tile_columns - 1) / tile_columns; }
  static __host__ __device__ __forceinline__ int32_t tiles_down(const device_grid& g) { return (g.height + tile_rows - 1) / tile_rows; }
  static __host__ __device__ __forceinline__ int32_t tiles(const device_grid& g) { return tiles_across(g) * tiles_down(g); }
  static size_t bytes(const problem& p) { return ((size_t)p.n * 2 + (size_t)tiles(p.grid) * (Shared ? 3 : 5) + 63) / 64 * 64 * sizeof(int32_t); }

  __device__ __forceinline__ const grid_row& ends() const { return p.state[row_ - p.first_row].grid; }
  // The distance of a cell if it is a source.
  __device__ __forceinline__ int32_t start_of(int32_t cell) const { return p.grid.count_source ? step_quanta(costs_[cell], scale_) : 0; }

  // Of a set, by the first warp: the target of least distance, the lowest cell among equal ones.
  __device__ __forceinline__ int32_t nearest_target() const {
    const device_grid& g = p.grid;
    int32_t least = INT32_MAX, nearest = INT32_MAX;
    for (int32_t i = threadIdx.x; i < g.target_count; i += 32) {  // ascending
      const int32_t distance = distance_[g.targets[i]];
      if (distance < least) nearest = g.targets[i];
      least = ::min(distance, least);
    }
    const int32_t of_all = __reduce_min_sync(full_mask, least);
    return __reduce_min_sync(full_mask, least == of_all ? nearest : INT32_MAX);
  }

  struct round_state {
    int32_t waiting[2];     // how many tiles are in each of the two lists
    int32_t chosen, least;  // of this round: how many tiles, and the nearest one's key
  };
  static __device__ __forceinline__ round_state& shared_state() {
    __shared__ round_state state;
    return state;
  }

  // Tiles of the list that are at most `reach` farther than the nearest go to the third list, the others to the next one.
  __device__ __forceinline__ void choose(const int32_t* list, int32_t count, int32_t reach, int32_t* next, int32_t* waiting) {
    round_state& state = shared_state();
    int32_t least = INT32_MAX;
    for (int32_t i = threadIdx.x; i < count; i += threads) least = ::min(least, keys_[list[i]]);
    atomicMin(&state.least, least);
    __syncthreads();
    const int32_t limit = ::min(state.least, grid_infinity) + reach;
    int32_t* const chosen = lists_ + 2 * tiles(p.grid);
    for (int32_t i = threadIdx.x; i < count; i += threads) {
      const int32_t which = list[i];
      if (keys_[which] <= limit) {
        chosen[atomicAdd(&state.chosen, 1)] = which;
      } else {
        next[atomicAdd(waiting, 1)] = which;
      }
    }
    __syncthreads();
  }

  // Draws the costs, and lists the tiles of the sources and those that touch one.
  __device__ __forceinline__ void start() {
    const device_grid& g = p.grid;
    const int32_t n = (int32_t)p.n;
    for (int32_t q = threadIdx.x; q < (n + 3) / 4; q += threads) {
      float z[4];
      source::quad(p, row_, sample_, (uint32_t)q, z);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int32_t i = 4 * q + j;
        if (i >= n) break;
        costs_[i] = cell_cost<Plain>(p, row_, g.passable[i] ? theta_[i] : INFINITY, i, z[j]);
        distance_[i] = far_quanta;
      }
    }
    for (int32_t i = threadIdx.x; i < tiles(g); i += threads) {
      listed_[i] = 0;
      if constexpr (!Shared) keys_[i] = INT32_MAX;
    }
    round_state& state = shared_state();
    if (threadIdx.x == 0) state = {{0, 0}, 0, INT32_MAX};
    __syncthreads();
    // A thread for each of the nine cells around a source.
    for (int32_t i = threadIdx.x; i < 9 * (g.sources ? g.source_count : 1); i += threads) {
      const int32_t cell = g.sources ? g.sources[i / 9] : ends().source, begin = start_of(cell);
      const int32_t row = cell / g.width + i % 9 / 3 - 1, column = cell % g.width + i % 3 - 1;
      if (i % 9 == 4) distance_[cell] = begin;
      if (row < 0 || row >= g.height || column < 0 || column >= g.width) continue;
      const int32_t of_cell = row / tile_rows * tiles_across(g) + column / tile_columns;
      if constexpr (!Shared) atomicMin(keys_ + of_cell, begin);
      if (atomicOr(listed_ + of_cell, unsettled) == 0) lists_[atomicAdd(state.waiting, 1)] = of_cell;
    }
  }

  struct tile {
    using columns = grid_column<tile_columns, tile_rows>;
    columns x;
    diagonal_masks steps;  // where some do not exist
    int32_t across, down, top, bottom, moved;

    __device__ __forceinline__ void load(const grid_path_tiles_oracle& o, int32_t which) {
      const device_grid& g = o.p.grid;
      const int lane_of_warp = (int)(threadIdx.x % 32);
      const bool is_west = lane_of_warp == 0, is_east = lane_of_warp == tile_columns - 1;
      across = which % tiles_across(g);
      down = which / tiles_across(g);
      moved = 0;
      if (lane_of_warp == 0) {
        moved = o.listed_[which] & unsettled;
        o.listed_[which] = 0;
        if constexpr (!Shared) o.keys_[which] = INT32_MAX;
      }
      const int32_t r0 = down * tile_rows, column = across * tile_columns + lane_of_warp;
      // Of the columns at both sides: one for the first lane, one for the last.
      const int32_t beside = is_west ? column - 1 : is_east ? column + 1 : -1;
      // How many rows there are from the tile's first on, in this lane's columns. Behind an empty asm, or all rows' offsets would be kept
      // in registers from tile to tile.
      int32_t width = g.width, inside = column < g.width ? g.height - r0 : 0, side = beside >= 0 && beside < g.width ? g.height - r0 : 0;
      asm volatile("" : "+r"(width), "+r"(inside), "+r"(side));
      const int32_t corner = r0 * width, above = corner - width;

      const bool even = __all_sync(full_mask, o.even_);
      int32_t at = corner + column;
      steps = {0, 0, 0, 0};
      if (even) steps = {~0u, ~0u, ~0u, ~0u};
#pragma unroll
      for (int r = 0; r < tile_rows; ++r) {
        const float cost = r < inside ? o.costs_[at] : INFINITY;
        x.distance[r] = r < inside ? o.distance_[at] : far_quanta;
        x.quanta[r] = step_quanta(cost, o.scale_);
        o.slanted_[tile_columns * r] = even ? x.quanta[r] : step_quanta(cost * g.diagonal_factor, o.scale_);
        if (!even) {
          const uint32_t mask = r < inside ? g.steps[at] : 0;
          steps.nw |= (mask >> 0 & 1) << r;
          steps.ne |= (mask >> 2 & 1) << r;
          steps.sw |= (mask >> 5 & 1) << r;
          steps.se |= (mask >> 7 & 1) << r;
        }
        at += width;
      }
      top = x.distance[0];
      bottom = x.distance[tile_rows - 1];

      // From outside: the row above, the columns at the sides, the row below.
      int32_t before = side > 0 && r0 > 0 ? o.distance_[above + beside] : grid_infinity, here = side > 0 ? o.distance_[corner + beside] : grid_infinity;
      relax_from_row(0, inside > 0 && r0 > 0 ? o.distance_[above + column] : grid_infinity, before, steps.nw, steps.ne, is_west, is_east, o.slanted_);
      const uint32_t from_before = is_west ? steps.nw : steps.ne, from_after = is_west ? steps.sw : steps.se;
      at = corner + beside;
#pragma unroll
      for (int r = 0; r < tile_rows; ++r) {
        at += width;
        const int32_t after = r + 1 < side ? o.distance_[at] : grid_infinity;
        relax_from(r, here, from_before >> r & 1 ? before : grid_infinity, from_after >> r & 1 ? after : grid_infinity, o.slanted_);
        before = here;
        here = after;
      }
      const int32_t below = tile_rows < inside ? o.distance_[corner + tile_rows * width + column] : grid_infinity;
      relax_from_row(tile_rows - 1, below, here, steps.sw, steps.se, is_west, is_east, o.slanted_);
    }

    __device__ __forceinline__ void relax(const grid_path_tiles_oracle& o, int32_t* next, int32_t* waiting) {
      const device_grid& g = o.p.grid;
      // Inside, a tile that has been written is stable.
      if (!__any_sync(full_mask, moved != 0)) return;
      const uint64_t before = x.sum();
      if (__all_sync(full_mask, o.even_)) {
        moved |= before != x.settle(before, [&] { return x.template sweep<true>(tile_rows); }, [&] { return x.template sweep<false>(tile_rows); });
      } else {
        const auto diagonal = [&](int r) { return o.slanted_[tile_columns * r]; };
        moved |= before != x.settle(before, [&] { return x.template sweep<true>(tile_rows, steps, diagonal); },
                                    [&] { return x.template sweep<false>(tile_rows, steps, diagonal); });
      }
      const int32_t column = across * tile_columns + (int32_t)(threadIdx.x % 32);
      int32_t width = g.width, inside = column < g.width ? g.height - down * tile_rows : 0;
      asm volatile("" : "+r"(width), "+r"(inside));
      int32_t at = down * tile_rows * width + column, side = Shared && moved ? 0 : INT32_MAX;
#pragma unroll
      for (int r = 0; r < tile_rows; ++r) {
        if (r < inside) {
          if (!Shared && x.distance[r] != o.distance_[at]) side = ::min(side, x.distance[r]);
          o.distance_[at] = x.distance[r];
        }
        at += width;
      }

      // Lane k lists neighbour k if cells next to it changed; its key is the least new distance there.
      const int32_t upper = x.distance[0] != top ? x.distance[0] : INT32_MAX, lower = x.distance[tile_rows - 1] != bottom ? x.distance[tile_rows - 1] : INT32_MAX;
      const int32_t uppermost = __reduce_min_sync(full_mask, upper), lowermost = __reduce_min_sync(full_mask, lower);
      const uint32_t k = threadIdx.x % grid_neighbours;
      const int32_t dr = step_row(k), dc = step_column(k), corner = dc < 0 ? 0 : tile_columns - 1;
      const int32_t of_upper = __shfl_sync(full_mask, upper, corner), of_lower = __shfl_sync(full_mask, lower, corner), of_side = __shfl_sync(full_mask, side, corner);
      const int32_t key = dr < 0 ? (dc ? of_upper : uppermost) : dr > 0 ? (dc ? of_lower : lowermost) : of_side;
      if (threadIdx.x % 32 >= grid_neighbours || key == INT32_MAX) return;
      if (across + dc < 0 || across + dc >= tiles_across(g) || down + dr < 0 || down + dr >= tiles_down(g)) return;
      const int32_t neighbour = (down + dr) * tiles_across(g) + across + dc;
      if constexpr (!Shared) atomicMin(o.keys_ + neighbour, key);
      if (atomicOr(o.listed_ + neighbour, listed) == 0) next[atomicAdd(waiting, 1)] = neighbour;
    }

   private:
    __device__ __forceinline__ void take(int r, int32_t candidate) {
      const int32_t old = x.distance[r];
      x.distance[r] = ::min(candidate, old);
      moved |= old ^ x.distance[r];
    }
    // The corner beyond the row is at the side.
    __device__ __forceinline__ void relax_from_row(int r, int32_t straight, int32_t corner, uint32_t west_steps, uint32_t east_steps, bool is_west, bool is_east,
                                                   const int32_t* slanted) {
      const int32_t west = columns::west(straight), east = columns::east(straight);
      relax_from(r, straight, west_steps >> r & 1 ? (is_west ? corner : west) : grid_infinity, east_steps >> r & 1 ? (is_east ? corner : east) : grid_infinity, slanted);
    }
    __device__ __forceinline__ void relax_from(int r, int32_t straight, int32_t diagonal_a, int32_t diagonal_b, const int32_t* slanted) {
      take(r, ::min(straight + x.quanta[r], ::min(diagonal_a, diagonal_b) + slanted[tile_columns * r]));
    }
  };

  const problem& p;
  const float* theta_;
  int32_t* slanted_;  // of this lane's column in the warp's tile: quanta of diagonal steps
  int32_t* distance_;
  float* costs_;
  int32_t* listed_;  // whether a tile is in a list: 0, or listed, unsettled
  int32_t* lists_;   // of this round and the next one; tiles also have the round's choice
  int32_t* keys_;    // tiles: a listed tile's least new distance next to it
  uint32_t row_, sample_ = 0;
  float scale_;
  bool even_ = false;
};

}  // namespace perturb::cuda
