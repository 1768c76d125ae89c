// Peak memory of one call as a function of the number of samples: it must not grow. Each call runs in a process of its own.
#pragma once

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "workloads.h"

namespace perturb::bench {

struct memory_growth {
  std::string name;
  int64_t few = 0, many = 0;       // samples
  long few_kib = 0, many_kib = 0;  // peak resident set
  double growth_mib() const { return static_cast<double>(many_kib - few_kib) / 1024; }
};

// The peak resident set of a child that makes one call, in KiB; -1 if it failed. Call it while this process is small: a child starts
// with its parent's pages.
inline long peak_of_call(const workload& w, bool vjp, int64_t samples) {
  int ends[2];
  if (pipe(ends) != 0) return -1;
  const pid_t child = fork();
  if (child < 0) return -1;
  if (child == 0) {
    perturb_noise noise = w.noise();
    noise.samples = samples;
    std::vector<float> out(w.c.n), cotangent(w.c.n, 0.5f);
    const test::context_ptr context = test::make_context(1);
    const perturb_status status =
        vjp ? perturb_vjp(context.get(), w.oracle.get(), &noise, 1, w.theta.data(), cotangent.data(), out.data())
            : perturb_expectation(context.get(), w.oracle.get(), &noise, 1, w.theta.data(), out.data(), nullptr, nullptr, nullptr);
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    const long peak = status == PERTURB_OK ? usage.ru_maxrss : -1;
    _exit(write(ends[1], &peak, sizeof peak) == sizeof peak ? 0 : 1);
  }
  long peak = -1;
  if (read(ends[0], &peak, sizeof peak) != sizeof peak) peak = -1;
  close(ends[0]);
  close(ends[1]);
  waitpid(child, nullptr, 0);
  return peak;
}

inline std::vector<memory_growth> measure_memory(const std::vector<workload>& all) {
  std::vector<memory_growth> results;
  for (const workload& w : all) {
    const bool chosen =
        w.slug == "rank/n:100" || w.slug == "argmax/n:1000" || w.slug == "top_k/n:1000/k:10" || w.slug == "path/12x12/epsilon:1";
    if (!chosen) continue;
    for (bool vjp : {false, true}) {
      if (vjp && w.slug != "rank/n:100") continue;
      memory_growth result{w.name + (vjp ? ", vjp" : ", expectation"), 1000, 1000000, 0, 0};
      result.few_kib = peak_of_call(w, vjp, result.few);
      result.many_kib = peak_of_call(w, vjp, result.many);
      if (result.few_kib < 0 || result.many_kib < 0) throw std::runtime_error("the memory measurement of " + result.name + " failed");
      results.push_back(result);
    }
  }
  return results;
}

}  // namespace perturb::bench
