// Times the CUDA backend against the usual way (cuda_usual_way.cuh), workload by workload and operation by operation; or, with
// --emulated, runs each once at a size that an emulator can count (bench/cuda_costs.py does so).
//
// Only the C API and the CUDA runtime are used. Times are of the stream, by events: inputs and outputs stay on the device, and memory is
// allocated before.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <sstream>

#include "cuda_timing.h"
#include "cuda_usual_way.cuh"
#include "workloads.h"

namespace perturb::bench {
namespace {

// ---------------------------------------------------------------- what is run

enum class operation { expectation, values, vjp, vjp_epsilon, covariance, cost, sorted_values, sorted_values_vjp, neighbors, neighbors_vjp };
constexpr const char* operation_names[] = {"expectation", "values",        "vjp",               "vjp_epsilon", "covariance",
                                           "cost",        "sorted_values", "sorted_values_vjp", "neighbors",   "neighbors_vjp"};
constexpr int64_t dimensions = 64;  // of neighbors

// `emulated`: few enough problems for an emulator. Blocks may take fewer samples each than at full size, so what a block does once weighs
// more: counts per problem are at most some per cent too high. `usual`: the same for the usual way.
struct cuda_workload {
  std::string slug;
  test_case c;
  std::vector<operation> operations;
  extent full, emulated, usual;

  bool has_usual() const { return usual.batch > 0; }
};

std::vector<cuda_workload> cuda_workloads() {
  std::vector<cuda_workload> all;
  test::case_list make;
  const auto add = [&](const std::string& slug, test_case c, extent full, extent emulated, extent usual) {
    c.distribution = PERTURB_NORMAL;
    c.baseline = PERTURB_BASELINE_LEAVE_ONE_OUT;
    c.epsilon = 1;
    all.push_back({slug, c, {operation::expectation, operation::values, operation::vjp}, full, emulated, usual});
  };
  const auto rank = [&](int64_t n, extent full, extent emulated, extent usual) {
    add("rank/n:" + std::to_string(n), make.rank_case(n), full, emulated, usual);
  };
  const auto argmax = [&](int64_t n, extent full, extent emulated, extent usual) {
    add("argmax/n:" + std::to_string(n), make.argmax_case(n), full, emulated, usual);
  };
  const auto top_10 = [&](int64_t n, extent full, extent emulated, extent usual) {
    add("top_10/n:" + std::to_string(n), make.top_k_case(n, 10), full, emulated, usual);
  };
  const auto path = [&](int64_t side, const char* note, extent full, extent emulated, extent usual) {
    add("path/" + std::to_string(side) + "x" + std::to_string(side) + note, make.grid_case(side, side), full, emulated, usual);
  };
  rank(10, {1024, 1000}, {256, 1000}, {8, 1000});
  rank(32, {1024, 1000}, {128, 1000}, {8, 1000});
  rank(100, {1024, 1000}, {64, 1000}, {4, 1000});
  rank(512, {64, 1000}, {16, 250}, {4, 160});
  rank(1000, {16, 1000}, {16, 64}, {4, 160});
  rank(5000, {4, 1000}, {4, 16}, {4, 40});
  argmax(10, {1024, 1000}, {1024, 1000}, {16, 1000});
  argmax(1000, {1024, 1000}, {8, 1000}, {4, 500});
  argmax(100000, {16, 100}, {1, 100}, {1, 40});
  top_10(100, {1024, 1000}, {64, 1000}, {4, 1000});
  top_10(1000, {64, 1000}, {16, 250}, {4, 160});
  top_10(100000, {4, 100}, {1, 8}, {1, 8});
  path(12, "/samples:100", {70, 100}, {70, 100}, {70, 20});
  path(12, "", {70, 1000}, {7, 1000}, {70, 20});
  path(32, "/samples:100", {70, 100}, {14, 100}, {70, 4});
  path(32, "", {70, 1000}, {2, 1000}, {70, 4});
  path(96, "", {16, 100}, {1, 16}, {1, 8});
  path(256, "", {4, 100}, {1, 4}, {1, 2});

  // What has no usual way, at one size.
  const auto alone = [&](const std::string& slug, test_case c, std::vector<operation> what, extent size) {
    add(slug, c, size, size, {});
    all.back().operations = std::move(what);
  };
  alone("vjp_epsilon/rank/n:100", make.rank_case(100), {operation::vjp_epsilon}, {16, 1000});
  alone("covariance/rank/n:100", make.rank_case(100), {operation::covariance}, {16, 250});
  alone("cost/rank/n:100", make.rank_case(100), {operation::cost}, {16, 250});
  alone("sort/n:100", make.sort_case(100, 100), {operation::expectation, operation::vjp, operation::sorted_values, operation::sorted_values_vjp}, {16, 250});
  alone("neighbors/n:1000", make.top_k_case(1000, 10), {operation::neighbors, operation::neighbors_vjp}, {16, 100});
  // A range that epsilon does not fill: 64-bit keys.
  for (const int64_t n : {100, 1000}) {
    alone("exact/rank/n:" + std::to_string(n), make.rank_case(n), {operation::expectation}, {16, 64});
    all.back().c.epsilon = 0.001f;
  }
  alone("latin/top_10/n:100", make.top_k_case(100, 10), {operation::expectation}, {16, 1000});
  all.back().c.sampling = PERTURB_SAMPLING_LATIN;
  alone("sum_of_gamma/top_10/n:100", make.top_k_case(100, 10), {operation::expectation}, {16, 1000});
  all.back().c.distribution = PERTURB_SUM_OF_GAMMA;
  all.back().c.gamma_k = all.back().c.gamma_terms = 10;
  return all;
}

// A workload's arrays, on the device.
struct arrays {
  test_case c;  // with batch and samples
  operation what;
  test::oracle_ptr oracle;
  device_array<float> theta, cotangent, y, y_error, value, value_error, gradient;
  device_array<float> covariance, queries, points, gradient_points;  // of the operations that have them

