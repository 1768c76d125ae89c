// Contexts side by side: several threads, each with a context of its own, share oracles; results are those of one thread alone and the
// last error belongs to its thread. Meant for the thread sanitizer as much as for its assertions.
#include <gtest/gtest.h>

#include <thread>

#include "compare.h"
#include "operations.h"

namespace perturb::test {
namespace {

TEST(threads, contexts_share_oracles) {
  const context_ptr alone = make_context(1);
  std::vector<prepared_case> shared;
  std::vector<std::vector<std::vector<float>>> expected;
  int small = 0;
  for (const test_case& c : cases()) {
    if (c.n > 150 || ++small % 3 != 0) continue;
    shared.emplace_back(alone.get(), c);
    expected.emplace_back();
    for (perturb_operation operation : operations)
      expected.back().push_back(shared.back().has(operation) ? run_all(alone.get(), shared.back(), operation) : std::vector<float>());
  }
  constexpr int workers = 4;
  std::vector<std::string> faults(workers);
  std::vector<std::thread> threads;
  for (int w = 0; w < workers; ++w)
    threads.emplace_back([&, w] {
      try {
        const context_ptr context = make_context(1 + w % 3);
        for (size_t i = 0; i < shared.size(); ++i) {
          const prepared_case& p = shared[(i + 13 * w) % shared.size()];
          for (perturb_operation operation : operations) {
            if (!p.has(operation)) continue;
            const auto same = same_bits(expected[(i + 13 * w) % shared.size()][operation], run_all(context.get(), p, operation));
            if (!same && faults[w].empty()) faults[w] = p.c.name + " " + operation_names[operation] + ": " + same.message();
          }
        }
      } catch (const std::exception& error) {
        faults[w] = error.what();
      }
    });
  for (std::thread& thread : threads) thread.join();
  for (const std::string& fault : faults) EXPECT_EQ(fault, "");
}

TEST(threads, errors_belong_to_their_thread) {
  perturb_oracle* oracle = nullptr;
  ASSERT_EQ(perturb_argmax_create(-1, &oracle), PERTURB_ERROR_INVALID_ARGUMENT);
  const std::string mine = perturb_last_error();
  std::string theirs_at_first, theirs;
  std::thread([&] {
    theirs_at_first = perturb_last_error();
    perturb_oracle* other = nullptr;
    perturb_top_k_create(3, 4, &other);
    theirs = perturb_last_error();
  }).join();
  EXPECT_EQ(theirs_at_first, "");
  EXPECT_NE(theirs, "");
  EXPECT_NE(theirs, mine);
  EXPECT_EQ(perturb_last_error(), mine);
  count(4);
}

TEST(threads, contexts_come_and_go) {
  std::vector<std::thread> threads;
  std::atomic<int> failures{0};
  for (int w = 0; w < 3; ++w)
    threads.emplace_back([&] {
      for (int round = 0; round < 30; ++round) {
        const context_ptr context = make_context(1 + round % 4);
        const oracle_ptr oracle = make_rank(20);
        const perturb_noise noise = make_noise(PERTURB_NORMAL, 1, 100);
        const std::vector<float> theta(200, 1.0f);
        std::vector<float> y(200);
        failures +=
            perturb_expectation(context.get(), oracle.get(), &noise, 10, theta.data(), y.data(), nullptr, nullptr, nullptr) != PERTURB_OK;
        count();
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failures.load(), 0);
}

}  // namespace
}  // namespace perturb::test
