// Work of equal items on the CPU, divided over as many of a context's threads as are worth waking for it.
#pragma once

#include <algorithm>
#include <cstdint>

#include "context.h"
#include "cpu/float_mode.h"

namespace perturb {

class shares {
 public:
  // cost: of an item, in additions or so.
  shares(const perturb_context& context, int64_t items, double cost) : items_(items) {
    constexpr double smallest = 1 << 16;
    const double worth = std::max((double)items * cost / smallest, 1.0);
    count_ = (int)std::min({(double)context.pool->size(), (double)items, worth});
  }

  int count() const { return count_; }

  // f(share, first, last) for each, on its thread.
  template <class F>
  void run(perturb_context& context, F&& f) const {
    context.pool->run(count_, [&](int share) {
      const float_mode mode;
      f(share, edge(share), edge(share + 1));
    });
  }

 private:
  int64_t edge(int share) const { return items_ / count_ * share + items_ % count_ * share / count_; }

  int64_t items_;
  int count_;
};

}  // namespace perturb
