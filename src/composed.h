// Memory of a call that is made of other calls: its own arrays first, and the rest of a lent workspace for the calls inside.
#pragma once

#include <cstddef>

#include "context.h"

namespace perturb {

class composed_scratch {
 public:
  explicit composed_scratch(perturb_context& context) : context_(context), workspace_(context.workspace), workspace_bytes_(context.workspace_bytes) {}
  ~composed_scratch();
  composed_scratch(const composed_scratch&) = delete;
  composed_scratch& operator=(const composed_scratch&) = delete;

  // own: the bytes of this call's arrays, with slack for alignment; inner: workspace_bytes() of the largest call inside. Until this object ends the
  // context's workspace is what is left. Without a workspace the arrays are allocated, and calls inside allocate their own.
  perturb_status acquire(size_t own, size_t inner);
  void* memory() const { return memory_; }

  static constexpr size_t alignment = 256;

 private:
  perturb_context& context_;
  void* const workspace_;
  const size_t workspace_bytes_;
  void* memory_ = nullptr;
  void* owned_ = nullptr;
  size_t owned_bytes_ = 0;
};

}  // namespace perturb
