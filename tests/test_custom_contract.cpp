// Solvers of the caller's, the contract: what their failures do, creation, and memory. The tables of test_contract.cpp and
// test_contract_memory.cpp hold a custom oracle too.
#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <utility>

#include "allocator.h"
#include "compare.h"
#include "custom_solver.h"
#include "operations.h"

namespace perturb::test {
namespace {

struct outputs {
  std::vector<float> all[4];
};
// Makes the call with canaries in its outputs.
perturb_status call_with_canaries(perturb_context* context, const prepared_case& p, perturb_operation operation, outputs& out) {
  const int64_t n = p.c.n, B = p.c.batch, M = p.c.samples;
  const perturb_noise noise = make_noise(p.c, p.factors);
  const int64_t widths[][4] = {{n, 1, 0, 0},     {M * n, 0, 0, 0}, {n, n, 1, 1}, {n, 0, 0, 0}, {n, 0, 0, 0},
                               {n * n, 0, 0, 0}, {1, n, 1, 0},     {n, 0, 0, 0}, {n, 0, 0, 0}, {1, n, 0, 0}};
  const perturb_lpgd_options lpgd = make_lpgd(p.c, operation);
  float* o[4];
  for (int i = 0; i < 4; ++i) {
    out.all[i].assign(B * widths[operation][i], 0.0f);
    fill_canary(out.all[i]);
    o[i] = out.all[i].data();
  }
  const float *theta = p.theta.data(), *g = p.cotangent.data(), *u = p.tangent.data(), *t = p.target.data();
  const perturb_oracle* oracle = p.oracle.get();
  switch (operation) {
    case PERTURB_OP_SOLVE:
      return perturb_solve(context, oracle, B, theta, o[0], o[1]);
    case PERTURB_OP_SAMPLE:
      return perturb_sample(context, oracle, &noise, B, theta, o[0]);
    case PERTURB_OP_EXPECTATION:
      return perturb_expectation(context, oracle, &noise, B, theta, o[0], o[1], o[2], o[3]);
    case PERTURB_OP_VJP:
      return perturb_vjp(context, oracle, &noise, B, theta, g, o[0]);
    case PERTURB_OP_JVP:
      return perturb_jvp(context, oracle, &noise, B, theta, u, o[0]);
    case PERTURB_OP_JACOBIAN:
      return perturb_jacobian(context, oracle, &noise, B, theta, o[0]);
    case PERTURB_OP_LPGD:
      return perturb_lpgd(context, oracle, &lpgd, B, theta, g, o[0]);
    case PERTURB_OP_IMLE:
      return perturb_imle(context, oracle, &noise, &lpgd, B, theta, g, o[0]);
    case PERTURB_OP_SPO_PLUS:
      return perturb_spo_plus(context, oracle, B, theta, p.theta_true.data(), o[0], o[1]);
    default:
      return perturb_fenchel_young(context, oracle, &noise, B, theta, t, o[0], o[1], o[2]);
  }
}

// The call fails with CALLBACK and a sentence that has all of `words`; outputs are as they were, but for perturb_sample.
testing::AssertionResult fails(perturb_context* context, const prepared_case& p, perturb_operation operation,
                               const std::vector<std::string>& words) {
  count();
  outputs out;
  const perturb_status status = call_with_canaries(context, p, operation, out);
  const std::string error = perturb_last_error();
  const std::string where = std::string(operation_names[operation]) + ": " + perturb_status_name(status) + " \"" + error + "\"";
  if (status != PERTURB_ERROR_CALLBACK) return testing::AssertionFailure() << where;
  for (const std::string& word : words)
    if (error.find(word) == std::string::npos) return testing::AssertionFailure() << where << " lacks " << word;
  if (operation == PERTURB_OP_SAMPLE) return testing::AssertionSuccess();
  for (const auto& values : out.all) {
    const auto clean = untouched(values);
    if (!clean) return testing::AssertionFailure() << where << ": output " << clean.message();
  }
  return testing::AssertionSuccess();
}

// Row b's item 0 is 10 b and is not perturbed: a solver can tell the rows apart.
struct marked_rows {
  watched_solver solver;
  prepared_case p;

