// The CPU engine: perturb -> solve -> reduce, for one thread's share of a call.
//
// Source says how samples lie over lanes (noise_rows.h), Oracle solves a group of V::count samples at once (oracles/argmax.h states
// the interface), estimators.h says what is summed. Everything summed is an integer, so shares may be cut anywhere.
// A thread walks its share of the (row, group) pairs in order. Rows that it owns whole it finishes itself; what it has of a row
// that it shares with others stays in one of its two partial sums, and finish_shared() joins those after all threads are done.
#pragma once

#include <optional>

#include "backend.h"
#include "cpu/arena.h"
#include "cpu/candidates.h"
#include "cpu/noise_rows.h"
#include "cpu/pack_sampler.h"
#include "cpu/row.h"
#include "math/fixed.h"

namespace perturb {

// What one thread has summed of one row. The meaning of `words` and `sums` is the estimator's.
struct partial_sum {
  int64_t b;  // row, -1: empty
  int128 sums[3];
  int64_t* words;
};

// Lookups of single items' noise keep whole rows up to this n, and make the noise again beyond.
constexpr int64_t lookup_rows_limit = 4096;

// Making noise again, of an item in one lane or in all, costs about what candidates save on this many items of a group.
constexpr int64_t items_per_lookup = 40;

// Solves groups of samples of one row at a time: what estimators see of the noise and the oracle.
template <class Source, template <class> class Oracle>
class sampler {
 public:
  using V = typename Source::V;
  using isa = typename V::isa;
  using vector = typename Source::vector;
  static constexpr int lanes = V::count;
  static constexpr bool packs = false;

  // keep_rows: the estimator looks up the noise of single items.
  PERTURB_INLINE sampler(const call& c, arena& a, bool keep_rows)
      : c_(c), row_(c, a), oracle_(c, a, row_), whole_rows_(Oracle<V>::needs_rows(c) || (keep_rows && c.n() <= lookup_rows_limit)) {
    const int64_t floats = row_floats(c);
    z_ = a.take<float>(whole_rows_ || floats < item_block * lanes ? floats : item_block * lanes);
    if constexpr (takes_pairs) {
      if (candidate_bounds<V>::apply(c)) bounds_.emplace(c, a);
    }
  }

  PERTURB_INLINE void begin_call() { row_.begin_call(); }
  PERTURB_INLINE void begin_row(int64_t b) { begin_row(b, c_.theta + b * c_.n()); }
  // With another theta than the call's.
  PERTURB_NOINLINE void begin_row(int64_t b, const float* theta) {
    row_.template begin<vector>(b, theta);
    oracle_.begin_row();
    bounds_begun_ = false;
    keeps_rows_ = whole_rows_;
  }

  // Of the row just begun: how often per group the estimator asks for noise_at() or noise_of(). Where that is seldom, making it again costs less
  // than keeping the noise of all items.
  PERTURB_INLINE void begin_lookups(int64_t lookups) {
    if (bounds_ && !Oracle<V>::needs_rows(c_) && lookups * items_per_lookup <= c_.n()) keeps_rows_ = false;
  }

  PERTURB_INLINE const call& problem() const { return c_; }
  PERTURB_INLINE const row_view<isa>& row() const { return row_; }
  PERTURB_INLINE const Source& source() const { return source_; }
  // Where the whole noise of the sample just solved is, if it is kept and lanes == 1.
  PERTURB_INLINE const float* noise_row() const { return nullptr; }

  // Floats that the noise of a group takes.
  static PERTURB_INLINE int64_t row_floats(const call& c) { return (c.n() + 3) / 4 * 4 * lanes; }

