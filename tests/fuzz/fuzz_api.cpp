// Random API calls from bytes: any oracle, any operation, mostly valid arguments, some not. Checks what the header promises of every
// call: a known status, a sentence and untouched outputs on failure; finite outputs, sums that are exact and the same bits on another
// number of threads on success. Built for libFuzzer, or with -DPERTURB_FUZZ_STANDALONE as a program that makes its own bytes:
//     fuzz_api [seconds] [-runs=N] [-seed=FIRST]     a failure names its run: fuzz_api -runs=1 -seed=RUN repeats it
#include <perturb/perturb.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace {

class bytes {
 public:
  bytes(const uint8_t* data, size_t size) : data_(data), size_(size) {}
  uint8_t byte() { return at_ < size_ ? data_[at_++] : 0; }
  uint32_t word() { return byte() | byte() << 8 | byte() << 16 | static_cast<uint32_t>(byte()) << 24; }
  uint64_t long_word() { return word() | static_cast<uint64_t>(word()) << 32; }
  bool one_in(int n) { return byte() % n == 0; }
  int64_t between(int64_t low, int64_t high) { return low + static_cast<int64_t>(word() % static_cast<uint32_t>(high - low + 1)); }

 private:
  const uint8_t* data_;
  size_t size_, at_ = 0;
};

unsigned long long current_run = 0, made_calls = 0, succeeded_calls = 0;

[[noreturn]] void defect(const char* what) {
  std::fprintf(stderr, "fuzz_api: run %llu: %s (last error: \"%s\")\n", current_run, what, perturb_last_error());
  std::abort();
}
void check(bool fine, const char* what) {
  if (!fine) defect(what);
}

constexpr uint32_t canary = 0x7fdecafeu;
bool holds_canary(float value) {
  uint32_t word;
  std::memcpy(&word, &value, sizeof word);
  return word == canary;
}

// Values of every kind: small, equal, signed zeros, denormals, large; bad ones only when asked for.
float value_of(bytes& in, bool positive, bool* bad, bool* tame) {
  static constexpr float table[] = {0.0f, -0.0f, 1.0f, -1.0f, 0.5f, 1e-42f, -1e-42f, 2.0f};
  const uint8_t kind = in.byte();
  float value;
  if (kind < 100)
    value = table[kind % 8];
  else if (kind < 220)
    value = static_cast<float>(static_cast<int16_t>(in.byte() | in.byte() << 8)) / 4096.0f;
  else if (kind < 250) {
    value = static_cast<float>(static_cast<int8_t>(in.byte())) * 1e28f;
    *tame = false;
  } else {
    const uint32_t word = in.word();
    std::memcpy(&value, &word, sizeof value);
    *tame = false;
    if (!std::isfinite(value)) *bad = true;
  }
  if (std::fabs(value) < 1e-3f) *tame = *tame && value == 0;
  return positive ? std::fabs(value) + 0.01f : value;
}

perturb_context* context_with(int threads) {
  static perturb_context* contexts[4] = {};
  if (!contexts[threads]) {
    perturb_context_options options = PERTURB_CONTEXT_OPTIONS_INIT;
    options.backend = PERTURB_BACKEND_CPU;
    options.threads = threads;
    check(perturb_context_create(&options, &contexts[threads]) == PERTURB_OK, "a context");
  }
  return contexts[threads];
}

bool known(perturb_status status) { return std::strcmp(perturb_status_name(status), "PERTURB_STATUS_UNKNOWN") != 0; }

struct problem {
  perturb_oracle* oracle = nullptr;
  int kind = 0;
  int64_t n = 0, k = 1, base = 1;
  bool grid = false, strict = false, custom = false;
  bool sort() const { return kind == 4; }
  int64_t m() const { return sort() ? k * n : n; }
};

// The argmax as a solver of the caller's, whose n is what `user` points to.
int32_t solve_argmax(int64_t count, const float* theta, float* y, void*, void* user) {
  const int64_t n = *static_cast<const int64_t*>(user);
  for (int64_t k = 0; k < count; ++k, theta += n, y += n) {
    int64_t best = 0;
    for (int64_t i = 1; i < n; ++i)
      if (theta[i] > theta[best]) best = i;
    for (int64_t i = 0; i < n; ++i) y[i] = i == best;
  }
  return 0;
}
int32_t weighted_cost(int64_t count, const float* y, const int64_t* row, float* cost, void*, void* user) {
  const int64_t m = *static_cast<const int64_t*>(user);
  for (int64_t k = 0; k < count; ++k) {
    cost[k] = static_cast<float>(row[k]);
    for (int64_t i = 0; i < m; ++i) cost[k] += static_cast<float>(i % 7) * y[k * m + i];
  }
  return 0;
}

