// Packs: solves of several rows side by side, a lane each.
//
// A group (engine.h) has V::count samples of one row; a row with few samples, or none, would leave most lanes empty. So here an estimator says by
// stage() beforehand what it will ask of a row; the engine stages rows while there is room, everything is solved at once, and the estimator then
// walks its rows as ever, one sample at a time: its solves are answered in the order in which they were staged.
//
// The interface of an oracle's pack:
//   pack(call, arena, row)          carve scratch
//   begin_call()
//   stage(lane, z)                  keys or costs of the row's problem with noise z[n], items side by side: vectors run over items
//   solve(lanes)                    of the lanes that were staged, the first ones; V::count at most
//   for_each<Scores>(lane, z, f)    as an oracle's (oracles/argmax.h), of one lane; f's lane is 0
#pragma once

#include "cpu/arena.h"
#include "cpu/noise_rows.h"
#include "cpu/row.h"

namespace perturb {

// How often a row is solved if its call runs in packs; 0 where its solves depend on each other or come in other ways. every_output: with those
// that the caller left out.
PERTURB_INLINE static int64_t solves_of_row(const call& c, bool every_output) {
  switch (c.operation) {
    case PERTURB_OP_SOLVE: return 1;
    case PERTURB_OP_SAMPLE:
    case PERTURB_OP_FENCHEL_YOUNG: return c.samples;
    case PERTURB_OP_EXPECTATION: return c.samples + (every_output || c.output[3] ? 1 : 0);
    case PERTURB_OP_VJP:
    case PERTURB_OP_VJP_EPSILON: return c.samples + 1;
    case PERTURB_OP_LPGD: return c.resolve.rho == 0.0f || every_output ? 2 : 0;
    case PERTURB_OP_SPO_PLUS: return 2;
    case PERTURB_OP_IMLE: return 2 * c.samples;
    default: return 0;
  }
}

// Whether a row is solved often enough for groups of its samples: measured, ranks break even at half a pack; a grid's group also searches for its
// order, and never does.
PERTURB_INLINE static bool pack_has_room(const call& c, int lanes) {
  const int64_t solves = solves_of_row(c, true);
  return solves > 0 && solves * (c.oracle->grid ? 1 : 2) <= lanes;
}

// Whether a call that has room is worth it: a pack costs as much for one problem as for all its lanes.
PERTURB_INLINE static bool pack_pays(const call& c) { return c.batch * solves_of_row(c, false) >= 3; }

template <class Vector, template <class> class Pack>
class pack_sampler {
 public:
  using V = scalar_lanes<typename Vector::isa>;  // the lanes that an estimator sees
  using isa = typename V::isa;
  using vector = Vector;
  static constexpr int lanes = 1, most = Vector::count;
  static constexpr bool packs = true, dense = false;

  PERTURB_INLINE pack_sampler(const call& c, arena& a, bool) : c_(c), row_(c, a), pack_(c, a, row_) {
    pitch_ = (c.n() + item_block - 1) / item_block * item_block;  // readers may take whole vectors
    silence_ = a.take<float>(pitch_);
    if (takes_noise(c.operation)) z_ = a.take<float>(pitch_ * most);
  }

  PERTURB_INLINE void begin_call() {
    row_.begin_call();
    pack_.begin_call();
    for (int64_t i = 0; i < c_.n(); ++i) silence_[i] = 0.0f;
  }
  PERTURB_INLINE void begin_row(int64_t b) { begin_row(b, c_.theta + b * c_.n()); }
  // With another theta than the call's.
  PERTURB_INLINE void begin_row(int64_t b, const float* theta) { row_.template begin<Vector>(b, theta); }

  PERTURB_INLINE void begin_pack() { staged_ = next_ = 0; }
  // solve(sample, silent) will be asked of the row that was begun, after all that was staged before.
  PERTURB_NOINLINE void stage(int64_t sample, bool silent) {
    const float* z = silent ? silence_ : noise_of(sample);
    problems_[staged_] = {row_.b, silent ? -1 : sample, z};
    pack_.stage(staged_++, z);
  }
  PERTURB_NOINLINE void solve_staged() { pack_.solve(staged_); }

  PERTURB_INLINE const call& problem() const { return c_; }
  PERTURB_INLINE const row_view<isa>& row() const { return row_; }
  static PERTURB_INLINE int64_t row_floats(const call& c) { return c.n(); }

  PERTURB_INLINE void solve(int64_t, bool, float* = nullptr) { at_ = next_++; }
  // The noise of the sample just solved.
  PERTURB_INLINE const float* noise_row() const { return problems_[at_].z; }
  PERTURB_INLINE float noise_at(int, int64_t item) const { return noise_row()[item]; }
  PERTURB_INLINE const float* noise_of(int64_t item, float*) const { return noise_row() + item; }
  PERTURB_INLINE void begin_lookups(int64_t) {}

  template <bool Scores, class F>
  PERTURB_INLINE void for_each(int, F&& f) const {
    pack_.template for_each<Scores>(at_, noise_row(), f);
  }

  PERTURB_INLINE void inner_products(int, const int64_t* g, int64_t* r) const {
    *r = 0;
    for_each<false>(1, [&](int, int64_t item, int64_t coefficient, float) __attribute__((always_inline)) { *r += coefficient * g[item]; });
  }

  // Of a sample of the row, as a group's source would make it.
  PERTURB_INLINE items_over_lanes<Vector> source() const { return {}; }

 private:
  // Made once for all inputs of one sample.
  PERTURB_INLINE const float* noise_of(int64_t sample) {
    for (int p = 0; p < staged_; ++p)
      if (problems_[p].b == row_.b && problems_[p].sample == sample) return problems_[p].z;
    float* z = z_ + staged_ * pitch_;
    items_over_lanes<Vector> source;
    source.begin(c_, row_.b, sample);
    source.template fill<wanted::noise>(0, c_.n(), z);
    return z;
  }

  struct problem_of_lane {
    int64_t b, sample;  // -1: without noise
    const float* z;
  };

  const call& c_;
  row_view<isa> row_;
  Pack<Vector> pack_;
  int64_t pitch_;
  float* silence_;
  float* z_ = nullptr;
  problem_of_lane problems_[most];
  int staged_ = 0, next_ = 0, at_ = 0;
};

// What most estimators stage of a row: its solution without noise first, if they need it, then its samples.
template <class Sampler>
PERTURB_INLINE void stage_samples(Sampler& sampler, bool centre) {
  if (centre) sampler.stage(0, true);
  for (int64_t m = 0; m < sampler.problem().samples; ++m) sampler.stage(m, false);
}

}  // namespace perturb
