// Absolute times on Google Benchmark: every workload x {expectation, with value and standard errors, vjp, Fenchel-Young} x {1, 2} threads,
// the baselines, noise of each distribution, and the calls of calls.h. One iteration is one call of batch x samples problems. For ratios that can be
// trusted on a shared machine use bench_ratios.
#include <benchmark/benchmark.h>

#include <iostream>

#include "baselines.h"
#include "calls.h"
#include "machine.h"

namespace perturb::bench {
namespace {

// Items per second, and what one item or one problem costs: nanoseconds, microseconds. By the clock.
void set_counters(benchmark::State& state, int64_t problems, int64_t n) {
  using benchmark::Counter;
  const double items = static_cast<double>(problems) * static_cast<double>(n);
  state.SetItemsProcessed(state.iterations() * problems * n);
  const auto per_unit = static_cast<Counter::Flags>(Counter::kIsIterationInvariantRate | Counter::kInvert);
  state.counters["ns_per_item"] = Counter(items * 1e-9, per_unit);
  state.counters["us_per_problem"] = Counter(static_cast<double>(problems) * 1e-6, per_unit);
}

enum class operation { expectation, expectation_errors, vjp, fenchel_young };
constexpr const char* operation_names[] = {"expectation", "expectation_with_value_and_errors", "vjp", "fenchel_young"};

void run_library(benchmark::State& state, const workload& w, operation what, int threads) {
  const int64_t batch = w.c.batch, size = batch * w.c.n;
  const perturb_noise noise = w.noise();
  const test::context_ptr owner = test::make_context(threads);
  perturb_context* const context = owner.get();
  const perturb_oracle* const oracle = w.oracle.get();
  const float* const theta = w.theta.data();
  std::vector<float> y(size), error(size), value(batch), value_error(batch), argument;
  if (what == operation::vjp) argument = test::make_cotangent(w.c);
  if (what == operation::fenchel_young) argument = test::make_target(context, oracle, w.c);
  perturb_status status = PERTURB_OK;
  for (auto _ : state) {
    switch (what) {
      case operation::expectation:
        status = perturb_expectation(context, oracle, &noise, batch, theta, y.data(), nullptr, nullptr, nullptr);
        break;
      case operation::expectation_errors:
        status = perturb_expectation(context, oracle, &noise, batch, theta, y.data(), error.data(), value.data(), value_error.data());
        break;
      case operation::vjp:
        status = perturb_vjp(context, oracle, &noise, batch, theta, argument.data(), y.data());
        break;
      case operation::fenchel_young:
        status = perturb_fenchel_young(context, oracle, &noise, batch, theta, argument.data(), value.data(), y.data(), nullptr);
        break;
    }
    if (status != PERTURB_OK) {
      state.SkipWithError(perturb_last_error());
      break;
    }
    benchmark::ClobberMemory();
  }
  set_counters(state, w.problems(), w.c.n);
}

void run_naive(benchmark::State& state, const workload& w) {
  std::vector<float> y(w.theta.size());
  uint64_t seed = 0;
  for (auto _ : state) {
    run_baseline(w, w.c.batch, w.baseline_samples, ++seed, y.data());
    benchmark::ClobberMemory();
  }
  set_counters(state, w.c.batch * w.baseline_samples, w.c.n);
}

constexpr int64_t noise_samples = 1000, noise_items = 1000;

void run_noise(benchmark::State& state, perturb_distribution distribution, int threads) {
  const perturb_noise noise = test::make_noise(distribution, 1, noise_samples);
  const test::context_ptr context = test::make_context(threads);
  std::vector<float> z(noise_samples * noise_items);
  for (auto _ : state) {
    if (perturb_noise_fill(context.get(), &noise, 1, noise_items, z.data()) != PERTURB_OK) {
      state.SkipWithError(perturb_last_error());
      break;
    }
    benchmark::ClobberMemory();
  }
  set_counters(state, noise_samples, noise_items);
}

void run_naive_noise(benchmark::State& state) {
  std::vector<float> z(noise_items * 20);
  uint64_t seed = 0;
  for (auto _ : state) {
    fill_baseline(static_cast<int64_t>(z.size()), ++seed, z.data());
    benchmark::ClobberMemory();
  }
  set_counters(state, 20, noise_items);
}

void run_call(benchmark::State& state, const timed_call& call) {
  for (auto _ : state) {
    if (call.run() != PERTURB_OK) {
      state.SkipWithError(perturb_last_error());
      break;
    }
    benchmark::ClobberMemory();
  }
  set_counters(state, call.problems, call.n);
}

using host_calls = call_list<test::host_memory>;
constexpr int64_t call_samples = 1000;

template <class F>
void add(const std::string& name, F&& function) {
  benchmark::RegisterBenchmark(name.c_str(), function)->UseRealTime()->MeasureProcessCPUTime()->Unit(benchmark::kMillisecond);
}

void add_all(const std::vector<workload>& all, const std::vector<std::pair<int, const host_calls*>>& calls) {
  for (const workload& w : all) {
    add(w.slug + "/baseline", [&w](benchmark::State& state) { run_naive(state, w); });
    for (operation what : {operation::expectation, operation::expectation_errors, operation::vjp, operation::fenchel_young}) {
      for (int threads : {1, 2})
        add(w.slug + "/" + operation_names[static_cast<int>(what)] + "/threads:" + std::to_string(threads),
            [&w, what, threads](benchmark::State& state) { run_library(state, w, what, threads); });
    }
  }
  add("noise/normal/baseline", run_naive_noise);
  for (perturb_distribution d : {PERTURB_NORMAL, PERTURB_GUMBEL, PERTURB_LOGISTIC, PERTURB_LAPLACE})
    for (int threads : {1, 2})
      add(std::string("noise/") + test::distribution_name(d) + "/threads:" + std::to_string(threads),
          [d, threads](benchmark::State& state) { run_noise(state, d, threads); });
  for (size_t i = 0; i < calls[0].second->all.size(); ++i)
    for (const auto& [threads, list] : calls)
      add("calls/" + list->all[i].name + "/threads:" + std::to_string(threads),
          [&call = list->all[i]](benchmark::State& state) { run_call(state, call); });
}

}  // namespace
}  // namespace perturb::bench

int main(int argc, char** argv) try {
  using namespace perturb::bench;
  std::vector<char*> arguments(argv, argv + argc);
  char min_time[] = "--benchmark_min_time=0.2";  // the full run takes a minute or two; the command line overrides it
  arguments.insert(arguments.begin() + 1, min_time);
  argc = static_cast<int>(arguments.size());
  arguments.push_back(nullptr);
  benchmark::Initialize(&argc, arguments.data());
  if (benchmark::ReportUnrecognizedArguments(argc, arguments.data())) return 1;
  const std::vector<workload> all = workloads();
  for (const workload& w : all)
    if (const std::string text = disagreement(w); !text.empty())
      throw std::runtime_error("library and baseline disagree, nothing was timed. " + text);
  for (const auto& [key, value] : machine()) benchmark::AddCustomContext(key, value);
  const perturb::test::context_ptr one = perturb::test::make_context(1), two = perturb::test::make_context(2);
  const host_calls on_one(one.get(), one.get(), solve_knapsacks, squared_places, call_samples), on_two(one.get(), two.get(), solve_knapsacks, squared_places, call_samples);
  add_all(all, {{1, &on_one}, {2, &on_two}});
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
} catch (const std::exception& error) {
  std::cerr << "bench_cpu: " << error.what() << "\n";
  return 2;
}
