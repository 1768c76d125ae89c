// Solvers and cost functions of the caller's on CUDA contexts: the bits of the CPU for every operation, mode and size of tile, rows that
// become NaN, failures, graphs and memory. The callbacks enqueue kernels of the test's own that compute what its host callbacks compute.
#include <gtest/gtest.h>

#include "compare.h"
#include "cuda/contract.h"
#include "custom_solver.h"

namespace perturb::test {
namespace {

// ---------------------------------------------------------------- a solver and a cost function in both memories

// Every entry of y depends on three items; neither an integer nor optimal.
__host__ __device__ float solved_entry(const float* theta, int64_t n, int64_t i) {
  return 0.7f * theta[i % n] * theta[(7 * i + 1) % n] + (theta[(i + 2) % n] > 0.3f ? 1.0f : 0.25f * theta[i % n]);
}
// Rows have costs of their own.
__host__ __device__ float cost_of(const float* y, int64_t m, int64_t row) {
  float sum = 0.5f * static_cast<float>(row % 5);
  for (int64_t i = 0; i < m; ++i) sum += static_cast<float>((row + i) % 3 - 1) * y[i];
  return 0.1f * sum * sum;
}

// theta[0] >= spoiled_from: the last entry is not written, or the cost is infinite.
__global__ void solve_kernel(int64_t count, int64_t n, int64_t m, const float* theta, float* y, float spoiled_from) {
  for (int64_t at = blockIdx.x * blockDim.x + threadIdx.x; at < count * m; at += gridDim.x * blockDim.x) {
    const int64_t k = at / m, i = at % m;
    if (i < m - 1 || theta[k * n] < spoiled_from) y[at] = solved_entry(theta + k * n, n, i);
  }
}
__global__ void cost_kernel(int64_t count, int64_t m, const float* y, const int64_t* row, float* cost, int64_t spoiled_row) {
  for (int64_t k = blockIdx.x * blockDim.x + threadIdx.x; k < count; k += gridDim.x * blockDim.x)
    cost[k] = row[k] == spoiled_row ? INFINITY : cost_of(y + k * m, m, row[k]);
}

// Both callbacks; must outlive oracle and options.
struct both_memories {
  int64_t n, m;
  void* stream = nullptr;  // that enqueue is to be given
  float spoiled_from = INFINITY;
  int64_t spoiled_row = -1;
  int64_t failing_call = -1;  // of enqueue, counted from 0
  bool throws = false;
  int64_t calls = 0, problems = 0, largest = 0;
  bool wrong_stream = false;

  oracle_ptr oracle(perturb_sense sense = PERTURB_MAXIMIZE) {
    perturb_custom_options options = PERTURB_CUSTOM_OPTIONS_INIT;
    options.n = n;
    options.m = m;
    options.sense = sense;
    options.thread_safe = 1;
    options.user = this;
    options.solve = [](int64_t count, const float* theta, float* y, void*, void* user) -> int32_t {
      const both_memories& self = *static_cast<both_memories*>(user);
      for (int64_t k = 0; k < count; ++k)
        for (int64_t i = 0; i < self.m; ++i) y[k * self.m + i] = solved_entry(theta + k * self.n, self.n, i);
      return 0;
    };
    options.enqueue = [](int64_t count, const float* theta, float* y, void* stream, void* user) -> int32_t {
      both_memories& self = *static_cast<both_memories*>(user);
      if (const int32_t failed = self.enter(count, stream)) return failed;
      solve_kernel<<<self.blocks(count * self.m), 128, 0, static_cast<cudaStream_t>(stream)>>>(count, self.n, self.m, theta, y,
                                                                                               self.spoiled_from);
      return static_cast<int32_t>(cudaGetLastError());
    };
    return make_custom(options);
  }
  perturb_cost_options cost() {
    perturb_cost_options options = PERTURB_COST_OPTIONS_INIT;
    options.thread_safe = 1;
    options.user = this;
    options.cost = [](int64_t count, const float* y, const int64_t* row, float* cost, void*, void* user) -> int32_t {
      const both_memories& self = *static_cast<both_memories*>(user);
      for (int64_t k = 0; k < count; ++k) cost[k] = cost_of(y + k * self.m, self.m, row[k]);
      return 0;
    };
    options.enqueue = [](int64_t count, const float* y, const int64_t* row, float* cost, void* stream, void* user) -> int32_t {
      both_memories& self = *static_cast<both_memories*>(user);
      if (const int32_t failed = self.enter(count, stream)) return failed;
      cost_kernel<<<self.blocks(count), 128, 0, static_cast<cudaStream_t>(stream)>>>(count, self.m, y, row, cost, self.spoiled_row);
      return static_cast<int32_t>(cudaGetLastError());
    };
    return options;
  }
  void forget() {
    calls = problems = largest = 0;
    wrong_stream = false;
  }

