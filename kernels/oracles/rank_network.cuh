// Sorting networks over keys in registers: Regs keys in each of Lanes neighbouring lanes, ascending by lane, then by register.
//
// Every register index is a template constant: a network written as loops keeps its keys in local memory. The merges of lanes are
// loops, so that code stays small; their trip counts are constants, so that no shuffle is divergent.
#pragma once

#include <array>
#include <utility>

#include "kernels/group.cuh"
#include "math/networks.h"

namespace perturb::cuda {

static __device__ __forceinline__ void exchange(uint32_t& low, uint32_t& high) {
  const uint32_t smaller = min(low, high);
  high = max(low, high);
  low = smaller;
}

// One comparison for both: as a minimum and a maximum the compiler makes two.
static __device__ __forceinline__ void exchange(uint64_t& low, uint64_t& high) {
  asm("{\n\t.reg .pred swap;\n\t.reg .b64 old;\n\tmov.b64 old, %0;\n\tsetp.lt.u64 swap, %1, old;\n\t"
      "selp.b64 %0, %1, old, swap;\n\tselp.b64 %1, old, %1, swap;\n\t}"
      : "+l"(low), "+l"(high));
}

// The comparators of sort_registers().
template <int Regs>
struct register_network {
  static constexpr int capacity = 256;
  std::array<comparator, capacity> list{};
  int count = 0;

  constexpr void add(int low, int high) { list[count++] = {(uint8_t)low, (uint8_t)high}; }

  // Batcher's odd-even merge of every distance-th key in [first, first + width), whose halves are sorted.
  constexpr void merge(int first, int width, int distance) {
    const int step = 2 * distance;
    if (step >= width) {
      add(first, first + distance);
      return;
    }
    merge(first, width, step);
    merge(first + distance, width, step);
    for (int i = first + distance; i + distance < first + width; i += step) add(i, i + distance);
  }

  // 19, 60 and 185 comparators for 8, 16 and 32 keys.
  constexpr void sort(int first, int width) {
    if (width == 1) return;
    if (width == 16) {
      for (const comparator& c : green_network) add(first + c.low, first + c.high);
      return;
    }
    sort(first, width / 2);
    sort(first + width / 2, width / 2);
    merge(first, width, 1);
  }

  constexpr register_network() { sort(0, Regs); }
};

template <int Regs>
constexpr register_network<Regs> network_of_registers;

// Constants of their own: device code reads no host array.
template <int Regs, size_t I>
struct register_comparator {
  static constexpr int low = network_of_registers<Regs>.list[I].low, high = network_of_registers<Regs>.list[I].high;
};
template <int Regs>
using register_comparators = std::make_index_sequence<network_of_registers<Regs>.count>;

template <int Regs, class Key>
struct register_sort {
  using keys = Key[Regs];

  static __device__ __forceinline__ void sort(keys& k) { sort(k, register_comparators<Regs>{}); }

  // Half-cleaners of distance Distance, Distance / 2, ... 1: sorts keys that are bitonic.
  template <int Distance = Regs / 2>
  static __device__ __forceinline__ void merge(keys& k) {
    clean<Distance>(k, std::make_index_sequence<Regs / 2>{});
    if constexpr (Distance > 1) merge<Distance / 2>(k);
  }

  // Key r against key Regs - 1 - r.
  static __device__ __forceinline__ void flip(keys& k) { flip(k, std::make_index_sequence<Regs / 2>{}); }

 private:
  template <size_t... I>
  static __device__ __forceinline__ void sort(keys& k, std::index_sequence<I...>) {
    (exchange(k[register_comparator<Regs, I>::low], k[register_comparator<Regs, I>::high]), ...);
  }
  template <int Distance, size_t... I>
  static __device__ __forceinline__ void clean(keys& k, std::index_sequence<I...>) {
    (exchange(k[I / Distance * 2 * Distance + I % Distance], k[I / Distance * 2 * Distance + I % Distance + Distance]), ...);
  }
  template <size_t... I>
  static __device__ __forceinline__ void flip(keys& k, std::index_sequence<I...>) {
    (exchange(k[I], k[Regs - 1 - I]), ...);
  }
};

// Sorts Lanes * Regs keys: runs of one lane by the registers' network, runs of lanes merged pairwise: one flip (key i against key
// 2r - 1 - i of the pair of runs), then half-cleaners, first between lanes, then between registers.
template <int Lanes, int Regs, class Key>
struct lane_sort {
  using keys = Key[Regs];
  using registers = register_sort<Regs, Key>;
  static constexpr auto all = std::make_index_sequence<Regs>{};

  static __device__ __forceinline__ void sort(keys& k) {
    registers::sort(k);
#pragma unroll 1
    for (int run = 1; run < Lanes; run *= 2) {
      flip_lanes(k, 2 * run - 1, group<Lanes>::rank() & run, std::make_index_sequence<Regs / 2>{});
#pragma unroll 1
      for (int d = run / 2; d > 0; d /= 2) clean_lanes(k, d, group<Lanes>::rank() & d, all);
      registers::merge(k);
    }
  }

 private:
  // The smaller of two keys, or the larger one in the upper lane.
  static __device__ __forceinline__ Key keep(Key mine, Key other, bool upper) { return (other < mine) != upper ? other : mine; }

  template <size_t... I>
  static __device__ __forceinline__ void clean_lanes(keys& k, int distance, bool upper, std::index_sequence<I...>) {
    ((k[I] = keep(k[I], __shfl_xor_sync(full_mask, k[I], distance), upper)), ...);
  }
  template <size_t... I>
  static __device__ __forceinline__ void flip_lanes(keys& k, int mask, bool upper, std::index_sequence<I...>) {
    (flip_pair(k[I], k[Regs - 1 - I], mask, upper), ...);
  }
  static __device__ __forceinline__ void flip_pair(Key& a, Key& b, int mask, bool upper) {
    const Key of_b = __shfl_xor_sync(full_mask, b, mask), of_a = __shfl_xor_sync(full_mask, a, mask);
    a = keep(a, of_b, upper);
    b = keep(b, of_a, upper);
  }
};

// Keys that are sorted but for a few neighbours, in the same order of lanes and registers.
template <int Lanes, int Regs, class Key>
struct lane_neighbours {
  using keys = Key[Regs];

  // In every lane, whether the keys of all are sorted.
  static __device__ __forceinline__ bool sorted(const keys& k) {
    const Key below = __shfl_up_sync(full_mask, k[Regs - 1], 1, Lanes);
    bool wrong = group<Lanes>::rank() > 0 && k[0] < below;
#pragma unroll
    for (int r = 1; r < Regs; ++r) wrong |= k[r] < k[r - 1];
    return __all_sync(full_mask, !wrong);
  }

  // Exchanges the neighbours of even and then of odd positions that are in the wrong order.
  static __device__ __forceinline__ void exchange_all(keys& k) {
#pragma unroll
    for (int r = 0; r < Regs; r += 2) exchange(k[r], k[r + 1]);
#pragma unroll
    for (int r = 1; r + 1 < Regs; r += 2) exchange(k[r], k[r + 1]);
    const Key above = __shfl_down_sync(full_mask, k[0], 1, Lanes), below = __shfl_up_sync(full_mask, k[Regs - 1], 1, Lanes);
    if (group<Lanes>::rank() < Lanes - 1 && above < k[Regs - 1]) k[Regs - 1] = above;
    if (group<Lanes>::rank() > 0 && k[0] < below) k[0] = below;
  }
};

}  // namespace perturb::cuda
