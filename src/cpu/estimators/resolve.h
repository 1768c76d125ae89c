// LPGD, I-MLE and SPO+: the difference of the solutions at two inputs (math/resolve.h), without noise or with the same noise on both.
//
// Words: sums of y at the first input less those at the second [m].
#pragma once

#include "cpu/engine.h"
#include "math/resolve.h"

namespace perturb {

template <class Sampler>
struct resolve_estimator {
  static constexpr bool looks_up_noise = false;
  static PERTURB_INLINE int64_t words(const call& c) { return c.m(); }

  PERTURB_INLINE resolve_estimator(const call& c, arena& a) {
    input_ = a.take<float>(c.n());
    if (c.operation == PERTURB_OP_LPGD) solution_ = a.take<int32_t>(c.m());
  }

  PERTURB_INLINE void begin_row(Sampler& sampler) { tau_ = sampler.problem().tau(sampler.row().b); }

  // Not with rho: where the solutions are kept near y*, its solve comes first.
  PERTURB_INLINE void stage(Sampler& sampler) {
    const call& c = sampler.problem();
    begin_row(sampler);
    const resolve_pair pair = inputs_of(c.operation, c.resolve.side);
    for (const resolve_input input : {pair.minuend, pair.subtrahend}) {
      begin_input(sampler, input);
      for (int64_t m = 0; m < c.samples; ++m) sampler.stage(m, c.operation != PERTURB_OP_IMLE);
    }
  }

  PERTURB_INLINE void accumulate(Sampler& sampler, int64_t first, int64_t last, partial_sum& sum) {
    const call& c = sampler.problem();
    if (c.operation == PERTURB_OP_LPGD && c.resolve.rho != 0.0f) keep_solution(sampler);
    const resolve_pair pair = inputs_of(c.operation, c.resolve.side);
    add(sampler, pair.minuend, 1, first, last, sum);
    add(sampler, pair.subtrahend, -1, first, last, sum);
  }

  PERTURB_NOINLINE void finish(Sampler& sampler, const partial_sum& sum) {
    const call& c = sampler.problem();
    if (float* __restrict gradient = c.operation == PERTURB_OP_SPO_PLUS ? c.output[1] : c.output[0]) {
      gradient += sum.b * c.n();
      const perturb_operation operation = c.operation;
      const resolve_options options = c.resolve;
      const double sign = c.oracle->loss_sign();
      const float tau = tau_;
      const int64_t samples = c.samples, m = c.m();
      const int64_t* words = sum.words;
      for (int64_t i = 0; i < m; ++i) gradient[i] = resolve_gradient(operation, options, tau, sign, words[i], samples);
    }
    if (c.operation == PERTURB_OP_SPO_PLUS && c.output[0]) c.output[0][sum.b] = loss(sampler, sum);
  }

 private:
  // The unperturbed solution, around which the shifted ones are kept.
  PERTURB_NOINLINE void keep_solution(Sampler& sampler) {
    for (int64_t i = 0; i < sampler.problem().m(); ++i) solution_[i] = 0;
    sampler.solve(0, true);
    sampler.template for_each<false>(1, [&](int, int64_t item, int64_t coefficient, float) { solution_[item] = (int32_t)coefficient; });
  }

  // The engine's row from now on has this input for its theta.
  PERTURB_NOINLINE void begin_input(Sampler& sampler, resolve_input input) {
    const call& c = sampler.problem();
    const int64_t b = sampler.row().b;
    const float* theta = c.theta + b * c.n();
    const float* operand = c.operand + b * c.n();
    // A loop for each input: the compiler makes vectors of those.
    switch (input) {
      case resolve_input::theta: fill_input<resolve_input::theta>(c, theta, operand); break;
      case resolve_input::toward: fill_input<resolve_input::toward>(c, theta, operand); break;
      case resolve_input::away: fill_input<resolve_input::away>(c, theta, operand); break;
      case resolve_input::reflected: fill_input<resolve_input::reflected>(c, theta, operand); break;
      case resolve_input::truth: fill_input<resolve_input::truth>(c, theta, operand); break;
    }
    sampler.begin_row(b, input_);
  }

  template <resolve_input input>
  PERTURB_INLINE void fill_input(const call& c, const float* theta, const float* operand) {
    using V = scalar_lanes<typename Sampler::isa>;
    const resolve_options o = c.resolve;
    const oracle_kind kind = c.oracle->kind;
    const int32_t base = c.oracle->base;
    const float sign = (float)c.oracle->loss_sign(), tau = tau_;
    float* __restrict out = input_;
    if (c.operation == PERTURB_OP_LPGD && o.rho != 0.0f) {
      for (int64_t i = 0; i < c.n(); ++i) out[i] = resolve_value<V>(input, o, tau, kind, base, sign, theta[i], operand[i], solution_[i]);
    } else {
      for (int64_t i = 0; i < c.n(); ++i) out[i] = resolve_value<V>(input, o, tau, kind, base, sign, theta[i], operand[i], 0);
    }
  }

  PERTURB_NOINLINE void add(Sampler& sampler, resolve_input input, int64_t sign, int64_t first, int64_t last, partial_sum& sum) {
    if (!Sampler::packs) begin_input(sampler, input);  // a pack has solved it
    const bool silent = sampler.problem().operation != PERTURB_OP_IMLE;
    for (int64_t m = first; m < last; m += Sampler::lanes) {
      const int count = last - m < Sampler::lanes ? (int)(last - m) : Sampler::lanes;
      sampler.solve(m, silent);
      sampler.template for_each<false>(count, [&](int, int64_t item, int64_t coefficient, float) { sum.words[item] += sign * coefficient; });
    }
  }

  PERTURB_NOINLINE float loss(Sampler& sampler, const partial_sum& sum) {
    const call& c = sampler.problem();
    begin_input(sampler, resolve_input::reflected);
    const int exponent = spo_exponent(sampler.row().weight(), sampler.row().bounds);
    const double scale = power_of_two(exponent);
    int64_t total = 0;
    for (int64_t i = 0; i < c.m(); ++i) {
      if (sum.words[i] == 0) continue;
      float w = input_[i];
      if (c.oracle->grid && !(w > c.oracle->grid->cost_floor)) w = c.oracle->grid->cost_floor;
      total += sum.words[i] * to_fixed(w, scale);
    }
    return spo_loss(c.oracle->loss_sign(), total, exponent);
  }

  float tau_ = 1.0f;
  float* input_ = nullptr;
  int32_t* solution_ = nullptr;
};

}  // namespace perturb
