// Naive expectations: std::mt19937_64 and std::normal_distribution per item; then a running maximum, std::nth_element, std::sort or
// Dijkstra with std::priority_queue. A change that makes these slower is a way to cheat.
#include "baselines.h"

#include <algorithm>
#include <functional>
#include <numeric>
#include <queue>
#include <random>
#include <utility>

namespace perturb::bench {
namespace {

class noisy_scores {
 public:
  noisy_scores(int64_t n, float epsilon, uint64_t seed) : epsilon_(epsilon), generator_(seed), scores_(n) {}

  const std::vector<float>& perturb(const float* theta) {
    for (size_t i = 0; i < scores_.size(); ++i) scores_[i] = theta[i] + epsilon_ * normal_(generator_);
    return scores_;
  }

 private:
  float epsilon_;
  std::mt19937_64 generator_;
  std::normal_distribution<float> normal_;
  std::vector<float> scores_;
};

float count_argmax(const std::vector<float>& scores, std::vector<int64_t>& sum) {
  size_t best = 0;
  for (size_t i = 1; i < scores.size(); ++i)
    if (scores[i] > scores[best]) best = i;
  ++sum[best];
  return scores[best];
}

void count_top_k(const std::vector<float>& scores, int64_t k, std::vector<int32_t>& order, std::vector<int64_t>& sum) {
  std::iota(order.begin(), order.end(), 0);
  std::nth_element(order.begin(), order.begin() + (k - 1), order.end(), [&](int32_t a, int32_t b) { return scores[a] > scores[b]; });
  for (int64_t j = 0; j < k; ++j) ++sum[order[j]];
}

void count_ranks(const std::vector<float>& scores, std::vector<int32_t>& order, std::vector<int64_t>& sum) {
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return scores[a] < scores[b]; });
  for (size_t p = 0; p < order.size(); ++p) sum[order[p]] += static_cast<int64_t>(p) + 1;
}

struct path_buffers {
  std::vector<float> cost, distance;
  std::vector<int32_t> previous;
};

// 8 neighbours, no walls, corner to corner; returns the path's cost, source included.
float count_path(const test_case& c, const std::vector<float>& scores, path_buffers& buffers, std::vector<int64_t>& sum) {
  auto& [cost, distance, previous] = buffers;
  const int32_t height = static_cast<int32_t>(c.height), width = static_cast<int32_t>(c.width);
  const int32_t source = static_cast<int32_t>(c.source), target = static_cast<int32_t>(c.target);
  cost.resize(scores.size());
  for (size_t i = 0; i < scores.size(); ++i) cost[i] = std::max(scores[i], c.cost_floor);
  distance.assign(scores.size(), std::numeric_limits<float>::infinity());
  previous.assign(scores.size(), -1);
  using entry = std::pair<float, int32_t>;
  std::priority_queue<entry, std::vector<entry>, std::greater<entry>> queue;
  distance[source] = cost[source];
  queue.push({distance[source], source});
  while (!queue.empty()) {
    const auto [d, u] = queue.top();
    queue.pop();
    if (u == target) break;
    if (d > distance[u]) continue;
    const int32_t row = u / width, column = u % width;
    for (int32_t r = std::max(row - 1, 0); r <= std::min(row + 1, height - 1); ++r)
      for (int32_t s = std::max(column - 1, 0); s <= std::min(column + 1, width - 1); ++s) {
        const int32_t v = r * width + s;
        const float candidate = d + cost[v];
        if (v == u || candidate >= distance[v]) continue;
        distance[v] = candidate;
        previous[v] = u;
        queue.push({candidate, v});
      }
  }
  for (int32_t v = target; v >= 0; v = previous[v]) ++sum[v];
  return distance[target];
}

}  // namespace

void run_baseline(const workload& w, int64_t rows, int64_t samples, uint64_t seed, float* mean, double* value) {
  const int64_t n = w.c.n;
  noisy_scores noise(n, w.c.epsilon, seed);
  std::vector<int32_t> order(n);
  std::vector<int64_t> sum(n);
  path_buffers buffers;
  for (int64_t b = 0; b < rows; ++b) {
    std::fill(sum.begin(), sum.end(), 0);
    double total = 0;
    for (int64_t m = 0; m < samples; ++m) {
      const std::vector<float>& scores = noise.perturb(w.theta.data() + b * n);
      switch (w.c.oracle) {
        case oracle_kind::argmax:
          total += count_argmax(scores, sum);
          break;
        case oracle_kind::top_k:
          count_top_k(scores, w.c.k, order, sum);
          if (value)
            for (int64_t j = 0; j < w.c.k; ++j) total += scores[order[j]];
          break;
        case oracle_kind::rank:
          count_ranks(scores, order, sum);
          if (value)
            for (int64_t p = 0; p < n; ++p) total += static_cast<double>(p + 1) * static_cast<double>(scores[order[p]]);
          break;
        case oracle_kind::sort:
          break;  // no workload is one
        case oracle_kind::grid_path:
          total += count_path(w.c, scores, buffers, sum);
          break;
      }
    }
    for (int64_t i = 0; i < n; ++i) mean[b * n + i] = static_cast<float>(static_cast<double>(sum[i]) / static_cast<double>(samples));
    if (value) value[b] = total / static_cast<double>(samples);
  }
}

void fill_baseline(int64_t n, uint64_t seed, float* z) {
  std::mt19937_64 generator(seed);
  std::normal_distribution<float> normal;
  for (int64_t i = 0; i < n; ++i) z[i] = normal(generator);
}

std::string disagreement(const workload& w) {
  const int64_t n = w.c.n, theirs = std::clamp<int64_t>(2000000 / n, 300, 20000), ours = 2 * theirs;
  perturb_noise noise = w.noise();
  noise.samples = ours;
  noise.seed = 4711;
  std::vector<float> mean(n), error(n), baseline(n);
  float value = 0, value_error = 0;
  double baseline_value = 0;
  const test::context_ptr context = test::make_context(1);
  test::require(
      perturb_expectation(context.get(), w.oracle.get(), &noise, 1, w.theta.data(), mean.data(), error.data(), &value, &value_error));
  run_baseline(w, 1, theirs, 815, baseline.data(), &baseline_value);

  const double ratio = static_cast<double>(ours) / static_cast<double>(theirs);
  const auto differs = [&](const std::string& what, double a, double b, double combined) {
    if (std::abs(a - b) <= 6 * combined + 1e-6) return std::string();
    return w.name + ": " + what + " is " + std::to_string(a) + ", the baseline's " + std::to_string(b) + ", combined standard error " +
           std::to_string(combined);
  };
  // The baseline's float sums and the library's fixed point are each good to a few 1e-6 of a path's cost.
  const double rounding = w.is_path() ? 1e-5 * static_cast<double>(value) / 6 : 0;
  std::string text = differs("the mean value", value, baseline_value, value_error * std::sqrt(1 + ratio) + rounding);
  if (!text.empty() || w.has_ties()) return text;
  for (int64_t i = 0; i < n; ++i) {
    double combined = error[i] * std::sqrt(1 + ratio);  // the same spread on both sides
    if (w.c.oracle != oracle_kind::rank) {              // 0 or 1: pooled, for an item that one side never met
      const double p = (ratio * mean[i] + baseline[i]) / (ratio + 1);
      combined = std::sqrt(p * (1 - p) * (1.0 / static_cast<double>(ours) + 1.0 / static_cast<double>(theirs)));
    }
    text = differs("the mean of item " + std::to_string(i), mean[i], baseline[i], combined);
    if (!text.empty()) return text;
  }
  return {};
}

}  // namespace perturb::bench
