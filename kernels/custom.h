// Calls with callbacks on the device: the kernels between the callbacks. Sums are those of src/custom: the same functions (custom/sums.h)
// in the same order, one thread per output entry of a chunk of samples.
#pragma once

#include <cuda_runtime_api.h>

#include "custom/sums.h"
#include "kernels/problem.h"

namespace perturb::cuda {

// Sums that no mean is subtracted from.
struct plain_sum {
  double a = 0.0, b = 0.0, c = 0.0;
  PERTURB_INLINE void join(const plain_sum& next, double, bool) {
    a += next.a;
    b += next.b;
    c += next.c;
  }
};
constexpr size_t largest_sum = 4 * sizeof(double);  // of plain_sum, moment_sum and covariance_sum

// The problems that are solved at a time, and their memory: samples first_sample .. + samples of rows first_row .. + rows. A tile is whole
// rows, or whole chunks of one row, or a part of one chunk. The problem beside it has the arrays of the whole call.
struct custom_tile {
  int64_t first_row, rows, first_sample, samples;
  int64_t chunks;  // of a row in the tile

  const float* inputs;                   // [batch, n] what is perturbed: theta, or an input of LPGD and its family
  float* theta;                          // [problems, n] what the solver is given; null: built-in
  float* noise;                          // [problems, n] z, or S where the call sums scores; null where neither is wanted
  float* y;                              // [problems, m]
  float* other;                          // [problems, m] the solution at the second input
  float* costs;                          // [problems]
  int64_t* row_numbers;                  // [problems]
  int64_t* clamped;                      // [rows] COST: perturbed costs below a grid's floor
  double* terms[2];                      // [problems] inner products of a sample; null where none is wanted
  unsigned char *chunk_sums, *row_sums;  // [rows * chunks, entries], [entries]

  // Of the whole call.
  int32_t* bad;        // [batch] rows whose outputs become NaN, and why (row_state::bad)
  float* staged[4];    // the outputs, until the call has succeeded
  float* hard;         // [batch, m] solutions without noise, or [batch] costs
  double* hard_terms;  // [batch] VJP: <cotangent, hard>
};

// Marks the rows whose inputs the CPU would refuse. Of LPGD and its family after launch_shift.
cudaError_t launch_examine(const problem& p, const custom_tile& t, int multiprocessors, cudaStream_t stream);
// theta and noise of the tile. Bad rows are handed to the solver as zeros.
cudaError_t launch_perturb(const problem& p, const custom_tile& t, int multiprocessors, cudaStream_t stream);
cudaError_t launch_number_rows(const problem& p, const custom_tile& t, int multiprocessors, cudaStream_t stream);
// Marks the rows that have an entry of values [problems, width] that is not finite, unless they are marked, with `why`, and makes it 0.
cudaError_t launch_settle(const custom_tile& t, float* values, int64_t width, int32_t why, int multiprocessors, cudaStream_t stream);
// perturb_context_set_row_status: adds the tile's clamped costs to those of its rows; what the rows of a call are told at its end. Either array may be null.
cudaError_t launch_add_clamped(const custom_tile& t, int64_t* clamped, int multiprocessors, cudaStream_t stream);
cudaError_t launch_tell_rows(const problem& p, const custom_tile& t, int32_t* status, int64_t* clamped, int multiprocessors, cudaStream_t stream);
// Inner products of every sample.
cudaError_t launch_terms(const problem& p, const custom_tile& t, int multiprocessors, cudaStream_t stream);
// Adds the tile's samples to the sums of their chunks, and finished chunks to their rows; rows that end here are staged. COST has two kinds
// of sums: moments [1] of the costs, and covariances [n] with the scores.
enum class custom_sums { plain, moments, covariances };
int64_t custom_entries(const problem& p, custom_sums kind, bool with_terms);
cudaError_t launch_sums(const problem& p, const custom_tile& t, custom_sums kind, int multiprocessors, cudaStream_t stream);
// The outputs, from what is staged; NaN in bad rows. SAMPLE has its outputs in place.
cudaError_t launch_publish(const problem& p, const custom_tile& t, int multiprocessors, cudaStream_t stream);

}  // namespace perturb::cuda
