// The contract of CUDA contexts: their creation, refusals in the CPU's words, splits of a problem, streams and threads, and errors of the
// device. Results are compared with a CPU context's, bit for bit. test_cuda_contract_rows.cpp has rows that are bad, test_cuda_contract_memory.cpp memory.
#include <gtest/gtest.h>

#include <cfloat>
#include <functional>
#include <thread>

#include "allocator.h"
#include "cuda/child_process.h"
#include "cuda/contract.h"
#include "cuda/device_allocators.h"

namespace perturb::test {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity(), not_a_number = std::numeric_limits<float>::quiet_NaN();

// ---------------------------------------------------------------- contexts

testing::AssertionResult creation_fails(const perturb_context_options& options, perturb_status expected, const char* name) {
  count();
  perturb_context_options some = options;
  perturb_context* context = reinterpret_cast<perturb_context*>(&some);
  const perturb_status status = perturb_context_create(&options, &context);
  const std::string error = perturb_last_error();
  if (status != expected) return testing::AssertionFailure() << perturb_status_name(status) << " \"" << error << "\"";
  if (context) return testing::AssertionFailure() << "*context is not NULL";
  if (error.find(name) == std::string::npos) return testing::AssertionFailure() << "\"" << error << "\" does not name " << name;
  return testing::AssertionSuccess();
}

TEST_F(cuda_contract, backend_of_a_context) {
  EXPECT_EQ(perturb_context_backend(cuda.get()), PERTURB_BACKEND_CUDA);
  perturb_context_options options = PERTURB_CONTEXT_OPTIONS_INIT;
  EXPECT_EQ(perturb_context_backend(create(options).get()), PERTURB_BACKEND_CUDA) << "AUTO, and a device works";
  options.device = 0;
  EXPECT_EQ(perturb_context_backend(create(options).get()), PERTURB_BACKEND_CUDA);
  perturb_context* context = nullptr;
  EXPECT_EQ(perturb_context_create(nullptr, &context), PERTURB_OK);
  EXPECT_EQ(perturb_context_backend(context), PERTURB_BACKEND_CUDA);
  perturb_context_destroy(context);
  perturb_context_destroy(nullptr);
  count(5);
}

TEST_F(cuda_contract, options) {
  int devices = 0;
  require_cuda(cudaGetDeviceCount(&devices));
  for (perturb_backend backend : {PERTURB_BACKEND_CUDA, PERTURB_BACKEND_AUTO}) {
    perturb_context_options options = cuda_options();
    options.backend = backend;
    for (int32_t device : {devices, devices + 1, 1000, INT32_MAX, -2, INT32_MIN}) {
      options.device = device;
      EXPECT_TRUE(creation_fails(options, PERTURB_ERROR_INVALID_ARGUMENT, "device")) << device;
    }
    options = cuda_options();
    for (uint32_t size : {0u, options.struct_size - 1, options.struct_size + 4, 0xffffffffu}) {
      options.struct_size = size;
      EXPECT_TRUE(creation_fails(options, PERTURB_ERROR_INVALID_STRUCT, "struct_size")) << size;
    }
    options = cuda_options();
    options.device_allocator.allocate = [](size_t, size_t, void*, void*) -> void* { return nullptr; };
    EXPECT_TRUE(creation_fails(options, PERTURB_ERROR_INVALID_ARGUMENT, "device_allocator"));
  }
  EXPECT_EQ(perturb_context_create(nullptr, nullptr), PERTURB_ERROR_INVALID_ARGUMENT);
  EXPECT_EQ(cudaGetLastError(), cudaSuccess);
}

TEST_F(cuda_contract, failing_host_allocator) {
  for (perturb_backend backend : {PERTURB_BACKEND_CUDA, PERTURB_BACKEND_AUTO}) {
    watching_allocator watch;
    perturb_context_options options = cuda_options();
    options.backend = backend;
    options.host_allocator = watch.hooks();
    watch.fail_at = 0;
    EXPECT_TRUE(creation_fails(options, PERTURB_ERROR_OUT_OF_MEMORY, "host_allocator"));
    EXPECT_EQ(watch.verdict(), "");
    watch.fail_at = -1;
    EXPECT_EQ(perturb_context_backend(create(options).get()), PERTURB_BACKEND_CUDA);
    EXPECT_EQ(watch.verdict(), "");
  }
}

TEST_F(cuda_contract, setters) {
  const stream on;
  EXPECT_EQ(perturb_context_set_stream(nullptr, on.handle), PERTURB_ERROR_INVALID_ARGUMENT);
  EXPECT_EQ(perturb_context_set_stream(cuda.get(), on.handle), PERTURB_OK);
  EXPECT_EQ(perturb_context_set_stream(cuda.get(), nullptr), PERTURB_OK);
  EXPECT_STREQ(perturb_last_error(), "");
  EXPECT_EQ(perturb_context_set_workspace(cuda.get(), nullptr, 8), PERTURB_ERROR_INVALID_ARGUMENT);
  EXPECT_EQ(perturb_context_set_workspace(cuda.get(), nullptr, 0), PERTURB_OK);
  count(6);
}

TEST_F(cuda_contract, another_current_device) {
  int devices = 0;
  require_cuda(cudaGetDeviceCount(&devices));
  if (devices < 2) GTEST_SKIP() << "one device only: no other can be current";
  perturb_context_options options = cuda_options();
  options.device = 0;
  const context_ptr first = create(options);
  const prepared_case p(cpu.get(), first_shape());
  device_call call(first.get(), p, entry_point::vjp);
  require_cuda(cudaSetDevice(1));
  require(call.valid.call());
  int current = 0;
  require_cuda(cudaGetDevice(&current));
  require_cuda(cudaSetDevice(0));
  EXPECT_EQ(current, 1) << "the call changed the current device";
  EXPECT_TRUE(same_bits(host_call(cpu.get(), p, entry_point::vjp).run(), call.results()));
}

TEST(cuda_without_devices, everything) {
  EXPECT_TRUE(passes_in_a_child("cuda_child.DISABLED_without_devices", without_devices));
  count();
}
TEST(cuda_child, DISABLED_without_devices) {
  EXPECT_TRUE(creation_fails(cuda_options(), PERTURB_ERROR_BACKEND_UNAVAILABLE, "CUDA"));
  const context_ptr chosen = create(PERTURB_CONTEXT_OPTIONS_INIT);
  EXPECT_STREQ(perturb_last_error(), "");
  ASSERT_EQ(perturb_context_backend(chosen.get()), PERTURB_BACKEND_CPU);
  const context_ptr cpu = make_context(1);
  const prepared_case p(cpu.get(), first_shape());
  EXPECT_TRUE(same_bits(host_call(cpu.get(), p, entry_point::vjp).run(), host_call(chosen.get(), p, entry_point::vjp).run()));
}

// ---------------------------------------------------------------- refusals

struct spoil {
  const char* name;                                     // what the sentence must contain
  std::function<bool(request&, perturb_noise&)> apply;  // false: not for this entry point
};

std::vector<spoil> spoils() {
  // Aligned, and no memory anywhere: a check that looked inside would crash.
  const auto wild = [](float* from, uintptr_t by) { return reinterpret_cast<float*>(reinterpret_cast<uintptr_t>(from) + by); };
  const auto in = [wild](const float* from, uintptr_t by) { return wild(const_cast<float*>(from), by); };
  const auto noisy = [](auto change) {
    return [change](request& r, perturb_noise& z) {
      if (!r.takes_noise()) return false;
      change(z);
      return true;
    };
  };
  const auto with_extra = [](auto change) {
    return [change](request& r, perturb_noise&) {
      if (!*r.extra_name()) return false;
      change(r);
      return true;
    };
  };
  const auto with_theta = [](auto change) {
    return [change](request& r, perturb_noise&) {
      if (!r.takes_oracle()) return false;
      change(r);
      return true;
    };
  };
  return {
      {"context", [](request& r, perturb_noise&) { return r.context = nullptr, true; }},
      {"oracle", with_theta([](request& r) { r.oracle = nullptr; })},
      {"theta", with_theta([](request& r) { r.theta = nullptr; })},
      {"", with_extra([](request& r) { r.extra = nullptr; })},
      {"noise", [](request& r, perturb_noise&) { return r.noise = nullptr, r.takes_noise(); }},
      {"", [](request& r, perturb_noise&) { return r.output[0] = r.output[1] = r.output[2] = r.output[3] = nullptr, true; }},
      {"", [](request& r, perturb_noise&) { return r.batch = -1, true; }},
      {"", [](request& r, perturb_noise&) { return r.batch = INT64_MAX / 2, true; }},
      {"epsilon", noisy([](perturb_noise& z) { z.epsilon = not_a_number; })},
      {"epsilon", noisy([](perturb_noise& z) { z.epsilon = -1; })},
      {"samples", noisy([](perturb_noise& z) { z.samples = 0; })},
      {"first_row", noisy([](perturb_noise& z) { z.first_row = int64_t{1} << 32; })},
      {"first_sample", noisy([](perturb_noise& z) { z.first_sample = int64_t{1} << 32; })},
      {"struct_size", noisy([](perturb_noise& z) { z.struct_size = 4; })},
      {"distribution", noisy([](perturb_noise& z) { z.distribution = static_cast<perturb_distribution>(9); })},
      {"sampling", noisy([](perturb_noise& z) { z.sampling = static_cast<perturb_sampling>(3); })},
      {"theta", with_theta([in](request& r) { r.theta = in(r.theta, 1); })},
      {"aligned", with_extra([in](request& r) { r.extra = in(r.extra, 2); })},
      {"aligned", [wild](request& r, perturb_noise&) { return r.output[0] = wild(r.output[0], 3), true; }},
      {"overlap", with_theta([](request& r) { r.output[0] = const_cast<float*>(r.theta); })},
      {"overlap", with_theta([](request& r) { r.output[0] = const_cast<float*>(r.theta) + r.batch * r.n - 1; })},
      {"overlap", with_extra([](request& r) { r.output[0] = const_cast<float*>(r.extra); })},
      {"overlap", with_theta([](request& r) {
         r.theta = r.extra = reinterpret_cast<const float*>(0x1000), r.output[0] = reinterpret_cast<float*>(0x1000);
       })},
      {"overlap",
       [](request& r, perturb_noise&) {
         if (!r.output[1]) return false;
         return r.output[1] = r.output[0], true;
       }},
  };
}

// The same status and sentence as on the CPU, no output touched, and a context that works afterwards.
TEST_F(cuda_contract, refusals) {
  for (const test_case& c : {first_shape(), few_shapes().back(), shape_for(entry_point::sorted_values)}) {
    const prepared_case p(cpu.get(), c);
    for (entry_point entry : entry_points) {
      if (!has(p, entry)) continue;
      host_call host(cpu.get(), p, entry);
      device_call device(cuda.get(), p, entry);
      for (const spoil& s : spoils()) {
        SCOPED_TRACE(std::string(name_of(entry)) + " " + s.name);
        const auto refusal = [&](request r, perturb_noise noise) -> std::string {
          r.noise = &noise;
          if (!s.apply(r, noise)) return "";
          const perturb_status status = r.call();
          return std::string(perturb_status_name(status)) + ": " + perturb_last_error();
        };
        const std::string expected = refusal(host.valid, host.noise);
        if (expected.empty()) continue;
        EXPECT_EQ(expected.find("PERTURB_OK"), std::string::npos);
        EXPECT_NE(expected.find(s.name), std::string::npos) << expected;
        EXPECT_EQ(expected, refusal(device.valid, device.noise));
        EXPECT_TRUE(device.memory.untouched());
        count(4);
      }
      EXPECT_TRUE(same_bits(host.run(), device.run())) << name_of(entry);
    }
  }
}

TEST_F(cuda_contract, empty_batches) {
  for (entry_point entry : entry_points) {
    const prepared_case p(cpu.get(), shape_for(entry));
    device_call call(cuda.get(), p, entry);
    request r = call.valid;
    r.batch = 0;
    EXPECT_EQ(r.call(), PERTURB_OK);
    EXPECT_TRUE(call.memory.untouched());
    if (entry == entry_point::noise_fill) continue;
    size_t bytes = 1;
    require(perturb_workspace_size(cuda.get(), operation_of(entry), p.oracle.get(), &call.noise, 0, &bytes));
    EXPECT_EQ(bytes, 0u);
    count(3);
  }
}

// ---------------------------------------------------------------- optional outputs, splits, sizes

TEST_F(cuda_contract, optional_outputs) {
  for (const test_case& c : few_shapes()) {
    const prepared_case p(cpu.get(), c);
    for (entry_point entry : {entry_point::solve, entry_point::expectation, c.is_sort() ? entry_point::sorted_values : entry_point::fenchel_young}) {
      device_call whole(cuda.get(), p, entry);
      require(whole.valid.call());
      const unsigned outputs = static_cast<unsigned>(whole.widths.size()), required = entry == entry_point::fenchel_young ? 0 : 1;
      for (unsigned subset = 1; subset < 1u << outputs; ++subset) {
        if ((subset & required) != required) continue;
        SCOPED_TRACE(c.name + " " + name_of(entry) + " " + std::to_string(subset));
        device_call part(cuda.get(), p, entry);
        request r = part.valid;
        for (unsigned o = 0; o < outputs; ++o)
          if (!(subset >> o & 1)) r.output[o] = nullptr;
        require(r.call());
        for (unsigned o = 0; o < outputs; ++o) {
          if (r.output[o]) {
            EXPECT_TRUE(same_bits(whole.memory.result(o), part.memory.result(o)));
          }
        }
      }
    }
  }
}

TEST_F(cuda_contract, split_rows) {
  for (const test_case& c : few_shapes()) {
    const prepared_case p(cpu.get(), c);
    for (perturb_operation operation : operations) {
      if (!p.has(operation)) continue;
      const perturb_noise noise = make_noise(p.c, p.factors);
      std::vector<float> joined;
      for (const auto& [first, rows] : {std::pair<int64_t, int64_t>{0, 1}, {1, 3}}) {
        device_memory memory;
        const std::vector<float> part = run_rows(memory, cuda.get(), p, operation, noise, first, rows);
        joined.insert(joined.end(), part.begin(), part.end());
      }
      EXPECT_TRUE(same_bits(run_all(cpu.get(), p, operation), joined)) << c.name << " " << operation_names[operation];
    }
  }
}

TEST_F(cuda_contract, split_samples) {
  for (const test_case& c : few_shapes()) {
    const prepared_case p(cpu.get(), c);
    const std::vector<float> whole = host_call(cpu.get(), p, entry_point::sample).run();
    for (const auto& [first, samples] : {std::pair<int64_t, int64_t>{0, 2}, {2, c.samples - 2}}) {
      prepared_case part(cpu.get(), c);
      part.c.first_sample += first;
      part.c.samples = samples;
      std::vector<float> expected;
      for (int64_t row = 0; row < c.batch; ++row)
        expected.insert(expected.end(), whole.begin() + (row * c.samples + first) * c.m(),
                        whole.begin() + (row * c.samples + first + samples) * c.m());
      EXPECT_TRUE(same_bits(expected, device_call(cuda.get(), part, entry_point::sample).run())) << c.name;
    }
  }
}

// Rows in several slices of memory: by n, by the batch, by the samples of a row.
TEST_F(cuda_contract, slices_of_rows) {
  const auto same = [&](test_case c, int64_t batch, int64_t samples, std::initializer_list<entry_point> entries) {
    c.batch = batch;
    c.samples = samples;
    const prepared_case p(cpu.get(), c);
    for (entry_point entry : entries)
      EXPECT_TRUE(same_bits(host_call(cpu.get(), p, entry).run(), device_call(cuda.get(), p, entry).run())) << c.n << " " << name_of(entry);
  };
  case_list list;
  same(list.argmax_case(3), 1001, 4, {entry_point::expectation, entry_point::vjp, entry_point::jacobian, entry_point::fenchel_young});
  same(list.argmax_case(1), 8300, 1, {entry_point::solve});
  same(list.argmax_case(3000), 180, 1, {entry_point::expectation});
  same(list.rank_case(300), 350, 1, {entry_point::vjp});
  same(list.top_k_case(150, 5), 26, 2, {entry_point::jacobian});
  same(list.argmax_case(2), 9, 60000, {entry_point::jvp});
  // Sorts: also the samples of a slice in parts.
  same(list.sort_case(300, 1), 350, 1, {entry_point::vjp, entry_point::sorted_values});
  same(list.sort_case(9, 4), 1000, 150, {entry_point::sample, entry_point::expectation, entry_point::sorted_values_vjp});
}

// Chunks of samples in many blocks.
TEST_F(cuda_contract, many_samples) {
  case_list list;
  for (test_case c : {list.argmax_case(2), list.rank_case(2)}) {
    c.batch = 1;
    c.samples = 100000;
    const prepared_case p(cpu.get(), c);
    for (entry_point entry : {entry_point::expectation, c.oracle == oracle_kind::rank ? entry_point::jacobian : entry_point::vjp})
      EXPECT_TRUE(same_bits(host_call(cpu.get(), p, entry).run(), device_call(cuda.get(), p, entry).run()))
          << c.name << " " << name_of(entry);
  }
}

// ---------------------------------------------------------------- streams and threads

TEST_F(cuda_contract, contexts_and_streams) {
  const stream a, b;
  const context_ptr first = make_cuda_context(a.handle), second = make_cuda_context(b.handle);
  for (const test_case& c : few_shapes()) {
    const prepared_case p(cpu.get(), c);
    const std::vector<float> expected = host_call(cpu.get(), p, entry_point::vjp).run();
    device_call one(first.get(), p, entry_point::vjp), two(second.get(), p, entry_point::vjp), three(first.get(), p, entry_point::vjp);
    require(one.valid.call());
    require(two.valid.call());
    require(perturb_context_set_stream(first.get(), b.handle));
    require(three.valid.call());
    require(perturb_context_set_stream(first.get(), a.handle));
    for (device_call* call : {&one, &two, &three}) EXPECT_TRUE(same_bits(expected, call->results())) << c.name;
  }
}

TEST_F(cuda_contract, threads_with_a_context_each) {
  std::vector<std::string> verdicts(2);
  std::vector<test_case> all = few_shapes();
  std::vector<std::unique_ptr<prepared_case>> shared;  // oracles may be shared
  for (const test_case& c : all) shared.push_back(std::make_unique<prepared_case>(cpu.get(), c));
  std::vector<std::thread> threads;
  for (std::string& verdict : verdicts)
    threads.emplace_back([&] {
      try {
        const stream on;
        const context_ptr mine = make_context(1), device = make_cuda_context(on.handle);
        for (const auto& p : shared) {
          const auto same = same_bits(host_call(mine.get(), *p, entry_point::expectation).run(),
                                      device_call(device.get(), *p, entry_point::expectation).run());
          if (!same) verdict += p->c.name + ": " + same.message() + "\n";
        }
      } catch (const std::exception& error) {
        verdict += error.what();
      }
    });
  for (std::thread& thread : threads) thread.join();
  for (const std::string& verdict : verdicts) EXPECT_EQ(verdict, "");
}

// ---------------------------------------------------------------- errors of the device

// An error that the caller left behind is neither reported as ours nor hurts any call.
TEST_F(cuda_contract, errors_left_behind_by_the_caller) {
  const auto leave_one = [] {
    void* memory = nullptr;
    EXPECT_EQ(cudaMalloc(&memory, size_t{1} << 60), cudaErrorMemoryAllocation);
  };
  for (const test_case& c : shapes()) {
    if (c.n > 1000 && c.n < 10000) continue;
    const prepared_case p(cpu.get(), c);
    for (entry_point entry : {entry_point::solve, entry_point::expectation, entry_point::noise_fill}) {
      SCOPED_TRACE(c.name + " " + name_of(entry));
      device_call call(cuda.get(), p, entry);
      size_t clean = 0;
      if (entry != entry_point::noise_fill) clean = workspace_of(call.valid);
      leave_one();
      if (entry != entry_point::noise_fill) {
        EXPECT_EQ(workspace_of(call.valid), clean) << "the advertised bytes";
      }
      leave_one();
      const perturb_status status = call.valid.call();
      EXPECT_EQ(status, PERTURB_OK) << perturb_last_error();
      (void)cudaGetLastError();  // the caller's, if it is still there
      if (status == PERTURB_OK) {
        EXPECT_TRUE(same_bits(host_call(cpu.get(), p, entry).run(), call.results()));
      }
      count(2);
    }
  }
  leave_one();
  EXPECT_EQ(perturb_context_backend(create(PERTURB_CONTEXT_OPTIONS_INIT).get()), PERTURB_BACKEND_CUDA);
  (void)cudaGetLastError();
}

TEST(cuda_lost_device, everything) {
  EXPECT_TRUE(passes_in_a_child("cuda_child.DISABLED_lost_device", with_faults));
  count();
}
TEST(cuda_child, DISABLED_lost_device) {
  const context_ptr cpu = make_context(1), cuda = make_cuda_context();
  ASSERT_TRUE(cuda) << perturb_last_error();
  const prepared_case p(cpu.get(), first_shape()), grid(cpu.get(), few_shapes().back());
  (void)device_call(cuda.get(), grid, entry_point::solve).run();
  device_call call(cuda.get(), p, entry_point::vjp), fill(cuda.get(), p, entry_point::noise_fill);
  const size_t bytes = workspace_of(call.valid);
  const device_buffer workspace(bytes);
  request wild = call.valid;
  wild.theta = reinterpret_cast<const float*>(0x1000);
  const perturb_status first = wild.call();  // the fault may show at once or later
  EXPECT_TRUE(first == PERTURB_OK || first == PERTURB_ERROR_CUDA) << perturb_last_error();
  EXPECT_EQ(cudaDeviceSynchronize(), cudaErrorIllegalAddress);
  const auto lost = [](perturb_status status) {
    EXPECT_EQ(status, PERTURB_ERROR_CUDA);
    EXPECT_NE(std::string(perturb_last_error()).find("the device is lost"), std::string::npos) << perturb_last_error();
  };
  lost(call.valid.call());
  lost(fill.valid.call());
  require(perturb_context_set_workspace(cuda.get(), workspace.as<void>(), bytes));
  lost(call.valid.call());
  const perturb_context_options options = cuda_options();
  perturb_context* context = nullptr;
  lost(perturb_context_create(&options, &context));
  EXPECT_EQ(context, nullptr);
  const context_ptr chosen = create(PERTURB_CONTEXT_OPTIONS_INIT);
  EXPECT_EQ(perturb_context_backend(chosen.get()), PERTURB_BACKEND_CPU) << "AUTO where no device works any more";
  EXPECT_TRUE(same_bits(host_call(cpu.get(), p, entry_point::vjp).run(), host_call(chosen.get(), p, entry_point::vjp).run()));
}

}  // namespace
}  // namespace perturb::test
