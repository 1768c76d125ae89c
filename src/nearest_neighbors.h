// Perturbed k nearest neighbours: what the frontend's workspace_size asks. Everything else is the two functions of the C API.
#pragma once

#include <cstddef>

#include "backend.h"

namespace perturb {

// The operation that runs at theta_bi = -||q_b - x_i||^2; any other operation is its own.
perturb_operation operation_at_distances(perturb_operation operation);

// Whether an oracle finds neighbours.
perturb_status check_neighbors_oracle(const perturb_oracle& oracle);

// What the operation keeps beside the workspace of the call inside, c: theta and its gradient. 0 for other operations.
size_t distance_bytes(perturb_operation operation, const call& c);

}  // namespace perturb
