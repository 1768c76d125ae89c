// A context: where calls run, with which memory.
#pragma once

#include <cstddef>

#include "backend.h"
#include "cpu/pool.h"
#include "cuda_backend.h"
#include "perturb/perturb.h"

struct perturb_context {
  perturb_backend backend = PERTURB_BACKEND_CPU;
  const perturb::cpu_backend* cpu = nullptr;  // and pool and workers: of a CPU context
  perturb::cuda_device cuda;                  // of a CUDA context
  perturb_allocator allocator = {};
  perturb::pool* pool = nullptr;
  std::thread* workers = nullptr;
  void* workspace = nullptr;
  size_t workspace_bytes = 0;
  int32_t* row_status = nullptr;  // [batch] of the calls that follow
  int64_t* row_clamped = nullptr;

  void* allocate(size_t bytes);  // null when there is none left
  void deallocate(void* pointer, size_t bytes);
};

namespace perturb {

// Makes a context on the backend that the options ask for; options are checked.
perturb_status create_context(const perturb_context_options& options, perturb_context** context);
void destroy_context(perturb_context* context);

// Scratch of one call: the lent workspace, or an allocation that ends with this object.
class call_scratch {
 public:
  call_scratch(perturb_context& context) : context_(context) {}
  ~call_scratch();
  call_scratch(const call_scratch&) = delete;
  call_scratch& operator=(const call_scratch&) = delete;

  perturb_status acquire(size_t bytes);
  void* memory() const { return memory_; }

 private:
  perturb_context& context_;
  void* memory_ = nullptr;
  void* owned_ = nullptr;
  size_t owned_bytes_ = 0;
};

}  // namespace perturb
