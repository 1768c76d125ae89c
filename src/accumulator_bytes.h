// The saved form of an accumulator: little-endian, versioned, checked on reading (docs/determinism.md, "Accumulators").
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "accumulator.h"

namespace perturb {

// The sums of all rows in the order of the file: the row's words, then its three sums over items as low and high halves.
constexpr int saved_sum_words = 6;

// A number of the file.
uint64_t word_at(const unsigned char* bytes);

size_t saved_size(const perturb_accumulator& a);
// rows: batch * (words_per_row + saved_sum_words) words.
void write_accumulator(const perturb_accumulator& a, const int64_t* rows, void* bytes);

// Whether both are of one estimate; names the first difference.
perturb_status check_same_estimate(const perturb_accumulator& a, const perturb_accumulator& other);

// What a file holds of the same estimate as `a`; names the first difference otherwise.
struct saved_accumulator {
  std::vector<sample_range> ranges;
  const unsigned char* rows;
};
perturb_status read_accumulator(const perturb_accumulator& a, const void* bytes, size_t size, saved_accumulator& saved);

}  // namespace perturb
