// How many times faster than the baselines, and how much two threads bring: ratios of calls that alternate (baseline, one thread, two
// threads, baseline, ...) in one process, so that a machine whose speed drifts slows all three alike. Judged against the targets.
//
//   bench_ratios [--check] [--json FILE] [--pairs N] [--filter TEXT]
#include <algorithm>
#include <cinttypes>
#include <iostream>

#include "baselines.h"
#include "machine.h"
#include "memory.h"

namespace perturb::bench {
namespace {

constexpr double two_thread_target = 1.8;
constexpr double memory_target_mib = 2;
constexpr double idle_processors = 1.9;  // with fewer free, two threads cannot show their speedup by the clock

struct options {
  bool check = false;
  std::string json, filter;
  int pairs = 9;
};

// The time of one call, per problem: on the clock, and on the processor of the thread that used most of it.
struct timing {
  double wall = 0, cpu = 0;
};

template <class F>
timing time_call(int64_t problems, F&& call) {
  const std::map<int, double> before = thread_seconds();
  const double start = wall_seconds();
  call();
  const double wall = wall_seconds() - start;
  double longest = 0;
  for (const auto& [thread, seconds] : thread_seconds()) {
    const auto found = before.find(thread);
    longest = std::max(longest, seconds - (found == before.end() ? 0 : found->second));
  }
  return {wall / static_cast<double>(problems), longest / static_cast<double>(problems)};
}

struct spread {
  double median = 0, min = 0, max = 0;
};

spread spread_of(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t n = values.size();
  return {(values[(n - 1) / 2] + values[n / 2]) / 2, values.front(), values.back()};
}

struct result {
  const workload* w = nullptr;
  double processors = 0;                     // free for two threads while this was measured
  spread baseline_seconds, library_seconds;  // wall, per problem
  spread speedup, speedup_cpu;               // baseline / one thread
  spread two_threads, two_threads_cpu;       // one thread / two threads

  std::string speedup_verdict() const { return verdict(speedup, speedup_cpu, w->target); }
  // Two threads on a machine that is not theirs alone wait for processors; the longer thread's processor time leaves that out.
  std::string two_threads_verdict() const { return verdict(two_threads, two_threads_cpu, w->target > 0 ? two_thread_target : 0); }

 private:
  std::string verdict(const spread& wall, const spread& cpu, double target) const {
    if (target == 0) return "";
    if (wall.median >= target) return "met";
    return processors < idle_processors && cpu.median >= target ? "met (processor time)" : "MISSED";
  }
};

result measure(const workload& w, int pairs) {
  const perturb_noise noise = w.noise();
  std::vector<float> y(w.theta.size());
  const test::context_ptr one = test::make_context(1), two = test::make_context(2);
  const auto library = [&](const test::context_ptr& context) {
    return time_call(w.problems(), [&] {
      test::require(
          perturb_expectation(context.get(), w.oracle.get(), &noise, w.c.batch, w.theta.data(), y.data(), nullptr, nullptr, nullptr));
    });
  };
  const auto baseline = [&](uint64_t seed) {
    return time_call(w.c.batch * w.baseline_samples, [&] { run_baseline(w, w.c.batch, w.baseline_samples, seed, y.data()); });
  };
  baseline(0), library(one), library(two);  // warm up
  const double processors = free_processors(0.1);
  std::vector<double> naive, fast, speedup, speedup_cpu, threads, threads_cpu;
  for (int pair = 0; pair < pairs; ++pair) {
    const timing a = baseline(1 + pair), b = library(one), c = library(two);
    naive.push_back(a.wall);
    fast.push_back(b.wall);
    speedup.push_back(a.wall / b.wall);
    speedup_cpu.push_back(a.cpu / b.cpu);
    threads.push_back(b.wall / c.wall);
    threads_cpu.push_back(b.cpu / c.cpu);
  }
  return {&w,
          std::min(processors, free_processors(0.1)),
          spread_of(naive),
          spread_of(fast),
          spread_of(speedup),
          spread_of(speedup_cpu),
          spread_of(threads),
          spread_of(threads_cpu)};
}

// ---------------------------------------------------------------- output

std::string number(double value, int digits) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}
std::string with_range(const spread& s, int digits) {
  return number(s.median, digits) + " (" + number(s.min, digits) + " to " + number(s.max, digits) + ")";
}
std::string microseconds(double seconds) { return number(seconds * 1e6, seconds < 1e-6 ? 3 : seconds < 1e-4 ? 2 : 1); }

void print_tables(const std::vector<result>& results, const std::vector<memory_growth>& memory) {
  for (const auto& [key, value] : machine()) std::cout << "- " << key << ": " << value << "\n";
  std::cout << "\n| workload | baseline us | library us | ns per item | speedup (range) | by processor time | target | |\n"
               "|---|---:|---:|---:|---:|---:|---:|---|\n";
  for (const result& r : results)
    std::cout << "| " << r.w->name << " | " << microseconds(r.baseline_seconds.median) << " | " << microseconds(r.library_seconds.median)
              << " | " << number(r.library_seconds.median * 1e9 / static_cast<double>(r.w->c.n), 2) << " | " << with_range(r.speedup, 1)
              << " | " << number(r.speedup_cpu.median, 1) << " | " << (r.w->target ? number(r.w->target, 0) : "") << " | "
              << r.speedup_verdict() << " |\n";
  std::cout << "\n| workload | two threads against one (range) | by processor time | processors free | target | "
               "|\n|---|---:|---:|---:|---:|---|\n";
  for (const result& r : results)
    std::cout << "| " << r.w->name << " | " << with_range(r.two_threads, 2) << " | " << number(r.two_threads_cpu.median, 2) << " | "
              << number(r.processors, 2) << " | " << (r.w->target ? number(two_thread_target, 1) : "") << " | " << r.two_threads_verdict()
              << " |\n";
  std::cout << "\n| peak memory | 10^3 samples, MiB | 10^6 samples, MiB | growth, MiB | target | |\n|---|---:|---:|---:|---:|---|\n";
  for (const memory_growth& m : memory)
    std::cout << "| " << m.name << " | " << number(static_cast<double>(m.few_kib) / 1024, 2) << " | "
              << number(static_cast<double>(m.many_kib) / 1024, 2) << " | " << number(m.growth_mib(), 2) << " | "
              << number(memory_target_mib, 0) << " | " << (m.growth_mib() <= memory_target_mib ? "met" : "MISSED") << " |\n";
  std::cout << std::flush;
}

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + "\"";
}
std::string json_spread(const spread& s) {
  char text[128];
  std::snprintf(text, sizeof text, "{\"median\": %.9g, \"min\": %.9g, \"max\": %.9g}", s.median, s.min, s.max);
  return text;
}

