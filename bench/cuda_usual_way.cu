// The usual way: see cuda_usual_way.cuh.
#include <curand_kernel.h>
#include <thrust/iterator/counting_iterator.h>
#include <thrust/iterator/transform_iterator.h>

#include <algorithm>
#include <cub/device/device_segmented_reduce.cuh>
#include <cub/device/device_segmented_sort.cuh>
#include <stdexcept>
#include <string>

#include "cuda_usual_way.cuh"

namespace perturb::bench {
namespace {

constexpr int64_t slice_bytes = INT64_C(8) << 30;  // tensors of a slice of rows; larger ones gain nothing
constexpr int64_t slice_items = INT64_C(1) << 30;  // 32-bit indices
constexpr int threads = 256, blocks_per_multiprocessor = 8;
constexpr int64_t thread_row_limit = 64;  // rows this short are dearer as a block of CUB's than as a thread's loop
constexpr size_t shared_limit = 200 << 10;
constexpr float unreached = 1e30f;

void check(cudaError_t error) {
  if (error != cudaSuccess) throw std::runtime_error(std::string("usual way: ") + cudaGetErrorString(error));
}

struct segment_start {
  int64_t length;
  __host__ __device__ int64_t operator()(int64_t segment) const { return segment * length; }
};
auto segment_starts(int64_t length, int64_t first = 0) {
  return thrust::make_transform_iterator(thrust::make_counting_iterator(first), segment_start{length});
}

using best_item = cub::KeyValuePair<int, float>;

unsigned grid_of(int64_t items, int per_block) {
  static const int multiprocessors = [] {
    int count = 0, device = 0;
    check(cudaGetDevice(&device));
    check(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device));
    return count;
  }();
  return (unsigned)std::clamp<int64_t>((items + per_block - 1) / per_block, 1, (int64_t)multiprocessors * blocks_per_multiprocessor);
}

// Item numbers, once and for all: sorts want a value beside each key.
__global__ void number_items(uint32_t count, uint32_t n, int32_t* items) {
  for (uint32_t i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x) items[i] = (int32_t)(i % n);
}

// scores = theta + epsilon z for rows of `samples` x n items, and z too if it is wanted.
__global__ void draw(uint32_t count, uint32_t n, uint32_t per_row, float epsilon, uint64_t seed, uint64_t offset, const float* theta,
                     float* scores, float* noise) {
  curandStatePhilox4_32_10_t state;
  const uint32_t thread = blockIdx.x * blockDim.x + threadIdx.x;
  curand_init(seed, offset + thread, 0, &state);
  for (uint32_t at = 4 * thread; at < count; at += 4 * gridDim.x * blockDim.x) {
    const float4 z4 = curand_normal4(&state);
    const float z[4] = {z4.x, z4.y, z4.z, z4.w};
    uint32_t row = at / per_row, item = at % n;
    float score[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      if (at + j < count) score[j] = fmaf(epsilon, z[j], theta[row * n + item]);
      if (++item == n) {
        item = 0;
        row = (at + j + 1) / per_row;
      }
    }
    if (at + 4 <= count) {
      *(float4*)(scores + at) = make_float4(score[0], score[1], score[2], score[3]);
      if (noise) *(float4*)(noise + at) = z4;
    } else {
      for (int j = 0; at + j < count; ++j) {
        scores[at + j] = score[j];
        if (noise) noise[at + j] = z[j];
      }
    }
  }
}

// ---------------------------------------------------------------- solutions, and one number per problem where it is wanted

// cotangent: that number is <cotangent, y>; null: <scores, y>.
__global__ void argmax_short(uint32_t problems, uint32_t n, const float* scores, best_item* best) {
  for (uint32_t m = blockIdx.x * blockDim.x + threadIdx.x; m < problems; m += gridDim.x * blockDim.x) {
    best_item found{0, scores[m * n]};
    for (uint32_t i = 1; i < n; ++i) {
      const float score = scores[m * n + i];
      if (score > found.value) found = {(int)i, score};
    }
    best[m] = found;
  }
}

__global__ void count_argmax(uint32_t problems, uint32_t n, uint32_t samples, const best_item* best, const float* cotangent, float* y,
                             float* scalars) {
  for (uint32_t m = blockIdx.x * blockDim.x + threadIdx.x; m < problems; m += gridDim.x * blockDim.x) {
    const uint32_t row = m / samples;
    atomicAdd(y + row * n + best[m].key, 1.0f);
    if (scalars) scalars[m] = cotangent ? cotangent[row * n + best[m].key] : best[m].value;
  }
}

__global__ void count_top_k(uint32_t problems, uint32_t n, uint32_t k, uint32_t samples, const int32_t* order, const float* sorted,
                            const float* cotangent, float* y, float* scalars) {
  for (uint32_t m = blockIdx.x * blockDim.x + threadIdx.x; m < problems; m += gridDim.x * blockDim.x) {
    const uint32_t row = m / samples;
    float sum = 0;
    for (uint32_t j = 0; j < k; ++j) {
      const int32_t item = order[m * n + j];
      atomicAdd(y + row * n + item, 1.0f);
      sum += cotangent ? cotangent[row * n + item] : sorted[m * n + j];
    }
    if (scalars) scalars[m] = sum;
  }
}

// The inverse permutation, from 1 on; `sorted` or the cotangent give the number.
__global__ void ranks_of_order(uint32_t count, uint32_t n, const int32_t* order, float* ranks) {
  for (uint32_t i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x)
    ranks[i / n * n + (uint32_t)order[i]] = (float)(i % n + 1);
}

// A warp per problem: sum over items of a[m, i] b[m, i], or of a[m, i] b[row, i].
__global__ void inner_products(uint32_t problems, uint32_t n, uint32_t samples, const float* a, const float* b, bool b_per_row,
                               float* scalars) {
  const uint32_t lane = threadIdx.x % 32, warps = gridDim.x * blockDim.x / 32;
  for (uint32_t m = (blockIdx.x * blockDim.x + threadIdx.x) / 32; m < problems; m += warps) {
    const float* other = b + (b_per_row ? m / samples : m) * n;
    float sum = 0;
    for (uint32_t i = lane; i < n; i += 32) sum += a[m * n + i] * other[i];
    for (int d = 16; d > 0; d /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, d);
    if (lane == 0) scalars[m] = sum;
  }
}

// Bellman-Ford, a block per problem: every cell takes the least of its neighbours plus its own cost, and remembers which, until nothing
// changes; then the first thread walks back. Distances, costs and memories lie in shared memory if `memory` is null.
__host__ __device__ constexpr size_t path_bytes(size_t cells) { return (cells * (2 * sizeof(float) + 1) + 15) / 16 * 16; }

__global__ void shortest_paths(uint32_t problems, int height, int width, uint32_t samples, float floor, const float* scores,
                               const float* cotangent, unsigned char* memory, float* solutions, float* scalars) {
  extern __shared__ __align__(16) unsigned char shared[];
  const int cells = height * width;
  float* const distance = (float*)(memory ? memory + blockIdx.x * path_bytes(cells) : shared);
  float* const cost = distance + cells;
  uint8_t* const from = (uint8_t*)(cost + cells);  // 3 (row step + 1) + column step + 1
  for (uint32_t m = blockIdx.x; m < problems; m += gridDim.x) {
    for (int v = threadIdx.x; v < cells; v += blockDim.x) {
      cost[v] = fmaxf(scores[(size_t)m * cells + v], floor);
      distance[v] = v == 0 ? cost[0] : unreached;
    }
    bool changed = true;
    while (__syncthreads_or(changed)) {
      changed = false;
      for (int v = threadIdx.x; v < cells; v += blockDim.x) {
        const int r = v / width, c = v % width;
        float least = unreached;
        int step = 4;
        for (int dr = -1; dr <= 1; ++dr) {
          for (int dc = -1; dc <= 1; ++dc) {
            if (r + dr < 0 || r + dr >= height || c + dc < 0 || c + dc >= width) continue;
            const float d = distance[v + dr * width + dc];
            if (d < least) {
              least = d;
              step = 3 * dr + dc + 4;
            }
          }
        }
        if (least + cost[v] < distance[v]) {
          distance[v] = least + cost[v];
          from[v] = (uint8_t)step;
          changed = true;
        }
      }
    }
    if (threadIdx.x == 0) {
      float* const y = solutions + (size_t)m * cells;
      float sum = 0;
      for (int v = cells - 1;; v += (from[v] / 3 - 1) * width + from[v] % 3 - 1) {
        y[v] = 1;
        if (cotangent) sum += cotangent[m / samples * cells + v];
        if (v == 0) break;
      }
      if (scalars) scalars[m] = cotangent ? sum : distance[cells - 1];
    }
    __syncthreads();
  }
}

// ---------------------------------------------------------------- sums over samples

constexpr int mean_items = 32, mean_parts = 8;

// out[row, i] = scale * sum over samples of (weights[m] - centre[row] / samples) x[m, i]; without weights, of x[m, i].
__global__ void mean_over_samples(uint32_t n, uint32_t samples, const float* x, const float* weights, const float* centre, float scale,
                                  float* out) {
  __shared__ float parts[mean_parts][mean_items];
  const uint32_t row = blockIdx.y, item = blockIdx.x * mean_items + threadIdx.x;
  float sum = 0;
  if (item < n) {
    const float middle = weights ? centre[row] / (float)samples : 0.0f;
    for (uint32_t s = threadIdx.y; s < samples; s += mean_parts) {
      const uint32_t m = row * samples + s;
      sum += x[(size_t)m * n + item] * (weights ? weights[m] - middle : 1.0f);
    }
  }
  parts[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || item >= n) return;
  for (int part = 1; part < mean_parts; ++part) sum += parts[part][threadIdx.x];
  out[row * n + item] = scale * sum;
}

__global__ void scale_values(uint32_t count, float scale, float* x) {
  for (uint32_t i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x) x[i] *= scale;
}

bool sorts(usual_oracle oracle) { return oracle == usual_oracle::rank || oracle == usual_oracle::top_k; }

}  // namespace

