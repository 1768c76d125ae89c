// One call of each operation and kind of noise that workloads.h leaves out, at a size that users meet: what bench_cpu and bench_cuda_calls time.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "../tests/operations.h"

#ifdef __CUDACC__
#define PERTURB_BENCH_BOTH __host__ __device__
#else
#define PERTURB_BENCH_BOTH
#endif

namespace perturb::bench {

// ---------------------------------------------------------------- callbacks, for either memory

constexpr int knapsack_items = 20, knapsack_capacity = 60;

// The best set of items of sizes 3 to 12, item i of size 3 + 7 i mod 10, that fits: by dynamic programming over capacities.
PERTURB_BENCH_BOTH inline void knapsack(const float* value, float* y) {
  float best[knapsack_capacity + 1];
  uint32_t chosen[knapsack_capacity + 1];
  for (int c = 0; c <= knapsack_capacity; ++c) best[c] = 0, chosen[c] = 0;
  for (int i = 0; i < knapsack_items; ++i) {
    const int size = 3 + 7 * i % 10;
    for (int c = knapsack_capacity; c >= size; --c) {
      if (!(best[c - size] + value[i] > best[c])) continue;
      best[c] = best[c - size] + value[i];
      chosen[c] = chosen[c - size] | 1u << i;
    }
  }
  for (int i = 0; i < knapsack_items; ++i) y[i] = static_cast<float>(chosen[knapsack_capacity] >> i & 1);
}

// Of the argmax of 100 items: its place, squared, other in every row.
constexpr int64_t cost_items = 100;
PERTURB_BENCH_BOTH inline float squared_place(const float* y, int64_t row) {
  float place = static_cast<float>(row);
  for (int64_t i = 0; i < cost_items; ++i) place += static_cast<float>(i) * y[i];
  return 1e-3f * place * place;
}

inline int32_t solve_knapsacks(int64_t count, const float* theta, float* y, void*, void*) {
  for (int64_t k = 0; k < count; ++k) knapsack(theta + k * knapsack_items, y + k * knapsack_items);
  return 0;
}
inline int32_t squared_places(int64_t count, const float* y, const int64_t* row, float* cost, void*, void*) {
  for (int64_t k = 0; k < count; ++k) cost[k] = squared_place(y + k * cost_items, row[k]);
  return 0;
}

// ---------------------------------------------------------------- calls

struct timed_call {
  std::string name;
  int64_t problems, n;  // what one call solves
  std::function<perturb_status()> run;
};

// Their arrays live in `Memory`: input(values, count) and output(count), as test::host_memory has them. `knapsacks` and `places`: the callbacks of the
// memory, without which the context refuses the calls. `cpu` makes inputs.
template <class Memory>
class call_list {
 public:
  std::vector<timed_call> all;

  // samples: of a row, but for the calls that take ten times fewer.
  call_list(perturb_context* cpu, perturb_context* context, perturb_solver knapsacks, perturb_cost places, int64_t samples) : cpu_(cpu), context_(context) {
    test::case_list make;
    const int64_t few = samples / 10;
    for (const perturb_operation operation : {PERTURB_OP_EXPECTATION, PERTURB_OP_VJP, PERTURB_OP_SORTED_VALUES, PERTURB_OP_SORTED_VALUES_VJP})
      add_case("sort/n:100", make.sort_case(100, 100), operation, 8, samples);
    for (const bool vjp : {false, true}) add_neighbors(vjp, few);
    add_case("argmax/n:32", make.argmax_case(32), PERTURB_OP_COVARIANCE, 8, samples);
    add_case("rank/n:100", make.rank_case(100), PERTURB_OP_VJP_EPSILON, 8, samples);
    add_case("rank/n:100", make.rank_case(100), PERTURB_OP_LPGD, 256, 1);
    add_case("path/32x32", make.grid_case(32, 32), PERTURB_OP_LPGD, 64, 1);
    add_case("top_k/n:1000/k:10", make.top_k_case(1000, 10), PERTURB_OP_IMLE, 4, few);
    add_case("path/32x32", make.grid_case(32, 32), PERTURB_OP_IMLE, 4, few);
    add_case("path/32x32", make.grid_case(32, 32), PERTURB_OP_SPO_PLUS, 64, 1);
    add_cost(places, samples);
    add_knapsack(knapsacks, samples);
    add_accumulator(samples);
    test::test_case latin = make.argmax_case(1000);
    latin.sampling = PERTURB_SAMPLING_LATIN;
    add_case("argmax/n:1000/latin", latin, PERTURB_OP_EXPECTATION, 8, samples);
    add_given(few);
  }
  call_list(const call_list&) = delete;
  call_list& operator=(const call_list&) = delete;