void write_json(const options& chosen, const std::vector<result>& results, const std::vector<memory_growth>& memory) {
  std::ofstream file(chosen.json);
  file << "{\n  \"format\": \"perturb ratios 1\",\n  \"machine\": {";
  const char* comma = "";
  for (const auto& [key, value] : machine()) file << std::exchange(comma, ", ") << quoted(key) << ": " << quoted(value);
  file << "},\n  \"pairs\": " << chosen.pairs << ",\n  \"results\": [";
  comma = "\n";
  for (const result& r : results) {
    file << std::exchange(comma, ",\n") << "    {\"name\": " << quoted(r.w->name) << ", \"items\": " << r.w->c.n
         << ", \"batch\": " << r.w->c.batch << ", \"samples\": " << r.w->c.samples << ", \"epsilon\": " << r.w->c.epsilon
         << ",\n     \"baseline_seconds_per_problem\": " << json_spread(r.baseline_seconds)
         << ", \"library_seconds_per_problem\": " << json_spread(r.library_seconds) << ",\n     \"speedup\": " << json_spread(r.speedup)
         << ", \"speedup_cpu\": " << json_spread(r.speedup_cpu) << ", \"speedup_target\": " << r.w->target
         << ", \"speedup_verdict\": " << quoted(r.speedup_verdict()) << ",\n     \"free_processors\": " << r.processors
         << ", \"two_threads\": " << json_spread(r.two_threads) << ", \"two_threads_cpu\": " << json_spread(r.two_threads_cpu)
         << ", \"two_threads_verdict\": " << quoted(r.two_threads_verdict()) << "}";
  }
  file << "\n  ],\n  \"memory\": [";
  comma = "\n";
  for (const memory_growth& m : memory)
    file << std::exchange(comma, ",\n") << "    {\"name\": " << quoted(m.name) << ", \"few_samples\": " << m.few
         << ", \"many_samples\": " << m.many << ", \"few_kib\": " << m.few_kib << ", \"many_kib\": " << m.many_kib << "}";
  file << "\n  ]\n}\n";
  if (!file.flush()) throw std::runtime_error("cannot write " + chosen.json);
}

options parse(int argc, char** argv) {
  options chosen;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    const auto next = [&]() -> std::string {
      if (i + 1 >= argc) throw std::runtime_error(word + " needs a value");
      return argv[++i];
    };
    if (word == "--check") {
      chosen.check = true;
    } else if (word == "--json") {
      chosen.json = next();
    } else if (word == "--filter") {
      chosen.filter = next();
    } else if (word == "--pairs") {
      chosen.pairs = std::atoi(next().c_str());
      if (chosen.pairs < 1 || chosen.pairs > 10000) throw std::runtime_error("--pairs needs a number from 1 to 10000");
    } else {
      throw std::runtime_error("unknown argument " + word + "\nusage: bench_ratios [--check] [--json FILE] [--pairs N] [--filter TEXT]");
    }
  }
  return chosen;
}

int run(const options& chosen) {
  std::vector<workload> all = workloads();
  std::erase_if(all, [&](const workload& w) { return w.name.find(chosen.filter) == std::string::npos; });
  if (all.empty()) throw std::runtime_error("no workload has \"" + chosen.filter + "\" in its name");
  const std::vector<memory_growth> memory = measure_memory(all);  // first: children start with our pages
  for (const workload& w : all)
    if (const std::string text = disagreement(w); !text.empty())
      throw std::runtime_error("library and baseline disagree, nothing was timed. " + text);
  std::vector<result> results;
  for (const workload& w : all) {
    std::cerr << w.name << "\n";
    results.push_back(measure(w, chosen.pairs));
  }
  print_tables(results, memory);
  if (!chosen.json.empty()) write_json(chosen, results, memory);

  int missed = 0;
  for (const result& r : results) missed += (r.speedup_verdict() == "MISSED") + (r.two_threads_verdict() == "MISSED");
  for (const memory_growth& m : memory) missed += m.growth_mib() > memory_target_mib;
  std::cout << "\n" << (missed ? "targets MISSED: " + std::to_string(missed) : "every target met") << "\n";
  return chosen.check && missed ? 1 : 0;
}

}  // namespace
}  // namespace perturb::bench

int main(int argc, char** argv) try { return perturb::bench::run(perturb::bench::parse(argc, argv)); } catch (const std::exception& error) {
  std::cerr << "bench_ratios: " << error.what() << "\n";
  return 2;
}
