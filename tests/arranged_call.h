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
    const int64_t n = p.c.n, m = p.c.m(), M = noise.samples, batch = p.c.batch;
    move_noise(memory, noise, 0, batch, n);
    valid.entry = entry;
    valid.context = context;
    valid.oracle = p.oracle.get();
    valid.noise = &noise;
    valid.batch = batch;
    valid.n = n;
    valid.m = m;
    valid.cost.cost = middle_entry;
    valid.cost.enqueue = Memory::middle_entry;
    valid.cost.user = &valid.m;
    valid.theta = memory.input(p.theta.data(), batch * n);
    if (*valid.extra_name()) valid.extra = memory.input(p.operand(operation_of(entry)).data(), batch * p.operand_width(operation_of(entry)));
    if (entry == entry_point::lpgd || entry == entry_point::imle) valid.lpgd = make_lpgd(p.c, operation_of(entry));
    valid.has_value = p.c.has_value();
    widths = {n};
    if (entry == entry_point::solve) widths = {m, 1};
    if (entry == entry_point::sample) widths = {M * m};
    if (entry == entry_point::noise_fill) widths = {M * n};
    const bool no_errors = entry == entry_point::expectation && !p.c.has_std_errors();
    if (entry == entry_point::expectation) widths = no_errors ? (p.c.has_value() ? std::vector<int64_t>{m, 1} : std::vector<int64_t>{m}) : std::vector<int64_t>{m, m, 1, 1};
    if (entry == entry_point::jvp) widths = {m};
    if (entry == entry_point::jacobian) widths = {m * n};
    if (entry == entry_point::fenchel_young) widths = {1, n, 1};
    if (entry == entry_point::spo_plus) widths = {1, n};
    if (entry == entry_point::sorted_values) widths = {p.c.k, p.c.k};
    if (entry == entry_point::cost) widths = {1, 1, n};
    if (entry != entry_point::noise_fill && !valid.has_value) widths.resize(std::min(widths.size(), valid.output_names().size()));
    for (size_t o = 0; o < widths.size(); ++o) valid.output[o] = memory.output(batch * widths[o]);
    if (no_errors) std::swap(valid.output[1], valid.output[2]);  // the value, if any
    if ((entry == entry_point::cost || entry == entry_point::sorted_values) && !p.c.has_std_errors()) valid.output[1] = nullptr;
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

inline bool has(const prepared_case& p, entry_point entry) {
  if (entry == entry_point::cost) return p.c.distribution <= PERTURB_LAPLACE && p.c.sampling != PERTURB_SAMPLING_LATIN;
  return entry == entry_point::noise_fill ? p.c.has_noise_fill() : p.has(operation_of(entry));
}
inline const char* name_of(entry_point entry) { return entry_names[static_cast<int>(entry)]; }

// The advertised workspace of a call.
inline size_t workspace_of(const request& r) {
  size_t bytes = 0;
  require(perturb_workspace_size(r.context, operation_of(r.entry), r.oracle, r.takes_noise() ? r.noise : nullptr, r.batch, &bytes));
  return bytes;
}

}  // namespace perturb::test
