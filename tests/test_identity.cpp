// The identity backward rule and its projections: against sums in long double, against differences of the projection, what the projections leave alone
// (scale, shift, solutions), what the gradients are orthogonal to, rows at the edges, bits, refusals, a status of rows.
#include <gtest/gtest.h>

#include <cfloat>
#include <cstring>

#include "composed.h"

namespace perturb::test {
namespace {

using numbers = std::vector<long double>;

bool centres(perturb_projection p) { return p == PERTURB_PROJECTION_MEAN || p == PERTURB_PROJECTION_STD; }
bool scales(perturb_projection p) { return p == PERTURB_PROJECTION_NORM || p == PERTURB_PROJECTION_STD; }

// P as the header states it, of the items that are not walls.
numbers projected(perturb_projection p, numbers x) {
  long double sum = 0, square = 0;
  for (const long double value : x) sum += value;
  if (centres(p))
    for (long double& value : x) value -= sum / static_cast<long double>(x.size());
  for (const long double value : x) square += value * value;
  if (scales(p))
    for (long double& value : x) value = square > 0 ? value / std::sqrt(square) : 0;
  return x;
}

// Row b without its walls, and where its items are.
struct open_row {
  std::vector<int64_t> items;
  numbers theta, cotangent;
};
open_row row_of(const prepared_case& p, int64_t b) {
  const std::vector<uint8_t> open = p.c.is_grid() ? make_passable(p.c) : std::vector<uint8_t>(p.c.n, 1);
  open_row row;
  for (int64_t i = 0; i < p.c.n; ++i) {
    if (!open[i]) continue;
    row.items.push_back(i);
    row.theta.push_back(p.theta[b * p.c.n + i]);
    if (!p.c.is_sort()) row.cotangent.push_back(p.cotangent[b * p.c.n + i]);
  }
  return row;
}

double sign_of(const test_case& c) { return c.is_grid() || c.descending ? -1 : 1; }

TEST(identity, projections_are_their_formulas) {
  const context_ptr context = make_context(2);
  for (const test_case& c : identity_cases()) {
    const prepared_case p(context.get(), c);
    for (perturb_projection projection : projections) {
      if (!has_projection(c, projection)) continue;
      std::vector<float> got(c.batch * c.n);
      require(perturb_project(context.get(), p.oracle.get(), projection, c.batch, p.theta.data(), got.data()));
      std::vector<double> expected(got.size());
      for (int64_t b = 0; b < c.batch; ++b) {
        const open_row row = row_of(p, b);
        const numbers w = projected(projection, row.theta);
        for (size_t i = 0; i < w.size(); ++i) expected[b * c.n + row.items[i]] = static_cast<double>(w[i]);
      }
      EXPECT_TRUE(all_within_one_ulp(expected, got)) << c.name << " " << projection;
    }
  }
}

// J by central differences of P in long double, column by column; the gradient is s J^T g.
TEST(identity, gradients_are_differences_of_the_projection) {
  const context_ptr context = make_context(2);
  for (const test_case& c : identity_cases()) {
    if (c.is_sort() || c.n > 300 || c.theta == inputs::equal || c.theta == inputs::zeros || (c.n == 1)) continue;
    const prepared_case p(context.get(), c);
    for (perturb_projection projection : projections) {
      if (!has_projection(c, projection)) continue;
      std::vector<float> got(c.batch * c.n);
      require(perturb_identity_vjp(context.get(), p.oracle.get(), projection, c.batch, p.theta.data(), p.cotangent.data(), got.data()));
      std::vector<double> expected(got.size()), tolerance(got.size());
      for (int64_t b = 0; b < c.batch; ++b) {
        const open_row row = row_of(p, b);
        long double size = 0;
        for (const long double t : row.theta) size = std::max(size, std::abs(t));
        const long double h = 1e-5L * size;
        for (size_t j = 0; j < row.items.size(); ++j) {
          numbers up = row.theta, down = row.theta;
          up[j] += h;
          down[j] -= h;
          const numbers high = projected(projection, up), low = projected(projection, down);
          long double slope = 0, magnitude = 0;
          for (size_t i = 0; i < high.size(); ++i) {
            const long double term = (high[i] - low[i]) / (2 * h) * row.cotangent[i];
            slope += term;
            magnitude += std::abs(term);
          }
          expected[b * c.n + row.items[j]] = sign_of(c) * static_cast<double>(slope);
          tolerance[b * c.n + row.items[j]] = 1e-6 * static_cast<double>(magnitude + 1 / size);
        }
      }
      EXPECT_TRUE(all_near(expected, got, tolerance)) << c.name << " " << projection;
    }
  }
}

// In long double as the header states it: the rounding of a float and no more, whatever cancels.
TEST(identity, gradients_are_their_formulas) {
  const context_ptr context = make_context(2);
  for (const test_case& c : identity_cases()) {
    if (c.is_sort()) continue;
    const prepared_case p(context.get(), c);
    for (perturb_projection projection : projections) {
      if (!has_projection(c, projection)) continue;
      std::vector<float> got(c.batch * c.n);
      require(perturb_identity_vjp(context.get(), p.oracle.get(), projection, c.batch, p.theta.data(), p.cotangent.data(), got.data()));
      std::vector<double> expected(got.size()), tolerance(got.size());
      for (int64_t b = 0; b < c.batch; ++b) {
        const open_row row = row_of(p, b);
        const numbers x = centres(projection) ? projected(PERTURB_PROJECTION_MEAN, row.theta) : row.theta, w = projected(projection, row.theta);
        const numbers h = centres(projection) ? projected(PERTURB_PROJECTION_MEAN, row.cotangent) : row.cotangent;
        long double square = 0, product = 0;
        for (size_t i = 0; i < w.size(); ++i) {
          square += x[i] * x[i];
          product += w[i] * row.cotangent[i];
        }
        for (size_t i = 0; i < w.size(); ++i) {
          long double value = scales(projection) ? h[i] - w[i] * product : h[i], scale = std::abs(h[i]) + std::abs(row.cotangent[i]);
          if (scales(projection)) value = square > 0 ? value / std::sqrt(square) : 0, scale = square > 0 ? scale / std::sqrt(square) : 0;
          expected[b * c.n + row.items[i]] = sign_of(c) * static_cast<double>(value);
          tolerance[b * c.n + row.items[i]] = 0x1p-23 * std::abs(static_cast<double>(value)) + 1e-14 * static_cast<double>(scale);
        }
      }
      EXPECT_TRUE(all_near(expected, got, tolerance)) << c.name << " " << projection;
    }
  }
}

// A projected theta has the solution of theta: that is what makes it a projection for this oracle.
TEST(identity, solutions_stay) {
  const context_ptr context = make_context(1);
  for (const test_case& c : identity_cases()) {
    if (c.theta != inputs::distinct && c.theta != inputs::costs) continue;
    const prepared_case p(context.get(), c);
    std::vector<float> y(c.batch * c.m());
    require(perturb_solve(context.get(), p.oracle.get(), c.batch, p.theta.data(), y.data(), nullptr));
    for (perturb_projection projection : projections) {
      if (!has_projection(c, projection)) continue;
      std::vector<float> w(c.batch * c.n), of_w(y.size());
      require(perturb_project(context.get(), p.oracle.get(), projection, c.batch, p.theta.data(), w.data()));
      require(perturb_solve(context.get(), p.oracle.get(), c.batch, w.data(), of_w.data(), nullptr));
      EXPECT_TRUE(same_bits(y, of_w)) << c.name << " " << projection;
    }
  }
}

// A scale of a power of two changes no bit of NORM and STD, and divides their gradients; a shift that floats hold exactly changes MEAN and STD by rounding
// at most, their gradients likewise, and nothing where n is a power of two.
TEST(identity, scale_and_shift) {
  const context_ptr context = make_context(1);
  for (int64_t n : {2, 7, 64, 100, 256, 300}) {
    const oracle_ptr oracle = make_argmax(n);
    std::vector<float> theta(n), moved(n), g(n);
    for (int64_t i = 0; i < n; ++i) {
      theta[i] = static_cast<float>(hashed(n, i) % 4096) / 256 - 8;
      g[i] = uniform_float(n + 1, i, -1, 1);
    }
    const auto run = [&](perturb_projection projection, const std::vector<float>& at) {
      std::vector<float> both(2 * n);
      require(perturb_project(context.get(), oracle.get(), projection, 1, at.data(), both.data()));
      require(perturb_identity_vjp(context.get(), oracle.get(), projection, 1, at.data(), g.data(), both.data() + n));
      return both;
    };
    for (perturb_projection projection : {PERTURB_PROJECTION_NORM, PERTURB_PROJECTION_STD}) {
      std::vector<float> expected = run(projection, theta);
      for (int64_t i = 0; i < n; ++i) moved[i] = theta[i] * 0x1p30f;
      for (int64_t i = n; i < 2 * n; ++i) expected[i] *= 0x1p-30f;
      EXPECT_TRUE(same_bits(expected, run(projection, moved))) << n << " " << projection;
    }
    for (perturb_projection projection : {PERTURB_PROJECTION_MEAN, PERTURB_PROJECTION_STD}) {
      const std::vector<float> expected = run(projection, theta);
      for (int64_t i = 0; i < n; ++i) moved[i] = theta[i] + 32768;
      const std::vector<float> got = run(projection, moved);
      if ((n & (n - 1)) == 0) {
        EXPECT_TRUE(same_bits(expected, got)) << n << " " << projection;
      }
      for (int64_t i = 0; i < 2 * n; ++i) EXPECT_TRUE(near(expected[i], got[i], 2e-7 * std::abs(expected[i]) + 1e-10)) << n << " " << projection << " " << i;
    }
  }
}

// MEAN: to 1. NORM: to theta. STD: to both. Offsets that are large against the spread included.
TEST(identity, gradients_are_orthogonal) {
  const context_ptr context = make_context(1);
  for (float offset : {0.0f, 3.0f, 1e8f})
    for (int64_t n : {2, 5, 128, 777}) {
      const oracle_ptr oracle = make_rank(n);
      std::vector<float> theta(n), g(n), gradient(n);
      for (int64_t i = 0; i < n; ++i) {
        theta[i] = offset + (offset > 10 ? 64.0f : 1.0f) * uniform_float(5, i, -1, 1);
        g[i] = uniform_float(6, i, -1, 3);
      }
      for (perturb_projection projection : projections) {
        require(perturb_identity_vjp(context.get(), oracle.get(), projection, 1, theta.data(), g.data(), gradient.data()));
        double ones = 0, along = 0, size = 0, reach = 0, mean = 0;
        for (const float t : theta) mean += t / static_cast<double>(n);
        for (int64_t i = 0; i < n; ++i) {
          const double x = theta[i] - (centres(projection) ? mean : 0);
          ones += gradient[i];
          along += gradient[i] * x;
          size += std::abs(gradient[i]);
          reach += std::abs(gradient[i] * x);
        }
        if (centres(projection)) {
          EXPECT_TRUE(near(0, ones, 0x1p-23 * size)) << n << " " << offset;
        }
        if (scales(projection)) {
          EXPECT_TRUE(near(0, along, 0x1p-23 * reach + 1e-20)) << n << " " << offset;
        }
        if (projection == PERTURB_PROJECTION_NONE) {
          EXPECT_GT(std::abs(ones), 0.01 * size);
        }
      }
    }
}

// What the sign is, for every sense that an oracle may have.
TEST(identity, signs) {
  const context_ptr context = make_context(1);
  perturb_grid_path_options grid = PERTURB_GRID_PATH_OPTIONS_INIT;
  grid.height = 2;
  grid.width = 3;
  grid.target = 5;
  perturb_custom_options custom = PERTURB_CUSTOM_OPTIONS_INIT;
  custom.n = custom.m = 6;
  custom.solve = [](int64_t, const float*, float*, void*, void*) -> int32_t { return 1; };  // never called
  const oracle_ptr of_max = make_custom(custom);
  custom.sense = PERTURB_MINIMIZE;
  const oracle_ptr of_min = make_custom(custom), argmax = make_argmax(6), top_k = make_top_k(6, 2), rank = make_rank(6), down = make_rank(6, 1), path = make_grid(grid);
  const std::vector<float> theta{1, 5, 2, 4, 3, 7}, g{3, -1, 0.5f, 2, -4, 1};
  for (const auto& [oracle, sign] : {std::pair{of_max.get(), 1.0f}, {of_min.get(), -1.0f}, {argmax.get(), 1.0f}, {top_k.get(), 1.0f}, {rank.get(), 1.0f}, {down.get(), -1.0f},
                                     {path.get(), -1.0f}}) {
    std::vector<float> gradient(6);
    require(perturb_identity_vjp(context.get(), oracle, PERTURB_PROJECTION_NONE, 1, theta.data(), g.data(), gradient.data()));
    for (int i = 0; i < 6; ++i) EXPECT_EQ(gradient[i], sign * g[i]);
    require(perturb_identity_vjp(context.get(), oracle, PERTURB_PROJECTION_NORM, 1, theta.data(), g.data(), gradient.data()));
    EXPECT_GT(sign * gradient[0], 0);  // the largest entry of g, at the smallest of theta
    count(7);
  }
}

// One step against the gradient of <c, y> makes the solver prefer less costly items: the rule points the way that a solution should move.
TEST(identity, a_step_helps) {
  const context_ptr context = make_context(1);
  const oracle_ptr oracle = make_argmax(4);
  std::vector<float> theta{1, 0.9f, 0.2f, 0.1f}, y(4), w(4), gradient(4);
  const std::vector<float> cost{3, 1, 0, 2};
  for (perturb_projection projection : projections) {
    std::vector<float> at = theta;
    for (int step = 0; step < 100; ++step) {
      require(perturb_identity_vjp(context.get(), oracle.get(), projection, 1, at.data(), cost.data(), gradient.data()));
      for (int i = 0; i < 4; ++i) at[i] -= 0.05f * gradient[i];
    }
    require(perturb_project(context.get(), oracle.get(), projection, 1, at.data(), w.data()));
    require(perturb_solve(context.get(), oracle.get(), 1, w.data(), y.data(), nullptr));
    EXPECT_EQ(y, (std::vector<float>{0, 0, 1, 0})) << projection;
    count();
  }
}

TEST(identity, rows_at_the_edges) {
  const context_ptr context = make_context(1);
  const auto run = [&](perturb_projection projection, const std::vector<float>& theta, const std::vector<float>& g) {
    const oracle_ptr oracle = make_argmax(static_cast<int64_t>(theta.size()));
    std::vector<float> both(2 * theta.size());
    require(perturb_project(context.get(), oracle.get(), projection, 1, theta.data(), both.data()));
    require(perturb_identity_vjp(context.get(), oracle.get(), projection, 1, theta.data(), g.data(), both.data() + theta.size()));
    count(static_cast<int64_t>(both.size()));
    return both;
  };
  // One item.
  for (float t : {3.0f, -1e-40f, 3e38f, 0.7f})
    for (float g : {1.0f, 0.3f, -1e30f}) {
      EXPECT_EQ(run(PERTURB_PROJECTION_NONE, {t}, {g}), (std::vector<float>{t, g}));
      EXPECT_EQ(run(PERTURB_PROJECTION_MEAN, {t}, {g}), (std::vector<float>{0, 0}));
      EXPECT_EQ(run(PERTURB_PROJECTION_NORM, {t}, {g}), (std::vector<float>{t < 0 ? -1.0f : 1.0f, 0}));
      EXPECT_EQ(run(PERTURB_PROJECTION_STD, {t}, {g}), (std::vector<float>{0, 0}));
    }
  // A length of 0, exactly, for constants that are no short binary fractions too.
  for (float constant : {0.0f, -0.0f, 0.1f, 1e30f, -7e-42f}) {
    const std::vector<float> theta(301, constant), zeros(602);
    std::vector<float> g(301);
    for (int i = 0; i < 301; ++i) g[i] = uniform_float(9, i, -1, 1);
    EXPECT_EQ(run(PERTURB_PROJECTION_STD, theta, g), zeros) << constant;
    if (constant == 0) {
      EXPECT_EQ(run(PERTURB_PROJECTION_NORM, theta, g), zeros);
    }
    const std::vector<float> centred = run(PERTURB_PROJECTION_MEAN, theta, g);
    EXPECT_EQ(std::vector<float>(centred.begin(), centred.begin() + 301), std::vector<float>(301)) << constant;
  }
  // The ends of float.
  EXPECT_EQ(run(PERTURB_PROJECTION_MEAN, {FLT_MAX, FLT_MAX, -FLT_MAX}, {FLT_MAX, -FLT_MAX, -FLT_MAX}),
            (std::vector<float>{FLT_MAX * (2.0f / 3), FLT_MAX * (2.0f / 3), -FLT_MAX, FLT_MAX, -FLT_MAX * (2.0f / 3), -FLT_MAX * (2.0f / 3)}));
  const std::vector<float> tiny = run(PERTURB_PROJECTION_NORM, {1e-45f, 1e-45f}, {1, -1}), large = run(PERTURB_PROJECTION_NORM, {FLT_MAX, -FLT_MAX}, {1, 1});
  for (int i = 0; i < 2; ++i) {
    EXPECT_FLOAT_EQ(tiny[i], std::sqrt(0.5f));
    EXPECT_EQ(tiny[2 + i], i ? -FLT_MAX : FLT_MAX);  // beyond float
    EXPECT_FLOAT_EQ(large[i], i ? -std::sqrt(0.5f) : std::sqrt(0.5f));
    EXPECT_TRUE(near(std::sqrt(0.5) / static_cast<double>(FLT_MAX), large[2 + i], 1e-45));  // denormal
  }
  // No rows.
  const oracle_ptr oracle = make_argmax(3);
  EXPECT_EQ(perturb_project(context.get(), oracle.get(), PERTURB_PROJECTION_STD, 0, nullptr, nullptr), PERTURB_OK);
  EXPECT_EQ(perturb_identity_vjp(context.get(), oracle.get(), PERTURB_PROJECTION_STD, 0, nullptr, nullptr, nullptr), PERTURB_OK);
}

TEST(identity, bits) {
  const context_ptr one = make_context(1);
  for (test_case c : identity_cases()) {
    if (c.n == 1000) c.batch = 300;  // worth several threads
    const prepared_case p(one.get(), c);
    for (perturb_projection projection : projections) {
      if (!has_projection(c, projection)) continue;
      const std::vector<float> expected = run_identity(one.get(), p, projection);
      for (const char* isa : {"scalar", "avx2", "avx512"})
        for (int32_t threads : {1, 3}) {
          watching_allocator allocator;
          const context_ptr context = make_context_on(isa, threads);
          if (context) {
            EXPECT_TRUE(same_bits(expected, run_identity(context.get(), p, projection))) << c.name << " " << projection << " " << isa << " " << threads;
          }
        }
      // Row by row, from a context that may not allocate.
      watching_allocator allocator;
      const context_ptr context = make_context(2, allocator.hooks());
      allocator.fail_at = allocator.calls;
      std::vector<float> rows;
      for (int64_t b = 0; b < c.batch; ++b) {
        host_memory memory;
        const std::vector<float> row = run_identity(memory, context.get(), p, projection, b, 1);
        rows.insert(rows.end(), row.begin(), row.end());
      }
      EXPECT_TRUE(same_bits(expected, rows)) << c.name << " " << projection;
      EXPECT_EQ(allocator.calls, allocator.fail_at);
    }
  }
}

// ---------------------------------------------------------------- refusals

struct refusal {
  context_ptr context = make_context(1);
  std::vector<float> theta{1, 2, 3, 4, 5, 6}, g{1, 0, 2, 0, 1, 1}, out = std::vector<float>(6);

