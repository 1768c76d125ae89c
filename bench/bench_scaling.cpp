// How a call's time grows with samples M, items n, rows and threads, and what the smallest call costs. Times are the least of many calls, and
// for slopes processor time of the thread that used most of it: slopes are then steady even on a shared machine.
//
//   bench_scaling [--check] [--filter TEXT] [--seconds S]      S: for each point
#include <algorithm>
#include <cmath>
#include <iostream>

#include "machine.h"
#include "workloads.h"

namespace perturb::bench {
namespace {

constexpr double slope_limit = 1.1, slope_limit_n = 1.25;  // of M and batch; of n, where caches end and networks have n log^2 n comparators
constexpr double smallest_call_limit = 5e-6;
constexpr double overhead = 20e-6;  // segments that start below it measure the call, not the samples
constexpr double items_limit = 1e8;  // of one call, so that a point takes no longer than a second

enum class operation { expectation, vjp, solve };
constexpr const char* operation_names[] = {"expectation", "vjp", "solve"};

struct options {
  bool check = false;
  std::string filter;
  double seconds = 0.1;
};

// An oracle at size n, ready to call with any number of rows and samples.
class problem {
 public:
  problem(test_case c, int64_t batch) : case_(std::move(c)) {
    case_.batch = batch;
    case_.distribution = PERTURB_NORMAL;
    case_.epsilon = 1;
    if (case_.is_grid()) {
      theta_.resize(batch * case_.n);
      for (int64_t i = 0; i < batch * case_.n; ++i) theta_[i] = test::uniform_float(3, i, 1, 9);
      case_.epsilon = 0.5f;
    } else {
      theta_ = test::make_theta(case_);
    }
    oracle_ = test::make_oracle(case_);
    cotangent_ = test::make_cotangent(case_);
    out_.resize(theta_.size());
  }

  void call(perturb_context* context, operation what, int64_t samples) {
    const perturb_noise noise = test::make_noise(PERTURB_NORMAL, case_.epsilon, samples);
    switch (what) {
      case operation::expectation:
        return test::require(perturb_expectation(context, oracle_.get(), &noise, case_.batch, theta_.data(), out_.data(), nullptr, nullptr, nullptr));
      case operation::vjp: return test::require(perturb_vjp(context, oracle_.get(), &noise, case_.batch, theta_.data(), cotangent_.data(), out_.data()));
      case operation::solve: return test::require(perturb_solve(context, oracle_.get(), case_.batch, theta_.data(), out_.data(), nullptr));
    }
  }

 private:
  test_case case_;
  test::oracle_ptr oracle_;
  std::vector<float> theta_, cotangent_, out_;
};

struct call_times {
  double least = 0, median = 0;
};

enum class measured_by { clock, own_processor_time, busiest_thread };

class stopwatch {
 public:
  explicit stopwatch(measured_by by) : by_(by) {
    if (by == measured_by::busiest_thread) before_ = thread_seconds();
    start_ = now();
  }

  double seconds() const {
    if (by_ != measured_by::busiest_thread) return now() - start_;
    double longest = 0;
    for (const auto& [thread, seconds] : thread_seconds()) {
      const auto found = before_.find(thread);
      longest = std::max(longest, seconds - (found == before_.end() ? 0 : found->second));
    }
    return longest;
  }

 private:
  double now() const {
    if (by_ == measured_by::clock) return wall_seconds();
    timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
  }

