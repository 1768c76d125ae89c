// Ranks on the device, a block per sample: exact keys (score << 32 | item) sorted in shared memory, for every n that fits it.
//
// The merges of math/networks.h: one flip, then half-cleaners, all comparators pointing the same way, so that slots past the last
// item behave as the largest key and need not exist. A thread does four stages at a time on 16 keys in registers.
#pragma once

#include "kernels/oracles/rank.cuh"

namespace perturb::cuda {

template <bool Plain>
class rank_block_oracle {
 public:
  static constexpr bool plain = Plain;
  static constexpr int threads = 512;
  static constexpr int blocks = 1;
  static constexpr int64_t samples_per_step = 1;
  using lanes = group<threads>;
  using source = noise_source<Plain>;

  static __device__ __forceinline__ bool takes(const problem& p, int64_t row) { return !p.state[row].rank.packed; }
  static size_t shared_bytes(const problem& p) { return (size_t)((p.n + held - 1) / held * held) * sizeof(uint64_t); }
  static size_t scratch_bytes(const problem&) { return 0; }

  __device__ __forceinline__ rank_block_oracle(const problem& problem_, int64_t row, unsigned char* shared)
      : p(problem_), row_(row), keys_((uint64_t*)shared) {}

  __device__ __forceinline__ void begin_row() {}

  __device__ __forceinline__ int64_t step_sample(int64_t first) const { return first; }

  __device__ __forceinline__ void solve(int64_t first, int64_t) {
    sample_ = sample_counter(p, first);
    __syncthreads();  // for_each() has read the last sample's
    on_items([&](int item, float score, float) { keys_[slot(item)] = (uint64_t)exact_rank_score(p, score) << 32 | (uint32_t)item; });
    __syncthreads();
    sort_blocks();
    for (int run = held; run < count(); run *= 2) {
      __syncthreads();
      flip_runs(run);
      // The flip has cleaned distances down to run / 8. What is cleaned twice does no harm.
      for (int distance = run / 16; distance >= held;) {
        const int step = distance / 8 > held ? distance / 8 : held;
        __syncthreads();
        clean(step);
        distance = step / 2;
      }
      __syncthreads();
      clean(1);
    }
    __syncthreads();
  }

  template <detail D, class F>
  __device__ __forceinline__ void for_each(F&& f) const {
    if constexpr (D == detail::none) {
#pragma unroll 1
      for (int position = threadIdx.x; position < count(); position += threads)
        f((int64_t)item_at(position), (int64_t)position + p.base, 0.0f, 0.0f);
    } else {
      // Positions by item, in the halves of keys that hold scores.
#pragma unroll 1
      for (int position = threadIdx.x; position < count(); position += threads) half(item_at(position), 1) = (uint32_t)position;
      __syncthreads();
      on_items([&](int item, float score, float z) { f((int64_t)item, (int64_t)half(item, 1) + p.base, score, z); });
    }
  }

 private:
  static constexpr int held = 16;  // keys of a thread
  using registers = register_sort<held, uint64_t>;
  using keys = uint64_t[held];

  __device__ __forceinline__ int count() const { return (int)p.n; }
  // Blocks of 16 keys are stored permuted: 16 threads that read one key each, 16 keys or one key apart, read from different banks.
  static __device__ __forceinline__ int slot(int i) { return i ^ ((i >> 4) & 15); }
  __device__ __forceinline__ uint32_t& half(int i, int high) const { return ((uint32_t*)keys_)[2 * slot(i) + high]; }
  __device__ __forceinline__ uint32_t item_at(int position) const { return half(position, 0); }

  // f(item, score, z) for this thread's items.
  template <class F>
  __device__ __forceinline__ void on_items(F&& f) const {
#pragma unroll 1
    for (int q = threadIdx.x; q < (count() + 3) / 4; q += threads) {
      float z[4];
      source::quad(p, row_counter(p, row_), sample_, (uint32_t)q, z);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int item = 4 * q + j;
        if (item < count()) f(item, source::score(p, p.theta[row_ * p.n + item], item, z[j]), z[j]);
      }
    }
  }

  // Calls work on the keys at index(0) < index(1) < ...
  template <class Index, class Work>
  __device__ __forceinline__ void on_keys(Index&& index, Work&& work) {
    keys k;
#pragma unroll
    for (int j = 0; j < held; ++j) k[j] = index(j) < count() ? keys_[slot(index(j))] : ~(uint64_t)0;
    work(k);
#pragma unroll
    for (int j = 0; j < held; ++j)
      if (index(j) < count()) keys_[slot(index(j))] = k[j];
  }

  __device__ __forceinline__ void sort_blocks() {
#pragma unroll 1
    for (int first = held * threadIdx.x; first < count(); first += held * threads)
      on_keys([first](int j) { return first + j; }, [](keys& k) { registers::sort(k); });
  }

  // Every 2 run keys: i against 2 run - 1 - i; then, within both halves, half-cleaners of distances run / 2, run / 4 and run / 8.
  __device__ __forceinline__ void flip_runs(int run) {
    const int step = run / 8, groups = (count() + 2 * run - 1) / (2 * run) * step;
#pragma unroll 1
    for (int g = threadIdx.x; g < groups; g += threads) {
      const int start = g / step * 2 * run, low = start + g % step, high = start + 2 * run - 1 - g % step;
      if (low >= count()) continue;
      on_keys([=](int j) { return j < held / 2 ? low + j * step : high - (held - 1 - j) * step; },
              [](keys& k) {
                registers::flip(k);
                registers::template merge<held / 4>(k);
              });
    }
  }

  // Half-cleaners of distances 8 step, 4 step, 2 step and step.
  __device__ __forceinline__ void clean(int step) {
    const int groups = (count() + held * step - 1) / (held * step) * step;
#pragma unroll 1
    for (int g = threadIdx.x; g < groups; g += threads) {
      const int first = g / step * held * step + g % step;
      if (first >= count()) continue;
      on_keys([=](int j) { return first + j * step; }, [](keys& k) { registers::merge(k); });
    }
  }

  const problem& p;
  int64_t row_;
  uint64_t* keys_;
  uint32_t sample_ = 0;
};

}  // namespace perturb::cuda
