// VJP, JVP and Jacobian of a custom oracle: covariances of y and the noise scores S over amplitudes (Berthet et al. 2020, prop. 3.1); the VJP in
// the amplitudes, which has T = S z - 1 for S.
//
// Each is derivative_total() of sums of products, of deviations from the centre, and of scores.
#pragma once

#include "custom/estimators.h"

namespace perturb {

inline double hard_entry(const custom_row& row, int64_t m, int64_t i) { return row.hard ? (double)row.hard[row.b * m + i] : 0.0; }

// A number per sample times n scores.
class score_products {
 public:
  score_products(const call& c, arena& a) : c_(c) {
    products_ = a.take<double>(c.n());
    scores_ = a.take<double>(c.n());
  }
  void begin() {
    set_zero(products_, c_.n());
    set_zero(scores_, c_.n());
  }
  void add(double deviation, const float* noise) {
    for (int64_t i = 0; i < c_.n(); ++i) {
      products_[i] += deviation * (double)noise[i];
      scores_[i] += noise[i];
    }
  }
  void merge(const score_products& next, double step) {
    for (int64_t i = 0; i < c_.n(); ++i) join_products(products_[i], next.products_[i], step, next.scores_[i]);
    perturb::add(scores_, next.scores_, c_.n());
  }
  double product(int64_t i) const { return products_[i]; }
  double score(int64_t i) const { return scores_[i]; }
  // The derivative with respect to each item; hard: the number without noise.
  void finish(const custom_row& row, double moved, double centre, double hard, float* gradient) const {
    for (int64_t i = 0; i < c_.n(); ++i)
      gradient[i] = derivative_entry(derivative_total(c_.baseline, c_.samples, products_[i], moved, scores_[i], centre, hard),
                                     row.derivative_amplitude(i));
  }

 private:
  const call& c_;
  double *products_, *scores_;
};

// J^T g: one deviation per sample, of r_m = <g, y_m>.
class custom_vjp {
 public:
  custom_vjp(const call& c, arena& a) : c_(c), products_(c, a) {}

  void begin(const custom_row&) {
    count_ = 0;
    moved_ = 0.0;
    products_.begin();
  }

  void add(const custom_row& row, const solved_sample& solved) {
    const double r = inner_product(row.operand(c_.m()), solved.y, c_.m());
    if (count_++ == 0) centre_ = r;
    const double deviation = r - centre_;
    moved_ += deviation;
    products_.add(deviation, solved.noise);
  }

  void merge(const custom_vjp& next) {
    if (count_ == 0) centre_ = next.centre_;
    const double step = next.centre_ - centre_;
    products_.merge(next.products_, step);
    join_moved(moved_, next.moved_, step, (double)next.count_);
    count_ += next.count_;
  }

  void finish(const custom_row& row, float* const* outputs) const {
    const double hard = row.hard ? inner_product(row.operand(c_.m()), row.hard + row.b * c_.m(), c_.m()) : 0.0;
    products_.finish(row, moved_, centre_, hard, outputs[0] + row.b * c_.n());
  }

 protected:
  const call& c_;
  int64_t count_ = 0;
  double centre_ = 0.0, moved_ = 0.0;
  score_products products_;
};

// Noise is T. In epsilon: the sums over the items that are perturbed, since d eps_i / d epsilon / eps_i is 1 / epsilon for all.
class custom_vjp_epsilon : public custom_vjp {
 public:
  using custom_vjp::custom_vjp;

  void finish(const custom_row& row, float* const* outputs) const {
    const double hard = row.hard ? inner_product(row.operand(c_.m()), row.hard + row.b * c_.m(), c_.m()) : 0.0;
    const auto total = [&](double product, double score) { return derivative_total(c_.baseline, c_.samples, product, moved_, score, centre_, hard); };
    double products = 0.0, scores = 0.0;
    for (int64_t i = 0; i < c_.n(); ++i) {
      const double amplitude = magnitude(row.amplitude(i));
      if (amplitude > 0.0) {
        products += products_.product(i);
        scores += products_.score(i);
      }
      outputs[1][row.b * c_.n() + i] = derivative_entry(total(products_.product(i), products_.score(i)), amplitude);
    }
    outputs[0][row.b] = derivative_entry(total(products, scores), (double)c_.epsilon);
  }
};

// J u: m deviations per sample times one score, w_m = <u / eps, S_m>.
class custom_jvp {
 public:
  custom_jvp(const call& c, arena& a) : c_(c) {
    direction_ = a.take<double>(c.n());
    centre_ = a.take<double>(c.m());
    moved_ = a.take<double>(c.m());
    products_ = a.take<double>(c.m());
  }

