// Every estimator of one row in double precision, from given noise z [M, n] and solutions y [M, m], straight from the formulas in
// perturb.h ("noise injection": nothing here is random, so the comparison needs no statistics). Each result carries the natural scale
// of its rounding error: sums of absolute values over samples, roots of sums of squares over items, a noise score counting as at least
// 1 and a coefficient as at least the baseline (the library adds scores and baselines in fixed point).
#pragma once

#include <cmath>

#include "grid_path.h"
#include "noise.h"

namespace perturb::test::reference {

struct quantity {
  std::vector<double> value, scale;
  explicit quantity(size_t size = 0) : value(size), scale(size) {}
};

struct row_estimates {
  quantity y_mean, y_std_error, value, value_std_error, vjp, jvp, jacobian, loss, loss_gradient, loss_epsilon_gradient;
};

struct row_inputs {
  const test_case& c;
  const std::vector<float>& eps;      // eps_i, from item_epsilons()
  const std::vector<float>& factors;  // d eps_i / d epsilon, or empty: 1
  const grid* map = nullptr;          // grids only
  const float *theta, *z, *y, *star, *cotangent, *tangent, *target;  // star: the solution without noise
  bool with_jacobian = false;
};

// The value of each sample is <y, s>, and for a grid the least path cost itself.
inline row_estimates estimate(const row_inputs& in) {
  const test_case& c = in.c;
  const size_t n = c.n, entries = c.m(), samples = c.samples;  // entries: of y
  const double count = static_cast<double>(samples);
  const bool mean_baseline = c.baseline == PERTURB_BASELINE_LEAVE_ONE_OUT && samples > 1 && c.sampling == PERTURB_SAMPLING_IID;
  const double divisor = mean_baseline ? count - 1 : count;
  const double sigma = c.minimizes() && c.mode == PERTURB_ADDITIVE ? -1 : 1;
  const bool multiplicative = c.mode == PERTURB_MULTIPLICATIVE;
  row_estimates out;

  // 1 / eps_i, or 0 for items that are not perturbed (eps 0, theta 0 under multiplicative noise, walls).
  std::vector<double> inverse(n, 0.0);
  for (size_t i = 0; i < n; ++i) {
    const double divide = multiplicative ? static_cast<double>(in.eps[i]) * in.theta[i] : in.eps[i];
    if (in.eps[i] == 0 || divide == 0 || (in.map && !in.map->passable[i])) continue;
    inverse[i] = 1 / divide;
  }

  // Per sample: perturbed scores, value, <g, y>, <u/eps, S>, loss, derivative of the loss in epsilon.
  std::vector<double> value(samples), value_scale(samples), r(samples), r_scale(samples), w(samples), w_scale(samples), s(n);
  double largest_cotangent = 0;
  for (size_t i = 0; i < entries; ++i) largest_cotangent = std::max(largest_cotangent, std::abs(static_cast<double>(in.cotangent[i])));
  double loss = 0, loss_scale = 0, loss_eps = 0, loss_eps_scale = 0;
  quantity weighted(n);  // mean W (y - t)
  for (size_t m = 0; m < samples; ++m) {
    const float *z = in.z + m * n, *y = in.y + m * entries;
    double inner = 0, inner_squares = 0, target_inner = 0, target_squares = 0, y_squares = 0, u_squares = 0, eps_squares = 0, eps_term = 0;
    for (size_t i = 0; i < entries; ++i) {
      r[m] += static_cast<double>(in.cotangent[i]) * y[i];
      y_squares += static_cast<double>(y[i]) * y[i];
    }
    for (size_t i = 0; i < n; ++i) {
      const double scaled = in.tangent[i] * inverse[i] * score(c.distribution, z[i]);
      w[m] += scaled;
      u_squares += scaled * scaled;
    }
    r_scale[m] = largest_cotangent * std::sqrt(y_squares);
    w_scale[m] = std::sqrt(u_squares);
    if (!c.has_value()) continue;
    for (size_t i = 0; i < n; ++i) {
      const bool wall = in.map && !in.map->passable[i];
      s[i] = wall ? 0 : perturbed(c, in.theta[i], in.eps[i], z[i]);
      const bool clamped = in.map && !wall && s[i] < c.cost_floor;  // such a cost does not move with epsilon
      if (clamped) s[i] = c.cost_floor;
      inner += y[i] * s[i];
      inner_squares += y[i] * s[i] * y[i] * s[i];
      target_inner += in.target[i] * s[i];
      target_squares += in.target[i] * s[i] * in.target[i] * s[i];
      const double eps = in.eps[i], factor = in.factors.empty() ? 1.0 : in.factors[i];
      // d s_i / d epsilon, without the sign of a minimising oracle's additive noise (it cancels against the negated loss)
      const double slope = wall || clamped  ? 0
                           : multiplicative ? (eps == 0 ? in.theta[i] * factor * z[i] : s[i] * factor * (z[i] - eps))
                                            : factor * z[i];
      eps_term += (y[i] - in.target[i]) * slope;
      eps_squares +=
          (std::abs(y[i]) + std::abs(in.target[i])) * std::abs(slope) * (std::abs(y[i]) + std::abs(in.target[i])) * std::abs(slope);
      const double weight_i = eps == 0 ? 1.0 : weight(c, eps, z[i]);
      weighted.value[i] += weight_i * (y[i] - in.target[i]) / count;
      weighted.scale[i] += weight_i * (std::abs(y[i]) + std::abs(in.target[i])) / count;
    }
    value[m] = inner;
    value_scale[m] = std::sqrt(inner_squares);
    if (in.map) {
      const auto steps = make_steps(*in.map, s);
      const std::vector<double> distance = distances(*in.map, steps);
      value[m] = distance[nearest_target(*in.map, distance)];
      value_scale[m] = 4 * value[m];  // the header promises 2e-5 relative, the others are compared at 1e-5
    }
    loss += c.fenchel_young_sign() * (inner - target_inner) / count;
    loss_scale += ((in.map ? 4 : 1) * std::sqrt(inner_squares) + std::sqrt(target_squares)) / count;
    loss_eps += (c.minimizes() && !multiplicative ? 1 : c.fenchel_young_sign()) * eps_term / count;
    loss_eps_scale += std::sqrt(eps_squares) / count;
  }

  // Means and standard errors.
  out.y_mean = out.y_std_error = quantity(entries);
  for (size_t i = 0; i < entries; ++i) {
    double sum = 0, squares = 0;
    for (size_t m = 0; m < samples; ++m) sum += in.y[m * entries + i];
    const double mean = sum / count;
    for (size_t m = 0; m < samples; ++m) squares += (in.y[m * entries + i] - mean) * (in.y[m * entries + i] - mean);
    out.y_mean.value[i] = mean;
    out.y_mean.scale[i] = std::abs(mean);
    out.y_std_error.value[i] = samples == 1 ? HUGE_VAL : std::sqrt(squares / (count - 1) / count);
    out.y_std_error.scale[i] = samples == 1 ? 1 : out.y_std_error.value[i];
  }
  out.value = out.value_std_error = quantity(1);
  double mean_scale = 0, squares = 0;
  for (size_t m = 0; m < samples; ++m) {
    out.value.value[0] += value[m] / count;
    mean_scale += value_scale[m] / count;
  }
  for (size_t m = 0; m < samples; ++m) squares += (value[m] - out.value.value[0]) * (value[m] - out.value.value[0]);
  out.value.scale[0] = mean_scale;
  out.value_std_error.value[0] = samples == 1 ? HUGE_VAL : std::sqrt(squares / (count - 1) / count);
  out.value_std_error.scale[0] = samples == 1 ? 1 : out.value_std_error.value[0] + mean_scale / std::sqrt(count);

  // Derivatives.
  const bool unperturbed = c.baseline == PERTURB_BASELINE_UNPERTURBED;
  double r_mean = 0;
  for (size_t m = 0; m < samples && mean_baseline; ++m) r_mean += r[m] / count;
  for (size_t i = 0; i < entries && unperturbed; ++i) r_mean += static_cast<double>(in.cotangent[i]) * in.star[i];
  const auto baseline_of = [&](size_t i) { return mean_baseline ? out.y_mean.value[i] : unperturbed ? in.star[i] : 0.0; };
  out.vjp = quantity(n);
  out.jvp = quantity(entries);
  for (size_t m = 0; m < samples; ++m) {
    for (size_t i = 0; i < n; ++i) {
      const double S = score(c.distribution, in.z[m * n + i]);
      out.vjp.value[i] += sigma * (r[m] - r_mean) * S * inverse[i] / divisor;
      out.vjp.scale[i] += r_scale[m] * std::max(1.0, std::abs(S)) * std::abs(inverse[i]) / divisor;
    }
    for (size_t i = 0; i < entries; ++i) {
      const double b = baseline_of(i), y = in.y[m * entries + i];
      out.jvp.value[i] += sigma * (y - b) * w[m] / divisor;
      out.jvp.scale[i] += std::max({y, out.y_mean.value[i], b, 1e-6}) * w_scale[m] / divisor;
    }
  }
  if (in.with_jacobian) {
    out.jacobian = quantity(entries * n);
    for (size_t m = 0; m < samples; ++m)
      for (size_t i = 0; i < entries; ++i) {
        const double b = baseline_of(i), y = in.y[m * entries + i];
        for (size_t j = 0; j < n; ++j) {
          const double S = score(c.distribution, in.z[m * n + j]);
          out.jacobian.value[i * n + j] += sigma * (y - b) * S * inverse[j] / divisor;
          out.jacobian.scale[i * n + j] += std::max({y, b, 1e-6}) * std::max(1.0, std::abs(S)) * std::abs(inverse[j]) / divisor;
        }
      }
  }

  if (!c.has_value()) return out;

  // Fenchel-Young.
  out.loss = out.loss_epsilon_gradient = quantity(1);
  out.loss.value[0] = loss;
  out.loss.scale[0] = loss_scale;
  out.loss_epsilon_gradient.value[0] = loss_eps;
  out.loss_epsilon_gradient.scale[0] = loss_eps_scale;
  out.loss_gradient = quantity(n);
  for (size_t i = 0; i < n; ++i) {
    const double plain = out.y_mean.value[i] - in.target[i];
    out.loss_gradient.value[i] = c.fenchel_young_sign() * (multiplicative ? weighted.value[i] : plain);
    out.loss_gradient.scale[i] = multiplicative ? weighted.scale[i] : std::abs(out.y_mean.value[i]) + std::abs(in.target[i]);
  }
  return out;
}

}  // namespace perturb::test::reference
