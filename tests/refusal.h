// Calls with one argument made wrong. A `request` is a valid call of any operation whose parts a test may spoil; refused() makes the
// call and checks everything the header promises about a failure: the status, a sentence that names the argument, outputs untouched.
#pragma once

#include <initializer_list>
#include <string>

#include "compare.h"

namespace perturb::test {

// All operations that take arrays, and perturb_noise_fill, which has no enumerator.
enum class entry_point { solve, sample, expectation, vjp, jvp, jacobian, fenchel_young, lpgd, imle, spo_plus, sorted_values, sorted_values_vjp, cost, noise_fill };
inline constexpr entry_point entry_points[] = {entry_point::solve,         entry_point::sample,    entry_point::expectation,
                                               entry_point::vjp,           entry_point::jvp,       entry_point::jacobian,
                                               entry_point::fenchel_young, entry_point::lpgd,      entry_point::imle,
                                               entry_point::spo_plus,      entry_point::sorted_values,
                                               entry_point::sorted_values_vjp, entry_point::cost, entry_point::noise_fill};
inline constexpr const char* entry_names[] = {"solve", "sample", "expectation", "vjp",           "jvp",               "jacobian",  "fenchel_young",
                                              "lpgd",  "imle",   "spo_plus",    "sorted_values", "sorted_values_vjp", "cost", "noise_fill"};

// noise_fill has none: it uses the workspace of no operation.
constexpr perturb_operation operation_of(entry_point entry) {
  constexpr perturb_operation of[] = {PERTURB_OP_SOLVE,         PERTURB_OP_SAMPLE, PERTURB_OP_EXPECTATION, PERTURB_OP_VJP,      PERTURB_OP_JVP,   PERTURB_OP_JACOBIAN,
                                      PERTURB_OP_FENCHEL_YOUNG, PERTURB_OP_LPGD,   PERTURB_OP_IMLE,        PERTURB_OP_SPO_PLUS, PERTURB_OP_SORTED_VALUES,
                                      PERTURB_OP_SORTED_VALUES_VJP, PERTURB_OP_COST, PERTURB_OP_SAMPLE};
  return of[static_cast<int>(entry)];
}

// LPGD and its family.
constexpr bool resolves(entry_point entry) { return entry == entry_point::lpgd || entry == entry_point::imle || entry == entry_point::spo_plus; }
constexpr bool of_sorts(entry_point entry) { return entry == entry_point::sorted_values || entry == entry_point::sorted_values_vjp; }

// The oracles that a call is offered for.
enum class oracle_family { built_in, custom, sort };
constexpr bool offered(entry_point entry, oracle_family family) {
  switch (family) {
    case oracle_family::built_in:
      return !of_sorts(entry);
    case oracle_family::custom:
      return !of_sorts(entry);
    case oracle_family::sort:
      break;
  }
  return !resolves(entry) && entry != entry_point::fenchel_young;
}

// A cost function: the entry in the middle of y, whose size m is what `user` points to.
inline int32_t middle_entry(int64_t count, const float* y, const int64_t*, float* cost, void*, void* user) {
  const int64_t m = *static_cast<const int64_t*>(user);
  for (int64_t k = 0; k < count; ++k) cost[k] = y[k * m + m / 2];
  return 0;
}

struct request {
  entry_point entry = entry_point::solve;
  perturb_context* context = nullptr;
  const perturb_oracle* oracle = nullptr;
  const perturb_noise* noise = nullptr;
  int64_t batch = 0, n = 0, m = 0;
  const float* theta = nullptr;
  const float* extra = nullptr;  // cotangent, tangent, target or true theta
  perturb_lpgd_options lpgd = PERTURB_LPGD_OPTIONS_INIT;
  perturb_cost_options cost = PERTURB_COST_OPTIONS_INIT;
  float* output[4] = {nullptr, nullptr, nullptr, nullptr};
  bool has_value = true;  // of the oracle

