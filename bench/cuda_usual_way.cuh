// What bench_cuda is compared with: perturbed optimizers as one puts them together from cuRAND and CUB. Noise and perturbed scores of
// all samples lie in global memory, a library routine solves them, and a reduction over samples follows.
//
// It is meant to be good of its kind: buffers are allocated once, scores are written by the kernel that draws the noise, indices are made
// once, sums of one-hot solutions are counts, and each oracle uses what is fastest in CUB 3.0 (DeviceSegmentedSort picks its algorithm by
// the length of the segments).
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace perturb::bench {

enum class usual_oracle { argmax, top_k, rank, grid_path };
enum class usual_operation { expectation, values, vjp };

struct usual_problem {
  usual_oracle oracle;
  usual_operation operation;
  int64_t rows, samples, n, k;
  int height, width;  // grids: 8 neighbours, first cell to last, the first one counted
  float epsilon, cost_floor;
  uint64_t seed;
  // Device memory: [rows, n], and [rows] for values. cotangent and gradient only for vjp.
  const float *theta, *cotangent;
  float *y, *value, *gradient;
};

class usual_way {
 public:
  explicit usual_way(const usual_problem &problem);
  ~usual_way();
  usual_way(const usual_way &) = delete;
  usual_way &operator=(const usual_way &) = delete;

  void run(cudaStream_t stream);
  size_t bytes() const { return bytes_; }  // of buffers
  // Of the last slice's samples: what is averaged for a value, or <cotangent, y>.
  std::vector<float> scalars() const;

 private:
  template <class T>
  T *take(size_t count);
  void run_slice(int64_t first, int64_t rows, cudaStream_t stream);
  void solve(int64_t first, int64_t problems, cudaStream_t stream);

  usual_problem p_;
  int64_t rows_at_once_;
  size_t bytes_ = 0, temporary_bytes_ = 0;
  std::vector<void *> memory_;
  float *noise_ = nullptr, *scores_ = nullptr, *sorted_ = nullptr, *solutions_ = nullptr, *scalars_ = nullptr, *mean_scalar_ = nullptr;
  int32_t *items_ = nullptr, *order_ = nullptr;
  void *best_ = nullptr, *temporary_ = nullptr;
  unsigned char *paths_ = nullptr;  // of grids that do not fit shared memory
};

}  // namespace perturb::bench
