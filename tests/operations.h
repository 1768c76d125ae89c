// Every operation of a case behind one call, so that tests which only vary the context (threads, instruction set, workspace) or the
// split of rows and samples need not know the operations one by one.
#pragma once

#include <deque>
#include <span>

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
      case PERTURB_OP_VJP:
      case PERTURB_OP_JVP:
        return c.has_score();
      case PERTURB_OP_JACOBIAN:
        return c.has_score() && c.has_jacobian();
      case PERTURB_OP_FENCHEL_YOUNG:
      case PERTURB_OP_SPO_PLUS:  // needs the same of a grid
        return c.has_fenchel_young();
      case PERTURB_OP_LPGD:
      case PERTURB_OP_IMLE:
        return c.has_value();
      case PERTURB_OP_SORTED_VALUES:
      case PERTURB_OP_SORTED_VALUES_VJP:
        return c.is_sort();
      default:
        return true;
    }
  }

  // The operand of an operation, [batch, operand_width]; empty where it has none.
  int64_t operand_width(perturb_operation operation) const {
    return operation == PERTURB_OP_JVP || operation == PERTURB_OP_SPO_PLUS ? c.n : operation == PERTURB_OP_SORTED_VALUES_VJP ? c.k : c.m();
  }
  std::span<const float> operand(perturb_operation operation) const {
    const auto part = [&](const std::vector<float>& values) {
      return std::span<const float>(values).first(static_cast<size_t>(c.batch * operand_width(operation)));
    };
    switch (operation) {
      case PERTURB_OP_VJP:
      case PERTURB_OP_LPGD:
      case PERTURB_OP_IMLE:
      case PERTURB_OP_SORTED_VALUES_VJP:
        return part(cotangent);
      case PERTURB_OP_JVP:
        return part(tangent);
      case PERTURB_OP_FENCHEL_YOUNG:
        return part(target);
      case PERTURB_OP_SPO_PLUS:
        return part(theta_true);
      default:
        return {};
    }
  }
};

inline constexpr perturb_operation operations[] = {PERTURB_OP_SOLVE, PERTURB_OP_SAMPLE,   PERTURB_OP_EXPECTATION,   PERTURB_OP_VJP,
                                                   PERTURB_OP_JVP,   PERTURB_OP_JACOBIAN, PERTURB_OP_FENCHEL_YOUNG, PERTURB_OP_LPGD,
                                                   PERTURB_OP_IMLE,  PERTURB_OP_SPO_PLUS, PERTURB_OP_SORTED_VALUES, PERTURB_OP_SORTED_VALUES_VJP};
inline constexpr const char* operation_names[] = {"solve", "sample", "expectation", "vjp",           "jvp",              "jacobian", "fenchel_young",
                                                  "lpgd",  "imle",   "spo_plus",    "sorted_values", "sorted_values_vjp"};

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
  // The cost function of refusal.h in this memory, where it is another one.
  static constexpr perturb_cost middle_entry = nullptr;

 private:
  std::deque<std::vector<float>> outputs_;
};

// Points the noise's arrays, of which the call has rows [first, first + rows), to copies in `memory`.
template <class Memory>
void move_noise(Memory& memory, perturb_noise& noise, int64_t first, int64_t rows, int64_t n) {
  const int64_t of_row = noise.samples * n;
  if (noise.epsilon_per_item) noise.epsilon_per_item = memory.input(noise.epsilon_per_item, n);
  if (noise.epsilon_per_row) noise.epsilon_per_row = memory.input(noise.epsilon_per_row + first, rows);
  if (noise.z) noise.z = memory.input(noise.z + first * of_row, rows * of_row);
  if (noise.z_score) noise.z_score = memory.input(noise.z_score + first * of_row, rows * of_row);
}

// All outputs of one operation, one row after the other: [rows, floats per row]. Memory says where the arrays of the call live.
template <class Memory>
std::vector<float> run_rows(Memory& memory, perturb_context* context, const prepared_case& p, perturb_operation operation, perturb_noise noise,
                            int64_t first, int64_t rows) {
  const int64_t n = p.c.n, m = p.c.m(), M = noise.samples;
  noise.first_row += first;
  move_noise(memory, noise, first, rows, n);
  const float* theta = memory.input(p.theta.data() + first * n, rows * n);
  const auto operand = [&] {
    const int64_t width = p.operand_width(operation);
    return memory.input(p.operand(operation).data() + first * width, rows * width);
  };
  const perturb_oracle* oracle = p.oracle.get();
  std::vector<int64_t> widths;
  const auto output = [&](int64_t width) {
    widths.push_back(width);
    return memory.output(rows * width);
  };
  switch (operation) {
    case PERTURB_OP_SOLVE: {
      float *y = output(m), *value = p.c.has_value() ? output(1) : nullptr;
      require(perturb_solve(context, oracle, rows, theta, y, value));
      break;
    }
    case PERTURB_OP_SAMPLE:
      require(perturb_sample(context, oracle, &noise, rows, theta, output(M * m)));
      break;
    case PERTURB_OP_EXPECTATION: {
      const bool errors = p.c.has_std_errors(), values = p.c.has_value();
      float *y = output(m), *y_error = errors ? output(m) : nullptr;
      float *value = values ? output(1) : nullptr, *value_error = values && errors ? output(1) : nullptr;
      require(perturb_expectation(context, oracle, &noise, rows, theta, y, y_error, value, value_error));
      break;
    }
    case PERTURB_OP_VJP:
      require(perturb_vjp(context, oracle, &noise, rows, theta, operand(), output(n)));
      break;
    case PERTURB_OP_JVP:
      require(perturb_jvp(context, oracle, &noise, rows, theta, operand(), output(m)));
      break;
    case PERTURB_OP_JACOBIAN:
      require(perturb_jacobian(context, oracle, &noise, rows, theta, output(m * n)));
      break;
    case PERTURB_OP_FENCHEL_YOUNG: {
      float *loss = output(1), *gradient = output(n), *eps = output(1);
      require(perturb_fenchel_young(context, oracle, &noise, rows, theta, operand(), loss, gradient, eps));
      break;
    }
    case PERTURB_OP_LPGD: {
      const perturb_lpgd_options options = make_lpgd(p.c, operation);
      require(perturb_lpgd(context, oracle, &options, rows, theta, operand(), output(n)));
      break;
    }
    case PERTURB_OP_IMLE: {
      const perturb_lpgd_options options = make_lpgd(p.c, operation);
      require(perturb_imle(context, oracle, &noise, &options, rows, theta, operand(), output(n)));
      break;
    }
    case PERTURB_OP_SPO_PLUS: {
      float *loss = output(1), *gradient = output(n);
      require(perturb_spo_plus(context, oracle, rows, theta, operand(), loss, gradient));
      break;
    }
    case PERTURB_OP_SORTED_VALUES: {
      float *values = output(p.c.k), *error = p.c.has_std_errors() ? output(p.c.k) : nullptr;
      require(perturb_sorted_values(context, oracle, &noise, rows, theta, values, error));
      break;
    }
    case PERTURB_OP_SORTED_VALUES_VJP:
      require(perturb_sorted_values_vjp(context, oracle, &noise, rows, theta, operand(), output(n)));
      break;
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