perturb_status make_oracle(bytes& in, problem& p, std::vector<uint8_t>& passable) {
  p.kind = in.byte() % 5;
  p.n = in.one_in(40) ? in.between(-1, 2000) : in.between(1, 40);
  if (p.kind == 0 && in.byte() % 2) {
    perturb_custom_options options = PERTURB_CUSTOM_OPTIONS_INIT;
    options.n = options.m = p.n;
    options.solve = solve_argmax;
    options.user = &p.n;
    options.thread_safe = in.byte() % 2;
    if (in.one_in(60)) options.thread_safe = static_cast<int32_t>(in.word());
    if (in.one_in(60)) options.solve = nullptr;
    if (in.one_in(60)) options.struct_size = in.byte();
    p.custom = true;
    return perturb_custom_create(&options, &p.oracle);
  }
  if (p.kind == 0) return perturb_argmax_create(p.n, &p.oracle);
  if (p.kind == 1) {
    p.k = in.one_in(20) ? in.between(-1, 3000) : in.between(1, p.n > 0 ? p.n : 1);
    return perturb_top_k_create(p.n, p.k, &p.oracle);
  }
  if (p.kind == 2) {
    perturb_rank_options options = PERTURB_RANK_OPTIONS_INIT;
    options.descending = in.one_in(50) ? static_cast<int32_t>(in.word()) : in.byte() % 2;
    options.base = in.one_in(50) ? static_cast<int32_t>(in.word()) : in.byte() % 2;
    if (in.one_in(100)) options.struct_size = in.word();
    p.base = options.base;
    return perturb_rank_create(p.n, &options, &p.oracle);
  }
  if (p.sort()) {
    if (p.n > 200) p.n = 200;
    if (in.byte() % 2) {
      p.k = p.n;
      return perturb_sort_create(p.n, in.one_in(50) ? static_cast<int32_t>(in.word()) : in.byte() % 2, &p.oracle);
    }
    p.k = in.one_in(20) ? in.between(-1, 300) : in.between(1, p.n > 0 ? p.n : 1);
    return perturb_ordered_top_k_create(p.n, p.k, &p.oracle);
  }
  perturb_grid_path_options options = PERTURB_GRID_PATH_OPTIONS_INIT;
  options.height = in.one_in(60) ? in.between(-1, 5000) : in.between(1, 7);
  options.width = in.one_in(60) ? in.between(-1, 5000) : in.between(1, 7);
  if (options.height * options.width > 4000) options.width = options.height > 4096 ? 1 : 0;
  p.n = options.height * options.width;
  static constexpr int connectivities[] = {4, 8, 80, 80, 8, 8, 4, 5};
  options.connectivity = static_cast<perturb_connectivity>(connectivities[in.byte() % (in.one_in(40) ? 8 : 7)]);
  static constexpr float factors[] = {1, 1, 1, 1.4142135f, 1.5f, 2, 1, 0.5f};
  options.diagonal_factor = factors[in.byte() % (in.one_in(40) ? 8 : 7)];
  options.count_source = in.byte() % 2;
  const int64_t cells = p.n > 0 ? p.n : 1;
  options.source = in.one_in(60) ? in.between(-2, 60) : in.between(0, cells - 1);
  options.target = in.one_in(60) ? in.between(-2, 60) : in.between(0, cells - 1);
  options.negative = in.one_in(10) ? PERTURB_NEGATIVE_ERROR : PERTURB_NEGATIVE_CLAMP;
  if (in.one_in(20)) options.cost_floor = 0.01f * static_cast<float>(in.byte());
  if (in.byte() % 2) {
    passable.resize(static_cast<size_t>(cells));
    for (uint8_t& cell : passable) cell = in.byte() >= 60;
    options.passable = passable.data();
  }
  std::vector<int64_t> ends[4];  // a table, or sets
  const auto fill = [&](std::vector<int64_t>& into, int64_t& count, const int64_t*& array) {
    count = in.one_in(40) ? in.between(-2, 60) : in.between(1, std::min<int64_t>(cells, 5));
    into.resize(static_cast<size_t>(std::max<int64_t>(count, 0)));
    for (int64_t& cell : into) cell = in.one_in(60) ? in.between(-2, 60) : in.between(0, cells - 1);
    array = in.one_in(60) ? nullptr : into.data();
  };
  if (in.one_in(4)) {
    fill(ends[0], options.rows, options.row_sources);
    fill(ends[1], options.rows, options.row_targets);
    if (ends[0].size() < ends[1].size()) options.rows = static_cast<int64_t>(ends[0].size());
  }
  if (in.one_in(4)) fill(ends[2], options.source_count, options.sources);
  if (in.one_in(4)) fill(ends[3], options.target_count, options.targets);
  p.grid = true;
  p.strict = options.negative == PERTURB_NEGATIVE_ERROR;
  return perturb_grid_path_create(&options, &p.oracle);
}