  const char* extra_name() const {
    switch (entry) {
      case entry_point::vjp:
      case entry_point::lpgd:
      case entry_point::imle:
      case entry_point::sorted_values_vjp:
        return "cotangent";
      case entry_point::jvp:
        return "tangent";
      case entry_point::fenchel_young:
        return "target";
      case entry_point::spo_plus:
        return "theta_true";
      default:
        return "";
    }
  }
  bool takes_noise() const { return entry != entry_point::solve && entry != entry_point::lpgd && entry != entry_point::spo_plus; }
  bool takes_oracle() const { return entry != entry_point::noise_fill; }
  // The names of the outputs, required ones first; `required` tells how many those are.
  std::vector<const char*> output_names() const {
    switch (entry) {
      case entry_point::solve:
        if (!has_value) return {"y"};
        return {"y", "value"};
      case entry_point::sample:
        return {"y"};
      case entry_point::expectation:
        if (!has_value) return {"y_mean", "y_std_error"};
        return {"y_mean", "y_std_error", "value", "value_std_error"};
      case entry_point::vjp:
      case entry_point::lpgd:
      case entry_point::imle:
      case entry_point::sorted_values_vjp:
        return {"gradient"};
      case entry_point::jvp:
        return {"derivative"};
      case entry_point::jacobian:
        return {"jacobian"};
      case entry_point::fenchel_young:
        return {"loss", "gradient", "epsilon_gradient"};
      case entry_point::spo_plus:
        return {"loss", "gradient"};
      case entry_point::sorted_values:
        return {"values", "std_error"};
      case entry_point::cost:
        return {"mean", "std_error", "gradient"};
      case entry_point::noise_fill:
        return {"z"};
    }
    return {};
  }
  int required_outputs() const { return entry == entry_point::fenchel_young || entry == entry_point::spo_plus ? 0 : 1; }

  perturb_status call() const {
    switch (entry) {
      case entry_point::solve:
        return perturb_solve(context, oracle, batch, theta, output[0], output[1]);
      case entry_point::sample:
        return perturb_sample(context, oracle, noise, batch, theta, output[0]);
      case entry_point::expectation:
        return perturb_expectation(context, oracle, noise, batch, theta, output[0], output[1], output[2], output[3]);
      case entry_point::vjp:
        return perturb_vjp(context, oracle, noise, batch, theta, extra, output[0]);
      case entry_point::jvp:
        return perturb_jvp(context, oracle, noise, batch, theta, extra, output[0]);
      case entry_point::jacobian:
        return perturb_jacobian(context, oracle, noise, batch, theta, output[0]);
      case entry_point::fenchel_young:
        return perturb_fenchel_young(context, oracle, noise, batch, theta, extra, output[0], output[1], output[2]);
      case entry_point::lpgd:
        return perturb_lpgd(context, oracle, &lpgd, batch, theta, extra, output[0]);
      case entry_point::imle:
        return perturb_imle(context, oracle, noise, &lpgd, batch, theta, extra, output[0]);
      case entry_point::spo_plus:
        return perturb_spo_plus(context, oracle, batch, theta, extra, output[0], output[1]);
      case entry_point::sorted_values:
        return perturb_sorted_values(context, oracle, noise, batch, theta, output[0], output[1]);
      case entry_point::sorted_values_vjp:
        return perturb_sorted_values_vjp(context, oracle, noise, batch, theta, extra, output[0]);
      case entry_point::cost:
        return perturb_cost_expectation(context, oracle, noise, &cost, batch, theta, output[0], output[1], output[2]);
      case entry_point::noise_fill:
        return perturb_noise_fill(context, noise, batch, n, output[0]);
    }
    return PERTURB_ERROR_INTERNAL;
  }
};

// A valid request with the memory it points to.
struct prepared_request {
  oracle_ptr oracle;
  perturb_noise noise = PERTURB_NOISE_INIT;
  std::vector<float> theta, extra, factors;
  std::vector<float> outputs[4];
  request valid;

