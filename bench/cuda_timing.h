// What the programs that time CUDA calls share: arrays on the device, times by events, results as a table and as JSON.
#pragma once

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <functional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace perturb::bench {

inline void require(cudaError_t error) {
  if (error != cudaSuccess) throw std::runtime_error(std::string("CUDA: ") + cudaGetErrorString(error));
}

template <class T>
class device_array {
 public:
  explicit device_array(size_t count) : count_(count) {
    require(cudaMalloc(reinterpret_cast<void**>(&memory_), std::max<size_t>(count, 1) * sizeof(T)));
  }
  explicit device_array(const std::vector<T>& values) : device_array(values.size()) {
    require(cudaMemcpy(memory_, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice));
  }
  ~device_array() { (void)cudaFree(memory_); }
  device_array(const device_array&) = delete;
  device_array& operator=(const device_array&) = delete;
  T* get() const { return memory_; }
  std::vector<T> values() const {
    std::vector<T> copy(count_);
    require(cudaMemcpy(copy.data(), memory_, count_ * sizeof(T), cudaMemcpyDeviceToHost));
    return copy;
  }

 private:
  T* memory_ = nullptr;
  size_t count_;
};

struct extent {
  int64_t batch, samples;
  double share_of(extent whole) const { return static_cast<double>(batch * samples) / static_cast<double>(whole.batch * whole.samples); }
};

struct timing {
  double median = 0, low = 0, high = 0;  // microseconds; low and high leave out a tenth at either end
  int repetitions = 0;
};

inline timing measure(cudaStream_t stream, const std::function<void()>& run) {
  constexpr double enough_us = 5e5;
  constexpr int most = 200, least = 10;
  cudaEvent_t before, after;
  require(cudaEventCreate(&before));
  require(cudaEventCreate(&after));
  std::vector<double> times;
  double total = 0;
  for (int i = -3; i < most && (i < least || total < enough_us); ++i) {
    require(cudaEventRecord(before, stream));
    run();
    require(cudaEventRecord(after, stream));
    require(cudaEventSynchronize(after));
    float ms = 0;
    require(cudaEventElapsedTime(&ms, before, after));
    if (i < 0) continue;  // to warm up
    times.push_back(1e3 * ms);
    total += 1e3 * ms;
  }
  require(cudaEventDestroy(before));
  require(cudaEventDestroy(after));
  std::sort(times.begin(), times.end());
  const size_t last = times.size() - 1;
  return {times[times.size() / 2], times[last / 10], times[last - last / 10], static_cast<int>(times.size())};
}

// The same as one graph launch; no repetitions where it cannot be captured.
inline timing measure_graph(cudaStream_t stream, const std::function<void()>& run) {
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t launchable = nullptr;
  bool captured = cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess;
  try {
    run();
  } catch (const std::exception&) {
    captured = false;  // the usual way's sort waits for the device
  }
  captured = cudaStreamEndCapture(stream, &graph) == cudaSuccess && captured && graph;
  captured = captured && cudaGraphInstantiate(&launchable, graph, 0) == cudaSuccess;
  (void)cudaGetLastError();
  timing t;
  if (captured) t = measure(stream, [&] { require(cudaGraphLaunch(launchable, stream)); });
  if (launchable) (void)cudaGraphExecDestroy(launchable);
  if (graph) (void)cudaGraphDestroy(graph);
  return t;
}

// Of one call of `size.batch` x `size.samples` problems of n items, in place of one of `full`.
struct result {
  std::string name, way;
  int64_t n = 0, k = 0;
  extent size = {}, full = {};
  int64_t compulsory_bytes = 0, buffer_bytes = 0;
  timing plain, graph;

  // As the stream runs it, and as a graph; emulated, once and untimed.
  void time(cudaStream_t stream, bool emulated, const std::function<void()>& run) {
    if (emulated) {
      run();
      require(cudaStreamSynchronize(stream));
    } else {
      plain = measure(stream, run);
      graph = measure_graph(stream, run);
    }
  }
};

inline std::string json_of(const result& r) {
  std::ostringstream out;
  out.precision(9);
  const auto time = [&](const char* key, const timing& t) {
    if (t.repetitions)
      out << ", \"" << key << "\": {\"median\": " << t.median << ", \"low\": " << t.low << ", \"high\": " << t.high
          << ", \"repetitions\": " << t.repetitions << "}";
  };
  out << "{\"name\": \"" << r.name << "\", \"way\": \"" << r.way << "\", \"n\": " << r.n << ", \"k\": " << r.k
      << ", \"batch\": " << r.size.batch << ", \"samples\": " << r.size.samples << ", \"full_batch\": " << r.full.batch
      << ", \"full_samples\": " << r.full.samples << ", \"compulsory_bytes\": " << r.compulsory_bytes
      << ", \"buffer_bytes\": " << r.buffer_bytes;
  time("microseconds", r.plain);
  time("graph_microseconds", r.graph);
  out << "}";
  return out.str();
}

inline void print_header() {
  std::printf("%-34s %-6s %11s %23s %11s %11s %11s %8s %8s\n", "workload", "way", "median us", "middle 80%", "graph us", "problems/s",
              "items/s", "GB/s", "speedup");
}

inline void print_row(const result& r, double ours) {
  const double seconds = r.plain.median * 1e-6, problems = static_cast<double>(r.size.batch * r.size.samples);
  char graph[32] = "-", speedup[32] = "";
  if (r.graph.repetitions) std::snprintf(graph, sizeof graph, "%.1f", r.graph.median);
  if (ours > 0) std::snprintf(speedup, sizeof speedup, "%.1fx", r.plain.median / ours);
  std::printf("%-34s %-6s %11.1f %11.1f-%11.1f %11s %11.3g %11.3g %8.2f %8s\n", r.name.c_str(), r.way.c_str(), r.plain.median, r.plain.low,
              r.plain.high, graph, problems / seconds, problems * static_cast<double>(r.n) / seconds,
              static_cast<double>(r.compulsory_bytes) / seconds * 1e-9, speedup);
  std::fflush(stdout);
}

inline void write_json(const std::string& path, bool emulated, const std::vector<result>& results) {
  std::ofstream out(path);
  cudaDeviceProp device = {};
  require(cudaGetDeviceProperties(&device, 0));
  out << "{\"format\": \"perturb cuda 1\", \"device\": \"" << device.name << "\", \"emulated\": " << (emulated ? "true" : "false")
      << ", \"results\": [\n";
  for (size_t i = 0; i < results.size(); ++i) out << json_of(results[i]) << (i + 1 < results.size() ? ",\n" : "\n");
  out << "]}\n";
  if (!out) throw std::runtime_error("cannot write " + path);
}

}  // namespace perturb::bench