 private:
  // Inputs of a case, on the host: what `Memory` gets copies of.
  const test::prepared_case& prepare(test::test_case c, int64_t batch, int64_t samples) {
    c.distribution = PERTURB_NORMAL;
    c.baseline = PERTURB_BASELINE_LEAVE_ONE_OUT;
    c.epsilon = c.is_grid() ? 0.1f : 1.0f;
    c.batch = batch;
    c.samples = samples;
    c.prox = false;
    cases_.emplace_back(cpu_, c);
    noises_.push_back(test::make_noise(c, {}));
    return cases_.back();
  }
  // Values that no case has: `Memory` may point to them.
  const float* input(std::vector<float> values) {
    values_.push_back(std::move(values));
    return memory_.input(values_.back().data(), static_cast<int64_t>(values_.back().size()));
  }
  const float* theta_of(const test::prepared_case& p) { return memory_.input(p.theta.data(), p.c.batch * p.c.n); }

  void add(const std::string& name, const test::test_case& c, std::function<perturb_status()> run) { all.push_back({name, c.batch * c.samples, c.n, std::move(run)}); }

  void add_case(const std::string& name, const test::test_case& of, perturb_operation operation, int64_t batch, int64_t samples) {
    const test::prepared_case& p = prepare(of, batch, samples);
    const perturb_noise* noise = &noises_.back();
    const perturb_oracle* oracle = p.oracle.get();
    const int64_t n = p.c.n, m = p.c.m();
    perturb_context* const context = context_;
    const float* theta = theta_of(p);
    const auto operand = [&](const std::vector<float>& values, int64_t width) { return memory_.input(values.data(), batch * width); };
    switch (operation) {
      case PERTURB_OP_EXPECTATION: {
        float* y = memory_.output(batch * m);
        return add(name + "/expectation", p.c, [=] { return perturb_expectation(context, oracle, noise, batch, theta, y, nullptr, nullptr, nullptr); });
      }
      case PERTURB_OP_VJP: {
        const float* g = operand(p.cotangent, m);
        float* out = memory_.output(batch * n);
        return add(name + "/vjp", p.c, [=] { return perturb_vjp(context, oracle, noise, batch, theta, g, out); });
      }
      case PERTURB_OP_SORTED_VALUES: {
        float* values = memory_.output(batch * p.c.k);
        return add(name + "/sorted_values", p.c, [=] { return perturb_sorted_values(context, oracle, noise, batch, theta, values, nullptr); });
      }
      case PERTURB_OP_SORTED_VALUES_VJP: {
        const float* g = operand(p.cotangent, p.c.k);
        float* out = memory_.output(batch * n);
        return add(name + "/sorted_values_vjp", p.c, [=] { return perturb_sorted_values_vjp(context, oracle, noise, batch, theta, g, out); });
      }
      case PERTURB_OP_COVARIANCE: {
        float* out = memory_.output(batch * m * m);
        return add(name + "/covariance", p.c, [=] { return perturb_covariance(context, oracle, noise, batch, theta, out); });
      }
      case PERTURB_OP_VJP_EPSILON: {
        const float* g = operand(p.cotangent, m);
        float *of_epsilon = memory_.output(batch), *per_item = memory_.output(batch * n);
        return add(name + "/vjp_epsilon", p.c, [=] { return perturb_vjp_epsilon(context, oracle, noise, batch, theta, g, of_epsilon, per_item); });
      }
      case PERTURB_OP_SPO_PLUS: {
        const float* truth = operand(p.theta_true, n);
        float *loss = memory_.output(batch), *out = memory_.output(batch * n);
        return add(name + "/spo_plus", p.c, [=] { return perturb_spo_plus(context, oracle, batch, theta, truth, loss, out); });
      }
      default: {
        const float* g = operand(p.cotangent, m);
        float* out = memory_.output(batch * n);
        if (operation == PERTURB_OP_LPGD) return add(name + "/lpgd", p.c, [=] { return perturb_lpgd(context, oracle, nullptr, batch, theta, g, out); });
        return add(name + "/imle", p.c, [=] { return perturb_imle(context, oracle, noise, nullptr, batch, theta, g, out); });
      }
    }
  }

