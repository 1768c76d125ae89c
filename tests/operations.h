// Every operation of a case behind one call, so that tests which only vary the context (threads, instruction set, workspace) or the
// split of rows and samples need not know the operations one by one.
#pragma once

#include "cases.h"

namespace perturb::test {

// One case with all the arrays its operations take; rows [first, first + count) of it can be run alone.
struct prepared_case {
  test_case c;
  oracle_ptr oracle;
  std::vector<float> theta, factors, cotangent, tangent, target;

  prepared_case(perturb_context* context, const test_case& of)
      : c(of),
        oracle(make_oracle(of)),
        theta(make_theta(of)),
        factors(make_factors(of)),
        cotangent(make_cotangent(of)),
        tangent(make_tangent(of)),
        target(make_target(context, oracle.get(), of)) {}

  bool has(perturb_operation operation) const {
    switch (operation) {
      case PERTURB_OP_JACOBIAN:
        return c.has_jacobian();
      case PERTURB_OP_FENCHEL_YOUNG:
        return c.has_fenchel_young();
      case PERTURB_OP_LPGD:
      case PERTURB_OP_IMLE:
      case PERTURB_OP_SPO_PLUS:
        return false;
      default:
        return true;
    }
  }
};

inline constexpr perturb_operation operations[] = {PERTURB_OP_SOLVE, PERTURB_OP_SAMPLE,   PERTURB_OP_EXPECTATION,  PERTURB_OP_VJP,
                                                   PERTURB_OP_JVP,   PERTURB_OP_JACOBIAN, PERTURB_OP_FENCHEL_YOUNG};
inline constexpr const char* operation_names[] = {"solve", "sample", "expectation", "vjp", "jvp", "jacobian", "fenchel_young"};

// All outputs of one operation, one row after the other: [rows, floats per row].
inline std::vector<float> run_rows(perturb_context* context, const prepared_case& p, perturb_operation operation, perturb_noise noise,
                                   int64_t first, int64_t rows) {
  const int64_t n = p.c.n, M = noise.samples;
  noise.first_row += first;
  const float* theta = p.theta.data() + first * n;
  const float* cotangent = p.cotangent.data() + first * n;
  const float* tangent = p.tangent.data() + first * n;
  const float* target = p.target.data() + first * n;
  const perturb_oracle* oracle = p.oracle.get();
  // Outputs of a call, each [rows, width]; joined row by row below.
  std::vector<std::pair<std::vector<float>, int64_t>> parts;
  const auto output = [&](int64_t width) { return parts.emplace_back(std::vector<float>(rows * width), width).first.data(); };
  parts.reserve(4);
  switch (operation) {
    case PERTURB_OP_SOLVE: {
      float *y = output(n), *value = output(1);
      require(perturb_solve(context, oracle, rows, theta, y, value));
      break;
    }
    case PERTURB_OP_SAMPLE:
      require(perturb_sample(context, oracle, &noise, rows, theta, output(M * n)));
      break;
    case PERTURB_OP_EXPECTATION: {
      float *y = output(n), *y_error = output(n), *value = output(1), *value_error = output(1);
      require(perturb_expectation(context, oracle, &noise, rows, theta, y, y_error, value, value_error));
      break;
    }
    case PERTURB_OP_VJP:
      require(perturb_vjp(context, oracle, &noise, rows, theta, cotangent, output(n)));
      break;
    case PERTURB_OP_JVP:
      require(perturb_jvp(context, oracle, &noise, rows, theta, tangent, output(n)));
      break;
    case PERTURB_OP_JACOBIAN:
      require(perturb_jacobian(context, oracle, &noise, rows, theta, output(n * n)));
      break;
    case PERTURB_OP_FENCHEL_YOUNG: {
      float *loss = output(1), *gradient = output(n), *eps = output(1);
      require(perturb_fenchel_young(context, oracle, &noise, rows, theta, target, loss, gradient, eps));
      break;
    }
    default:
      throw std::logic_error("no such operation");
  }
  std::vector<float> joined;
  for (int64_t b = 0; b < rows; ++b)
    for (const auto& [values, width] : parts) joined.insert(joined.end(), values.begin() + b * width, values.begin() + (b + 1) * width);
  return joined;
}

inline std::vector<float> run_all(perturb_context* context, const prepared_case& p, perturb_operation operation) {
  return run_rows(context, p, operation, make_noise(p.c, p.factors), 0, p.c.batch);
}

}  // namespace perturb::test
