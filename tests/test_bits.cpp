// The same arguments give the same bits: any number of threads, every instruction set, with and without a workspace (at odd alignment),
// run twice, and any split of rows and samples over calls. All cases, all operations, memcmp.
#include <gtest/gtest.h>

#include "compare.h"
#include "operations.h"

namespace perturb::test {
namespace {

std::vector<test_case> all_cases() {
  std::vector<test_case> all = cases();
  for (const test_case& c : noise_cases()) all.push_back(c);
  return all;
}

// Runs `one` for every case and operation, with the reference bits from a single thread and the default instruction set.
template <class Check>
void for_all(Check one) {
  const context_ptr reference = make_context(1);
  int number = 0;
  for (const test_case& c : all_cases()) {
    if (!picked(c, number++)) continue;
    const prepared_case p(reference.get(), c);
    for (perturb_operation operation : operations) {
      if (!p.has(operation)) continue;
      SCOPED_TRACE(c.name + " " + operation_names[operation]);
      one(p, operation, run_all(reference.get(), p, operation));
      if (testing::Test::HasFatalFailure()) return;
    }
  }
}

TEST(bits, threads) {
  const context_ptr contexts[] = {make_context(2), make_context(3), make_context(7)};
  for_all([&](const prepared_case& p, perturb_operation operation, const std::vector<float>& expected) {
    for (const context_ptr& context : contexts) EXPECT_TRUE(same_bits(expected, run_all(context.get(), p, operation)));
  });
}

TEST(bits, twice) {
  const context_ptr context = make_context(2);
  for_all([&](const prepared_case& p, perturb_operation operation, const std::vector<float>& expected) {
    EXPECT_TRUE(same_bits(expected, run_all(context.get(), p, operation)));
    EXPECT_TRUE(same_bits(expected, run_all(context.get(), p, operation)));
  });
}

void compare_isa(const char* isa) {
  const context_ptr one = make_context_on(isa, 1), two = make_context_on(isa, 2);
  if (!one || !two) GTEST_SKIP() << "this machine or build has no " << isa;
  for_all([&](const prepared_case& p, perturb_operation operation, const std::vector<float>& expected) {
    EXPECT_TRUE(same_bits(expected, run_all(one.get(), p, operation))) << isa;
    EXPECT_TRUE(same_bits(expected, run_all(two.get(), p, operation))) << isa << ", two threads";
  });
}
TEST(bits, scalar) { compare_isa("scalar"); }
TEST(bits, avx2) { compare_isa("avx2"); }
TEST(bits, avx512) { compare_isa("avx512"); }

TEST(bits, noise_fill) {
  const context_ptr reference = make_context(1);
  for (const char* isa : {"scalar", "avx2", "avx512"})
    for (int32_t threads : {1, 3}) {
      const context_ptr context = make_context_on(isa, threads);
      if (!context) continue;
      for (int d = 0; d < 9; ++d)  // from 5 on: Latin
        for (int64_t n : {1, 2, 3, 5, 8, 15, 16, 17, 33, 1000})
          for (int64_t samples : {1, 7, 16, 33, 200}) {
            if (d >= 4 && n * samples > 20000) continue;
            perturb_noise noise = make_noise(static_cast<perturb_distribution>(d % 5), 1, samples, 0x123456789abcdefu + n);
            noise.first_sample = d < 5 ? 5 : 0;
            noise.first_row = 3;
            if (d >= 5) noise.sampling = PERTURB_SAMPLING_LATIN;
            if (d == 4) noise.sum_of_gamma_k = 3, noise.sum_of_gamma_terms = 4;
            std::vector<float> expected(2 * samples * n), actual(expected.size());
            require(perturb_noise_fill(reference.get(), &noise, 2, n, expected.data()));
            require(perturb_noise_fill(context.get(), &noise, 2, n, actual.data()));
            EXPECT_TRUE(same_bits(expected, actual)) << isa << " " << threads << " " << d << " " << n << " " << samples;
          }
    }
}

// A workspace of exactly the advertised size, at every alignment.
TEST(bits, workspace) {
  const context_ptr context = make_context(2);
  int offset = 0;
  for_all([&](const prepared_case& p, perturb_operation operation, const std::vector<float>& expected) {
    const perturb_noise noise = make_noise(p.c, p.factors);
    size_t bytes = 0;
    require(perturb_workspace_size(context.get(), operation, p.oracle.get(), operation == PERTURB_OP_SOLVE ? nullptr : &noise, p.c.batch,
                                   &bytes));
    std::vector<unsigned char> memory(bytes + 64, 0xa5);
    offset = (offset + 1) % 64;
    require(perturb_context_set_workspace(context.get(), memory.data() + offset, bytes));
    EXPECT_TRUE(same_bits(expected, run_all(context.get(), p, operation)));
    require(perturb_context_set_workspace(context.get(), nullptr, 0));
    for (size_t i = 0; i < memory.size(); ++i) {
      const bool inside = i >= static_cast<size_t>(offset) && i < offset + bytes;
      if (!inside && memory[i] != 0xa5) {
        ADD_FAILURE() << "byte " << i << " outside the workspace was written";
        break;
      }
    }
    count();
  });
}

// Row by row with first_row: the rows of the batch.
TEST(bits, split_rows) {
  const context_ptr context = make_context(2);
  for_all([&](const prepared_case& p, perturb_operation operation, const std::vector<float>& expected) {
    if (p.c.batch == 1) return;
    std::vector<float> joined;
    for (int64_t b = 0; b < p.c.batch; ++b) {
      const std::vector<float> row = run_rows(context.get(), p, operation, make_noise(p.c, p.factors), b, 1);
      joined.insert(joined.end(), row.begin(), row.end());
    }
    EXPECT_TRUE(same_bits(expected, joined));
  });
}

// More rows than a slice of any schedule holds, some of them alone.
TEST(bits, many_rows) {
  const context_ptr context = make_context(3), single = make_context(1);
  for (oracle_kind kind : {oracle_kind::argmax, oracle_kind::top_k, oracle_kind::rank, oracle_kind::sort}) {
    test_case c;
    c.name = "many_rows";
    c.oracle = kind;
    c.n = 10;
    c.k = 3;
    c.descending = kind == oracle_kind::sort;
    c.batch = 1001;
    c.samples = 33;
    const prepared_case p(context.get(), c);
    for (perturb_operation operation : operations) {
      if (!p.has(operation)) continue;
      const std::vector<float> whole = run_all(context.get(), p, operation);
      const int64_t width = static_cast<int64_t>(whole.size()) / c.batch;
      for (int64_t first : {0, 1, 499, 998, 1000}) {
        const int64_t rows = std::min<int64_t>(3, c.batch - first);
        EXPECT_TRUE(same_bits(std::vector<float>(whole.begin() + first * width, whole.begin() + (first + rows) * width),
                              run_rows(single.get(), p, operation, make_noise(p.c, p.factors), first, rows)))
            << operation_names[operation] << " row " << first;
      }
    }
  }
}

// Samples in parts with first_sample: the samples of the whole, and counts that add up exactly.
TEST(bits, split_samples) {
  const context_ptr context = make_context(2);
  int number = 0;
  for (test_case c : cases()) {
    if (!picked(c, number++)) continue;
    if (c.first_sample > int64_t{1} << 31) c.first_sample = 0;
    c.samples = c.n > 500 ? 10 : 150;
    c.batch = 1;
    const prepared_case p(context.get(), c);
    SCOPED_TRACE(c.name);
    const perturb_noise whole = make_noise(p.c, p.factors);
    const std::vector<float> expected = run_rows(context.get(), p, PERTURB_OP_SAMPLE, whole, 0, 1);
    const std::vector<float> mean = run_rows(context.get(), p, PERTURB_OP_EXPECTATION, whole, 0, 1);
    std::vector<float> joined;
    std::vector<double> counts(c.m());
    int64_t done = 0;
    const int64_t unit = c.sampling == PERTURB_SAMPLING_ANTITHETIC ? 2 : 1;
    for (int64_t part : {unit, 2 * unit, c.samples / 6 * unit, c.samples}) {
      perturb_noise noise = whole;
      noise.first_sample = whole.first_sample + done;
      noise.samples = std::min(part, c.samples - done);
      done += noise.samples;
      const std::vector<float> y = run_rows(context.get(), p, PERTURB_OP_SAMPLE, noise, 0, 1);
      joined.insert(joined.end(), y.begin(), y.end());
      const std::vector<float> part_mean = run_rows(context.get(), p, PERTURB_OP_EXPECTATION, noise, 0, 1);
      for (int64_t i = 0; i < c.m(); ++i) counts[i] += std::round(static_cast<double>(part_mean[i]) * static_cast<double>(noise.samples));
    }
    ASSERT_EQ(done, c.samples);
    EXPECT_TRUE(same_bits(expected, joined));
    for (double& entry : counts) entry /= static_cast<double>(c.samples);
    EXPECT_TRUE(all_within_one_ulp(counts, std::vector<float>(mean.begin(), mean.begin() + c.m())));
  }
}

// Optional outputs change no other output.
TEST(bits, optional_outputs) {
  const context_ptr context = make_context(2);
  int number = 0;
  for (const test_case& c : all_cases()) {
    if (!picked(c, number++)) continue;
    const prepared_case p(context.get(), c);
    SCOPED_TRACE(c.name);
    const perturb_noise noise = make_noise(p.c, p.factors);
    const int64_t n = c.n, m = c.m(), B = c.batch;
    std::vector<float> all[4] = {std::vector<float>(B * m), std::vector<float>(B * m), std::vector<float>(B), std::vector<float>(B)};
    const bool errors = c.has_std_errors(), values = c.has_value();
    require(perturb_expectation(context.get(), p.oracle.get(), &noise, B, p.theta.data(), all[0].data(), errors ? all[1].data() : nullptr,
                                values ? all[2].data() : nullptr, values && errors ? all[3].data() : nullptr));
    for (int given = 0; given < 8; ++given) {
      if (!errors && given & 5) continue;  // the bits of the two standard errors
      if (!values && given & 6) continue;
      std::vector<float> some[4] = {std::vector<float>(B * m), std::vector<float>(B * m), std::vector<float>(B), std::vector<float>(B)};
      float* optional[3];
      for (int o = 0; o < 3; ++o) optional[o] = given >> o & 1 ? some[o + 1].data() : nullptr;
      require(perturb_expectation(context.get(), p.oracle.get(), &noise, B, p.theta.data(), some[0].data(), optional[0], optional[1],
                                  optional[2]));
      EXPECT_TRUE(same_bits(all[0], some[0])) << given;
      for (int o = 0; o < 3; ++o)
        if (optional[o]) {
          EXPECT_TRUE(same_bits(all[o + 1], some[o + 1])) << given << " output " << o + 1;
        }
    }
    if (c.is_sort() && errors) {
      std::vector<float> with(B * c.k), error(B * c.k), without(B * c.k);
      require(perturb_sorted_values(context.get(), p.oracle.get(), &noise, B, p.theta.data(), with.data(), error.data()));
      require(perturb_sorted_values(context.get(), p.oracle.get(), &noise, B, p.theta.data(), without.data(), nullptr));
      EXPECT_TRUE(same_bits(with, without));
    }
    if (!c.has_fenchel_young()) continue;
    std::vector<float> full[3] = {std::vector<float>(B), std::vector<float>(B * n), std::vector<float>(B)};
    require(perturb_fenchel_young(context.get(), p.oracle.get(), &noise, B, p.theta.data(), p.target.data(), full[0].data(), full[1].data(),
                                  full[2].data()));
    for (int given = 1; given < 8; ++given) {
      std::vector<float> some[3] = {std::vector<float>(B), std::vector<float>(B * n), std::vector<float>(B)};
      float* optional[3];
      for (int o = 0; o < 3; ++o) optional[o] = given >> o & 1 ? some[o].data() : nullptr;
      require(perturb_fenchel_young(context.get(), p.oracle.get(), &noise, B, p.theta.data(), p.target.data(), optional[0], optional[1],
                                    optional[2]));
      for (int o = 0; o < 3; ++o)
        if (optional[o]) {
          EXPECT_TRUE(same_bits(full[o], some[o])) << given << " output " << o;
        }
    }
  }
}

// What theta, the true theta and the cotangent hold at walls changes nothing: no bound, no scale, no check.
TEST(bits, walls_hold_anything) {
  case_list list;
  for (perturb_connectivity connectivity : {PERTURB_CONNECT_4, PERTURB_CONNECT_8, PERTURB_CONNECT_8_NO_CORNER_CUTTING})
    for (int64_t samples : {2, 40})
      for (const char* isa : {"scalar", "avx2", "avx512"}) {
        const context_ptr context = make_context_on(isa, 2);
        if (!context) continue;
        test_case c = list.grid_case(9, 11, connectivity);
        c.wall = walls::random;
        c.samples = samples;
        c.batch = 3;
        prepared_case p(context.get(), c);
        const std::vector<uint8_t> passable = make_passable(c);
        const prepared_case plain(context.get(), c);
        for (float anything : {0.0f, -3e38f, 3e38f, INFINITY, NAN}) {
          for (int64_t i = 0; i < c.batch * c.n; ++i) {
            if (passable[i % c.n]) continue;
            p.theta[i] = p.theta_true[i] = anything;
            p.cotangent[i] = std::isfinite(anything) ? anything : 0.0f;
          }
          for (perturb_operation operation : operations) {
            if (!p.has(operation)) continue;
            EXPECT_TRUE(same_bits(run_all(context.get(), plain, operation), run_all(context.get(), p, operation))) << isa << " " << operation_names[operation] << " " << anything;
          }
        }
      }
}

}  // namespace
}  // namespace perturb::test