  void add_neighbors(bool vjp, int64_t samples) {
    constexpr int64_t queries = 32, points = 1000, d = 16;
    const test::prepared_case& p = prepare(test::case_list().top_k_case(points, 10), queries, samples);
    const perturb_noise* noise = &noises_.back();
    const perturb_oracle* oracle = p.oracle.get();
    perturb_context* const context = context_;
    const auto uniform = [](uint64_t seed, int64_t count) {
      std::vector<float> values(count);
      for (int64_t i = 0; i < count; ++i) values[i] = test::uniform_float(seed, i, -1, 1);
      return values;
    };
    const float *q = input(uniform(1, queries * d)), *x = input(uniform(2, points * d));
    if (!vjp) {
      float* y = memory_.output(queries * points);
      return add("nearest_neighbors/points:1000/k:10", p.c, [=] { return perturb_nearest_neighbors(context, oracle, noise, queries, d, q, x, y, nullptr); });
    }
    const float* g = memory_.input(p.cotangent.data(), queries * points);
    float *of_queries = memory_.output(queries * d), *of_points = memory_.output(points * d);
    add("nearest_neighbors_vjp/points:1000/k:10", p.c,
        [=] { return perturb_nearest_neighbors_vjp(context, oracle, noise, queries, d, q, x, g, of_queries, of_points); });
  }

  void add_cost(perturb_cost places, int64_t samples) {
    const test::prepared_case& p = prepare(test::case_list().argmax_case(cost_items), 8, samples);
    const perturb_noise* noise = &noises_.back();
    const perturb_oracle* oracle = p.oracle.get();
    perturb_context* const context = context_;
    perturb_cost_options options = PERTURB_COST_OPTIONS_INIT;
    options.thread_safe = 1;
    options.cost = options.enqueue = places;
    const float* theta = theta_of(p);
    float *mean = memory_.output(8), *gradient = memory_.output(8 * cost_items);
    add("argmax/n:100/cost", p.c, [=] { return perturb_cost_expectation(context, oracle, noise, &options, 8, theta, mean, nullptr, gradient); });
  }

  void add_knapsack(perturb_solver knapsacks, int64_t samples) {
    perturb_custom_options options = PERTURB_CUSTOM_OPTIONS_INIT;
    options.n = options.m = knapsack_items;
    options.solve = options.enqueue = knapsacks;
    options.thread_safe = 1;
    knapsack_ = test::make_custom(options);
    const test::prepared_case& p = prepare(test::case_list().argmax_case(knapsack_items), 8, samples);
    const perturb_noise* noise = &noises_.back();
    const perturb_oracle* oracle = knapsack_.get();
    perturb_context* const context = context_;
    const float *theta = theta_of(p), *g = memory_.input(p.cotangent.data(), 8 * knapsack_items);
    float* out = memory_.output(8 * knapsack_items);
    add("knapsack/n:20/expectation", p.c, [=] { return perturb_expectation(context, oracle, noise, 8, theta, out, nullptr, nullptr, nullptr); });
    add("knapsack/n:20/vjp", p.c, [=] { return perturb_vjp(context, oracle, noise, 8, theta, g, out); });
  }

  // Each call adds the samples that follow.
  void add_accumulator(int64_t samples) {
    const test::prepared_case& p = prepare(test::case_list().rank_case(100), 8, samples);
    perturb_accumulator* made = nullptr;
    test::require(perturb_accumulator_create(context_, PERTURB_OP_EXPECTATION, p.oracle.get(), &noises_.back(), 8, &made));
    const std::shared_ptr<perturb_accumulator> accumulator(made, perturb_accumulator_destroy);
    const float* theta = theta_of(p);
    add("rank/n:100/accumulator_add", p.c, [=, next = std::make_shared<int64_t>(0)] {
      const int64_t first = *next;
      *next += samples;
      return perturb_accumulator_add(accumulator.get(), first, samples, theta, nullptr);
    });
  }

  void add_given(int64_t samples) {
    const test::prepared_case& p = prepare(test::case_list().argmax_case(1000), 8, samples);
    perturb_noise& noise = noises_.back();
    std::vector<float> z(8 * samples * 1000);
    test::require(perturb_noise_fill(cpu_, &noise, 8, 1000, z.data()));
    noise.distribution = PERTURB_GIVEN;
    noise.z = input(std::move(z));
    const perturb_noise* given = &noise;
    const perturb_oracle* oracle = p.oracle.get();
    perturb_context* const context = context_;
    const float* theta = theta_of(p);
    float* y = memory_.output(8 * 1000);
    add("argmax/n:1000/given/expectation", p.c, [=] { return perturb_expectation(context, oracle, given, 8, theta, y, nullptr, nullptr, nullptr); });
  }

  perturb_context *cpu_, *context_;
  std::deque<std::vector<float>> values_;
  Memory memory_;
  std::deque<test::prepared_case> cases_;
  std::deque<perturb_noise> noises_;
  test::oracle_ptr knapsack_;
};

}  // namespace perturb::bench
