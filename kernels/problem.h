// What every kernel is given: one slice of rows of a call, its device memory, and how the slice is cut into tasks. Passed by value
// (__grid_constant__), so that round keys and sizes are constant-bank operands.
#pragma once

#include <cstdint>

#include "call_part.h"
#include "math/resolve.h"
#include "math/sorted_values.h"
#include "perturb/perturb.h"

namespace perturb::cuda {

// Grid paths: source and target without sets.
struct grid_row {
  int32_t source, target;
  float scale;
};

// What the prepare kernel finds out about a row: a sector of 32 bytes that every kernel reads, and one for some estimators.
struct alignas(32) row_state {
  int32_t bad;  // not finite somewhere: its outputs are NaN, and no other kernel looks at it
  bool packed;  // ranks
  union {       // by oracle
    int32_t k;  // top-k
    grid_row grid;
    rank_map rank;  // and sorts
  };
  int64_t centre;  // of values or <g, y>: the unperturbed solution's
  union {          // by operation
    value_scales value;
    vjp_scales vjp;
    jvp_scales jvp;
    fenchel_young_scales fenchel_young;
    sorted_scales sorted;
    int spo_exponent;
  };
};
static_assert(sizeof(row_state) == 64);

// A grid_path oracle, on the device.
struct device_grid {
  const uint8_t* steps;     // masks of neighbours (src/grid.h)
  const uint8_t* passable;  // 0 or 1
  int32_t height, width;
  float diagonal_factor, cost_floor;
  bool count_source, refuse_negative;
  grid_ends ends;           // src/grid.h
  const grid_ends* rows;    // by row of the whole problem, or null
  const int32_t* sources;   // sets, ascending; null without
  const int32_t* targets;
  int32_t source_count, target_count;
};

// Sums over samples are added as two 64-bit words, so that no carry between atomics is needed: sum = high 2^32 + low.
constexpr int sums_per_row = 3, sum_words = 2 * sums_per_row;

struct problem {
  // The call.
  perturb_operation operation;
  oracle_kind oracle;
  int64_t n, m, k;
  const int32_t* row_k;  // top-k: by row of the whole problem, or null
  int64_t samples;
  bool descending, multiplicative;
  bool antithetic;  // samples 2 j and 2 j + 1 mirror each other
  centring baseline;
  bool silent;  // z = 0 in every item: the unperturbed solution
  int32_t base;
  float noise_sign;
  double loss_sign;
  distribution noise;
  float epsilon;                  // without sign
  const float* epsilon_per_item;  // [n] or null
  bool latin;                     // samples are strata: math/latin.h
  sum_of_gamma gamma;
  uint32_t first_row, first_sample;
  philox_keys keys;
  device_grid grid;
  resolve_options resolve;  // LPGD, I-MLE
  call_part part;

  // This slice: pointers to its first row.
  int64_t rows;
  int64_t call_rows;     // of the call: rows, or half of them where each is solved at two inputs
  const float* theta;    // [rows, n]
  const float* operand;  // [rows, m or n]
  const float* epsilon_per_row;  // [rows] or null
  float* output[4];

  // Noise that is read and not made: of samples first_of_z and on [rows, z_samples, n], or null; and its scores, or null.
  const float* z;
  const float* z_score;
  int64_t z_samples;
  uint32_t first_of_z;  // a sample's counter

  // Memory of the slice.
  row_state* state;          // [rows]
  int64_t* words;            // [rows, words_per_row]: the estimator's sums per item, then sum_words
  int64_t words_per_row;
  float* weights;            // [rows, samples] VJP
  float* direction;          // [rows, n] JVP
  int64_t* chains;           // [rows, samples] JVP
  int32_t* centre;           // [rows, m] JVP, Jacobian and LPGD: y*
  int64_t* sorted_centre;    // [rows, k] sorted values: the unperturbed ones, fixed point
  float* shifted;            // [2 rows, n] LPGD and its family: the inputs of the two solves
  float* tau;                // [rows] the same
  unsigned char* scratch;    // of the blocks of an oracle that keeps distances or keys in global memory
  int64_t scratch_per_block;

  // Where the y of samples goes, if anywhere: [rows, y_samples, m].
  float* y;
  int32_t* y_integers;
  int64_t y_samples;

  // Tasks: each row's samples [first_of_run, first_of_run + run) in chunks.
  int64_t first_of_run, run;
  int64_t chunk, chunks;
  bool shared_counts;     // counts of y fit shared memory
  bool shared_cotangent;  // and so the cotangent, where all of it is wanted
  bool with_scores;       // the estimator asks for scores or noise
  uint32_t oracle_shared; // bytes of dynamic shared memory before the oracle's

  const float* tau_scale;  // LPGD, I-MLE: what tau is multiplied by, or null
};

}  // namespace perturb::cuda