template <class T>
T* usual_way::take(size_t count) {
  void* memory = nullptr;
  check(cudaMalloc(&memory, count * sizeof(T)));
  memory_.push_back(memory);
  bytes_ += count * sizeof(T);
  return (T*)memory;
}

usual_way::usual_way(const usual_problem& problem) : p_(problem) {
  const int64_t per_row = p_.samples * p_.n;
  rows_at_once_ = std::clamp<int64_t>(std::min(slice_bytes / (per_row * 20), slice_items / per_row), 1, p_.rows);
  const size_t problems = (size_t)(rows_at_once_ * p_.samples), items = (size_t)(rows_at_once_ * per_row);
  scores_ = take<float>(items);
  if (p_.operation == usual_operation::vjp) noise_ = take<float>(items);
  if (p_.operation != usual_operation::expectation) {
    scalars_ = take<float>(problems);
    mean_scalar_ = take<float>((size_t)rows_at_once_);
  }
  if (p_.oracle == usual_oracle::rank || p_.oracle == usual_oracle::grid_path) solutions_ = take<float>(items);
  if (p_.oracle == usual_oracle::argmax) best_ = take<best_item>(problems);
  if (sorts(p_.oracle)) {
    items_ = take<int32_t>(items);
    order_ = take<int32_t>(items);
    sorted_ = take<float>(items);
    number_items<<<grid_of((int64_t)items, threads), threads>>>((uint32_t)items, (uint32_t)p_.n, items_);
  }
  if (p_.oracle == usual_oracle::grid_path) {
    const size_t shared = path_bytes((size_t)p_.n);
    if (shared > shared_limit) {
      paths_ = take<unsigned char>(shared * grid_of((int64_t)problems, 1));
    } else {
      check(cudaFuncSetAttribute(shortest_paths, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared));
    }
  }
  // CUB says how much it needs when it is given nothing.
  size_t bytes = 0;
  const int64_t most = (int64_t)problems;
  if (p_.oracle == usual_oracle::argmax && p_.n > thread_row_limit) {
    check(cub::DeviceSegmentedReduce::ArgMax(nullptr, bytes, scores_, (best_item*)best_, most, segment_starts(p_.n),
                                             segment_starts(p_.n, 1)));
  } else if (sorts(p_.oracle)) {
    check(cub::DeviceSegmentedSort::SortPairs(nullptr, bytes, scores_, sorted_, items_, order_, (int64_t)items, most, segment_starts(p_.n),
                                              segment_starts(p_.n, 1)));
    temporary_bytes_ = bytes;
    check(cub::DeviceSegmentedSort::SortPairsDescending(nullptr, bytes, scores_, sorted_, items_, order_, (int64_t)items, most,
                                                        segment_starts(p_.n), segment_starts(p_.n, 1)));
  }
  temporary_bytes_ = std::max(temporary_bytes_, bytes);
  if (scalars_) {
    check(cub::DeviceSegmentedReduce::Sum(nullptr, bytes, scalars_, mean_scalar_, rows_at_once_, segment_starts(p_.samples),
                                          segment_starts(p_.samples, 1)));
    temporary_bytes_ = std::max(temporary_bytes_, bytes);
  }
  temporary_ = take<unsigned char>(temporary_bytes_ + 1);
  check(cudaDeviceSynchronize());
}

