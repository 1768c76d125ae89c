// The kernels that are the same for every oracle: before the engine's run (prepare, shift), beside it (scores of a VJP, chains of a JVP,
// products of a Jacobian) and after it (difference, finalize). Each function enqueues one kernel.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/problem.h"

namespace perturb::cuda {

// row_state::bad
constexpr int32_t row_good = 0, row_not_finite = 1, row_refused = 2;  // not finite or out of range; a perturbed cost below the floor

// Bounds, scales and checks of every row, and the operand in fixed point.
cudaError_t launch_prepare(const problem& p, int multiprocessors, cudaStream_t stream);
// Marks the rows that have a perturbed cost below the grid's floor as bad.
cudaError_t launch_refuse_negative(const problem& p, int multiprocessors, cudaStream_t stream);
// JVP: <direction, S_m> of every sample, in fixed point.
cudaError_t launch_chains(const problem& p, int multiprocessors, cudaStream_t stream);
// VJP: adds weight * S and S of all samples to the words of every item.
cudaError_t launch_weighted_scores(const problem& p, int multiprocessors, cudaStream_t stream);
// Jacobian: adds y S, y and S of the samples first_of_run .. + run, whose y is in y_integers, to the words.
cudaError_t launch_products(const problem& p, int multiprocessors, cudaStream_t stream);
// LPGD and its family: the inputs of the two solves of every row, and the outputs from the words of both.
cudaError_t launch_shift(const problem& p, int multiprocessors, cudaStream_t stream);
cudaError_t launch_difference(const problem& p, int multiprocessors, cudaStream_t stream);
// Outputs from words.
cudaError_t launch_finalize(const problem& p, int multiprocessors, cudaStream_t stream);
// Whether each row is good, and how many of its perturbed costs are below the grid's floor; either may be null.
cudaError_t launch_row_status(const problem& p, int32_t* status, int64_t* clamped, int multiprocessors, cudaStream_t stream);
// z of all samples: [rows, samples, n].
cudaError_t launch_noise_fill(const problem& p, float* z, int multiprocessors, cudaStream_t stream);

}  // namespace perturb::cuda