  static test_case sized(const cuda_workload& w, extent size) {
    test_case c = w.c;
    c.batch = size.batch;
    c.samples = size.samples;
    return c;
  }
  static std::vector<float> inputs(const test_case& c) {
    if (!c.is_grid()) return test::make_theta(c);
    std::vector<float> theta(c.batch * c.n);
    for (int64_t b = 0; b < c.batch; ++b) make_terrain(c.height, c.width, 7 + b, theta.data() + b * c.n);
    return theta;
  }

  arrays(const cuda_workload& w, extent size, operation what_)
      : c(sized(w, size)),
        what(what_),
        oracle(test::make_oracle(c)),
        theta(inputs(c)),
        cotangent(test::make_cotangent(c)),
        y(c.batch * c.m()),
        y_error(c.batch * c.m()),
        value(c.batch),
        value_error(c.batch),
        gradient(c.batch * std::max(c.n, dimensions)),
        covariance(what == operation::covariance ? c.batch * c.n * c.n : 0),
        queries(coordinates(c.batch, 1)),
        points(coordinates(c.n, 2)),
        gradient_points(c.n * dimensions) {}

  static std::vector<float> coordinates(int64_t count, uint64_t seed) {
    std::vector<float> x(count * dimensions);
    for (size_t i = 0; i < x.size(); ++i) x[i] = test::uniform_float(seed, i, -0.2f, 0.2f);
    return x;
  }