 private:
  int32_t enter(int64_t count, void* on) {
    problems += count;
    largest = std::max(largest, count);
    if (on != stream) wrong_stream = true;
    if (calls++ != failing_call) return 0;
    if (throws) throw std::runtime_error("no stream of thought");
    return 77;
  }
  static unsigned blocks(int64_t threads) { return static_cast<unsigned>(std::min<int64_t>((threads + 127) / 128, 1000)); }
};

// A call of a case's cost expectation, outputs joined row by row: mean, std_error where it has one, gradient.
template <class Memory>
std::vector<float> run_cost(Memory& memory, perturb_context* context, const prepared_case& p, const perturb_cost_options& cost) {
  const int64_t n = p.c.n, batch = p.c.batch;
  perturb_noise noise = make_noise(p.c, p.factors);
  if (noise.epsilon_per_item) noise.epsilon_per_item = memory.input(p.factors.data(), n);
  const float* theta = memory.input(p.theta.data(), batch * n);
  float *mean = memory.output(batch), *error = memory.output(batch), *gradient = memory.output(batch * n);
  if (!p.c.has_std_errors()) error = nullptr;
  require(perturb_cost_expectation(context, p.oracle.get(), &noise, &cost, batch, theta, mean, error, gradient));
  const std::vector<float> parts[3] = {memory.result(0), error ? memory.result(1) : std::vector<float>(batch), memory.result(2)};
  std::vector<float> joined;
  for (int64_t b = 0; b < batch; ++b) {
    joined.insert(joined.end(), {parts[0][b], parts[1][b]});
    joined.insert(joined.end(), parts[2].begin() + b * n, parts[2].begin() + (b + 1) * n);
  }
  return joined;
}

struct cuda_custom : cuda_contract {
  void same(const prepared_case& p, perturb_operation operation) {
    SCOPED_TRACE(p.c.name + " " + operation_names[operation]);
    device_memory memory;
    EXPECT_TRUE(
        same_bits(run_all(cpu.get(), p, operation), run_rows(memory, cuda.get(), p, operation, make_noise(p.c, p.factors), 0, p.c.batch)));
  }
  void same_cost(const prepared_case& p, const perturb_cost_options& cost) {
    SCOPED_TRACE(p.c.name + " cost");
    host_memory host;
    device_memory device;
    EXPECT_TRUE(same_bits(run_cost(host, cpu.get(), p, cost), run_cost(device, cuda.get(), p, cost)));
  }
};

// ---------------------------------------------------------------- bits

TEST_F(cuda_custom, every_operation_and_mode) {
  int turn = 0;
  constexpr int64_t sizes[][3] = {{6, 3, 4}, {6, 3, 128}, {6, 3, 129}, {6, 2, 300}, {6, 201, 1}, {1, 40, 8}, {13, 2, 64}, {5, 3, 256}};
  for (const auto& [n, batch, samples] : sizes)
    for (int variant = 0; variant < 4; ++variant, ++turn) {
      test_case c = shape(n, batch, samples);
      c.distribution = static_cast<perturb_distribution>(variant);
      c.baseline = static_cast<perturb_baseline>(turn % 3);
      if (variant == 0 && turn % 8 < 4) c.mode = PERTURB_MULTIPLICATIVE;
      if (variant != 1 && samples % 2 == 0 && turn % 3 == 0) c.sampling = PERTURB_SAMPLING_ANTITHETIC;
      if (variant == 3 && turn % 8 == 3) c.epsilon = 0;
      c.per_item = turn % 2;
      c.first_row = turn % 5;
      c.first_sample = 2 * (turn % 7);
      c.name += " variant " + std::to_string(turn);
      both_memories solver{c.n, c.n};
      prepared_case p(cpu.get(), c);
      p.oracle = solver.oracle(turn % 4 == 3 ? PERTURB_MINIMIZE : PERTURB_MAXIMIZE);
      for (perturb_operation operation : custom_operations) same(p, operation);
      same_cost(p, solver.cost());
      EXPECT_FALSE(solver.wrong_stream);
    }
}

// n so large that a tile is a part of a chunk; sums so large that a tile is one chunk of a row; more rows than a tile has.
TEST_F(cuda_custom, tiles_of_every_kind) {
  for (int64_t samples : {70, 105, 130}) {
    test_case c = shape(5000, 2, samples);  // 104 problems at a time
    c.baseline = samples == 70 ? PERTURB_BASELINE_LEAVE_ONE_OUT : PERTURB_BASELINE_UNPERTURBED;
    both_memories solver{c.n, c.n};
    prepared_case p(cpu.get(), c);
    p.oracle = solver.oracle();
    for (perturb_operation operation :
         {PERTURB_OP_SAMPLE, PERTURB_OP_EXPECTATION, PERTURB_OP_VJP, PERTURB_OP_JVP, PERTURB_OP_FENCHEL_YOUNG, PERTURB_OP_IMLE}) {
      if (samples < 130 && operation != PERTURB_OP_VJP && operation != PERTURB_OP_EXPECTATION) continue;
      solver.forget();
      same(p, operation);
      EXPECT_EQ(solver.largest, std::min<int64_t>(samples, 104)) << "the sizes no longer make the tiles that this test is about";
      const bool hard = samples > 70 && (operation == PERTURB_OP_VJP || operation == PERTURB_OP_JVP);
      EXPECT_EQ(solver.problems, c.batch * (samples * (operation == PERTURB_OP_IMLE ? 2 : 1) + hard));
    }
    same_cost(p, solver.cost());
    p.oracle = make_argmax(c.n);
    same_cost(p, solver.cost());
  }
  {
    const test_case c = shape(400, 1, 200);
    both_memories solver{c.n, c.n};
    prepared_case p(cpu.get(), c);
    p.oracle = solver.oracle();
    same(p, PERTURB_OP_JACOBIAN);
    EXPECT_EQ(solver.largest, 128);
  }
  test_case c = shape(2, 70000, 1);
  both_memories solver{c.n, c.n};
  prepared_case p(cpu.get(), c);
  p.oracle = solver.oracle();
  same(p, PERTURB_OP_EXPECTATION);
  EXPECT_EQ(solver.largest, 65536);
  c = shape(300, 1, 4000);  // several chunks a tile, several tiles a row
  both_memories wide{c.n, c.n};
  prepared_case q(cpu.get(), c);
  q.oracle = wide.oracle();
  for (perturb_operation operation : {PERTURB_OP_EXPECTATION, PERTURB_OP_VJP}) {
    wide.forget();
    same(q, operation);
    EXPECT_EQ(wide.largest, 13 * 128);
  }
}

TEST_F(cuda_custom, m_other_than_n) {
  for (const auto& [n, m] : {std::pair<int64_t, int64_t>{5, 3}, {3, 7}, {1, 4}}) {
    both_memories solver{n, m};
    const oracle_ptr oracle = solver.oracle();
    test_case c = shape(n, 3, 200);
    const prepared_case p(cpu.get(), c);
    std::vector<float> g(c.batch * m);
    for (size_t i = 0; i < g.size(); ++i) g[i] = uniform_float(7, i, -1, 1);
    const auto all = [&](perturb_context* context, auto memory) {
      perturb_noise noise = make_noise(c, p.factors);
      if (noise.epsilon_per_item) noise.epsilon_per_item = memory.input(p.factors.data(), n);
      const int64_t B = c.batch;
      const float* theta = memory.input(p.theta.data(), B * n);
      float *y = memory.output(B * m), *mean = memory.output(B * m), *error = memory.output(B * m), *gradient = memory.output(B * n),
            *derivative = memory.output(B * m), *jacobian = memory.output(B * m * n);
      require(perturb_solve(context, oracle.get(), B, theta, y, nullptr));
      require(perturb_expectation(context, oracle.get(), &noise, B, theta, mean, error, nullptr, nullptr));
      require(perturb_vjp(context, oracle.get(), &noise, B, theta, memory.input(g.data(), B * m), gradient));
      require(perturb_jvp(context, oracle.get(), &noise, B, theta, memory.input(p.tangent.data(), B * n), derivative));
      require(perturb_jacobian(context, oracle.get(), &noise, B, theta, jacobian));
      std::vector<float> joined;
      for (size_t o = 0; o < 6; ++o) {
        const std::vector<float> part = memory.result(o);
        joined.insert(joined.end(), part.begin(), part.end());
      }
      return joined;
    };
    EXPECT_TRUE(same_bits(all(cpu.get(), host_memory()), all(cuda.get(), device_memory())));
  }
}

// The cost of the library's own oracles: every kernel, all baselines.
TEST_F(cuda_custom, cost_of_built_in_oracles) {
  for (test_case c : shapes()) {
    if (c.n > 10000) continue;
    for (perturb_baseline baseline : {PERTURB_BASELINE_LEAVE_ONE_OUT, PERTURB_BASELINE_NONE, PERTURB_BASELINE_UNPERTURBED}) {
      if (baseline != c.baseline && c.n > 40) continue;
      c.baseline = baseline;
      both_memories costs{c.n, c.m()};
      same_cost(prepared_case(cpu.get(), c), costs.cost());
    }
  }
  for (int64_t samples : {129, 300}) {
    case_list list;
    test_case c = list.argmax_case(6);
    c.samples = samples;
    both_memories costs{c.n, c.n};
    same_cost(prepared_case(cpu.get(), c), costs.cost());
    c = list.grid_case(4, 5);
    c.samples = samples;
    c.wall = walls::random_nan;
    both_memories of_grid{c.n, c.n};
    same_cost(prepared_case(cpu.get(), c), of_grid.cost());
  }
}

// ---------------------------------------------------------------- rows that become NaN

TEST_F(cuda_custom, spoiled_rows) {
  for (int64_t samples : {5, 300}) {
    test_case c = shape(6, 4, samples);
    c.per_item = false;
    both_memories solver{c.n, c.n};
    prepared_case good(cpu.get(), c);
    good.factors = std::vector<float>(c.n, 1.0f);
    good.factors[0] = 0;  // item 0 tells the rows apart
    good.c.per_item = true;
    for (int64_t b = 0; b < c.batch; ++b)
      good.theta[b * c.n] = good.theta_true[b * c.n] = static_cast<float>(b), good.cotangent[b * c.n] = 0;
    good.oracle = solver.oracle();
    const auto only_last_is_nan = [&](const prepared_case& p, perturb_operation operation) -> testing::AssertionResult {
      device_memory memory;
      const std::vector<float> expected = run_all(cpu.get(), good, operation),
                               got = run_rows(memory, cuda.get(), p, operation, make_noise(p.c, p.factors), 0, c.batch);
      const size_t clean = expected.size() / c.batch * (c.batch - 1);
      for (size_t i = clean; i < got.size(); ++i)
        if (!std::isnan(got[i])) return testing::AssertionFailure() << "entry " << i << " holds " << got[i];
      return same_bits({expected.begin(), expected.begin() + clean}, {got.begin(), got.begin() + clean});
    };
    for (perturb_operation operation : custom_operations) {
      SCOPED_TRACE(operation_names[operation]);
      solver.spoiled_from = 3;  // an entry of y that is not written
      EXPECT_TRUE(only_last_is_nan(good, operation));
      solver.spoiled_from = INFINITY;
      prepared_case bad = prepared_case(cpu.get(), good.c);
      bad.theta = good.theta, bad.theta_true = good.theta_true, bad.cotangent = good.cotangent, bad.factors = good.factors;
      bad.tangent = good.tangent, bad.target = good.target;
      bad.oracle = solver.oracle();
      bad.theta.back() = NAN;
      EXPECT_TRUE(only_last_is_nan(bad, operation));
    }
    device_memory first, second;
    perturb_cost_options cost = solver.cost();
    const std::vector<float> expected = run_cost(first, cuda.get(), good, cost);
    solver.spoiled_row = 3;
    const std::vector<float> got = run_cost(second, cuda.get(), good, cost);
    const size_t clean = expected.size() / c.batch * (c.batch - 1);
    EXPECT_TRUE(same_bits({expected.begin(), expected.begin() + clean}, {got.begin(), got.begin() + clean}));
    for (size_t i = clean; i < got.size(); ++i) EXPECT_TRUE(std::isnan(got[i])) << i;
  }
}

// With options.negative ERROR the CPU refuses a call that holds such a row; here the row is NaN.
TEST_F(cuda_custom, cost_of_a_grid_that_refuses_negative_costs) {
  case_list list;
  test_case c = list.grid_case(4, 5);
  c.batch = 3;
  c.samples = 140;
  c.epsilon = 0.05f;  // costs are 2 to 9
  c.baseline = PERTURB_BASELINE_UNPERTURBED;
  perturb_grid_path_options options = PERTURB_GRID_PATH_OPTIONS_INIT;
  options.height = c.height;
  options.width = c.width;
  options.target = c.target;
  options.negative = PERTURB_NEGATIVE_ERROR;
  options.cost_floor = 0.25f;
  both_memories costs{c.n, c.n};
  prepared_case good(cpu.get(), c), bad(cpu.get(), c);
  good.oracle = make_grid(options);
  bad.oracle = make_grid(options);
  bad.theta[c.n + 3] = 0.2501f;  // below in some sample
  host_memory host;
  device_memory device;
  const std::vector<float> expected = run_cost(host, cpu.get(), good, costs.cost()), got = run_cost(device, cuda.get(), bad, costs.cost());
  const size_t width = expected.size() / 3;
  for (size_t i = 0; i < got.size(); ++i) {
    count();
    if (i / width == 1) {
      EXPECT_TRUE(std::isnan(got[i])) << i;
    } else {
      EXPECT_EQ(std::bit_cast<uint32_t>(expected[i]), std::bit_cast<uint32_t>(got[i])) << i;
    }
  }
}

// ---------------------------------------------------------------- failures, memory, graphs

TEST_F(cuda_custom, failures) {
  test_case c = shape(6, 3, 300);
  both_memories solver{c.n, c.n};
  prepared_case p(cpu.get(), c);
  p.oracle = solver.oracle();
  for (bool throws : {false, true}) {
    solver.throws = throws;
    const std::string word = throws ? "threw an exception: no stream of thought" : "returned 77";
    for (perturb_operation operation : custom_operations)
      for (int64_t at : {0, 1}) {
        if (at == 1 && operation < PERTURB_OP_LPGD) continue;  // they solve once; LPGD and its family at two inputs
        SCOPED_TRACE(std::string(operation_names[operation]) + " call " + std::to_string(at));
        solver.forget();
        solver.failing_call = at;
        device_memory memory;
        try {
          (void)run_rows(memory, cuda.get(), p, operation, make_noise(c, p.factors), 0, c.batch);
          ADD_FAILURE() << "succeeded";
        } catch (const std::runtime_error& error) {
          EXPECT_NE(std::string(error.what()).find("PERTURB_ERROR_CALLBACK: oracle: the solver, given"), std::string::npos) << error.what();
          EXPECT_NE(std::string(error.what()).find(word), std::string::npos) << error.what();
        }
        EXPECT_TRUE(operation == PERTURB_OP_SAMPLE || memory.untouched());  // samples go straight to the caller's array
        count(3);
        solver.failing_call = -1;
      }
    solver.forget();
    solver.failing_call = 0;
    prepared_case built_in(cpu.get(), c);
    device_memory memory;
    try {
      (void)run_cost(memory, cuda.get(), built_in, solver.cost());
      ADD_FAILURE() << "succeeded";
    } catch (const std::runtime_error& error) {
      EXPECT_NE(std::string(error.what()).find("options: the cost function"), std::string::npos) << error.what();
    }
    EXPECT_TRUE(memory.untouched());
    solver.failing_call = -1;
    same(p, PERTURB_OP_VJP);
  }
}

// ---------------------------------------------------------------- a status of rows

// Lent to a context for as long as this object lives.
struct lent_status {
  perturb_context* context;
  int64_t batch;
  device_buffer status, clamped;

