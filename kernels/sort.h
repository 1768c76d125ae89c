// Sorts: passes over the ranks of the samples first_of_run .. + run, which are in y_integers [rows, y_samples, n]. Each function enqueues one kernel.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/problem.h"

namespace perturb::cuda {

// y of the samples to y [rows, samples, m]; of the unperturbed one to the centre. Both are clear before.
cudaError_t launch_sort_solutions(const problem& p, int multiprocessors, cudaStream_t stream);
cudaError_t launch_sort_centre(const problem& p, int multiprocessors, cudaStream_t stream);
// Expectation: adds y to the words.
cudaError_t launch_sort_counts(const problem& p, int multiprocessors, cudaStream_t stream);
// VJP: the samples' weights; silent: the centre of <g, y>.
cudaError_t launch_sort_inner(const problem& p, int multiprocessors, cudaStream_t stream);
// JVP: adds y, and y times the halves of the chains.
cudaError_t launch_sort_scaled(const problem& p, int multiprocessors, cudaStream_t stream);
// Jacobian: adds y S, y and S.
cudaError_t launch_sort_products(const problem& p, int multiprocessors, cudaStream_t stream);
// Sorted values: adds the samples' scores at their positions; silent: the unperturbed ones to sorted_centre.
cudaError_t launch_sorted_values(const problem& p, int multiprocessors, cudaStream_t stream);
// Adds the cotangents at the items' positions.
cudaError_t launch_sorted_gradient(const problem& p, int multiprocessors, cudaStream_t stream);

}  // namespace perturb::cuda