usual_way::~usual_way() {
  for (void* memory : memory_) (void)cudaFree(memory);
}

std::vector<float> usual_way::scalars() const {
  std::vector<float> copy(scalars_ ? (size_t)(rows_at_once_ * p_.samples) : 0);
  if (scalars_) check(cudaMemcpy(copy.data(), scalars_, copy.size() * sizeof(float), cudaMemcpyDeviceToHost));
  return copy;
}

void usual_way::run(cudaStream_t stream) {
  for (int64_t first = 0; first < p_.rows; first += rows_at_once_) run_slice(first, std::min(rows_at_once_, p_.rows - first), stream);
}

void usual_way::solve(int64_t first, int64_t problems, cudaStream_t stream) {
  const uint32_t n = (uint32_t)p_.n, samples = (uint32_t)p_.samples, count = (uint32_t)(problems * p_.n), number = (uint32_t)problems;
  const int64_t items = problems * p_.n;
  const float* const cotangent = p_.operation == usual_operation::vjp ? p_.cotangent + first * p_.n : nullptr;
  float* const y = p_.y + first * p_.n;
  const unsigned grid = grid_of(problems, threads);
  size_t bytes = temporary_bytes_;
  switch (p_.oracle) {
    case usual_oracle::argmax:
      if (p_.n <= thread_row_limit) {
        argmax_short<<<grid, threads, 0, stream>>>(number, n, scores_, (best_item*)best_);
      } else {
        check(cub::DeviceSegmentedReduce::ArgMax(temporary_, bytes, scores_, (best_item*)best_, problems, segment_starts(p_.n),
                                                 segment_starts(p_.n, 1), stream));
      }
      count_argmax<<<grid, threads, 0, stream>>>(number, n, samples, (const best_item*)best_, cotangent, y, scalars_);
      break;
    case usual_oracle::top_k:
      check(cub::DeviceSegmentedSort::SortPairsDescending(temporary_, bytes, scores_, sorted_, items_, order_, items, problems,
                                                          segment_starts(p_.n), segment_starts(p_.n, 1), stream));
      count_top_k<<<grid, threads, 0, stream>>>(number, n, (uint32_t)p_.k, samples, order_, sorted_, cotangent, y, scalars_);
      break;
    case usual_oracle::rank:
      check(cub::DeviceSegmentedSort::SortPairs(temporary_, bytes, scores_, sorted_, items_, order_, items, problems, segment_starts(p_.n),
                                                segment_starts(p_.n, 1), stream));
      ranks_of_order<<<grid_of(items, threads), threads, 0, stream>>>(count, n, order_, solutions_);
      if (scalars_)
        inner_products<<<grid_of(problems, threads / 32), threads, 0, stream>>>(
            number, n, samples, solutions_, cotangent ? cotangent : scores_, cotangent != nullptr, scalars_);
      break;
    case usual_oracle::grid_path: {
      check(cudaMemsetAsync(solutions_, 0, (size_t)items * sizeof(float), stream));
      const size_t shared = paths_ ? 0 : path_bytes((size_t)p_.n);
      const int width = p_.n <= 128 ? 128 : p_.n <= 1024 ? 256 : 1024;
      shortest_paths<<<paths_ ? grid_of(problems, 1) : number, width, shared, stream>>>(number, p_.height, p_.width, samples, p_.cost_floor,
                                                                                        scores_, cotangent, paths_, solutions_, scalars_);
      break;
    }
  }
}

