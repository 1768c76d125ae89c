// Random API calls from bytes: any oracle, any operation, mostly valid arguments, some not. Checks what the header promises of every
// call: a known status, a sentence and untouched outputs on failure; finite outputs, sums that are exact and the same bits on another
// number of threads on success. Built for libFuzzer, or with -DPERTURB_FUZZ_STANDALONE as a program that makes its own bytes:
//     fuzz_api [seconds] [-runs=N] [-seed=FIRST]     a failure names its run: fuzz_api -runs=1 -seed=RUN repeats it
#include <perturb/perturb.h>

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
  bool grid = false, strict = false;
};

perturb_status make_oracle(bytes& in, problem& p, std::vector<uint8_t>& passable) {
  p.kind = in.byte() % 4;
  p.n = in.one_in(40) ? in.between(-1, 2000) : in.between(1, 40);
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
    default:
      return perturb_noise_fill(context, &noise, batch, p.n, o[0]);
  }
}

void check_success(int operation, const problem& p, const perturb_noise& noise, int64_t batch, const outputs& out, bool tame) {
  for (const auto& values : out.all)
    for (float value : values) {
      if (holds_canary(value)) continue;  // an optional output that was not asked for
      check(!std::isnan(value), "an output is NaN");
      const bool may_be_infinite = !tame || (operation == 2 && noise.samples == 1);
      check(may_be_infinite || std::isfinite(value), "an output is infinite");
    }
  if (operation == 6 || operation == 10)
    for (float loss : out.all[2]) check(holds_canary(loss) || loss >= 0, "a negative loss");
  if (operation > 2 || p.grid) return;
  const int64_t rows = operation == 1 ? batch * noise.samples : batch;
  const double total = p.kind == 0   ? 1
                       : p.kind == 1 ? static_cast<double>(p.k)
                                     : static_cast<double>(p.n) * static_cast<double>(p.n - 1) / 2 + static_cast<double>(p.base * p.n);
  for (int64_t b = 0; b < rows; ++b) {
    double sum = 0;
    for (int64_t i = 0; i < p.n; ++i) sum += out.all[0][static_cast<size_t>(b * p.n + i)];
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
  const int operation = in.byte() % 11;
  const int64_t batch = in.one_in(60) ? in.between(-1, 0) : in.between(1, 3);
  const int64_t rows = batch > 0 ? batch : 0, M = noise.samples > 0 ? noise.samples : 1;

  bool bad = false, tame = true;
  std::vector<float> factors, theta(static_cast<size_t>(rows * p.n)), extra(theta.size());
  if (in.one_in(4)) {
    factors.resize(static_cast<size_t>(p.n));
    for (float& f : factors) f = static_cast<float>(in.byte() % 16) / 8.0f;
    noise.epsilon_per_item = factors.data();
  }
  for (float& t : theta) t = value_of(in, p.grid && !in.one_in(10), &bad, &tame);
  for (float& t : extra) t = value_of(in, false, &bad, &tame);
  if (operation == 6 && !bad) {  // a vertex
    std::vector<float> other(theta.rbegin(), theta.rend());
    if (rows > 0 && perturb_solve(context_with(1), p.oracle, rows, other.data(), extra.data(), nullptr) != PERTURB_OK)
      extra.assign(extra.size(), 1.0f);
  }

  outputs first, second;
  const size_t sizes[4] = {static_cast<size_t>(rows * p.n *
                                               (operation == 1 || operation == 7 ? M
                                                : operation == 5                 ? p.n
                                                                                 : 1)),
                           static_cast<size_t>(rows * p.n), static_cast<size_t>(rows), static_cast<size_t>(rows)};
  if (sizes[0] < (size_t{1} << 22)) {
    const int given = in.byte();
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
