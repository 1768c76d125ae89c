// The grid behind a grid_path oracle: which steps exist and how far its cells are, found once when the oracle is created.
#pragma once

#include <cstdint>
#include <vector>

namespace perturb {

// A cell's neighbours in the order of the tie rule: NW, N, NE, W, E, SW, S, SE. Bit k of a step mask allows neighbour k.
constexpr int grid_neighbours = 8;
constexpr int grid_row_step[grid_neighbours] = {-1, -1, -1, 0, 0, 1, 1, 1};
constexpr int grid_column_step[grid_neighbours] = {-1, 0, 1, -1, 1, -1, 0, 1};
constexpr uint8_t grid_diagonals = 0xA5;  // bits 0, 2, 5, 7
constexpr uint8_t grid_straights = 0x5A;  // bits 1, 3, 4, 6

// Where the paths of a row start and end, and how far cells are from there.
struct grid_ends {
  int32_t source = 0, target = 0;
  int32_t hops = 0;     // the largest hop distance from the source over cells that it reaches
  int32_t reached = 0;  // how many cells it reaches, itself included
};

// The cells that a row's paths may start at, or end at.
struct cell_list {
  const int32_t* begin_;
  int64_t count;
  const int32_t* begin() const { return begin_; }
  const int32_t* end() const { return begin_ + count; }
};

struct grid {
  int64_t height = 0, width = 0;
  float diagonal_factor = 1.0f;
  float cost_floor = 1e-6f;
  bool count_source = true;
  bool refuse_negative = false;
  std::vector<uint8_t> steps;     // [height * width] mask of neighbours that a step may come from (steps are symmetric); 0 for walls
  std::vector<uint8_t> passable;  // [height * width] 0 or 1
  bool has_walls = false;
  grid_ends ends;                 // of all rows; with sets hops and reached alone, from the nearest source
  std::vector<grid_ends> rows;    // of each row of the problem; empty: `ends` are every row's
  std::vector<int32_t> sources, targets;  // sets, ascending, targets in reach; empty: the row's ends. One cell each: they are the ends
  std::vector<uint8_t> is_target;         // [height * width] with sets

  int64_t cells() const { return height * width; }
  // The cells whose costs count; null: all.
  const uint8_t* counted() const { return has_walls ? passable.data() : nullptr; }
  bool has_sets() const { return !sources.empty(); }
  const grid_ends& ends_of(int64_t row) const { return rows.empty() ? ends : rows[row]; }
  cell_list sources_of(int64_t row) const { return list(sources, ends_of(row).source); }
  cell_list targets_of(int64_t row) const { return list(targets, ends_of(row).target); }
  // Whether a path's cost is <y, theta> up to a constant.
  bool linear() const { return diagonal_factor == 1.0f && (count_source || sources.size() < 2); }

 private:
  static cell_list list(const std::vector<int32_t>& set, const int32_t& single) {
    return set.empty() ? cell_list{&single, 1} : cell_list{set.data(), (int64_t)set.size()};
  }
};

// Fills the steps and has_walls from the other fields.
void make_steps(grid& g, int connectivity);

// Fills hops, reached and is_target, and leaves unreached targets of a set out. Returns the first row whose target is out of reach (0 where
// all rows have the same ends and no target is in reach), else -1.
int64_t measure_grid(grid& g);

}  // namespace perturb
