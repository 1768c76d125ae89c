// Items that cannot win are left out before their noise is made (src/cpu/candidates.h): that a pair's bound is one, and that samples are those of
// all items' scores, on inputs that sit at its edges. The scalar instruction set leaves nothing out; every estimator is compared with it.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "cases.h"
#include "compare.h"
#include "cpu/candidates.h"
#include "oracle.h"
#include "support.h"

namespace perturb::test {
namespace {

struct test_tag {};
using scalar = scalar_lanes<test_tag>;

float above(float x) { return std::nextafter(x, HUGE_VALF); }
float below(float x) { return std::nextafter(x, -HUGE_VALF); }

float radius(uint32_t word) {
  return std::sqrt(minus_two_log_uniform<scalar>(perturb::uniform<scalar>(word), perturb::uniform<scalar>(complement<scalar>(word))));
}

// Every radius is reached, and one whose square is 0.125 more is not (the half that is added to small words apart). PERTURB_TEST_WORDS=1 in the
// environment tries every word (a minute).
TEST(candidates, a_words_radius_is_bounded) {
  const char* stride = std::getenv("PERTURB_TEST_WORDS");
  const uint64_t step = stride ? std::strtoull(stride, nullptr, 10) : 2503;
  std::vector<uint32_t> ends;
  for (int bit = 0; bit < 32; ++bit)
    for (uint32_t d = 0; d < 600; ++d) ends.push_back((1u << bit) - 300 + d);
  const double scale = std::sqrt(0x1p23 / (2.0 * M_LN2));
  int64_t missed = 0, vacuous = 0, words = 0;
  const auto look = [&](uint32_t word) {
    const double r = radius(word);
    ++words;
    missed += !radius_reaches<scalar>(word, above((float)(r * scale)));
    vacuous += word > 1000 && radius_reaches<scalar>(word, (float)(std::sqrt(r * r + 0.125) * scale));
  };
  for (const uint32_t word : ends) look(word);
  for (uint64_t word = 0; word < uint64_t{1} << 32; word += step) look((uint32_t)word);
  EXPECT_EQ(missed, 0);
  EXPECT_EQ(vacuous, 0);
  count(2 * words);
}

TEST(candidates, no_normal_exceeds_its_radius) {
  for (uint64_t angle = 0; angle < uint64_t{1} << 32; angle += 4099)
    for (const uint32_t word : {0u, 12345u, 0x40000000u, 0xf0000000u}) {
      for (const uint32_t near : {(uint32_t)angle, (uint32_t)angle & 0xc0000000u, ((uint32_t)angle & 0xc0000000u) - 1}) {
        float z[2];
        normal_pair<scalar>(word, near, z[0], z[1]);
        ASSERT_LE(std::max(std::fabs(z[0]), std::fabs(z[1])), radius(word)) << word << " " << near;
      }
    }
}

// Scores of pairs of any magnitude, amplitudes of either sign: with a cutoff just below the larger one the pair must be kept.
TEST(candidates, a_pair_that_beats_the_cutoff_is_kept) {
  constexpr int64_t n = 257;  // the last pair has one item
  perturb_oracle oracle;
  oracle.kind = perturb::oracle_kind::argmax;
  oracle.n = oracle.m = n;
  std::vector<float> theta(n), factors(n, 1.0f);
  call c;
  c.oracle = &oracle;
  c.theta = theta.data();
  c.epsilon = 1.0f;
  c.epsilon_per_item = factors.data();
  std::vector<char> memory(1 << 16);
  int64_t kept = 0, asked = 0;
  for (uint64_t turn = 0; turn < 20000; ++turn) {
    arena a(reinterpret_cast<void*>((reinterpret_cast<uintptr_t>(memory.data()) + 63) / 64 * 64));
    row_view<test_tag> row(c, a);
    candidate_bounds<scalar> bounds(c, a);
    const double size = std::exp2(std::floor(uniform(1, turn) * 240 - 130)), noise = std::exp2(std::floor(uniform(2, turn) * 40 - 30));
    for (int64_t i = 0; i < n; ++i) {
      theta[i] = uniform_float(turn, i, -size, size);
      if (turn % 5 == 1) theta[i] = (float)size;
      if (turn % 5 == 2) theta[i] = (float)(hashed(turn, i) % 9) * 0x1p-149f;
      row.epsilon[i] = uniform_float(turn, 1000 + i, -1, 1) > 0 ? 1.0f : -1.0f;
      row.epsilon[i] *= (float)(turn % 5 == 2 ? std::ceil(7 * uniform(turn, 2000 + i)) * 0x1p-149 : size * noise);
      if (turn % 3 == 1) row.epsilon[i] *= std::exp2f((float)(hashed(turn, 3000 + i) % 13));
      if (turn % 4 == 1 && hashed(turn, 4000 + i) % 3 == 0) row.epsilon[i] = 0.0f;
    }
    row.stride = 1;
    row.theta = theta.data();
    bounds.begin_row(row);
    for (int64_t i = turn % 8 * 32; i < std::min<int64_t>(n, turn % 8 * 32 + 34); i += 2) {
      // Along an axis the larger |z| is the radius: nothing but the margins is left.
      const uint32_t word = hashed(turn, 5000 + i) % 4 ? (uint32_t)hashed(turn, 6000 + i) : 1u << hashed(turn, 6000 + i) % 32;
      const uint32_t angle = (uint32_t)hashed(turn, 7000 + i) & (i % 3 ? 0xc0000000u : 0xffffffffu);
      float z[2], best = -HUGE_VALF;
      normal_pair<scalar>(word, angle, z[0], z[1]);
      for (int j = 0; j < 2 && i + j < n; ++j) best = std::max(best, additive_score<scalar>(theta[i + j], row.epsilon[i + j], z[j]));
      ASSERT_TRUE(bounds.may_reach(i, word, below(best))) << turn << " " << i;
      kept += bounds.may_reach(i, word, best + 5.0f * (float)(size * noise));
      ++asked;
    }
  }
  EXPECT_LT(kept, 3 * asked / 4);  // the bound says something
  count(2 * asked);
}

// ---------------------------------------------------------------- solutions

enum class shape { uniform, equal, ties, ascending, descending, last, first, mixed_amplitudes, few_amplitudes, huge, tiny, denormal, negative };
constexpr int shapes = 13;

struct problem {
  int64_t n, k;  // k = 0: argmax
  std::vector<float> theta, factors, row_factors;
  perturb_noise noise;
  oracle_ptr oracle;

