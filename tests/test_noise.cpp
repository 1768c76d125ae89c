// The noise specification (docs/noise.md): known answers, stored hashes over blocks of words for every instruction set, the vectors
// of an independent implementation (known_answers/noise_reference.py), accuracy against exact functions, and the sorting networks
// and integer sums that the kernels are built from.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "cpu/estimators/vjp.h"
#include "math/networks.h"
#include "math/noise.h"
#include "math/order.h"
#include "support.h"

namespace {

using namespace perturb;
using perturb::test::count;

struct test_tag {};
using scalar = scalar_lanes<test_tag>;

// A deterministic spread of words: both ends, powers of two and their neighbours, and a multiplicative walk.
std::vector<uint32_t> probe_words(int walk) {
  std::vector<uint32_t> words;
  for (uint32_t i = 0; i < 300; ++i) {
    words.push_back(i);
    words.push_back(~i);
    words.push_back(0x80000000u + i - 150);
  }
  for (int bit = 0; bit < 32; ++bit)
    for (int d = -2; d <= 2; ++d) words.push_back((1u << bit) + (uint32_t)d);
  uint32_t w = 1;
  for (int i = 0; i < walk; ++i) words.push_back(w = w * 747796405u + 2891336453u);
  return words;
}

double exact_uniform(uint32_t word) { return ((double)word + 0.5) * 0x1p-32; }

std::vector<std::vector<std::string>> read_csv(const std::string& name) {
  std::ifstream file(std::string(PERTURB_KNOWN_ANSWERS) + "/" + name);
  std::vector<std::vector<std::string>> rows;
  for (std::string line; std::getline(file, line);) {
    std::vector<std::string> fields;
    std::stringstream text(line);
    for (std::string field; std::getline(text, field, ',');) fields.push_back(field);
    rows.push_back(fields);
  }
  return rows;
}

uint32_t hex(const std::string& text) { return (uint32_t)std::stoul(text, nullptr, 16); }

const std::map<std::string, distribution> distributions = {
    {"normal", distribution::normal}, {"gumbel", distribution::gumbel}, {"logistic", distribution::logistic}, {"laplace", distribution::laplace}};

template <class F>
void with(distribution d, F&& f) {
  switch (d) {
    case distribution::normal: return f(std::integral_constant<distribution, distribution::normal>{});
    case distribution::gumbel: return f(std::integral_constant<distribution, distribution::gumbel>{});
    case distribution::logistic: return f(std::integral_constant<distribution, distribution::logistic>{});
    case distribution::laplace: return f(std::integral_constant<distribution, distribution::laplace>{});
    case distribution::sum_of_gamma:
    case distribution::given: break;  // not made of words: test_noise_kinds.cpp
  }
}

// z and S of a word, or of a pair of words for the normal's first item.
void values_of(distribution d, uint32_t w0, uint32_t w1, float z[4], float s[4]) {
  const uint32_t words[4] = {w0, w1, w0, w1};
  with(d, [&](auto tag) {
    noise_of_words<scalar, decltype(tag)::value>(words, z);
    scores_of_words<scalar, decltype(tag)::value>(words, s);
  });
}

// ---------------------------------------------------------------- Philox

struct philox_answer {
  uint32_t counter[4], key[2], words[4];
};

// Random123's kat_vectors, "philox4x32 10".
const philox_answer random123[] = {
    {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
    {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
    {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}, {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}}};

TEST(philox, random123_vectors) {
  for (const philox_answer& a : random123) {
    uint32_t words[4];
    philox<scalar>(make_philox_keys((uint64_t)a.key[1] << 32 | a.key[0]), a.counter[0], a.counter[1], a.counter[2], a.counter[3], words);
    for (int i = 0; i < 4; ++i) EXPECT_EQ(words[i], a.words[i]);
    count(4);
  }
}

TEST(philox, rounds_shared_by_a_group_change_nothing) {
  uint32_t x = 12345;
  auto next = [&] { return x = x * 1664525u + 1013904223u; };
  for (int t = 0; t < 20000; ++t) {
    const philox_keys keys = make_philox_keys((uint64_t)next() << 32 | next());
    const uint32_t row = next(), sample = next(), quad = next() >> 3, stream = t % 3;
    uint32_t plain[4], grouped[4];
    philox<scalar>(keys, quad, stream, sample, row, plain);
    const philox_group<scalar> group = make_philox_group<scalar>(keys, sample, stream);
    philox<scalar, 1>(keys, group, row, quad, grouped);
    for (int i = 0; i < 4; ++i) ASSERT_EQ(plain[i], grouped[i]);
    count(4);
  }
}

// ---------------------------------------------------------------- vectors of the independent implementation

TEST(vectors, transforms_of_words) {
  const auto rows = read_csv("transform_vectors.csv");
  ASSERT_GT(rows.size(), 1000u);
  for (size_t r = 1; r < rows.size(); ++r) {
    const auto& f = rows[r];
    float z[4], s[4];
    values_of(distributions.at(f[0]), hex(f[1]), hex(f[2]), z, s);
    EXPECT_EQ(std::bit_cast<uint32_t>(z[0]), hex(f[3])) << f[0] << " " << f[1];
    EXPECT_EQ(std::bit_cast<uint32_t>(z[1]), hex(f[4])) << f[0] << " " << f[2];
    EXPECT_EQ(std::bit_cast<uint32_t>(s[0]), hex(f[5])) << f[0] << " " << f[1];
    EXPECT_EQ(std::bit_cast<uint32_t>(s[1]), hex(f[6])) << f[0] << " " << f[2];
    count(4);
  }
}

TEST(vectors, perturbed_scores) {
  const auto rows = read_csv("score_vectors.csv");
  ASSERT_GT(rows.size(), 500u);
  for (size_t r = 1; r < rows.size(); ++r) {
    const auto& f = rows[r];
    const float theta = std::bit_cast<float>(hex(f[1])), epsilon = std::bit_cast<float>(hex(f[2])), z = std::bit_cast<float>(hex(f[3]));
    if (f[0] == "additive") {
      EXPECT_EQ(std::bit_cast<uint32_t>(additive_score<scalar>(theta, epsilon, z)), hex(f[5])) << r;
    } else {
      EXPECT_EQ(std::bit_cast<uint32_t>(multiplicative_factor<scalar>(z, epsilon, -0.5f * (epsilon * epsilon))), hex(f[4])) << r;
      EXPECT_EQ(std::bit_cast<uint32_t>(multiplicative_score<scalar>(theta, epsilon, z)), hex(f[5])) << r;
    }
    count();
  }
}

const char* const isas[] = {"scalar", "avx2", "avx512"};

// A context on one instruction set, null where this machine lacks it.
test::context_ptr context_on(const char* isa) {
  test::isa_override override(isa);
  perturb_context_options options = PERTURB_CONTEXT_OPTIONS_INIT;
  options.backend = PERTURB_BACKEND_CPU;
  perturb_context* context = nullptr;
  if (perturb_context_create(&options, &context) != PERTURB_OK) std::printf("[  NOTE    ] no %s on this machine: not checked\n", isa);
  return test::context_ptr(context);
}

TEST(vectors, noise_of_indices_on_every_instruction_set) {
  const auto rows = read_csv("noise_vectors.csv");
  ASSERT_GT(rows.size(), 1000u);
  for (const char* isa : isas) {
    const test::context_ptr context = context_on(isa);
    if (!context) continue;
    for (size_t r = 1; r < rows.size(); ++r) {
      const auto& f = rows[r];
      const int64_t item = std::stoll(f[4]);
      perturb_noise noise = PERTURB_NOISE_INIT;
      noise.distribution = (perturb_distribution)distributions.at(f[0]);
      noise.seed = std::stoull(f[1]);
      noise.first_row = std::stoll(f[2]);
      noise.first_sample = std::stoll(f[3]);
      noise.samples = 1;
      if (item > 1000000) continue;  // the fill has no first item; the transform vectors cover high counters
      std::vector<float> z(item + 1);
      test::require(perturb_noise_fill(context.get(), &noise, 1, item + 1, z.data()));
      EXPECT_EQ(std::bit_cast<uint32_t>(z[item]), hex(f[5])) << isa << " line " << r + 1;
      count();
    }
  }
}

// Latin samples and sums of gammas.
TEST(vectors, kinds_of_noise_on_every_instruction_set) {
  const auto rows = read_csv("kind_vectors.csv");
  ASSERT_GT(rows.size(), 1000u);
  for (const char* isa : isas) {
    const test::context_ptr context = context_on(isa);
    if (!context) continue;
    constexpr int64_t n = 22;
    std::vector<std::string> filled;  // what z holds: lines of one fill follow each other
    std::vector<float> z;
    for (size_t r = 1; r < rows.size(); ++r) {
      const auto& f = rows[r];
      const bool gamma = f[0] == "sum_of_gamma";
      const int64_t sample = std::stoll(f[6]), item = std::stoll(f[7]);
      ASSERT_LT(item, n);
      perturb_noise noise = PERTURB_NOISE_INIT;
      noise.distribution = gamma ? PERTURB_SUM_OF_GAMMA : (perturb_distribution)distributions.at(f[0].substr(6));
      noise.sampling = gamma ? PERTURB_SAMPLING_IID : PERTURB_SAMPLING_LATIN;
      noise.sum_of_gamma_k = std::stoi(f[1]);
      noise.sum_of_gamma_terms = std::stoi(f[2]);
      noise.samples = std::stoll(f[3]);
      noise.seed = std::stoull(f[4]);
      noise.first_row = std::stoll(f[5]);
      noise.first_sample = gamma ? sample : 0;
      const std::vector<std::string> wanted(f.begin(), f.begin() + (gamma ? 7 : 6));
      if (wanted != filled) {
        z.resize(noise.samples * n);
        test::require(perturb_noise_fill(context.get(), &noise, 1, n, z.data()));
        filled = wanted;
      }
      EXPECT_EQ(std::bit_cast<uint32_t>(z[(gamma ? 0 : sample) * n + item]), hex(f[8])) << isa << " line " << r + 1;
      count();
    }
  }
}

// ---------------------------------------------------------------- stored hashes: every transform, every instruction set

uint64_t hash_of(const float* x, int64_t n) {  // FNV-1a over the words
  uint64_t h = 14695981039346656037ull;
  for (int64_t i = 0; i < n; ++i) h = (h ^ std::bit_cast<uint32_t>(x[i])) * 1099511628211ull;
  return h;
}

// 2^18 values from each of four seeds. Set PERTURB_PRINT_HASHES=1 to print the table; a change of it is a new noise version.
struct stored_hash {
  const char* name;
  uint64_t hash[4];
};
const stored_hash stored_hashes[] = {
#include "known_answers/noise_hashes.inc"
};

TEST(hashes, every_distribution_on_every_instruction_set) {
  constexpr int64_t n = 1 << 12, samples = 1 << 6;
  ASSERT_EQ(std::size(stored_hashes), distributions.size());
  for (const char* isa : isas) {
    const test::context_ptr context = context_on(isa);
    if (!context) continue;
    std::vector<float> z(n * samples);
    for (const stored_hash& stored : stored_hashes) {
      if (std::getenv("PERTURB_PRINT_HASHES")) std::printf("{\"%s\", {", stored.name);
      for (int seed = 0; seed < 4; ++seed) {
        perturb_noise noise = PERTURB_NOISE_INIT;
        noise.distribution = (perturb_distribution)distributions.at(stored.name);
        noise.seed = 0x9E3779B97F4A7C15ull * (uint64_t)seed + 1;
        noise.first_row = seed * 1000003;
        noise.first_sample = seed == 3 ? (INT64_C(1) << 32) - samples : seed * 77;
        noise.samples = samples;
        test::require(perturb_noise_fill(context.get(), &noise, 1, n, z.data()));
        const uint64_t h = hash_of(z.data(), n * samples);
        if (std::getenv("PERTURB_PRINT_HASHES")) std::printf("0x%016llxull%s", (unsigned long long)h, seed < 3 ? ", " : "}},\n");
        EXPECT_EQ(h, stored.hash[seed]) << isa << " " << stored.name << " seed " << seed;
        count(n * samples);
      }
    }
  }
}

TEST(hashes, one_flipped_bit_is_seen) {
  std::vector<float> x(1000, 1.0f);
  const uint64_t before = hash_of(x.data(), 1000);
  x[777] = std::bit_cast<float>(std::bit_cast<uint32_t>(x[777]) ^ 1u);
  EXPECT_NE(hash_of(x.data(), 1000), before);
}

// ---------------------------------------------------------------- accuracy

TEST(accuracy, normal) {
  double worst = 0.0, largest = 0.0;
  const auto words = probe_words(60000);
  for (size_t i = 0; i < words.size(); ++i) {
    const uint32_t w0 = words[i], w1 = words[(i * 7919 + 13) % words.size()];
    float z0, z1;
    normal_pair<scalar>(w0, w1, z0, z1);
    const double u = exact_uniform(w0), r = std::sqrt(-2.0 * (w0 < 0x80000000u ? std::log(u) : std::log1p(-exact_uniform(~w0)))), a = 2.0 * M_PI * exact_uniform(w1);
    worst = std::max({worst, std::fabs(z0 - r * std::sin(a)), std::fabs(z1 - r * std::cos(a))});
    largest = std::max({largest, (double)std::fabs(z0), (double)std::fabs(z1)});
    count(2);
  }
  float z0, z1;  // the worst pair of a search over 1.5e8
  normal_pair<scalar>(0x00000072u, 0x9e062010u, z0, z1);
  const double u = exact_uniform(0x72u), r = std::sqrt(-2.0 * std::log(u)), a = 2.0 * M_PI * exact_uniform(0x9e062010u);
  worst = std::max({worst, std::fabs(z0 - r * std::sin(a)), std::fabs(z1 - r * std::cos(a))});
  EXPECT_LT(worst, 1.08e-6);
  EXPECT_GT(worst, 1e-8);  // the reference is not the function itself
  EXPECT_LT(largest, 6.77);
}

TEST(accuracy, gumbel_logistic_laplace_and_scores) {
  double gumbel_worst = 0, logistic_worst = 0, laplace_worst = 0, score_worst = 0;
  for (const uint32_t w : probe_words(60000)) {
    const double u = exact_uniform(w), v = exact_uniform(~w);
    const double log_u = w < 0x80000000u ? std::log(u) : std::log1p(-v), log_v = w < 0x80000000u ? std::log1p(-u) : std::log(v);
    gumbel_worst = std::max(gumbel_worst, std::fabs(gumbel<scalar>(w) + std::log(-log_u)));
    logistic_worst = std::max(logistic_worst, std::fabs(logistic<scalar>(w) - (log_u - log_v)));
    const double l = w < 0x80000000u ? std::log(2.0 * u) : -std::log(2.0 * v);
    laplace_worst = std::max(laplace_worst, std::fabs(laplace<scalar>(w) - l));
    score_worst = std::max({score_worst, std::fabs(gumbel_score<scalar>(w) - (1.0 + log_u)), std::fabs(logistic_score<scalar>(w) - (2.0 * u - 1.0))});
    EXPECT_EQ(laplace_score<scalar>(w), w < 0x80000000u ? -1.0f : 1.0f);
    EXPECT_EQ(logistic<scalar>(w), -logistic<scalar>(~w));
    EXPECT_EQ(laplace<scalar>(w), -laplace<scalar>(~w));
    count(7);
  }
  EXPECT_LT(gumbel_worst, 1.2e-6);
  EXPECT_LT(logistic_worst, 2.1e-6);
  EXPECT_LT(laplace_worst, 1.5e-6);
  EXPECT_LT(score_worst, 1.5e-6);
}

TEST(accuracy, ranges_and_finiteness) {
  for (const uint32_t w : probe_words(2000)) {
    for (const auto& [name, d] : distributions) {
      for (const uint32_t other : {0u, 0x40000000u, 0xffffffffu, w}) {
        float z[4], s[4];
        values_of(d, w, other, z, s);
        for (int j = 0; j < 4; ++j) {
          ASSERT_TRUE(z[j] >= noise_low(d) && z[j] <= noise_high(d)) << name << " " << w << " " << z[j];
          ASSERT_TRUE(std::fabs(s[j]) < (double)(1 << score_bits(d))) << name << " " << w << " " << s[j];
          ASSERT_TRUE(std::fpclassify(z[j]) != FP_SUBNORMAL && std::fpclassify(s[j]) != FP_SUBNORMAL) << name << " " << w;
        }
        count(12);
      }
    }
  }
}

TEST(accuracy, exponential_function) {
  double worst = 0.0;
  for (int i = 0; i <= 400000; ++i) {
    const float a = -86.0f + 174.0f * (float)i / 400000.0f;
    worst = std::max(worst, std::fabs(exponential_function<scalar>(a) / std::exp((double)a) - 1.0));
    count();
  }
  EXPECT_LT(worst, 1.3e-7);
  EXPECT_EQ(exponential_function<scalar>(0.0f), 1.0f);
  EXPECT_TRUE(std::isfinite(exponential_function<scalar>(1e30f)) && exponential_function<scalar>(-1e30f) > 0.0f);
}

// ---------------------------------------------------------------- sorting networks and key sorts

// The 0-1 principle: a network that sorts all 2^16 inputs of zeros and ones sorts everything.
TEST(networks, green_sorts_every_zero_one_input) {
  for (uint32_t input = 0; input < 1u << 16; ++input) {
    uint32_t rows[16];
    for (int i = 0; i < 16; ++i) rows[i] = input >> i & 1;
    sort_block<scalar>(rows);
    ASSERT_TRUE(std::is_sorted(rows, rows + 16)) << input;
    count();
  }
}

TEST(networks, a_missing_comparator_is_seen) {
  int unsorted = 0;
  for (uint32_t input = 0; input < 1u << 16; ++input) {
    uint32_t r[16];
    for (int i = 0; i < 16; ++i) r[i] = input >> i & 1;
    for (int c = 0; c < 59; ++c) {
      const auto [low, high] = green_network[c];
      if (r[low] > r[high]) std::swap(r[low], r[high]);
    }
    unsorted += !std::is_sorted(r, r + 16);
  }
  EXPECT_GT(unsorted, 0);
}

TEST(networks, rows_of_every_length) {
  uint32_t x = 7;
  for (int64_t length = 16; length <= 4096; length += length < 1040 ? 16 : length < 2032 ? 336 : 688) {
    for (int kind = 0; kind < 4; ++kind) {
      std::vector<uint32_t> rows(length), sorted;
      for (uint32_t& r : rows) r = kind == 0 ? (x = x * 1664525u + 1013904223u) : kind == 1 ? (x = x * 1664525u + 1013904223u) >> 30 : kind == 2 ? (uint32_t)(&r - rows.data()) : ~(uint32_t)(&r - rows.data());
      sorted = rows;
      std::sort(sorted.begin(), sorted.end());
      sort_rows<scalar>(rows.data(), length);
      ASSERT_EQ(rows, sorted) << length << " " << kind;
      count(length);
    }
  }
}

TEST(order, keys_of_floats) {
  const float values[] = {-HUGE_VALF, -3e38f, -1.0f, -0x1p-149f, -0.0f, 0.0f, 0x1p-149f, 0x1p-126f, 1.0f, 1.0000001f, 3e38f, HUGE_VALF};
  for (float a : values)
    for (float b : values) {
      EXPECT_EQ(ordered<scalar>(a) < ordered<scalar>(b), a < b) << a << " " << b;
      EXPECT_EQ(ordered<scalar>(a) == ordered<scalar>(b), a == b) << a << " " << b;
      count(2);
    }
}

TEST(order, sort_keys_is_a_stable_sort) {
  uint32_t x = 99;
  for (int64_t n : {1, 2, 3, 31, 32, 33, 100, 4095, 4096, 5000, 100000}) {
    for (uint32_t mask : {0xffffffffu, 0x3u, 0xff000000u, 0u}) {
      std::vector<uint64_t> keys(n), scratch(n);
      for (int64_t i = 0; i < n; ++i) keys[i] = (uint64_t)((x = x * 1664525u + 1013904223u) & mask) << 32 | (uint64_t)i;
      std::vector<uint64_t> sorted = keys;
      std::stable_sort(sorted.begin(), sorted.end(), [](uint64_t a, uint64_t b) { return a >> 32 < b >> 32; });
      sort_keys<test_tag>(keys.data(), scratch.data(), n);
      ASSERT_EQ(keys, sorted) << n << " " << mask;
      count(n);
    }
  }
}

// ---------------------------------------------------------------- integer sums of weighted scores

TEST(limbs, sums_are_the_exact_products) {
  uint32_t x = 5;
  auto next = [&] { return x = x * 1664525u + 1013904223u; };
  for (const auto& [name, d] : distributions) {
    const int b = score_bits(d);
    for (int t = 0; t < 2000; ++t) {
      float z[4], s[4];
      values_of(d, next(), next(), z, s);
      const float weight = ((float)(int32_t)next() * 0x1p-31f) * (float)(1 << (limb_bits - b));
      weighted_limbs<scalar> limbs;
      limbs.clear();
      limbs.add(weight, s[0], (float)(1 << (limb_bits - b)));
      const double sum = (double)(int32_t)(limbs.high - limb_magic_bits) + (double)(int32_t)(limbs.low - limb_magic_bits) * 0x1p-22;
      EXPECT_NEAR(sum, (double)weight * (double)s[0], 0x1p-22) << name;
      EXPECT_NEAR((double)(int32_t)(limbs.plain - limb_magic_bits), (double)s[0] * (1 << (limb_bits - b)), 0.5) << name;
      count(2);
    }
  }
}

}  // namespace
