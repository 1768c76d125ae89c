// Calls that tests make on contexts of every kind, host or device: derivatives in the amplitudes, covariances, nearest neighbours, closed forms, projections. Each
// returns all outputs, one row after the other.
#pragma once

#include "allocator.h"
#include "compare.h"
#include "operations.h"

namespace perturb::test {

inline bool has_vjp_epsilon(const test_case& c) { return c.mode == PERTURB_ADDITIVE; }
inline bool has_covariance(const test_case& c) { return c.has_std_errors() && c.samples > 1 && c.n <= 200 && !c.is_sort(); }

// Rows of several outputs, joined.
template <class Memory>
std::vector<float> joined_rows(Memory& memory, int64_t rows, const std::vector<int64_t>& widths) {
  std::vector<float> joined;
  std::vector<std::vector<float>> parts;
  for (size_t i = 0; i < widths.size(); ++i) parts.push_back(memory.result(i));
  for (int64_t b = 0; b < rows; ++b)
    for (size_t i = 0; i < widths.size(); ++i) joined.insert(joined.end(), parts[i].begin() + b * widths[i], parts[i].begin() + (b + 1) * widths[i]);
  return joined;
}

// [rows, 1 + n] of VJP_EPSILON, [rows, n n] of COVARIANCE.
template <class Memory>
std::vector<float> run_case(Memory& memory, perturb_context* context, const prepared_case& p, perturb_operation operation, int64_t first, int64_t rows) {
  const int64_t n = p.c.n;
  perturb_noise noise = make_noise(p.c, p.factors);
  noise.first_row += first;
  if (noise.epsilon_per_item) noise.epsilon_per_item = memory.input(noise.epsilon_per_item, n);
  const float* theta = memory.input(p.theta.data() + first * n, rows * n);
  if (operation == PERTURB_OP_COVARIANCE) {
    require(perturb_covariance(context, p.oracle.get(), &noise, rows, theta, memory.output(rows * n * n)));
    return joined_rows(memory, rows, {n * n});
  }
  const float* cotangent = memory.input(p.cotangent.data() + first * p.c.m(), rows * p.c.m());
  float *of_epsilon = memory.output(rows), *per_item = memory.output(rows * n);
  require(perturb_vjp_epsilon(context, p.oracle.get(), &noise, rows, theta, cotangent, of_epsilon, per_item));
  return joined_rows(memory, rows, {1, n});
}
inline std::vector<float> run_case(perturb_context* context, const prepared_case& p, perturb_operation operation) {
  host_memory memory;
  return run_case(memory, context, p, operation, 0, p.c.batch);
}

// Queries and points of nearest neighbours; some points coincide, so that there are ties.
struct neighbors_case {
  int64_t batch, dimensions;
  oracle_ptr oracle;
  perturb_noise noise;
  std::vector<float> queries, points, factors, cotangent;

  neighbors_case(int64_t batch_, int64_t n, int64_t k, int64_t d, perturb_distribution distribution, float epsilon, int64_t samples, bool per_item = false)
      : batch(batch_), dimensions(d), oracle(k == 0 ? make_argmax(n) : make_top_k(n, k)), noise(make_noise(distribution, epsilon, samples, 3)) {
    for (int64_t i = 0; i < batch * d; ++i) queries.push_back(uniform_float(71, i, -1, 1));
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = 0; j < d; ++j) points.push_back(uniform_float(72, (i % 5 == 4 ? i - 2 : i) * d + j, -1, 1));
    for (int64_t i = 0; i < batch * n; ++i) cotangent.push_back(uniform_float(73, i, -1, 1));
    for (int64_t i = 0; i < n && per_item; ++i) factors.push_back(i % 4 == 1 ? 0.0f : uniform_float(74, i, 0.5, 2));
    noise.first_row = 2;
    if (per_item) noise.epsilon_per_item = factors.data();
  }
  neighbors_case(const neighbors_case&) = delete;
  neighbors_case& operator=(const neighbors_case&) = delete;
  int64_t n() const { return perturb_oracle_input_size(oracle.get()); }
};

