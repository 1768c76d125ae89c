// Calls captured in CUDA graphs: every entry point and every kernel shape can be captured on a stream (which shows that nothing in it
// waits, allocates or touches another stream), a launch gives the bits of a direct call, and launches after the inputs were overwritten
// in place give the bits of direct calls on the new inputs.
#include <gtest/gtest.h>

#include "composed.h"
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

void overwrite(const float* device, std::span<const float> values) {
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
    if ((c.oracle == oracle_kind::rank || c.is_sort()) && row % 2 == turn % 2) q.theta[row * c.n + c.n / 2] = 1e6f;
    if (row == turn % c.batch)
      for (int64_t i = 0; i < c.m(); ++i) q.cotangent[row * c.m() + i] *= 1e4f;
    if (row == turn % c.batch)
      for (int64_t i = 0; i < c.n; ++i) q.tangent[row * c.n + i] *= 1e-4f;
  }
  return q;
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
    if (call.valid.extra) overwrite(call.valid.extra, q.operand(operation_of(entry)));
    call.memory.reset_outputs();
    captured.launch(on);
    const std::vector<float> launched = call.results();
    EXPECT_TRUE(same_bits(host_call(cpu, q, entry).run(), launched)) << "inputs " << turn;
    if (turn == 0) continue;
    call.memory.reset_outputs();
    EXPECT_TRUE(same_bits(launched, call.run())) << "a direct call";
  }
}

