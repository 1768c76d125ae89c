// top-k on the device, up to 1024 items: the k largest scores as a set, ties to the lowest item. 1 to 32 lanes share a sample, and its keys
// (scores as ordered integers, math/order.h) stay in their registers.
//
// Any T that exactly k keys reach picks the right set, so a T is guessed cheaply and its keys are counted. Only where the count is not k
// (a bad guess, or ties at the threshold) the threshold is searched for and ties are settled in the order of items.
#pragma once

#include "kernels/estimators.cuh"
#include "math/networks.h"
#include "math/order.h"

namespace perturb::cuda {

// Item 4 (lane + Lanes * block) + j of a sample is key 4 block + j of its lane.
template <bool Plain, int Lanes>
class top_k_registers {
  static constexpr int keys = 32, blocks_of_keys = keys / 4;

 public:
  static constexpr bool plain = Plain;
  static constexpr int threads = 128;
  static constexpr int blocks = Plain ? 0 : 4, value_blocks = 4;  // registers that ptxas would otherwise spill
  static constexpr int64_t samples_per_step = threads / Lanes;
  using lanes = group<Lanes>;
  using source = noise_source<Plain>;

  static __device__ __forceinline__ bool takes(const problem&, int64_t) { return true; }
  // theta, by quads.
  static size_t shared_bytes(const problem&) { return (size_t)Lanes * keys * sizeof(float); }
  static size_t scratch_bytes(const problem&) { return 0; }

  __device__ __forceinline__ top_k_registers(const problem& problem_, int64_t row, unsigned char* shared)
      : p(problem_), theta_(problem_.theta + row * problem_.n), staged_((float*)shared), row_(row_counter(problem_, row)) {}

  // Padded with -infinity, which no score is.
  __device__ __forceinline__ void begin_row() {
    if (Lanes < 32) read_k();
    for (int i = (int)threadIdx.x; i < Lanes * keys; i += threads) staged_[i] = i < p.n ? theta_[i] : -INFINITY;
  }

  __device__ __forceinline__ int64_t step_sample(int64_t first) const { return first + lanes::index(); }

  __device__ __forceinline__ void solve(int64_t first, int64_t last) {
    sample_ = sample_counter(p, step_sample(first) < last ? step_sample(first) : last - 1);
#pragma unroll
    for (int block = 0; block < blocks_of_keys; ++block) make_keys(block);
    if (Lanes == 32) read_k();  // a load is cheaper there than a register from sample to sample
    bool found = false;
    uint32_t guess = threshold_;  // the last sample's
    if (k_ <= best_kept) {
      guess = Lanes == 32 ? tournament() : merged();
      found = __all_sync(full_mask, take(guess) == k_);
    }
    if (!found) search(guess);
  }

  template <detail D, class F>
  __device__ __forceinline__ void for_each(F&& f) const {
    for (uint32_t left = taken_; left; left &= left - 1) {
      const int r = __ffs((int)left) - 1, item = item_of(r);
      if constexpr (D == detail::none) {
        f((int64_t)item, (int64_t)1, 0.0f, 0.0f);
      } else {
        // The key is the score, but for the sign of a zero.
        const uint32_t key = pick<keys>(keys_, r);
        const float score = __uint_as_float(key & 0x80000000u ? key ^ 0x80000000u : ~key);
        f((int64_t)item, (int64_t)1, score, D == detail::noise ? source::at(p, row_, sample_, item) : 0.0f);
      }
    }
  }

 private:
  static constexpr int best_kept = 16;  // up to this k the threshold is found among few keys of each lane

  // By a reduction, so that the compiler knows that it is the same for the whole warp.
  __device__ __forceinline__ void read_k() { k_ = (int)__reduce_max_sync(full_mask, (unsigned)p.state[row_ - p.first_row].k); }

  static __device__ __forceinline__ int item_of(int r) { return 4 * (lanes::rank() + Lanes * (r / 4)) + r % 4; }

  // Whether no item has a key in this block: the same for all lanes.
  __device__ __forceinline__ bool empty(int block) const { return 4 * Lanes * block >= p.n; }

  __device__ __forceinline__ void make_keys(int block) {
    if (empty(block)) {
#pragma unroll
      for (int j = 0; j < 4; ++j) keys_[4 * block + j] = 0;
      return;
    }
    const int q = lanes::rank() + Lanes * block;
    const float4 t = ((const float4*)staged_)[q];
    const float theta[4] = {t.x, t.y, t.z, t.w};
    float z[4];
    source::quad(p, row_, sample_, (uint32_t)q, z);
#pragma unroll
    for (int j = 0; j < 4; ++j)
      keys_[4 * block + j] = Plain || 4 * q + j < p.n ? ordered<lane>(source::score(p, row_, theta[j], 4 * q + j, z[j])) : 0;
  }

  // x[at], from registers.
  template <int N>
  static __device__ __forceinline__ uint32_t pick(const uint32_t* x, int at) {
    if constexpr (N == 1) {
      return x[0];
    } else {
      const uint32_t low = pick<N / 2>(x, at), high = pick<N / 2>(x + N / 2, at);
      return at & N / 2 ? high : low;
    }
  }

  static __device__ __forceinline__ int total(int x) {
    if constexpr (Lanes == 32) {
      x = (int)__reduce_add_sync(full_mask, (unsigned)x);
    } else {
#pragma unroll
      for (int d = Lanes / 2; d > 0; d /= 2) x += __shfl_xor_sync(full_mask, x, d);
    }
    return x;
  }

  // Takes the keys from t on; how many there are in the sample.
  __device__ __forceinline__ int take(uint32_t t) {
    taken_ = 0;
#pragma unroll
    for (int r = 0; r < keys; ++r) taken_ |= keys_[r] >= t ? 1u << r : 0u;
    return total(__popc(taken_));
  }

