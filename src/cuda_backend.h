// What the frontend asks of the CUDA backend. kernels/backend.cpp answers; in a build without CUDA, src/no_cuda.cpp does.
#pragma once

#include <cstddef>

#include "aimle.h"
#include "backend.h"
#include "exact.h"
#include "identity.h"
#include "perturb/perturb.h"

namespace perturb {

// A device, its stream and its memory. Lives in the context that owns it.
struct cuda_device {
  int ordinal = 0;
  int multiprocessors = 0;
  size_t shared_bytes = 0;  // of a block, by opting in
  void* stream = nullptr;
  perturb_allocator allocator = {};
};

// Whether a device is there and works; else the reason, as the status to fail with. Ordinal -1: the current one.
perturb_status open_cuda_device(int ordinal, void* stream, const perturb_allocator& allocator, cuda_device& device);

// Device scratch of a call, for any optional outputs when `any_outputs` is set.
size_t cuda_scratch_bytes(const cuda_device& device, const call& c, bool any_outputs);

// Enqueue a checked call on the device's stream. `workspace` may be null: the scratch is then allocated and freed in stream order.
perturb_status cuda_execute(const cuda_device& device, const call& c, void* workspace, size_t workspace_bytes);
perturb_status cuda_noise_fill(const cuda_device& device, const call& c, float* z);

// Memory from the context's allocator, freed in stream order. `what` is for the error's sentence.
perturb_status cuda_allocate(const cuda_device& device, size_t bytes, const char* what, void** memory);
void cuda_release(const cuda_device& device, void* memory, size_t bytes);
// Whether the stream is being captured, so that nothing may wait for it.
bool cuda_is_capturing(const cuda_device& device);

// Nearest neighbours (src/distances.h).
perturb_status cuda_negative_distances(const cuda_device& device, const distance_problem& p, float* theta);
perturb_status cuda_distance_gradient(const cuda_device& device, const distance_sum& s, float* gradient);

// Closed forms (src/exact.h).
perturb_status cuda_exact(const cuda_device& device, const exact_problem& p);
// The identity backward rule and its projections (src/identity.h); passable is set here, from the oracle.
perturb_status cuda_project(const cuda_device& device, const perturb_oracle& oracle, const projection_problem& p);
// An update of AIMLE's step (src/aimle.h).
perturb_status cuda_aimle_update(const cuda_device& device, const aimle_problem& p);
// The same for calls of solvers and cost functions of the caller's (kernels/custom.cpp). Bytes are those of any outputs and options.
perturb_status cuda_custom_scratch_bytes(const cuda_device& device, const call& c, size_t& bytes);
perturb_status cuda_custom_execute(const cuda_device& device, const call& c, void* workspace, size_t workspace_bytes);

// An accumulator's sums, in device memory: row_words(call) integers of each row, the last cuda_sum_words of them the row's sums over items in
// two words each (kernels/problem.h). Copies to and from the host wait for the stream.
constexpr int cuda_sum_words = 6;
int64_t cuda_row_words(const call& c);
perturb_status cuda_allocate_words(const cuda_device& device, int64_t count, int64_t** words);
void cuda_release_words(const cuda_device& device, int64_t* words, int64_t count);
perturb_status cuda_clear_words(const cuda_device& device, int64_t* words, int64_t count);
perturb_status cuda_add_words(const cuda_device& device, int64_t* to, const int64_t* from, int64_t count);
perturb_status cuda_read_words(const cuda_device& device, const int64_t* words, int64_t* host, int64_t count);
perturb_status cuda_write_words(const cuda_device& device, int64_t* words, const int64_t* host, int64_t count);

}  // namespace perturb
