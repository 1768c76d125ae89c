// A small thread pool: workers sleep on a generation counter (a futex through std::atomic::wait).
#include "cpu/pool.h"

#include <new>

namespace perturb {

pool::pool(int size, std::thread* workers) : size_(size), workers_(workers) {
  try {
    for (; started_ < size_ - 1; ++started_) new (&workers_[started_]) std::thread([this, thread = started_ + 1] { work(thread); });
  } catch (...) {
    this->~pool();
    throw;
  }
}

pool::~pool() {
  stopping_.store(true, std::memory_order_relaxed);
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  for (int i = 0; i < started_; ++i) {
    workers_[i].join();
    workers_[i].~thread();
  }
  started_ = 0;
}

void pool::start(job function, const void* object, int threads) {
  function_ = function;
  object_ = object;
  threads_ = threads;
  running_.store((uint32_t)(size_ - 1), std::memory_order_relaxed);
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
}

void pool::wait() {
  for (uint32_t left; (left = running_.load(std::memory_order_acquire)) != 0;) running_.wait(left, std::memory_order_acquire);
}

void pool::work(int thread) {
  uint32_t seen = 0;
  for (;;) {
    generation_.wait(seen, std::memory_order_acquire);
    seen = generation_.load(std::memory_order_acquire);
    if (stopping_.load(std::memory_order_relaxed)) return;
    if (thread < threads_) function_(object_, thread);
    if (running_.fetch_sub(1, std::memory_order_acq_rel) == 1) running_.notify_one();
  }
}

}  // namespace perturb
