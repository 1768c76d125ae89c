// What the threads of one call share: the next unit, whose turn it is where units are chunks, and the first failure.
//
// Units are handed out in ascending order. Every unit before one that failed is therefore at work or done, and runs to its end: the
// failure that is reported is the lowest one, for any number of threads.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>

#include "custom/solver.h"

namespace perturb {

class progress {
 public:
  explicit progress(int64_t units) : units_(units), stop_(units) {}

  // The next unit, or -1 when there is nothing left to do.
  int64_t take() {
    const int64_t unit = next_.fetch_add(1, std::memory_order_relaxed);
    return unit < stop_.load(std::memory_order_relaxed) ? unit : -1;
  }
  // Whether an earlier unit failed, so that this one is for nothing.
  bool stopped(int64_t unit) const { return unit > stop_.load(std::memory_order_relaxed); }

  void fail(int64_t unit, const solver_failure& failure) {
    const std::lock_guard lock(mutex_);
    if (unit >= stop_.load(std::memory_order_relaxed)) return;
    stop_.store(unit, std::memory_order_relaxed);
    first_ = failure;
  }

  // Turns go by unit: after await(u), all that earlier units did in their turns is visible.
  void await(int64_t unit) const {
    for (int64_t now; (now = turn_.load(std::memory_order_acquire)) != unit;) turn_.wait(now, std::memory_order_acquire);
  }
  void pass(int64_t unit) {
    turn_.store(unit + 1, std::memory_order_release);
    turn_.notify_all();
  }

  // After all threads are done.
  bool failed() const { return stop_.load(std::memory_order_relaxed) < units_; }
  const solver_failure& first_failure() const { return first_; }

 private:
  const int64_t units_;
  std::atomic<int64_t> next_{0}, turn_{0};
  std::atomic<int64_t> stop_;  // the lowest unit that failed, else units
  std::mutex mutex_;
  solver_failure first_;
};

}  // namespace perturb