void for_every_call(bool lend, bool (*picked)(const test_case&), const std::vector<test_case>& of = shapes()) {
  const stream on;
  const context_ptr cpu = make_context(1), cuda = make_cuda_context(on.handle);
  ASSERT_TRUE(cuda) << perturb_last_error();
  for (test_case c : of) {
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
TEST(cuda_graphs, sort) {
  for_every_call(true, [](const test_case& c) { return c.is_sort() && c.n < 10000; });
}
TEST(cuda_graphs, ordered_top_k_of_many_items) {
  for_every_call(true, [](const test_case& c) { return c.is_sort() && c.n > 10000; });
}
TEST(cuda_graphs, grid_path) {
  for_every_call(true, [](const test_case& c) { return c.is_grid(); });
}

TEST(cuda_graphs, kinds_of_noise) {
  for_every_call(true, [](const test_case& c) { return c.n < 50 || (c.n < 500 && c.distribution != PERTURB_SUM_OF_GAMMA); }, noise_cases());
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

// Captures a call in a workspace of `bytes`, launches it, and again after its input was overwritten. outputs: how many it has.
template <class Call, class Expected>
void replay(perturb_context* cuda, const stream& on, size_t bytes, device_memory& memory, size_t outputs, const float* device_input, std::vector<float> input, Call call,
            Expected expected) {
  device_buffer workspace(bytes);
  require(perturb_context_set_workspace(cuda, bytes ? workspace.as<void>() : nullptr, bytes));
  graph captured(on, call);
  EXPECT_TRUE(memory.untouched()) << "the call ran while it was captured";
  require(perturb_context_set_workspace(cuda, nullptr, 0));
  for (int turn = 0; turn < 3; ++turn) {
    captured.launch(on);
    std::vector<float> got;
    for (size_t o = 0; o < outputs; ++o) {
      const std::vector<float> part = memory.result(o);
      got.insert(got.end(), part.begin(), part.end());
    }
    EXPECT_TRUE(same_bits(expected(input), got)) << "turn " << turn;
    for (float& x : input) x *= 1.25f;
    overwrite(device_input, input);
    memory.reset_outputs();
  }
}

size_t workspace_bytes(perturb_context* context, perturb_operation operation, const perturb_oracle* oracle, const perturb_noise& noise, int64_t batch) {
  size_t bytes = 0;
  require(perturb_workspace_size(context, operation, oracle, &noise, batch, &bytes));
  return bytes;
}

TEST(cuda_graphs, vjp_epsilon_and_covariance) {
  const stream on;
  const context_ptr cpu = make_context(1), cuda = make_cuda_context(on.handle);
  ASSERT_TRUE(cuda) << perturb_last_error();
  for (const test_case& c : shapes()) {
    if (c.n > 100) continue;
    prepared_case p(cpu.get(), c);
    perturb_noise noise = make_noise(p.c, p.factors);
    for (perturb_operation operation : {PERTURB_OP_VJP_EPSILON, PERTURB_OP_COVARIANCE}) {
      if (!(operation == PERTURB_OP_COVARIANCE ? has_covariance(c) : has_vjp_epsilon(c))) continue;
      SCOPED_TRACE(c.name);
      device_memory memory;
      if (!p.factors.empty()) noise.epsilon_per_item = memory.input(p.factors.data(), c.n);
      const int64_t n = c.n, B = c.batch;
      const float *theta = memory.input(p.theta.data(), B * n), *cotangent = memory.input(p.cotangent.data(), B * c.m());
      float *first = memory.output(operation == PERTURB_OP_COVARIANCE ? B * n * n : B), *second = memory.output(B * n);
      const auto call = [&](perturb_context* context, const perturb_noise& with, const float* t, const float* g, float* a, float* b) {
        return operation == PERTURB_OP_COVARIANCE ? perturb_covariance(context, p.oracle.get(), &with, B, t, a)
                                                  : perturb_vjp_epsilon(context, p.oracle.get(), &with, B, t, g, a, b);
      };
      replay(cuda.get(), on, workspace_bytes(cuda.get(), operation, p.oracle.get(), noise, B), memory, operation == PERTURB_OP_COVARIANCE ? 1 : 2, theta, p.theta,
             [&] { return call(cuda.get(), noise, theta, cotangent, first, second); },
             [&](const std::vector<float>& input) {
               std::vector<float> a(operation == PERTURB_OP_COVARIANCE ? B * n * n : B), b(operation == PERTURB_OP_COVARIANCE ? 0 : B * n);
               require(call(cpu.get(), make_noise(p.c, p.factors), input.data(), p.cotangent.data(), a.data(), b.data()));
               a.insert(a.end(), b.begin(), b.end());
               return a;
             });
    }
  }
}

TEST(cuda_graphs, nearest_neighbors) {
  const stream on;
  const context_ptr cpu = make_context(1), cuda = make_cuda_context(on.handle);
  ASSERT_TRUE(cuda) << perturb_last_error();
  neighbors_case p(5, 40, 3, 6, PERTURB_NORMAL, .3f, 8);
  const int64_t n = 40, d = 6, B = 5;
  for (bool vjp : {false, true})
    for (bool lend : {true, false}) {
      device_memory memory;
      const float *queries = memory.input(p.queries.data(), B * d), *points = memory.input(p.points.data(), n * d), *cotangent = memory.input(p.cotangent.data(), B * n);
      float *first = memory.output(vjp ? B * d : B * n), *second = memory.output(vjp ? n * d : B * n);
      const auto call = [&](perturb_context* context, const float* q, const float* x, const float* g, float* a, float* b) {
        return vjp ? perturb_nearest_neighbors_vjp(context, p.oracle.get(), &p.noise, B, d, q, x, g, a, b)
                   : perturb_nearest_neighbors(context, p.oracle.get(), &p.noise, B, d, q, x, a, b);
      };
      const perturb_operation operation = vjp ? PERTURB_OP_NEAREST_NEIGHBORS_VJP : PERTURB_OP_NEAREST_NEIGHBORS;
      replay(cuda.get(), on, lend ? workspace_bytes(cuda.get(), operation, p.oracle.get(), p.noise, B) : 0, memory, 2, queries, p.queries,
             [&] { return call(cuda.get(), queries, points, cotangent, first, second); },
             [&](const std::vector<float>& input) {
               std::vector<float> a(vjp ? B * d : B * n), b(vjp ? n * d : B * n);
               require(call(cpu.get(), input.data(), p.points.data(), p.cotangent.data(), a.data(), b.data()));
               a.insert(a.end(), b.begin(), b.end());
               return a;
             });
    }
}

TEST(cuda_graphs, closed_forms) {
  const stream on;
  const context_ptr cpu = make_context(1), cuda = make_cuda_context(on.handle);
  ASSERT_TRUE(cuda) << perturb_last_error();
  for (const test_case& c : exact_cases()) {
    if (c.n != 5) continue;
    prepared_case p(cpu.get(), c);
    const perturb_noise noise = make_noise(p.c, p.factors);
    const bool top_k = c.oracle == oracle_kind::top_k;
    for (bool vjp : {false, true}) {
      SCOPED_TRACE(c.name);
      const int64_t n = c.n, B = c.batch;
      device_memory memory;
      const float *theta = memory.input(p.theta.data(), B * n), *cotangent = memory.input(p.cotangent.data(), B * n);
      float *first = memory.output(B * n), *value = memory.output(B);
      const auto call = [&](perturb_context* context, const float* t, const float* g, float* a, float* b) {
        return vjp ? perturb_exact_vjp(context, p.oracle.get(), &noise, B, t, g, a) : perturb_exact_expectation(context, p.oracle.get(), &noise, B, t, a, top_k ? nullptr : b);
      };
      const bool has_value = !vjp && !top_k;
      replay(cuda.get(), on, 0, memory, has_value ? 2 : 1, theta, p.theta, [&] { return call(cuda.get(), theta, cotangent, first, value); },
             [&](const std::vector<float>& input) {
               std::vector<float> a(B * n), b(has_value ? B : 0);
               require(call(cpu.get(), input.data(), p.cotangent.data(), a.data(), b.data()));
               a.insert(a.end(), b.begin(), b.end());
               return a;
             });
    }
  }
}

TEST(cuda_graphs, identity) {
  const stream on;
  const context_ptr cpu = make_context(1), cuda = make_cuda_context(on.handle);
  ASSERT_TRUE(cuda) << perturb_last_error();
  for (const test_case& c : identity_cases()) {
    if (c.n != 129 && !(c.is_grid() && c.wall == walls::random)) continue;
    for (perturb_projection projection : projections) {
      if (!has_projection(c, projection)) continue;
      SCOPED_TRACE(c.name);
      const prepared_case p(cpu.get(), c);  // a new oracle: grids see the device for the first time inside the capture
      device_memory memory;
      const int64_t B = c.batch, n = c.n;
      const float *theta = memory.input(p.theta.data(), B * n), *cotangent = memory.input(p.cotangent.data(), B * n);
      float *w = memory.output(B * n), *gradient = memory.output(B * n);
      const auto call = [&](perturb_context* context, const float* t, const float* g, float* a, float* b) {
        const perturb_status status = perturb_project(context, p.oracle.get(), projection, B, t, a);
        return status == PERTURB_OK ? perturb_identity_vjp(context, p.oracle.get(), projection, B, t, g, b) : status;
      };
      replay(cuda.get(), on, 0, memory, 2, theta, p.theta, [&] { return call(cuda.get(), theta, cotangent, w, gradient); },
             [&](const std::vector<float>& input) {
               std::vector<float> a(B * n), b(B * n);
               require(call(cpu.get(), input.data(), p.cotangent.data(), a.data(), b.data()));
               a.insert(a.end(), b.begin(), b.end());
               return a;
             });
    }
  }
}

// A graph of I-MLE and the update of its step: every launch starts from the step that the last one left.
TEST(cuda_graphs, aimle_adapts_at_every_launch) {
  const stream on;
  const context_ptr cpu = make_context(1), cuda = make_cuda_context(on.handle);
  ASSERT_TRUE(cuda) << perturb_last_error();
  test_case c = case_list().top_k_case(20, 4);
  c.samples = 2;
  const prepared_case p(cpu.get(), c);
  const perturb_noise noise = make_noise(p.c, p.factors);
  const int64_t B = c.batch, n = c.n;
  device_memory memory;
  const float *theta = memory.input(p.theta.data(), B * n), *cotangent = memory.input(p.cotangent.data(), B * n);
  float* gradient = memory.output(B * n);
  perturb_aimle_options adapt = PERTURB_AIMLE_OPTIONS_INIT;
  adapt.step = 0.25f;
  adapt.target = 5;
  perturb_aimle_state state = PERTURB_AIMLE_STATE_INIT;
  state.alpha = 0;
  const device_buffer device_state(sizeof state);
  require_cuda(cudaMemcpy(device_state.as<void>(), &state, sizeof state, cudaMemcpyHostToDevice));
  const auto call = [&](perturb_context* context, const float* t, const float* g, float* out, perturb_aimle_state* s) {
    perturb_lpgd_options options = PERTURB_LPGD_OPTIONS_INIT;
    options.relative = 1;
    options.tau_scale = &s->alpha;
    const perturb_status status = perturb_imle(context, p.oracle.get(), &noise, &options, B, t, g, out);
    return status == PERTURB_OK ? perturb_aimle_update(context, &adapt, B, n, out, s) : status;
  };
  graph captured(on, [&] { return call(cuda.get(), theta, cotangent, gradient, device_state.as<perturb_aimle_state>()); });
  EXPECT_TRUE(memory.untouched()) << "the call ran while it was captured";
  float highest = 0;
  for (int launch = 0; launch < 8; ++launch) {
    captured.launch(on);
    std::vector<float> expected(B * n);
    require(call(cpu.get(), p.theta.data(), p.cotangent.data(), expected.data(), &state));
    EXPECT_TRUE(same_bits(expected, memory.result(0))) << launch;
    perturb_aimle_state got;
    require_cuda(cudaMemcpy(&got, device_state.as<void>(), sizeof got, cudaMemcpyDeviceToHost));
    EXPECT_EQ(std::memcmp(&state, &got, sizeof got), 0) << launch << ": " << got.alpha << " " << got.average;
    highest = std::max(highest, got.alpha);
    count();
  }
  EXPECT_GT(highest, 0.9f);
  EXPECT_GT(state.nonzeros, 0);
}

// The one call that waits is refused, and the capture goes on.
TEST(cuda_graphs, adaptive_is_refused) {
  const stream on;
  const context_ptr cpu = make_context(1), cuda = make_cuda_context(on.handle);
  ASSERT_TRUE(cuda) << perturb_last_error();
  const prepared_case p(cpu.get(), shapes().front());
  device_call call(cuda.get(), p, entry_point::expectation);
  perturb_adaptive_options options = PERTURB_ADAPTIVE_OPTIONS_INIT;
  options.y_std_error = 1;
  int64_t samples = -7;
  graph captured(on, [&] {
    const request& r = call.valid;
    EXPECT_EQ(perturb_expectation_adaptive(r.context, r.oracle, r.noise, r.batch, r.theta, &options, r.output[0], nullptr, nullptr, nullptr, &samples),
              PERTURB_ERROR_UNSUPPORTED);
    EXPECT_NE(std::string(perturb_last_error()).find("captured"), std::string::npos) << perturb_last_error();
    return call.valid.call();
  });
  EXPECT_EQ(samples, -7);
  captured.launch(on);
  EXPECT_TRUE(same_bits(host_call(cpu.get(), p, entry_point::expectation).run(), call.results()));
}

}  // namespace
}  // namespace perturb::test