  // The k-th largest key, k <= 16, by lists of the 16 largest that are merged between lanes.
  __device__ __forceinline__ uint32_t merged() const {
    uint32_t best[best_kept], rest[best_kept];
#pragma unroll
    for (int r = 0; r < best_kept; ++r) best[r] = keys_[r];
    apply_green<lane>(best, std::make_index_sequence<60>{});
    if (!empty(best_kept / 4)) {
#pragma unroll
      for (int r = 0; r < best_kept; ++r) rest[r] = keys_[best_kept + r];
      apply_green<lane>(rest, std::make_index_sequence<60>{});
      merge(best, rest);
    }
#pragma unroll
    for (int d = 1; d < Lanes; d *= 2) {
#pragma unroll
      for (int r = 0; r < best_kept; ++r) rest[r] = __shfl_xor_sync(full_mask, best[r], d);
      merge(best, rest);
    }
    return pick<best_kept>(best, best_kept - k_);
  }

  // The larger half of two ascending lists, ascending.
  static __device__ __forceinline__ void merge(uint32_t best[best_kept], const uint32_t rest[best_kept]) {
    constexpr auto half = std::make_index_sequence<best_kept / 2>{};
#pragma unroll
    for (int r = 0; r < best_kept; ++r) best[r] = lane::max(best[r], rest[best_kept - 1 - r]);  // bitonic
    apply_half_cleaner<lane, 8>(best, half);
    apply_half_cleaner<lane, 4>(best, half);
    apply_half_cleaner<lane, 2>(best, half);
    apply_half_cleaner<lane, 1>(best, half);
  }

  // The k-th largest key, by taking the largest of all lanes away k times. A lane keeps its four largest: more of the k in one lane are
  // rare. That, and equal keys, which go together, make the result too low.
  __device__ __forceinline__ uint32_t tournament() const {
    uint32_t best[4] = {};  // ascending
#pragma unroll
    for (int block = 0; block < blocks_of_keys; ++block) {
      if (empty(block)) continue;
      uint32_t x[4];
#pragma unroll
      for (int j = 0; j < 4; ++j) x[j] = keys_[4 * block + j];
      lane::compare_exchange(x[0], x[1]);
      lane::compare_exchange(x[2], x[3]);
      lane::compare_exchange(x[0], x[2]);
      lane::compare_exchange(x[1], x[3]);
      lane::compare_exchange(x[1], x[2]);
#pragma unroll
      for (int j = 0; j < 4; ++j) best[j] = lane::max(best[j], x[3 - j]);  // bitonic
      lane::compare_exchange(best[0], best[2]);
      lane::compare_exchange(best[1], best[3]);
      lane::compare_exchange(best[0], best[1]);
      lane::compare_exchange(best[2], best[3]);
    }
    uint32_t t = 0;
    for (int round = 0; round < k_; ++round) {
      t = __reduce_max_sync(full_mask, best[3]);
      if (best[3] == t) {
        best[3] = best[2];
        best[2] = best[1];
        best[1] = best[0];
        best[0] = 0;
      }
    }
    return t;
  }

  // The threshold, or the first t found that k keys reach: in growing steps from a guess, unless that is 0, then by halves.
  __device__ __forceinline__ void search(uint32_t guess) {
    constexpr uint32_t top = 0xffffffffu;
    uint32_t low = 0, high = top;  // at least k keys reach low, fewer reach high
    uint32_t tried = guess ? guess : 0x80000000u, step = guess ? 1u << 18 : 1u << 31;
    int found = Lanes * keys;  // keys from low on
    for (;;) {
      const int count = take(tried);
      if (count >= k_) {
        low = tried;
        found = count;
      } else {
        high = tried;
      }
      if (__all_sync(full_mask, found == k_ || high - low == 1)) break;
      const uint32_t half = (high - low) / 2, far = (low == 0 || high == top) && step < half ? step : half;
      tried = low == 0 ? high - far : low + far;
      if (step < 1u << 29) step *= 4;
    }
    if (__any_sync(full_mask, tried != low)) take(low);
    if (__any_sync(full_mask, found != k_)) drop_ties(low, found - k_);
    threshold_ = low;
  }

  // Of the keys equal to t, the `surplus` with the highest items go.
  __device__ __forceinline__ void drop_ties(uint32_t t, int surplus) {
    uint32_t ties = 0;
#pragma unroll
    for (int r = 0; r < keys; ++r) ties |= keys_[r] == t ? 1u << r : 0u;
    int after = 0;  // ties of later blocks
#pragma unroll 1
    for (int block = blocks_of_keys - 1; block >= 0; --block) {
      const int here = __popc(ties >> 4 * block & 15);
      int later = here;  // ties of this lane and of those above it
#pragma unroll
      for (int d = 1; d < Lanes; d *= 2) {
        const int other = __shfl_down_sync(full_mask, later, d, Lanes);
        if (lanes::rank() + d < Lanes) later += other;
      }
      int behind = after + later - here;
#pragma unroll
      for (int j = 3; j >= 0; --j) {
        const uint32_t bit = 1u << (4 * block + j);
        if (!(ties & bit)) continue;
        if (behind < surplus) taken_ &= ~bit;
        ++behind;
      }
      after += __shfl_sync(full_mask, later, 0, Lanes);
    }
  }

  const problem& p;
  const float* theta_;
  float* staged_;
  uint32_t row_, sample_ = 0;
  int k_ = 0;  // of the row
  uint32_t keys_[keys];
  uint32_t threshold_ = 0;  // what the last search found
  uint32_t taken_ = 0;      // bit r: key r is among the k largest
};

}  // namespace perturb::cuda
