// AIMLE: the adaptive step against a reference written from its formula, a problem on which it rises and settles, what options.tau_scale does to LPGD and
// I-MLE, bits, refusals.
#include <gtest/gtest.h>

#include <cfloat>
#include <cstddef>
#include <cstring>

#include "compare.h"
#include "operations.h"
#include "refusal.h"

namespace perturb::test {
namespace {

constexpr perturb_aimle_state initial = PERTURB_AIMLE_STATE_INIT;
constexpr perturb_aimle_options default_options = PERTURB_AIMLE_OPTIONS_INIT;

bool same_state(const perturb_aimle_state& a, const perturb_aimle_state& b) {
  count(4);
  return std::memcmp(&a, &b, sizeof a) == 0;
}

// Gradients that are about as sparse as `share`, some of whose zeros are -0, with entries of every size.
std::vector<float> sparse(uint64_t seed, int64_t count, double share) {
  std::vector<float> gradient(count);
  for (int64_t i = 0; i < count; ++i) {
    gradient[i] = hashed(seed, i) % 2 ? -0.0f : 0.0f;
    if (uniform(seed + 1, i) < share) gradient[i] = static_cast<float>(i % 3 == 0 ? 1e-44 : i % 3 == 1 ? -1e30 : 0.5);
  }
  return gradient;
}

// The rule of the authors' code: momentum 0, a count for one sample, numbers of its language's precision.
struct reference_rule {
  double alpha = 1, average = 1, step = 1e-4, decay = 0.9, target = 1;
  void update(const std::vector<float>& gradient, int64_t rows) {
    double nonzeros = 0;
    for (const float g : gradient) nonzeros += g != 0;
    average = decay * average + (1 - decay) * (nonzeros / static_cast<double>(rows));
    alpha += (average < target ? 1 : -1) * step;
    alpha = std::max(alpha, 0.0);
  }
};

TEST(aimle, follows_the_rule) {
  const context_ptr context = make_context(2);
  for (const auto& [step, decay, target] : {std::tuple{1e-4, .9, 1.0}, {.125, 0.0, 3.0}, {.02, .95, .5}, {.25, .5, 0.0}}) {
    perturb_aimle_state state = initial;
    perturb_aimle_options options = default_options;
    options.step = static_cast<float>(step);
    options.decay = static_cast<float>(decay);
    options.target = static_cast<float>(target);
    reference_rule rule;
    rule.step = options.step;
    rule.decay = options.decay;
    rule.target = options.target;
    int rises = 0, falls = 0;
    for (int turn = 0; turn < 200; ++turn) {
      const int64_t rows = 1 + turn % 5, n = 1 + turn * 7 % 300;
      const double wanted = target * (turn / 20 % 2 ? 0.2 : 2.5) / static_cast<double>(n);
      const std::vector<float> gradient = sparse(turn, rows * n, wanted);
      const double before = rule.alpha;
      rule.update(gradient, rows);
      require(perturb_aimle_update(context.get(), &options, rows, n, gradient.data(), &state));
      rises += rule.alpha > before;
      falls += rule.alpha < before;
      int64_t nonzeros = 0;
      for (const float g : gradient) nonzeros += g != 0;
      EXPECT_EQ(state.nonzeros, nonzeros);
      EXPECT_EQ(state.rows, rows);
      EXPECT_TRUE(near(rule.average, state.average, 1e-5 * (1 + rule.average))) << turn;
      EXPECT_TRUE(near(rule.alpha, state.alpha, 2e-5)) << turn;
      count(2);
    }
    EXPECT_TRUE((rises > 10 || target == 0) && falls > (target == 0 ? 3 : 10)) << rises << " " << falls;
    if (target == 0) {
      EXPECT_EQ(state.alpha, 0.0f);  // it may not become negative
    }
  }
}

TEST(aimle, defaults_are_the_authors) {
  const context_ptr context = make_context(1);
  perturb_aimle_state state = initial, given = initial;
  EXPECT_EQ(state.alpha, 1.0f);
  const std::vector<float> none(6);
  require(perturb_aimle_update(context.get(), nullptr, 2, 3, none.data(), &state));
  require(perturb_aimle_update(context.get(), &default_options, 2, 3, none.data(), &given));
  EXPECT_TRUE(same_state(state, given));
  EXPECT_EQ(state.average, 0.9f);
  EXPECT_EQ(state.alpha, static_cast<float>(1.0 + 1e-4));
  EXPECT_TRUE(state.nonzeros == 0 && state.rows == 2);
  count(4);
}

// Scores a unit and more apart and a small step: no solution moves, gradients are zero and alpha rises. With half an entry per row wanted it turns once
// the first row's solution moves, which is an entry per row, and stays about the step that moves it.
TEST(aimle, rises_and_settles) {
  const context_ptr context = make_context(1);
  const oracle_ptr oracle = make_argmax(3);
  const std::vector<float> theta{1, 2, 0, 0, 5, 1}, g{0, 1, 0, 0, 1, 0};
  // A step of 1 moves the solution of row 0, of 4 that of row 1. A step is alpha ||theta|| / ||g||.
  const double first = 1 / std::sqrt(5.0);
  for (float start : {0.0f, 0.02f, 3.0f}) {
    perturb_aimle_state state = initial;
    perturb_aimle_options adapt = default_options;
    adapt.step = 0.01f;
    adapt.target = 0.5f;
    state.alpha = start;
    perturb_noise noise = make_noise(PERTURB_NORMAL, 0.01f, 1);
    perturb_lpgd_options options = PERTURB_LPGD_OPTIONS_INIT;
    options.relative = 1;
    options.tau_scale = &state.alpha;
    std::vector<float> gradient(6), alphas;
    for (int turn = 0; turn < 600; ++turn) {
      noise.seed = turn;
      require(perturb_imle(context.get(), oracle.get(), &noise, &options, 2, theta.data(), g.data(), gradient.data()));
      const float before = state.alpha;
      require(perturb_aimle_update(context.get(), &adapt, 2, 3, gradient.data(), &state));
      if (start < 0.1f && turn >= 10 && turn < 40) {
        EXPECT_EQ(state.nonzeros, 0) << turn;
        EXPECT_EQ(state.alpha, static_cast<float>(static_cast<double>(before) + static_cast<double>(adapt.step))) << turn;
        count(2);
      }
      alphas.push_back(state.alpha);
    }
    for (size_t turn = 400; turn < alphas.size(); ++turn) EXPECT_TRUE(near(first, alphas[turn], 0.2)) << start << " at " << turn;
    // It keeps crossing the step that moves a solution.
    int above = 0, below = 0;
    for (size_t turn = 300; turn < alphas.size(); ++turn) (alphas[turn] > first ? above : below)++;
    EXPECT_TRUE(above > 20 && below > 20) << above << " " << below;
    EXPECT_TRUE(near(0.5, state.average, 0.4));
  }
}

// ---------------------------------------------------------------- options.tau_scale

// tau times a power of two, in every call that knows tau.
TEST(aimle, tau_scale_multiplies_tau) {
  const context_ptr context = make_context(2);
  int turn = 0;
  for (test_case c : cases()) {
    if (!c.has_value() || c.n > 40 || c.theta == inputs::huge || turn++ % 3) continue;
    c.samples = 8;
    c.first_sample = 0;
    const prepared_case p(context.get(), c);
    for (perturb_operation operation : {PERTURB_OP_LPGD, PERTURB_OP_IMLE}) {
      const perturb_noise noise = make_noise(c, p.factors);
      for (int32_t relative : {0, 1}) {
        perturb_lpgd_options options = make_lpgd(c, operation);
        options.relative = relative;
        const auto run = [&] {
          std::vector<float> gradient(c.batch * c.n);
          require(operation == PERTURB_OP_LPGD
                      ? perturb_lpgd(context.get(), p.oracle.get(), &options, c.batch, p.theta.data(), p.cotangent.data(), gradient.data())
                      : perturb_imle(context.get(), p.oracle.get(), &noise, &options, c.batch, p.theta.data(), p.cotangent.data(), gradient.data()));
          return gradient;
        };
        const float tau = options.tau;
        options.tau = 4 * tau;
        const std::vector<float> expected = run();
        const float four = 4, one = 1, zero = 0;
        options.tau_scale = &one;
        EXPECT_TRUE(same_bits(expected, run())) << c.name << " " << operation;
        options.tau = tau;
        options.tau_scale = &four;
        EXPECT_TRUE(same_bits(expected, run())) << c.name << " " << operation;
        options.tau_scale = &zero;
        for (const float value : run()) EXPECT_EQ(value, 0.0f) << c.name << " " << operation;
        count(c.batch * c.n);
      }
    }
  }
}

TEST(aimle, tau_scale_of_custom_solvers) {
  const context_ptr context = make_context(1);
  const oracle_ptr custom = make_custom_argmax(), own = make_argmax(6);
  const std::vector<float> theta{1, 2, 3, 2.5f, 0, 1}, g{0, 0, 2, 0, 1, 0};
  const float scale = 0.75f;
  perturb_lpgd_options options = PERTURB_LPGD_OPTIONS_INIT;
  options.tau_scale = &scale;
  std::vector<float> a(6), b(6);
  require(perturb_lpgd(context.get(), custom.get(), &options, 1, theta.data(), g.data(), a.data()));
  require(perturb_lpgd(context.get(), own.get(), &options, 1, theta.data(), g.data(), b.data()));
  EXPECT_EQ(a, b);
  EXPECT_FLOAT_EQ(a[2], 1 / 0.75f);
  count(7);
}

TEST(aimle, tau_scale_is_checked) {
  const context_ptr context = make_context(1);
  for (entry_point entry : {entry_point::lpgd, entry_point::imle}) {
    prepared_request p(context.get(), entry, make_argmax(4));
    request wrong = p.valid;
    for (float scale : {-1e-9f, -1.0f, HUGE_VALF, NAN}) {
      wrong.lpgd.tau_scale = &scale;
      EXPECT_TRUE(refused(p, wrong, PERTURB_ERROR_INVALID_ARGUMENT, "options.tau_scale"));
    }
    alignas(4) char bytes[8] = {};
    wrong.lpgd.tau_scale = reinterpret_cast<const float*>(bytes + 1);
    EXPECT_TRUE(refused(p, wrong, PERTURB_ERROR_INVALID_ARGUMENT, "options.tau_scale: must be aligned"));
    const float beyond = FLT_MAX;
    wrong.lpgd.tau_scale = &beyond;
    wrong.lpgd.tau = 2;
    std::vector<float> ones(p.extra.size(), 1.0f);
    wrong.extra = ones.data();
    EXPECT_TRUE(refused(p, wrong, PERTURB_ERROR_INVALID_ARGUMENT, "cotangent"));
    // In its own output, which starts as a number that would do.
    wrong = p.valid;
    wrong.lpgd.tau_scale = p.valid.output[0];
    *p.valid.output[0] = 1;
    EXPECT_EQ(wrong.call(), PERTURB_ERROR_INVALID_ARGUMENT);
    EXPECT_NE(std::string(perturb_last_error()).find("gradient: overlaps options.tau_scale"), std::string::npos) << perturb_last_error();
    // Headers that ended before it.
    for (size_t size : {offsetof(perturb_lpgd_options, relative), offsetof(perturb_lpgd_options, relative) + sizeof(int32_t)}) {
      wrong = p.valid;
      wrong.lpgd.struct_size = static_cast<uint32_t>(size);
      wrong.lpgd.tau_scale = reinterpret_cast<const float*>(bytes + 1);
      EXPECT_EQ(wrong.call(), PERTURB_OK) << perturb_last_error();
    }
    count(4);
  }
}

// ---------------------------------------------------------------- the update as a call

TEST(aimle, bits) {
  const context_ptr one = make_context(1);
  for (int64_t n : {1, 3, 127, 128, 129, 4097})
    for (int64_t rows : {1, 2, 40}) {
      const std::vector<float> gradient = sparse(n, rows * n, 0.3);
      perturb_aimle_state expected = initial;
      expected.alpha = 0.7f;
      const perturb_aimle_state start = expected;
      require(perturb_aimle_update(one.get(), nullptr, rows, n, gradient.data(), &expected));
      for (const char* isa : {"scalar", "avx2", "avx512"})
        for (int32_t threads : {1, 3}) {
          const context_ptr context = make_context_on(isa, threads);
          if (!context) continue;
          perturb_aimle_state state = start;
          require(perturb_aimle_update(context.get(), nullptr, rows, n, gradient.data(), &state));
          EXPECT_TRUE(same_state(expected, state)) << n << " " << rows << " " << isa << " " << threads;
        }
    }
}

TEST(aimle, rows_that_are_not_finite_are_left_out) {
  const context_ptr context = make_context(1);
  for (float bad : {NAN, HUGE_VALF, -HUGE_VALF}) {
    const std::vector<float> gradient{1, 0, 2, 0, bad, 1, 0, 0, 3}, good{1, 0, 2, 0, 0, 3};
    perturb_aimle_state state = initial, expected = initial;
    require(perturb_aimle_update(context.get(), nullptr, 3, 3, gradient.data(), &state));
    require(perturb_aimle_update(context.get(), nullptr, 2, 3, good.data(), &expected));
    EXPECT_TRUE(same_state(expected, state));
    EXPECT_TRUE(state.nonzeros == 3 && state.rows == 2);
    const perturb_aimle_state before = state;
    require(perturb_aimle_update(context.get(), nullptr, 1, 3, gradient.data() + 3, &state));
    EXPECT_TRUE(state.alpha == before.alpha && state.average == before.average && state.rows == 0 && state.nonzeros == 0);
    count(2);
  }
}

TEST(aimle, arguments_are_checked) {
  const context_ptr context = make_context(1);
  const std::vector<float> gradient{1, 0, 2, 0, 1, 1};
  alignas(8) unsigned char memory[sizeof(perturb_aimle_state) + 8] = {};
  perturb_aimle_state state = initial;
  state.nonzeros = -5;
  const auto check = [&](perturb_status status, perturb_status expected, const char* name) {
    count(2);
    EXPECT_EQ(status, expected) << name << ": " << perturb_last_error();
    EXPECT_NE(std::string(perturb_last_error()).find(name), std::string::npos) << perturb_last_error();
    perturb_aimle_state untouched_state = initial;
    untouched_state.nonzeros = -5;
    untouched_state.alpha = state.alpha;
    untouched_state.average = state.average;
    EXPECT_EQ(std::memcmp(&state, &untouched_state, sizeof state), 0) << name;
  };
  const auto invalid = PERTURB_ERROR_INVALID_ARGUMENT;
  const auto call = [&](const perturb_aimle_options* options) { return perturb_aimle_update(context.get(), options, 2, 3, gradient.data(), &state); };
  const auto with = [&](auto spoil) {
    perturb_aimle_options options = default_options;
    spoil(options);
    return call(&options);
  };
  check(perturb_aimle_update(nullptr, nullptr, 2, 3, gradient.data(), &state), invalid, "context");
  for (uint32_t size : {0u, 12u, 17u}) check(with([&](auto& o) { o.struct_size = size; }), PERTURB_ERROR_INVALID_STRUCT, "options.struct_size");
  for (float bad : {-1.0f, HUGE_VALF, NAN}) {
    check(with([&](auto& o) { o.step = bad; }), invalid, "options.step");
    check(with([&](auto& o) { o.decay = bad; }), invalid, "options.decay");
    check(with([&](auto& o) { o.target = bad; }), invalid, "options.target");
  }
  check(with([&](auto& o) { o.decay = 1; }), invalid, "options.decay");
  check(perturb_aimle_update(context.get(), nullptr, -1, 3, gradient.data(), &state), invalid, "batch");
  for (int64_t n : {INT64_C(0), INT64_C(-1), INT64_C(1) << 31}) check(perturb_aimle_update(context.get(), nullptr, 2, n, gradient.data(), &state), invalid, "n: expected");
  check(perturb_aimle_update(context.get(), nullptr, INT64_C(1) << 32, INT64_C(1) << 30, gradient.data(), &state), invalid, "batch");
  check(perturb_aimle_update(context.get(), nullptr, 2, 3, nullptr, &state), invalid, "gradient");
  check(perturb_aimle_update(context.get(), nullptr, 2, 3, gradient.data(), nullptr), invalid, "state");
  check(perturb_aimle_update(context.get(), nullptr, 1, 3, reinterpret_cast<const float*>(memory + 1), &state), invalid, "gradient: must be aligned");
  check(perturb_aimle_update(context.get(), nullptr, 2, 3, gradient.data(), reinterpret_cast<perturb_aimle_state*>(memory + 4)), invalid, "state: must be aligned");
  check(perturb_aimle_update(context.get(), nullptr, 2, 3, reinterpret_cast<const float*>(memory), reinterpret_cast<perturb_aimle_state*>(memory)), invalid,
        "state: overlaps gradient");
  for (float bad : {-1.0f, HUGE_VALF, NAN}) {
    state.alpha = bad;
    check(call(nullptr), invalid, "state.alpha");
    state.alpha = 1;
    state.average = bad;
    check(call(nullptr), invalid, "state.average");
    state.average = 1;
  }
  EXPECT_EQ(perturb_aimle_update(context.get(), nullptr, 0, 3, nullptr, nullptr), PERTURB_OK);
  EXPECT_EQ(call(nullptr), PERTURB_OK);
  EXPECT_EQ(state.nonzeros, 4);
}

}  // namespace
}  // namespace perturb::test