  problem(int64_t items, int64_t largest, shape s, int number) : n(items), k(largest), theta(2 * items) {
    noise = make_noise(PERTURB_NORMAL, 1.0f, 37, 77 + number);
    noise.first_row = number % 3;
    noise.first_sample = number % 2 ? 1000000006 : 0;
    if (number % 4 == 3) noise.sampling = PERTURB_SAMPLING_ANTITHETIC, noise.samples = 38;
    if (number % 5 == 1) row_factors = {0.5f, number % 2 ? 0.0f : 3.0f};
    for (int64_t i = 0; i < 2 * n; ++i) {
      const float u = uniform_float(number, i, -1.5, 1.5), at = (float)(i % n) / (float)n;
      const uint64_t h = hashed(number + 1, i);
      switch (s) {
        case shape::uniform: theta[i] = u; break;
        case shape::equal: theta[i] = 1.0f; noise.epsilon = 0x1p-25f; break;  // scores are 1 and its neighbours
        case shape::ties: theta[i] = (float)(h % 3); noise.epsilon = 0x1p-24f; break;
        case shape::ascending: theta[i] = 4 * at; break;
        case shape::descending: theta[i] = -4 * at; break;
        case shape::last: theta[i] = u + (i % n >= n - 2 ? 6.0f : 0.0f); break;
        case shape::first: theta[i] = u + (i % n < 2 ? 6.0f : 0.0f); break;
        case shape::mixed_amplitudes: theta[i] = u; break;
        case shape::few_amplitudes: theta[i] = (float)(h % 2); break;
        case shape::huge: theta[i] = u * 1e30f; noise.epsilon = 3e29f; break;
        case shape::tiny: theta[i] = u * 1e-30f; noise.epsilon = 3e-31f; break;
        case shape::denormal: theta[i] = (float)(h % 5) * 0x1p-149f; noise.epsilon = 0x1p-149f; break;
        case shape::negative: theta[i] = u - 1000.0f; break;
      }
    }
    if (s == shape::mixed_amplitudes || s == shape::few_amplitudes)
      for (int64_t i = 0; i < n; ++i) {
        const uint64_t h = hashed(number + 2, i);
        factors.push_back(s == shape::few_amplitudes ? (h % 17 ? 0.0f : 0.4f) : h % 5 ? std::exp2f((float)(h % 31) - 24.0f) : 0.0f);
      }
    noise.epsilon_per_item = factors.empty() ? nullptr : factors.data();
    noise.epsilon_per_row = row_factors.empty() ? nullptr : row_factors.data();
    oracle = k ? make_top_k(n, k) : make_argmax(n);
  }