// y_mean and y_std_error of every row; with vjp, gradient_queries of every row, then gradient_points.
template <class Memory>
std::vector<float> run_neighbors(Memory& memory, perturb_context* context, const neighbors_case& p, bool vjp, int64_t first, int64_t rows) {
  const int64_t n = p.n(), d = p.dimensions;
  perturb_noise noise = p.noise;
  noise.first_row += first;
  if (noise.epsilon_per_item) noise.epsilon_per_item = memory.input(noise.epsilon_per_item, n);
  const float *queries = memory.input(p.queries.data() + first * d, rows * d), *points = memory.input(p.points.data(), n * d);
  if (!vjp) {
    float *y = memory.output(rows * n), *error = noise.sampling == PERTURB_SAMPLING_IID ? memory.output(rows * n) : nullptr;
    require(perturb_nearest_neighbors(context, p.oracle.get(), &noise, rows, d, queries, points, y, error));
    return joined_rows(memory, rows, error ? std::vector<int64_t>{n, n} : std::vector<int64_t>{n});
  }
  const float* cotangent = memory.input(p.cotangent.data() + first * n, rows * n);
  float *of_queries = memory.output(rows * d), *of_points = memory.output(n * d);
  require(perturb_nearest_neighbors_vjp(context, p.oracle.get(), &noise, rows, d, queries, points, cotangent, of_queries, of_points));
  std::vector<float> all = memory.result(0);
  const std::vector<float> last = memory.result(1);
  all.insert(all.end(), last.begin(), last.end());
  return all;
}
inline std::vector<float> run_neighbors(perturb_context* context, const neighbors_case& p, bool vjp) {
  host_memory memory;
  return run_neighbors(memory, context, p, vjp, 0, p.batch);
}

// Closed forms: y, value where there is one, and the gradient.
template <class Memory>
std::vector<float> run_exact(Memory& memory, perturb_context* context, const prepared_case& p, int64_t first, int64_t rows) {
  const int64_t n = p.c.n;
  const perturb_noise noise = make_noise(p.c, p.factors);
  const float* theta = memory.input(p.theta.data() + first * n, rows * n);
  const float* cotangent = memory.input(p.cotangent.data() + first * n, rows * n);
  float *y = memory.output(rows * n), *gradient = memory.output(rows * n), *value = p.c.oracle == oracle_kind::top_k ? nullptr : memory.output(rows);
  require(perturb_exact_expectation(context, p.oracle.get(), &noise, rows, theta, y, value));
  require(perturb_exact_vjp(context, p.oracle.get(), &noise, rows, theta, cotangent, gradient));
  return joined_rows(memory, rows, value ? std::vector<int64_t>{n, n, 1} : std::vector<int64_t>{n, n});
}
inline std::vector<float> run_exact(perturb_context* context, const prepared_case& p) {
  host_memory memory;
  return run_exact(memory, context, p, 0, p.c.batch);
}

// Every closed form: sizes around the parts that sums are cut into, ties, and scores far apart.
inline std::vector<test_case> exact_cases() {
  case_list list;
  const auto add = [&](test_case c, perturb_distribution d, float epsilon) {
    c.distribution = d;
    c.epsilon = epsilon;
    c.batch = 3;
    list.add(c, "");
  };
  for (inputs theta : {inputs::distinct, inputs::ties})
    for (float epsilon : {0.5f, 1e-3f, 100.0f}) {
      for (int64_t n : {1, 2, 5, 127, 128, 129, 300}) add(list.argmax_case(n, theta), PERTURB_GUMBEL, epsilon);
      for (int64_t n : {1, 2, 5, 130})
        for (perturb_distribution d : {PERTURB_GUMBEL, PERTURB_NORMAL}) add(list.rank_case(n, n % 2, n % 3 == 0, theta), d, epsilon);
      for (int64_t n : {1, 2, 5, 10})
        for (int64_t k : {int64_t{1}, (n + 1) / 2, n}) add(list.top_k_case(n, k, theta), PERTURB_GUMBEL, epsilon);
    }
  add(list.top_k_case(16, 8), PERTURB_GUMBEL, 0.3f);
  add(list.argmax_case(2000), PERTURB_GUMBEL, 0.3f);
  add(list.argmax_case(5), PERTURB_GUMBEL, 0);
  add(list.rank_case(5), PERTURB_NORMAL, 0);
  return list.all;
}

