// An accumulator: the integer sums of one estimate, kept between calls, and which samples are in them.
#pragma once

#include <cstdint>
#include <vector>

#include "backend.h"
#include "context.h"

namespace perturb {

// Samples [first, last).
struct sample_range {
  int64_t first, last;
};

// Disjoint ranges, ascending, none touching the next.
class sample_set {
 public:
  // The first sample that is in both, or -1.
  int64_t shared(const sample_range& range) const;
  void add(const sample_range& range);  // shares nothing with the set
  int64_t size() const;
  const std::vector<sample_range>& ranges() const { return ranges_; }

 private:
  std::vector<sample_range> ranges_;
};

}  // namespace perturb

struct perturb_accumulator {
  perturb_context* context = nullptr;
  perturb::call call;  // of the whole estimate, without arrays and samples
  uint64_t seed = 0;
  perturb::sample_set samples;
  int64_t words_per_row = 0;  // without a CUDA row's sum words
  int64_t stride = 0;         // words from row to row
  int64_t* words = nullptr;   // [batch, stride]; device memory on a CUDA context
  perturb::int128* sums = nullptr;  // [batch, 3] behind the words; CPU contexts
  int64_t word_count() const { return call.batch * stride; }
};
