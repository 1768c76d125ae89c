// One call with its arrays: the same valid request in host memory and in device memory, so that a test can spoil, repeat or capture it
// and compare the two. Shapes are cases of cases.h with few samples; shapes() has one for every kernel of every oracle.
#pragma once

#include "arranged_call.h"
#include "cuda/device_memory.h"

namespace perturb::test {

using device_call = arranged_call<device_memory>;

// A case of every shape that kernels/dispatch.cpp chooses, small enough to be emulated.
inline std::vector<test_case> shapes() {
  case_list list;
  const auto add = [&](test_case c, int64_t samples, const char* note = "") {
    c.samples = samples;
    c.batch = 4;
    list.add(c, note);
  };
  add(list.argmax_case(6), 70, "thread");
  add(list.argmax_case(6), 5, "warp");
  add(list.argmax_case(5000), 3, "block");
  add(list.top_k_case(20, 3), 9);
  add(list.top_k_case(100, 10), 20);
  add(list.top_k_case(200, 10), 20);
  add(list.top_k_case(600, 40), 3);
  add(list.top_k_case(1500, 100), 3, "block");
  for (int64_t n : {5, 12, 30, 60, 100, 200, 400}) add(list.rank_case(n, n % 3 == 0), 5, "packed");
  for (int64_t n : {10, 50, 100, 300}) {
    test_case c = list.rank_case(n, n == 50, 0);
    c.distribution = PERTURB_NORMAL;
    c.mode = PERTURB_MULTIPLICATIVE;  // rules packed keys out
    add(c, 5, "exact");
  }
  add(list.rank_case(600), 3, "exact");
  test_case factors = list.rank_case(1500, 1);
  factors.per_item = true;
  add(factors, 2, "block");
  test_case ties = list.rank_case(2300, 1, 1, inputs::ties);
  ties.epsilon = 0;
  add(ties, 3, "block_ties");
  add(list.rank_case(30000), 2, "sorted");
  add(list.sort_case(5, 5), 9);
  add(list.sort_case(34, 34, 0), 5);
  add(list.sort_case(100, 3), 20);
  test_case weighted = list.sort_case(13, 13);
  weighted.distribution = PERTURB_NORMAL;
  weighted.mode = PERTURB_MULTIPLICATIVE;
  weighted.per_item = true;
  add(weighted, 17, "exact");
  add(list.sort_case(700, 2), 3, "exact");
  add(list.sort_case(30000, 3), 2, "sorted");
  add(list.grid_case(5, 7), 9);
  test_case walled = list.grid_case(6, 9, PERTURB_CONNECT_8_NO_CORNER_CUTTING);
  walled.wall = walls::random_nan;
  walled.per_item = true;
  add(walled, 5, "walls");
  add(list.grid_case(16, 16), 35, "two_steps");
  add(list.grid_case(20, 20), 3);
  test_case slanted = list.grid_case(18, 32);
  slanted.wall = walls::random;
  slanted.diagonal_factor = 1.41421356f;
  add(slanted, 9, "slanted");
  add(list.grid_case(40, 40), 2, "strips");
  add(list.grid_case(9, 130, PERTURB_CONNECT_4), 2, "tiles");
  // Rows that differ, and sets, in every shape that knows of them.
  for (test_case c : {list.top_k_case(20, 20), list.top_k_case(100, 40), list.top_k_case(200, 100), list.top_k_case(600, 300), list.top_k_case(1500, 900),
                      list.grid_case(5, 7), list.grid_case(20, 20), list.grid_case(40, 40), list.grid_case(9, 130, PERTURB_CONNECT_4)}) {
    c.tables = true;
    add(c, c.n < 30 ? 9 : c.oracle == oracle_kind::top_k && c.n <= 200 ? 20 : 2, "tables");
    if (!c.is_grid()) continue;
    c.tables = false;
    c.sources = {0, c.n / 2, c.width - 1, c.n / 3};
    c.targets = {c.target, c.n - c.width, c.n / 4};
    add(c, c.n < 50 ? 9 : 2, "sets");
    c.wall = walls::random;
    c.connectivity = PERTURB_CONNECT_8_NO_CORNER_CUTTING;
    c.count_source = 0;
    add(c, 2, "sets_walls");
  }
  for (test_case& c : list.all)
    if (c.n > 10000) c.batch = 2;
  return list.all;
}

}  // namespace perturb::test
