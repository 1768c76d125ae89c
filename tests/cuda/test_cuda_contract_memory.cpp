// Memory of CUDA contexts: workspaces of exactly the advertised size, the device allocator, running out, and what oracles keep on a device.
#include "allocator.h"
#include "cuda/contract.h"
#include "cuda/device_allocators.h"

namespace perturb::test {
namespace {

using cuda_memory = cuda_contract;

// Memory whose ends show whether they were written.
class guarded_workspace {
 public:
  explicit guarded_workspace(size_t bytes) : memory_(bytes + 2 * guard), bytes_(bytes) {}
  void fill() { require_cuda(cudaMemset(memory_.as<void>(), 0x5a, bytes_ + 2 * guard)); }
  unsigned char* at(size_t offset) const { return memory_.as<unsigned char>() + offset; }
  // Nothing but [offset, offset + bytes) was written.
  testing::AssertionResult clean(size_t offset, size_t bytes) const {
    std::vector<unsigned char> all(bytes_ + 2 * guard);
    require_cuda(cudaMemcpy(all.data(), memory_.as<void>(), all.size(), cudaMemcpyDeviceToHost));
    count(static_cast<int64_t>(all.size() - bytes));
    for (size_t i = 0; i < all.size(); ++i)
      if ((i < offset || i >= offset + bytes) && all[i] != 0x5a)
        return testing::AssertionFailure() << "byte " << i << " was written, the workspace is " << offset << " + " << bytes;
    return testing::AssertionSuccess();
  }
  static constexpr size_t guard = 1024;

