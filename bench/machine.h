// What a figure depends on besides the library: processor, load, compiler, instruction set, date. And clocks of single threads. Linux.
#pragma once

#include <time.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "../tests/support.h"

namespace perturb::bench {

inline std::string cpu_model() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);)
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
  return "unknown";
}

inline std::string compiler() {
#if defined(__clang__)
  return "clang " __clang_version__;
#else
  return "gcc " __VERSION__;
#endif
}

// The one that contexts of this process run on: PERTURB_ISA, or the best there is.
inline std::string instruction_set() {
  const char* forced = std::getenv("PERTURB_ISA");
  if (forced && *forced) return forced;
  for (const char* isa : {"avx512", "avx2"})
    if (test::make_context_on(isa, 1)) return isa;
  return "scalar";
}

inline std::string date() {
  const std::time_t now = std::time(nullptr);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%d %H:%M UTC", std::gmtime(&now));
  return text;
}

inline std::string load_average() {
  double load[1] = {0};
  if (getloadavg(load, 1) != 1) return "unknown";
  char text[32];
  std::snprintf(text, sizeof text, "%.2f", load[0]);
  return text;
}

inline std::string library_version() {
  const uint32_t v = perturb_version();
  return std::to_string(v / 10000) + "." + std::to_string(v / 100 % 100) + "." + std::to_string(v % 100);
}

// In the order in which tables and JSON files show it.
inline std::vector<std::pair<std::string, std::string>> machine() {
  return {{"cpu", cpu_model()},
          {"processors", std::to_string(std::thread::hardware_concurrency())},
          {"load_average", load_average()},
          {"instruction_set", instruction_set()},
          {"compiler", compiler()},
          {"library_version", library_version()},
          {"date", date()}};
}

inline double wall_seconds() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

// Processor seconds of each thread of this process so far. The kernel's encoding of "the CPU clock of thread tid".
inline std::map<int, double> thread_seconds() {
  std::map<int, double> seconds;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/task")) {
    const int tid = std::atoi(entry.path().filename().c_str());
    timespec t;
    if (clock_gettime(static_cast<clockid_t>(~static_cast<unsigned>(tid) << 3 | 6u), &t) == 0)
      seconds[tid] = static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
  }
  return seconds;
}

// Processors that two busy threads of this process get, over `seconds`: 2 on an idle machine, less where others work or a hypervisor
// takes its share. Then no program gains what a second thread could bring.
inline double free_processors(double seconds) {
  const auto spin = [&](double& used) {
    const auto own = [] {
      timespec t;
      clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
      return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
    };
    const double start = wall_seconds(), before = own();
    while (wall_seconds() - start < seconds) {
    }
    used = (own() - before) / (wall_seconds() - start);
  };
  double first = 0, second = 0;
  std::thread other([&] { spin(second); });
  spin(first);
  other.join();
  return first + second;
}

}  // namespace perturb::bench