  prepared_request(perturb_context* context, entry_point entry, oracle_ptr of, int64_t batch = 3) : oracle(std::move(of)) {
    const int64_t n = perturb_oracle_input_size(oracle.get()), m = perturb_oracle_output_size(oracle.get()), k = m / n;  // k: of sorts
    noise.samples = 5;
    noise.epsilon = 0.25f;
    for (int64_t i = 0; i < batch * n; ++i) theta.push_back(uniform_float(3, i, 5, 9));
    factors.assign(n, 1.0f);
    noise.epsilon_per_item = factors.data();
    extra.resize(batch * (entry == entry_point::jvp ? n : entry == entry_point::sorted_values_vjp ? k : m));
    if (entry == entry_point::fenchel_young) require(perturb_solve(context, oracle.get(), batch, theta.data(), extra.data(), nullptr));
    const int64_t rows = batch, M = noise.samples;
    const auto size = [&](int o) -> int64_t {
      switch (entry) {
        case entry_point::solve:
          return o == 0 ? rows * m : rows;
        case entry_point::sample:
          return rows * M * m;
        case entry_point::noise_fill:
          return rows * M * n;
        case entry_point::expectation:
          return o < 2 ? rows * m : rows;
        case entry_point::jvp:
          return rows * m;
        case entry_point::jacobian:
          return rows * m * n;
        case entry_point::sorted_values:
          return rows * k;
        case entry_point::fenchel_young:
        case entry_point::spo_plus:
          return o == 1 ? rows * n : rows;
        case entry_point::cost:
          return o == 2 ? rows * n : rows;
        default:
          return rows * n;
      }
    };
    valid.entry = entry;
    valid.context = context;
    valid.oracle = oracle.get();
    valid.noise = &noise;
    valid.batch = batch;
    valid.n = n;
    valid.m = m;
    valid.cost.cost = middle_entry;
    valid.cost.user = &valid.m;
    valid.cost.thread_safe = 1;
    valid.theta = theta.data();
    valid.extra = extra.data();
    valid.has_value = m == n;
    for (size_t o = 0; o < valid.output_names().size(); ++o) {
      outputs[o].resize(size(static_cast<int>(o)));
      valid.output[o] = outputs[o].data();
    }
  }
  prepared_request(const prepared_request&) = delete;
  prepared_request& operator=(const prepared_request&) = delete;

  void reset_outputs() {
    for (auto& values : outputs) fill_canary(values);
  }
};

// Makes the spoiled call. `names`: the last error must contain one of them ("" for any sentence).
inline testing::AssertionResult refused(prepared_request& p, const request& spoiled, std::initializer_list<perturb_status> statuses,
                                        std::initializer_list<const char*> names) {
  count();
  p.reset_outputs();
  const perturb_status status = spoiled.call();
  const std::string error = perturb_last_error();
  const std::string where =
      std::string(entry_names[static_cast<int>(spoiled.entry)]) + ": " + perturb_status_name(status) + " \"" + error + "\"";
  bool expected = false;
  for (perturb_status allowed : statuses) expected = expected || status == allowed;
  if (!expected) return testing::AssertionFailure() << where << ", expected " << perturb_status_name(*statuses.begin());
  if (error.empty()) return testing::AssertionFailure() << where << ": no sentence";
  bool named = false;
  for (const char* name : names) named = named || error.find(name) != std::string::npos;
  if (!named) return testing::AssertionFailure() << where << ": does not name " << *names.begin();
  for (const auto& values : p.outputs) {
    const auto clean = untouched(values);
    if (!clean) return testing::AssertionFailure() << where << ": output " << clean.message();
  }
  return testing::AssertionSuccess();
}
inline testing::AssertionResult refused(prepared_request& p, const request& spoiled, perturb_status status, const char* name) {
  return refused(p, spoiled, {status}, {name});
}

// The valid call succeeds, leaves no error text and writes every output with finite numbers.
inline testing::AssertionResult accepted(prepared_request& p) {
  count();
  p.reset_outputs();
  const perturb_status status = p.valid.call();
  const std::string where = entry_names[static_cast<int>(p.valid.entry)];
  if (status != PERTURB_OK)
    return testing::AssertionFailure() << where << ": " << perturb_status_name(status) << " " << perturb_last_error();
  if (*perturb_last_error()) return testing::AssertionFailure() << where << ": succeeded, but the last error is " << perturb_last_error();
  for (const auto& values : p.outputs)
    for (float value : values)
      if (!std::isfinite(value)) return testing::AssertionFailure() << where << ": an output holds " << value;
  return testing::AssertionSuccess();
}

}  // namespace perturb::test
