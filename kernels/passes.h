// The kernels that are the same for every oracle: before the engine's run (prepare, shift), beside it (scores of a VJP, chains of a JVP,
// products of a Jacobian) and after it (difference, finalize). Each function enqueues one kernel.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/problem.h"

namespace perturb::cuda {

// row_state::bad
constexpr int32_t row_good = 0, row_not_finite = 1, row_refused = 2;  // not finite or out of range; a perturbed cost below the floor
constexpr int32_t row_of_callback = 3;  // a solver or cost function of the caller's left an entry that is not finite
static PERTURB_INLINE perturb_status status_of(int32_t bad) {
  return bad == row_good ? PERTURB_OK : bad == row_not_finite ? PERTURB_ERROR_NON_FINITE : bad == row_refused ? PERTURB_ERROR_INVALID_ARGUMENT : PERTURB_ERROR_CALLBACK;
}

// Bounds, scales and checks of every row, and the operand in fixed point.
cudaError_t launch_prepare(const problem& p, int multiprocessors, cudaStream_t stream);
// Marks the rows that have a perturbed cost below the grid's floor in a sample of the run as bad.
cudaError_t launch_refuse_negative(const problem& p, int multiprocessors, cudaStream_t stream);
// z [rows, z_samples, n] and z_score, where it is wanted, of the run's samples: Latin or sum-of-gamma noise.
cudaError_t launch_special_noise(const problem& p, int multiprocessors, cudaStream_t stream);
// Marks the rows whose given noise or scores are out of range as bad.
cudaError_t launch_check_given(const problem& p, int multiprocessors, cudaStream_t stream);
// JVP: <direction, S_m> of every sample of the run, in fixed point.
cudaError_t launch_chains(const problem& p, int multiprocessors, cudaStream_t stream);
// VJP: adds weight * S and S of the run's samples to the words of every item; VJP_EPSILON: of T.
cudaError_t launch_weighted_scores(const problem& p, int multiprocessors, cudaStream_t stream);
// Jacobian: adds y S, y and S of the run's samples, whose y is in y_integers, to the words.
cudaError_t launch_products(const problem& p, int multiprocessors, cudaStream_t stream);
// Covariance: adds the products of y_i y_j, i <= j, and y of the samples whose y is in y_integers, to the words.
cudaError_t launch_covariance_sums(const problem& p, int multiprocessors, cudaStream_t stream);
// LPGD and its family: the inputs of the two solves of every row, and the outputs from the words of both.
cudaError_t launch_shift(const problem& p, int multiprocessors, cudaStream_t stream);
cudaError_t launch_difference(const problem& p, int multiprocessors, cudaStream_t stream);
// Outputs from words.
cudaError_t launch_finalize(const problem& p, int multiprocessors, cudaStream_t stream);
// Whether each row is good; clamped, if not null, becomes 0.
cudaError_t launch_row_status(const problem& p, int32_t* status, int64_t* clamped, int multiprocessors, cudaStream_t stream);
// Adds how many perturbed costs of the run's samples are below the grid's floor.
cudaError_t launch_count_clamped(const problem& p, int64_t* clamped, int multiprocessors, cudaStream_t stream);
// The same of the operations whose outputs join words of several items.
cudaError_t launch_covariance_results(const problem& p, int multiprocessors, cudaStream_t stream);
cudaError_t launch_vjp_epsilon_results(const problem& p, int multiprocessors, cudaStream_t stream);
// z of all samples, of noise made of words: [rows, samples, n].
cudaError_t launch_noise_fill(const problem& p, float* z, int multiprocessors, cudaStream_t stream);

}  // namespace perturb::cuda
