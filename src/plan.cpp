// How a call will run: how many threads are worth waking, and the scratch of each.
#include "plan.h"

namespace perturb {
namespace {

// Waking a worker costs some microseconds; a share should be worth several times that.
constexpr double smallest_share = 1 << 15;  // items perturbed
constexpr double grid_cell = 4.0;           // what a cell costs in items

}  // namespace

plan make_plan(const cpu_backend& cpu, const call& c, int threads, bool any_outputs) {
  const double items = (double)c.batch * (double)c.samples * (double)c.n() * (c.oracle->grid ? grid_cell : 1.0);
  const double groups = (double)c.batch * (double)((c.samples + cpu.lanes - 1) / cpu.lanes);
  double worth = items / smallest_share;
  if (worth > groups) worth = groups;
  plan p;
  p.threads = worth >= threads ? threads : worth > 1.0 ? (int)worth : 1;
  call sized = c;
  static float any;
  if (any_outputs)
    for (float*& o : sized.output) o = &any;
  p.stride = (cpu.scratch_bytes(sized) + 63) / 64 * 64;
  return p;
}

}  // namespace perturb
