// One valid call of a case with its arrays, in memory of one kind: what tests repeat, spoil, cut in parts or run on a device.
#pragma once

#include "compare.h"
#include "operations.h"
#include "refusal.h"

namespace perturb::test {

// A request of refusal.h for a prepared case, with arrays from `Memory` (host_memory or device_memory). Stays where it is made.
template <class Memory>
struct arranged_call {
  Memory memory;
  perturb_noise noise;
  request valid;
  std::vector<int64_t> widths;  // floats per row of each output

  arranged_call(perturb_context* context, const prepared_case& p, entry_point entry) : noise(make_noise(p.c, p.factors)) {
    const int64_t n = p.c.n, M = noise.samples, batch = p.c.batch;
    if (noise.epsilon_per_item) noise.epsilon_per_item = memory.input(p.factors.data(), n);
    valid.entry = entry;
    valid.context = context;
    valid.oracle = p.oracle.get();
    valid.noise = &noise;
    valid.batch = batch;
    valid.n = n;
    valid.theta = memory.input(p.theta.data(), batch * n);
    if (entry == entry_point::vjp || entry == entry_point::lpgd || entry == entry_point::imle) valid.extra = memory.input(p.cotangent.data(), batch * n);
    if (entry == entry_point::spo_plus) valid.extra = memory.input(p.theta_true.data(), batch * n);
    if (entry == entry_point::lpgd || entry == entry_point::imle) valid.lpgd = make_lpgd(p.c, operation_of(entry));
    if (entry == entry_point::jvp) valid.extra = memory.input(p.tangent.data(), batch * n);
    if (entry == entry_point::fenchel_young) valid.extra = memory.input(p.target.data(), batch * n);
    widths = {n};
    if (entry == entry_point::solve) widths = {n, 1};
    if (entry == entry_point::sample || entry == entry_point::noise_fill) widths = {M * n};
    if (entry == entry_point::expectation) widths = {n, n, 1, 1};
    if (entry == entry_point::jacobian) widths = {n * n};
    if (entry == entry_point::fenchel_young) widths = {1, n, 1};
    if (entry == entry_point::spo_plus) widths = {1, n};
    for (size_t o = 0; o < widths.size(); ++o) valid.output[o] = memory.output(batch * widths[o]);
    if (entry == entry_point::expectation && !p.c.has_std_errors()) valid.output[1] = valid.output[3] = nullptr;
  }
  arranged_call(const arranged_call&) = delete;
  arranged_call& operator=(const arranged_call&) = delete;

  // All outputs, one after the other.
  std::vector<float> results() {
    std::vector<float> joined;
    for (size_t o = 0; o < widths.size(); ++o) {
      const std::vector<float> part = memory.result(o);
      joined.insert(joined.end(), part.begin(), part.end());
    }
    return joined;
  }
  std::vector<float> run() {
    require(valid.call());
    return results();
  }
};
using host_call = arranged_call<host_memory>;

inline bool has(const prepared_case& p, entry_point entry) { return entry == entry_point::noise_fill || p.has(operation_of(entry)); }
inline const char* name_of(entry_point entry) { return entry_names[static_cast<int>(entry)]; }

// The advertised workspace of a call.
inline size_t workspace_of(const request& r) {
  size_t bytes = 0;
  require(perturb_workspace_size(r.context, operation_of(r.entry), r.oracle, r.takes_noise() ? r.noise : nullptr, r.batch, &bytes));
  return bytes;
}

}  // namespace perturb::test
