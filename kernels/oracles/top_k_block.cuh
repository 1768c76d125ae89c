// top-k of any n and k, a block per sample.
//
// The filter makes the noise of all items once: scores from a guessed bound on go to a buffer in shared memory, and the threshold T, the
// k-th largest key, is selected there. The bound comes from items taken at a stride, whose own bound, where there are many of them, comes
// from a longer stride. Where the buffer ends up with too few or too many, or k is too large for it, three radix passes make the noise
// again each time, without storage. Both ways find the same T.
#pragma once

#include <cub/block/block_scan.cuh>

#include "kernels/estimators.cuh"
#include "kernels/oracles/theta_quads.cuh"
#include "math/order.h"

namespace perturb::cuda {

template <bool Plain>
class top_k_select {
 public:
  static constexpr bool plain = Plain;
  static constexpr int threads = 256;
  static constexpr int blocks = Plain ? 3 : 2;  // registers that ptxas would otherwise spill for more
  static constexpr int64_t samples_per_step = 1;
  using lanes = group<threads>;
  using source = noise_source<Plain>;

  static __device__ __forceinline__ bool takes(const problem&, int64_t) { return true; }
  static size_t shared_bytes(const problem&) { return sizeof(memory); }
  static size_t scratch_bytes(const problem&) { return 0; }

  __device__ __forceinline__ top_k_select(const problem& problem_, int64_t row, unsigned char* shared)
      : p(problem_), theta_(problem_, row), shared_(*(memory*)shared), quads_(theta_.count()), row_(row_counter(problem_, row)) {}
  __device__ __forceinline__ void begin_row() { k_ = __reduce_max_sync(full_mask, (uint32_t)p.state[row_ - p.first_row].k); }

  __device__ __forceinline__ int64_t step_sample(int64_t first) const { return first; }

  __device__ __forceinline__ void solve(int64_t first, int64_t) {
    sample_ = sample_counter(p, first);
    filtered_ = (p.n <= capacity || k_ <= capacity / 2) && filter();
    if (filtered_) return;
    threshold_ = 0;
    wanted_ = k_;
    refine<21, 11>();
    refine<10, 11>();
    refine<0, 10>();
  }

  template <detail D, class F>
  __device__ __forceinline__ void for_each(F&& f) const {
    const bool all = wanted_ == found_;
    if (filtered_ && all) {
      for (uint32_t i = threadIdx.x; i < gathered_; i += threads) {
        const uint32_t key = shared_.keys[i];
        if (key < threshold_) continue;
        const int64_t item = shared_.items[i];
        f(item, (int64_t)1, score_of(key), D == detail::noise ? source::at(p, row_, sample_, item) : 0.0f);
      }
      return;
    }
    int64_t before = 0;  // ties of earlier tiles
    for (uint32_t first = 0; first < quads_; first += threads) {
      const uint32_t q = first + threadIdx.x;
      float score[4], z[4];
      int ties = 0;
      if (q < quads_) {
        scores_of(q, score, z);
#pragma unroll
        for (int j = 0; j < 4; ++j) ties += ordered<lane>(score[j]) == threshold_;
      }
      int64_t taken = before;
      if (!all) {
        int prefix = 0, tile = 0;
        scan(ties, prefix, tile);
        taken += prefix;
        before += tile;
      }
      if (q >= quads_) continue;
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const uint32_t key = ordered<lane>(score[j]);
        const bool tie = key == threshold_;
        if (key > threshold_ || (tie && (all || taken < wanted_))) f(4 * (int64_t)q + j, (int64_t)1, score[j], z[j]);
        if (tie) ++taken;
      }
    }
  }

 private:
  static constexpr int bins = 1 << 11, own = bins / threads;
  static constexpr uint32_t capacity = 4096, subset = 2048, shortest_stride = 8, longest_stride = 64;

  union memory {
    uint32_t histogram[bins];
    struct {
      uint32_t keys[capacity], items[capacity], digits[threads];
    };
  };