  // Solves samples first..first+lanes-1 (local numbers); silent: with z = 0 in every lane, the row's unperturbed centre. With `rows` (row_floats)
  // the noise stays there, vectors over the lanes by item.
  PERTURB_NOINLINE void solve(int64_t first, bool silent, float* rows = nullptr) {
    first_ = first;
    silent_ = silent;
    rows_ = rows ? rows : keeps_rows_ ? z_ : nullptr;
    if (!silent) source_.begin(c_, row_.b, first);
    oracle_.begin_group();
    int64_t i0 = 0;
    for (; i0 < c_.n(); i0 += item_block) {
      // Of the first block most items are candidates.
      if (i0 > 0 && bounds_ && !silent && !rows_) break;
      const int64_t count = c_.n() - i0 < item_block ? c_.n() - i0 : item_block;
      float* z = rows_ ? rows_ + i0 * lanes : z_;
      if (silent) {
        for (int64_t i = 0; i < count * lanes; ++i) z[i] = 0.0f;
      } else {
        source_.template fill<wanted::noise>(i0, count, z);
      }
      oracle_.feed(i0, count, z);
    }
    if constexpr (takes_pairs) {
      if (i0 < c_.n()) feed_candidates(i0);
    }
    oracle_.solve();
  }

  template <wanted W>
  PERTURB_INLINE void fill(int64_t i0, int64_t count, float* out) const {
    source_.template fill<W>(i0, count, out);
  }

  // The nonzeros of y: f(lane, item, coefficient, score). score is that of the value; only with Scores.
  template <bool Scores, class F>
  PERTURB_INLINE void for_each(int count, F&& f) const {
    oracle_.template for_each<Scores>(count, rows_, f);
  }

  // <g, y> of the first `count` lanes, g and the results being integers.
  PERTURB_INLINE void inner_products(int count, const int64_t* g, int64_t* r) const {
    if constexpr (requires { oracle_.inner_products(g, r); }) {
      oracle_.inner_products(g, r);
    } else {
      for (int l = 0; l < count; ++l) r[l] = 0;
      for_each<false>(count, [&](int lane, int64_t item, int64_t coefficient, float) __attribute__((always_inline)) { r[lane] += coefficient * g[item]; });
    }
  }

  // Of a sort: f(lane, position, item, score).
  template <bool Scores, class F>
  PERTURB_INLINE void for_positions(int count, F&& f) const {
    oracle_.template for_positions<Scores>(count, rows_, f);
  }

  // Whether every item of every lane has a nonzero; for_items() then walks the items with all lanes' scores and noise at once.
  static constexpr bool dense = Oracle<V>::dense;

  // f(item, score, z), vectors over the lanes, of the group just solved. Needs whole rows.
  template <class F>
  PERTURB_INLINE void for_items(F&& f) const {
    row_.with_score([&](auto score) {
      for (int64_t i = 0; i < c_.n(); ++i) {
        const typename V::f32 z = V::load(rows_ + i * lanes);
        f(i, score(V{}, i, z), z);
      }
    });
  }

  // z of one item in all lanes of the group just solved, which was not silent; room for four vectors.
  PERTURB_INLINE const float* noise_of(int64_t item, float* room) const {
    if (rows_) return rows_ + item * lanes;
    if constexpr (lanes == 1) {
      *room = make_noise(0, item);
      return room;
    }
    source_.template fill<wanted::noise>(item & ~(int64_t)3, 4, room);
    return room + (item & 3) * lanes;
  }

  // z of one item in one lane of the group just solved.
  PERTURB_INLINE float noise_at(int lane, int64_t item) const {
    if (rows_) return rows_[item * lanes + lane];
    return silent_ ? 0.0f : make_noise(lane, item);
  }

 private:
  // Whether the oracle can do with pairs of items that may matter.
  static constexpr bool takes_pairs = lanes > 1 && requires(Oracle<V> o, const uint32_t* pairs, const float* z) {
    o.cutoff();
    o.feed_pairs(pairs, (int64_t)1, z);
  };