  // What any program has to read and write.
  int64_t compulsory_bytes() const {
    const int64_t n = c.n, m = c.m(), points_bytes = 4 * n * dimensions;
    switch (what) {
      case operation::expectation: return 4 * c.batch * (n + m);
      case operation::values: return 4 * c.batch * (n + m + 1);
      case operation::vjp: return 4 * c.batch * (2 * n + m);
      case operation::vjp_epsilon: return 4 * c.batch * (2 * n + m + 1);
      case operation::covariance: return 4 * c.batch * (n + m * m);
      case operation::cost: return 4 * c.batch * (2 * n + 1);
      case operation::sorted_values: return 4 * c.batch * (n + c.k);
      case operation::sorted_values_vjp: return 4 * c.batch * (2 * n + c.k);
      case operation::neighbors: return 4 * c.batch * (dimensions + n) + points_bytes;
      case operation::neighbors_vjp: return 4 * c.batch * (2 * dimensions + n) + 2 * points_bytes;
    }
    return 0;
  }
};

// A cost that is next to nothing: a solution's first entry.
__global__ void first_entries(int64_t count, int64_t m, const float* y, float* cost) {
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < count) cost[i] = y[i * m];
}
int32_t first_entry(int64_t count, const float* y, const int64_t*, float* cost, void* stream, void* user) {
  first_entries<<<static_cast<unsigned>((count + 255) / 256), 256, 0, static_cast<cudaStream_t>(stream)>>>(count, *static_cast<const int64_t*>(user), y, cost);
  return cudaPeekAtLastError() == cudaSuccess ? 0 : 1;
}

// One call of the library, with a workspace of its own.
class our_way {
 public:
  our_way(const arrays& a, cudaStream_t stream) : a_(a), context_(test::make_cuda_context(stream)), noise_(test::make_noise(a.c, {})) {
    if (!context_) throw std::runtime_error("no CUDA device");
    constexpr perturb_operation kinds[] = {PERTURB_OP_EXPECTATION, PERTURB_OP_EXPECTATION,       PERTURB_OP_VJP,
                                           PERTURB_OP_VJP_EPSILON, PERTURB_OP_COVARIANCE,        PERTURB_OP_COST,
                                           PERTURB_OP_SORTED_VALUES, PERTURB_OP_SORTED_VALUES_VJP, PERTURB_OP_NEAREST_NEIGHBORS,
                                           PERTURB_OP_NEAREST_NEIGHBORS_VJP};
    const perturb_operation kind = kinds[static_cast<int>(a.what)];
    test::require(perturb_workspace_size(context_.get(), kind, a.oracle.get(), &noise_, a.c.batch, &bytes_));
    workspace_ = std::make_unique<device_array<unsigned char>>(bytes_);
    test::require(perturb_context_set_workspace(context_.get(), workspace_->get(), bytes_));
  }
  void run() const {
    perturb_context* const context = context_.get();
    const perturb_oracle* const oracle = a_.oracle.get();
    const int64_t rows = a_.c.batch;
    const float *const theta = a_.theta.get(), *const cotangent = a_.cotangent.get();
    float *const y = a_.y.get(), *const value = a_.value.get(), *const gradient = a_.gradient.get();
    switch (a_.what) {
      case operation::expectation:
      case operation::values:
        return test::require(perturb_expectation(context, oracle, &noise_, rows, theta, y, nullptr, a_.what == operation::values ? value : nullptr, nullptr));
      case operation::vjp:
        return test::require(perturb_vjp(context, oracle, &noise_, rows, theta, cotangent, gradient));
      case operation::vjp_epsilon:
        return test::require(perturb_vjp_epsilon(context, oracle, &noise_, rows, theta, cotangent, value, gradient));
      case operation::covariance:
        return test::require(perturb_covariance(context, oracle, &noise_, rows, theta, a_.covariance.get()));
      case operation::cost: {
        perturb_cost_options options = PERTURB_COST_OPTIONS_INIT;
        int64_t m = a_.c.m();
        options.enqueue = first_entry;
        options.user = &m;
        return test::require(perturb_cost_expectation(context, oracle, &noise_, &options, rows, theta, value, nullptr, gradient));
      }
      case operation::sorted_values:
        return test::require(perturb_sorted_values(context, oracle, &noise_, rows, theta, y, nullptr));
      case operation::sorted_values_vjp:
        return test::require(perturb_sorted_values_vjp(context, oracle, &noise_, rows, theta, cotangent, gradient));
      case operation::neighbors:
        return test::require(perturb_nearest_neighbors(context, oracle, &noise_, rows, dimensions, a_.queries.get(), a_.points.get(), y, nullptr));
      case operation::neighbors_vjp:
        return test::require(perturb_nearest_neighbors_vjp(context, oracle, &noise_, rows, dimensions, a_.queries.get(), a_.points.get(), cotangent, gradient,
                                                           a_.gradient_points.get()));
    }
  }
  void run_with_errors() const {
    test::require(perturb_expectation(context_.get(), a_.oracle.get(), &noise_, a_.c.batch, a_.theta.get(), a_.y.get(), a_.y_error.get(),
                                      a_.value.get(), a_.value_error.get()));
  }
  size_t bytes() const { return bytes_; }