struct outputs {
  std::vector<float> all[4];
};

perturb_status call(int operation, perturb_context* context, const problem& p, const perturb_noise& noise, const perturb_lpgd_options& lpgd,
                    int64_t batch, const float* theta, const float* extra, outputs& out, int given) {
  float* o[4];
  for (int i = 0; i < 4; ++i) o[i] = i == 0 || (given >> i & 1) ? out.all[i].data() : nullptr;
  switch (operation) {
    case 0:
      return perturb_solve(context, p.oracle, batch, theta, o[0], o[2]);
    case 1:
      return perturb_sample(context, p.oracle, &noise, batch, theta, o[0]);
    case 2:
      return perturb_expectation(context, p.oracle, &noise, batch, theta, o[0], o[1], o[2], o[3]);
    case 3:
      return perturb_vjp(context, p.oracle, &noise, batch, theta, extra, o[0]);
    case 4:
      return perturb_jvp(context, p.oracle, &noise, batch, theta, extra, o[0]);
    case 5:
      return perturb_jacobian(context, p.oracle, &noise, batch, theta, o[0]);
    case 6:
      return perturb_fenchel_young(context, p.oracle, &noise, batch, theta, extra, o[2], o[0], o[3]);
    case 8:
      return perturb_lpgd(context, p.oracle, &lpgd, batch, theta, extra, o[0]);
    case 9:
      return perturb_imle(context, p.oracle, &noise, &lpgd, batch, theta, extra, o[0]);
    case 10:
      return perturb_spo_plus(context, p.oracle, batch, theta, extra, o[2], o[0]);
    case 11:
      return perturb_sorted_values(context, p.oracle, &noise, batch, theta, o[0], o[1]);
    case 12:
      return perturb_sorted_values_vjp(context, p.oracle, &noise, batch, theta, extra, o[0]);
    case 13: {
      perturb_cost_options options = PERTURB_COST_OPTIONS_INIT;
      int64_t entries = p.m();
      options.cost = weighted_cost;
      options.user = &entries;
      options.thread_safe = given & 1;
      return perturb_cost_expectation(context, p.oracle, &noise, &options, batch, theta, out.all[2].data(), o[3], out.all[0].data());
    }
    case 14:
      return perturb_vjp_epsilon(context, p.oracle, &noise, batch, theta, extra, o[2], o[0]);
    case 15:
      return perturb_covariance(context, p.oracle, &noise, batch, theta, o[0]);
    case 16:
      return perturb_exact_expectation(context, p.oracle, &noise, batch, theta, o[0], o[2]);
    case 17:
      return perturb_exact_vjp(context, p.oracle, &noise, batch, theta, extra, o[0]);
    case 18:
      return perturb_nearest_neighbors(context, p.oracle, &noise, batch, 1, extra, theta, o[0], o[1]);
    case 19:
      return perturb_nearest_neighbors_vjp(context, p.oracle, &noise, batch, 1, extra, theta, extra, o[2], o[0]);
    case 20:
      return perturb_project(context, p.oracle, static_cast<perturb_projection>(given & 3), batch, theta, o[0]);
    case 21:
      return perturb_identity_vjp(context, p.oracle, static_cast<perturb_projection>(given & 3), batch, theta, extra, o[0]);
    default:
      return perturb_noise_fill(context, &noise, batch, p.n, o[0]);
  }
}

