// Ranks on the device, small n: a sorting network over keys in registers, Lanes x Regs of them to a sample.
//
// Key says which rows: uint32_t those with packed keys (math/scales.h: 23 bits of score, 9 of item), uint64_t all others, by the
// order of their scores (score << 32 | item). What passes between registers and the loops over quads of items lies in shared memory:
// the code of a quad's noise, and of what an estimator does with an item, is then there once and not Regs / 4 times.
#pragma once

#include "kernels/estimators.cuh"
#include "kernels/oracles/rank_network.cuh"
#include "math/order.h"

namespace perturb::cuda {

// The order of a perturbed score as an unsigned integer's: downwards for descending ranks.
static __device__ __forceinline__ uint32_t exact_rank_score(const problem& p, float score) {
  return ordered<lane>(lane::mul(p.descending ? -1.0f : 1.0f, score));
}

template <bool Plain, int Lanes, int Regs, class Key>
class rank_network_oracle {
 public:
  static constexpr bool plain = Plain;
  static constexpr int threads = 128;
  static constexpr int blocks = (Regs < 32 ? (sizeof(Key) == 4 ? 6 : 4) : sizeof(Key) == 4 ? 5 : 3) - !Plain;  // none spills
  static constexpr int64_t samples_per_step = threads / Lanes;
  static constexpr bool packed = sizeof(Key) == sizeof(uint32_t);
  static constexpr int capacity = Lanes * Regs;
  static constexpr bool dense = true;
  // A warp first sorts 32-bit keys of a rounded score and the item, a third of the instructions: then few pairs are in the wrong order,
  // and those are neighbours.
  static constexpr bool coarse_first = !packed && Lanes == 32;
  static_assert(Lanes <= 32 && Regs % 4 == 0 && (!packed || capacity <= rank_packed_limit));
  using lanes = group<Lanes>;
  using source = noise_source<Plain>;
  using neighbours_sort = lane_neighbours<Lanes, Regs, Key>;

  static __device__ __forceinline__ bool takes(const problem& p, int64_t row) { return p.state[row].packed == packed; }
  static size_t shared_bytes(const problem& p) {
    const size_t table = (size_t)(p.n + 4 * Lanes - 1) / (4 * Lanes) * (4 * Lanes) * sizeof(float);
    return (packed && p.epsilon_per_item ? 2 : 1) * table + (p.with_scores ? 2 : 1) * threads * Regs * sizeof(uint32_t);
  }
  static size_t scratch_bytes(const problem&) { return 0; }

  __device__ __forceinline__ rank_network_oracle(const problem& problem_, int64_t row, unsigned char* shared)
      : p(problem_), row_(row), shared_(shared) {}

  // What a key is made of besides noise, by item, for all samples of the block: theta, or of packed keys an offset and perhaps a factor.
  __device__ __forceinline__ void begin_row() {
    const rank_map map = p.state[row_].rank;
    float* const to = (float*)table();
#pragma unroll 1
    for (int i = threadIdx.x; i < 4 * Lanes * rounds(); i += threads) {
      to[i] = i >= count() ? 1.0f : packed ? rank_key_offset(map, sign(), theta(i)) : theta(i);
      if (factor_per_item()) to[4 * Lanes * rounds() + i] = i < count() ? key_factor(i) : 0.0f;
    }
  }

  __device__ __forceinline__ int64_t step_sample(int64_t first) const { return first + lanes::index(); }

  __device__ __forceinline__ void solve(int64_t first, int64_t last) {
    const int64_t sample = step_sample(first) < last ? step_sample(first) : last - 1;
    sample_ = sample_counter(p, sample);
    __syncwarp();  // for_each() has read positions where scores go now
    make_words();
    if constexpr (coarse_first) {
      if (p.state[row_].rank.scale != 0.0 && sort_coarse()) return;
    }
    load(keys_, [](uint32_t word, int i) { return key(word, i); }, std::make_index_sequence<Regs / 4>{});
    lane_sort<Lanes, Regs, Key>::sort(keys_);
  }