  testing::AssertionResult operator()(perturb_status status, perturb_status expected, const char* name) {
    count();
    const std::string error = perturb_last_error();
    if (status != expected || error.find(name) == std::string::npos)
      return testing::AssertionFailure() << perturb_status_name(status) << " \"" << error << "\", expected " << perturb_status_name(expected) << " about " << name;
    return untouched(out);
  }
};

TEST(identity, arguments_are_checked) {
  refusal check;
  fill_canary(check.out);
  const oracle_ptr argmax = make_argmax(3), sort = make_sort(3), ordered = make_ordered_top_k(3, 1);
  perturb_grid_path_options grid_options = PERTURB_GRID_PATH_OPTIONS_INIT;
  grid_options.height = 1;
  grid_options.width = 3;
  grid_options.target = 2;
  const oracle_ptr grid = make_grid(grid_options), tables = make_top_k_rows(3, {1});
  perturb_custom_options custom_options = PERTURB_CUSTOM_OPTIONS_INIT;
  custom_options.n = 3;
  custom_options.m = 2;
  custom_options.solve = [](int64_t, const float*, float*, void*, void*) -> int32_t { return 1; };
  const oracle_ptr custom = make_custom(custom_options);
  const float *theta = check.theta.data(), *g = check.g.data();
  float* out = check.out.data();
  perturb_context* context = check.context.get();
  const auto invalid = PERTURB_ERROR_INVALID_ARGUMENT, unsupported = PERTURB_ERROR_UNSUPPORTED;
  const auto mean = PERTURB_PROJECTION_MEAN, norm = PERTURB_PROJECTION_NORM, std_ = PERTURB_PROJECTION_STD;
  perturb_projection wrong;
  for (int number : {-1, 4, 1 << 20}) {
    std::memcpy(&wrong, &number, sizeof number);
    EXPECT_TRUE(check(perturb_project(context, argmax.get(), wrong, 2, theta, out), invalid, "projection"));
    EXPECT_TRUE(check(perturb_identity_vjp(context, argmax.get(), wrong, 2, theta, g, out), invalid, "projection"));
  }
  EXPECT_TRUE(check(perturb_project(nullptr, argmax.get(), mean, 2, theta, out), invalid, "context"));
  EXPECT_TRUE(check(perturb_project(context, nullptr, mean, 2, theta, out), invalid, "oracle"));
  EXPECT_TRUE(check(perturb_project(context, argmax.get(), mean, -1, theta, out), invalid, "batch"));
  EXPECT_TRUE(check(perturb_project(context, argmax.get(), mean, (INT64_C(1) << 32) + 1, theta, out), invalid, "batch"));
  EXPECT_TRUE(check(perturb_project(context, tables.get(), mean, 2, theta, out), invalid, "batch"));
  EXPECT_TRUE(check(perturb_project(context, argmax.get(), mean, 2, nullptr, out), invalid, "theta"));
  EXPECT_TRUE(check(perturb_project(context, argmax.get(), mean, 2, theta, nullptr), invalid, "projected"));
  EXPECT_TRUE(check(perturb_project(context, argmax.get(), mean, 2, theta, check.theta.data() + 5), invalid, "projected: overlaps theta"));
  EXPECT_TRUE(check(perturb_project(context, argmax.get(), mean, 1, reinterpret_cast<const float*>(reinterpret_cast<const char*>(theta) + 2), out), invalid, "theta: must be aligned"));
  for (perturb_projection p : {mean, std_}) {
    EXPECT_TRUE(check(perturb_project(context, grid.get(), p, 2, theta, out), unsupported, "projection: MEAN and STD"));
    EXPECT_TRUE(check(perturb_identity_vjp(context, grid.get(), p, 2, theta, g, out), unsupported, "projection: MEAN and STD"));
  }
  EXPECT_TRUE(check(perturb_identity_vjp(nullptr, argmax.get(), norm, 2, theta, g, out), invalid, "context"));
  EXPECT_TRUE(check(perturb_identity_vjp(context, nullptr, norm, 2, theta, g, out), invalid, "oracle"));
  EXPECT_TRUE(check(perturb_identity_vjp(context, argmax.get(), norm, 2, nullptr, g, out), invalid, "theta"));
  EXPECT_TRUE(check(perturb_identity_vjp(context, argmax.get(), norm, 2, theta, nullptr, out), invalid, "cotangent"));
  EXPECT_TRUE(check(perturb_identity_vjp(context, argmax.get(), norm, 2, theta, g, nullptr), invalid, "gradient"));
  EXPECT_TRUE(check(perturb_identity_vjp(context, argmax.get(), norm, 2, theta, g, check.g.data() + 1), invalid, "gradient: overlaps cotangent"));
  for (const perturb_oracle* o : {sort.get(), ordered.get()}) EXPECT_TRUE(check(perturb_identity_vjp(context, o, norm, 1, theta, g, out), unsupported, "sort"));
  EXPECT_TRUE(check(perturb_identity_vjp(context, custom.get(), norm, 1, theta, g, out), unsupported, "m = n"));
  std::vector<int32_t> status(2, -7);
  require(perturb_context_set_row_status(context, reinterpret_cast<int32_t*>(check.theta.data()), nullptr));
  EXPECT_TRUE(check(perturb_project(context, argmax.get(), mean, 2, theta, out), invalid, "status: overlaps theta"));
  require(perturb_context_set_row_status(context, nullptr, nullptr));
  for (float value : {NAN, HUGE_VALF, -HUGE_VALF}) {
    std::vector<float> bad = check.theta;
    bad[4] = value;
    EXPECT_TRUE(check(perturb_project(context, argmax.get(), mean, 2, bad.data(), out), PERTURB_ERROR_NON_FINITE, "theta[1, 1]"));
    EXPECT_TRUE(check(perturb_identity_vjp(context, argmax.get(), norm, 2, bad.data(), g, out), PERTURB_ERROR_NON_FINITE, "theta[1, 1]"));
    EXPECT_TRUE(check(perturb_identity_vjp(context, argmax.get(), norm, 2, theta, bad.data(), out), PERTURB_ERROR_NON_FINITE, "cotangent[1, 1]"));
  }
  // Sorts and m != n have projections all the same.
  for (const perturb_oracle* o : {sort.get(), ordered.get(), custom.get(), grid.get()}) EXPECT_EQ(perturb_project(context, o, norm, 2, theta, out), PERTURB_OK);
  EXPECT_STREQ(perturb_last_error(), "");
}

TEST(identity, row_status) {
  const context_ptr reference = make_context(1), context = make_context(3);
  test_case c = case_list().argmax_case(150);
  c.batch = 400;
  prepared_case good(reference.get(), c), bad(reference.get(), c);
  bad.theta[3 * 150 + 149] = NAN;
  bad.cotangent[5 * 150] = HUGE_VALF;
  std::vector<int32_t> status(401, -7);
  std::vector<int64_t> clamped(401, -7);
  require(perturb_context_set_row_status(context.get(), status.data(), clamped.data()));
  for (perturb_projection projection : projections) {
    const std::vector<float> expected = run_identity(reference.get(), good, projection), got = run_identity(context.get(), bad, projection);
    for (int64_t i = 0; i < 400 * 300; ++i) {
      const int64_t row = i / 300;
      const bool refused = row == 3 || (row == 5 && i % 300 >= 150);
      ASSERT_TRUE(refused ? std::isnan(got[i]) : got[i] == expected[i]) << "row " << row;
    }
    for (int64_t b = 0; b < 400; ++b) {
      EXPECT_EQ(status[b], b == 3 || b == 5 ? PERTURB_ERROR_NON_FINITE : PERTURB_OK) << b;
      EXPECT_EQ(clamped[b], 0);
    }
    EXPECT_EQ(status[400], -7);
    EXPECT_EQ(clamped[400], -7);
    EXPECT_STREQ(perturb_last_error(), "");
    count(400 * 302);
  }
}

}  // namespace
}  // namespace perturb::test
