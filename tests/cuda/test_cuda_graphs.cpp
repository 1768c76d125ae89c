// Calls captured in CUDA graphs: every entry point and every kernel shape can be captured on a stream (which shows that nothing in it
// waits, allocates or touches another stream), a launch gives the bits of a direct call, and launches after the inputs were overwritten
// in place give the bits of direct calls on the new inputs.
#include <gtest/gtest.h>

#include "cuda/cuda_call.h"

namespace perturb::test {
namespace {

struct stream {
  cudaStream_t handle = nullptr;
  stream() { require_cuda(cudaStreamCreate(&handle)); }  // one that the default stream waits for, so that its use would break a capture
  ~stream() { (void)cudaStreamDestroy(handle); }
  stream(const stream&) = delete;
  stream& operator=(const stream&) = delete;
};

// The graph of what `body` enqueues.
class graph {
 public:
  template <class Body>
  graph(const stream& on, Body body) {
    require_cuda(cudaStreamBeginCapture(on.handle, cudaStreamCaptureModeGlobal));
    const perturb_status status = body();
    const std::string error = perturb_last_error();
    const cudaError_t ended = cudaStreamEndCapture(on.handle, &graph_);
    if (status != PERTURB_OK) throw std::runtime_error("in a capture: " + error);
    require_cuda(ended);
    require_cuda(cudaGraphInstantiate(&executable_, graph_, 0));
  }
  ~graph() {
    if (executable_) (void)cudaGraphExecDestroy(executable_);
    if (graph_) (void)cudaGraphDestroy(graph_);
  }
  graph(const graph&) = delete;
  graph& operator=(const graph&) = delete;
  void launch(const stream& on) {
    require_cuda(cudaGraphLaunch(executable_, on.handle));
    require_cuda(cudaStreamSynchronize(on.handle));
  }

