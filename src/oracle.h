// The oracle object behind the C API: an immutable description, shared by all backends.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "grid.h"
#include "perturb/perturb.h"

namespace perturb {

enum class oracle_kind : int {
#define PERTURB_ORACLE(name) name,
#include "oracles.def"
#undef PERTURB_ORACLE
};

constexpr int oracle_kinds = 0
#define PERTURB_ORACLE(name) +1
#include "oracles.def"
#undef PERTURB_ORACLE
    ;

// Of an oracle whose solver is the caller's. No line of oracles.def: src/custom runs its calls, and no table of kernels sees them.
constexpr oracle_kind custom_kind = static_cast<oracle_kind>(-1);

// The solver of a custom oracle: for host memory, for device memory, or both.
struct custom_solver {
  perturb_solver solve, enqueue;
  void* user;
  bool thread_safe;
};

// What a device keeps of an oracle, and how it is given back.
struct device_copy {
  int ordinal;
  void* memory;
  void (*release)(int ordinal, void* memory);
};
struct device_copies {
  std::mutex mutex;
  std::vector<device_copy> all;
  ~device_copies() {
    for (const device_copy& copy : all) copy.release(copy.ordinal, copy.memory);
  }
};

}  // namespace perturb

struct perturb_oracle {
  perturb::oracle_kind kind;
  int64_t n = 0, m = 0;
  int64_t k = 0;               // top_k, the largest of row_k; sort: how many positions
  std::vector<int32_t> row_k;  // top_k: of each row of the problem; empty: k is every row's
  bool descending = false;     // rank, sort
  int32_t base = 1;         // rank
  std::unique_ptr<const perturb::grid> grid;  // grid_path
  std::unique_ptr<const perturb::custom_solver> custom;  // custom_kind
  bool minimize = false;                                 // custom_kind
  mutable perturb::device_copies device_copies;  // made by the first call on a device

  int64_t k_of(int64_t row) const { return row_k.empty() ? k : row_k[row]; }
  // How many rows a problem may have: those of the tables, 0 without any.
  int64_t table_rows() const { return grid ? (int64_t)grid->rows.size() : (int64_t)row_k.size(); }
  // Whether y and theta have the same entries, so that there is a value <y, theta>. Of custom oracles only m = n is known.
  bool has_value() const { return kind != perturb::oracle_kind::sort; }

  // Whether noise is added to theta (+1) or subtracted (-1), and whether y maximises <y, s> (+1) or minimises it (-1).
  float noise_sign() const { return kind == perturb::oracle_kind::grid_path || minimize ? -1.0f : 1.0f; }
  double loss_sign() const { return kind == perturb::oracle_kind::grid_path || minimize || descending ? -1.0 : 1.0; }
};
