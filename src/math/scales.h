// The fixed-point scales of a row and the results made of its integer sums: everything that is arithmetic on doubles and nothing that is
// a loop. Both backends call these functions, so that they agree to the bit.
//
// A scale depends on the row's inputs alone. The sums over items that bounds need are made of integers (magnitude_sum), so that no
// order of summation can change them.
#pragma once

#include <cfloat>
#include <cmath>
#include <cstdint>

#include "math/fixed.h"
#include "math/grid_cost.h"
#include "math/noise.h"
#include "oracle.h"

namespace perturb {

static PERTURB_INLINE double larger(double a, double b) { return a > b ? a : b; }
static PERTURB_INLINE double magnitude(double x) { return x < 0.0 ? -x : x; }

// An upper bound of a sum of magnitudes, each at most `largest` (> 0): terms are added as integers in units of largest 2^-31.
static PERTURB_INLINE double magnitude_unit(double largest) { return power_of_two(largest > 0.0 ? scale_exponent(largest, 31) : 0); }
static PERTURB_INLINE int64_t magnitude_term(double x, double unit) { return to_fixed(magnitude(x), unit) + 1; }
static PERTURB_INLINE double magnitude_sum(int64_t terms, double largest) { return largest > 0.0 ? (double)terms / magnitude_unit(largest) : 0.0; }

// ---------------------------------------------------------------- the row

struct row_bounds {
  double epsilon_max;            // of |eps_i|
  double theta_low, theta_high;  // over the items that count
  double score_bound;            // of |perturbed score|
  double deviation_bound;        // of |perturbed score - score without noise|
};

// floor: a grid's cost_floor, else 0.
template <class Isa>
PERTURB_INLINE row_bounds make_row_bounds(distribution noise, bool multiplicative, double epsilon_max, double theta_low, double theta_high, double floor) {
  row_bounds r = {epsilon_max, theta_low, theta_high, 0.0, 0.0};
  const double largest = larger(-theta_low, theta_high), reach = epsilon_max * noise_high(noise);
  if (multiplicative) {
    const double factor = 1.001 * (double)exponential_function<scalar_lanes<Isa>>(reach > 88.0 ? 88.0f : (float)reach);
    r.score_bound = largest * factor > FLT_MAX ? FLT_MAX : largest * factor;
    r.deviation_bound = 2.0 * r.score_bound;
  } else {
    r.score_bound = largest + reach;
    r.deviation_bound = reach;
  }
  if (r.score_bound < floor) r.score_bound = floor;
  return r;
}

// How a row's scores become integer keys whose order is the rank order (docs/noise.md, "Ranks").
struct rank_map {
  double start, scale;  // y = (sign theta - start) scale + rank_shift, monotone, into [1, 2); scale 0: there is none
};
struct rank_scales {
  rank_map map;
  bool packed;  // y is the score: its 23 mantissa bits
};

constexpr int64_t rank_packed_limit = 512;
constexpr double rank_shift = 1.0 + 0x1p-20;

// exact_only: never packed.
static PERTURB_INLINE rank_scales make_rank_scales(const row_bounds& row, distribution noise, bool multiplicative, int64_t n, float sign, bool exact_only) {
  const double low = row.theta_low + row.epsilon_max * noise_low(noise), high = row.theta_high + row.epsilon_max * noise_high(noise);
  const double range = high - low;
  rank_scales r = {};
  r.map.start = sign > 0 ? low : -high;
  // A range that epsilon does not fill leaves its quanta too coarse (masked items at -1e9, say); scores larger than the
  // range have a float rounding coarser than a quantum.
  if (multiplicative || !(row.epsilon_max > 0.0) || !(range <= 1024.0 * row.epsilon_max)) return r;
  r.map.scale = (1.0 - 0x1p-18) / range;
  r.packed = !exact_only && n <= rank_packed_limit && row.score_bound <= range;
  return r;
}

// The map of a perturbed score: fma(score, scale, offset).
static PERTURB_INLINE float rank_score_scale(const rank_map& r, float sign) { return (float)(sign * r.scale); }
static PERTURB_INLINE float rank_score_offset(const rank_map& r) { return (float)(rank_shift - r.start * r.scale); }

// Of one item: the packed score is fma(factor, z, offset).
static PERTURB_INLINE float rank_key_offset(const rank_map& r, float sign, float theta) { return (float)((sign * (double)theta - r.start) * r.scale + rank_shift); }
static PERTURB_INLINE float rank_key_factor(const rank_map& r, float sign, float amplitude) { return (float)(sign * (double)amplitude * r.scale); }

// The fixed-point scale of a grid's row.
static PERTURB_INLINE float grid_row_scale(const row_bounds& row, distribution noise, bool multiplicative, float floor, float diagonal_factor, int64_t hops) {
  const double highest = multiplicative ? row.score_bound : row.theta_high - row.epsilon_max * noise_low(noise);
  const int e = grid_cost_exponent(larger(highest, floor), diagonal_factor, hops);
  return (float)power_of_two(e > 120 ? 120 : e < -120 ? -120 : e);
}

// A bound of |epsilon z|: theta may come no nearer than this, times its epsilon_per_item, to the range of float. With a margin for Laplace.
static PERTURB_INLINE double perturbation_reach(distribution noise, float epsilon) {
  return (noise == distribution::laplace ? 22.88 : noise_high(noise)) * (double)epsilon;
}

// The largest sum of |y| of an oracle.
static PERTURB_INLINE double oracle_weight(oracle_kind kind, int64_t n, int64_t k, int64_t reached, float diagonal_factor) {
  switch (kind) {
    case oracle_kind::argmax: return 1.0;
    case oracle_kind::top_k:
    case oracle_kind::sort: return (double)k;
    case oracle_kind::rank: return 0.5 * (double)n * (double)(n + 1);
    case oracle_kind::grid_path: break;
  }
  return (double)reached * (double)diagonal_factor;
}

// d score / d theta_i divided by d score / d z_i: what turns a noise score into a derivative. 0: theta_i or its noise does nothing.
static PERTURB_INLINE double derivative_amplitude(bool multiplicative, float amplitude, float theta) {
  return multiplicative ? (double)amplitude * (double)theta : (double)amplitude;
}

// What is subtracted from the r_m that multiply noise scores, and by what the sum is divided (from perturb_baseline, samples and sampling):
// nothing, M; the mean, M - 1; the unperturbed r, M.
enum class centring : int { none, leave_one_out, unperturbed };

static PERTURB_INLINE float finite_float(double x) { return (float)(x > FLT_MAX ? FLT_MAX : x < -FLT_MAX ? -FLT_MAX : x); }

// ---------------------------------------------------------------- expectation

struct value_scales {
  int exponent;            // of values <y, s>: 61 bits for the largest possible one
  int deviation_exponent;  // of their deviations from the centre, coarser: their squares are summed
};

static PERTURB_INLINE value_scales make_value_scales(double weight, const row_bounds& row) {
  value_scales s;
  s.exponent = scale_exponent(weight * row.score_bound, 61);
  const int deviation = scale_exponent(weight * row.deviation_bound, 30);
  s.deviation_exponent = deviation < s.exponent ? deviation : s.exponent;
  return s;
}

static PERTURB_INLINE float expectation_mean(int64_t count, int64_t samples) { return (float)((double)count / (double)samples); }

// Exact integers: M sum y^2 - (sum y)^2, so that a constant y has error 0.
static PERTURB_INLINE float expectation_error(int64_t count, int64_t square, int64_t samples) {
  if (samples < 2) return HUGE_VALF;
  const double spread = (double)((int128)square * samples - (int128)count * count), m = (double)samples;
  return (float)::sqrt(spread / (m * m * (m - 1.0)));
}

static PERTURB_INLINE float value_mean(int128 sum, int64_t samples, int exponent) { return (float)((double)sum / (double)samples * power_of_two(-exponent)); }

// sqrt(variance / M) of deviations; +infinity for one sample.
static PERTURB_INLINE float value_error(int128 sum, int128 squares, int64_t samples, int deviation_exponent) {
  if (samples < 2) return HUGE_VALF;
  const double m = (double)samples, total = (double)sum;
  const double spread = (double)squares - total * total / m;
  return spread > 0.0 ? (float)(::sqrt(spread / (m * (m - 1.0))) * power_of_two(-deviation_exponent)) : 0.0f;
}

// ---------------------------------------------------------------- covariance

constexpr int64_t covariance_limit = 4096;  // m: sums of products of ranks fit 64 bits, and a row's fit memory

// Of y_i and y_j, from their sums and that of their products; expectation_error's square is the diagonal over M.
static PERTURB_INLINE float covariance_entry(int64_t count_i, int64_t count_j, int64_t product, int64_t samples) {
  const double spread = (double)((int128)product * samples - (int128)count_i * count_j), m = (double)samples;
  return (float)(spread / (m * (m - 1.0)));
}

// ---------------------------------------------------------------- VJP (estimators/vjp.h derives it)

constexpr int limb_bits = 22;
constexpr float limb_magic = 0x1.8p23f;
constexpr uint32_t limb_magic_bits = 0x4B400000u;

struct vjp_scales {
  int cotangent_exponent, weight_exponent;
  int factor_bits;  // of what the weights multiply: |S| or |T| < 2^factor_bits
};

// low, high: of the cotangent; absolute: bound of sum |g_i|; spread: bound of sum |g_i - (low + high) / 2|.
static PERTURB_INLINE vjp_scales make_vjp_scales(oracle_kind kind, int64_t n, int64_t k, double low, double high, double absolute, double spread, int factor_bits) {
  const double largest = larger(-low, high);
  double bound = absolute, reach = absolute;  // of |<g, y>| and of |<g, y> - <g, y*>|
  if (kind == oracle_kind::argmax || kind == oracle_kind::top_k || kind == oracle_kind::sort) {
    const double items = kind == oracle_kind::argmax ? 1.0 : (double)k;
    bound = items * largest;
    reach = items * (high - low);
  } else if (kind == oracle_kind::rank) {
    bound = (double)(n + 1) * absolute;
    reach = (double)(n - 1) * spread;  // a constant g does nothing: ranks sum to a constant
  }
  vjp_scales s;
  s.cotangent_exponent = scale_exponent(bound, 60);
  // The margin is for the rounding of g. Where y cannot matter (reach 0) every weight is 0 in any unit.
  s.weight_exponent = reach > 0.0 ? scale_exponent(reach * (1.0 + 0x1p-20), 0) - s.cotangent_exponent : 0;
  s.factor_bits = factor_bits;
  return s;
}

// The factor that makes a weight of r_m - r(y*), in limbs' units.
static PERTURB_INLINE double vjp_weight_scale(const vjp_scales& s) { return power_of_two(limb_bits - s.factor_bits + s.weight_exponent); }

// What ends a row's items, made once for the row. moved: sum of r_m - r(y*); centre: r(y*).
struct vjp_ending {
  double product_unit, score_unit, result_unit;
  double score_factor, divisor;
  bool narrow;  // an item's limbs together fit 64 bits: a conversion of 128 is a call
};
static PERTURB_INLINE vjp_ending make_vjp_ending(const vjp_scales& s, int128 moved, int64_t centre, int64_t samples, centring baseline) {
  const double m = (double)samples;
  vjp_ending r;
  r.product_unit = power_of_two(-s.weight_exponent + s.factor_bits - 2 * limb_bits);
  r.score_unit = power_of_two(s.factor_bits - limb_bits);
  r.result_unit = power_of_two(-s.cotangent_exponent);
  r.score_factor = baseline == centring::none ? (double)centre : baseline == centring::unperturbed ? 0.0 : -((double)moved / m);
  r.divisor = baseline == centring::leave_one_out ? m - 1.0 : m;
  r.narrow = samples <= (int64_t)1 << 17;
  return r;
}

// high, low, plain: the limbs' sums of one item, or (int128) of several; amplitude: derivative_amplitude, not 0.
static PERTURB_INLINE float vjp_gradient(const vjp_ending& e, double limbs, double plain, double amplitude) {
  const double centred = limbs * e.product_unit + e.score_factor * (plain * e.score_unit);
  return finite_float(centred / e.divisor * e.result_unit / amplitude);
}
static PERTURB_INLINE float vjp_gradient(const vjp_ending& e, int128 high, int128 low, int128 plain, double amplitude) {
  return vjp_gradient(e, (double)((high << limb_bits) + low), (double)plain, amplitude);
}
static PERTURB_INLINE float vjp_gradient(const vjp_ending& e, int64_t high, int64_t low, int64_t plain, double amplitude) {
  return vjp_gradient(e, e.narrow ? (double)((high << limb_bits) + low) : (double)(((int128)high << limb_bits) + low), (double)plain, amplitude);
}

// ---------------------------------------------------------------- JVP and Jacobian (estimators/jvp.h)

constexpr int chain_half_bits = 26;
constexpr int jacobian_score_bits = 22;

struct jvp_scales {
  int direction_exponent, chain_exponent;
};

// The factor of S_m,i in a derivative with respect to theta_i: 1/eps_i, signed; 0 where theta_i does not matter.
static PERTURB_INLINE double inverse_amplitude(double amplitude) { return amplitude != 0.0 ? 1.0 / amplitude : 0.0; }

static PERTURB_INLINE int jvp_chain_exponent(distribution noise, double direction_sum) {
  return scale_exponent(direction_sum * (double)(1 << score_bits(noise)), 51);
}

// raw: the sum of products; centred: of (y - y*) times the factor; mean_part: what the mean of y - y* takes from it.
static PERTURB_INLINE double baseline_total(centring baseline, double raw, double centred, double mean_part, double m) {
  switch (baseline) {
    case centring::none: return raw / m;
    case centring::unperturbed: return centred / m;
    case centring::leave_one_out: break;
  }
  return (centred - mean_part) / (m - 1.0);
}

// count: sum of y; high, low: sums of y times the halves of the chain; chain: sum of the chain; centre: y*.
static PERTURB_INLINE float jvp_derivative(const jvp_scales& s, int64_t count, int64_t high, int64_t low, int128 chain, int64_t centre, int64_t samples, centring baseline) {
  const double m = (double)samples;
  const int128 products = ((int128)high << chain_half_bits) + low;
  const double centred = (double)(products - chain * centre);
  const double moved = (double)((int128)count - (int128)samples * centre);
  const double total = baseline_total(baseline, (double)products, centred, moved * ((double)chain / m), m);
  return finite_float(total * power_of_two(-s.chain_exponent - s.direction_exponent));
}

// products: sum of y_i S_j; scores: sum of S_j; inverse: inverse_amplitude of item j.
static PERTURB_INLINE float jacobian_entry(int64_t count, int64_t scores, int64_t products, int64_t centre, int64_t samples, centring baseline, double inverse) {
  const double m = (double)samples;
  const double moved = (double)((int128)count - (int128)samples * centre);
  const double centred = (double)((int128)products - (int128)scores * centre);
  const double total = baseline_total(baseline, (double)products, centred, moved * ((double)scores / m), m);
  return finite_float(total * power_of_two(-jacobian_score_bits) * inverse);
}

// ---------------------------------------------------------------- Fenchel-Young (estimators/fenchel_young.h)

struct fenchel_young_scales {
  int fraction_bits, loss_exponent, slope_exponent, factor_exponent;
};

// integers: all targets are; total: bound of sum |t_i|; factor_max: of d eps_i / d epsilon.
template <class Isa>
PERTURB_INLINE fenchel_young_scales make_fenchel_young_scales(double weight, const row_bounds& row, distribution noise, bool multiplicative, bool integers, double total,
                                                                     double factor_max) {
  fenchel_young_scales s;
  s.fraction_bits = integers ? 0 : 16;
  // Bounds of the two sums over items of |y_i - t_i| times a score, and times a score's derivative in epsilon.
  const double terms = (weight + total) * power_of_two(s.fraction_bits), reach = noise_high(noise);
  s.loss_exponent = scale_exponent(terms * row.score_bound, 61);
  s.slope_exponent = scale_exponent(terms * (multiplicative ? row.score_bound * factor_max * (reach + row.epsilon_max) : factor_max * reach), 61);
  const double exponent = reach * row.epsilon_max;
  s.factor_exponent = scale_exponent(1.001 * (double)exponential_function<scalar_lanes<Isa>>((float)(exponent > 88.0 ? 88.0 : exponent)), 51);
  return s;
}

static PERTURB_INLINE float fenchel_young_loss(const fenchel_young_scales& s, int128 sum, int64_t samples) {
  return (float)((double)sum / (double)samples * power_of_two(-s.loss_exponent - s.fraction_bits));
}
static PERTURB_INLINE float fenchel_young_slope(const fenchel_young_scales& s, int128 sum, int64_t samples) {
  return (float)((double)sum / (double)samples * power_of_two(-s.slope_exponent - s.fraction_bits));
}
static PERTURB_INLINE float fenchel_young_gradient(double sign, int64_t count, int64_t samples, float target) {
  return (float)(sign * ((double)count / (double)samples - (double)target));
}
// Multiplicative: sums of y W and of W in halves of 26 bits.
static PERTURB_INLINE float fenchel_young_gradient(const fenchel_young_scales& s, double sign, int64_t solved_high, int64_t solved_low, int64_t target_high, int64_t target_low,
                                                   int64_t samples, float target) {
  const double unit = power_of_two(-s.factor_exponent) / (double)samples;
  const double solved = (double)(((int128)solved_high << chain_half_bits) + solved_low) * unit;
  const double wanted = (double)(((int128)target_high << chain_half_bits) + target_low) * unit * (double)target;
  return finite_float(sign * (solved - wanted));
}

// d score / d epsilon of one item; factor: d eps_i / d epsilon, score: the perturbed one.
static PERTURB_INLINE double score_slope(bool multiplicative, float noise_sign, double factor, float amplitude, float z, float score) {
  return multiplicative ? (double)score * (factor * ((double)z - (double)amplitude)) : (double)noise_sign * (factor * (double)z);
}

}  // namespace perturb
