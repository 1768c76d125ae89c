// Checks of what a call's arrays hold, in host memory: finite, and in range however they are perturbed or shifted.
#include <cinttypes>
#include <cmath>
#include <cstring>

#include "check.h"
#include "error.h"

namespace perturb {
namespace {

// The largest magnitude as the bits of a float, those of NaN and infinity being the largest; of items that count, or all (null). Integers, so that
// the compiler makes vectors of the loop: it may not reorder a sum of floats.
int32_t largest_bits(const float* x, int64_t count, const uint8_t* passable) {
  int32_t largest = 0;
  for (int64_t i = 0; i < count; ++i) {
    int32_t bits;
    std::memcpy(&bits, x + i, sizeof bits);
    bits &= passable && !passable[i] ? 0 : INT32_MAX;
    largest = bits > largest ? bits : largest;
  }
  return largest;
}
constexpr int32_t infinity_bits = 0x7f800000;

double magnitude_of_bits(int32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

const uint8_t* passable_of(const call& c) { return c.oracle->grid ? c.oracle->grid->counted() : nullptr; }

double largest_item_factor(const call& c) { return c.epsilon_per_item ? magnitude_of_bits(largest_bits(c.epsilon_per_item, c.n(), passable_of(c))) : 1.0; }

// No shifted input leaves the range of float.
perturb_status check_resolve(const call& c) {
  const double largest_factor = largest_item_factor(c);
  for (int64_t b = 0; b < c.batch; ++b) {
    const double reach = c.operation == PERTURB_OP_IMLE && !c.multiplicative ? perturbation_reach(c.noise, c.row_epsilon(b)) : 0.0;
    const float tau = c.tau(b);
    const auto largest = [&](const float* rows) { return magnitude_of_bits(largest_bits(rows + b * c.n(), c.n(), passable_of(c))); };
    if (resolve_fits(c.operation, c.resolve, tau, c.oracle->kind, c.n(), largest(c.theta), largest(c.operand), largest_factor * reach)) continue;
    for (int64_t i = 0; i < c.n(); ++i) {
      if (!c.counts(i)) continue;
      const float theta = c.theta[b * c.n() + i], operand = c.operand[b * c.n() + i];
      const double factor = c.epsilon_per_item ? c.epsilon_per_item[i] : 1.0;
      if (resolve_fits(c.operation, c.resolve, tau, c.oracle->kind, c.n(), theta, operand, factor * reach)) continue;
      if (c.operation == PERTURB_OP_SPO_PLUS)
        return fail(PERTURB_ERROR_INVALID_ARGUMENT, "theta_true[%" PRId64 ", %" PRId64 "]: 2 theta - theta_true = 2 * %g - %g leaves the range of float", b, i, (double)theta,
                    (double)operand);
      return fail(PERTURB_ERROR_INVALID_ARGUMENT, "cotangent[%" PRId64 ", %" PRId64 "]: theta %g shifted by tau %g times %g (and rho %g) can leave the range of float", b, i,
                  (double)theta, (double)tau, (double)operand, (double)c.resolve.rho);
    }
  }
  return PERTURB_OK;
}

// theta's walls may hold anything.
perturb_status check_theta(const call& c) {
  const int64_t n = c.n();
  const uint8_t* passable = passable_of(c);
  const double largest_factor = largest_item_factor(c);
  for (int64_t b = 0; b < c.batch; ++b) {
    const float epsilon = c.row_epsilon(b);
    const double reach = perturbation_reach(c.noise, epsilon);
    const float* theta = c.theta + b * n;
    const int32_t largest = largest_bits(theta, n, passable);
    if (largest >= infinity_bits) {
      int64_t i = 0;
      while (std::isfinite(theta[i]) || (passable && !passable[i])) ++i;
      return fail(PERTURB_ERROR_NON_FINITE, "theta[%" PRId64 ", %" PRId64 "]: expected a finite number, got %g", b, i, (double)theta[i]);
    }
    if (c.multiplicative || epsilon == 0.0f || magnitude_of_bits(largest) + largest_factor * reach <= (double)FLT_MAX) continue;
    for (int64_t i = 0; i < n; ++i) {
      if (passable && !passable[i]) continue;
      const double factor = c.epsilon_per_item ? c.epsilon_per_item[i] : 1.0;
      if (magnitude(theta[i]) + factor * reach > (double)FLT_MAX)
        return fail(PERTURB_ERROR_INVALID_ARGUMENT, "theta[%" PRId64 ", %" PRId64 "]: %g with epsilon %g can leave the range of float", b, i, (double)theta[i],
                    (double)epsilon * factor);
    }
  }
  return PERTURB_OK;
}

// Given noise, or its scores.
perturb_status check_given(const char* name, const float* values, float limit, const call& c) {
  const int64_t count = c.batch * c.samples * c.n();
  for (int64_t i = 0; i < count; ++i) {
    if (std::fabs(values[i]) <= limit) continue;
    const int64_t problem = i / c.n();
    return fail(std::isfinite(values[i]) ? PERTURB_ERROR_INVALID_ARGUMENT : PERTURB_ERROR_NON_FINITE,
                "%s[%" PRId64 ", %" PRId64 ", %" PRId64 "]: expected at most %g in magnitude, got %g", name, problem / c.samples, problem % c.samples, i % c.n(), (double)limit,
                (double)values[i]);
  }
  return PERTURB_OK;
}

}  // namespace

int64_t first_non_finite(const float* x, int64_t count) {
  constexpr int64_t block = 4096;
  for (int64_t i0 = 0; i0 < count; i0 += block) {
    const int64_t end = i0 + block < count ? i0 + block : count;
    if (largest_bits(x + i0, end - i0, nullptr) < infinity_bits) continue;
    for (int64_t i = i0; i < end; ++i)
      if (!std::isfinite(x[i])) return i;
  }
  return count;
}

perturb_status check_contents(const call& c) {
  if (c.z) {
    if (const perturb_status s = check_given("noise.z", c.z, given_noise_limit, c)) return s;
  }
  if (c.z_score) {
    if (const perturb_status s = check_given("noise.z_score", c.z_score, given_score_limit, c)) return s;
  }
  if (const perturb_status s = check_theta(c)) return s;
  if (c.operand) {
    const int64_t width = operand_width(c), operand_count = c.batch * width;
    const bool walls = c.operation == PERTURB_OP_SPO_PLUS && c.oracle->grid;  // another theta: they may hold anything
    for (int64_t i = first_non_finite(c.operand, operand_count); i < operand_count; i += 1 + first_non_finite(c.operand + i + 1, operand_count - i - 1)) {
      if (walls && !c.counts(i % width)) continue;
      return fail(PERTURB_ERROR_NON_FINITE, "%s[%" PRId64 ", %" PRId64 "]: expected a finite number, got %g", operand_name(c.operation), i / width, i % width, (double)c.operand[i]);
    }
    if (resolves(c.operation)) return check_resolve(c);
    if (c.operation == PERTURB_OP_FENCHEL_YOUNG) {
      for (int64_t i = 0; i < operand_count; ++i)
        if (std::fabs(c.operand[i]) > 0x1p31f)
          return fail(PERTURB_ERROR_INVALID_ARGUMENT, "target[%" PRId64 ", %" PRId64 "]: expected at most 2^31 in magnitude, got %g", i / width, i % width, (double)c.operand[i]);
    }
  }
  return PERTURB_OK;
}

}  // namespace perturb