constexpr perturb_projection projections[] = {PERTURB_PROJECTION_NONE, PERTURB_PROJECTION_MEAN, PERTURB_PROJECTION_NORM, PERTURB_PROJECTION_STD};
inline bool has_projection(const test_case& c, perturb_projection projection) {
  return !c.is_grid() || projection == PERTURB_PROJECTION_NONE || projection == PERTURB_PROJECTION_NORM;
}

// theta projected, and the gradient where the oracle has one.
template <class Memory>
std::vector<float> run_identity(Memory& memory, perturb_context* context, const prepared_case& p, perturb_projection projection, int64_t first, int64_t rows) {
  const int64_t n = p.c.n;
  const float* theta = memory.input(p.theta.data() + first * n, rows * n);
  require(perturb_project(context, p.oracle.get(), projection, rows, theta, memory.output(rows * n)));
  if (p.c.is_sort()) return joined_rows(memory, rows, {n});
  const float* cotangent = memory.input(p.cotangent.data() + first * n, rows * n);
  require(perturb_identity_vjp(context, p.oracle.get(), projection, rows, theta, cotangent, memory.output(rows * n)));
  return joined_rows(memory, rows, {n, n});
}
inline std::vector<float> run_identity(perturb_context* context, const prepared_case& p, perturb_projection projection) {
  host_memory memory;
  return run_identity(memory, context, p, projection, 0, p.c.batch);
}

// Every oracle, sizes around the parts that sums are cut into, walls, and numbers of every size.
inline std::vector<test_case> identity_cases() {
  case_list list;
  for (int64_t n : {1, 2, 3, 31, 64, 127, 128, 129, 255, 256, 257, 1000}) {
    list.add(list.argmax_case(n), "");
    list.add(list.rank_case(n, n % 2), "");
  }
  for (inputs theta : {inputs::ties, inputs::equal, inputs::zeros, inputs::huge}) {
    list.add(list.argmax_case(9, theta), "");
    list.add(list.top_k_case(130, 7, theta), "");
  }
  list.add(list.sort_case(20, 20), "");
  list.add(list.sort_case(30, 4), "");
  list.add(list.grid_case(4, 5), "");
  for (walls wall : {walls::random, walls::random_nan}) {
    test_case c = list.grid_case(12, 13);
    c.wall = wall;
    list.add(c, "walls");
  }
  for (test_case& c : list.all) c.batch = 3;
  return list.all;
}

// The call gives the bits of `expected` on any number of threads, on every instruction set, and in the workspace that is advertised, where it allocates
// nothing.
template <class Run>
testing::AssertionResult same_everywhere(const std::vector<float>& expected, perturb_operation operation, const perturb_oracle* oracle,
                                         const perturb_noise* noise, int64_t batch, Run run) {
  for (const char* isa : {"scalar", "avx2", "avx512"})
    for (int32_t threads : {1, 3}) {
      const context_ptr context = make_context_on(isa, threads);
      if (!context) continue;
      const auto same = same_bits(expected, run(context.get()));
      if (!same) return testing::AssertionFailure() << isa << ", " << threads << " threads: " << same.message();
    }
  watching_allocator allocator;
  const context_ptr context = make_context(2, allocator.hooks());
  size_t bytes = 0;
  require(perturb_workspace_size(context.get(), operation, oracle, noise, batch, &bytes));
  std::vector<unsigned char> memory(bytes + 2, 0xa5);
  require(perturb_context_set_workspace(context.get(), memory.data() + 1, bytes));
  const int64_t calls = allocator.calls;
  const auto same = same_bits(expected, run(context.get()));
  if (!same) return testing::AssertionFailure() << "in a workspace: " << same.message();
  if (memory.front() != 0xa5 || memory.back() != 0xa5) return testing::AssertionFailure() << "wrote beside its workspace";
  if (allocator.calls != calls) return testing::AssertionFailure() << "allocated although it had a workspace";
  return testing::AssertionSuccess();
}

}  // namespace perturb::test