  // Items from i0 on, a block at a time: the candidates of each by what the oracle has before it.
  PERTURB_NOINLINE void feed_candidates(int64_t i0) {
    if (!bounds_begun_) bounds_->begin_row(row_);
    bounds_begun_ = true;
    const candidate_bounds<V> bounds = *bounds_;  // in registers: what is stored below could not change it
    uint32_t pairs[item_block / 2];
    for (; i0 < c_.n(); i0 += item_block) {
      const int64_t items = c_.n() - i0 < item_block ? c_.n() - i0 : item_block;
      const typename V::f32 cutoff = oracle_.cutoff();
      const auto keep = [&](int64_t item, typename V::u32 word) __attribute__((always_inline)) { return bounds.may_reach(item, word, cutoff); };
      const int64_t count = source_.fill_pairs(i0, items, keep, z_, pairs);
      oracle_.feed_pairs(pairs, count, z_);
    }
  }

  PERTURB_NOINLINE float make_noise(int lane, int64_t item) const {
    float z = 0.0f;
    using scalar = scalar_lanes<isa>;
    if (!c_.plain_words()) {
      float values[4];
      special_quad<scalar>(c_, row_.b, false, (uint32_t)(first_ + lane), (uint32_t)(item >> 2), values);
      return values[item & 3];
    }
    with_distribution(c_.noise, [&](auto d) {
      uint32_t words[4];
      float values[4];
      const uint32_t sample = (uint32_t)(c_.first_sample + first_ + lane);
      philox<scalar>(c_.keys, (uint32_t)(item >> 2), 0u, sample_counter_of(c_.antithetic, sample), row_.row, words);
      if (c_.antithetic) mirror_words<scalar>(decltype(d)::value, mirror_mask<scalar>(sample), words);
      noise_of_words<scalar, decltype(d)::value>(words, values);
      z = values[item & 3];
    });
    return z;
  }

  const call& c_;
  row_view<isa> row_;
  Oracle<V> oracle_;
  bool whole_rows_;          // whether there is room for whole rows
  bool keeps_rows_ = false;  // whether this row's samples leave them there
  float* z_ = nullptr;       // whole rows, or those of item_block items
  float* rows_ = nullptr;    // where the whole rows of the group just solved are, if anywhere
  Source source_;
  std::optional<candidate_bounds<V>> bounds_;
  bool bounds_begun_ = false;  // of this row
  int64_t first_ = 0;
  bool silent_ = false;
};

// One thread's share of a call: which rows and groups it walks, and what becomes of their sums.
template <class Sampler, template <class> class Estimator>
class engine {
 public:
  static constexpr int lanes = Sampler::lanes;

  PERTURB_INLINE engine(const call& c, arena& a) : c_(c), sampler_(c, a, Estimator<Sampler>::looks_up_noise), estimator_(c, a) {
    for (partial_sum*& p : partials_) {
      p = a.take<partial_sum>(1);
      int64_t* words = a.take<int64_t>(Estimator<Sampler>::words(c));
      if (!a.counting()) p->words = words;
    }
  }

  static PERTURB_INLINE int64_t row_words(const call& c) { return Estimator<Sampler>::words(c); }

  PERTURB_NOINLINE void run(int thread, int threads) {
    for (partial_sum* p : partials_) p->b = -1;
    if (c_.batch == 0) return;
    sampler_.begin_call();
    if (c_.part == call_part::results) return finish_rows(thread, threads);
    if constexpr (Sampler::packs) return run_packs(thread, threads);
    const int64_t groups = (c_.samples + lanes - 1) / lanes, total = c_.batch * groups;
    const int64_t begin = share_begin(total, thread, threads), end = share_begin(total, thread + 1, threads);
    int64_t at = begin;
    while (at < end) {
      const int64_t b = at / groups, first_group = at % groups;
      const int64_t last_group = end - at < groups - first_group ? first_group + (end - at) : groups;
      begin_row(b);
      // The first row of a share may be shared with the thread before, the last with the one after.
      partial_sum& sum = *partials_[at == begin ? 0 : 1];
      clear(sum, b);
      const int64_t last = last_group * lanes < c_.samples ? last_group * lanes : c_.samples;
      estimator_.accumulate(sampler_, first_group * lanes, last, sum);
      if (first_group == 0 && last_group == groups) {
        close(sum);
        sum.b = -1;
      }
      at += last_group - first_group;
    }
  }

