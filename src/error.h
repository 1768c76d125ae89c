// The last failure of each thread: a status and one sentence.
#pragma once

#include "perturb/perturb.h"

namespace perturb {

// Records the sentence (printf format) and returns the status.
[[gnu::format(printf, 2, 3)]] perturb_status fail(perturb_status status, const char* format, ...) noexcept;

void clear_error() noexcept;

// This thread's sentence, "" if there is none.
const char* error_text() noexcept;

}  // namespace perturb
