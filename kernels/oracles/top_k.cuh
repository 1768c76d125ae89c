// top-k on the device: the k largest scores as a set, ties to the lowest item.
//
// All shapes find the threshold T, the k-th largest score as an ordered integer (math/order.h), and then take what is above it and, in
// item order, as many of what equals it as are left.
//   top_k_registers  a sample's keys stay in the registers of 1 or 32 lanes: n <= lanes * keys
//   top_k_select     a block per sample: three radix passes over keys that are made again each time, any n and k, no storage
#pragma once

#include <cub/block/block_scan.cuh>

#include "kernels/estimators.cuh"
#include "math/networks.h"
#include "math/order.h"

namespace perturb::cuda {

// Lower than any score's key: what pads.
constexpr uint32_t no_key = 0u;

// Item 4 (lane + Lanes * block) + j of a sample is key 4 block + j of its lane.
template <bool Plain, int Lanes, int Keys>
class top_k_registers {
  static_assert((Lanes == 1 || Lanes == 32) && Keys % 4 == 0);

 public:
  static constexpr bool plain = Plain;
  static constexpr int threads = 128;
  static constexpr int64_t samples_per_step = threads / Lanes;
  using lanes = group<Lanes>;
  using source = noise_source<Plain>;

  static __device__ __forceinline__ bool takes(const problem&, int64_t) { return true; }
  // theta, by quads.
  static size_t shared_bytes(const problem&) { return (size_t)Lanes * Keys * sizeof(float); }
  static size_t scratch_bytes(const problem&) { return 0; }

  __device__ __forceinline__ top_k_registers(const problem& problem_, int64_t row, unsigned char* shared)
      : p(problem_), theta_(problem_.theta + row * problem_.n), staged_((float*)shared), row_(row_counter(problem_, row)) {}

  __device__ __forceinline__ void begin_row() {
    for (int i = (int)threadIdx.x; i < Lanes * Keys; i += threads) staged_[i] = i < p.n ? theta_[i] : 0.0f;
  }

  __device__ __forceinline__ int64_t step_sample(int64_t first) const { return first + lanes::index(); }

  __device__ __forceinline__ void solve(int64_t first, int64_t last) {
    sample_ = sample_counter(p, step_sample(first) < last ? step_sample(first) : last - 1);
#pragma unroll
    for (int block = 0; block < Keys / 4; ++block) {
      const int q = lanes::rank() + Lanes * block;
      const float4 t = ((const float4*)staged_)[q];
      const float theta[4] = {t.x, t.y, t.z, t.w};
      float z[4];
      if (4 * Lanes * block >= p.n) {  // the same for all lanes
#pragma unroll
        for (int j = 0; j < 4; ++j) keys_[4 * block + j] = no_key;
        continue;
      }
      source::quad(p, row_, sample_, (uint32_t)q, z);
#pragma unroll
      for (int j = 0; j < 4; ++j) keys_[4 * block + j] = 4 * q + j < p.n ? ordered<lane>(source::score(p, theta[j], 4 * q + j, z[j])) : no_key;
    }
    if (Lanes == 1 || p.k > best_kept) {
      bisect();
    } else {
      tournament();
    }
  }

  template <detail D, class F>
  __device__ __forceinline__ void for_each(F&& f) const {
    // How many keys equal to T come before this lane's, block by block; ties are rare, so the usual case is that all are taken.
    int ties = 0;
#pragma unroll
    for (int r = 0; r < Keys; ++r) ties += keys_[r] == threshold_;
    const bool all = (int)lanes::sum(ties) == wanted_;
    int before = 0;
#pragma unroll
    for (int block = 0; block < Keys / 4; ++block) {
      int here = 0;
      if (!all) {
#pragma unroll
        for (int j = 0; j < 4; ++j) here += keys_[4 * block + j] == threshold_;
      }
      int taken = before;
      if (Lanes > 1 && __any_sync(full_mask, here != 0)) {
        int prefix = here;
#pragma unroll
        for (int d = 1; d < 32; d *= 2) {
          const int other = __shfl_up_sync(full_mask, prefix, d);
          if (lanes::rank() >= d) prefix += other;
        }
        taken += prefix - here;
        before += __shfl_sync(full_mask, prefix, 31);
      } else if (Lanes == 1) {
        before += here;
      }
      const int q = lanes::rank() + Lanes * block;
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const uint32_t key = keys_[4 * block + j];
        const bool tie = key == threshold_;
        if (key > threshold_ || (tie && (all || taken < wanted_))) report<D>(f, 4 * q + j, key);
        if (tie) ++taken;
      }
    }
  }