  lent_status(perturb_context* to, int64_t rows) : context(to), batch(rows), status(rows * sizeof(int32_t)), clamped(rows * sizeof(int64_t)) {
    require_cuda(cudaMemset(clamped.as<void>(), 0xa5, rows * sizeof(int64_t)));
    require(perturb_context_set_row_status(context, status.as<int32_t>(), clamped.as<int64_t>()));
  }
  ~lent_status() { (void)perturb_context_set_row_status(context, nullptr, nullptr); }
  template <class T>
  std::vector<T> read(const device_buffer& from) const {
    std::vector<T> values(batch);
    require_cuda(cudaDeviceSynchronize());
    require_cuda(cudaMemcpy(values.data(), from.as<T>(), batch * sizeof(T), cudaMemcpyDeviceToHost));
    return values;
  }
  std::vector<int32_t> statuses() const { return read<int32_t>(status); }
  std::vector<int64_t> counts() const { return read<int64_t>(clamped); }
};

// Two refused rows of five, and one that the solver spoils, which the CPU has no status for: each by its own status, the others as on the CPU.
TEST_F(cuda_custom, status_of_rows) {
  for (int64_t samples : {4, 300}) {
    test_case c = shape(6, 5, samples);
    c.per_item = false;
    both_memories solver{c.n, c.n};
    prepared_case p(cpu.get(), c);
    p.factors = std::vector<float>(c.n, 1.0f);
    p.factors[0] = 0;  // item 0 tells the rows apart
    p.c.per_item = true;
    for (int64_t b = 0; b < c.batch; ++b) p.theta[b * c.n] = p.theta_true[b * c.n] = static_cast<float>(b % 4), p.cotangent[b * c.n] = 0;
    p.oracle = solver.oracle();
    prepared_case bad(cpu.get(), p.c);
    bad.theta = p.theta, bad.theta_true = p.theta_true, bad.cotangent = p.cotangent, bad.tangent = p.tangent, bad.target = p.target, bad.factors = p.factors;
    bad.oracle = solver.oracle();
    bad.theta[1 * c.n + 2] = NAN;
    for (std::vector<float>* operand : {&bad.cotangent, &bad.tangent, &bad.target, &bad.theta_true}) (*operand)[4 * c.n + 3] = HUGE_VALF;
    for (perturb_operation operation : custom_operations) {
      SCOPED_TRACE(operation_names[operation]);
      const bool operand = operation != PERTURB_OP_SOLVE && operation != PERTURB_OP_SAMPLE && operation != PERTURB_OP_EXPECTATION && operation != PERTURB_OP_JACOBIAN;
      solver.spoiled_from = INFINITY;
      const std::vector<float> expected = run_all(cpu.get(), p, operation);
      solver.spoiled_from = 3;  // row 3
      const lent_status lent(cuda.get(), c.batch);
      device_memory memory;
      const std::vector<float> got = run_rows(memory, cuda.get(), bad, operation, make_noise(bad.c, bad.factors), 0, c.batch);
      EXPECT_EQ(lent.statuses(), (std::vector<int32_t>{PERTURB_OK, PERTURB_ERROR_NON_FINITE, PERTURB_OK, PERTURB_ERROR_CALLBACK,
                                                       operand ? PERTURB_ERROR_NON_FINITE : PERTURB_OK}));
      EXPECT_EQ(lent.counts(), std::vector<int64_t>(c.batch, 0));
      const size_t width = expected.size() / c.batch;
      for (size_t i = 0; i < got.size(); ++i) {
        const size_t b = i / width;
        const bool refused = b == 1 || b == 3 || (b == 4 && operand);
        ASSERT_TRUE(refused ? std::isnan(got[i]) : std::bit_cast<uint32_t>(got[i]) == std::bit_cast<uint32_t>(expected[i])) << "row " << b << " holds " << got[i];
      }
      count(got.size());
    }
    solver.spoiled_from = INFINITY;
    solver.spoiled_row = 2;  // its cost
    const lent_status lent(cuda.get(), c.batch);
    device_memory memory;
    run_cost(memory, cuda.get(), bad, solver.cost());
    EXPECT_EQ(lent.statuses(), (std::vector<int32_t>{PERTURB_OK, PERTURB_ERROR_NON_FINITE, PERTURB_ERROR_CALLBACK, PERTURB_OK, PERTURB_OK}));
    count();
  }
}

// Costs of grids: refused ones, and the CPU's counts of clamped ones, in one tile and in many.
TEST_F(cuda_custom, status_of_costs_on_grids) {
  for (int64_t samples : {20, 300}) {
    test_case c = case_list().grid_case(5, 6);
    c.batch = 4;
    c.samples = samples;
    c.theta = inputs::cheap;
    c.cost_floor = 0.4f;
    c.wall = walls::random_nan;
    both_memories costs{c.n, c.n};
    prepared_case p(cpu.get(), c);
    const std::vector<uint8_t> passable = make_passable(c);
    p.theta[2 * c.n + (std::find(passable.begin(), passable.end(), 1) - passable.begin())] = NAN;
    std::vector<int32_t> status(c.batch);
    std::vector<int64_t> clamped(c.batch);
    require(perturb_context_set_row_status(cpu.get(), status.data(), clamped.data()));
    host_memory host;
    const std::vector<float> expected = run_cost(host, cpu.get(), p, costs.cost());
    require(perturb_context_set_row_status(cpu.get(), nullptr, nullptr));
    EXPECT_GT(clamped[0], 0);
    EXPECT_EQ(clamped[2], 0);
    {
      const lent_status lent(cuda.get(), c.batch);
      device_memory device;
      const std::vector<float> got = run_cost(device, cuda.get(), p, costs.cost());
      EXPECT_EQ(lent.statuses(), status);
      EXPECT_EQ(lent.counts(), clamped);
      for (size_t i = 0; i < got.size(); ++i) ASSERT_TRUE(std::isnan(expected[i]) ? std::isnan(got[i]) : got[i] == expected[i]) << i;
    }
    perturb_grid_path_options options = PERTURB_GRID_PATH_OPTIONS_INIT;
    options.height = c.height;
    options.width = c.width;
    options.target = c.n - 1;
    options.negative = PERTURB_NEGATIVE_ERROR;
    options.cost_floor = 0.25f;
    p.oracle = make_grid(options);
    p.c.epsilon = 0.05f;
    p.c.baseline = PERTURB_BASELINE_UNPERTURBED;
    std::fill(p.theta.begin(), p.theta.end(), 2.0f);
    p.theta[c.n + 3] = 0.2501f;  // below in some sample
    const lent_status lent(cuda.get(), c.batch);
    device_memory device;
    run_cost(device, cuda.get(), p, costs.cost());
    EXPECT_EQ(lent.statuses(), (std::vector<int32_t>{PERTURB_OK, PERTURB_ERROR_INVALID_ARGUMENT, PERTURB_OK, PERTURB_OK}));
    EXPECT_EQ(lent.counts(), std::vector<int64_t>(c.batch, 0));
    count(3);
  }
}

TEST_F(cuda_custom, solvers_for_the_other_memory_are_refused) {
  prepared_case p(cpu.get(), shape(6, 2, 10));
  p.oracle = make_custom_argmax();
  for (perturb_operation operation : custom_operations) {
    device_memory memory;
    try {
      (void)run_rows(memory, cuda.get(), p, operation, make_noise(p.c, p.factors), 0, 2);
      ADD_FAILURE() << operation_names[operation] << " succeeded";
    } catch (const std::runtime_error& error) {
      EXPECT_NE(std::string(error.what()).find("UNSUPPORTED: oracle: it was made without options.enqueue"), std::string::npos)
          << error.what();
    }
    EXPECT_TRUE(memory.untouched());
    count();
  }
}

// The advertised workspace is enough, one byte less is not, and calls captured with it replay on new inputs.
TEST(cuda_custom_graphs, replay) {
  const stream on;
  const context_ptr cpu = make_context(1), cuda = make_cuda_context(on.handle);
  ASSERT_TRUE(cuda) << perturb_last_error();
  for (perturb_baseline baseline : {PERTURB_BASELINE_LEAVE_ONE_OUT, PERTURB_BASELINE_UNPERTURBED})
    for (entry_point entry : entry_points) {
      if (entry == entry_point::noise_fill || of_sorts(entry)) continue;
      SCOPED_TRACE(name_of(entry));
      test_case c = shape(6, 3, 200);
      c.baseline = baseline;
      both_memories solver{c.n, c.n};
      solver.stream = on.handle;
      prepared_case p(cpu.get(), c);
      p.oracle = solver.oracle();
      device_call call(cuda.get(), p, entry);
      host_call host(cpu.get(), p, entry);
      call.valid.cost = host.valid.cost = solver.cost();
      const size_t bytes = workspace_of(call.valid);
      device_buffer workspace(bytes);
      require(perturb_context_set_workspace(cuda.get(), workspace.as<void>(), bytes - 1));
      EXPECT_EQ(call.valid.call(), PERTURB_ERROR_WORKSPACE_TOO_SMALL);
      require(perturb_context_set_workspace(cuda.get(), workspace.as<void>(), bytes));
      cudaGraph_t graph = nullptr;
      cudaGraphExec_t executable = nullptr;
      require_cuda(cudaStreamBeginCapture(on.handle, cudaStreamCaptureModeGlobal));
      EXPECT_EQ(call.valid.call(), PERTURB_OK) << perturb_last_error();
      require_cuda(cudaStreamEndCapture(on.handle, &graph));
      require_cuda(cudaGraphInstantiate(&executable, graph, 0));
      EXPECT_TRUE(call.memory.untouched());
      EXPECT_FALSE(solver.wrong_stream);
      for (int turn : {0, 1}) {
        test_case other = c;
        other.seed += turn;
        prepared_case q(cpu.get(), other);
        q.c.seed = c.seed;
        q.factors = p.factors;
        q.oracle = solver.oracle();
        host_call expected(cpu.get(), q, entry);
        expected.valid.cost = solver.cost();
        require_cuda(
            cudaMemcpy(const_cast<float*>(call.valid.theta), q.theta.data(), q.theta.size() * sizeof(float), cudaMemcpyHostToDevice));
        if (call.valid.extra)
          require_cuda(cudaMemcpy(const_cast<float*>(call.valid.extra), expected.valid.extra, q.theta.size() * sizeof(float),
                                  cudaMemcpyHostToDevice));
        call.memory.reset_outputs();
        require_cuda(cudaGraphLaunch(executable, on.handle));
        require_cuda(cudaStreamSynchronize(on.handle));
        EXPECT_TRUE(same_bits(expected.run(), call.results())) << "inputs " << turn;
      }
      require(perturb_context_set_workspace(cuda.get(), nullptr, 0));
      require_cuda(cudaGraphExecDestroy(executable));
      require_cuda(cudaGraphDestroy(graph));
    }
}

}  // namespace
}  // namespace perturb::test
