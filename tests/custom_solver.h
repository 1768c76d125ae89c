// Solvers of the caller's for the tests: a function of one problem behind perturb_solver, which watches how it is called, and twins of
// the library's own oracles.
#pragma once

#include <functional>
#include <thread>

#include "cases.h"
#include "operations.h"
#include "reference/argmax.h"
#include "reference/rank.h"
#include "reference/top_k.h"

namespace perturb::test {

// What a custom oracle offers.
inline constexpr perturb_operation custom_operations[] = {PERTURB_OP_SOLVE,    PERTURB_OP_SAMPLE,        PERTURB_OP_EXPECTATION, PERTURB_OP_VJP,  PERTURB_OP_JVP,
                                                          PERTURB_OP_JACOBIAN, PERTURB_OP_FENCHEL_YOUNG, PERTURB_OP_LPGD,        PERTURB_OP_IMLE, PERTURB_OP_SPO_PLUS};

using one_solver = std::function<void(const float* theta, float* y)>;

// Must outlive its oracle. What it saw may be read when no call is running.
class watched_solver {
 public:
  std::atomic<int64_t> calls{0}, problems{0}, largest{0};
  std::atomic<int> most_at_once{0};
  std::atomic<bool> off_thread{false};  // called on a thread other than the one that made it
  std::atomic<bool> bad_arguments{false};
  std::function<int32_t(int64_t count, const float* theta, float* y)> instead;  // of `one`, where set: all problems of a call

  watched_solver(int64_t n, int64_t m, one_solver one, perturb_sense sense = PERTURB_MAXIMIZE)
      : n_(n), m_(m), sense_(sense), one_(std::move(one)) {}

  oracle_ptr oracle(bool thread_safe = true) {
    perturb_custom_options options = PERTURB_CUSTOM_OPTIONS_INIT;
    options.n = n_;
    options.m = m_;
    options.sense = sense_;
    options.solve = solve;
    options.user = this;
    options.thread_safe = thread_safe;
    return make_custom(options);
  }
  void forget() {
    calls = problems = largest = 0;
    most_at_once = 0;
    off_thread = bad_arguments = false;
  }

 private:
  int64_t n_, m_;
  perturb_sense sense_;
  one_solver one_;
  std::atomic<int> inside_{0};
  std::thread::id owner_ = std::this_thread::get_id();

  template <class T>
  static void raise(std::atomic<T>& most, T value) {
    for (T now = most; now < value && !most.compare_exchange_weak(now, value);) {
    }
  }
  struct visit {
    watched_solver& of;
    explicit visit(watched_solver& solver) : of(solver) { raise(of.most_at_once, ++of.inside_); }
    ~visit() { --of.inside_; }
  };
  static int32_t solve(int64_t count, const float* theta, float* y, void* stream, void* user) {
    watched_solver& self = *static_cast<watched_solver*>(user);
    const visit inside(self);
    ++self.calls;
    self.problems += count;
    raise(self.largest, count);
    if (std::this_thread::get_id() != self.owner_) self.off_thread = true;
    if (count < 1 || !theta || !y || stream) self.bad_arguments = true;
    if (self.instead) return self.instead(count, theta, y);
    for (int64_t k = 0; k < count; ++k) self.one_(theta + k * self.n_, y + k * self.m_);
    return 0;
  }
};

// The built-in oracle of a case as a solver of the caller's. Not for grids.
inline one_solver twin_of(const test_case& c) {
  return [c](const float* theta, float* y) {
    if (c.oracle == oracle_kind::argmax) {
      const std::vector<double> best = reference::argmax(std::vector<double>(theta, theta + c.n));
      std::copy(best.begin(), best.end(), y);
    } else {
      const std::vector<float> solved = c.oracle == oracle_kind::top_k ? reference::top_k_sorted(theta, c.n, c.k)
                                                                       : reference::rank_sorted(theta, c.n, c.descending != 0, c.base);
      std::copy(solved.begin(), solved.end(), y);
    }
  };
}

// y is neither an integer nor optimal, and every entry depends on every item: sums in another order have other bits.
inline one_solver smooth_solver(int64_t n, int64_t m) {
  return [n, m](const float* theta, float* y) {
    for (int64_t i = 0; i < m; ++i) {
      double sum = 0;
      for (int64_t j = 0; j < n; ++j) sum += std::sin(static_cast<double>(i + 1) * theta[j] + static_cast<double>(j));
      y[i] = static_cast<float>(sum);
    }
  };
}

// A cheap solver for large n, with sums in a fixed order like any other.
inline one_solver solver_for(int64_t n) {
  if (n < 100) return smooth_solver(n, n);
  return [n](const float* theta, float* y) {
    for (int64_t i = 0; i < n; ++i) y[i] = 0.7f * theta[i] * theta[(i * 7 + 1) % n];
  };
}

// A case for such solvers.
inline test_case shape(int64_t n, int64_t batch, int64_t samples) {
  test_case c;
  c.n = n;
  c.batch = batch;
  c.samples = samples;
  c.distribution = PERTURB_GUMBEL;
  c.per_item = true;
  c.prox = false;
  c.seed = static_cast<uint64_t>(n + batch + samples);
  c.baseline = static_cast<perturb_baseline>((batch + samples) % 3);
  c.name = "n " + std::to_string(n) + " batch " + std::to_string(batch) + " samples " + std::to_string(samples);
  return c;
}

}  // namespace perturb::test
