// The comparators of the test suite. Each returns an AssertionResult that names the first difference, and counts what it compared;
// test_checkers.cpp shows that each rejects a planted bug.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "support.h"

namespace perturb::test {

// Equal as bits: -0 differs from +0, a NaN equals the same NaN.
inline testing::AssertionResult same_bits(const std::vector<float>& expected, const std::vector<float>& actual) {
  if (expected.size() != actual.size())
    return testing::AssertionFailure() << "sizes differ: " << expected.size() << " and " << actual.size();
  count(static_cast<int64_t>(expected.size()));
  if (expected.empty() || std::memcmp(expected.data(), actual.data(), expected.size() * sizeof(float)) == 0)
    return testing::AssertionSuccess();
  for (size_t i = 0; i < expected.size(); ++i) {
    const uint32_t a = std::bit_cast<uint32_t>(expected[i]), b = std::bit_cast<uint32_t>(actual[i]);
    if (a != b)
      return testing::AssertionFailure() << "entry " << i << " of " << expected.size() << ": " << expected[i] << " (0x" << std::hex << a
                                         << ") and " << actual[i] << " (0x" << b << ")";
  }
  return testing::AssertionFailure() << "memcmp differs";
}

// |actual_i - expected_i| <= tolerance_i for every i; an infinite expectation must be met exactly, a NaN never passes.
inline testing::AssertionResult all_near(const std::vector<double>& expected, const std::vector<float>& actual,
                                         const std::vector<double>& tolerance) {
  if (expected.size() != actual.size() || expected.size() != tolerance.size())
    return testing::AssertionFailure() << "sizes differ: " << expected.size() << ", " << actual.size() << ", " << tolerance.size();
  count(static_cast<int64_t>(expected.size()));
  for (size_t i = 0; i < expected.size(); ++i) {
    const double a = actual[i];
    const bool fine = std::isinf(expected[i]) ? a == expected[i] : std::abs(a - expected[i]) <= tolerance[i];
    if (!fine)
      return testing::AssertionFailure() << "entry " << i << " of " << expected.size() << ": expected " << expected[i] << ", got " << a
                                         << ", tolerance " << tolerance[i];
  }
  return testing::AssertionSuccess();
}
inline testing::AssertionResult all_near(const std::vector<double>& expected, const std::vector<float>& actual, double tolerance) {
  return all_near(expected, actual, std::vector<double>(expected.size(), tolerance));
}
inline testing::AssertionResult near(double expected, double actual, double tolerance) {
  count();
  if (std::abs(actual - expected) <= tolerance) return testing::AssertionSuccess();
  return testing::AssertionFailure() << "expected " << expected << ", got " << actual << ", tolerance " << tolerance;
}

// Within one unit in the last place of the correctly rounded value.
inline testing::AssertionResult all_within_one_ulp(const std::vector<double>& expected, const std::vector<float>& actual) {
  std::vector<double> tolerance(expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    const float rounded = std::abs(static_cast<float>(expected[i]));
    tolerance[i] = static_cast<double>(std::nextafter(rounded, std::numeric_limits<float>::infinity())) - rounded;
  }
  return all_near(expected, actual, tolerance);
}

// The statistical gate: within five exact standard errors. Rounding of a float result is allowed on top (2^-22 relative); an entry
// whose standard error is 0 is deterministic and must agree to that rounding.
constexpr double gate_sigmas = 5;
inline testing::AssertionResult within_errors(double expected, double actual, double standard_error, double sigmas = gate_sigmas) {
  count();
  const double tolerance = sigmas * standard_error + 0x1p-22 * std::abs(expected) + 1e-12;
  if (std::abs(actual - expected) <= tolerance) return testing::AssertionSuccess();
  return testing::AssertionFailure() << "expected " << expected << ", got " << actual << ", off by "
                                     << (actual - expected) / (standard_error > 0 ? standard_error : 1) << " standard errors of "
                                     << standard_error;
}
inline testing::AssertionResult all_within_errors(const std::vector<double>& expected, const std::vector<float>& actual,
                                                  const std::vector<double>& standard_error) {
  if (expected.size() != actual.size() || expected.size() != standard_error.size())
    return testing::AssertionFailure() << "sizes differ: " << expected.size() << ", " << actual.size() << ", " << standard_error.size();
  for (size_t i = 0; i < expected.size(); ++i) {
    const testing::AssertionResult one = within_errors(expected[i], actual[i], standard_error[i]);
    if (!one) return testing::AssertionFailure() << "entry " << i << ": " << one.message();
  }
  return testing::AssertionSuccess();
}

// Every entry still holds the canary that fill_canary wrote: a call that failed has written nothing.
constexpr uint32_t canary_word = 0x7fdecafeu;
inline void fill_canary(std::vector<float>& values) {
  for (float& value : values) std::memcpy(&value, &canary_word, sizeof value);
}
inline testing::AssertionResult untouched(const std::vector<float>& values) {
  count(static_cast<int64_t>(values.size()));
  for (size_t i = 0; i < values.size(); ++i) {
    uint32_t word;
    std::memcpy(&word, &values[i], sizeof word);
    if (word != canary_word) return testing::AssertionFailure() << "entry " << i << " of " << values.size() << " was written";
  }
  return testing::AssertionSuccess();
}

}  // namespace perturb::test
