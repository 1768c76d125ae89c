// How the problems of a call, [batch, samples] flattened, are divided: into units that threads take one after the other, and blocks of
// a unit that one callback solves.
//
// Chunks (sums.h) are part of the result's bits, so they depend on the samples alone; units and blocks are not, and suit threads and
// caches.
#pragma once

#include <algorithm>
#include <cstdint>

#include "backend.h"
#include "custom/sums.h"

namespace perturb {

constexpr int64_t block_limit = 128;       // problems of one callback: perturb.h promises it
constexpr int64_t block_floats = 1 << 17;  // of theta or of y in one callback, where one problem is not larger: scratch stays in cache

struct division {
  int64_t samples;  // of a row
  int64_t chunks;   // of a row
  bool in_turns;    // units are chunks, which threads add to their row in turn; else whole rows
  int64_t rows;     // of a unit, where units are rows
  int64_t block;    // problems of a callback, at most
  int64_t units;
  int64_t batch;
  int threads;
  int most_threads;  // of this call, and of any part of its rows

  struct range {
    int64_t first, last;
  };

  division(const call& c, int pool_size) : samples(c.samples), batch(c.batch) {
    chunks = (samples + chunk_samples - 1) / chunk_samples;
    const bool safe = (!c.oracle->custom || c.oracle->custom->thread_safe) && (!c.cost || c.cost->thread_safe);
    const int64_t wanted = safe ? pool_size : 1;
    // Taking turns costs waiting where a thread is late. With rows enough for everyone nobody has to.
    in_turns = chunks > 1 && wanted > 1 && batch < 4 * wanted;
    rows = std::clamp<int64_t>((batch + wanted - 1) / wanted, 1, std::max<int64_t>(1, block_limit / samples));
    units = in_turns ? batch * chunks : (batch + rows - 1) / rows;
    block = std::clamp<int64_t>(block_floats / std::max(c.n(), c.m()), 1, block_limit);
    threads = (int)std::min(wanted, units);
    most_threads = (int)std::min(wanted, in_turns ? units : batch);
  }

  range problems(int64_t unit) const {
    if (!in_turns) return {unit * rows * samples, std::min((unit + 1) * rows, batch) * samples};
    const int64_t row = unit / chunks, chunk = unit % chunks;
    return {row * samples + chunk * chunk_samples, row * samples + std::min((chunk + 1) * chunk_samples, samples)};
  }
};

}  // namespace perturb
