// The grid behind a grid_path oracle: which steps exist, found once when the oracle is created.
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

struct grid {
  int64_t height = 0, width = 0;
  int64_t source = 0, target = 0;
  float diagonal_factor = 1.0f;
  float cost_floor = 1e-6f;
  bool count_source = true;
  bool refuse_negative = false;
  std::vector<uint8_t> steps;     // [height * width] mask of neighbours that a step may come from (steps are symmetric); 0 for walls
  std::vector<uint8_t> passable;  // [height * width] 0 or 1
  int64_t hops = 0;               // the largest hop distance from the source over cells that it reaches
  int64_t reached = 0;            // how many cells it reaches, itself included

  int64_t cells() const { return height * width; }
};

// Fills steps, hops and reached from the other fields. False if an end is a wall or the target is out of reach.
bool prepare_grid(grid& g, int connectivity);

}  // namespace perturb