// The same call as an accumulator's, its samples in two parts in either order, some of them by way of saved bytes.
void accumulate(bytes& in, int operation, const problem& p, const perturb_noise& noise, int64_t batch, const float* theta,
                const float* extra, outputs& out, int given) {
  static constexpr perturb_operation operations[] = {PERTURB_OP_EXPECTATION, PERTURB_OP_VJP, PERTURB_OP_JVP, PERTURB_OP_JACOBIAN,
                                                     PERTURB_OP_FENCHEL_YOUNG};
  const float* operand = operation == 2 || operation == 5 ? nullptr : extra;
  const int64_t step = noise.sampling == PERTURB_SAMPLING_ANTITHETIC ? 2 : 1, cut = in.between(0, noise.samples / step) * step;
  const bool saves = in.byte() % 2, last_first = in.byte() % 2;
  perturb_accumulator *whole = nullptr, *part = nullptr;
  for (perturb_accumulator** each : {&whole, &part})
    check(
        perturb_accumulator_create(context_with(1 + in.byte() % 3), operations[operation - 2], p.oracle, &noise, batch, each) == PERTURB_OK,
        "an accumulator");
  perturb_accumulator *const first = last_first ? whole : part, *const second = last_first ? part : whole;
  if (cut > 0) check(perturb_accumulator_add(first, 0, cut, theta, operand) == PERTURB_OK, "its first samples");
  if (cut < noise.samples)
    check(perturb_accumulator_add(second, cut, noise.samples - cut, theta, operand) == PERTURB_OK, "its last samples");
  if (saves) {
    size_t size = 0;
    check(perturb_accumulator_save(part, nullptr, &size) == PERTURB_OK, "the size of its bytes");
    std::vector<unsigned char> saved(size);
    check(perturb_accumulator_save(part, saved.data(), &size) == PERTURB_OK, "its bytes");
    check(perturb_accumulator_load(whole, saved.data(), size) == PERTURB_OK, "its bytes again");
    check(perturb_accumulator_load(whole, saved.data(), size) != PERTURB_OK || perturb_accumulator_samples(part) == 0,
          "samples that were added twice");
    saved[in.word() % size] ^= static_cast<unsigned char>(1 + in.byte() % 255);
    check(perturb_accumulator_load(whole, saved.data(), size) != PERTURB_OK, "changed bytes");
  } else {
    check(perturb_accumulator_merge(whole, part) == PERTURB_OK, "a merge");
  }
  const auto chosen = [&](int i) { return i == 0 || (given >> i & 1) ? out.all[i].data() : nullptr; };
  float* const in_order[4] = {chosen(0), chosen(1), chosen(2), chosen(3)};
  float* const of_loss[4] = {chosen(2), chosen(0), chosen(3), nullptr};
  check(perturb_accumulator_result(whole, theta, operand, operation == 6 ? of_loss : in_order) == PERTURB_OK, "its result");
  perturb_accumulator_destroy(part);
  perturb_accumulator_destroy(whole);
}

void check_success(int operation, const problem& p, const perturb_noise& noise, int64_t batch, const outputs& out, bool tame) {
  for (const auto& values : out.all)
    for (float value : values) {
      if (holds_canary(value)) continue;  // an optional output that was not asked for
      check(!std::isnan(value), "an output is NaN");
      const bool may_be_infinite = !tame || ((operation == 2 || operation == 11 || operation == 18) && noise.samples == 1);
      check(may_be_infinite || std::isfinite(value), "an output is infinite");
    }
  if (operation == 6 || operation == 10)
    for (float loss : out.all[2]) check(holds_canary(loss) || loss >= 0, "a negative loss");
  if (operation > 2 || p.grid) return;
  const int64_t rows = operation == 1 ? batch * noise.samples : batch;
  const double total = p.kind == 0   ? 1
                       : p.kind != 2 ? static_cast<double>(p.k)
                                     : static_cast<double>(p.n) * static_cast<double>(p.n - 1) / 2 + static_cast<double>(p.base * p.n);
  for (int64_t b = 0; b < rows; ++b) {
    double sum = 0;
    for (int64_t i = 0; i < p.m(); ++i) sum += out.all[0][static_cast<size_t>(b * p.m() + i)];
    check(std::fabs(sum - total) <= 1e-5 * total, "the entries of y do not add up");
  }
}

