// The expectation of a cost of y: against formulas in double from the library's own samples and noise, against closed forms, as another
// name of expectation and VJP, and its contract: which y the cost function sees, failures, threads, memory.
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <functional>

#include "allocator.h"
#include "compare.h"
#include "custom_solver.h"
#include "statistics.h"

namespace perturb::test {
namespace {

// A cost of one y of a row; must outlive the options. What it saw may be read when no call is running.
class watched_cost {
 public:
  using one_cost = std::function<float(const float* y, int64_t row)>;
  std::atomic<int64_t> calls{0}, problems{0};
  std::atomic<bool> bad_arguments{false};
  std::function<int32_t(int64_t count, const float* y, const int64_t* row, float* cost)> instead;  // of `one`, where set

  watched_cost(int64_t m, int64_t batch, one_cost one) : m_(m), batch_(batch), one_(std::move(one)) {}

  perturb_cost_options options(bool thread_safe = true) {
    perturb_cost_options options = PERTURB_COST_OPTIONS_INIT;
    options.thread_safe = thread_safe;
    options.user = this;
    options.cost = [](int64_t count, const float* y, const int64_t* row, float* cost, void* stream, void* user) -> int32_t {
      watched_cost& self = *static_cast<watched_cost*>(user);
      ++self.calls;
      self.problems += count;
      if (count < 1 || count > 128 || !y || !row || !cost || stream) self.bad_arguments = true;
      for (int64_t k = 0; k < count; ++k)
        if (row[k] < 0 || row[k] >= self.batch_) self.bad_arguments = true;
      if (self.instead) return self.instead(count, y, row, cost);
      for (int64_t k = 0; k < count; ++k) cost[k] = self.one_(y + k * self.m_, row[k]);
      return 0;
    };
    return options;
  }