  // The k largest of theta + eps z from noise that is made for all items.
  std::vector<float> samples(perturb_context* context) const {
    std::vector<float> z(2 * noise.samples * n), y(z.size()), score(n);
    require(perturb_noise_fill(context, &noise, 2, n, z.data()));
    std::vector<int64_t> order(n);
    for (int64_t p = 0; p < 2 * noise.samples; ++p) {
      const int64_t b = p / noise.samples;
      const float of_row = row_factors.empty() ? noise.epsilon : noise.epsilon * row_factors[b];
      for (int64_t i = 0; i < n; ++i) score[i] = std::fma(factors.empty() ? of_row : of_row * factors[i], z[p * n + i], theta[b * n + i]);
      for (int64_t i = 0; i < n; ++i) order[i] = i;
      std::partial_sort(order.begin(), order.begin() + std::max<int64_t>(k, 1), order.end(),
                        [&](int64_t i, int64_t j) { return score[i] != score[j] ? score[i] > score[j] : i < j; });
      for (int64_t j = 0; j < std::max<int64_t>(k, 1); ++j) y[p * n + order[j]] = 1.0f;
    }
    return y;
  }

  // What all estimators make of it, one after the other.
  std::vector<float> results(perturb_context* context) const {
    std::vector<float> all;
    const auto part = [&](int64_t size) {  // its place
      all.resize(all.size() + (size_t)size);
      return all.size() - (size_t)size;
    };
    const bool errors = noise.sampling == PERTURB_SAMPLING_IID;
    std::vector<float> target(2 * n);
    for (int64_t b = 0; b < 2; ++b)
      for (int64_t j = 0; j < std::max<int64_t>(k, 1); ++j) target[b * n + (b * 31 + 7 * j) % n] = 1.0f;
    const size_t y = part(2 * n), y_error = part(2 * n), value = part(2), value_error = part(2), loss = part(2), gradient = part(2 * n), slope = part(2),
                 only_gradient = part(2 * n), vjp = part(2 * n), jvp = part(2 * n);
    float* to = all.data();
    require(perturb_expectation(context, oracle.get(), &noise, 2, theta.data(), to + y, errors ? to + y_error : nullptr, to + value,
                                errors ? to + value_error : nullptr));
    require(perturb_fenchel_young(context, oracle.get(), &noise, 2, theta.data(), target.data(), to + loss, to + gradient, to + slope));
    require(perturb_fenchel_young(context, oracle.get(), &noise, 2, theta.data(), target.data(), nullptr, to + only_gradient, nullptr));
    require(perturb_vjp(context, oracle.get(), &noise, 2, theta.data(), target.data(), to + vjp));
    require(perturb_jvp(context, oracle.get(), &noise, 2, theta.data(), target.data(), to + jvp));
    return all;
  }
};

// n around the limits of blocks and of where candidates are looked for, and far beyond.
TEST(candidates, solutions_are_those_of_all_items) {
  const context_ptr plain = make_context_on("scalar", 1);
  std::vector<context_ptr> contexts;
  for (const char* isa : {"avx2", "avx512"})
    if (context_ptr context = make_context_on(isa, 2)) contexts.push_back(std::move(context));
  int number = 0, taken = 0;
  std::vector<std::pair<int64_t, int64_t>> sizes;
  for (int64_t n : {63, 64, 65, 191, 192, 193, 255, 256, 257, 319, 321, 450, 1000, 5000}) sizes.push_back({n, 0});
  for (int64_t k : {1, 2, 3, 8, 13, 31, 32})
    for (int64_t n : {191 + 160 * k, 192 + 160 * k, 193 + 160 * k, 165 * k + 300, int64_t{5500}}) sizes.push_back({n, k});
  for (const auto& [n, k] : sizes)
    for (int s = 0; s < shapes; ++s) {
      ++number;
      if (number % (n > 1500 ? 9 : n > 500 ? 3 : 1)) continue;  // 13 shapes, so each comes around
      if (!picked(test_case{}, taken++)) continue;
      const problem p(n, k, static_cast<shape>(s), number);
      SCOPED_TRACE("n " + std::to_string(n) + " k " + std::to_string(k) + " shape " + std::to_string(s) + " number " + std::to_string(number));
      const std::vector<float> expected = p.samples(plain.get()), expected_results = p.results(plain.get());
      for (const context_ptr& context : contexts) {
        std::vector<float> y(expected.size());
        require(perturb_sample(context.get(), p.oracle.get(), &p.noise, 2, p.theta.data(), y.data()));
        ASSERT_TRUE(same_bits(expected, y));
        ASSERT_TRUE(same_bits(expected_results, p.results(context.get())));
      }
    }
}

}  // namespace
}  // namespace perturb::test
