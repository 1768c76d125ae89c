// Perturbed nearest neighbours: distances and neighbours by brute force, the same call made by hand, gradients against the closed form of one neighbour and
// against sums in plain loops, bits, refusals.
#include <gtest/gtest.h>

#include <cfloat>
#include <numeric>

#include "composed.h"
#include "reference/top_k.h"
#include "statistics.h"

namespace perturb::test {
namespace {

// theta as the header states it.
std::vector<float> theta_of(const neighbors_case& p) {
  const int64_t n = p.n(), d = p.dimensions;
  std::vector<float> theta(p.batch * n);
  for (int64_t b = 0; b < p.batch; ++b)
    for (int64_t i = 0; i < n; ++i) {
      float sum = 0;
      for (int64_t j = 0; j < d; ++j) {
        const float step = p.queries[b * d + j] - p.points[i * d + j];
        sum = std::fmaf(step, step, sum);
      }
      theta[b * n + i] = -sum;
    }
  return theta;
}

struct shape {
  int64_t batch, n, k, d;
};
// Around the tiles of both backends, and one that is worth several threads.
constexpr shape shapes_of_neighbors[] = {{1, 1, 1, 1},   {3, 7, 2, 3},    {2, 8, 3, 64},   {5, 9, 0, 65},   {4, 16, 16, 2}, {2, 17, 5, 33},
                                         {3, 33, 4, 31}, {33, 31, 7, 32}, {7, 100, 10, 5}, {2, 40, 3, 200}, {70, 65, 1, 4}, {64, 300, 3, 40}};

// Without noise: the k nearest, of equally near ones those with the lowest index.
TEST(nearest_neighbors, brute_force) {
  const context_ptr context = make_context(2);
  for (const shape& s : shapes_of_neighbors) {
    const neighbors_case p(s.batch, s.n, s.k, s.d, PERTURB_NORMAL, 0, 2);
    const std::vector<float> theta = theta_of(p), got = run_neighbors(context.get(), p, false);
    int64_t ties = 0;
    for (int64_t b = 0; b < s.batch; ++b) {
      const std::vector<double> scores(theta.begin() + b * s.n, theta.begin() + (b + 1) * s.n);
      const std::vector<double> nearest = reference::top_k(scores, std::max<int64_t>(s.k, 1));
      for (int64_t i = 0; i < s.n; ++i) {
        count();
        EXPECT_EQ(nearest[i], got[b * 2 * s.n + i]) << s.n << " " << b << " " << i;
        ties += i % 5 == 4 && scores[i] == scores[i - 2];
      }
    }
    if (s.n > 4) {
      EXPECT_GT(ties, 0);
    }
  }
}

// The composition made by hand.
TEST(nearest_neighbors, by_hand) {
  const context_ptr context = make_context(2);
  int turn = 0;
  for (const shape& s : shapes_of_neighbors) {
    const neighbors_case p(s.batch, s.n, s.k, s.d, static_cast<perturb_distribution>(turn % 4), .3f, 40, turn % 2 == 1);
    ++turn;
    const std::vector<float> theta = theta_of(p);
    std::vector<float> y(s.batch * s.n), error(s.batch * s.n), t(s.batch * s.n), expected, gradient;
    require(perturb_expectation(context.get(), p.oracle.get(), &p.noise, s.batch, theta.data(), y.data(), error.data(), nullptr, nullptr));
    for (int64_t b = 0; b < s.batch; ++b)
      for (const std::vector<float>* part : {&y, &error}) expected.insert(expected.end(), part->begin() + b * s.n, part->begin() + (b + 1) * s.n);
    EXPECT_TRUE(same_bits(expected, run_neighbors(context.get(), p, false))) << s.n << " " << s.d;

    require(perturb_vjp(context.get(), p.oracle.get(), &p.noise, s.batch, theta.data(), p.cotangent.data(), t.data()));
    for (int64_t b = 0; b < s.batch; ++b)
      for (int64_t j = 0; j < s.d; ++j) {
        double sum = 0;
        for (int64_t i = 0; i < s.n; ++i)
          sum += static_cast<double>(t[b * s.n + i]) * (static_cast<double>(p.queries[b * s.d + j]) - static_cast<double>(p.points[i * s.d + j]));
        gradient.push_back(static_cast<float>(-2 * sum));
      }
    for (int64_t i = 0; i < s.n; ++i)
      for (int64_t j = 0; j < s.d; ++j) {
        double sum = 0;
        for (int64_t b = 0; b < s.batch; ++b)
          sum += static_cast<double>(t[b * s.n + i]) * (static_cast<double>(p.queries[b * s.d + j]) - static_cast<double>(p.points[i * s.d + j]));
        gradient.push_back(static_cast<float>(2 * sum));
      }
    const std::vector<float> got = run_neighbors(context.get(), p, true);
    ASSERT_EQ(got.size(), gradient.size());
    for (size_t i = 0; i < got.size(); ++i) {
      count();
      EXPECT_EQ(gradient[i], got[i]) << s.n << " " << s.d << " " << i;  // 0 = -0
    }
  }
}

// One neighbour under Gumbel noise: y = softmax(-||q - x||^2 / eps), and its derivatives in q and x.
TEST(nearest_neighbors, softmax) {
  const int64_t rows = 3000, n = 4, d = 2;
  const float eps = .8f;
  neighbors_case p(rows, n, 1, d, PERTURB_GUMBEL, eps, 100);
  for (int64_t b = 1; b < rows; ++b) {
    std::copy_n(p.queries.begin(), d, p.queries.begin() + b * d);
    std::copy_n(p.cotangent.begin(), n, p.cotangent.begin() + b * n);
  }
  const std::vector<float> theta = theta_of(p);
  const std::vector<double> y = reference::softmax(std::vector<double>(theta.begin(), theta.begin() + n), eps);
  double mean = 0;
  for (int64_t i = 0; i < n; ++i) mean += y[i] * p.cotangent[i];
  const context_ptr context = make_context(2);
  const std::vector<float> gradients = run_neighbors(context.get(), p, true);
  const replicate_summary of_query = summarize_rows(std::vector<float>(gradients.begin(), gradients.begin() + rows * d), d);
  for (int64_t j = 0; j < d; ++j) {
    double expected = 0;
    for (int64_t i = 0; i < n; ++i) {
      const double t = y[i] * (p.cotangent[i] - mean) / eps, step = static_cast<double>(p.queries[j]) - p.points[i * d + j];
      expected -= 2 * t * step;
      // Of a point: the sum over the rows. Its error by that of t.
      const double point = 2 * t * step * static_cast<double>(rows), got = gradients[rows * d + i * d + j];
      EXPECT_TRUE(near(point, got, 5 * 2 * std::abs(step) * 2 / eps * std::sqrt(static_cast<double>(rows) / 100.0)));
    }
    EXPECT_TRUE(within_errors(expected, of_query.mean[j], of_query.error[j]));
  }
  const replicate_summary of_y = summarize_rows(run_neighbors(context.get(), p, false), 2 * n);
  for (int64_t i = 0; i < n; ++i) EXPECT_TRUE(within_errors(y[i], of_y.mean[i], of_y.error[i]));
}

TEST(nearest_neighbors, bits) {
  const context_ptr one = make_context(1);
  for (const shape& s : shapes_of_neighbors)
    for (bool vjp : {false, true}) {
      neighbors_case p(s.batch, s.n, s.k, s.d, PERTURB_NORMAL, .3f, 30, s.n % 2 == 0);
      if (s.n == 17) p.noise.sampling = PERTURB_SAMPLING_ANTITHETIC;
      if (s.n == 33) p.noise.mode = PERTURB_MULTIPLICATIVE;
      const std::vector<float> expected = run_neighbors(one.get(), p, vjp);
      const perturb_operation operation = vjp ? PERTURB_OP_NEAREST_NEIGHBORS_VJP : PERTURB_OP_NEAREST_NEIGHBORS;
      EXPECT_TRUE(same_everywhere(expected, operation, p.oracle.get(), &p.noise, s.batch, [&](perturb_context* context) {
        return run_neighbors(context, p, vjp);
      })) << s.n;
      // Row by row: all but the gradient of the points.
      const int64_t width = vjp ? s.d : static_cast<int64_t>(expected.size()) / s.batch;
      for (int64_t b = 0; b < s.batch; ++b) {
        host_memory memory;
        std::vector<float> row = run_neighbors(memory, one.get(), p, vjp, b, 1);
        row.resize(width);
        EXPECT_TRUE(same_bits(std::vector<float>(expected.begin() + b * width, expected.begin() + (b + 1) * width), row)) << s.n << " row " << b;
      }
      if (!vjp) continue;
      std::vector<float> alone(s.n * s.d);
      require(perturb_nearest_neighbors_vjp(one.get(), p.oracle.get(), &p.noise, s.batch, s.d, p.queries.data(), p.points.data(), p.cotangent.data(), nullptr,
                                            alone.data()));
      EXPECT_TRUE(same_bits(std::vector<float>(expected.end() - s.n * s.d, expected.end()), alone));
    }
}

TEST(nearest_neighbors, refusals) {
  const context_ptr context = make_context(1);
  neighbors_case p(2, 5, 2, 3, PERTURB_NORMAL, .5f, 4);
  const oracle_ptr ranks = make_rank(5);
  std::vector<float> y(10), error(10), of_queries(6), of_points(15);
  const auto all_untouched = [&] { return untouched(y) && untouched(error) && untouched(of_queries) && untouched(of_points); };
  struct arguments {
    const perturb_oracle* oracle;
    int64_t batch, d;
    const float *queries, *points, *cotangent;
    float *y, *error, *of_queries, *of_points;
  };
  const arguments valid = {p.oracle.get(),  2, 3, p.queries.data(), p.points.data(), p.cotangent.data(), y.data(), error.data(), of_queries.data(),
                           of_points.data()};
  const auto refuses = [&](perturb_status expected, const char* name, auto spoil, bool forward, bool backward) {
    arguments a = valid;
    spoil(a);
    for (bool vjp : {false, true}) {
      if (!(vjp ? backward : forward)) continue;
      for (std::vector<float>* out : {&y, &error, &of_queries, &of_points}) fill_canary(*out);
      const perturb_status got =
          vjp ? perturb_nearest_neighbors_vjp(context.get(), a.oracle, &p.noise, a.batch, a.d, a.queries, a.points, a.cotangent, a.of_queries, a.of_points)
              : perturb_nearest_neighbors(context.get(), a.oracle, &p.noise, a.batch, a.d, a.queries, a.points, a.y, a.error);
      EXPECT_EQ(got, expected) << name;
      EXPECT_NE(std::string(perturb_last_error()).find(name), std::string::npos) << perturb_last_error();
      EXPECT_TRUE(all_untouched()) << name;
    }
  };
  const auto invalid = PERTURB_ERROR_INVALID_ARGUMENT;
  refuses(
      PERTURB_ERROR_UNSUPPORTED, "oracle", [&](arguments& a) { a.oracle = ranks.get(); }, true, true);
  refuses(
      invalid, "oracle", [](arguments& a) { a.oracle = nullptr; }, true, true);
  refuses(
      invalid, "batch", [](arguments& a) { a.batch = -1; }, true, true);
  for (int64_t d : {int64_t{0}, int64_t{-1}, int64_t{1} << 31})
    refuses(
        invalid, "dimensions", [&](arguments& a) { a.d = d; }, true, true);
  refuses(
      invalid, "queries", [](arguments& a) { a.queries = nullptr; }, true, true);
  refuses(
      invalid, "points", [](arguments& a) { a.points = nullptr; }, true, true);
  refuses(
      invalid, "y_mean", [](arguments& a) { a.y = nullptr; }, true, false);
  refuses(
      invalid, "cotangent", [](arguments& a) { a.cotangent = nullptr; }, false, true);
  refuses(
      invalid, "gradient_queries, gradient_points", [](arguments& a) { a.of_queries = a.of_points = nullptr; }, false, true);
  refuses(
      invalid, "y_std_error: overlaps y_mean", [](arguments& a) { a.error = a.y + 9; }, true, false);
  refuses(
      invalid, "y_mean: overlaps points", [](arguments& a) { a.y = const_cast<float*>(a.points) + 14; }, true, false);
  refuses(
      invalid, "gradient_points: overlaps gradient_queries", [](arguments& a) { a.of_queries = a.of_points + 1; }, false, true);
  refuses(
      invalid, "queries: must be aligned", [](arguments& a) { a.queries = reinterpret_cast<const float*>(reinterpret_cast<const char*>(a.queries) + 1); }, true,
      true);

  const auto with = [&](std::vector<float>& array, size_t at, float value, perturb_status expected, const char* name, bool forward) {
    const float before = array[at];
    array[at] = value;
    refuses(
        expected, name, [](arguments&) {}, forward, true);
    array[at] = before;
  };
  with(p.queries, 4, NAN, PERTURB_ERROR_NON_FINITE, "queries[1, 1]", true);
  with(p.points, 14, HUGE_VALF, PERTURB_ERROR_NON_FINITE, "points[4, 2]", true);
  with(p.cotangent, 7, NAN, PERTURB_ERROR_NON_FINITE, "cotangent[1, 2]", false);
  with(p.points, 3, 3e19f, invalid, "queries[0], points[1]", true);  // its square is beyond float
  p.noise.epsilon = 6e37f;
  refuses(
      invalid, "queries[0], points[0]", [](arguments&) {}, true, true);
  p.noise.epsilon = .5f;
  p.noise.sampling = PERTURB_SAMPLING_ANTITHETIC;
  refuses(
      PERTURB_ERROR_UNSUPPORTED, "y_std_error", [](arguments&) {}, true, false);
  p.noise.sampling = PERTURB_SAMPLING_IID;

  // A workspace that is one byte short.
  size_t bytes = 0;
  require(perturb_workspace_size(context.get(), PERTURB_OP_NEAREST_NEIGHBORS_VJP, p.oracle.get(), &p.noise, 2, &bytes));
  std::vector<unsigned char> memory(bytes);
  require(perturb_context_set_workspace(context.get(), memory.data(), bytes - 1));
  refuses(
      PERTURB_ERROR_WORKSPACE_TOO_SMALL, std::to_string(bytes).c_str(), [](arguments&) {}, false, true);
  EXPECT_EQ(perturb_workspace_size(context.get(), PERTURB_OP_NEAREST_NEIGHBORS, ranks.get(), &p.noise, 2, &bytes), PERTURB_ERROR_UNSUPPORTED);
}

// Allocations that fail leave nothing behind.
TEST(nearest_neighbors, out_of_memory) {
  const neighbors_case p(3, 9, 2, 4, PERTURB_NORMAL, .5f, 20);
  watching_allocator allocator;
  {
    const context_ptr context = make_context(2, allocator.hooks());
    const int64_t before = allocator.calls;
    const std::vector<float> expected = run_neighbors(context.get(), p, true);
    const int64_t calls = allocator.calls - before;
    for (int64_t k = 0; k < calls; ++k) {
      std::vector<float> of_queries(3 * 4);
      fill_canary(of_queries);
      allocator.fail_at = allocator.calls + k;
      EXPECT_EQ(perturb_nearest_neighbors_vjp(context.get(), p.oracle.get(), &p.noise, 3, 4, p.queries.data(), p.points.data(), p.cotangent.data(),
                                              of_queries.data(), nullptr),
                PERTURB_ERROR_OUT_OF_MEMORY);
      EXPECT_TRUE(untouched(of_queries));
    }
    EXPECT_EQ(calls, 2);
    EXPECT_TRUE(same_bits(expected, run_neighbors(context.get(), p, true)));
  }
  EXPECT_EQ(allocator.verdict(), "");
}

}  // namespace
}  // namespace perturb::test
