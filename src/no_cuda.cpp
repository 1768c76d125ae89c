// The CUDA backend of a library that was built without it.
#include "cuda_backend.h"
#include "error.h"

namespace perturb {

perturb_status open_cuda_device(int, void*, const perturb_allocator&, cuda_device&) {
  return fail(PERTURB_ERROR_BACKEND_UNAVAILABLE, "options.backend: this library was built without CUDA");
}

// No context has a device, so nothing below is ever called.
size_t cuda_scratch_bytes(const cuda_device&, const call&, bool) { return 0; }
perturb_status cuda_execute(const cuda_device&, const call&, void*, size_t) { return PERTURB_ERROR_INTERNAL; }
perturb_status cuda_custom_scratch_bytes(const cuda_device&, const call&, size_t&) { return PERTURB_ERROR_INTERNAL; }
perturb_status cuda_custom_execute(const cuda_device&, const call&, void*, size_t) { return PERTURB_ERROR_INTERNAL; }
perturb_status cuda_noise_fill(const cuda_device&, const call&, float*) { return PERTURB_ERROR_INTERNAL; }
perturb_status cuda_allocate(const cuda_device&, size_t, const char*, void**) { return PERTURB_ERROR_INTERNAL; }
void cuda_release(const cuda_device&, void*, size_t) {}
bool cuda_is_capturing(const cuda_device&) { return false; }
perturb_status cuda_negative_distances(const cuda_device&, const distance_problem&, float*) { return PERTURB_ERROR_INTERNAL; }
perturb_status cuda_distance_gradient(const cuda_device&, const distance_sum&, float*) { return PERTURB_ERROR_INTERNAL; }
perturb_status cuda_exact(const cuda_device&, const exact_problem&) { return PERTURB_ERROR_INTERNAL; }
perturb_status cuda_project(const cuda_device&, const perturb_oracle&, const projection_problem&) { return PERTURB_ERROR_INTERNAL; }
perturb_status cuda_aimle_update(const cuda_device&, const aimle_problem&) { return PERTURB_ERROR_INTERNAL; }
int64_t cuda_row_words(const call&) { return 0; }
perturb_status cuda_allocate_words(const cuda_device&, int64_t, int64_t**) { return PERTURB_ERROR_INTERNAL; }
void cuda_release_words(const cuda_device&, int64_t*, int64_t) {}
perturb_status cuda_clear_words(const cuda_device&, int64_t*, int64_t) { return PERTURB_ERROR_INTERNAL; }
perturb_status cuda_add_words(const cuda_device&, int64_t*, const int64_t*, int64_t) { return PERTURB_ERROR_INTERNAL; }
perturb_status cuda_read_words(const cuda_device&, const int64_t*, int64_t*, int64_t) { return PERTURB_ERROR_INTERNAL; }
perturb_status cuda_write_words(const cuda_device&, int64_t*, const int64_t*, int64_t) { return PERTURB_ERROR_INTERNAL; }

}  // namespace perturb