 private:
  static constexpr int best_kept = 16;  // keys of each lane that a tournament sorts

  template <detail D, class F>
  __device__ __forceinline__ void report(F&& f, int item, uint32_t key) const {
    if constexpr (D == detail::none) {
      f((int64_t)item, (int64_t)1, 0.0f, 0.0f);
    } else {
      // The key is the score, but for the sign of a zero.
      const float score = __uint_as_float(key & 0x80000000u ? key ^ 0x80000000u : ~key);
      f((int64_t)item, (int64_t)1, score, D == detail::noise ? source::at(p, row_, sample_, item) : 0.0f);
    }
  }

  // The largest T with at least k keys >= T, bit by bit.
  __device__ __forceinline__ void bisect() {
    uint32_t t = 0;
    int above = 0;  // keys > T, once T is known: those counted at the last refusal, or found below
    for (uint32_t bit = 0x80000000u; bit; bit >>= 1) {
      const uint32_t tried = t | bit;
      int count = 0;
#pragma unroll
      for (int r = 0; r < Keys; ++r) count += keys_[r] >= tried;
      count = total(count);
      if (count >= p.k) {
        t = tried;
      } else {
        above = count;
      }
    }
    threshold_ = t;
    wanted_ = (int)p.k - above;
  }

  static __device__ __forceinline__ int total(int count) {
    if constexpr (Lanes == 1) {
      return count;
    } else {
      return (int)__reduce_add_sync(full_mask, (unsigned)count);
    }
  }

  // Each lane sorts its largest keys downwards; then k times the largest head of all lanes is taken away.
  __device__ __forceinline__ void tournament() {
    if constexpr (Lanes > 1) {
      constexpr int kept = Keys < best_kept ? Keys : best_kept;
      uint32_t best[best_kept];
#pragma unroll
      for (int r = 0; r < best_kept; ++r) best[r] = r < Keys ? ~keys_[r] : ~no_key;  // complemented: the network sorts upwards
      apply_green<lane>(best, std::make_index_sequence<60>{});
      if constexpr (Keys > best_kept) {
        static_assert(Keys <= 2 * best_kept);
        uint32_t rest[best_kept];
#pragma unroll
        for (int r = 0; r < best_kept; ++r) rest[r] = ~keys_[best_kept + r];
        apply_green<lane>(rest, std::make_index_sequence<60>{});
#pragma unroll
        for (int r = 0; r < best_kept; ++r) best[r] = lane::min(best[r], rest[best_kept - 1 - r]);  // the lower half, bitonic
        constexpr auto half = std::make_index_sequence<best_kept / 2>{};
        apply_half_cleaner<lane, 8>(best, half);
        apply_half_cleaner<lane, 4>(best, half);
        apply_half_cleaner<lane, 2>(best, half);
        apply_half_cleaner<lane, 1>(best, half);
      }
      uint32_t t = 0;
      int equal = 0;  // how many of the k are equal to the last one
      for (int round = 0; round < (int)p.k; ++round) {
        const uint32_t least = __reduce_min_sync(full_mask, best[0]);
        const unsigned who = __ballot_sync(full_mask, best[0] == least);
        equal = round > 0 && least == t ? equal + 1 : 1;
        t = least;
        if (lanes::rank() == __ffs((int)who) - 1) {
#pragma unroll
          for (int r = 0; r + 1 < kept; ++r) best[r] = best[r + 1];
          best[kept - 1] = ~no_key;
        }
      }
      threshold_ = ~t;
      wanted_ = equal;
    }
  }

  const problem& p;
  const float* theta_;
  float* staged_;
  uint32_t row_, sample_ = 0;
  uint32_t keys_[Keys];
  uint32_t threshold_ = 0;
  int wanted_ = 0;  // of the keys equal to the threshold
};

template <bool Plain>
class top_k_select {
 public:
  static constexpr bool plain = Plain;
  static constexpr int threads = 256;
  static constexpr int blocks = 2;
  static constexpr int64_t samples_per_step = 1;
  using lanes = group<threads>;
  using source = noise_source<Plain>;

  static __device__ __forceinline__ bool takes(const problem&, int64_t) { return true; }
  static size_t shared_bytes(const problem&) { return bins * sizeof(uint32_t); }
  static size_t scratch_bytes(const problem&) { return 0; }

  __device__ __forceinline__ top_k_select(const problem& problem_, int64_t row, unsigned char* shared)
      : p(problem_), theta_(problem_.theta + row * problem_.n), histogram_((uint32_t*)shared), row_(row_counter(problem_, row)) {}
  __device__ __forceinline__ void begin_row() {}

