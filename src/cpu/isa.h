// The table of one instruction set: which engine runs a call. Included once by each isa_*.cpp, which supplies the lane type.
//
// The choice depends on the call's sizes only. It never changes a bit of the result: it is made for speed and memory.
#pragma once

#include <cstring>
#include <new>

#include "cpu/engine.h"
#include "cpu/distances.h"
#include "cpu/estimators/covariance.h"
#include "cpu/estimators/expectation.h"
#include "cpu/estimators/fenchel_young.h"
#include "cpu/estimators/jvp.h"
#include "cpu/estimators/resolve.h"
#include "cpu/estimators/solve.h"
#include "cpu/estimators/sorted_values.h"
#include "cpu/estimators/vjp.h"
#include "cpu/estimators/vjp_epsilon.h"
#include "cpu/oracles/argmax.h"
#include "cpu/oracles/grid_path.h"
#include "cpu/oracles/grid_path_pack.h"
#include "cpu/oracles/rank.h"
#include "cpu/oracles/rank_pack.h"
#include "cpu/oracles/sort.h"
#include "cpu/oracles/top_k.h"

namespace perturb {

// Below this many samples a group would leave most of its lanes empty.
template <class Vec>
constexpr int64_t fewest_grouped_samples = Vec::count / 2;

template <class Vec>
struct isa_table {
  using grouped = samples_over_lanes<Vec>;
  using single = items_over_lanes<Vec>;

  // Calls f(type tag of the engine) for the engine of a call.
  template <class Engine>
  struct tag {
    using type = Engine;
  };

  template <template <class> class Estimator, template <class> class Grouped, template <class> class Single, class F>
  static PERTURB_INLINE auto choose(bool group, F&& f) {
    if constexpr (Vec::count > 1) {
      if (group) return f(tag<engine<sampler<grouped, Grouped>, Estimator>>{});
    }
    return f(tag<engine<sampler<single, Single>, Estimator>>{});
  }

  template <template <class> class Estimator, class F>
  static PERTURB_INLINE auto with_sort(const call& c, F&& f) {
    const bool enough = c.operation != PERTURB_OP_SOLVE && c.samples >= fewest_grouped_samples<Vec>;
    if (sort_keeps_best(c)) return choose<Estimator, sort_best, sort_single>(enough, f);
    return choose<Estimator, sort_group, sort_single>(enough && rank_fits_group(c), f);
  }

  // Of the oracles whose y has theta's entries.
  template <template <class> class Estimator, class F>
  static PERTURB_INLINE auto with_value_oracle(const call& c, F&& f) {
    const bool sampled = takes_noise(c.operation);
    const bool enough = sampled && c.samples >= fewest_grouped_samples<Vec>;
    switch (c.oracle->kind) {
      case oracle_kind::argmax: return choose<Estimator, argmax_oracle, argmax_oracle>(enough, f);
      case oracle_kind::top_k:
        if (top_k_fits_group(c)) return choose<Estimator, top_k_group, top_k_single>(enough, f);
        return choose<Estimator, top_k_sorted, top_k_single>(enough && top_k_fits_sorted(c), f);
      case oracle_kind::rank: return choose<Estimator, rank_group, rank_single>(enough && rank_fits_group(c), f);
      case oracle_kind::grid_path:
      case oracle_kind::sort: break;  // a sort never comes here
    }
    return choose<Estimator, grid_path_group, grid_path_single>(sampled && grid_path_fits_group(c), f);
  }

  // Whether a call of these sizes may run in packs.
  static PERTURB_INLINE bool may_pack(const call& c) {
    const oracle_kind kind = c.oracle->kind;
    return c.part != call_part::results && pack_has_room(c, Vec::count) &&
           ((kind == oracle_kind::rank && rank_fits_pack(c)) || (kind == oracle_kind::grid_path && grid_path_fits_group(c)));
  }

  template <template <class> class Estimator, class F>
  static PERTURB_INLINE auto with_value_oracle(const call& c, bool pack, F&& f) {
    using ranks = pack_sampler<Vec, rank_pack>;
    using paths = pack_sampler<Vec, grid_path_pack>;
    if constexpr (Vec::count > 1 && requires(Estimator<ranks> e, ranks s) { e.stage(s); }) {
      if (pack && c.oracle->kind == oracle_kind::rank) return f(tag<engine<ranks, Estimator>>{});
      if (pack) return f(tag<engine<paths, Estimator>>{});
    }
    return with_value_oracle<Estimator>(c, f);
  }

  template <template <class> class Estimator, class F>
  static PERTURB_INLINE auto with_oracle(const call& c, bool pack, F&& f) {
    if (c.oracle->kind == oracle_kind::sort) return with_sort<Estimator>(c, f);
    return with_value_oracle<Estimator>(c, pack, f);
  }