 private:
  int64_t m_, batch_;
  one_cost one_;
};

// Rows have costs of their own, in which items do not add up.
watched_cost::one_cost crossed_cost(int64_t m) {
  return [m](const float* y, int64_t row) {
    double sum = 0.3 * static_cast<double>(row % 4);
    for (int64_t i = 0; i < m; ++i) sum += std::sin(static_cast<double>(row + 2 * i)) * y[i];
    return static_cast<float>(sum * sum - 0.1 * sum);
  };
}

struct cost_outputs {
  std::vector<float> mean, error, gradient;
};
cost_outputs run_cost(perturb_context* context, const prepared_case& p, const perturb_cost_options& options, int64_t first, int64_t rows) {
  perturb_noise noise = make_noise(p.c, p.factors);
  noise.first_row += first;
  cost_outputs out{std::vector<float>(rows), std::vector<float>(rows), std::vector<float>(rows * p.c.n)};
  require(perturb_cost_expectation(context, p.oracle.get(), &noise, &options, rows, p.theta.data() + first * p.c.n, out.mean.data(),
                                   p.c.has_std_errors() ? out.error.data() : nullptr, out.gradient.data()));
  return out;
}
cost_outputs run_cost(perturb_context* context, const prepared_case& p, const perturb_cost_options& options) {
  return run_cost(context, p, options, 0, p.c.batch);
}

// Everything from samples, noise and solutions that other functions of the library return.
void compare_with_formulas(perturb_context* context, const prepared_case& p) {
  const test_case& c = p.c;
  const int64_t n = c.n, M = c.samples, B = c.batch;
  watched_cost cost(n, B, crossed_cost(n));
  const cost_outputs got = run_cost(context, p, cost.options());
  const bool unperturbed = c.baseline == PERTURB_BASELINE_UNPERTURBED;
  EXPECT_EQ(cost.problems, B * M + (unperturbed ? B : 0));
  EXPECT_FALSE(cost.bad_arguments);
  const perturb_noise noise = make_noise(c, p.factors);
  std::vector<float> z(B * M * n), star(B * n);
  require(perturb_noise_fill(context, &noise, B, n, z.data()));
  require(perturb_solve(context, p.oracle.get(), B, p.theta.data(), star.data(), nullptr));
  const std::vector<float> y = run_all(context, p, PERTURB_OP_SAMPLE), eps = reference::item_epsilons(c, p.factors);
  const std::vector<uint8_t> open = c.is_grid() ? make_passable(c) : std::vector<uint8_t>(n, 1);
  const watched_cost::one_cost one = crossed_cost(n);
  const bool mean_baseline = c.baseline == PERTURB_BASELINE_LEAVE_ONE_OUT && M > 1 && c.sampling == PERTURB_SAMPLING_IID;
  for (int64_t b = 0; b < B; ++b) {
    std::vector<double> costs(M);
    double mean = 0, squares = 0, largest = 0;
    for (int64_t m = 0; m < M; ++m) {
      costs[m] = one(y.data() + (b * M + m) * n, b);
      mean += costs[m] / static_cast<double>(M);
      largest = std::max(largest, std::abs(costs[m]));
    }
    for (int64_t m = 0; m < M; ++m) squares += (costs[m] - mean) * (costs[m] - mean);
    EXPECT_TRUE(near(mean, got.mean[b], 1e-6 * largest)) << "mean of row " << b;
    if (c.has_std_errors()) {
      const double error = M == 1 ? HUGE_VAL : std::sqrt(squares / static_cast<double>(M - 1) / static_cast<double>(M));
      EXPECT_TRUE(M == 1 ? testing::AssertionResult(std::isinf(got.error[b])) : near(error, got.error[b], 1e-6 * largest))
          << "std_error of row " << b;
    }
    const double baseline = mean_baseline ? mean : unperturbed ? one(star.data() + b * n, b) : 0;
    for (int64_t i = 0; i < n; ++i) {
      const double divide =
          c.mode == PERTURB_MULTIPLICATIVE ? static_cast<double>(eps[i]) * p.theta[b * n + i] : (c.minimizes() ? -1.0 : 1.0) * eps[i];
      double expected = 0, scale = 0;
      for (int64_t m = 0; m < M && open[i] && divide != 0; ++m) {
        const double S = reference::score(c.distribution, z[(b * M + m) * n + i]) / divide / static_cast<double>(mean_baseline ? M - 1 : M);
        expected += (costs[m] - baseline) * S;
        scale += (std::abs(costs[m]) + std::abs(baseline)) * std::abs(S);
      }
      ASSERT_TRUE(near(expected, got.gradient[b * n + i], 1e-5 * scale)) << "gradient of row " << b << " item " << i;
    }
  }
}

TEST(cost, agrees_with_formulas) {
  const context_ptr context = make_context(2);
  for (test_case c : cases()) {
    if (c.n > 40 || c.theta == inputs::huge || c.is_sort()) continue;
    SCOPED_TRACE(c.name);
    compare_with_formulas(context.get(), prepared_case(context.get(), c));
    if (c.is_grid() || c.first_sample + 300 > int64_t{1} << 32) continue;
    c.samples = 300;  // in several chunks; and a solver of the caller's
    watched_solver solver(c.n, c.n, smooth_solver(c.n, c.n));
    prepared_case p(context.get(), c);
    p.oracle = solver.oracle();
    compare_with_formulas(context.get(), p);
  }
}

// Each row's own epsilon, also where the library's oracle is run on parts of the call.
TEST(cost, epsilon_per_row) {
  const context_ptr context = make_context(2);
  test_case c = case_list().argmax_case(6);
  c.samples = 300;
  c.batch = 3;
  const prepared_case p(context.get(), c);
  watched_cost cost(c.n, c.batch, [](const float* y, int64_t) { return y[0] + 2 * y[1] + 4 * y[2]; });
  const perturb_cost_options options = cost.options();
  perturb_noise noise = make_noise(c, {});
  const float factors[3] = {1, 0.1f, 3};
  noise.epsilon_per_row = factors;
  std::vector<float> mean(3), gradient(3 * c.n);
  require(perturb_cost_expectation(context.get(), p.oracle.get(), &noise, &options, 3, p.theta.data(), mean.data(), nullptr, gradient.data()));
  for (int64_t b = 0; b < 3; ++b) {
    perturb_noise alone = make_noise(c, {});
    alone.epsilon *= factors[b];
    alone.first_row += b;
    std::vector<float> one(1), of_one(c.n);
    require(perturb_cost_expectation(context.get(), p.oracle.get(), &alone, &options, 1, p.theta.data() + b * c.n, one.data(), nullptr, of_one.data()));
    EXPECT_TRUE(same_bits(one, {mean[b]}));
    EXPECT_TRUE(same_bits(of_one, {gradient.begin() + b * c.n, gradient.begin() + (b + 1) * c.n}));
  }
}

// The cost <g, y> is another name of the mean's product and of the VJP.
TEST(cost, linear_cost_is_the_vjp) {
  const context_ptr context = make_context(2);
  for (const test_case& c : cases()) {
    if (c.n > 600 || c.theta == inputs::huge || c.is_sort()) continue;
    SCOPED_TRACE(c.name);
    const prepared_case p(context.get(), c);
    watched_cost cost(c.n, c.batch, [&](const float* y, int64_t row) {
      double sum = 0;
      for (int64_t i = 0; i < c.n; ++i) sum += static_cast<double>(p.cotangent[row * c.n + i]) * y[i];
      return static_cast<float>(sum);
    });
    const cost_outputs got = run_cost(context.get(), p, cost.options());
    const std::vector<float> vjp = run_all(context.get(), p, PERTURB_OP_VJP), eps = reference::item_epsilons(c, p.factors);
    const perturb_noise noise = make_noise(c, p.factors);
    std::vector<float> mean(c.batch * c.n);
    require(perturb_expectation(context.get(), p.oracle.get(), &noise, c.batch, p.theta.data(), mean.data(), nullptr, nullptr, nullptr));
    for (int64_t b = 0; b < c.batch; ++b) {
      double expected = 0, scale = 0, bound = 0;
      for (int64_t i = 0; i < c.n; ++i) {
        const double term = static_cast<double>(p.cotangent[b * c.n + i]) * mean[b * c.n + i];
        expected += term;
        scale += std::abs(term);
        bound = std::max(bound, std::abs(static_cast<double>(p.cotangent[b * c.n + i])));
      }
      EXPECT_TRUE(near(expected, got.mean[b], 1e-6 * scale));
      bound = std::max(scale, bound);
      for (int64_t i = 0; i < c.n; ++i) {
        const double divide = c.mode == PERTURB_MULTIPLICATIVE ? static_cast<double>(eps[i]) * p.theta[b * c.n + i] : eps[i];
        if (!(std::abs(divide) > 0)) {  // not perturbed, or a wall
          EXPECT_EQ(got.gradient[b * c.n + i], 0.0f);
        } else {
          // A cost is rounded to float: 2^-24 of it, times |S| / eps, which is 23 at most.
          const double tolerance = 4e-6 * bound / std::abs(divide) + 1e-5 * std::abs(vjp[b * c.n + i]);
          EXPECT_TRUE(near(vjp[b * c.n + i], got.gradient[b * c.n + i], tolerance)) << "row " << b << " item " << i;
        }
      }
    }
  }
}

// Gumbel noise makes y one-hot with p = softmax(theta / eps): (sum a_i y_i)^2 has mean sum p_i a_i^2 and gradient p_j (a_j^2 - mean) / eps.
TEST(cost, squared_cost_of_argmax_meets_its_closed_form) {
  const context_ptr context = make_context(2);
  const std::vector<double> theta{0.3, -0.2, 0.5, 0.1}, a{1, -2, 0.5, 3};
  const double eps = 0.7;
  const std::vector<double> p = reference::softmax(theta, eps);
  double expected = 0, second = 0;
  for (size_t i = 0; i < 4; ++i) expected += p[i] * a[i] * a[i], second += p[i] * std::pow(a[i], 4);
  constexpr int64_t rows = 200, samples = 2000;
  const oracle_ptr oracle = make_argmax(4);
  for (perturb_baseline baseline : {PERTURB_BASELINE_LEAVE_ONE_OUT, PERTURB_BASELINE_NONE, PERTURB_BASELINE_UNPERTURBED})
    for (perturb_sampling sampling : {PERTURB_SAMPLING_IID, PERTURB_SAMPLING_ANTITHETIC}) {
      watched_cost cost(4, rows, [&](const float* y, int64_t row) {
        double sum = 0;
        for (size_t i = 0; i < 4; ++i) sum += a[i] * y[i];
        return static_cast<float>(sum * sum * (row % 2 ? 2 : 1));  // every second row's cost is twice as large
      });
      perturb_noise noise = make_noise(PERTURB_GUMBEL, static_cast<float>(eps), samples, 3 + baseline);
      noise.baseline = baseline;
      noise.sampling = sampling;
      std::vector<float> mean(rows), error(rows), gradient(rows * 4);
      const perturb_cost_options options = cost.options();
      require(perturb_cost_expectation(context.get(), oracle.get(), &noise, &options, rows, repeated(theta, rows).data(), mean.data(),
                                       sampling == PERTURB_SAMPLING_IID ? error.data() : nullptr, gradient.data()));
      for (int64_t b = 1; b < rows; b += 2) {
        mean[b] /= 2, error[b] /= 2;
        for (int j = 0; j < 4; ++j) gradient[4 * b + j] /= 2;
      }
      const replicate_summary means = summarize_rows(mean, 1), errors = summarize_rows(error, 1), gradients = summarize_rows(gradient, 4);
      EXPECT_TRUE(within_errors(expected, means.mean[0], means.error[0]));
      EXPECT_LT(means.error[0], 0.02) << "a test that cannot fail";
      if (sampling == PERTURB_SAMPLING_IID) {
        EXPECT_TRUE(near(std::sqrt((second - expected * expected) / samples), errors.mean[0], 5 * errors.error[0]));
      }
      for (int j = 0; j < 4; ++j) {
        EXPECT_TRUE(within_errors(p[j] * (a[j] * a[j] - expected) / eps, gradients.mean[j], gradients.error[j]))
            << "baseline " << baseline << " item " << j;
        EXPECT_LT(gradients.error[j], 0.05);
      }
    }
}

// A cost that never moves has the gradient 0 exactly and no error, whatever its size.
TEST(cost, constant_cost) {
  const context_ptr context = make_context(2);
  for (int64_t samples : {2, 128, 1000}) {
    prepared_case p(context.get(), shape(6, 3, samples));
    p.c.baseline = PERTURB_BASELINE_LEAVE_ONE_OUT;
    watched_cost cost(6, 3, [](const float*, int64_t row) { return 0.1f + static_cast<float>(row) * 1e30f; });
    const cost_outputs out = run_cost(context.get(), p, cost.options());
    for (int64_t b = 0; b < 3; ++b) EXPECT_TRUE(near(0.1f + static_cast<float>(b) * 1e30f, out.mean[b], 1e-6 * out.mean[b]));
    for (float value : out.error) EXPECT_EQ(value, 0.0f);
    for (float value : out.gradient) EXPECT_EQ(value, 0.0f);
  }
}

// ---------------------------------------------------------------- bits

TEST(cost, bits_for_threads_instruction_sets_and_splits) {
  case_list list;
  std::vector<test_case> all = {shape(6, 1, 1000), shape(6, 9, 200), shape(6, 40, 5), shape(6, 5, 129), shape(3000, 2, 130)};
  all.push_back(list.rank_case(20));
  all.push_back(list.grid_case(5, 6));
  all.push_back(list.top_k_case(40, 5));
  for (size_t i = 0; i < all.size(); ++i)
    for (bool custom : {false, true}) {
      const test_case& c = all[i];
      if (custom && i >= 5) continue;
      SCOPED_TRACE(c.name + (custom ? " custom" : ""));
      const context_ptr first = make_context(1);
      watched_cost cost(c.n, c.batch, crossed_cost(c.n));
      watched_solver solver(c.n, c.n, solver_for(c.n));
      prepared_case p(first.get(), c);
      if (custom) p.oracle = solver.oracle();
      const cost_outputs expected = run_cost(first.get(), p, cost.options());
      for (const char* isa : {"", "scalar", "avx2"})
        for (int threads : {1, 2, 5})
          for (bool thread_safe : {false, true}) {
            if (*isa && (threads != 2 || !thread_safe)) continue;
            const context_ptr context = make_context_on(isa, threads);
            if (!context) continue;
            const cost_outputs got = run_cost(context.get(), p, cost.options(thread_safe));
            EXPECT_TRUE(same_bits(expected.mean, got.mean)) << isa << " threads " << threads;
            EXPECT_TRUE(same_bits(expected.error, got.error));
            EXPECT_TRUE(same_bits(expected.gradient, got.gradient));
          }
      if (c.batch < 2) continue;
      watched_cost rest(c.n, c.batch, [&, one = crossed_cost(c.n)](const float* y, int64_t row) { return one(y, row + 1); });
      const cost_outputs part = run_cost(first.get(), p, rest.options(), 1, c.batch - 1);
      EXPECT_TRUE(same_bits({expected.mean.begin() + 1, expected.mean.end()}, part.mean));
      EXPECT_TRUE(same_bits({expected.gradient.begin() + c.n, expected.gradient.end()}, part.gradient));
    }
}

// Without a gradient, or without errors, the rest has the same bits.
TEST(cost, optional_outputs) {
  const context_ptr context = make_context(2);
  for (bool custom : {false, true}) {
    const test_case c = shape(6, 4, 300);
    watched_cost cost(c.n, c.batch, crossed_cost(c.n));
    watched_solver solver(c.n, c.n, solver_for(c.n));
    prepared_case p(context.get(), c);
    p.c.baseline = PERTURB_BASELINE_UNPERTURBED;
    if (custom) p.oracle = solver.oracle();
    const cost_outputs all = run_cost(context.get(), p, cost.options());
    const perturb_noise noise = make_noise(p.c, p.factors);
    const perturb_cost_options options = cost.options();
    for (int given : {0, 1, 2}) {
      std::vector<float> mean(c.batch), error(c.batch), gradient(c.batch * c.n);
      cost.problems = 0;
      require(perturb_cost_expectation(context.get(), p.oracle.get(), &noise, &options, c.batch, p.theta.data(), mean.data(),
                                       given & 1 ? error.data() : nullptr, given & 2 ? gradient.data() : nullptr));
      EXPECT_TRUE(same_bits(all.mean, mean));
      EXPECT_TRUE(same_bits(given & 1 ? all.error : error, error));
      EXPECT_TRUE(same_bits(given & 2 ? all.gradient : gradient, gradient));
      EXPECT_EQ(cost.problems, c.batch * (c.samples + (given & 2 ? 1 : 0))) << "y* is for the gradient's baseline";
    }
  }
}

// ---------------------------------------------------------------- contract

testing::AssertionResult fails(perturb_context* context, const prepared_case& p, const perturb_cost_options& options,
                               perturb_status expected, const std::vector<std::string>& words) {
  count();
  cost_outputs out{std::vector<float>(p.c.batch), std::vector<float>(p.c.batch), std::vector<float>(p.c.batch * p.c.n)};
  for (std::vector<float>* values : {&out.mean, &out.error, &out.gradient}) fill_canary(*values);
  const perturb_noise noise = make_noise(p.c, p.factors);
  const perturb_status status = perturb_cost_expectation(context, p.oracle.get(), &noise, &options, p.c.batch, p.theta.data(),
                                                         out.mean.data(), out.error.data(), out.gradient.data());
  const std::string error = perturb_last_error();
  if (status != expected) return testing::AssertionFailure() << perturb_status_name(status) << " \"" << error << "\"";
  for (const std::string& word : words)
    if (error.find(word) == std::string::npos) return testing::AssertionFailure() << "\"" << error << "\" lacks " << word;
  for (const std::vector<float>* values : {&out.mean, &out.error, &out.gradient}) {
    const auto clean = untouched(*values);
    if (!clean) return clean;
  }
  return testing::AssertionSuccess();
}

TEST(cost, failures_of_the_cost_function) {
  for (int threads : {1, 3})
    for (int64_t samples : {5, 300})
      for (perturb_baseline baseline : {PERTURB_BASELINE_LEAVE_ONE_OUT, PERTURB_BASELINE_UNPERTURBED}) {
        const context_ptr context = make_context(threads);
        prepared_case p(context.get(), shape(6, 6, samples));
        p.c.baseline = baseline;
        watched_cost cost(6, 6, crossed_cost(6));
        const auto spoil = [&](auto spoiled) {  // rows 3, 4 and 5
          cost.instead = [=](int64_t problems, const float*, const int64_t* row, float* out) -> int32_t {
            for (int64_t k = 0; k < problems; ++k) {
              out[k] = 1;
              if (row[k] >= 3)
                if (const int32_t number = spoiled(out[k], row[k])) return number;
            }
            return 0;
          };
        };
        spoil([](float&, int64_t row) { return -1000 - static_cast<int32_t>(row); });
        EXPECT_TRUE(fails(context.get(), p, cost.options(), PERTURB_ERROR_CALLBACK, {"options: the cost function", "returned -1003"}));
        spoil([](float&, int64_t) -> int32_t { throw std::runtime_error("priceless"); });
        EXPECT_TRUE(fails(context.get(), p, cost.options(), PERTURB_ERROR_CALLBACK, {"threw an exception: priceless"}));
        spoil([](float& out, int64_t) -> int32_t { return out = std::numeric_limits<float>::infinity(), 0; });
        EXPECT_TRUE(fails(context.get(), p, cost.options(), PERTURB_ERROR_CALLBACK, {"the cost of row 3", "inf"}));
        cost.instead = [](int64_t problems, const float*, const int64_t* row, float* out) -> int32_t {
          for (int64_t k = 0; k < problems; ++k)
            if (row[k] != 2) out[k] = 1;
          return 0;
        };
        EXPECT_TRUE(fails(context.get(), p, cost.options(), PERTURB_ERROR_CALLBACK, {"the cost of row 2", "nan"}));
        cost.instead = nullptr;
        (void)run_cost(context.get(), p, cost.options());
        EXPECT_STREQ(perturb_last_error(), "");
      }
}

// Solver and cost function fail in one block: the first problem is reported, whichever it was.
TEST(cost, the_first_of_both_failures) {
  for (int threads : {1, 4}) {
    const context_ptr context = make_context(threads);
    test_case c = shape(4, 6, 20);
    prepared_case p(context.get(), c);
    p.factors = {0, 1, 1, 1};
    for (int64_t b = 0; b < 6; ++b) p.theta[b * 4] = static_cast<float>(10 * b);
    for (int64_t solver_row : {1, 2, 3})
      for (int64_t cost_row : {1, 2, 4}) {
        watched_solver solver(4, 4, [=](const float* theta, float* y) {
          std::copy(theta, theta + 4, y);
          if (static_cast<int64_t>(theta[0]) / 10 >= solver_row) y[3] = std::numeric_limits<float>::quiet_NaN();
        });
        p.oracle = solver.oracle();
        watched_cost cost(4, 6, [=](const float*, int64_t row) { return row >= cost_row ? std::numeric_limits<float>::infinity() : 1.0f; });
        EXPECT_TRUE(
            fails(context.get(), p, cost.options(), PERTURB_ERROR_CALLBACK,
                  {solver_row <= cost_row ? "y[3] of row " + std::to_string(solver_row) : "the cost of row " + std::to_string(cost_row)}));
      }
  }
}

TEST(cost, arguments_are_checked) {
  const context_ptr context = make_context(1);
  prepared_case p(context.get(), shape(6, 2, 10));
  watched_cost cost(6, 2, crossed_cost(6));
  perturb_cost_options options = cost.options();
  options.struct_size -= 8;
  EXPECT_TRUE(fails(context.get(), p, options, PERTURB_ERROR_INVALID_STRUCT, {"options.struct_size"}));
  options = cost.options();
  options.thread_safe = 2;
  EXPECT_TRUE(fails(context.get(), p, options, PERTURB_ERROR_INVALID_ARGUMENT, {"options.thread_safe"}));
  options = cost.options();
  options.cost = nullptr;
  EXPECT_TRUE(fails(context.get(), p, options, PERTURB_ERROR_INVALID_ARGUMENT, {"options.cost", "options.enqueue"}));
  options.enqueue = cost.options().cost;
  EXPECT_TRUE(fails(context.get(), p, options, PERTURB_ERROR_UNSUPPORTED, {"options.cost"}));
  p.c.sampling = PERTURB_SAMPLING_ANTITHETIC;
  EXPECT_TRUE(fails(context.get(), p, cost.options(), PERTURB_ERROR_UNSUPPORTED, {"std_error: antithetic"}));
  p.c.sampling = PERTURB_SAMPLING_IID;
  const perturb_noise noise = make_noise(p.c, p.factors);
  std::vector<float> mean(2);
  EXPECT_EQ(perturb_cost_expectation(context.get(), p.oracle.get(), &noise, nullptr, 2, p.theta.data(), mean.data(), nullptr, nullptr),
            PERTURB_ERROR_INVALID_ARGUMENT);
  EXPECT_NE(std::string(perturb_last_error()).find("options"), std::string::npos);
  EXPECT_EQ(cost.calls, 0);
  // A grid that refuses negative costs refuses them here.
  perturb_grid_path_options grid = PERTURB_GRID_PATH_OPTIONS_INIT;
  grid.height = 2;
  grid.width = 3;
  grid.target = 5;
  grid.negative = PERTURB_NEGATIVE_ERROR;
  p.oracle = make_grid(grid);
  for (float& t : p.theta) t = 0.01f;
  EXPECT_TRUE(fails(context.get(), p, cost.options(), PERTURB_ERROR_INVALID_ARGUMENT, {"cost_floor"}));
  EXPECT_EQ(cost.calls, 0);
  count(4);
}

// The advertised workspace is enough for any options, with it nothing is allocated, and it does not grow with the samples.
TEST(cost, workspace) {
  watching_allocator watch;
  const context_ptr context = make_context(4, watch.hooks());
  for (bool custom : {false, true})
    for (int64_t samples : {5, 300}) {
      test_case c = shape(6, 7, samples);
      c.baseline = PERTURB_BASELINE_UNPERTURBED;
      watched_cost cost(c.n, c.batch, crossed_cost(c.n));
      watched_solver solver(c.n, c.n, solver_for(c.n));
      prepared_case p(context.get(), c);
      if (custom) p.oracle = solver.oracle();
      const perturb_noise noise = make_noise(c, p.factors);
      size_t bytes = 0;
      require(perturb_workspace_size(context.get(), PERTURB_OP_COST, p.oracle.get(), &noise, c.batch, &bytes));
      const cost_outputs expected = run_cost(context.get(), p, cost.options());
      std::vector<unsigned char> memory(bytes + 1);
      require(perturb_context_set_workspace(context.get(), memory.data() + 1, bytes));
      const int64_t before = watch.calls;
      for (bool thread_safe : {false, true})
        EXPECT_TRUE(same_bits(expected.gradient, run_cost(context.get(), p, cost.options(thread_safe)).gradient));
      EXPECT_EQ(watch.calls, before);
      require(perturb_context_set_workspace(context.get(), memory.data() + 1, bytes - 1));
      EXPECT_TRUE(fails(context.get(), p, cost.options(), PERTURB_ERROR_WORKSPACE_TOO_SMALL, {"workspace"}));
      require(perturb_context_set_workspace(context.get(), nullptr, 0));
      count(2);
    }
  size_t few = 0, more = 0;
  const oracle_ptr oracle = make_rank(100);
  require(perturb_workspace_size(context.get(), PERTURB_OP_COST, oracle.get(), std::array{make_noise(PERTURB_NORMAL, 1, 1000)}.data(), 100,
                                 &few));
  require(perturb_workspace_size(context.get(), PERTURB_OP_COST, oracle.get(), std::array{make_noise(PERTURB_NORMAL, 1, 1000000)}.data(),
                                 100, &more));
  EXPECT_EQ(few, more);
  EXPECT_LE(few, size_t{4} << 20);
}

}  // namespace
}  // namespace perturb::test