  // Joins the partial sums that `threads` engines left in scratch and writes their rows. Runs on one thread, on the first scratch.
  PERTURB_NOINLINE void finish_shared(int threads, char* scratch, size_t stride) {
    sampler_.begin_call();
    partial_sum* open = nullptr;
    auto close_open = [&] {
      if (!open) return;
      begin_row(open->b);
      close(*open);
    };
    const int64_t words = Estimator<Sampler>::words(c_);
    for (int t = 0; t < threads; ++t) {
      arena a(scratch + (size_t)t * stride);
      engine other(c_, a);  // a view of that thread's scratch: constructors carve, they do not write sums
      for (partial_sum* p : other.partials_) {
        if (p->b < 0) continue;
        if (open && open->b == p->b) {
          for (int64_t w = 0; w < words; ++w) open->words[w] += p->words[w];
          for (int s = 0; s < 3; ++s) open->sums[s] += p->sums[s];
        } else {
          close_open();
          open = p;
        }
      }
    }
    close_open();
  }

 private:
  static PERTURB_INLINE int64_t share_begin(int64_t total, int thread, int threads) {
    const int64_t each = total / threads, extra = total % threads;
    return thread * each + (thread < extra ? thread : extra);
  }

  // Rows are never shared.
  PERTURB_NOINLINE void run_packs(int thread, int threads) {
    const int64_t end = share_begin(c_.batch, thread + 1, threads), room = Sampler::most / solves_of_row(c_, false);
    for (int64_t first = share_begin(c_.batch, thread, threads); first < end; first += room) {
      const int64_t last = end - first < room ? end : first + room;
      sampler_.begin_pack();
      for (int64_t b = first; b < last; ++b) {
        sampler_.begin_row(b);
        estimator_.stage(sampler_);
      }
      sampler_.solve_staged();
      partial_sum& sum = *partials_[0];
      for (int64_t b = first; b < last; ++b) {
        begin_row(b);
        clear(sum, b);
        estimator_.accumulate(sampler_, 0, c_.samples, sum);
        close(sum);
      }
      sum.b = -1;
    }
  }

  // What becomes of a row's sums: its outputs, or they are added to an accumulator's.
  PERTURB_INLINE void close(const partial_sum& sum) {
    if (c_.part == call_part::whole) return estimator_.finish(sampler_, sum);
    const int64_t words = row_words(c_);
    for (int64_t w = 0; w < words; ++w) c_.words[sum.b * words + w] += sum.words[w];
    for (int s = 0; s < 3; ++s) c_.sums[3 * sum.b + s] += sum.sums[s];
  }

  // The outputs of an accumulator's rows.
  PERTURB_NOINLINE void finish_rows(int thread, int threads) {
    for (int64_t b = thread; b < c_.batch; b += threads) {
      begin_row(b);
      partial_sum sum = {b, {c_.sums[3 * b], c_.sums[3 * b + 1], c_.sums[3 * b + 2]}, c_.words + b * row_words(c_)};
      estimator_.finish(sampler_, sum);
    }
  }

  PERTURB_INLINE void begin_row(int64_t b) {
    sampler_.begin_row(b);
    estimator_.begin_row(sampler_);
  }

  PERTURB_INLINE void clear(partial_sum& sum, int64_t b) {
    sum.b = b;
    for (int128& s : sum.sums) s = 0;
    const int64_t words = Estimator<Sampler>::words(c_);
    for (int64_t w = 0; w < words; ++w) sum.words[w] = 0;
  }

  const call& c_;
  Sampler sampler_;
  Estimator<Sampler> estimator_;
  partial_sum* partials_[2];
};

}  // namespace perturb
