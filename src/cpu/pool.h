// A small thread pool of one context: run(f) calls f(0) on the caller and f(1)..f(size-1) on workers, and returns when all are done.
//
// Shares are static, so results never depend on scheduling. One run at a time: a context is used by one thread at a time.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>

namespace perturb {

class pool {
 public:
  // `workers` is memory for size - 1 threads, lent by the owner.
  pool(int size, std::thread* workers);
  ~pool();
  pool(const pool&) = delete;
  pool& operator=(const pool&) = delete;

  int size() const { return size_; }

  // f: void(int) noexcept; only the first `threads` of the pool take part.
  template <class F>
  void run(int threads, const F& f) {
    if (threads <= 1) return f(0);
    start([](const void* object, int thread) { (*static_cast<const F*>(object))(thread); }, &f, threads);
    f(0);
    wait();
  }

 private:
  using job = void (*)(const void*, int);
  void start(job function, const void* object, int threads);
  void wait();
  void work(int thread);

  int size_;
  std::thread* workers_;
  int started_ = 0;
  std::atomic<uint32_t> generation_{0};  // counts jobs; workers wait on it
  std::atomic<uint32_t> running_{0};     // workers not yet done with the job
  std::atomic<bool> stopping_{false};
  job function_ = nullptr;
  const void* object_ = nullptr;
  int threads_ = 0;
};

}  // namespace perturb