  template <detail D, class F>
  __device__ __forceinline__ void for_each(F&& f) const {
    const int first = lanes::rank() * Regs;  // position of this lane's first key
    if constexpr (D == detail::none) {
      store_items(std::make_index_sequence<Regs / 4>{});
      const int in_lane = count() - first < Regs ? count() - first : Regs;  // how many positions
      const auto report = [&](uint32_t item, uint32_t coefficient) { f((int64_t)item, (int64_t)coefficient, 0.0f, 0.0f); };
      const uint4* from = &mine(0);
      int coefficient = first + p.base;
#pragma unroll 1
      for (const int end = coefficient + in_lane / 4 * 4; coefficient < end; coefficient += 4, from += 32) {
        const uint4 w = *from;
        report(w.x, coefficient);
        report(w.y, coefficient + 1);
        report(w.z, coefficient + 2);
        report(w.w, coefficient + 3);
      }
#pragma unroll 1
      for (int j = 0; j < in_lane % 4; ++j) report(((const uint32_t*)from)[j], coefficient + j);
    } else {
      // Positions by item, where words of the warp's samples were.
      uint16_t* const positions = (uint16_t*)of_warp() + threadIdx.x % 32 / Lanes * capacity;
      __syncwarp();
      scatter_positions(positions, first, std::make_index_sequence<Regs>{});
      __syncwarp();
      const auto report = [&](int item, int position, float z) {
        const float score = D == detail::score ? source::score(p, row_counter(p, row_), theta(item), item, z) : 0.0f;
        f((int64_t)item, (int64_t)(uint32_t)(position + p.base), score, z);
      };
      const float4* noise = noise_of(&mine(0));
      int q = lanes::rank();
#pragma unroll 1
      for (; q < count() / 4; q += Lanes, noise += 32) {
        const ushort4 w = ((const ushort4*)positions)[q];
        const float4 z = *noise;
        report(4 * q, w.x, z.x);
        report(4 * q + 1, w.y, z.y);
        report(4 * q + 2, w.z, z.z);
        report(4 * q + 3, w.w, z.w);
      }
#pragma unroll 1
      for (int j = 0; 4 * q + j < count(); ++j) report(4 * q + j, positions[4 * q + j], ((const float*)noise)[j]);
    }
  }

 private:
  static constexpr uint32_t past = 0xffffffffu;  // the word of no item, the largest

  // What can be made again is not kept: registers are for keys.
  __device__ __forceinline__ int count() const { return (int)p.n; }
  __device__ __forceinline__ int quads() const { return (count() + 3) / 4; }
  __device__ __forceinline__ int rounds() const { return (quads() + Lanes - 1) / Lanes; }  // of a quad in every lane
  __device__ __forceinline__ float theta(int item) const { return p.theta[row_ * p.n + item]; }
  __device__ __forceinline__ bool factor_per_item() const { return packed && !Plain && p.epsilon_per_item; }
  __device__ __forceinline__ float sign() const { return p.descending ? -1.0f : 1.0f; }
  __device__ __forceinline__ float key_factor(int64_t item) const {
    return rank_key_factor(p.state[row_].rank, sign(), source::amplitude(p, row_counter(p, row_), item));
  }

  // Shared memory: tables by item, of the block; for each warp 32 Regs words, [t][thread] as four words; and as many of noise, where an
  // estimator asks for it or for scores.
  __device__ __forceinline__ uint4* of_warp() const {
    return (uint4*)shared_ + (factor_per_item() ? 2 : 1) * Lanes * rounds() + threadIdx.x / 32 * (32 * Regs / 4);
  }
  __device__ __forceinline__ uint4& mine(int t) const { return of_warp()[32 * t + threadIdx.x % 32]; }
  static __device__ __forceinline__ float4* noise_of(uint4* words) { return (float4*)words + threads * Regs / 4; }
  __device__ __forceinline__ float4* table() const { return (float4*)shared_; }

  // Register 4 t + j holds item 4 quad(t) + j before it is sorted.
  static __device__ __forceinline__ int quad(int t) { return lanes::rank() + Lanes * t; }

  // The keys of this lane's quads, or their halves that are not the item.
  __device__ __forceinline__ void make_words() const {
    const uint32_t row = row_counter(p, row_);
    const float factor_of_row = packed && !factor_per_item() ? key_factor(0) : 0.0f;
    const int end = Lanes * rounds();
    uint4* to = &mine(0);
#pragma unroll 1
    for (int q = lanes::rank(); q < end; q += Lanes, to += 32) {
      const int first = 4 * q;
      float z[4];
      source::quad(p, row, sample_, (uint32_t)q, z);
      if (p.with_scores) *noise_of(to) = make_float4(z[0], z[1], z[2], z[3]);
      const float4 of_item = table()[q];
      uint32_t words[4];
      if constexpr (packed) {
        float4 factor = make_float4(factor_of_row, factor_of_row, factor_of_row, factor_of_row);
        if (factor_per_item()) factor = table()[end + q];
        const auto word = [](float factor, float z, float offset, int item) {
          return (lane::bits(lane::fma(factor, z, offset)) << 9) + (uint32_t)item;
        };
        words[0] = word(factor.x, z[0], of_item.x, first);
        words[1] = word(factor.y, z[1], of_item.y, first + 1);
        words[2] = word(factor.z, z[2], of_item.z, first + 2);
        words[3] = word(factor.w, z[3], of_item.w, first + 3);
      } else {
        const auto word = [&](float theta, float z, int item) {
          return exact_rank_score(p, source::score(p, row, theta, item < count() ? item : 0, z));  // epsilon_per_item ends with the last item
        };
        words[0] = word(of_item.x, z[0], first);
        words[1] = word(of_item.y, z[1], first + 1);
        words[2] = word(of_item.z, z[2], first + 2);
        words[3] = word(of_item.w, z[3], first + 3);
      }
      *to = make_uint4(words[0], words[1], words[2], words[3]);
    }
    // What is no item: in the last round, and all that follows.
    uint32_t* const last = (uint32_t*)(to - 32);
#pragma unroll
    for (int j = 0; j < 4; ++j)
      if (4 * (lanes::rank() + end - Lanes) + j >= count()) last[j] = past;
#pragma unroll 1
    for (int t = rounds(); t < Regs / 4; ++t, to += 32) *to = make_uint4(past, past, past, past);
  }

