// Scratch memory of one thread: carved once per call, from memory that the context lends. With a null base it only counts,
// so that the size and the layout come from one piece of code.
#pragma once

#include <cstddef>
#include <cstdint>

#include "math/lanes.h"

namespace perturb {

class arena {
 public:
  PERTURB_INLINE explicit arena(void* base) : base_(static_cast<char*>(base)) {}

  template <class T>
  PERTURB_INLINE T* take(int64_t count) {
    constexpr size_t alignment = 64;
    const size_t at = used_;
    used_ += ((size_t)count * sizeof(T) + alignment - 1) / alignment * alignment;
    return base_ ? reinterpret_cast<T*>(base_ + at) : nullptr;
  }
  PERTURB_INLINE size_t used() const { return used_; }
  PERTURB_INLINE bool counting() const { return base_ == nullptr; }

 private:
  char* base_;
  size_t used_ = 0;
};

}  // namespace perturb
