// What every function of the C API runs in, and its first check.
#pragma once

#include <new>

#include "cpu/float_mode.h"
#include "error.h"

namespace perturb {

// Every entry point runs inside: the last error is cleared, and no exception crosses the boundary.
template <class F>
perturb_status guarded(F&& f) noexcept {
  clear_error();
  const float_mode mode;  // of the checks too: the host may trap on what they look for
  try {
    return f();
  } catch (const std::bad_alloc&) {
    return fail(PERTURB_ERROR_OUT_OF_MEMORY, "the library ran out of host memory");
  } catch (...) {
    return fail(PERTURB_ERROR_INTERNAL, "an unexpected exception reached the C boundary");
  }
}

inline perturb_status not_null(const char* name, const void* pointer) {
  return pointer ? PERTURB_OK : fail(PERTURB_ERROR_INVALID_ARGUMENT, "%s: must not be NULL", name);
}

}  // namespace perturb