 private:
  device_buffer memory_;
  size_t bytes_;
};

// The advertised bytes do at any alignment; one less does not. With a workspace the allocator is not asked.
TEST_F(cuda_memory, workspaces) {
  watching_device_allocator watch;
  perturb_context_options options = cuda_options();
  options.device_allocator = watch.hooks();
  const context_ptr context = create(options);
  const size_t offsets[] = {0, 1, 7, 64, 255};
  size_t turn = 0;
  for (const test_case& c : shapes()) {
    const prepared_case p(cpu.get(), c);
    for (entry_point entry : entry_points) {
      if (entry == entry_point::noise_fill || !p.has(operation_of(entry))) continue;
      SCOPED_TRACE(c.name + " " + name_of(entry));
      const std::vector<float> expected = host_call(cpu.get(), p, entry).run();
      device_call call(context.get(), p, entry);
      const size_t bytes = workspace_of(call.valid);
      guarded_workspace workspace(bytes);
      // All offsets for small shapes, in turn for others: what is carved out does not depend on the offset.
      for (size_t i = 0; i < (c.n < 20 ? std::size(offsets) : 1); ++i) {
        const size_t offset = guarded_workspace::guard - 256 + offsets[(turn + i) % std::size(offsets)];
        require(perturb_context_set_workspace(context.get(), workspace.at(offset), bytes - 1));
        call.memory.reset_outputs();
        workspace.fill();
        EXPECT_EQ(call.valid.call(), PERTURB_ERROR_WORKSPACE_TOO_SMALL);
        EXPECT_NE(std::string(perturb_last_error()).find(std::to_string(bytes) + " bytes"), std::string::npos) << perturb_last_error();
        EXPECT_TRUE(call.memory.untouched());
        require(perturb_context_set_workspace(context.get(), workspace.at(offset), bytes));
        EXPECT_TRUE(same_bits(expected, call.run())) << "offset " << offset;
        EXPECT_TRUE(workspace.clean(offset, bytes));
        count(3);
      }
      ++turn;
      require(perturb_context_set_workspace(context.get(), nullptr, 0));
    }
  }
  EXPECT_EQ(watch.calls, 0) << "a call with a workspace allocated";
}

// The advertised bytes do for any choice of outputs: fewer of them may make rows smaller, and a slice then takes more rows. An allocator
// that has nothing tells what each call wants; nothing runs, so that sizes may be large and arrays need not exist.
TEST_F(cuda_memory, workspace_for_any_outputs) {
  watching_device_allocator watch;
  watch.fail = true;
  perturb_context_options options = cuda_options();
  options.device_allocator = watch.hooks();
  const context_ptr context = create(options);
  const perturb_noise noise = make_noise(PERTURB_NORMAL, 1, 3);
  const auto array = [](uintptr_t which) { return reinterpret_cast<float*>(which << 44); };
  for (int64_t n = 1; n <= 600000; n += n < 100 ? 1 : n / 3)
    for (int64_t batch : {1, 7, 1000, 100000}) {
      const oracle_ptr rank = make_rank(n), top_k = make_top_k(n, 1);
      for (const perturb_oracle* oracle : {rank.get(), top_k.get()})
        for (int subset = 0; subset < 8; ++subset) {
          const auto output = [&](int o) { return subset >> o & 1 ? array(4 + o) : nullptr; };
          const auto enough = [&](perturb_operation operation, auto call) {
            size_t bytes = 0;
            require(perturb_workspace_size(context.get(), operation, oracle, &noise, batch, &bytes));
            watch.sizes.clear();
            EXPECT_EQ(call(), PERTURB_ERROR_OUT_OF_MEMORY) << perturb_last_error();
            EXPECT_EQ(watch.sizes.size(), 1u);
            for (size_t wanted : watch.sizes)
              EXPECT_LE(wanted + 255, bytes) << operation_names[operation] << (oracle == rank.get() ? " rank " : " top-k ") << n
                                             << ", batch " << batch << ", outputs " << subset;
            count(3);
          };
          enough(PERTURB_OP_EXPECTATION, [&] {
            return perturb_expectation(context.get(), oracle, &noise, batch, array(1), array(2), output(0), output(1), output(2));
          });
          if (subset)
            enough(PERTURB_OP_FENCHEL_YOUNG, [&] {
              return perturb_fenchel_young(context.get(), oracle, &noise, batch, array(1), array(2), output(0), output(1), output(2));
            });
        }
    }
}

TEST_F(cuda_memory, device_allocators) {
  const stream on;
  watching_device_allocator watch;
  watch.stream = on.handle;
  perturb_context_options options = cuda_options();
  options.stream = on.handle;
  options.device_allocator = watch.hooks();
  const context_ptr context = create(options);
  for (const test_case& c : few_shapes()) {
    const prepared_case p(cpu.get(), c);
    for (entry_point entry : entry_points) {
      if (!has(p, entry)) continue;
      SCOPED_TRACE(c.name + " " + name_of(entry));
      device_call call(context.get(), p, entry);
      const std::vector<float> expected = host_call(cpu.get(), p, entry).run();
      if (entry != entry_point::noise_fill) {
        watch.fail = true;
        EXPECT_EQ(call.valid.call(), PERTURB_ERROR_OUT_OF_MEMORY);
        EXPECT_NE(std::string(perturb_last_error()).find("device_allocator"), std::string::npos) << perturb_last_error();
        EXPECT_TRUE(call.memory.untouched());
        watch.fail = false;
      }
      watch.sizes.clear();
      EXPECT_TRUE(same_bits(expected, call.run()));
      size_t total = 0;
      for (size_t bytes : watch.sizes) total += bytes;
      EXPECT_EQ(total, entry == entry_point::noise_fill ? 0 : workspace_of(call.valid) - 255) << "not what perturb_workspace_size promises";
      EXPECT_EQ(watch.verdict(), "");
      count(5);
    }
  }
  EXPECT_GT(watch.calls, 0);
}

// No device has the scratch of this Jacobian: 8 bytes for each of 10^12 entries. The output is never looked at.
TEST_F(cuda_memory, out_of_device_memory) {
  const oracle_ptr oracle = make_argmax(1000000);
  const perturb_noise noise = make_noise(PERTURB_NORMAL, 1, 2);
  const device_buffer theta(4000000);
  float* nowhere = reinterpret_cast<float*>(reinterpret_cast<uintptr_t>(theta.as<float>()) + (uintptr_t{1} << 45));
  EXPECT_EQ(perturb_jacobian(cuda.get(), oracle.get(), &noise, 1, theta.as<float>(), nowhere), PERTURB_ERROR_OUT_OF_MEMORY);
  EXPECT_NE(std::string(perturb_last_error()).find("bytes"), std::string::npos) << perturb_last_error();
  EXPECT_EQ(cudaGetLastError(), cudaSuccess) << "the failure was left behind for the caller's next check";
  const prepared_case p(cpu.get(), first_shape());
  EXPECT_TRUE(same_bits(host_call(cpu.get(), p, entry_point::vjp).run(), device_call(cuda.get(), p, entry_point::vjp).run()));
}

// What a device keeps of a grid goes with the oracle.
TEST_F(cuda_memory, oracles_free_their_device_memory) {
  const auto used = [] {
    size_t available = 0, total = 0;
    require_cuda(cudaDeviceSynchronize());
    require_cuda(cudaMemGetInfo(&available, &total));
    return total - available;
  };
  const test_case c = few_shapes().back();
  ASSERT_TRUE(c.is_grid());
  (void)device_call(cuda.get(), prepared_case(cpu.get(), c), entry_point::solve).run();
  const size_t before = used();
  for (int round = 0; round < 50; ++round) (void)device_call(cuda.get(), prepared_case(cpu.get(), c), entry_point::solve).run();
  EXPECT_EQ(used(), before);
  count();
}

}  // namespace
}  // namespace perturb::test