 private:
  cudaGraph_t graph_ = nullptr;
  cudaGraphExec_t executable_ = nullptr;
};

void overwrite(const float* device, const std::vector<float>& values) {
  require_cuda(cudaMemcpy(const_cast<float*>(device), values.data(), values.size() * sizeof(float), cudaMemcpyHostToDevice));
}

// Other inputs of the same shape. Ranks: every second row gets an outlier, so that rows change between packed and exact keys; with
// `turn`, the other rows. One row's operand changes its scale.
prepared_case other_inputs(perturb_context* cpu, const prepared_case& p, int turn) {
  test_case c = p.c;
  c.seed += 1000 + turn;
  prepared_case q(cpu, c);
  q.c.seed = p.c.seed;  // the noise arguments are the graph's
  q.factors = p.factors;
  for (int64_t row = 0; row < c.batch; ++row) {
    if (c.oracle == oracle_kind::rank && row % 2 == turn % 2) q.theta[row * c.n + c.n / 2] = 1e6f;
    if (row == turn % c.batch)
      for (int64_t i = 0; i < c.n; ++i) {
        q.cotangent[row * c.n + i] *= 1e4f;
        q.tangent[row * c.n + i] *= 1e-4f;
      }
  }
  return q;
}

const std::vector<float>& operand_of(const prepared_case& p, entry_point entry) {
  if (entry == entry_point::vjp || entry == entry_point::lpgd || entry == entry_point::imle) return p.cotangent;
  return entry == entry_point::jvp ? p.tangent : entry == entry_point::spo_plus ? p.theta_true : p.target;
}

// Captures one call, then launches it on its inputs and on two others.
void capture_and_replay(perturb_context* cpu, perturb_context* cuda, const stream& on, const prepared_case& p, entry_point entry,
                        bool lend) {
  device_call call(cuda, p, entry);
  device_buffer workspace(lend ? workspace_of(call.valid) : 0);
  if (lend) require(perturb_context_set_workspace(cuda, workspace.as<void>(), workspace_of(call.valid)));
  graph captured(on, [&] { return call.valid.call(); });
  EXPECT_TRUE(call.memory.untouched()) << "the call ran while it was captured";
  if (lend) require(perturb_context_set_workspace(cuda, nullptr, 0));

  captured.launch(on);
  EXPECT_TRUE(same_bits(host_call(cpu, p, entry).run(), call.results()));
  if (entry == entry_point::noise_fill) return;
  for (int turn : {0, 1}) {
    const prepared_case q = other_inputs(cpu, p, turn);
    overwrite(call.valid.theta, q.theta);
    if (call.valid.extra) overwrite(call.valid.extra, operand_of(q, entry));
    call.memory.reset_outputs();
    captured.launch(on);
    const std::vector<float> launched = call.results();
    EXPECT_TRUE(same_bits(host_call(cpu, q, entry).run(), launched)) << "inputs " << turn;
    if (turn == 0) continue;
    call.memory.reset_outputs();
    EXPECT_TRUE(same_bits(launched, call.run())) << "a direct call";
  }
}

void for_every_call(bool lend, bool (*picked)(const test_case&)) {
  const stream on;
  const context_ptr cpu = make_context(1), cuda = make_cuda_context(on.handle);
  ASSERT_TRUE(cuda) << perturb_last_error();
  for (test_case c : shapes()) {
    if (!picked(c)) continue;
    if (c.n > 10000) c.batch = 1;
    for (entry_point entry : entry_points) {
      const prepared_case p(cpu.get(), c);  // a new oracle: grids see the device for the first time inside the capture
      if (!has(p, entry)) continue;
      SCOPED_TRACE(c.name + " " + name_of(entry));
      capture_and_replay(cpu.get(), cuda.get(), on, p, entry, lend);
    }
  }
}

TEST(cuda_graphs, argmax) {
  for_every_call(true, [](const test_case& c) { return c.oracle == oracle_kind::argmax; });
}
TEST(cuda_graphs, top_k) {
  for_every_call(true, [](const test_case& c) { return c.oracle == oracle_kind::top_k; });
}
TEST(cuda_graphs, rank) {
  for_every_call(true, [](const test_case& c) { return c.oracle == oracle_kind::rank && c.n < 10000; });
}
TEST(cuda_graphs, rank_of_many_items) {
  for_every_call(true, [](const test_case& c) { return c.oracle == oracle_kind::rank && c.n > 10000; });
}
TEST(cuda_graphs, grid_path) {
  for_every_call(true, [](const test_case& c) { return c.is_grid(); });
}

// Without a workspace the scratch is part of the graph: allocated and freed by its nodes, launch after launch.
TEST(cuda_graphs, without_a_workspace) {
  for_every_call(false, [](const test_case& c) { return c.n < 50 || c.n == 100; });
}

// An error inside a capture leaves the capture intact.
TEST(cuda_graphs, refusals_do_not_end_a_capture) {
  const stream on;
  const context_ptr cpu = make_context(1), cuda = make_cuda_context(on.handle);
  ASSERT_TRUE(cuda) << perturb_last_error();
  const prepared_case p(cpu.get(), shapes().front());
  device_call call(cuda.get(), p, entry_point::vjp);
  device_buffer workspace(workspace_of(call.valid));
  const auto lend = [&](size_t less) {
    require(perturb_context_set_workspace(cuda.get(), workspace.as<void>(), workspace_of(call.valid) - less));
  };
  graph captured(on, [&] {
    request wrong = call.valid;
    wrong.extra = nullptr;
    EXPECT_EQ(wrong.call(), PERTURB_ERROR_INVALID_ARGUMENT);
    lend(1);
    EXPECT_EQ(call.valid.call(), PERTURB_ERROR_WORKSPACE_TOO_SMALL);
    lend(0);
    return call.valid.call();
  });
  captured.launch(on);
  EXPECT_TRUE(same_bits(host_call(cpu.get(), p, entry_point::vjp).run(), call.results()));
}

// Two calls of one context and one workspace in a graph: the second may reuse the memory of the first.
TEST(cuda_graphs, calls_in_a_row) {
  const stream on;
  const context_ptr cpu = make_context(1), cuda = make_cuda_context(on.handle);
  ASSERT_TRUE(cuda) << perturb_last_error();
  const prepared_case p(cpu.get(), shapes().front());
  device_call first(cuda.get(), p, entry_point::expectation), second(cuda.get(), p, entry_point::fenchel_young);
  const size_t bytes = std::max(workspace_of(first.valid), workspace_of(second.valid));
  device_buffer workspace(bytes);
  require(perturb_context_set_workspace(cuda.get(), workspace.as<void>(), bytes));
  graph captured(on, [&] {
    const perturb_status status = first.valid.call();
    return status == PERTURB_OK ? second.valid.call() : status;
  });
  for (int launch = 0; launch < 2; ++launch) {
    captured.launch(on);
    EXPECT_TRUE(same_bits(host_call(cpu.get(), p, entry_point::expectation).run(), first.results()));
    EXPECT_TRUE(same_bits(host_call(cpu.get(), p, entry_point::fenchel_young).run(), second.results()));
    first.memory.reset_outputs();
    second.memory.reset_outputs();
  }
}

}  // namespace
}  // namespace perturb::test