  __device__ __forceinline__ int64_t step_sample(int64_t first) const { return first; }

  __device__ __forceinline__ void solve(int64_t first, int64_t) {
    sample_ = sample_counter(p, first);
    uint32_t prefix = 0;
    int64_t wanted = p.k, found = 0;
    refine<21, 11>(prefix, wanted, found);
    refine<10, 11>(prefix, wanted, found);
    refine<0, 10>(prefix, wanted, found);
    threshold_ = prefix;
    wanted_ = wanted;
    all_ = wanted == found;
  }

  template <detail D, class F>
  __device__ __forceinline__ void for_each(F&& f) const {
    const int64_t quads = (p.n + 3) / 4;
    int64_t before = 0;  // ties of earlier tiles
    for (int64_t first = 0; first < quads; first += threads) {
      const int64_t q = first + threadIdx.x;
      float score[4], z[4];
      int ties = 0;
      if (q < quads) {
        scores_of(q, score, z);
#pragma unroll
        for (int j = 0; j < 4; ++j) ties += 4 * q + j < p.n && ordered<lane>(score[j]) == threshold_;
      }
      int64_t taken = before;
      if (!all_) {
        int prefix = 0, tile = 0;
        scan(ties, prefix, tile);
        taken += prefix;
        before += tile;
      }
      if (q >= quads) continue;
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        if (4 * q + j >= p.n) continue;
        const uint32_t key = ordered<lane>(score[j]);
        const bool tie = key == threshold_;
        if (key > threshold_ || (tie && (all_ || taken < wanted_))) f(4 * q + j, (int64_t)1, score[j], z[j]);
        if (tie) ++taken;
      }
    }
  }

 private:
  static constexpr int bins = 1 << 11, own = bins / threads;

  static __device__ void scan(int x, int& prefix, int& total) {
    using block_scan = cub::BlockScan<int, threads>;
    __shared__ typename block_scan::TempStorage storage;
    __syncthreads();
    block_scan(storage).ExclusiveSum(x, prefix, total);
  }

  __device__ __forceinline__ void scores_of(int64_t q, float score[4], float z[4]) const {
    source::quad(p, row_, sample_, (uint32_t)q, z);
#pragma unroll
    for (int j = 0; j < 4; ++j) score[j] = 4 * q + j < p.n ? source::score(p, theta_[4 * q + j], 4 * q + j, z[j]) : 0.0f;
  }

  // Finds the next Bits bits of the threshold; wanted: how many of the keys with its prefix are in; found: how many there are.
  template <int Shift, int Bits>
  __device__ __forceinline__ void refine(uint32_t& prefix, int64_t& wanted, int64_t& found) {
    __shared__ uint32_t digit;
    __shared__ int64_t left, count_of_digit;
    for (int i = (int)threadIdx.x; i < bins; i += threads) histogram_[i] = 0;
    __syncthreads();
    for (int64_t q = threadIdx.x; q < (p.n + 3) / 4; q += threads) {
      float score[4], z[4];
      scores_of(q, score, z);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const uint32_t key = ordered<lane>(score[j]);
        const bool candidate = Shift + Bits == 32 || (key >> (Shift + Bits) % 32) == (prefix >> (Shift + Bits) % 32);
        if (4 * q + j < p.n && candidate) atomicAdd(histogram_ + (key >> Shift & ((1u << Bits) - 1)), 1u);
      }
    }
    __syncthreads();
    // Thread t has the bins from the top: bins - own t - 1, downwards.
    int mine = 0, above = 0, total = 0;
#pragma unroll
    for (int j = 0; j < own; ++j) mine += (int)histogram_[bins - 1 - own * (int)threadIdx.x - j];
    scan(mine, above, total);
    if (above < wanted && wanted <= (int64_t)above + mine) {
      int64_t rest = wanted - above;
      int at = bins - 1 - own * (int)threadIdx.x;
      for (; histogram_[at] < rest; --at) rest -= histogram_[at];
      digit = (uint32_t)at;
      left = rest;
      count_of_digit = histogram_[at];
    }
    __syncthreads();
    prefix |= digit << Shift;
    wanted = left;
    found = count_of_digit;
    __syncthreads();
  }

  const problem& p;
  const float* theta_;
  uint32_t* histogram_;
  uint32_t row_, sample_ = 0;
  uint32_t threshold_ = 0;
  int64_t wanted_ = 0;
  bool all_ = true;
};

}  // namespace perturb::cuda