  void begin(const custom_row& row) {
    count_ = 0;
    score_ = 0.0;
    set_zero(moved_, c_.m());
    set_zero(products_, c_.m());
    for (int64_t i = 0; i < c_.n(); ++i) direction_[i] = (double)row.operand(c_.n())[i] * inverse_amplitude(row.derivative_amplitude(i));
  }

  void add(const custom_row&, const solved_sample& solved) {
    double score = 0.0;
    for (int64_t i = 0; i < c_.n(); ++i) score += direction_[i] * (double)solved.noise[i];
    score_ += score;
    if (count_++ == 0)
      for (int64_t i = 0; i < c_.m(); ++i) centre_[i] = solved.y[i];
    for (int64_t i = 0; i < c_.m(); ++i) {
      const double deviation = solved.y[i] - centre_[i];
      moved_[i] += deviation;
      products_[i] += deviation * score;
    }
  }

  void merge(const custom_jvp& next) {
    for (int64_t i = 0; i < c_.m(); ++i) {
      if (count_ == 0) centre_[i] = next.centre_[i];
      const double step = next.centre_[i] - centre_[i];
      join_moved(moved_[i], next.moved_[i], step, (double)next.count_);
      join_products(products_[i], next.products_[i], step, next.score_);
    }
    score_ += next.score_;
    count_ += next.count_;
  }

  void finish(const custom_row& row, float* const* outputs) const {
    float* derivative = outputs[0] + row.b * c_.m();
    for (int64_t i = 0; i < c_.m(); ++i)
      derivative[i] =
          finite_float(derivative_total(c_.baseline, c_.samples, products_[i], moved_[i], score_, centre_[i], hard_entry(row, c_.m(), i)));
  }

 private:
  const call& c_;
  int64_t count_ = 0;
  double score_ = 0.0;
  double *direction_, *centre_, *moved_, *products_;
};

// J: m deviations per sample times n scores.
class custom_jacobian {
 public:
  custom_jacobian(const call& c, arena& a) : c_(c) {
    centre_ = a.take<double>(c.m());
    moved_ = a.take<double>(c.m());
    scores_ = a.take<double>(c.n());
    products_ = a.take<double>(c.m() * c.n());
  }

  void begin(const custom_row&) {
    count_ = 0;
    set_zero(moved_, c_.m());
    set_zero(scores_, c_.n());
    set_zero(products_, c_.m() * c_.n());
  }

  void add(const custom_row&, const solved_sample& solved) {
    const int64_t n = c_.n();
    if (count_++ == 0)
      for (int64_t i = 0; i < c_.m(); ++i) centre_[i] = solved.y[i];
    for (int64_t j = 0; j < n; ++j) scores_[j] += solved.noise[j];
    for (int64_t i = 0; i < c_.m(); ++i) {
      const double deviation = solved.y[i] - centre_[i];
      if (deviation == 0.0) continue;  // it would add 0 to a whole row, and most of a sparse y rests
      moved_[i] += deviation;
      double* products = products_ + i * n;
      for (int64_t j = 0; j < n; ++j) products[j] += deviation * (double)solved.noise[j];
    }
  }

  void merge(const custom_jacobian& next) {
    const int64_t n = c_.n();
    for (int64_t i = 0; i < c_.m(); ++i) {
      if (count_ == 0) centre_[i] = next.centre_[i];
      const double step = next.centre_[i] - centre_[i];
      for (int64_t j = 0; j < n; ++j) join_products(products_[i * n + j], next.products_[i * n + j], step, next.scores_[j]);
      join_moved(moved_[i], next.moved_[i], step, (double)next.count_);
    }
    perturb::add(scores_, next.scores_, n);
    count_ += next.count_;
  }

  void finish(const custom_row& row, float* const* outputs) const {
    const int64_t n = c_.n();
    float* jacobian = outputs[0] + row.b * c_.m() * n;
    for (int64_t i = 0; i < c_.m(); ++i)
      for (int64_t j = 0; j < n; ++j)
        jacobian[i * n + j] = finite_float(
            derivative_total(c_.baseline, c_.samples, products_[i * n + j], moved_[i], scores_[j], centre_[i], hard_entry(row, c_.m(), i)) *
            inverse_amplitude(row.derivative_amplitude(j)));
  }

 private:
  const call& c_;
  int64_t count_ = 0;
  double *centre_, *moved_, *scores_, *products_;
};

}  // namespace perturb
