// Solvers of the caller's: the same bits for any threads, instruction set and split of the rows, sums in the documented order, and how the
// solver is called.
#include <gtest/gtest.h>

#include <chrono>

#include "compare.h"
#include "custom_solver.h"
#include "operations.h"

namespace perturb::test {
namespace {

// Rows of one chunk and of several; n = 3000 is solved in blocks of fewer than 128.
std::vector<test_case> shapes() {
  return {shape(6, 1, 1),   shape(6, 1, 1000), shape(6, 3, 300), shape(6, 40, 5),    shape(6, 201, 1),
          shape(6, 9, 200), shape(6, 5, 128),  shape(6, 5, 129), shape(3000, 2, 130)};
}
bool takes_noise(perturb_operation operation) {
  return operation != PERTURB_OP_SOLVE && operation != PERTURB_OP_LPGD && operation != PERTURB_OP_SPO_PLUS;
}
bool runs(const test_case& c, perturb_operation operation) { return operation != PERTURB_OP_JACOBIAN || c.n < 100; }

TEST(custom_bits, threads_instruction_sets_and_thread_safety) {
  for (const test_case& c : shapes()) {
    SCOPED_TRACE(c.name);
    const context_ptr first = make_context(1);
    watched_solver solver(c.n, c.n, solver_for(c.n));
    prepared_case p(first.get(), c);
    p.oracle = solver.oracle(false);
    std::vector<std::vector<float>> expected;
    for (perturb_operation operation : custom_operations)
      expected.push_back(runs(c, operation) ? run_all(first.get(), p, operation) : std::vector<float>());
    for (const char* isa : {"", "scalar", "avx2"})
      for (int threads : {1, 2, 5})
        for (bool thread_safe : {false, true}) {
          if (*isa && (threads != 2 || !thread_safe)) continue;  // an instruction set does not change who adds what
          const context_ptr context = make_context_on(isa, threads);
          if (!context) continue;
          p.oracle = solver.oracle(thread_safe);
          for (perturb_operation operation : custom_operations)
            if (runs(c, operation)) {
              EXPECT_TRUE(same_bits(expected[operation], run_all(context.get(), p, operation)))
                  << operation_names[operation] << " isa " << isa << " threads " << threads << " thread-safe " << thread_safe;
            }
        }
  }
}

TEST(custom_bits, rows_in_parts) {
  const context_ptr context = make_context(2);
  for (const test_case& c : shapes()) {
    if (c.batch < 3) continue;
    SCOPED_TRACE(c.name);
    watched_solver solver(c.n, c.n, solver_for(c.n));
    prepared_case p(context.get(), c);
    p.oracle = solver.oracle();
    const perturb_noise noise = make_noise(c, p.factors);
    for (perturb_operation operation : custom_operations) {
      std::vector<float> joined;
      for (const auto& [at, rows] : {std::pair<int64_t, int64_t>{0, 1}, {1, c.batch - 2}, {c.batch - 1, 1}}) {
        const std::vector<float> part = run_rows(context.get(), p, operation, noise, at, rows);
        joined.insert(joined.end(), part.begin(), part.end());
      }
      EXPECT_TRUE(same_bits(run_all(context.get(), p, operation), joined)) << operation_names[operation];
    }
  }
}

// The order of the sums is the documented one: 128 samples, ascending, then the next. y is huge for some samples, in both directions and
// equally often, so that the order decides which small ones survive the rounding.
TEST(custom_bits, order_of_the_sums) {
  const context_ptr context = make_context(2);
  constexpr int64_t samples = 300;
  const auto solve = [](float s) { return s > 0.5f ? 0x1p60f : s < -0.5f ? -0x1p60f : s; };
  watched_solver solver(1, 1, [&](const float* theta, float* y) { y[0] = solve(theta[0]); });
  const oracle_ptr oracle = solver.oracle();
  int balanced = 0, other_order = 0;
  for (uint64_t seed = 0; seed < 400; ++seed) {
    const perturb_noise noise = make_noise(PERTURB_NORMAL, 1, samples, seed);
    const std::vector<float> theta(1);
    std::vector<float> z(samples), mean(1);
    require(perturb_noise_fill(context.get(), &noise, 1, 1, z.data()));
    int64_t tilt = 0;
    double total = 0, plain = 0;
    for (int64_t first = 0; first < samples; first += 128) {
      double chunk = 0;
      for (int64_t m = first; m < std::min(first + 128, samples); ++m) {
        tilt += (z[m] > 0.5f) - (z[m] < -0.5f);
        chunk += solve(z[m]);
        plain += solve(z[m]);
      }
      total += chunk;
    }
    if (tilt != 0) continue;
    ++balanced;
    other_order += total != plain;
    require(perturb_expectation(context.get(), oracle.get(), &noise, 1, theta.data(), mean.data(), nullptr, nullptr, nullptr));
    EXPECT_TRUE(same_bits({static_cast<float>(total / samples)}, mean)) << seed;
  }
  EXPECT_GT(balanced, 5);
  EXPECT_GT(other_order, 0) << "the test cannot tell the orders apart";
}

// Samples in parts are the samples of the whole.
TEST(custom_bits, samples_in_parts) {
  const context_ptr context = make_context(3);
  const test_case c = shape(6, 1, 500);
  watched_solver solver(c.n, c.n, solver_for(c.n));
  prepared_case p(context.get(), c);
  p.oracle = solver.oracle();
  perturb_noise noise = make_noise(c, p.factors);
  std::vector<float> joined;
  for (const auto& [first, samples] : {std::pair<int64_t, int64_t>{0, 1}, {1, 127}, {128, 300}, {428, 72}}) {
    noise.first_sample = first;
    noise.samples = samples;
    const std::vector<float> part = run_rows(context.get(), p, PERTURB_OP_SAMPLE, noise, 0, 1);
    joined.insert(joined.end(), part.begin(), part.end());
  }
  EXPECT_TRUE(same_bits(run_all(context.get(), p, PERTURB_OP_SAMPLE), joined));
}

TEST(custom_bits, optional_outputs) {
  const context_ptr context = make_context(2);
  const test_case c = shape(6, 3, 300);
  watched_solver solver(c.n, c.n, solver_for(c.n));
  prepared_case p(context.get(), c);
  p.oracle = solver.oracle();
  const perturb_noise noise = make_noise(c, p.factors);
  const int64_t B = c.batch, n = c.n;
  const auto call = [&](bool expectation, int given) {
    const int64_t sizes[2][4] = {{B, B * n, B, 0}, {B * n, B * n, B, B}};
    std::vector<std::vector<float>> out;
    float* o[4] = {};
    for (int i = 0; i < 4; ++i) out.emplace_back(sizes[expectation][i]);
    for (int i = 0; i < 4; ++i) o[i] = given >> i & 1 ? out[i].data() : nullptr;
    require(expectation
                ? perturb_expectation(context.get(), p.oracle.get(), &noise, B, p.theta.data(), o[0], o[1], o[2], o[3])
                : perturb_fenchel_young(context.get(), p.oracle.get(), &noise, B, p.theta.data(), p.target.data(), o[0], o[1], o[2]));
    return out;
  };
  for (bool expectation : {false, true}) {
    const auto all = call(expectation, 15);
    for (int given = 1; given < (expectation ? 16 : 8); ++given) {
      if (expectation && !(given & 1)) continue;
      const auto some = call(expectation, given);
      for (int i = 0; i < 4; ++i)
        if (given >> i & 1) {
          EXPECT_TRUE(same_bits(all[i], some[i])) << expectation << " given " << given << " output " << i;
        }
    }
  }
}

// ---------------------------------------------------------------- how the solver is called

TEST(custom_calls, every_problem_once_at_most_128_at_a_time) {
  for (const test_case& c : shapes())
    for (int threads : {1, 5}) {
      SCOPED_TRACE(c.name + " threads " + std::to_string(threads));
      const context_ptr context = make_context(threads);
      watched_solver solver(c.n, c.n, solver_for(c.n));
      prepared_case p(context.get(), c);
      p.c.baseline = PERTURB_BASELINE_LEAVE_ONE_OUT;  // the unperturbed one solves each row once more
      p.oracle = solver.oracle();
      for (perturb_operation operation : custom_operations) {
        if (!runs(c, operation)) continue;
        solver.forget();
        run_all(context.get(), p, operation);
        const int64_t samples = takes_noise(operation) ? c.samples : 1, inputs = operation >= PERTURB_OP_LPGD ? 2 : 1;
        EXPECT_EQ(solver.problems, inputs * c.batch * samples) << operation_names[operation];
        EXPECT_LE(solver.largest, 128);
        EXPECT_LE(solver.most_at_once, threads);
        EXPECT_FALSE(solver.bad_arguments);
        count(4);
        if (c.n > 100 || threads > 1) continue;  // fewer at a time: for scratch that stays in cache, for work for every thread
        const int64_t rows = std::max<int64_t>(1, 128 / samples);
        EXPECT_EQ(solver.calls, inputs * (samples > 128 ? c.batch * ((samples + 127) / 128) : (c.batch + rows - 1) / rows))
            << operation_names[operation];
        count();
      }
    }
}

TEST(custom_calls, a_solver_that_is_not_thread_safe_stays_on_its_thread) {
  const context_ptr context = make_context(5);
  const test_case c = shape(6, 7, 300);
  watched_solver solver(c.n, c.n, solver_for(c.n));
  prepared_case p(context.get(), c);
  p.oracle = solver.oracle(false);
  for (perturb_operation operation : custom_operations) run_all(context.get(), p, operation);
  EXPECT_FALSE(solver.off_thread);
  EXPECT_EQ(solver.most_at_once, 1);
  // The watch itself works, and a thread-safe solver is spread: two solves wait until both are inside.
  p.oracle = solver.oracle(true);
  std::atomic<int> inside{0};
  solver.instead = [&](int64_t problems, const float*, float* y) {
    ++inside;
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (inside < 2 && std::chrono::steady_clock::now() < end) std::this_thread::yield();
    std::fill(y, y + problems * c.n, 1.0f);
    return 0;
  };
  run_all(context.get(), p, PERTURB_OP_EXPECTATION);
  EXPECT_TRUE(solver.off_thread);
  EXPECT_GE(solver.most_at_once, 2);
  count(4);
}

// Another context may be used inside, and what happens there is not this call's error.
TEST(custom_calls, calls_within_the_solver) {
  const context_ptr context = make_context(3);
  const test_case c = shape(6, 4, 200);
  const oracle_ptr argmax = make_argmax(c.n);
  prepared_case p(context.get(), c);
  const std::vector<float> expected = run_rows(context.get(), p, PERTURB_OP_EXPECTATION, make_noise(c, p.factors), 0, c.batch);
  for (bool thread_safe : {false, true}) {
    watched_solver solver(c.n, c.n, [&](const float* theta, float* y) {
      const context_ptr own = make_context(1);
      require(perturb_solve(own.get(), argmax.get(), 1, theta, y, nullptr));
      perturb_solve(own.get(), nullptr, 1, theta, y, nullptr);  // leaves an error behind
    });
    p.oracle = solver.oracle(thread_safe);
    const std::vector<float> got = run_all(context.get(), p, PERTURB_OP_EXPECTATION);
    EXPECT_STREQ(perturb_last_error(), "");
    const auto means = [&](const std::vector<float>& all) { return std::vector<float>(all.begin(), all.begin() + c.n); };
    EXPECT_TRUE(same_bits(means(expected), means(got)));
  }
}

#if defined(__x86_64__)
// A solver that leaves another rounding mode behind changes no sum.
TEST(custom_calls, rounding_mode_is_restored) {
  const context_ptr context = make_context(2);
  const test_case c = shape(6, 2, 300);
  watched_solver solver(c.n, c.n, solver_for(c.n));
  prepared_case p(context.get(), c);
  p.oracle = solver.oracle();
  std::vector<std::vector<float>> expected;
  for (perturb_operation operation : custom_operations) expected.push_back(run_all(context.get(), p, operation));
  const one_solver one = solver_for(c.n);
  solver.instead = [&](int64_t problems, const float* theta, float* y) {
    for (int64_t k = 0; k < problems; ++k) one(theta + k * c.n, y + k * c.n);
    __builtin_ia32_ldmxcsr(0xffc0);  // towards zero, flushing denormals
    return 0;
  };
  for (perturb_operation operation : custom_operations) {
    EXPECT_TRUE(same_bits(expected[operation], run_all(context.get(), p, operation))) << operation_names[operation];
    EXPECT_EQ(__builtin_ia32_stmxcsr() & 0xffc0, 0x1f80u & 0xffc0);
  }
}
#endif

}  // namespace
}  // namespace perturb::test