 private:
  const arrays& a_;
  test::context_ptr context_;
  perturb_noise noise_;
  size_t bytes_ = 0;
  std::unique_ptr<device_array<unsigned char>> workspace_;
};

usual_problem usual(const arrays& a) {
  const test_case& c = a.c;
  usual_problem p = {};
  p.oracle = c.is_grid()                       ? usual_oracle::grid_path
             : c.oracle == oracle_kind::argmax ? usual_oracle::argmax
             : c.oracle == oracle_kind::rank   ? usual_oracle::rank
                                               : usual_oracle::top_k;
  p.operation = a.what == operation::vjp      ? usual_operation::vjp
                : a.what == operation::values ? usual_operation::values
                                              : usual_operation::expectation;
  p.rows = c.batch;
  p.samples = c.samples;
  p.n = c.n;
  p.k = c.k;
  p.height = static_cast<int>(c.height);
  p.width = static_cast<int>(c.width);
  p.epsilon = c.epsilon;
  p.cost_floor = c.cost_floor;
  p.seed = 1234;
  p.theta = a.theta.get();
  p.cotangent = a.cotangent.get();
  p.y = a.y.get();
  p.value = a.value.get();
  p.gradient = a.gradient.get();
  return p;
}

// ---------------------------------------------------------------- do both ways agree?

// The largest difference in standard errors.
double farthest(const std::vector<float>& a, const std::vector<float>& b, const std::function<double(size_t)>& error) {
  double most = 0;
  for (size_t i = 0; i < a.size(); ++i) most = std::max(most, std::abs(double(a[i]) - double(b[i])) / (std::sqrt(2.0) * error(i) + 1e-30));
  return most;
}

constexpr double standard_errors = 6;  // as in bench_cpu: over all workloads there are 10^5 entries

// Says how far the usual way is from ours, in combined standard errors.
bool check(const cuda_workload& w) {
  cuda_workload gentle = w;
  if (w.c.is_grid()) gentle.c.epsilon = 0.1f;  // costs at the floor make paths equally short, which each way breaks as it likes
  const int64_t enough = 40;                   // for errors that are estimated from the samples themselves
  const extent size = {std::min<int64_t>(w.usual.batch, 2), w.c.n <= 10000 ? std::max(w.usual.samples, enough) : w.usual.samples};
  bool fine = true;
  std::vector<float> y, y_error, value, value_error, gradient;
  for (operation what : {operation::values, operation::vjp}) {
    if (what == operation::vjp && size.samples < enough) continue;
    const arrays a(gentle, size, what);
    const our_way ours(a, nullptr);
    what == operation::vjp ? ours.run() : ours.run_with_errors();
    require(cudaDeviceSynchronize());
    if (what == operation::vjp) {
      gradient = a.gradient.values();
    } else {
      y = a.y.values();
      y_error = a.y_error.values();
      value = a.value.values();
      value_error = a.value_error.values();
    }
    usual_way other(usual(a));
    other.run(nullptr);
    require(cudaDeviceSynchronize());
    const double samples = static_cast<double>(size.samples);
    if (what == operation::vjp) {
      // The gradient is a mean of (r - mean r) z / epsilon, and z has variance 1.
      const std::vector<float> r = other.scalars();
      std::vector<double> error(size.batch);
      for (int64_t b = 0; b < size.batch; ++b) {
        double sum = 0, squares = 0;
        for (int64_t m = 0; m < size.samples; ++m)
          sum += r[b * size.samples + m], squares += double(r[b * size.samples + m]) * r[b * size.samples + m];
        error[b] = std::sqrt(std::max(0.0, squares - sum * sum / samples)) / (samples - 1) / gentle.c.epsilon;
      }
      const double far = farthest(gradient, a.gradient.values(), [&](size_t i) { return error[i / w.c.n]; });
      std::printf("  gradient: %.2f standard errors apart at most, of %zu entries\n", far, gradient.size());
      fine = fine && far < standard_errors;
    } else {
      const std::vector<float> other_y = a.y.values();
      // An item that is seldom chosen may never be on one side, whose error then is 0: the error of the two together, one hit more.
      const auto error_of_y = [&](size_t i) {
        const double share = std::min(0.5, (y[i] + other_y[i]) / 2.0 + 1 / samples);
        return w.c.oracle == oracle_kind::rank ? y_error[i] : std::max<double>(y_error[i], std::sqrt(share * (1 - share) / samples));
      };
      const double of_y = farthest(y, other_y, error_of_y);
      const double of_value = farthest(value, a.value.values(), [&](size_t i) { return value_error[i]; });
      std::printf("  y: %.2f, value: %.2f standard errors apart at most, of %zu and %zu entries\n", of_y, of_value, y.size(), value.size());
      fine = fine && of_y < standard_errors && of_value < standard_errors;
    }
  }
  return fine;
}

// ---------------------------------------------------------------- the program

struct options {
  bool emulated = false, list = false, check = false;
  std::string only, way = "both", json;
};

result run_one(const cuda_workload& w, operation what, bool is_ours, const options& o, cudaStream_t stream) {
  const extent size = !o.emulated ? w.full : is_ours ? w.emulated : w.usual;
  const arrays a(w, size, what);
  std::unique_ptr<our_way> ours;
  std::unique_ptr<usual_way> other;
  if (is_ours) {
    ours = std::make_unique<our_way>(a, stream);
  } else {
    other = std::make_unique<usual_way>(usual(a));
  }
  const std::function<void()> run = [&] { is_ours ? ours->run() : other->run(stream); };
  result r;
  r.name = w.slug + "/" + operation_names[static_cast<int>(what)];
  r.way = is_ours ? "ours" : "usual";
  r.n = a.c.n;
  r.k = a.c.k;
  r.size = size;
  r.full = w.full;
  r.compulsory_bytes = a.compulsory_bytes();
  r.buffer_bytes = static_cast<int64_t>(is_ours ? ours->bytes() : other->bytes());
  r.time(stream, o.emulated, run);
  return r;
}

constexpr const char* usage_text =
    "usage: bench_cuda [--only NAME] [--way ours|usual|both] [--json FILE] [--emulated] [--check] [--list]\n"
    "  --only NAME   one workload with one operation, as --list names them; or the beginning of names\n"
    "  --emulated    one run of each at a size for an emulator, nothing is timed\n"
    "  --check       whether both ways agree; nothing is timed\n"
    "  --list        names, which part of its problems an emulated run has, and whether there is a usual way\n";

int main_with(const options& o) {
  const std::vector<cuda_workload> all = cuda_workloads();
  const auto wanted = [&](const std::string& name) { return o.only.empty() || name == o.only || (name + "/").rfind(o.only + "/", 0) == 0; };
  if (o.list) {
    for (const cuda_workload& w : all)
      for (operation what : w.operations)
        std::printf("%s/%s %g %d\n", w.slug.c_str(), operation_names[static_cast<int>(what)], w.emulated.share_of(w.full), w.has_usual());
    return 0;
  }
  if (o.check) {
    bool fine = true;
    for (const cuda_workload& w : all) {
      if (!wanted(w.slug) || !w.has_usual()) continue;
      std::printf("%s\n", w.slug.c_str());
      fine = check(w) && fine;
    }
    std::printf(fine ? "both ways agree\n" : "the ways DISAGREE\n");
    return fine ? 0 : 1;
  }
  cudaStream_t stream = nullptr;
  require(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  std::vector<result> results;
  if (!o.emulated) print_header();
  for (const cuda_workload& w : all) {
    for (operation what : w.operations) {
      if (!wanted(w.slug + "/" + operation_names[static_cast<int>(what)])) continue;
      double ours = 0;
      for (const bool is_ours : {true, false}) {
        if (o.way == (is_ours ? "usual" : "ours") || (!is_ours && !w.has_usual())) continue;
        results.push_back(run_one(w, what, is_ours, o, stream));
        if (!o.emulated) print_row(results.back(), ours);
        if (is_ours) ours = results.back().plain.median;
      }
    }
  }
  require(cudaStreamDestroy(stream));
  if (results.empty()) throw std::runtime_error("no workload is called " + o.only + "; --list names them");
  if (!o.json.empty()) write_json(o.json, o.emulated, results);
  return 0;
}

}  // namespace
}  // namespace perturb::bench

int main(int argc, char** argv) try {
  perturb::bench::options o;
  std::map<std::string, bool*> flags = {{"--emulated", &o.emulated}, {"--list", &o.list}, {"--check", &o.check}};
  std::map<std::string, std::string*> values = {{"--only", &o.only}, {"--way", &o.way}, {"--json", &o.json}};
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (flags.count(argument)) {
      *flags[argument] = true;
    } else if (values.count(argument) && i + 1 < argc) {
      *values[argument] = argv[++i];
    } else {
      std::fputs(perturb::bench::usage_text, argument == "--help" ? stdout : stderr);
      return argument == "--help" ? 0 : 2;
    }
  }
  if (o.way != "ours" && o.way != "usual" && o.way != "both") {
    std::fputs(perturb::bench::usage_text, stderr);
    return 2;
  }
  return perturb::bench::main_with(o);
} catch (const std::exception& error) {
  std::cerr << "bench_cuda: " << error.what() << "\n";
  return 2;
}