  static __device__ __forceinline__ Key key(uint32_t word, int item) {
    return packed ? (Key)word : (Key)((uint64_t)word << 32 | (uint32_t)item);
  }
  static __device__ __forceinline__ uint32_t item(Key key) { return packed ? (uint32_t)key % rank_packed_limit : (uint32_t)key; }

  // Keys of this lane's words: make(word, item).
  template <class Out, class Make, size_t... T>
  __device__ __forceinline__ void load(Out (&keys)[Regs], Make&& make, std::index_sequence<T...>) const {
    const auto load_quad = [&](int t, Out* k) {
      const uint4 w = mine(t);
      const int i = 4 * quad(t);
      k[0] = make(w.x, i);
      k[1] = make(w.y, i + 1);
      k[2] = make(w.z, i + 2);
      k[3] = make(w.w, i + 3);
    };
    (load_quad(T, keys + 4 * T), ...);
  }
  // Whether neighbours put right a few times are the order of the exact keys.
  __device__ __forceinline__ bool sort_coarse() {
    constexpr auto all = std::make_index_sequence<Regs>{};
    uint32_t coarse[Regs];
    load(coarse, [this](uint32_t word, int i) { return coarse_key(word, i); }, std::make_index_sequence<Regs / 4>{});
    lane_sort<Lanes, Regs, uint32_t>::sort(coarse);
    load_exact(coarse, all);
#pragma unroll 1
    for (int round = 0; round < 4; ++round) {
      if (neighbours_sort::sorted(keys_)) return true;
      neighbours_sort::exchange_all(keys_);
    }
    return false;
  }

  // A monotone rounding of the score of a word to the high bits of a key (rank_keys::coarse_key of the CPU).
  __device__ __forceinline__ uint32_t coarse_key(uint32_t word, int item) const {
    if (item >= count()) return 0xffffffffu;
    const rank_map& map = p.state[row_].rank;
    const float score = lane::floats(word ^ (word >> 31 ? 0x80000000u : 0xffffffffu));  // with the sign of the order
    const float y = lane::fma(score, rank_score_scale(map, 1.0f), rank_score_offset(map));
    const uint32_t bits = lane::shift_left<9>(lane::bits(lane::min(lane::max(y, 1.0f), 0x1.fffffep0f)));
    return (bits & ~(uint32_t)(capacity - 1)) | (uint32_t)item;
  }
  // A warp's words lie by item.
  template <size_t... R>
  __device__ __forceinline__ void load_exact(const uint32_t (&coarse)[Regs], std::index_sequence<R...>) {
    __syncwarp();
    const uint32_t* const words = (const uint32_t*)of_warp();
    ((keys_[R] = key(words[coarse[R] % capacity], (int)(coarse[R] % capacity))), ...);
  }

  template <size_t... T>
  __device__ __forceinline__ void store_items(std::index_sequence<T...>) const {
    ((mine(T) = make_uint4(item(keys_[4 * T]), item(keys_[4 * T + 1]), item(keys_[4 * T + 2]), item(keys_[4 * T + 3]))), ...);
  }
  template <size_t... R>
  __device__ __forceinline__ void scatter_positions(uint16_t* positions, int first, std::index_sequence<R...>) const {
    const auto put = [&](int position, uint32_t item) {
      if (position < count()) positions[item] = (uint16_t)position;
    };
    (put(first + (int)R, item(keys_[R])), ...);
  }

  const problem& p;
  int64_t row_;
  unsigned char* shared_;
  uint32_t sample_ = 0;
  Key keys_[Regs];
};

}  // namespace perturb::cuda