void one_run(const uint8_t* data, size_t size) {
  bytes in(data, size);
  problem p;
  std::vector<uint8_t> passable;
  const perturb_status made = make_oracle(in, p, passable);
  check(known(made), "an unknown status");
  if (made != PERTURB_OK) {
    check(p.oracle == nullptr && *perturb_last_error(), "a refused oracle");
    return;
  }
  check(p.oracle && !*perturb_last_error() && perturb_oracle_input_size(p.oracle) == p.n, "an oracle");

  perturb_noise noise = PERTURB_NOISE_INIT;
  noise.distribution = static_cast<perturb_distribution>(in.one_in(40) ? in.byte() : in.byte() % 4);
  if (in.one_in(6)) {
    noise.mode = PERTURB_MULTIPLICATIVE;
    if (!in.one_in(10)) noise.distribution = PERTURB_NORMAL;
  }
  static constexpr float epsilons[] = {1, 0.5f, 0.1f, 0, 2, 1e-3f, 10, 0.25f};
  noise.epsilon = epsilons[in.byte() % 8];
  noise.samples = in.one_in(60) ? in.between(-1, 1) : in.between(1, 40);
  noise.seed = in.long_word();
  if (in.one_in(5)) noise.first_row = static_cast<int64_t>(in.long_word() >> (in.byte() % 40));
  if (in.one_in(5)) noise.first_sample = static_cast<int64_t>(in.long_word() >> (in.byte() % 40));
  noise.baseline = static_cast<perturb_baseline>(in.one_in(60) ? in.byte() : in.byte() % 2);
  noise.sampling = static_cast<perturb_sampling>(in.one_in(60) ? in.byte() : 0);
  if (in.one_in(80)) noise.struct_size = in.word();
  if (in.one_in(80)) noise.epsilon = -1;
  perturb_lpgd_options lpgd = PERTURB_LPGD_OPTIONS_INIT;
  lpgd.tau = in.one_in(40) ? 0.0f : epsilons[1 + in.byte() % 7];
  lpgd.rho = in.one_in(2) ? 0.0f : epsilons[in.byte() % 8];
  const int side = in.byte() % (in.one_in(60) ? 256 : 3);
  std::memcpy(&lpgd.side, &side, sizeof side);
  lpgd.relative = in.one_in(4);
  // 11 and 12 are of sorts.
  const float tau_scale = epsilons[in.byte() % 8];
  if (in.one_in(5)) lpgd.tau_scale = &tau_scale;
  const int picked = in.byte() % 20;
  const int operation = p.sort() && in.one_in(3) ? 11 + in.byte() % 2 : picked < 11 ? picked : picked + 2;
  const int64_t batch = in.one_in(60) ? in.between(-1, 0) : in.between(1, 3);
  const int64_t rows = batch > 0 ? batch : 0, M = noise.samples > 0 ? noise.samples : 1;

  bool bad = false, tame = true;
  std::vector<float> factors, theta(static_cast<size_t>(rows * p.n)), extra(static_cast<size_t>(rows * p.m()));
  if (in.one_in(4)) {
    factors.resize(static_cast<size_t>(p.n));
    for (float& f : factors) f = static_cast<float>(in.byte() % 16) / 8.0f;
    noise.epsilon_per_item = factors.data();
  }
  std::vector<float> row_factors, z, z_score;
  if (in.one_in(6)) {
    row_factors.resize(static_cast<size_t>(rows));
    for (float& f : row_factors) f = static_cast<float>(in.byte() % 16) / 8.0f;
    noise.epsilon_per_row = row_factors.data();
  }
  switch (in.byte() % 12) {
    case 0:
      noise.sampling = PERTURB_SAMPLING_LATIN;
      noise.first_sample = 0;
      break;
    case 1:
      noise.distribution = PERTURB_SUM_OF_GAMMA;
      noise.sum_of_gamma_k = in.byte() % 20;
      noise.sum_of_gamma_terms = in.byte() % 5;
      break;
    case 2:
      if (rows * M * p.n > 1 << 18) break;
      noise.distribution = PERTURB_GIVEN;
      z.resize(static_cast<size_t>(rows * M * p.n));
      z_score.resize(z.size());
      for (size_t i = 0; i < z.size(); ++i) {
        z[i] = static_cast<float>((i * 37 + noise.seed % 100) % 101) / 16.0f - 3.0f;
        z_score[i] = -z[i];
      }
      if (in.one_in(20) && !z.empty()) z[z.size() / 2] = 65;
      noise.z = z.data();
      if (!in.one_in(4)) noise.z_score = z_score.data();
      break;
    default:
      break;
  }
  for (float& t : theta) t = value_of(in, p.grid && !in.one_in(10), &bad, &tame);
  for (float& t : extra) t = value_of(in, false, &bad, &tame);
  if (operation == 6 && !p.sort() && !bad) {  // a vertex
    std::vector<float> other(theta.rbegin(), theta.rend());
    if (rows > 0 && perturb_solve(context_with(1), p.oracle, rows, other.data(), extra.data(), nullptr) != PERTURB_OK)
      extra.assign(extra.size(), 1.0f);
  }

  outputs first, second;
  const int64_t width = operation == 1    ? M * p.m()
                        : operation == 7  ? M * p.n
                        : operation == 5  ? p.m() * p.n
                        : operation == 15 ? p.m() * p.m()
                        : operation == 11 ? p.k
                        : operation == 0 || operation == 2 || operation == 4 ? p.m()
                                                                             : p.n;
  const size_t sizes[4] = {static_cast<size_t>(rows * width), static_cast<size_t>(rows * (operation == 11 ? p.k : p.m())), static_cast<size_t>(rows),
                           static_cast<size_t>(rows)};
  if (sizes[0] < (size_t{1} << 22)) {
    const int given = in.byte() & (p.sort() && !in.one_in(10) ? 3 : 255);  // a sort has no value
    for (outputs* o : {&first, &second})
      for (int i = 0; i < 4; ++i) {
        o->all[i].resize(sizes[i] + 1);  // never a null pointer
        for (float& value : o->all[i]) std::memcpy(&value, &canary, sizeof value);
      }
    const perturb_status status = call(operation, context_with(1), p, noise, lpgd, batch, theta.data(), extra.data(), first, given);
    ++made_calls;
    succeeded_calls += status == PERTURB_OK;
    check(known(status) && status != PERTURB_ERROR_INTERNAL, "an unknown or internal status");
    check((status == PERTURB_OK) == (*perturb_last_error() == 0), "the last error and the status disagree");
    for (int i = 0; i < 4; ++i) {
      check(holds_canary(first.all[i].back()), "a write past the end of an output");
      first.all[i].pop_back();
      if (status != PERTURB_OK)
        for (float value : first.all[i]) check(holds_canary(value), "an output was written by a call that failed");
    }
    const perturb_status again =
        call(operation, context_with(1 + in.byte() % 3), p, noise, lpgd, batch, theta.data(), extra.data(), second, given);
    check(again == status, "another status with other threads");
    for (int i = 0; i < 4; ++i)
      check(sizes[i] == 0 || std::memcmp(first.all[i].data(), second.all[i].data(), sizes[i] * sizeof(float)) == 0,
            "other bits with other threads");
    if (status == PERTURB_OK && batch > 0) check_success(operation, p, noise, batch, first, tame);
    if (status == PERTURB_OK && batch > 0 && operation >= 2 && operation <= 6 && !p.custom && noise.distribution != PERTURB_GIVEN && noise.sampling != PERTURB_SAMPLING_LATIN && noise.first_sample == 0) {
      for (int i = 0; i < 4; ++i)
        for (float& value : second.all[i]) std::memcpy(&value, &canary, sizeof value);
      accumulate(in, operation, p, noise, batch, theta.data(), extra.data(), second, given);
      for (int i = 0; i < 4; ++i)
        check(sizes[i] == 0 || std::memcmp(first.all[i].data(), second.all[i].data(), sizes[i] * sizeof(float)) == 0,
              "other bits from an accumulator");
    }
  }
  perturb_oracle_destroy(p.oracle);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  one_run(data, size);
  return 0;
}

