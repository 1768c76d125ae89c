// What is the same for every call on a device: the arrays that it keeps of an oracle, and the call as a problem.
#include "kernels/call.h"

#include <algorithm>
#include <mutex>

namespace perturb {
namespace {

using namespace cuda;

// Calls f(array, its counterpart on the host, count) for each.
template <class F>
void for_each_array(const perturb_oracle& o, oracle_arrays& arrays, F&& f) {
  if (o.grid) {
    const grid& g = *o.grid;
    f(arrays.steps, g.steps.data(), g.steps.size());
    f(arrays.passable, g.passable.data(), g.passable.size());
    f(arrays.rows, g.rows.data(), g.rows.size());
    f(arrays.sources, g.sources.data(), g.sources.size());
    f(arrays.targets, g.targets.data(), g.targets.size());
  }
  f(arrays.row_k, o.row_k.data(), o.row_k.size());
}

// Null where there is nothing to keep. Returns the bytes.
size_t lay_out(const perturb_oracle& oracle, unsigned char* base, oracle_arrays& arrays) {
  carver memory(base);
  for_each_array(oracle, arrays, [&](auto*& array, const auto*, size_t count) {
    array = nullptr;
    if (count > 0) memory.take(array, (int64_t)count);
  });
  return memory.used();
}

}  // namespace

cudaError_t cuda::arrays_on_device(const perturb_oracle& oracle, int ordinal, oracle_arrays& arrays) {
  const size_t bytes = lay_out(oracle, nullptr, arrays);
  if (bytes == 0) return cudaSuccess;
  const std::lock_guard<std::mutex> lock(oracle.device_copies.mutex);
  for (const device_copy& copy : oracle.device_copies.all) {
    if (copy.ordinal != ordinal) continue;
    lay_out(oracle, static_cast<unsigned char*>(copy.memory), arrays);
    return cudaSuccess;
  }
  // Also while the caller's stream is being captured: this copy is none of the graph's.
  cudaStreamCaptureMode mode = cudaStreamCaptureModeRelaxed;
  cudaError_t error = cudaThreadExchangeStreamCaptureMode(&mode);
  if (error != cudaSuccess) return error;
  void* memory = nullptr;
  cudaStream_t stream = nullptr;
  error = cudaMalloc(&memory, bytes);
  if (error == cudaSuccess) error = cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
  if (error == cudaSuccess) {
    lay_out(oracle, static_cast<unsigned char*>(memory), arrays);
    for_each_array(oracle, arrays, [&](auto* array, const auto* host, size_t count) {
      if (count > 0 && error == cudaSuccess) error = cudaMemcpyAsync(array, host, count * sizeof *host, cudaMemcpyHostToDevice, stream);
    });
  }
  if (error == cudaSuccess) error = cudaStreamSynchronize(stream);
  if (stream) (void)cudaStreamDestroy(stream);
  if (error == cudaSuccess) {
    const auto release = [](int device, void* pointer) {
      const device_scope scope(device);
      (void)cudaFree(pointer);
    };
    oracle.device_copies.all.push_back({ordinal, memory, release});
  } else {
    (void)cudaFree(memory);
  }
  (void)cudaThreadExchangeStreamCaptureMode(&mode);
  return error;
}

bool cuda::makes_noise(const problem& p) { return p.latin || p.noise == distribution::sum_of_gamma; }
bool cuda::wants_scores(const problem& p) { return p.operation == PERTURB_OP_VJP || p.operation == PERTURB_OP_JVP || p.operation == PERTURB_OP_JACOBIAN; }
int64_t cuda::noise_buffers(const problem& p) { return wants_scores(p) && p.noise != distribution::normal ? 2 : 1; }

problem cuda::make_problem(const call& c, bool any_outputs) {
  static float any;
  const perturb_oracle& o = *c.oracle;
  problem p = {};
  p.operation = c.operation;
  p.oracle = o.kind;
  p.noise = c.noise;
  p.n = c.n();
  p.m = c.m();
  p.k = o.k;
  p.samples = c.samples;
  p.descending = o.descending;
  p.baseline = c.baseline;
  p.antithetic = c.antithetic;
  p.multiplicative = c.multiplicative;
  p.base = o.base;
  p.noise_sign = o.noise_sign();
  p.loss_sign = o.loss_sign();
  p.epsilon = c.epsilon;
  p.epsilon_per_item = c.epsilon_per_item;
  p.epsilon_per_row = c.epsilon_per_row;
  p.latin = c.latin;
  p.gamma = c.gamma;
  p.z = c.z;
  p.z_score = c.z_score;
  p.first_of_z = (uint32_t)c.first_sample;
  p.z_samples = makes_noise(p) ? std::clamp<int64_t>(slice_bytes / (noise_buffers(p) * p.n * (int64_t)sizeof(float)), 1, c.samples) : c.samples;
  p.first_row = (uint32_t)c.first_row;
  p.first_sample = (uint32_t)c.first_sample;
  p.keys = c.keys;
  p.resolve = c.resolve;
  p.tau_scale = c.tau_scale;
  p.part = c.part;
  p.theta = c.theta;
  p.operand = c.operand;
  for (int i = 0; i < 4; ++i) p.output[i] = any_outputs ? &any : c.output[i];
  if (o.grid) {
    p.grid.height = (int32_t)o.grid->height;
    p.grid.width = (int32_t)o.grid->width;
    p.grid.diagonal_factor = o.grid->diagonal_factor;
    p.grid.cost_floor = o.grid->cost_floor;
    p.grid.count_source = o.grid->count_source;
    p.grid.refuse_negative = o.grid->refuse_negative;
    p.grid.ends = o.grid->ends;
    p.grid.source_count = (int32_t)o.grid->sources.size();
    p.grid.target_count = (int32_t)o.grid->targets.size();
  }
  return p;
}

}  // namespace perturb
