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
  static constexpr int blocks = Regs < 32 ? (sizeof(Key) == 4 ? 6 : 4) : sizeof(Key) == 4 ? 5 : 3;
  static constexpr int64_t samples_per_step = threads / Lanes;
  static constexpr bool packed = sizeof(Key) == sizeof(uint32_t);
  static constexpr int capacity = Lanes * Regs;
  // A warp first sorts 32-bit keys of a rounded score and the item, a third of the instructions: then few pairs are in the wrong order,
  // and those are neighbours.
  static constexpr bool coarse_first = !packed && Lanes == 32;
  static_assert(Lanes <= 32 && Regs % 4 == 0 && (!packed || capacity <= rank_packed_limit));
  using lanes = group<Lanes>;
  using source = noise_source<Plain>;
  using neighbours_sort = lane_neighbours<Lanes, Regs, Key>;

  static __device__ __forceinline__ bool takes(const problem& p, int64_t row) { return p.state[row].rank.packed == packed; }
  static size_t shared_bytes(const problem& p) {
    const size_t padded = (size_t)((p.n + 3) / 4 * 4) * sizeof(float);
    return threads * Regs * sizeof(uint32_t) + (packed ? p.epsilon_per_item ? 2 * padded : padded : 0);
  }
  static size_t scratch_bytes(const problem&) { return 0; }

  __device__ __forceinline__ rank_network_oracle(const problem& problem_, int64_t row, unsigned char* shared)
      : p(problem_), row_(row), shared_(shared) {}

  // Packed: the items' maps to keys, for all samples of the block.
  __device__ __forceinline__ void begin_row() {
    if constexpr (packed) {
      float* const offset = (float*)offsets();
      float* const factor = offset + 4 * quads();
      for (int i = threadIdx.x; i < 4 * quads(); i += threads) {
        offset[i] = i < count() ? p.key_offset[row_ * p.n + i] : 1.0f;
        if (factor_per_item()) factor[i] = i < count() ? p.key_factor[row_ * p.n + i] : 0.0f;
      }
    }
  }

  __device__ __forceinline__ int64_t step_sample(int64_t first) const { return first + lanes::index(); }

  __device__ __forceinline__ void solve(int64_t first, int64_t last) {
    const int64_t sample = step_sample(first) < last ? step_sample(first) : last - 1;
    sample_ = sample_counter(p, sample);
    __syncwarp();  // for_each() has read positions where scores go now
#pragma unroll 1
    for (int t = 0; t < Regs / 4; ++t) mine(t) = words_of_quad(quad(t));
    if constexpr (coarse_first) {
      if (p.state[row_].rank.affine && sort_coarse()) return;
    }
    load(keys_, [](uint32_t word, int i) { return key(word, i); }, std::make_index_sequence<Regs / 4>{});
    lane_sort<Lanes, Regs, Key>::sort(keys_);
  }

  template <detail D, class F>
  __device__ __forceinline__ void for_each(F&& f) const {
    const int first = lanes::rank() * Regs;  // position of this lane's first key
    if constexpr (D == detail::none) {
      store_items(std::make_index_sequence<Regs / 4>{});
#pragma unroll 1
      for (int t = 0; t < Regs / 4; ++t) {
        const uint4 w = mine(t);
        const uint32_t items[4] = {w.x, w.y, w.z, w.w};
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const int position = first + 4 * t + j;
          if (position < count()) f((int64_t)items[j], (int64_t)position + p.base, 0.0f, 0.0f);
        }
      }
    } else {
      // Positions by item, where words of the warp's samples were.
      uint16_t* const positions = (uint16_t*)of_warp() + threadIdx.x % 32 / Lanes * capacity;
      __syncwarp();
      scatter_positions(positions, first, std::make_index_sequence<Regs>{});
      __syncwarp();
#pragma unroll 1
      for (int t = 0; t < Regs / 4; ++t) {
        const int q = quad(t);
        if (q >= quads()) continue;
        const ushort4 w = ((const ushort4*)positions)[q];
        const int position[4] = {w.x, w.y, w.z, w.w};
        float z[4];
        source::quad(p, row_counter(p, row_), sample_, (uint32_t)q, z);
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const int item = 4 * q + j;
          if (item >= count()) continue;
          const float score = D == detail::score ? source::score(p, theta(item), item, z[j]) : 0.0f;
          f((int64_t)item, (int64_t)position[j] + p.base, score, z[j]);
        }
      }
    }
  }

 private:
  // What can be made again is not kept: registers are for keys.
  __device__ __forceinline__ int count() const { return (int)p.n; }
  __device__ __forceinline__ int quads() const { return (count() + 3) / 4; }
  __device__ __forceinline__ float theta(int item) const { return p.theta[row_ * p.n + item]; }
  __device__ __forceinline__ bool factor_per_item() const { return !Plain && p.epsilon_per_item; }

  // Shared memory: for each warp 32 Regs words, [t][thread] as four words; then offsets and factors by item, of the block.
  __device__ __forceinline__ uint4* of_warp() const { return (uint4*)shared_ + threadIdx.x / 32 * (32 * Regs / 4); }
  __device__ __forceinline__ uint4& mine(int t) const { return of_warp()[32 * t + threadIdx.x % 32]; }
  __device__ __forceinline__ float4* offsets() const { return (float4*)shared_ + threads * Regs / 4; }

  // Register 4 t + j holds item 4 quad(t) + j before it is sorted.
  static __device__ __forceinline__ int quad(int t) { return lanes::rank() + Lanes * t; }

  // The key of four items, or its half that is not the item; the largest value past the last item.
  __device__ __forceinline__ uint4 words_of_quad(int q) const {
    constexpr uint32_t past = 0xffffffffu;
    if (q >= quads()) return make_uint4(past, past, past, past);
    float z[4];
    source::quad(p, row_counter(p, row_), sample_, (uint32_t)q, z);
    uint32_t words[4];
    if constexpr (packed) {
      const float4 offset = offsets()[q];
      float4 factor;
      if (factor_per_item()) {
        factor = offsets()[quads() + q];
      } else {
        factor.x = factor.y = factor.z = factor.w = p.key_factor[row_];
      }
      const auto word = [](float factor, float z, float offset) { return lane::shift_left<9>(lane::bits(lane::fma(factor, z, offset))); };
      words[0] = word(factor.x, z[0], offset.x);
      words[1] = word(factor.y, z[1], offset.y);
      words[2] = word(factor.z, z[2], offset.z);
      words[3] = word(factor.w, z[3], offset.w);
    }
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int item = 4 * q + j;
      if (item >= count()) {
        words[j] = past;
      } else if constexpr (packed) {
        words[j] |= (uint32_t)item;
      } else {
        words[j] = exact_rank_score(p, source::score(p, theta(item), item, z[j]));
      }
    }
    return make_uint4(words[0], words[1], words[2], words[3]);
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
    const rank_scales& scales = p.state[row_].rank;
    const float score = lane::floats(word ^ (word >> 31 ? 0x80000000u : 0xffffffffu));  // with the sign of the order
    const float y = lane::fma(score, p.descending ? -scales.score_scale : scales.score_scale, scales.score_offset);
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
