// The last failure of each thread, in a fixed buffer: recording an error never allocates.
#include "error.h"

#include <cstdarg>
#include <cstdio>

namespace perturb {
namespace {
thread_local char text[512] = "";
}

perturb_status fail(perturb_status status, const char* format, ...) noexcept {
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  return status;
}

void clear_error() noexcept { text[0] = '\0'; }

const char* error_text() noexcept { return text; }

}  // namespace perturb
