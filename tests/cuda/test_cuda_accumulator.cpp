// Accumulators on a CUDA context: samples in parts, merged on the device, carried over bytes from the CPU and back, give the CPU's bits of one
// call, for every shape of kernel.
#include <gtest/gtest.h>

#include "accumulators.h"
#include "cuda/cuda_call.h"

namespace perturb::test {
namespace {

TEST(cuda_accumulator, parts_give_the_cpu_bits_of_one_call) {
  const context_ptr cpu = make_context(2), cuda = make_cuda_context();
  ASSERT_TRUE(cuda) << perturb_last_error();
  const char* only = std::getenv("PERTURB_TEST_CASES");
  std::vector<test_case> all = shapes();
  for (const test_case& c : noise_cases())
    if (!c.given && c.sampling != PERTURB_SAMPLING_LATIN) all.push_back(c);
  for (test_case c : all) {
    if (only && c.name.find(only) == std::string::npos) continue;
    c.first_sample = 0;
    prepared_case p(cpu.get(), c);
    for (entry_point entry : accumulated) {
      if (!has(p, entry)) continue;
      SCOPED_TRACE(c.name + " " + name_of(entry));
      host_call host(cpu.get(), p, entry);
      device_call device(cuda.get(), p, entry);
      const std::vector<float> expected = host.run();
      const accumulator_ptr on_cpu = make_accumulator(host.valid), first = make_accumulator(device.valid), second = make_accumulator(device.valid);
      // The last sample first, on one device accumulator; the others, but for one, on another; that one on the CPU.
      const int64_t last = c.samples - 1, middle = c.samples > 2 ? 1 : 0;
      const auto add = [](perturb_accumulator* to, int64_t at, int64_t samples, const request& r) {
        if (samples > 0) require(perturb_accumulator_add(to, at, samples, r.theta, r.extra));
      };
      add(first.get(), last, 1, device.valid);
      add(second.get(), middle, last - middle, device.valid);
      add(on_cpu.get(), 0, middle, host.valid);
      require(perturb_accumulator_merge(first.get(), second.get()));
      const std::vector<unsigned char> of_cpu = saved(on_cpu.get()), of_device = saved(first.get());
      require(perturb_accumulator_load(first.get(), of_cpu.data(), of_cpu.size()));
      require(perturb_accumulator_load(on_cpu.get(), of_device.data(), of_device.size()));
      EXPECT_TRUE(saved(first.get()) == saved(on_cpu.get()));
      require(perturb_accumulator_result(first.get(), device.valid.theta, device.valid.extra, device.valid.output));
      EXPECT_TRUE(same_bits(expected, device.results())) << "device";
      require(perturb_accumulator_result(on_cpu.get(), host.valid.theta, host.valid.extra, host.valid.output));
      EXPECT_TRUE(same_bits(expected, host.results())) << "host";
      EXPECT_EQ(perturb_accumulator_merge(first.get(), on_cpu.get()), PERTURB_ERROR_INVALID_ARGUMENT) << "another device";
      count(2);
    }
  }
}

// A device finds a cost below the floor after add() has returned, too late to refuse the samples.
TEST(cuda_accumulator, refusing_grids_are_refused) {
  const context_ptr cuda = make_cuda_context();
  ASSERT_TRUE(cuda) << perturb_last_error();
  perturb_grid_path_options options = PERTURB_GRID_PATH_OPTIONS_INIT;
  options.height = options.width = 3;
  options.target = 8;
  options.negative = PERTURB_NEGATIVE_ERROR;
  const oracle_ptr oracle = make_grid(options);
  const perturb_noise noise = make_noise(PERTURB_NORMAL, 1, 1);
  perturb_accumulator* made = nullptr;
  EXPECT_EQ(perturb_accumulator_create(cuda.get(), PERTURB_OP_EXPECTATION, oracle.get(), &noise, 1, &made), PERTURB_ERROR_UNSUPPORTED);
  EXPECT_EQ(made, nullptr);
  count(2);
}

}  // namespace
}  // namespace perturb::test
