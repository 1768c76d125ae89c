// Times the calls of calls.h on the CUDA backend: operations and kinds of noise that bench_cuda leaves out, and which have no usual way to be compared
// with. As there, times are of the stream, by events.
#include <iostream>
#include <map>

#include "calls.h"
#include "cuda_timing.h"

namespace perturb::bench {
namespace {

__global__ void knapsack_kernel(int64_t count, const float* theta, float* y) {
  const int64_t k = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (k < count) knapsack(theta + k * knapsack_items, y + k * knapsack_items);
}
__global__ void place_kernel(int64_t count, const float* y, const int64_t* row, float* cost) {
  const int64_t k = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (k < count) cost[k] = squared_place(y + k * cost_items, row[k]);
}
unsigned blocks_of(int64_t count) { return static_cast<unsigned>((count + 127) / 128); }
int32_t enqueue_knapsacks(int64_t count, const float* theta, float* y, void* stream, void*) {
  knapsack_kernel<<<blocks_of(count), 128, 0, static_cast<cudaStream_t>(stream)>>>(count, theta, y);
  return static_cast<int32_t>(cudaGetLastError());
}
int32_t enqueue_places(int64_t count, const float* y, const int64_t* row, float* cost, void* stream, void*) {
  place_kernel<<<blocks_of(count), 128, 0, static_cast<cudaStream_t>(stream)>>>(count, y, row, cost);
  return static_cast<int32_t>(cudaGetLastError());
}

// As test::host_memory.
class device_arrays {
 public:
  const float* input(const float* values, int64_t count) { return arrays_.emplace_back(std::vector<float>(values, values + count)).get(); }
  float* output(int64_t count) { return arrays_.emplace_back(static_cast<size_t>(count)).get(); }

 private:
  std::deque<device_array<float>> arrays_;
};

struct options {
  bool emulated = false, list = false;
  std::string only, json;
};

constexpr const char* usage_text =
    "usage: bench_cuda_calls [--only NAME] [--json FILE] [--emulated] [--list]\n"
    "  --only NAME   one call, as --list names them; or the beginning of names\n"
    "  --emulated    one run of each with few samples, nothing is timed\n";

int main_with(const options& o) {
  const test::context_ptr cpu = test::make_context(1);
  cudaStream_t stream = nullptr;
  require(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  const test::context_ptr context = test::make_cuda_context(stream);
  if (!context) throw std::runtime_error("no CUDA device");
  std::vector<result> results;
  {
    const call_list<device_arrays> list(cpu.get(), context.get(), enqueue_knapsacks, enqueue_places, o.emulated ? 20 : 1000);
    if (!o.emulated && !o.list) print_header();
    for (const timed_call& call : list.all) {
      if (!o.only.empty() && (call.name + "/").rfind(o.only + "/", 0) != 0) continue;
      if (o.list) {
        std::printf("%s\n", call.name.c_str());
        continue;
      }
      result r;
      r.name = call.name;
      r.way = "ours";
      r.n = call.n;
      r.size = r.full = {1, call.problems};
      r.time(stream, o.emulated, [&] { test::require(call.run()); });
      if (!o.emulated) print_row(r, 0);
      results.push_back(r);
    }
    require(cudaStreamSynchronize(stream));
  }
  require(cudaStreamDestroy(stream));
  if (results.empty() && !o.list) throw std::runtime_error("no call is called " + o.only + "; --list names them");
  if (!o.json.empty() && !o.list) write_json(o.json, o.emulated, results);
  return 0;
}

}  // namespace
}  // namespace perturb::bench

int main(int argc, char** argv) try {
  perturb::bench::options o;
  std::map<std::string, bool*> flags = {{"--emulated", &o.emulated}, {"--list", &o.list}};
  std::map<std::string, std::string*> values = {{"--only", &o.only}, {"--json", &o.json}};
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (flags.count(argument)) {
      *flags[argument] = true;
    } else if (values.count(argument) && i + 1 < argc) {
      *values[argument] = argv[++i];
    } else {
      std::fputs(perturb::bench::usage_text, argument == "--help" ? stdout : stderr);
      return argument == "--help" ? 0 : 2;
    }
  }
  return perturb::bench::main_with(o);
} catch (const std::exception& error) {
  std::cerr << "bench_cuda_calls: " << error.what() << "\n";
  return 2;
}
