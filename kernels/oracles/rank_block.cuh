// Ranks on the device, a block per sample: keys in shared memory, their items sorted by radix, least significant byte first.
//
// A pass takes positions in order, each warp a run of them, and puts their items where the counts of bytes say: for every byte the
// items of smaller bytes come first, then those of earlier runs, then those of earlier positions of the run. So the sort is stable, and
// the items of equal scores keep their order. The counts of a pass are made by the pass before it.
#pragma once

#include <cub/block/block_scan.cuh>

#include "kernels/oracles/rank.cuh"

namespace perturb::cuda {

template <bool Plain>
class rank_block_oracle {
 public:
  static constexpr bool plain = Plain;
  static constexpr bool dense = true;
  static constexpr int threads = 512;
  static constexpr int64_t samples_per_step = 1;
  using lanes = group<threads>;
  using source = noise_source<Plain>;

  static __device__ __forceinline__ bool takes(const problem& p, int64_t row) { return !p.state[row].packed; }
  static size_t shared_bytes(const problem& p) {
    return (size_t)(p.n + threads - 1) / threads * threads * (sizeof(uint32_t) + 2 * sizeof(uint16_t)) + 2 * warps * digits * sizeof(uint32_t);
  }
  static size_t scratch_bytes(const problem&) { return 0; }

  __device__ __forceinline__ rank_block_oracle(const problem& problem_, int64_t row, unsigned char* shared) : p(problem_), row_(row), shared_(shared) {}

  __device__ __forceinline__ void begin_row() {
    for (int i = threadIdx.x; i < warps * digits; i += threads) starts(0)[i] = 0;
  }

  __device__ __forceinline__ int64_t step_sample(int64_t first) const { return first; }

  __device__ __forceinline__ void solve(int64_t first, int64_t) {
    sample_ = sample_counter(p, first);
    __syncthreads();  // for_each() has read the last sample's
    make_keys();
#pragma unroll 1
    for (int pass = 0; pass < passes; ++pass) {
      __syncthreads();
      counts_to_starts(pass);
      __syncthreads();
      scatter(pass);
    }
    __syncthreads();
  }

  template <detail D, class F>
  __device__ __forceinline__ void for_each(F&& f) const {
#pragma unroll 1
    for (int item = threadIdx.x; item < count(); item += threads) {
      const float score = D == detail::score ? score_of_key(keys()[item]) : 0.0f;
      const float z = D == detail::noise ? source::at(p, row_counter(p, row_), sample_, item) : 0.0f;
      f((int64_t)item, (int64_t)(uint32_t)(order(1)[item] + p.base), score, z);
    }
  }

 private:
  static constexpr int warps = threads / 32, digit_bits = 8, digits = 1 << digit_bits, passes = 32 / digit_bits;
  using scan = cub::BlockScan<uint32_t, threads, cub::BLOCK_SCAN_WARP_SCANS>;

  __device__ __forceinline__ int count() const { return (int)p.n; }
  // Positions of a warp, and of all: those past the last item hold the largest key.
  __device__ __forceinline__ int run() const { return (count() + threads - 1) / threads * 32; }
  __device__ __forceinline__ int slots() const { return run() * warps; }
  // Whose run a position is in: position / run(), as the high half of a product.
  __device__ __forceinline__ uint32_t reciprocal_of_run() const { return 0xffffffffu / (uint32_t)run() + 1; }
  static __device__ __forceinline__ uint32_t run_of(uint32_t position, uint32_t reciprocal) { return __umulhi(position, reciprocal); }

  // Shared memory: the keys by item; items by position, twice, the second at last positions by item; where the next item of a warp
  // with a byte goes, or, before, how many there are: [warp][byte], twice.
  __device__ __forceinline__ uint32_t* keys() const { return (uint32_t*)shared_; }
  __device__ __forceinline__ uint16_t* order(int which) const { return (uint16_t*)(keys() + slots()) + which * slots(); }
  __device__ __forceinline__ uint32_t* starts(int which) const { return keys() + 2 * slots() + which * (warps * digits); }

  static __device__ __forceinline__ uint32_t digit(uint32_t key, int pass) { return key >> digit_bits * pass & (digits - 1); }
  // But for the sign of a zero.
  __device__ __forceinline__ float score_of_key(uint32_t key) const {
    return lane::mul(p.descending ? -1.0f : 1.0f, lane::floats(key ^ (key >> 31 ? 0x80000000u : 0xffffffffu)));
  }