  marked_rows(perturb_context* context, int64_t batch, int64_t samples)
      : solver(4, 4, [](const float* theta, float* y) { std::copy(theta, theta + 4, y); }), p(context, shape(4, batch, samples)) {
    p.factors = {0, 1, 1, 1};
    for (int64_t b = 0; b < batch; ++b) {
      p.theta[b * 4] = p.theta_true[b * 4] = static_cast<float>(10 * b);
      p.cotangent[b * 4] = 0;
    }
    p.oracle = solver.oracle();
  }
  static int64_t row(const float* theta) { return static_cast<int64_t>(theta[0]) / 10; }
};

enum class failure { number, exception, odd_exception, not_a_number, infinity, forgotten };

TEST(custom_failures, of_every_kind_in_every_operation) {
  for (int threads : {1, 2, 5})
    for (int64_t samples : {1, 20, 300})
      for (bool thread_safe : {false, true}) {
        const context_ptr context = make_context(threads);
        marked_rows marked(context.get(), 6, samples);
        marked.p.oracle = marked.solver.oracle(thread_safe);
        for (failure kind :
             {failure::number, failure::exception, failure::odd_exception, failure::not_a_number, failure::infinity, failure::forgotten})
          for (perturb_operation operation : custom_operations) {
            SCOPED_TRACE("threads " + std::to_string(threads) + " samples " + std::to_string(samples) + " kind " +
                         std::to_string(static_cast<int>(kind)));
            marked.solver.instead = [&](int64_t problems, const float* theta, float* y) {
              for (int64_t k = 0; k < problems; ++k, theta += 4, y += 4) {
                const bool spoiled = marked_rows::row(theta) >= 3;  // rows 3, 4 and 5 fail
                for (int i = 0; i < 4; ++i)
                  if (!spoiled || kind != failure::forgotten || i != 3) y[i] = theta[i];
                if (!spoiled) continue;
                if (kind == failure::number) return -static_cast<int32_t>(1000 + marked_rows::row(theta));
                if (kind == failure::exception) throw std::runtime_error("out of luck");
                if (kind == failure::odd_exception) throw 42;
                if (kind == failure::not_a_number) y[3] = std::numeric_limits<float>::quiet_NaN();
                if (kind == failure::infinity) y[3] = -std::numeric_limits<float>::infinity();
              }
              return 0;
            };
            std::vector<std::string> words = {"solver"};
            if (kind == failure::number) words.push_back("returned -1003");
            if (kind == failure::exception) words.push_back("threw an exception: out of luck");
            if (kind == failure::odd_exception) words.push_back("threw an exception");
            if (kind >= failure::not_a_number) words.insert(words.end(), {"y[3] of row 3", kind == failure::infinity ? "-inf" : "nan"});
            EXPECT_TRUE(fails(context.get(), marked.p, operation, words));
            marked.solver.instead = nullptr;
            outputs out;
            EXPECT_EQ(call_with_canaries(context.get(), marked.p, operation, out), PERTURB_OK) << "after a failure";
            EXPECT_STREQ(perturb_last_error(), "");
          }
      }
}

// In one long row: the sample is found, and the first of several failures is reported whatever the threads.
TEST(custom_failures, the_first_sample_is_named) {
  constexpr int64_t samples = 3000;
  const context_ptr first = make_context(1);
  marked_rows marked(first.get(), 1, samples);
  const prepared_case& p = marked.p;
  const perturb_noise noise = make_noise(p.c, p.factors);
  std::vector<float> z(samples * 4);
  require(perturb_noise_fill(first.get(), &noise, 1, 4, z.data()));
  const auto score = [&](int64_t m) { return std::fma(p.c.epsilon * p.factors[1], z[m * 4 + 1], p.theta[1]); };
  for (int64_t wanted : {0, 1, 127, 128, 700, 2999}) {
    // Fails where the score is one of the highest: of every sample from `wanted` on that reaches its score.
    const float limit = score(wanted);
    int64_t sample = 0;
    while (score(sample) < limit) ++sample;  // the first one
    for (int threads : {1, 2, 5}) {
      SCOPED_TRACE(std::to_string(sample) + " threads " + std::to_string(threads));
      const context_ptr context = make_context(threads);
      marked.solver.instead = [&](int64_t problems, const float* theta, float* y) {
        std::copy(theta, theta + 4 * problems, y);
        for (int64_t k = 0; k < problems; ++k)
          if (theta[4 * k + 1] >= limit) return 77;
        return 0;
      };
      const std::string block = "row 0, sample " + std::to_string(sample / 128 * 128) + " on";
      EXPECT_TRUE(fails(context.get(), p, PERTURB_OP_VJP, {"77", block}));
      marked.solver.instead = [&](int64_t problems, const float* theta, float* y) {
        std::copy(theta, theta + 4 * problems, y);
        for (int64_t k = 0; k < problems; ++k)
          if (theta[4 * k + 1] >= limit) y[4 * k + 3] = std::numeric_limits<float>::infinity();
        return 0;
      };
      EXPECT_TRUE(fails(context.get(), p, PERTURB_OP_JACOBIAN, {"y[3]", "row 0, sample " + std::to_string(sample) + " "}));
    }
  }
}

// Two rows fail side by side: the first in the order of rows is reported, whichever failed first in time.
TEST(custom_failures, the_first_row_wins) {
  const context_ptr context = make_context(2);
  marked_rows marked(context.get(), 2, 20);
  for (int64_t late : {0, 1}) {
    std::atomic<int> inside{0};
    marked.solver.instead = [&](int64_t, const float* theta, float*) {
      ++inside;
      const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
      while (inside < 2 && std::chrono::steady_clock::now() < end) std::this_thread::yield();
      const int64_t row = marked_rows::row(theta);
      if (row == late) std::this_thread::sleep_for(std::chrono::milliseconds(30));
      return static_cast<int32_t>(1000 + row);
    };
    EXPECT_TRUE(fails(context.get(), marked.p, PERTURB_OP_EXPECTATION, {"1000", "row 0, sample 0"})) << late;
    EXPECT_EQ(inside, 2);
  }
}

// LPGD and its family: either solve may fail, and the sentence says which; of two failures in a row the first input's.
TEST(custom_failures, of_either_solve) {
  for (int threads : {1, 3}) {
    const context_ptr context = make_context(threads);
    marked_rows marked(context.get(), 5, 20);
    perturb_lpgd_options options = PERTURB_LPGD_OPTIONS_INIT;
    options.side = PERTURB_SIDE_AVERAGE;
    std::vector<float> gradient(20);
    for (int64_t b = 0; b < 5; ++b) {  // item 1 tells the inputs apart
      marked.p.theta[b * 4 + 1] = 0;
      marked.p.cotangent[b * 4 + 1] = 5;
    }
    for (int first : {0, 1, 2}) {  // rows 2 and 3 fail: row 3 at one input, row 2 at the other, or both at both
      marked.solver.instead = [&](int64_t problems, const float* theta, float* y) {
        std::copy(theta, theta + 4 * problems, y);
        for (int64_t k = 0; k < problems; ++k) {
          const int64_t row = marked_rows::row(theta + 4 * k);
          const bool toward = theta[4 * k + 1] < 0;
          if (first == 2 ? row == 2 || row == 3 : (row == 3 && toward == (first == 0)) || (row == 2 && toward == (first == 1)))
            y[4 * k + 2] = std::numeric_limits<float>::infinity();
        }
        return 0;
      };
      fill_canary(gradient);
      EXPECT_EQ(perturb_lpgd(context.get(), marked.p.oracle.get(), &options, 5, marked.p.theta.data(), marked.p.cotangent.data(),
                             gradient.data()),
                PERTURB_ERROR_CALLBACK);
      const std::string error = perturb_last_error(), input = first == 1 ? "less loss" : "more loss";
      EXPECT_NE(error.find("y[2] of row 2 of theta shifted to " + input), std::string::npos) << error;
      EXPECT_TRUE(untouched(gradient));
      count(2);
    }
  }
}

// Nothing is solved for long after a failure: at most what the other threads had begun.
TEST(custom_failures, stop_early) {
  for (int threads : {1, 4}) {
    const context_ptr context = make_context(threads);
    marked_rows marked(context.get(), 1000, 200);
    marked.solver.instead = [](int64_t, const float*, float*) { return 1; };
    EXPECT_TRUE(fails(context.get(), marked.p, PERTURB_OP_EXPECTATION, {"row 0, sample 0"}));
    EXPECT_LE(marked.solver.calls, threads);
    count();
  }
}

// ---------------------------------------------------------------- creation and memory

TEST(custom_create, options) {
  watched_solver solver(3, 3, smooth_solver(3, 3));
  const auto create = [&](auto spoil, perturb_status expected, const char* name) -> testing::AssertionResult {
    count();
    perturb_custom_options options = PERTURB_CUSTOM_OPTIONS_INIT;
    options.n = 3;
    options.m = 2;
    options.solve = [](int64_t, const float*, float*, void*, void*) -> int32_t { return 0; };
    spoil(options);
    perturb_oracle* oracle = reinterpret_cast<perturb_oracle*>(&options);
    const perturb_status status = perturb_custom_create(&options, &oracle);
    const std::string error = perturb_last_error();
    const oracle_ptr made(status == PERTURB_OK ? oracle : nullptr);
    if (status != expected) return testing::AssertionFailure() << perturb_status_name(status) << " \"" << error << "\"";
    if (status != PERTURB_OK && oracle != nullptr) return testing::AssertionFailure() << "*oracle is not NULL";
    if (error.find(name) == std::string::npos) return testing::AssertionFailure() << "\"" << error << "\" does not name " << name;
    return testing::AssertionSuccess();
  };
  const auto invalid = PERTURB_ERROR_INVALID_ARGUMENT;
  EXPECT_TRUE(create([](auto&) {}, PERTURB_OK, ""));
  EXPECT_TRUE(create([](auto& o) { o.n = o.m = INT32_MAX, o.sense = PERTURB_MINIMIZE, o.thread_safe = 1; }, PERTURB_OK, ""));
  for (int64_t size : {int64_t{0}, int64_t{-1}, int64_t{1} << 31, INT64_MAX, INT64_MIN}) {
    EXPECT_TRUE(create([&](auto& o) { o.n = size; }, invalid, "options.n"));
    EXPECT_TRUE(create([&](auto& o) { o.m = size; }, invalid, "options.m"));
  }
  for (int sense : {-1, 2}) EXPECT_TRUE(create([&](auto& o) { o.sense = static_cast<perturb_sense>(sense); }, invalid, "options.sense"));
  EXPECT_TRUE(create([](auto& o) { o.solve = nullptr; }, invalid, "options.solve"));
  EXPECT_TRUE(create([](auto& o) { o.enqueue = std::exchange(o.solve, nullptr); }, PERTURB_OK, ""));
  EXPECT_TRUE(create([](auto& o) { o.struct_size = offsetof(perturb_custom_options, enqueue); }, PERTURB_OK, ""));  // the first headers'
  for (int32_t flag : {-1, 2}) EXPECT_TRUE(create([&](auto& o) { o.thread_safe = flag; }, invalid, "options.thread_safe"));
  constexpr uint32_t size_now = sizeof(perturb_custom_options), size_then = offsetof(perturb_custom_options, enqueue);
  for (uint32_t size : {0u, size_then - 8, size_then + 4, size_now - 1, size_now + 8})
    EXPECT_TRUE(create([&](auto& o) { o.struct_size = size; }, PERTURB_ERROR_INVALID_STRUCT, "struct_size"));
  perturb_oracle* oracle = nullptr;
  EXPECT_EQ(perturb_custom_create(nullptr, &oracle), invalid);
  const perturb_custom_options options = PERTURB_CUSTOM_OPTIONS_INIT;
  EXPECT_EQ(perturb_custom_create(&options, nullptr), invalid);
  const oracle_ptr made = solver.oracle();
  EXPECT_EQ(perturb_oracle_input_size(made.get()), 3);
  EXPECT_EQ(perturb_oracle_output_size(made.get()), 3);
  count(4);
}

// A solver for device memory alone is refused on a CPU context, whatever the call.
TEST(custom_create, a_solver_for_the_other_backend) {
  const context_ptr context = make_context(1);
  perturb_custom_options options = PERTURB_CUSTOM_OPTIONS_INIT;
  options.n = options.m = 6;
  options.enqueue = [](int64_t, const float*, float*, void*, void*) -> int32_t { return 0; };
  prepared_case p(context.get(), shape(6, 2, 10));
  p.oracle = make_custom(options);
  for (perturb_operation operation : custom_operations) {
    outputs out;
    EXPECT_EQ(call_with_canaries(context.get(), p, operation, out), PERTURB_ERROR_UNSUPPORTED);
    EXPECT_NE(std::string(perturb_last_error()).find("options.solve"), std::string::npos) << perturb_last_error();
    count(2);
  }
}

// A failing solver gives the scratch back.
TEST(custom_memory, comes_back_after_a_failure) {
  watching_allocator watch;
  {
    const context_ptr context = make_context(3, watch.hooks());
    marked_rows marked(context.get(), 5, 200);
    const size_t before = watch.live_bytes;
    marked.solver.instead = [](int64_t, const float*, float*) -> int32_t { throw std::runtime_error("no"); };
    for (perturb_operation operation : custom_operations) EXPECT_TRUE(fails(context.get(), marked.p, operation, {"no"}));
    EXPECT_EQ(watch.live_bytes, before);
  }
  EXPECT_EQ(watch.verdict(), "");
}

// The workspace holds the results until the call has succeeded, and does not grow with the samples once a row has two chunks.
TEST(custom_memory, workspace_size) {
  const context_ptr context = make_context(4), many = make_context(64);
  watched_solver solver(100, 40, smooth_solver(100, 40));
  const oracle_ptr oracle = solver.oracle();
  for (perturb_operation operation : {PERTURB_OP_SAMPLE, PERTURB_OP_EXPECTATION, PERTURB_OP_VJP, PERTURB_OP_JVP, PERTURB_OP_JACOBIAN}) {
    size_t few = 0, more = 0;
    perturb_noise noise = make_noise(PERTURB_NORMAL, 1, 1000);
    require(perturb_workspace_size(context.get(), operation, oracle.get(), &noise, 100, &few));
    noise.samples = 1000000;
    require(perturb_workspace_size(context.get(), operation, oracle.get(), &noise, 100, &more));
    EXPECT_EQ(few, more) << operation;
    EXPECT_LE(few, size_t{8} << 20) << operation;
    count(2);
  }
  // The unperturbed baseline keeps the solutions without noise; the size is exact for it too.
  test_case c = shape(6, 3, 300);
  c.baseline = PERTURB_BASELINE_UNPERTURBED;
  watched_solver small(6, 6, solver_for(6));
  prepared_case p(context.get(), c);
  p.oracle = small.oracle();
  const perturb_noise unperturbed = make_noise(p.c, p.factors);
  size_t exact = 0;
  require(perturb_workspace_size(context.get(), PERTURB_OP_JVP, p.oracle.get(), &unperturbed, c.batch, &exact));
  const std::vector<float> expected = run_all(context.get(), p, PERTURB_OP_JVP);
  std::vector<unsigned char> memory(exact + 1);
  require(perturb_context_set_workspace(context.get(), memory.data() + 1, exact));
  EXPECT_TRUE(same_bits(expected, run_all(context.get(), p, PERTURB_OP_JVP)));
  require(perturb_context_set_workspace(context.get(), memory.data() + 1, exact - 1));
  outputs out;
  EXPECT_EQ(call_with_canaries(context.get(), p, PERTURB_OP_JVP, out), PERTURB_ERROR_WORKSPACE_TOO_SMALL);
  require(perturb_context_set_workspace(context.get(), nullptr, 0));
  // Beyond any address space: refused, not wrapped around.
  perturb_custom_options options = PERTURB_CUSTOM_OPTIONS_INIT;
  options.n = options.m = int64_t{1} << 28;
  options.solve = [](int64_t, const float*, float*, void*, void*) -> int32_t { return 0; };
  options.thread_safe = 1;
  const oracle_ptr large = make_custom(options);
  const perturb_noise noise = make_noise(PERTURB_NORMAL, 1, 100000);
  size_t bytes = 3;
  EXPECT_EQ(perturb_workspace_size(many.get(), PERTURB_OP_JACOBIAN, large.get(), &noise, 1, &bytes), PERTURB_ERROR_OUT_OF_MEMORY);
  EXPECT_EQ(bytes, 3u);
  count(2);
}

}  // namespace
}  // namespace perturb::test
