// What samples of a workload cost one thread, as the difference of two calls on one row that differ in their number of samples, so that
// start-up, checks and the row's own work cancel. bench/cpu_costs.py runs this and makes tables of it.
//
//   bench_costs step WORKLOAD OPERATION FEW MANY            every instruction: "object offset count" lines, by single steps
//   bench_costs time WORKLOAD OPERATION FEW MANY SECONDS    nanoseconds of the difference, and of a cycle (two clocks)
//
// Single steps count what an instruction set really executes, AVX-512 included, whatever else the machine does. Linux on x86-64.
#include <dlfcn.h>
#include <signal.h>
#include <ucontext.h>

#include <algorithm>
#include <iostream>

#include "machine.h"
#include "workloads.h"

namespace perturb::bench {
namespace {

// One row of a workload, ready to call.
class row_call {
 public:
  row_call(const std::string& slug, const std::string& operation) : vjp_(operation == "vjp") {
    if (!vjp_ && operation != "expectation") throw std::runtime_error("unknown operation " + operation + "; expected expectation or vjp");
    std::vector<workload> found = workloads(slug);
    if (found.size() != 1) throw std::runtime_error("no workload has the slug " + slug);
    w_ = std::move(found[0]);
    cotangent_ = test::make_cotangent(w_.c);
    out_.resize(w_.c.n);
  }

  void operator()(int64_t samples) {
    perturb_noise noise = w_.noise();
    noise.samples = samples;
    test::require(vjp_ ? perturb_vjp(context_.get(), w_.oracle.get(), &noise, 1, w_.theta.data(), cotangent_.data(), out_.data())
                       : perturb_expectation(context_.get(), w_.oracle.get(), &noise, 1, w_.theta.data(), out_.data(), nullptr, nullptr, nullptr));
  }

 private:
  bool vjp_;
  workload w_;
  test::context_ptr context_ = test::make_context(1);
  std::vector<float> cotangent_, out_;
};

// Instructions by address while the processor's trap flag is set: a trap before every one, counted where nothing is allocated.
constexpr size_t table_size = 1 << 20;
struct {
  uint64_t address;
  int64_t count;
} table[table_size];
int64_t sign;

void count_instruction(int, siginfo_t*, void* context) {
  const uint64_t address = static_cast<uint64_t>(static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP]);
  size_t at = address * 0x9e3779b97f4a7c15u >> 44;
  while (table[at].address != address && table[at].address != 0) at = (at + 1) % table_size;
  table[at].address = address;
  table[at].count += sign;
}

constexpr uint64_t trap_flag = 1 << 8;
[[gnu::noinline]] void set_trap_flag(bool on) {
  const uint64_t flags = __builtin_ia32_readeflags_u64();
  __builtin_ia32_writeeflags_u64(on ? flags | trap_flag : flags & ~trap_flag);
}

void step(row_call& call, int64_t few, int64_t many) {
  call(few), call(many);  // symbols bound, pages there
  struct sigaction action = {};
  action.sa_sigaction = count_instruction;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGTRAP, &action, nullptr);
  const auto stepped = [&](int64_t samples, int64_t s) {
    sign = s;
    set_trap_flag(true);
    call(samples);
    set_trap_flag(false);
  };
  stepped(few, -1);
  stepped(many, 1);
  for (const auto& [address, count] : table) {
    if (count == 0) continue;
    Dl_info where;
    const bool known = dladdr(reinterpret_cast<void*>(address), &where) != 0;
    std::cout << (known ? where.dli_fname : "?") << " " << address - (known ? reinterpret_cast<uint64_t>(where.dli_fbase) : 0) << " " << count << "\n";
  }
}

// Seconds of one cycle by two clocks: a chain of multiplications, three cycles each, which nobody can slow but the frequency; and
// independent fused multiply-adds, two per cycle, which another thread on the same core slows as it slows the kernels.
double chain_cycle() {
  constexpr int rounds = 2000;
  uint64_t x = 3;
  const double start = wall_seconds();
  for (int r = 0; r < rounds; ++r)
    asm volatile("imul %0, %0\n imul %0, %0\n imul %0, %0\n imul %0, %0\n imul %0, %0\n imul %0, %0\n imul %0, %0\n imul %0, %0" : "+r"(x));
  return (wall_seconds() - start) / (rounds * 8 * 3);
}

template <class F>
double throughput_cycle(F&& twenty_instructions) {
  constexpr int rounds = 5000;
  const double start = wall_seconds();
  for (int r = 0; r < rounds; ++r) twenty_instructions();
  return (wall_seconds() - start) / (rounds * 10);
}
#define PERTURB_FMA(v, d) "vfmadd132ps %%" v "0, %%" v "0, %%" v #d "\n"
#define PERTURB_TEN(v) PERTURB_FMA(v, 1) PERTURB_FMA(v, 2) PERTURB_FMA(v, 3) PERTURB_FMA(v, 4) PERTURB_FMA(v, 5) PERTURB_FMA(v, 6) \
      PERTURB_FMA(v, 7) PERTURB_FMA(v, 8) PERTURB_FMA(v, 9) PERTURB_FMA(v, 10)
#define PERTURB_CLOBBERED "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10"
double shared_cycle(const std::string& isa) {
  if (isa == "avx512") return throughput_cycle([] { asm volatile(PERTURB_TEN("zmm") PERTURB_TEN("zmm") : : : PERTURB_CLOBBERED); });
  if (isa == "avx2") return throughput_cycle([] { asm volatile(PERTURB_TEN("ymm") PERTURB_TEN("ymm") : : : PERTURB_CLOBBERED); });
  return chain_cycle();
}

// The least of many alternating calls: what the processor does when nobody disturbs it.
void time(row_call& call, const std::string& isa, int64_t few, int64_t many, double seconds) {
  const auto seconds_of = [&](int64_t samples) {
    const double start = wall_seconds();
    call(samples);
    return wall_seconds() - start;
  };
  call(few), call(many);
  double chain = 1, shared = 1, least_few = 1e9, least_many = 1e9;
  for (const double start = wall_seconds(); wall_seconds() - start < seconds;) {
    chain = std::min(chain, chain_cycle());
    shared = std::min(shared, shared_cycle(isa));
    least_few = std::min(least_few, seconds_of(few));
    least_many = std::min(least_many, seconds_of(many));
  }
  std::cout << (least_many - least_few) * 1e9 << " " << chain * 1e9 << " " << shared * 1e9 << "\n";
}

int run(const std::vector<std::string>& words) {
  const bool timed = words.size() == 6 && words[0] == "time";
  if (!timed && !(words.size() == 5 && words[0] == "step"))
    throw std::runtime_error("usage: bench_costs step WORKLOAD OPERATION FEW MANY\n       bench_costs time WORKLOAD OPERATION FEW MANY SECONDS");
  const int64_t few = std::stoll(words[3]), many = std::stoll(words[4]);
  if (few < 1 || many <= few) throw std::runtime_error("expected 1 <= FEW < MANY");
  row_call call(words[1], words[2]);
  const std::string isa = instruction_set();
  std::cout << isa << "\n";
  timed ? time(call, isa, few, many, std::stod(words[5])) : step(call, few, many);
  return 0;
}

}  // namespace
}  // namespace perturb::bench

int main(int argc, char** argv) try { return perturb::bench::run({argv + 1, argv + argc}); } catch (const std::exception& error) {
  std::cerr << "bench_costs: " << error.what() << "\n";
  return 2;
}