  template <class F>
  static PERTURB_INLINE auto with_engine(const call& c, bool pack, F&& f) {
    switch (c.operation) {
      case PERTURB_OP_SAMPLE: return with_oracle<sample_estimator>(c, pack, f);
      case PERTURB_OP_EXPECTATION: return with_oracle<expectation_estimator>(c, pack, f);
      case PERTURB_OP_VJP: return with_oracle<vjp_estimator>(c, pack, f);
      case PERTURB_OP_JVP: return with_oracle<jvp_estimator>(c, pack, f);
      case PERTURB_OP_JACOBIAN: return with_oracle<jacobian_estimator>(c, pack, f);
      case PERTURB_OP_FENCHEL_YOUNG: return with_value_oracle<fenchel_young_estimator>(c, pack, f);
      case PERTURB_OP_LPGD:
      case PERTURB_OP_IMLE:
      case PERTURB_OP_SPO_PLUS: return with_value_oracle<resolve_estimator>(c, pack, f);
      case PERTURB_OP_SORTED_VALUES: return with_sort<sorted_values_estimator>(c, f);
      case PERTURB_OP_SORTED_VALUES_VJP: return with_sort<sorted_values_vjp_estimator>(c, f);
      case PERTURB_OP_VJP_EPSILON: return with_oracle<vjp_epsilon_estimator>(c, pack, f);
      case PERTURB_OP_COVARIANCE: return with_value_oracle<covariance_estimator>(c, pack, f);
      default: return with_oracle<solve_estimator>(c, pack, f);
    }
  }

  template <class F>
  static PERTURB_INLINE auto with_engine(const call& c, F&& f) {
    return with_engine(c, may_pack(c) && pack_pays(c), f);
  }

  // Of either engine that a call with other rows or options might have: a workspace does for fewer rows too.
  static size_t scratch_bytes(const call& c) {
    const auto bytes = [&](bool pack) {
      return with_engine(c, pack, [&](auto t) {
        using engine = typename decltype(t)::type;
        arena a(nullptr);
        engine counter(c, a);
        (void)counter;
        return a.used();
      });
    };
    const size_t others = bytes(false), packs = may_pack(c) ? bytes(true) : 0;
    return others > packs ? others : packs;
  }

  static int64_t row_words(const call& c) {
    return with_engine(c, [&](auto t) { return decltype(t)::type::row_words(c); });
  }

  static void run(const call& c, int thread, int threads, void* scratch) {
    with_engine(c, [&](auto t) {
      using engine = typename decltype(t)::type;
      arena a(scratch);
      engine share(c, a);
      share.run(thread, threads);
    });
  }

  static void finish(const call& c, int threads, void* scratch, size_t stride) {
    with_engine(c, [&](auto t) {
      using engine = typename decltype(t)::type;
      arena a(scratch);
      engine first(c, a);
      first.finish_shared(threads, static_cast<char*>(scratch), stride);
    });
  }

  // Problems first..last of [batch, samples], one at a time with the items over lanes.
  template <wanted W>
  static void fill_problems(const call& c, int64_t n, int64_t first, int64_t last, float* out) {
    single source;
    for (int64_t p = first; p < last; ++p) {
      source.begin(c, p / c.samples, p % c.samples);
      source.template fill<W>(0, n, out + (p - first) * n);
    }
  }

  // The compiler makes vectors of these loops: each item is by itself.
  static void perturb(const call& c, int64_t first, int64_t last, const float* z, float* perturbed) {
    using lane = typename single::V;
    const int64_t n = c.n();
    const float* factors = c.epsilon_per_item;
    const float sign = c.multiplicative ? 1.0f : c.oracle->noise_sign();
    for (int64_t p = first; p < last; ++p, z += n, perturbed += n) {
      const float epsilon = c.row_epsilon(p / c.samples);
      const float* theta = c.theta + p / c.samples * n;
      if (c.multiplicative) {
        for (int64_t i = 0; i < n; ++i) perturbed[i] = multiplicative_score<lane>(theta[i], factors ? epsilon * factors[i] : epsilon, z[i]);
      } else {
        for (int64_t i = 0; i < n; ++i) perturbed[i] = additive_score<lane>(theta[i], sign * (factors ? epsilon * factors[i] : epsilon), z[i]);
      }
    }
  }

  static int64_t below_floor(const call& c, int64_t first, int64_t last, void* scratch, int64_t* where) {
    arena a(scratch);
    int64_t found = 0;
    row_view<typename Vec::isa> row(c, a);
    float* z = a.take<float>(item_block);
    single source;
    row.begin_call();
    for (int64_t p = first; p < last; ++p) {
      if (p == first || p % c.samples == 0) row.template begin<Vec>(p / c.samples, c.theta + p / c.samples * c.n());
      source.begin(c, p / c.samples, p % c.samples);
      for (int64_t i0 = 0; i0 < c.n(); i0 += item_block) {
        const int64_t count = c.n() - i0 < item_block ? c.n() - i0 : item_block;
        source.template fill<wanted::noise>(i0, count, z);
        for (int64_t i = 0; i < count; ++i) {
          if (!row.counts(i0 + i) || row.score(i0 + i, z[i]) >= c.oracle->grid->cost_floor) continue;
          ++found;
          if (!where) continue;
          where[0] = p / c.samples;
          where[1] = p % c.samples;
          where[2] = i0 + i;
          return found;
        }
      }
    }
    return found;
  }

  static constexpr cpu_backend make(const char* name) {
    return {name,
            Vec::count,
            scratch_bytes,
            row_words,
            run,
            finish,
            below_floor,
            fill_problems<wanted::noise>,
            fill_problems<wanted::score>,
            fill_problems<wanted::slope>,
            perturb,
            negative_distances<Vec>,
            distance_gradient<typename Vec::isa>};
  }
};

}  // namespace perturb