  // The key is the score, but for the sign of a zero.
  static __device__ __forceinline__ float score_of(uint32_t key) { return __uint_as_float(key & 0x80000000u ? key ^ 0x80000000u : ~key); }

  // -infinity past the last item, which no score is.
  __device__ __forceinline__ void scores_of(uint32_t q, float score[4], float z[4]) const {
    const int64_t i = 4 * (int64_t)q;
    float t[4];
    theta_.load(q, t);
    source::quad(p, row_, sample_, q, z);
#pragma unroll
    for (int j = 0; j < 4; ++j) score[j] = Plain || i + j < p.n ? source::score(p, row_, t[j], i + j, z[j]) : -INFINITY;
  }

  // Whether the buffer has the k largest; if so, the threshold is found.
  __device__ __forceinline__ bool filter() {
    uint32_t stride = p.n <= capacity ? 1u : p.n <= shortest_stride * subset ? shortest_stride : (uint32_t)((p.n + subset - 1) / subset);
    float bound = -INFINITY;
    for (;;) {
      gather(stride, bound);
      // Of the items at a stride, enough that hardly ever less than k of all items reach the last one.
      const float expected = (float)k_ / (float)stride;
      const uint32_t rank = stride == 1 ? k_ : (uint32_t)(expected + 3.0f * sqrtf(expected)) + 3;
      if (gathered_ < rank || gathered_ > capacity) return false;
      select(rank);
      if (stride == 1) return true;
      bound = score_of(threshold_);
      uint32_t next = 1;
      while (next * longest_stride < stride) next *= longest_stride;
      stride = next;
    }
  }