void usual_way::run_slice(int64_t first, int64_t rows, cudaStream_t stream) {
  const int64_t problems = rows * p_.samples, items = problems * p_.n;
  const uint32_t n = (uint32_t)p_.n, samples = (uint32_t)p_.samples;
  const float sign = p_.oracle == usual_oracle::grid_path ? -1.0f : 1.0f;
  float* const y = p_.y + first * p_.n;
  draw<<<grid_of((items + 3) / 4, threads), threads, 0, stream>>>((uint32_t)items, n, samples * n, sign * p_.epsilon, p_.seed,
                                                                  (uint64_t)first << 32, p_.theta + first * p_.n, scores_, noise_);
  const bool counts = p_.oracle == usual_oracle::argmax || p_.oracle == usual_oracle::top_k;
  if (counts) check(cudaMemsetAsync(y, 0, (size_t)(rows * p_.n) * sizeof(float), stream));
  solve(first, problems, stream);
  const dim3 mean_grid((n + mean_items - 1) / mean_items, (unsigned)rows), mean_block(mean_items, mean_parts);
  size_t bytes = temporary_bytes_;
  if (scalars_)
    check(cub::DeviceSegmentedReduce::Sum(temporary_, bytes, scalars_, mean_scalar_, rows, segment_starts(p_.samples),
                                          segment_starts(p_.samples, 1), stream));
  if (p_.operation == usual_operation::vjp) {
    const float scale = sign / (p_.epsilon * (float)(samples - 1));
    mean_over_samples<<<mean_grid, mean_block, 0, stream>>>(n, samples, noise_, scalars_, mean_scalar_, scale, p_.gradient + first * p_.n);
  } else {
    if (counts) {
      scale_values<<<grid_of(rows * p_.n, threads), threads, 0, stream>>>((uint32_t)(rows * p_.n), 1.0f / (float)samples, y);
    } else {
      mean_over_samples<<<mean_grid, mean_block, 0, stream>>>(n, samples, solutions_, nullptr, nullptr, 1.0f / (float)samples, y);
    }
    if (scalars_) {
      check(cudaMemcpyAsync(p_.value + first, mean_scalar_, (size_t)rows * sizeof(float), cudaMemcpyDeviceToDevice, stream));
      scale_values<<<1, threads, 0, stream>>>((uint32_t)rows, 1.0f / (float)samples, p_.value + first);
    }
  }
  check(cudaGetLastError());
}

}  // namespace perturb::bench