#ifdef PERTURB_FUZZ_STANDALONE
int main(int argc, char** argv) {
  uint64_t runs = UINT64_MAX, first = 1;
  double seconds = 10;
  for (int i = 1; i < argc; ++i) {
    if (std::strncmp(argv[i], "-runs=", 6) == 0)
      runs = std::strtoull(argv[i] + 6, nullptr, 10), seconds = 1e9;
    else if (std::strncmp(argv[i], "-seed=", 6) == 0)
      first = std::strtoull(argv[i] + 6, nullptr, 10);
    else
      seconds = std::strtod(argv[i], nullptr);
  }
  const auto start = std::chrono::steady_clock::now();
  const auto elapsed = [start] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(); };
  std::vector<uint8_t> data(1024);
  uint64_t done = 0;
  for (; done < runs && (done % 64 != 0 || elapsed() < seconds); ++done) {
    current_run = first + done;
    uint64_t state = current_run * 0x9e3779b97f4a7c15u;
    for (uint8_t& byte : data) {  // splitmix64, one byte a step
      state += 0x9e3779b97f4a7c15u;
      uint64_t x = state;
      x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
      x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
      byte = static_cast<uint8_t>((x ^ (x >> 31)) >> 24);
    }
    one_run(data.data(), data.size());
  }
  std::printf("checks: %llu (random calls, of which %llu succeeded)\n", made_calls, succeeded_calls);
  if (succeeded_calls < made_calls / 4) defect("hardly any call succeeded: the fuzzer tests too little");
  return 0;
}
#endif
