// A status of each row: with it a row whose contents are refused does not stop its batch (perturb_context_set_row_status).
#pragma once

#include <functional>

#include "context.h"

namespace perturb {

// A call whose arguments are checked but for the contents of its arrays.
perturb_status execute_rows(perturb_context& context, const call& c);

// The same on a CPU context, of a call that something else runs, whole or in parts of its rows.
using row_runner = std::function<perturb_status(const call&)>;
perturb_status execute_rows(perturb_context& context, const call& c, const row_runner& run);

}  // namespace perturb