  // Puts the scores from `bound` on, of every stride-th quad, into the buffer: all of them, in order, if it is -infinity.
  __device__ __forceinline__ void gather(uint32_t stride, float bound) {
    __shared__ uint32_t count;
    __syncthreads();  // the buffer has been read
    if (threadIdx.x == 0) count = 0;
    __syncthreads();
    uint32_t at = 4 * threadIdx.x;
    for (uint32_t q = stride * threadIdx.x; q < quads_; q += stride * threads) {
      float score[4], z[4];
      scores_of(q, score, z);
      if (bound == -INFINITY) {
        *(uint4*)(shared_.keys + at) =
            make_uint4(ordered<lane>(score[0]), ordered<lane>(score[1]), ordered<lane>(score[2]), ordered<lane>(score[3]));
        *(uint4*)(shared_.items + at) = make_uint4(4 * q, 4 * q + 1, 4 * q + 2, 4 * q + 3);
        at += 4 * threads;
        continue;
      }
      const bool reach[4] = {score[0] >= bound, score[1] >= bound, score[2] >= bound, score[3] >= bound};
      if (!(reach[0] || reach[1] || reach[2] || reach[3])) continue;
      uint32_t to = atomicAdd(&count, (uint32_t)(reach[0] + reach[1] + reach[2] + reach[3]));
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        if (!reach[j]) continue;
        if (to < capacity) {
          shared_.keys[to] = ordered<lane>(score[j]);
          shared_.items[to] = 4 * q + j;
        }
        ++to;
      }
    }
    __syncthreads();
    gathered_ = bound == -INFINITY ? 4 * ((quads_ + stride - 1) / stride) : count;
  }

  // The rank-th largest key of the buffer, eight bits at a time, or as many of them as tell it from the next.
  __device__ __forceinline__ void select(uint32_t rank) {
    __shared__ uint32_t digit, left, count_of_digit;
    threshold_ = 0;
    wanted_ = rank;
    for (int shift = 24; shift >= 0; shift -= 8) {
      shared_.digits[threadIdx.x] = 0;
      __syncthreads();
      for (uint32_t i = threadIdx.x; i < gathered_; i += threads) {
        const uint32_t key = shared_.keys[i];
        if (((uint64_t)(key ^ threshold_) >> shift) >> 8 == 0) atomicAdd(shared_.digits + (key >> shift & 255), 1u);
      }
      __syncthreads();
      if (threadIdx.x < 32) {
        // Lane l has the digits from the top: 255 - 8 l, downwards.
        uint32_t of_digit[8], mine = 0;
#pragma unroll
        for (int j = 0; j < 8; ++j) {
          of_digit[j] = shared_.digits[255 - 8 * (int)threadIdx.x - j];
          mine += of_digit[j];
        }
        uint32_t above = mine;
#pragma unroll
        for (int d = 1; d < 32; d *= 2) {
          const uint32_t other = __shfl_up_sync(full_mask, above, d);
          if ((int)threadIdx.x >= d) above += other;
        }
        above -= mine;
#pragma unroll
        for (int j = 0; j < 8; ++j) {
          if (above < wanted_ && wanted_ <= above + of_digit[j]) {
            digit = 255 - 8 * threadIdx.x - (uint32_t)j;
            left = (uint32_t)wanted_ - above;
            count_of_digit = of_digit[j];
          }
          above += of_digit[j];
        }
      }
      __syncthreads();
      threshold_ |= digit << shift;
      wanted_ = left;
      found_ = count_of_digit;
      if (wanted_ == found_) break;
    }
  }

  static __device__ void scan(int x, int& prefix, int& total) {
    using block_scan = cub::BlockScan<int, threads>;
    __shared__ typename block_scan::TempStorage storage;
    __syncthreads();
    block_scan(storage).ExclusiveSum(x, prefix, total);
  }

  // Finds the next Bits bits of the threshold among all items.
  template <int Shift, int Bits>
  __device__ __forceinline__ void refine() {
    __shared__ uint32_t digit;
    __shared__ int64_t left, count_of_digit;
    __syncthreads();  // what the memory had has been read
    for (int i = (int)threadIdx.x; i < bins; i += threads) shared_.histogram[i] = 0;
    __syncthreads();
    for (uint32_t q = threadIdx.x; q < quads_; q += threads) {
      float score[4], z[4];
      scores_of(q, score, z);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const uint32_t key = ordered<lane>(score[j]);
        const bool candidate = Shift + Bits == 32 || (key >> (Shift + Bits) % 32) == (threshold_ >> (Shift + Bits) % 32);
        if (candidate) atomicAdd(shared_.histogram + (key >> Shift & ((1u << Bits) - 1)), 1u);
      }
    }
    __syncthreads();
    // Thread t has the bins from the top: bins - own t - 1, downwards.
    int mine = 0, above = 0, total = 0;
#pragma unroll
    for (int j = 0; j < own; ++j) mine += (int)shared_.histogram[bins - 1 - own * (int)threadIdx.x - j];
    scan(mine, above, total);
    if (above < wanted_ && wanted_ <= (int64_t)above + mine) {
      int64_t rest = wanted_ - above;
      int at = bins - 1 - own * (int)threadIdx.x;
      for (; shared_.histogram[at] < rest; --at) rest -= shared_.histogram[at];
      digit = (uint32_t)at;
      left = rest;
      count_of_digit = shared_.histogram[at];
    }
    __syncthreads();
    threshold_ |= digit << Shift;
    wanted_ = left;
    found_ = count_of_digit;
  }

  const problem& p;
  theta_quads theta_;
  memory& shared_;
  uint32_t quads_;
  uint32_t row_, sample_ = 0;
  uint32_t k_ = 0;  // of the row; by a reduction, so that the compiler knows that it is the same for the whole warp
  bool filtered_ = false;
  uint32_t gathered_ = 0;  // scores in the buffer
  uint32_t threshold_ = 0;
  int64_t wanted_ = 0, found_ = 0;  // of the keys that agree with the threshold in the bits found: how many are in, how many there are
};

}  // namespace perturb::cuda
