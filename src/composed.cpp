// The lent workspace in two parts, or memory of the context's allocator.
#include "composed.h"

#include <cstdint>

#include "error.h"
#include "execute.h"

namespace perturb {

perturb_status composed_scratch::acquire(size_t own, size_t inner) {
  if (workspace_) {
    if (workspace_bytes_ < own + inner)
      return fail(PERTURB_ERROR_WORKSPACE_TOO_SMALL, "workspace: this call needs %zu bytes, the workspace has %zu", own + inner, workspace_bytes_);
    memory_ = reinterpret_cast<void*>(((uintptr_t)workspace_ + alignment - 1) / alignment * alignment);
    context_.workspace = static_cast<char*>(workspace_) + own;
    context_.workspace_bytes = workspace_bytes_ - own;
    return PERTURB_OK;
  }
  if (on_host(context_)) {
    owned_ = context_.allocate(own);
    if (!owned_) return fail(PERTURB_ERROR_OUT_OF_MEMORY, "scratch: %zu bytes cannot be had", own);
  } else if (const perturb_status s = cuda_allocate(context_.cuda, own, "scratch", &owned_)) {
    return s;
  }
  owned_bytes_ = own;
  memory_ = owned_;
  return PERTURB_OK;
}

composed_scratch::~composed_scratch() {
  context_.workspace = workspace_;
  context_.workspace_bytes = workspace_bytes_;
  if (!owned_) return;
  if (on_host(context_)) {
    context_.deallocate(owned_, owned_bytes_);
  } else {
    cuda_release(context_.cuda, owned_, owned_bytes_);
  }
}

}  // namespace perturb