  measured_by by_;
  std::map<int, double> before_;
  double start_ = 0;
};

call_times time_calls(problem& p, perturb_context* context, operation what, int64_t samples, double seconds, measured_by by) {
  p.call(context, what, samples);
  std::vector<double> times;
  for (const double start = wall_seconds(); times.size() < 3 || (wall_seconds() - start < seconds && times.size() < 100000);) {
    const stopwatch watch(by);
    p.call(context, what, samples);
    times.push_back(watch.seconds());
  }
  std::sort(times.begin(), times.end());
  return {times.front(), times[times.size() / 2]};
}

struct family {
  const char* name;
  int64_t n;  // where another size varies
  test_case (*make)(test::case_list&, int64_t n);
};

const family families[] = {
    {"argmax", 100, [](test::case_list& make, int64_t n) { return make.argmax_case(n); }},
    {"top-10", 100, [](test::case_list& make, int64_t n) { return make.top_k_case(n, std::min<int64_t>(10, n)); }},
    {"top-n/10", 100, [](test::case_list& make, int64_t n) { return make.top_k_case(n, std::max<int64_t>(1, n / 10)); }},
    {"rank", 100, [](test::case_list& make, int64_t n) { return make.rank_case(n); }},
    {"path", 100, [](test::case_list& make, int64_t n) {
       const int64_t side = std::max<int64_t>(2, std::llround(std::sqrt(static_cast<double>(n))));
       return make.grid_case(side, side);
     }},
};

struct point {
  int64_t size;  // along the axis
  double seconds;
};

std::string number(double value, const char* format) {
  char text[48];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

// Prints one line; whether a slope is over the limit.
bool print_axis(const std::string& name, const char* axis, int threads, const std::vector<point>& points, double per_unit, double limit) {
  std::cout << "| " << name << " | " << axis << " | " << threads << " |";
  double steepest = -1;
  size_t where = 0;
  for (size_t i = 0; i < points.size(); ++i) {
    const double size = static_cast<double>(points[i].size);
    std::cout << " " << points[i].size << ": " << number(points[i].seconds * 1e9 / (size * per_unit), "%.3g") << (i + 1 < points.size() ? "," : "");
    if (i == 0 || points[i - 1].seconds < overhead) continue;
    const double slope = std::log(points[i].seconds / points[i - 1].seconds) / std::log(size / static_cast<double>(points[i - 1].size));
    if (slope > steepest) steepest = slope, where = i;
  }
  const bool over = steepest > limit;
  std::cout << " | ";
  if (steepest >= 0) std::cout << number(steepest, "%.2f") << " (" << points[where - 1].size << " to " << points[where].size << ")";
  std::cout << " | " << (over ? "STEEP" : "") << " |" << std::endl;
  return over;
}

int scale(const options& chosen) {
  int steep = 0;
  std::cout << "| oracle, operation | axis | threads | size: ns per item | steepest slope | |\n|---|---|---:|---|---|---|\n";
  test::case_list make;
  for (const family& f : families) {
    if (std::string(f.name).find(chosen.filter) == std::string::npos) continue;
    for (const operation what : {operation::expectation, operation::vjp}) {
      const std::string name = std::string(f.name) + ", " + operation_names[static_cast<int>(what)];
      for (const int threads : {1, 2}) {
        const test::context_ptr context = test::make_context(threads);
        const measured_by by = threads == 1 ? measured_by::own_processor_time : measured_by::busiest_thread;
        const auto seconds_of = [&](problem& p, int64_t samples) { return time_calls(p, context.get(), what, samples, chosen.seconds, by).least; };

        std::vector<point> points;
        problem row(f.make(make, f.n), 1);
        for (const int64_t samples : {10, 100, 1000, 10000, 100000, 1000000})
          if (static_cast<double>(samples * f.n) <= items_limit) points.push_back({samples, seconds_of(row, samples)});
        steep += print_axis(name + ", n=" + std::to_string(f.n), "M", threads, points, static_cast<double>(f.n), slope_limit);

        points.clear();
        for (const int64_t batch : {1, 8, 64, 512, 4096}) {
          problem rows(f.make(make, f.n), batch);
          points.push_back({batch, seconds_of(rows, 32)});
        }
        steep += print_axis(name + ", n=" + std::to_string(f.n) + ", M=32", "batch", threads, points, 32.0 * static_cast<double>(f.n), slope_limit);
        if (threads == 2) continue;

        points.clear();
        for (const int64_t n : {4, 16, 64, 256, 512, 1024, 4096, 16384, 100000}) {
          const test_case c = f.make(make, n);
          problem one(c, 1);
          points.push_back({c.n, seconds_of(one, 64)});
        }
        steep += print_axis(name + ", M=64", "n", threads, points, 64, slope_limit_n);
      }
    }
  }
  return steep;
}

int smallest_calls(const options& chosen) {
  int slow = 0;
  std::cout << "\n| smallest call (n=2, M=1, one row) | threads | least us | median us | |\n|---|---|---:|---:|---|\n";
  test::case_list make;
  for (const family& f : families) {
    if (std::string(f.name).find(chosen.filter) == std::string::npos) continue;
    test_case c = std::string(f.name) == "path" ? make.grid_case(1, 2) : f.make(make, 2);
    problem p(c, 1);
    for (const operation what : {operation::expectation, operation::vjp, operation::solve})
      for (const int threads : {1, 0}) {
        const test::context_ptr context = test::make_context(threads);
        const call_times t = time_calls(p, context.get(), what, 1, chosen.seconds, measured_by::clock);
        const bool over = t.median > smallest_call_limit;
        slow += over;
        std::cout << "| " << f.name << ", " << operation_names[static_cast<int>(what)] << " | " << (threads ? std::to_string(threads) : "default") << " | "
                  << number(t.least * 1e6, "%.2f") << " | " << number(t.median * 1e6, "%.2f") << " | " << (over ? "SLOW" : "") << " |" << std::endl;
      }
  }
  return slow;
}

options parse(int argc, char** argv) {
  options chosen;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--check") {
      chosen.check = true;
    } else if (word == "--filter" && i + 1 < argc) {
      chosen.filter = argv[++i];
    } else if (word == "--seconds" && i + 1 < argc) {
      chosen.seconds = std::atof(argv[++i]);
    } else {
      throw std::runtime_error("unexpected argument " + word + "\nusage: bench_scaling [--check] [--filter TEXT] [--seconds S]");
    }
  }
  return chosen;
}

int run(const options& chosen) {
  for (const auto& [key, value] : machine()) std::cout << "- " << key << ": " << value << "\n";
  std::cout << "\n";
  const int steep = scale(chosen), slow = smallest_calls(chosen);
  std::cout << "\nslopes over their limit: " << steep << ", smallest calls over " << number(smallest_call_limit * 1e6, "%.0f") << " us: " << slow << "\n";
  return chosen.check && steep + slow ? 1 : 0;
}

}  // namespace
}  // namespace perturb::bench

int main(int argc, char** argv) try { return perturb::bench::run(perturb::bench::parse(argc, argv)); } catch (const std::exception& error) {
  std::cerr << "bench_scaling: " << error.what() << "\n";
  return 2;
}
