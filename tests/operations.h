// Every operation of a case behind one call, so that tests which only vary the context (threads, instruction set, workspace) or the
// split of rows and samples need not know the operations one by one.
#pragma once

#include <deque>

#include "cases.h"

namespace perturb::test {

// One case with all the arrays its operations take; rows [first, first + count) of it can be run alone.
struct prepared_case {
  test_case c;
  oracle_ptr oracle;
  std::vector<float> theta, factors, cotangent, tangent, target, theta_true;

  prepared_case(perturb_context* context, const test_case& of)
      : c(of),
        oracle(make_oracle(of)),
        theta(make_theta(of)),
        factors(make_factors(of)),
        cotangent(make_cotangent(of)),
        tangent(make_tangent(of)),
        target(make_target(context, oracle.get(), of)),
        theta_true(make_theta_true(of)) {}

  bool has(perturb_operation operation) const {
    switch (operation) {
      case PERTURB_OP_JACOBIAN:
        return c.has_jacobian();
      case PERTURB_OP_FENCHEL_YOUNG:
      case PERTURB_OP_SPO_PLUS:  // needs the same of a grid
        return c.has_fenchel_young();
      default:
        return true;
    }
  }
};

inline constexpr perturb_operation operations[] = {PERTURB_OP_SOLVE, PERTURB_OP_SAMPLE,   PERTURB_OP_EXPECTATION,   PERTURB_OP_VJP,
                                                   PERTURB_OP_JVP,   PERTURB_OP_JACOBIAN, PERTURB_OP_FENCHEL_YOUNG, PERTURB_OP_LPGD,
                                                   PERTURB_OP_IMLE,  PERTURB_OP_SPO_PLUS};
inline constexpr const char* operation_names[] = {"solve",    "sample",        "expectation", "vjp",  "jvp",
                                                  "jacobian", "fenchel_young", "lpgd",        "imle", "spo_plus"};

// The arrays of a call on a CPU context: inputs as they are, outputs in vectors.
class host_memory {
 public:
  const float* input(const float* values, int64_t) { return values; }
  float* output(int64_t count) {
    outputs_.emplace_back(count);
    return outputs_.back().data();
  }
  // Output number i, after the call.
  std::vector<float> result(size_t i) { return outputs_[i]; }

 private:
  std::deque<std::vector<float>> outputs_;
};

// All outputs of one operation, one row after the other: [rows, floats per row]. Memory says where the arrays of the call live.
template <class Memory>
std::vector<float> run_rows(Memory& memory, perturb_context* context, const prepared_case& p, perturb_operation operation, perturb_noise noise,
                            int64_t first, int64_t rows) {
  const int64_t n = p.c.n, M = noise.samples;
  noise.first_row += first;
  if (noise.epsilon_per_item) noise.epsilon_per_item = memory.input(noise.epsilon_per_item, n);
  const float* theta = memory.input(p.theta.data() + first * n, rows * n);
  const auto operand = [&](const std::vector<float>& values) { return memory.input(values.data() + first * n, rows * n); };
  const perturb_oracle* oracle = p.oracle.get();
  std::vector<int64_t> widths;
  const auto output = [&](int64_t width) {
    widths.push_back(width);
    return memory.output(rows * width);
  };
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
      const bool errors = p.c.has_std_errors();
      float *y = output(n), *y_error = errors ? output(n) : nullptr, *value = output(1), *value_error = errors ? output(1) : nullptr;
      require(perturb_expectation(context, oracle, &noise, rows, theta, y, y_error, value, value_error));
      break;
    }
    case PERTURB_OP_VJP:
      require(perturb_vjp(context, oracle, &noise, rows, theta, operand(p.cotangent), output(n)));
      break;
    case PERTURB_OP_JVP:
      require(perturb_jvp(context, oracle, &noise, rows, theta, operand(p.tangent), output(n)));
      break;
    case PERTURB_OP_JACOBIAN:
      require(perturb_jacobian(context, oracle, &noise, rows, theta, output(n * n)));
      break;
    case PERTURB_OP_FENCHEL_YOUNG: {
      float *loss = output(1), *gradient = output(n), *eps = output(1);
      require(perturb_fenchel_young(context, oracle, &noise, rows, theta, operand(p.target), loss, gradient, eps));
      break;
    }
    case PERTURB_OP_LPGD: {
      const perturb_lpgd_options options = make_lpgd(p.c, operation);
      require(perturb_lpgd(context, oracle, &options, rows, theta, operand(p.cotangent), output(n)));
      break;
    }
    case PERTURB_OP_IMLE: {
      const perturb_lpgd_options options = make_lpgd(p.c, operation);
      require(perturb_imle(context, oracle, &noise, &options, rows, theta, operand(p.cotangent), output(n)));
      break;
    }
    case PERTURB_OP_SPO_PLUS: {
      float *loss = output(1), *gradient = output(n);
      require(perturb_spo_plus(context, oracle, rows, theta, operand(p.theta_true), loss, gradient));
      break;
    }
    default:
      throw std::logic_error("no such operation");
  }
  std::vector<std::vector<float>> parts;
  for (size_t i = 0; i < widths.size(); ++i) parts.push_back(memory.result(i));
  std::vector<float> joined;
  for (int64_t b = 0; b < rows; ++b)
    for (size_t i = 0; i < widths.size(); ++i)
      joined.insert(joined.end(), parts[i].begin() + b * widths[i], parts[i].begin() + (b + 1) * widths[i]);
  return joined;
}

inline std::vector<float> run_rows(perturb_context* context, const prepared_case& p, perturb_operation operation, const perturb_noise& noise,
                                   int64_t first, int64_t rows) {
  host_memory memory;
  return run_rows(memory, context, p, operation, noise, first, rows);
}

inline std::vector<float> run_all(perturb_context* context, const prepared_case& p, perturb_operation operation) {
  return run_rows(context, p, operation, make_noise(p.c, p.factors), 0, p.c.batch);
}

}  // namespace perturb::test
