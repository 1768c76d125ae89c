// Accumulators: samples added in any parts and any order, by any contexts, merged, saved and loaded, give the bits of one call; what does
// not belong is refused and changes nothing.
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>

#include "accumulators.h"

namespace perturb::test {
namespace {

struct part {
  int64_t first, samples;
};

// [0, samples) in parts of up to `largest`, shuffled; pairs stay together.
std::vector<part> shuffled_parts(const test_case& c, int64_t largest) {
  std::vector<part> parts;
  const int64_t unit = c.sampling == PERTURB_SAMPLING_ANTITHETIC ? 2 : 1;
  for (int64_t at = 0; at < c.samples;) {
    const int64_t wanted = unit * (1 + static_cast<int64_t>(hashed(c.seed, static_cast<uint64_t>(at)) % static_cast<uint64_t>(largest)));
    parts.push_back({at, std::min(wanted, c.samples - at)});
    at += parts.back().samples;
  }
  std::shuffle(parts.begin(), parts.end(), std::mt19937(static_cast<unsigned>(c.seed)));
  return parts;
}

TEST(accumulator, parts_give_the_bits_of_one_call) {
  const context_ptr one = make_context(1), three = make_context(3);
  for (test_case c : cases()) {
    if (c.n > 600 || c.samples > 200) continue;
    c.first_sample = 0;
    prepared_case p(one.get(), c);
    for (entry_point entry : accumulated) {
      if (!has(p, entry)) continue;
      SCOPED_TRACE(c.name + " " + name_of(entry));
      host_call whole(one.get(), p, entry), parted(three.get(), p, entry);
      const std::vector<float> expected = whole.run();
      const accumulator_ptr mine = make_accumulator(parted.valid), other = make_accumulator(whole.valid);
      const std::vector<part> parts = shuffled_parts(c, 20);
      const request &r = parted.valid, &s = whole.valid;
      for (size_t i = 0; i < parts.size(); ++i) {
        perturb_accumulator* const to = i % 3 == 1 ? other.get() : mine.get();
        require(perturb_accumulator_add(to, parts[i].first, parts[i].samples, r.theta, r.extra));
      }
      EXPECT_EQ(perturb_accumulator_samples(mine.get()) + perturb_accumulator_samples(other.get()), c.samples);
      // One half through bytes into a third, the other merged.
      const accumulator_ptr loaded = make_accumulator(s);
      const std::vector<unsigned char> bytes = saved(mine.get());
      require(perturb_accumulator_load(loaded.get(), bytes.data(), bytes.size()));
      require(perturb_accumulator_merge(mine.get(), other.get()));
      require(perturb_accumulator_merge(loaded.get(), other.get()));
      EXPECT_TRUE(saved(mine.get()) == saved(loaded.get()));
      for (perturb_accumulator* a : {mine.get(), loaded.get()}) {
        EXPECT_EQ(perturb_accumulator_samples(a), c.samples);
        require(perturb_accumulator_result(a, r.theta, r.extra, parted.valid.output));
        EXPECT_TRUE(same_bits(expected, parted.results()));
      }
    }
  }
}

// Results may be looked at in between, and are those of a call with the samples so far.
TEST(accumulator, results_on_the_way) {
  const context_ptr context = make_context(2);
  case_list list;
  test_case c = list.rank_case(30);
  c.batch = 3;
  for (entry_point entry : accumulated) {
    prepared_case p(context.get(), c);
    host_call all(context.get(), p, entry);
    const accumulator_ptr a = make_accumulator(all.valid);
    for (int64_t samples : {1, 2, 7, 40}) {
      const int64_t before = perturb_accumulator_samples(a.get());
      require(perturb_accumulator_add(a.get(), before, samples - before, all.valid.theta, all.valid.extra));
      prepared_case so_far(context.get(), c);
      so_far.c.samples = samples;
      host_call whole(context.get(), so_far, entry);
      require(perturb_accumulator_result(a.get(), all.valid.theta, all.valid.extra, all.valid.output));
      EXPECT_TRUE(same_bits(whole.run(), all.results())) << name_of(entry) << " " << samples;
    }
  }
}

struct small {
  context_ptr context = make_context(2);
  prepared_case p;
  host_call call;
  accumulator_ptr a;
  static test_case make() {
    case_list list;
    return list.top_k_case(8, 3);
  }
  explicit small(entry_point entry = entry_point::vjp) : p(context.get(), make()), call(context.get(), p, entry), a(make_accumulator(call.valid)) {}
  perturb_status add(int64_t first, int64_t samples) { return perturb_accumulator_add(a.get(), first, samples, call.valid.theta, call.valid.extra); }
};

testing::AssertionResult refused_with(perturb_status got, perturb_status expected, const char* name) {
  count();
  if (got != expected) return testing::AssertionFailure() << perturb_status_name(got) << ": " << perturb_last_error();
  if (std::string(perturb_last_error()).find(name) == std::string::npos) return testing::AssertionFailure() << perturb_last_error() << " does not name " << name;
  return testing::AssertionSuccess();
}

TEST(accumulator, refusals_change_nothing) {
  const auto invalid = PERTURB_ERROR_INVALID_ARGUMENT;
  small s;
  std::vector<float> out(s.p.c.batch * 8);
  float* outputs[] = {out.data()};
  EXPECT_TRUE(refused_with(perturb_accumulator_result(s.a.get(), s.call.valid.theta, s.call.valid.extra, outputs), invalid, "samples"));
  require(s.add(10, 5));
  const std::vector<unsigned char> before = saved(s.a.get());
  for (part bad : {part{10, 1}, part{14, 4}, part{5, 6}, part{0, 100}}) EXPECT_TRUE(refused_with(s.add(bad.first, bad.samples), invalid, "added before")) << bad.first;
  EXPECT_TRUE(refused_with(s.add(0, 0), invalid, "samples"));
  EXPECT_TRUE(refused_with(s.add(-1, 1), invalid, "first_sample"));
  EXPECT_TRUE(refused_with(s.add((int64_t{1} << 32) - 1, 2), invalid, "first_sample"));
  EXPECT_TRUE(refused_with(perturb_accumulator_add(s.a.get(), 0, 1, nullptr, s.call.valid.extra), invalid, "theta"));
  EXPECT_TRUE(refused_with(perturb_accumulator_add(s.a.get(), 0, 1, s.call.valid.theta, nullptr), invalid, "cotangent"));
  std::vector<float> bad(s.call.valid.theta, s.call.valid.theta + s.p.c.batch * 8);
  bad[3] = std::numeric_limits<float>::infinity();
  EXPECT_TRUE(refused_with(perturb_accumulator_add(s.a.get(), 0, 1, bad.data(), s.call.valid.extra), PERTURB_ERROR_NON_FINITE, "theta"));
  EXPECT_TRUE(refused_with(perturb_accumulator_add(nullptr, 0, 1, nullptr, nullptr), invalid, "accumulator"));
  EXPECT_TRUE(refused_with(perturb_accumulator_merge(s.a.get(), s.a.get()), invalid, "added before"));
  fill_canary(out);
  EXPECT_TRUE(refused_with(perturb_accumulator_result(s.a.get(), s.call.valid.theta, s.call.valid.extra, nullptr), invalid, "outputs"));
  outputs[0] = nullptr;
  EXPECT_TRUE(refused_with(perturb_accumulator_result(s.a.get(), s.call.valid.theta, s.call.valid.extra, outputs), invalid, "gradient"));
  EXPECT_TRUE(untouched(out));
  // A workspace that is too small is found before anything is added.
  std::vector<unsigned char> memory(8);
  require(perturb_context_set_workspace(s.context.get(), memory.data(), memory.size()));
  EXPECT_TRUE(refused_with(s.add(0, 1), PERTURB_ERROR_WORKSPACE_TOO_SMALL, "bytes"));
  require(perturb_context_set_workspace(s.context.get(), nullptr, 0));
  EXPECT_TRUE(saved(s.a.get()) == before);
  require(s.add(0, 10));
  require(s.add(15, 2));
  EXPECT_EQ(perturb_accumulator_samples(s.a.get()), 17);
  EXPECT_EQ(perturb_accumulator_samples(nullptr), 0);
}

TEST(accumulator, other_estimates_are_refused) {
  const auto invalid = PERTURB_ERROR_INVALID_ARGUMENT;
  small s;
  require(s.add(0, 3));
  const auto refuses = [&](auto spoil, const char* name) {
    small t;
    perturb_noise noise = *t.call.valid.noise;
    request r = t.call.valid;
    r.noise = &noise;
    oracle_ptr oracle;
    spoil(r, noise, oracle);
    const accumulator_ptr other = make_accumulator(r);
    EXPECT_TRUE(refused_with(perturb_accumulator_merge(s.a.get(), other.get()), invalid, name));
    const std::vector<unsigned char> bytes = saved(other.get());
    EXPECT_TRUE(refused_with(perturb_accumulator_load(s.a.get(), bytes.data(), bytes.size()), invalid, name));
    EXPECT_EQ(perturb_accumulator_samples(s.a.get()), 3);
  };
  refuses([](request& r, perturb_noise&, oracle_ptr&) { r.entry = entry_point::jvp; }, "operation");
  refuses([](request& r, perturb_noise&, oracle_ptr& o) { r.oracle = (o = make_top_k(8, 4)).get(); }, "k is");
  refuses([](request& r, perturb_noise&, oracle_ptr& o) { r.oracle = (o = make_rank(8)).get(); }, "oracle");
  refuses([](request&, perturb_noise& z, oracle_ptr&) { z.epsilon *= 2; }, "epsilon");
  refuses([](request&, perturb_noise& z, oracle_ptr&) { z.seed += 1; }, "seed");
  refuses([](request&, perturb_noise& z, oracle_ptr&) { z.first_row += 1; }, "first_row");
  refuses([](request&, perturb_noise& z, oracle_ptr&) { z.distribution = z.distribution == PERTURB_NORMAL ? PERTURB_GUMBEL : PERTURB_NORMAL; }, "distribution");
  refuses([](request&, perturb_noise& z, oracle_ptr&) { z.sampling = PERTURB_SAMPLING_ANTITHETIC; }, "sampling");
  refuses([](request& r, perturb_noise&, oracle_ptr&) { r.batch = 1; }, "batch");
}

// Grids differ by their walls too.
TEST(accumulator, another_grid_is_refused) {
  const context_ptr context = make_context(1);
  case_list list;
  test_case c = list.grid_case(5, 6), walled = c;
  walled.wall = walls::random;
  prepared_case p(context.get(), c), q(context.get(), walled);
  host_call open(context.get(), p, entry_point::expectation), shut(context.get(), q, entry_point::expectation);
  const accumulator_ptr a = make_accumulator(open.valid), b = make_accumulator(shut.valid);
  EXPECT_TRUE(refused_with(perturb_accumulator_merge(a.get(), b.get()), PERTURB_ERROR_INVALID_ARGUMENT, "grid"));
}

// Every byte matters: any one that changes, and any length that is cut, is found.
TEST(accumulator, spoilt_bytes_are_refused) {
  small s(entry_point::expectation), t(entry_point::expectation);
  require(s.add(3, 4));
  require(s.add(20, 2));
  const std::vector<unsigned char> bytes = saved(s.a.get());
  for (size_t i = 0; i < bytes.size(); ++i) {
    std::vector<unsigned char> spoilt = bytes;
    spoilt[i] ^= 0x10;
    EXPECT_TRUE(refused_with(perturb_accumulator_load(t.a.get(), spoilt.data(), spoilt.size()), PERTURB_ERROR_INVALID_ARGUMENT, "bytes")) << i;
    EXPECT_TRUE(refused_with(perturb_accumulator_load(t.a.get(), bytes.data(), i), PERTURB_ERROR_INVALID_ARGUMENT, "bytes")) << i;
  }
  EXPECT_EQ(perturb_accumulator_samples(t.a.get()), 0);
  require(perturb_accumulator_load(t.a.get(), bytes.data(), bytes.size()));
  EXPECT_EQ(perturb_accumulator_samples(t.a.get()), 6);
  size_t size = bytes.size() - 1;
  std::vector<unsigned char> room(bytes.size());
  EXPECT_TRUE(refused_with(perturb_accumulator_save(s.a.get(), room.data(), &size), PERTURB_ERROR_INVALID_ARGUMENT, "size"));
}

TEST(accumulator, creation_is_checked) {
  const context_ptr context = make_context(1);
  const oracle_ptr oracle = make_argmax(4);
  perturb_noise noise = make_noise(PERTURB_NORMAL, 1, 1);
  perturb_accumulator* a = reinterpret_cast<perturb_accumulator*>(&noise);
  const auto create = [&](perturb_operation operation, int64_t batch) { return perturb_accumulator_create(context.get(), operation, oracle.get(), &noise, batch, &a); };
  for (perturb_operation operation : {PERTURB_OP_SOLVE, PERTURB_OP_SAMPLE, PERTURB_OP_LPGD, PERTURB_OP_IMLE, PERTURB_OP_SPO_PLUS, PERTURB_OP_COST}) {
    EXPECT_TRUE(refused_with(create(operation, 1), PERTURB_ERROR_UNSUPPORTED, "operation"));
    EXPECT_EQ(a, nullptr);
  }
  EXPECT_TRUE(refused_with(create(PERTURB_OP_VJP, 0), PERTURB_ERROR_INVALID_ARGUMENT, "batch"));
  EXPECT_TRUE(refused_with(create(PERTURB_OP_VJP, int64_t{1} << 62), PERTURB_ERROR_INVALID_ARGUMENT, "batch"));
  EXPECT_TRUE(refused_with(perturb_accumulator_create(nullptr, PERTURB_OP_VJP, oracle.get(), &noise, 1, &a), PERTURB_ERROR_INVALID_ARGUMENT, "context"));
  EXPECT_TRUE(refused_with(perturb_accumulator_create(context.get(), PERTURB_OP_VJP, nullptr, &noise, 1, &a), PERTURB_ERROR_INVALID_ARGUMENT, "oracle"));
  EXPECT_TRUE(refused_with(perturb_accumulator_create(context.get(), PERTURB_OP_VJP, oracle.get(), nullptr, 1, &a), PERTURB_ERROR_INVALID_ARGUMENT, "noise"));
  EXPECT_TRUE(refused_with(perturb_accumulator_create(context.get(), PERTURB_OP_VJP, oracle.get(), &noise, 1, nullptr), PERTURB_ERROR_INVALID_ARGUMENT, "accumulator"));
  perturb_accumulator_destroy(nullptr);
}

}  // namespace
}  // namespace perturb::test