  __device__ __forceinline__ void make_keys() const {
    const float* const theta = p.theta + row_ * p.n;
    const uint32_t row = row_counter(p, row_);
    const uint32_t per_run = reciprocal_of_run();
    const int quads = slots() / 4;
#pragma unroll 1
    for (int q = threadIdx.x; q < quads; q += threads) {
      uint32_t key[4] = {0xffffffffu, 0xffffffffu, 0xffffffffu, 0xffffffffu};
      if (4 * q < count()) {
        float z[4];
        source::quad(p, row, sample_, (uint32_t)q, z);
#pragma unroll
        for (int j = 0; j < 4; ++j)
          if (4 * q + j < count()) key[j] = exact_rank_score(p, source::score(p, row, theta[4 * q + j], 4 * q + j, z[j]));
      }
      ((uint4*)keys())[q] = make_uint4(key[0], key[1], key[2], key[3]);
      uint32_t* const counts = starts(0) + run_of((uint32_t)(4 * q), per_run) * digits;
#pragma unroll
      for (int j = 0; j < 4; ++j) atomicAdd(counts + digit(key[j], 0), 1u);
    }
  }

  // Also clears the counts of the next pass.
  __device__ __forceinline__ void counts_to_starts(int pass) const {
    __shared__ typename scan::TempStorage storage;
    uint32_t* const of_digit = starts(pass & 1) + threadIdx.x;
    uint32_t total = 0;
    if (threadIdx.x < digits) {
#pragma unroll
      for (int w = 0; w < warps; ++w) total += of_digit[w * digits];
    }
    uint32_t start;
    scan(storage).ExclusiveSum(total, start);
    if (threadIdx.x < digits) {
      uint32_t* const next = starts(~pass & 1) + threadIdx.x;
#pragma unroll 4
      for (int w = 0; w < warps; ++w) {
        const uint32_t here = of_digit[w * digits];
        of_digit[w * digits] = start;
        next[w * digits] = 0;
        start += here;
      }
    }
  }

  __device__ __forceinline__ void scatter(int pass) const {
    const uint32_t above = 0xfffffffeu << threadIdx.x % 32, below = ~(0xffffffffu << threadIdx.x % 32);
    int i = threadIdx.x / 32 * run() + threadIdx.x % 32;
    uint32_t* const mine = starts(pass & 1) + threadIdx.x / 32 * digits;
    uint32_t* const next = starts(~pass & 1);
    const uint32_t per_run = reciprocal_of_run();
    const uint16_t* const from = order(~pass & 1);
    uint16_t* const to = order(pass & 1);
#pragma unroll 1
    for (int round = run() / 32; round > 0; --round, i += 32) {
      const uint32_t item = pass == 0 ? (uint32_t)i : from[i];
      const uint32_t key = keys()[item], byte = digit(key, pass), same = lanes_with(byte);
      const uint32_t position = mine[byte] + __popc(same & below);
      __syncwarp();
      if ((same & above) == 0) mine[byte] = position + 1;
      __syncwarp();
      if (pass == passes - 1) {
        to[item] = (uint16_t)position;
      } else {
        to[position] = (uint16_t)item;
        atomicAdd(next + run_of(position, per_run) * digits + digit(key, pass + 1), 1u);
      }
    }
  }

  // The lanes of the warp that have the same byte. As instructions: of the C++ the compiler makes twice as many.
  static __device__ __forceinline__ uint32_t lanes_with(uint32_t byte) {
    uint32_t same = full_mask;
#pragma unroll
    for (int b = 0; b < digit_bits; ++b) {
      uint32_t alike;
      asm volatile("{\n\t.reg .pred set;\n\tand.b32 %0, %1, %2;\n\tsetp.ne.u32 set, %0, 0;\n\t"
                   "vote.sync.ballot.b32 %0, set, 0xffffffff;\n\t@!set not.b32 %0, %0;\n\t}"
                   : "=r"(alike)
                   : "r"(byte), "r"(1u << b));
      same &= alike;
    }
    return same;
  }

  const problem& p;
  int64_t row_;
  unsigned char* shared_;
  uint32_t sample_ = 0;
};

}  // namespace perturb::cuda
