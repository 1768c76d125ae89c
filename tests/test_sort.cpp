// Sort, ordered top-k and expected sorted values: hard sorts of every small input, agreement with ranks, top-k and argmax of the same noise, sorted
// values and their gradient against formulas in double from the library's own noise, central differences, and closed forms at five standard errors.
#include <gtest/gtest.h>

#include <algorithm>
#include <numbers>
#include <numeric>

#include "compare.h"
#include "operations.h"
#include "reference/noise.h"
#include "reference/sort.h"

namespace perturb::test {
namespace {

struct sorted_means {
  std::vector<float> values, error;
};

sorted_means sorted_values(perturb_context* context, const perturb_oracle* oracle, const perturb_noise& noise, const std::vector<float>& theta) {
  const int64_t n = perturb_oracle_input_size(oracle), k = perturb_oracle_output_size(oracle) / n, batch = static_cast<int64_t>(theta.size()) / n;
  sorted_means out{std::vector<float>(batch * k), std::vector<float>(batch * k)};
  const bool errors = noise.sampling == PERTURB_SAMPLING_IID;
  require(perturb_sorted_values(context, oracle, &noise, batch, theta.data(), out.values.data(), errors ? out.error.data() : nullptr));
  return out;
}

std::vector<float> sorted_gradient(perturb_context* context, const perturb_oracle* oracle, const perturb_noise& noise, const std::vector<float>& theta,
                                   const std::vector<float>& g) {
  std::vector<float> gradient(theta.size());
  const int64_t batch = static_cast<int64_t>(theta.size()) / perturb_oracle_input_size(oracle);
  require(perturb_sorted_values_vjp(context, oracle, &noise, batch, theta.data(), g.data(), gradient.data()));
  return gradient;
}

std::vector<float> samples_of(perturb_context* context, const perturb_oracle* oracle, const perturb_noise& noise, const std::vector<float>& theta) {
  const int64_t batch = static_cast<int64_t>(theta.size()) / perturb_oracle_input_size(oracle);
  std::vector<float> y(batch * noise.samples * perturb_oracle_output_size(oracle));
  require(perturb_sample(context, oracle, &noise, batch, theta.data(), y.data()));
  return y;
}

std::vector<float> mean_of(perturb_context* context, const perturb_oracle* oracle, const perturb_noise& noise, const std::vector<float>& theta) {
  const int64_t batch = static_cast<int64_t>(theta.size()) / perturb_oracle_input_size(oracle);
  std::vector<float> y(batch * perturb_oracle_output_size(oracle));
  require(perturb_expectation(context, oracle, &noise, batch, theta.data(), y.data(), nullptr, nullptr, nullptr));
  return y;
}

// ---------------------------------------------------------------- hard sorts

// Every input of up to five scores out of four, two of them equal zeros of either sign: y, sorted values and their gradient without noise.
TEST(sort, every_small_input) {
  const context_ptr context = make_context(2);
  constexpr float scores[] = {-1.0f, -0.0f, 0.0f, 2.5f};
  for (int64_t n = 1; n <= 5; ++n) {
    std::vector<float> theta;
    for (int64_t code = 0; code < int64_t{1} << (2 * n); ++code)
      for (int64_t i = 0; i < n; ++i) theta.push_back(scores[code >> (2 * i) & 3]);
    const int64_t batch = static_cast<int64_t>(theta.size()) / n;
    for (int64_t k = 1; k <= n; ++k)
      for (int descending : {1, 0}) {
        if (!descending && k < n) continue;
        SCOPED_TRACE("n " + std::to_string(n) + " k " + std::to_string(k) + (descending ? " descending" : ""));
        const oracle_ptr oracle = k == n ? make_sort(n, descending) : make_ordered_top_k(n, k);
        std::vector<float> y(batch * k * n), expected, values, g(batch * k), gradient(batch * n, 0.0f);
        for (size_t i = 0; i < g.size(); ++i) g[i] = static_cast<float>(1 + i % 7) / 8;
        for (int64_t b = 0; b < batch; ++b) {
          const std::vector<float> one = reference::sort(theta.data() + b * n, n, k, descending);
          expected.insert(expected.end(), one.begin(), one.end());
          for (int64_t j = 0; j < k; ++j)
            for (int64_t i = 0; i < n; ++i)
              if (one[j * n + i] == 1) {
                values.push_back(theta[b * n + i] + 0.0f);  // a sum has no -0
                gradient[b * n + i] = g[b * k + j];
              }
        }
        require(perturb_solve(context.get(), oracle.get(), batch, theta.data(), y.data(), nullptr));
        EXPECT_TRUE(same_bits(expected, y));
        for (perturb_mode mode : {PERTURB_ADDITIVE, PERTURB_MULTIPLICATIVE})
          for (int64_t samples : {1, 20}) {
            perturb_noise noise = make_noise(PERTURB_NORMAL, 0, samples);
            noise.mode = mode;
            EXPECT_TRUE(same_bits(expected, mean_of(context.get(), oracle.get(), noise, theta)));
            const sorted_means means = sorted_values(context.get(), oracle.get(), noise, theta);
            EXPECT_TRUE(same_bits(values, means.values));
            for (float error : means.error) EXPECT_EQ(error, samples == 1 ? std::numeric_limits<float>::infinity() : 0.0f);
            EXPECT_TRUE(same_bits(gradient, sorted_gradient(context.get(), oracle.get(), noise, theta, g)));
          }
      }
  }
}

// ---------------------------------------------------------------- the same noise, other oracles

struct shape {
  int64_t n, k;
};

// The item at position j is the one whose rank is j, sample by sample: networks and radix sorts, packed and exact keys, and few positions of many
// items, which other code solves. Equal scores with a little noise collide in packed keys.
TEST(sort, positions_are_ranks) {
  const context_ptr context = make_context(2);
  for (const auto& [n, k] : {shape{1, 1}, shape{7, 7}, shape{40, 40}, shape{130, 3}, shape{512, 5}, shape{513, 5}, shape{600, 33}, shape{4097, 2},
                             shape{5000, 40}})
    for (int d = 0; d < 4; ++d)
      for (perturb_mode mode : {PERTURB_ADDITIVE, PERTURB_MULTIPLICATIVE})
        for (int64_t samples : {3, 33})
          for (int descending : {1, 0}) {
            if ((mode == PERTURB_MULTIPLICATIVE && d > 0) || (!descending && k < n) || (n > 600 && samples > 3)) continue;
            SCOPED_TRACE(std::to_string(n) + " " + std::to_string(k) + " " + distribution_name(static_cast<perturb_distribution>(d)));
            perturb_noise noise = make_noise(static_cast<perturb_distribution>(d), 0.3f, samples, 5);
            noise.mode = mode;
            std::vector<float> theta;
            for (int64_t i = 0; i < n; ++i) theta.push_back(i % 2 ? 0.75f : uniform_float(1, i, -1, 1));
            const oracle_ptr sort = k == n ? make_sort(n, descending) : make_ordered_top_k(n, k), rank = make_rank(n, descending, 0);
            const std::vector<float> y = samples_of(context.get(), sort.get(), noise, theta), ranks = samples_of(context.get(), rank.get(), noise, theta);
            std::vector<float> expected(y.size(), 0.0f);
            for (int64_t m = 0; m < samples; ++m)
              for (int64_t i = 0; i < n; ++i) {
                const int64_t position = static_cast<int64_t>(ranks[m * n + i]);
                if (position < k) expected[(m * k + position) * n + i] = 1;
              }
            EXPECT_TRUE(same_bits(expected, y));
          }
}

// Up to 512 items a rank's keys round scores, and so does a sort, however few its positions: of scores an ulp apart the lower item comes first.
TEST(sort, rounding_is_the_ranks) {
  const context_ptr context = make_context(2);
  for (const auto& [n, k] : {shape{20, 3}, shape{130, 3}, shape{512, 5}, shape{512, 512}})
    for (int64_t samples : {1, 40}) {
      std::vector<float> theta, factors(n, 0.0f);
      for (int64_t i = 0; i < n; ++i) theta.push_back(0.75f + 0x1p-24f * static_cast<float>(i % 7));
      factors[n / 2] = 1;
      perturb_noise noise = make_noise(PERTURB_NORMAL, 0.3f, samples, 5);
      noise.epsilon_per_item = factors.data();
      const oracle_ptr sort = k == n ? make_sort(n, 1) : make_ordered_top_k(n, k), rank = make_rank(n, 1, 0);
      const std::vector<float> y = samples_of(context.get(), sort.get(), noise, theta), ranks = samples_of(context.get(), rank.get(), noise, theta);
      EXPECT_EQ(y[n + 1] + y[n], 1.0f) << "item 0 or 1 second, although item 6 is larger";
      for (int64_t m = 0; m < samples; ++m)
        for (int64_t i = 0; i < n; ++i)
          for (int64_t j = 0; j < k; ++j) {
            if ((y[(m * k + j) * n + i] == 1) == (ranks[m * n + i] == static_cast<float>(j))) continue;
            ADD_FAILURE() << "n " << n << " k " << k << " sample " << m << ": item " << i << " and position " << j;
            return;
          }
      count(samples * n * k);
    }
}

// y_mean contracted with positions is the rank's y_mean, to the bit where shares are exact; its rows and columns sum to 1.
TEST(sort, expectation_is_doubly_stochastic_and_has_the_mean_rank) {
  const context_ptr context = make_context(2);
  for (int64_t n : {2, 9, 100})
    for (int descending : {0, 1}) {
      const perturb_noise noise = make_noise(PERTURB_GUMBEL, 0.7f, 64, 3);
      std::vector<float> theta;
      for (int64_t i = 0; i < 2 * n; ++i) theta.push_back(uniform_float(2, i, -1, 1));
      const std::vector<float> mean = mean_of(context.get(), make_sort(n, descending).get(), noise, theta);
      const std::vector<float> ranks = mean_of(context.get(), make_rank(n, descending, 0).get(), noise, theta);
      std::vector<float> contracted;
      for (int64_t b = 0; b < 2; ++b) {
        std::vector<double> position(n), row(n), column(n);
        for (int64_t j = 0; j < n; ++j)
          for (int64_t i = 0; i < n; ++i) {
            const double share = mean[(b * n + j) * n + i];
            position[i] += static_cast<double>(j) * share;
            row[j] += share;
            column[i] += share;
          }
        for (double entry : position) contracted.push_back(static_cast<float>(entry));
        for (int64_t i = 0; i < n; ++i) {
          EXPECT_EQ(row[i], 1.0);
          EXPECT_EQ(column[i], 1.0);
        }
      }
      EXPECT_TRUE(same_bits(ranks, contracted));
    }
}

// The first position is the argmax, all positions together are the top-k, where both order floats: many items, or multiplicative noise.
TEST(sort, first_positions_are_argmax_and_top_k) {
  const context_ptr context = make_context(2);
  for (const auto& [n, k] : {shape{20, 6}, shape{100, 32}, shape{600, 4}, shape{1000, 50}}) {
    perturb_noise noise = make_noise(PERTURB_NORMAL, 0.4f, 50, 8);
    if (n <= 512) noise.mode = PERTURB_MULTIPLICATIVE;
    std::vector<float> theta;
    for (int64_t i = 0; i < n; ++i) theta.push_back(uniform_float(4, i, 0.5, 1));
    const std::vector<float> y = mean_of(context.get(), make_ordered_top_k(n, k).get(), noise, theta);
    const std::vector<float> largest = mean_of(context.get(), make_argmax(n).get(), noise, theta);
    const std::vector<float> chosen = samples_of(context.get(), make_top_k(n, k).get(), noise, theta);
    EXPECT_TRUE(same_bits(largest, std::vector<float>(y.begin(), y.begin() + n)));
    const std::vector<float> positions = samples_of(context.get(), make_ordered_top_k(n, k).get(), noise, theta);
    std::vector<float> joined(noise.samples * n, 0.0f);
    for (int64_t m = 0; m < noise.samples; ++m)
      for (int64_t j = 0; j < k; ++j)
        for (int64_t i = 0; i < n; ++i) joined[m * n + i] += positions[(m * k + j) * n + i];
    EXPECT_TRUE(same_bits(chosen, joined));
  }
}

// ---------------------------------------------------------------- sorted values against formulas

// In double, from the call's noise and its samples' y.
TEST(sorted_values, formulas) {
  const context_ptr context = make_context(2);
  for (test_case c : cases()) {
    if (!c.is_sort()) continue;
    for (int64_t samples : {int64_t{1}, int64_t{2}, c.samples}) {
      if (c.sampling == PERTURB_SAMPLING_ANTITHETIC && samples % 2) continue;
      c.samples = samples;
      SCOPED_TRACE(c.name + " samples " + std::to_string(samples));
      const prepared_case p(context.get(), c);
      const perturb_noise noise = make_noise(c, p.factors);
      const int64_t n = c.n, k = c.k, M = samples;
      const std::vector<float> eps = reference::item_epsilons(c, p.factors), y = samples_of(context.get(), p.oracle.get(), noise, p.theta);
      std::vector<float> z(c.batch * M * n);
      require(perturb_noise_fill(context.get(), &noise, c.batch, n, z.data()));
      const sorted_means means = sorted_values(context.get(), p.oracle.get(), noise, p.theta);
      const std::vector<float> gradient = sorted_gradient(context.get(), p.oracle.get(), noise, p.theta, p.cotangent);
      std::vector<double> value(c.batch * k), value_scale(c.batch * k), error(c.batch * k), error_scale(c.batch * k);
      std::vector<double> slope(c.batch * n), slope_scale(c.batch * n);
      for (int64_t b = 0; b < c.batch; ++b) {
        std::vector<double> score(M * k);
        double spread = 0;
        for (int64_t m = 0; m < M; ++m)
          for (int64_t j = 0; j < k; ++j)
            for (int64_t i = 0; i < n; ++i) {
              if (y[((b * M + m) * k + j) * n + i] == 0) continue;
              const float noise_of_item = z[(b * M + m) * n + i];
              const double s = reference::perturbed(c, p.theta[b * n + i], eps[i], noise_of_item), g = p.cotangent[b * k + j];
              score[m * k + j] = s;
              value[b * k + j] += s / static_cast<double>(M);
              value_scale[b * k + j] += std::abs(s) / static_cast<double>(M);
              spread = std::max(spread, std::abs(s - p.theta[b * n + i]));
              const double w = eps[i] == 0 ? 1.0 : reference::weight(c, eps[i], noise_of_item);
              slope[b * n + i] += g * w / static_cast<double>(M);
              slope_scale[b * n + i] += std::abs(g) * w / static_cast<double>(M);
            }
        for (int64_t j = 0; j < k; ++j) {
          double squares = 0;
          for (int64_t m = 0; m < M; ++m) squares += (score[m * k + j] - value[b * k + j]) * (score[m * k + j] - value[b * k + j]);
          error[b * k + j] = M == 1 ? HUGE_VAL : std::sqrt(squares / static_cast<double>(M - 1) / static_cast<double>(M));
          error_scale[b * k + j] = M == 1 ? 1 : 1e-5 * error[b * k + j] + 1e-6 * spread + 1e-7 * value_scale[b * k + j];
        }
      }
      // Multiplicative scores are exp() in float; a mean of n floats loses nothing here but its last rounding.
      const double relative = c.mode == PERTURB_MULTIPLICATIVE ? 4e-6 : 2e-7;
      for (double& scale : value_scale) scale = relative * scale + 1e-30;
      for (double& scale : slope_scale) scale = relative * scale + 1e-12;
      EXPECT_TRUE(all_near(value, means.values, value_scale));
      if (c.has_std_errors()) {
        EXPECT_TRUE(all_near(error, means.error, error_scale));
      }
      EXPECT_TRUE(all_near(slope, gradient, slope_scale));
    }
  }
}

// The gradient is that of the estimate itself: central differences with the same noise, exact but for samples whose order changes in between.
TEST(sorted_values, gradient_is_the_slope_of_the_values) {
  const context_ptr context = make_context(2);
  constexpr float step = 0x1p-9f;
  for (const auto& [n, k] : {shape{2, 2}, shape{6, 6}, shape{9, 3}})
    for (perturb_mode mode : {PERTURB_ADDITIVE, PERTURB_MULTIPLICATIVE}) {
      perturb_noise noise = make_noise(PERTURB_NORMAL, 0.6f, 20000, 12);
      noise.mode = mode;
      std::vector<float> theta, g, factors;
      for (int64_t i = 0; i < n; ++i) {
        theta.push_back(uniform_float(6, i, 0.5, 2));
        factors.push_back(i == 1 ? 0.0f : uniform_float(7, i, 0.5, 1.5));
      }
      for (int64_t j = 0; j < k; ++j) g.push_back(uniform_float(8, j, -1, 1));
      noise.epsilon_per_item = factors.data();
      const oracle_ptr oracle = k == n ? make_sort(n, 1) : make_ordered_top_k(n, k);
      const std::vector<float> gradient = sorted_gradient(context.get(), oracle.get(), noise, theta, g);
      for (int64_t i = 0; i < n; ++i) {
        const auto at = [&](float by) {
          std::vector<float> moved = theta;
          moved[i] += by;
          const std::vector<float> values = sorted_values(context.get(), oracle.get(), noise, moved).values;
          double total = 0;
          for (int64_t j = 0; j < k; ++j) total += static_cast<double>(g[j]) * values[j];
          return total;
        };
        EXPECT_TRUE(near((at(step) - at(-step)) / (2 * step), gradient[i], 4e-3)) << "n " << n << " k " << k << " item " << i;
      }
    }
}

// Additive noise: the gradient is y_mean^T g, and of a sort it sums to the cotangent's sum.
TEST(sorted_values, gradient_is_the_mean_permutation_transposed) {
  const context_ptr context = make_context(2);
  const int64_t n = 12;
  for (int64_t k : {n, int64_t{5}}) {
    const oracle_ptr oracle = k == n ? make_sort(n, 0) : make_ordered_top_k(n, k);
    const perturb_noise noise = make_noise(PERTURB_LOGISTIC, 0.5f, 1000, 4);
    std::vector<float> theta, g;
    for (int64_t i = 0; i < n; ++i) theta.push_back(uniform_float(9, i, -2, 2));
    for (int64_t j = 0; j < k; ++j) g.push_back(uniform_float(10, j, -1, 1));
    const std::vector<float> mean = mean_of(context.get(), oracle.get(), noise, theta);
    const std::vector<float> gradient = sorted_gradient(context.get(), oracle.get(), noise, theta, g);
    std::vector<double> expected(n);
    for (int64_t j = 0; j < k; ++j)
      for (int64_t i = 0; i < n; ++i) expected[i] += static_cast<double>(g[j]) * mean[j * n + i];
    EXPECT_TRUE(all_near(expected, gradient, 3e-7));
    if (k == n) {
      EXPECT_TRUE(near(std::accumulate(g.begin(), g.end(), 0.0), std::accumulate(gradient.begin(), gradient.end(), 0.0), 1e-6));
    }
  }
}

// ---------------------------------------------------------------- closed forms

// A row of equal replicates would need their spread; the errors that the call returns are themselves checked above and below.
testing::AssertionResult agrees(const std::vector<double>& expected, const sorted_means& means) {
  return all_within_errors(expected, means.values, std::vector<double>(means.error.begin(), means.error.end()));
}

// Order statistics of normal variables: n = 2, 3 in closed form; 4, 5 from Harter's tables to ten digits.
TEST(sorted_values, normal_order_statistics) {
  const context_ptr context = make_context(2);
  const double pi = std::numbers::pi;
  const std::vector<std::vector<double>> expected{{0},
                                                  {-1 / std::sqrt(pi), 1 / std::sqrt(pi)},
                                                  {-1.5 / std::sqrt(pi), 0, 1.5 / std::sqrt(pi)},
                                                  {-1.0293753730, -0.2970113823, 0.2970113823, 1.0293753730},
                                                  {-1.1629644736, -0.4950189705, 0, 0.4950189705, 1.1629644736}};
  for (size_t n = 1; n <= 5; ++n)
    for (float epsilon : {1.0f, 0.01f}) {
      const std::vector<float> theta(n, 3.0f);
      const perturb_noise noise = make_noise(PERTURB_NORMAL, epsilon, 200000, n);
      std::vector<double> scaled(expected[n - 1]);
      for (double& value : scaled) value = 3 + value * static_cast<double>(epsilon);
      EXPECT_TRUE(agrees(scaled, sorted_values(context.get(), make_sort(static_cast<int64_t>(n)).get(), noise, theta))) << n;
      std::reverse(scaled.begin(), scaled.end());
      EXPECT_TRUE(agrees(scaled, sorted_values(context.get(), make_sort(static_cast<int64_t>(n), 1).get(), noise, theta))) << n;
    }
}

// The largest of n Gumbel variables at theta is a Gumbel variable at logsumexp(theta): its mean, and its variance pi^2/6.
TEST(sorted_values, gumbel_maximum) {
  const context_ptr context = make_context(2);
  const int64_t samples = 100000;
  for (int64_t n : {1, 2, 10, 600}) {
    const float epsilon = 0.7f;
    std::vector<float> theta;
    double sum = 0;
    for (int64_t i = 0; i < n; ++i) {
      theta.push_back(n == 10 ? uniform_float(3, i, -1, 1) : 0.0f);
      sum += std::exp(static_cast<double>(theta.back()) / static_cast<double>(epsilon));
    }
    const int64_t M = n > 100 ? samples / 10 : samples;
    const sorted_means largest = sorted_values(context.get(), make_ordered_top_k(n, 1).get(), make_noise(PERTURB_GUMBEL, epsilon, M, 21), theta);
    const double e = static_cast<double>(epsilon), deviation = e * std::numbers::pi / std::sqrt(6.0) / std::sqrt(static_cast<double>(M));
    EXPECT_TRUE(within_errors(e * (std::log(sum) + std::numbers::egamma), largest.values[0], deviation)) << n;
    EXPECT_TRUE(near(deviation, largest.error[0], 0.05 * deviation)) << n;
  }
}

// Four items, Gumbel: every order statistic by inclusion and exclusion over subsets of logsumexp.
TEST(sorted_values, gumbel_order_statistics) {
  const context_ptr context = make_context(2);
  const std::vector<float> theta{0.3f, -0.2f, 0.5f, 0.1f};
  const float epsilon = 0.7f;
  const double e = epsilon, d = 4;
  const auto choose = [](double a, double b) { return std::tgamma(a + 1) / std::tgamma(b + 1) / std::tgamma(a - b + 1); };
  std::vector<double> expected;
  for (int k = 1; k <= 4; ++k) {
    double total = 0;
    for (unsigned subset = 1; subset < 16; ++subset) {
      const int size = std::popcount(subset);
      if (size < d - k + 1) continue;
      double sum = 0;
      for (int i = 0; i < 4; ++i)
        if (subset >> i & 1) sum += std::exp(theta[i] / e);
      total += ((size - (4 - k + 1)) % 2 ? -1 : 1) * choose(size - 1, d - k) * e * (std::log(sum) + std::numbers::egamma);
    }
    expected.push_back(total);
  }
  EXPECT_TRUE(agrees(expected, sorted_values(context.get(), make_sort(4, 1).get(), make_noise(PERTURB_GUMBEL, epsilon, 200000, 2), theta)));
}

// Plackett and Luce: with Gumbel noise the order is drawn item by item, each with odds exp(theta/eps) among those that are left.
TEST(sort, plackett_luce) {
  const context_ptr context = make_context(2);
  const std::vector<float> theta{0.3f, -0.2f, 0.5f, 0.1f};
  const float epsilon = 0.7f;
  const int64_t samples = 100000;
  std::vector<double> expected(16), error(16);
  std::vector<int> order{0, 1, 2, 3};
  do {
    double chance = 1;
    for (int at = 0; at < 4; ++at) {
      double left = 0;
      for (int later = at; later < 4; ++later) left += std::exp(theta[order[later]] / static_cast<double>(epsilon));
      chance *= std::exp(theta[order[at]] / static_cast<double>(epsilon)) / left;
    }
    for (int j = 0; j < 4; ++j) expected[j * 4 + order[j]] += chance;
  } while (std::next_permutation(order.begin(), order.end()));
  for (size_t i = 0; i < 16; ++i) error[i] = std::sqrt(expected[i] * (1 - expected[i]) / static_cast<double>(samples));
  const perturb_noise noise = make_noise(PERTURB_GUMBEL, epsilon, samples, 77);
  EXPECT_TRUE(all_within_errors(expected, mean_of(context.get(), make_sort(4, 1).get(), noise, theta), error));
  expected.resize(8);
  error.resize(8);
  EXPECT_TRUE(all_within_errors(expected, mean_of(context.get(), make_ordered_top_k(4, 2).get(), noise, theta), error));
}

// The score-function VJP of y_eps, contracted with anything, is unbiased for the derivative of the chance that each item is first: softmax's.
TEST(sort, jacobian_of_the_first_position_is_softmax) {
  const context_ptr context = make_context(2);
  const std::vector<float> theta{0.3f, -0.2f, 0.5f, 0.1f};
  const double e = 0.7;
  const int64_t samples = 200000;
  std::vector<double> chance;
  double sum = 0;
  for (float t : theta) chance.push_back(std::exp(t / e)), sum += chance.back();
  for (double& p : chance) p /= sum;
  const oracle_ptr oracle = make_ordered_top_k(4, 1), sort = make_sort(4, 1);
  const perturb_noise noise = make_noise(PERTURB_GUMBEL, 0.7f, samples, 31);
  std::vector<float> first(16), all(64);
  require(perturb_jacobian(context.get(), oracle.get(), &noise, 1, theta.data(), first.data()));
  require(perturb_jacobian(context.get(), sort.get(), &noise, 1, theta.data(), all.data()));
  EXPECT_TRUE(same_bits(first, std::vector<float>(all.begin(), all.begin() + 16)));
  std::vector<double> expected, error;
  for (size_t i = 0; i < 4; ++i)
    for (size_t j = 0; j < 4; ++j) {
      expected.push_back((i == j ? chance[i] - chance[i] * chance[i] : -chance[i] * chance[j]) / e);
      error.push_back(1.5 / e / std::sqrt(static_cast<double>(samples)));  // a bound: |y - b| <= 1, E S^2 = 1
    }
  EXPECT_TRUE(all_within_errors(expected, first, error));
}

// Antithetic normal noise leaves symmetric medians without error: pairs mirror each other.
TEST(sorted_values, antithetic_pairs_cancel) {
  const context_ptr context = make_context(2);
  perturb_noise noise = make_noise(PERTURB_NORMAL, 1, 1000, 6);
  noise.sampling = PERTURB_SAMPLING_ANTITHETIC;
  const std::vector<float> theta(5, 0.0f);
  const std::vector<float> values = sorted_values(context.get(), make_sort(5).get(), noise, theta).values;
  EXPECT_TRUE(near(0, values[2], 1e-7));
  EXPECT_TRUE(near(-values[4], values[0], 1e-7));
}

}  // namespace
}  // namespace perturb::test
