// Memory: all of it from the context's allocator and given back, a failing allocator leaves nothing behind, a workspace of exactly the
// advertised size suffices and one byte less is refused, and with a workspace set no call allocates anything, from anywhere: this
// binary replaces global operator new and counts.
#include <gtest/gtest.h>

#include <new>

#include "allocator.h"
#include "compare.h"
#include "operations.h"
#include "refusal.h"

namespace {

std::atomic<int64_t> news{0};

void* counted_new(size_t bytes, size_t alignment) {
  news.fetch_add(1, std::memory_order_relaxed);
  void* memory = alignment > alignof(std::max_align_t) ? std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment)
                                                       : std::malloc(bytes ? bytes : 1);
  if (!memory) throw std::bad_alloc();
  return memory;
}

void* counted_or_null(size_t bytes, size_t alignment) noexcept {
  try {
    return counted_new(bytes, alignment);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

}  // namespace

// All replaceable forms: a sanitizer brings its own of those that are left out, and would see mismatched pairs.
// Not inlined: the compiler would take new and free for a mismatched pair.
[[gnu::noinline]] void* operator new(size_t bytes) { return counted_new(bytes, 0); }
[[gnu::noinline]] void* operator new[](size_t bytes) { return counted_new(bytes, 0); }
[[gnu::noinline]] void* operator new(size_t bytes, std::align_val_t alignment) { return counted_new(bytes, static_cast<size_t>(alignment)); }
[[gnu::noinline]] void* operator new[](size_t bytes, std::align_val_t alignment) { return counted_new(bytes, static_cast<size_t>(alignment)); }
[[gnu::noinline]] void* operator new(size_t bytes, const std::nothrow_t&) noexcept { return counted_or_null(bytes, 0); }
[[gnu::noinline]] void* operator new[](size_t bytes, const std::nothrow_t&) noexcept { return counted_or_null(bytes, 0); }
[[gnu::noinline]] void* operator new(size_t bytes, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return counted_or_null(bytes, static_cast<size_t>(alignment));
}
[[gnu::noinline]] void* operator new[](size_t bytes, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return counted_or_null(bytes, static_cast<size_t>(alignment));
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete[](void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete[](void* memory, size_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete[](void* memory, std::align_val_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, size_t, std::align_val_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete[](void* memory, size_t, std::align_val_t) noexcept { std::free(memory); }

namespace perturb::test {
namespace {

perturb_grid_path_options small_grid() {
  perturb_grid_path_options options = PERTURB_GRID_PATH_OPTIONS_INIT;
  options.height = 5;
  options.width = 6;
  options.target = 29;
  return options;
}
std::vector<oracle_ptr> some_oracles() {
  std::vector<oracle_ptr> all;
  all.push_back(make_argmax(6));
  all.push_back(make_top_k(70, 3));
  all.push_back(make_rank(5));
  all.push_back(make_rank(100));
  all.push_back(make_rank(600));
  all.push_back(make_grid(small_grid()));
  all.push_back(make_custom_argmax());
  all.push_back(make_sort(9));
  all.push_back(make_ordered_top_k(600, 4));
  return all;
}
// Which of them a call is offered for.
std::vector<size_t> oracles_of(entry_point entry) {
  std::vector<size_t> which;
  for (size_t i = 0; i < 9; ++i)
    if (offered(entry, i < 6 ? oracle_family::built_in : i == 6 ? oracle_family::custom : oracle_family::sort)) which.push_back(i);
  return which;
}
oracle_ptr one_of(size_t which) {
  std::vector<oracle_ptr> all = some_oracles();
  return std::move(all[which]);
}

TEST(memory, everything_comes_back) {
  watching_allocator watch;
  {
    const context_ptr context = make_context(3, watch.hooks());
    for (entry_point entry : entry_points)
      for (size_t which : oracles_of(entry)) {
        prepared_request p(context.get(), entry, one_of(which), 9);
        EXPECT_TRUE(accepted(p));
      }
  }
  EXPECT_EQ(watch.verdict(), "");
  EXPECT_GT(watch.calls, 0) << "the context never used its allocator";
}

// A call's scratch goes back when the call returns, as many bytes as the context held before.
TEST(memory, calls_keep_nothing) {
  watching_allocator watch;
  const context_ptr context = make_context(2, watch.hooks());
  for (int round = 0; round < 3; ++round) {
    const size_t before = watch.live_bytes;
    for (entry_point entry : entry_points) {
      prepared_request p(context.get(), entry, of_sorts(entry) ? make_sort(100) : make_rank(100), 9);
      EXPECT_TRUE(accepted(p));
      if (round > 0) {
        EXPECT_EQ(watch.live_bytes, before) << entry_names[static_cast<int>(entry)];
      }
    }
  }
}

TEST(memory, context_creation_with_a_failing_allocator) {
  for (int64_t k = 0;; ++k) {
    watching_allocator watch;
    watch.fail_at = k;
    perturb_context_options options = PERTURB_CONTEXT_OPTIONS_INIT;
    options.backend = PERTURB_BACKEND_CPU;
    options.threads = 3;
    options.host_allocator = watch.hooks();
    perturb_context* context = nullptr;
    const perturb_status status = perturb_context_create(&options, &context);
    count();
    if (status == PERTURB_OK) {
      EXPECT_LE(watch.calls, k);
      perturb_context_destroy(context);
      EXPECT_EQ(watch.verdict(), "");
      break;
    }
    EXPECT_EQ(status, PERTURB_ERROR_OUT_OF_MEMORY) << perturb_last_error();
    EXPECT_EQ(context, nullptr);
    EXPECT_STRNE(perturb_last_error(), "");
    EXPECT_EQ(watch.verdict(), "") << "creation failed at allocation " << k;
    ASSERT_LT(k, 1000);
  }
}

TEST(memory, calls_with_a_failing_allocator) {
  for (entry_point entry : entry_points)
    for (size_t which : oracles_of(entry)) {
      watching_allocator watch;
      context_ptr context = make_context(2, watch.hooks());
      prepared_request p(context.get(), entry, one_of(which), 5);
      for (int64_t k = 0; k < 1000; ++k) {
        const size_t held = watch.live_bytes;
        const int64_t before = watch.calls;
        watch.fail_at = before + k;
        p.reset_outputs();
        const perturb_status status = p.valid.call();
        watch.fail_at = -1;
        if (status == PERTURB_OK) {
          EXPECT_LE(watch.calls - before, k);
          break;
        }
        EXPECT_EQ(status, PERTURB_ERROR_OUT_OF_MEMORY) << perturb_last_error();
        for (const auto& values : p.outputs) EXPECT_TRUE(untouched(values)) << entry_names[static_cast<int>(entry)];
        EXPECT_EQ(watch.live_bytes, held) << entry_names[static_cast<int>(entry)] << " kept memory after failing at allocation " << k;
      }
      EXPECT_TRUE(accepted(p));
      context.reset();
      EXPECT_EQ(watch.verdict(), "");
    }
}

// One byte less than advertised is refused and the bytes are named; the advertised size is accepted.
TEST(memory, workspace_of_exactly_the_size) {
  const context_ptr context = make_context(2);
  for (entry_point entry : entry_points) {
    if (entry == entry_point::noise_fill) continue;
    for (size_t which : oracles_of(entry)) {
      prepared_request p(context.get(), entry, one_of(which), 5);
      size_t bytes = 0;
      require(perturb_workspace_size(context.get(), operation_of(entry), p.oracle.get(), p.valid.takes_noise() ? &p.noise : nullptr, 5,
                                     &bytes));
      std::vector<unsigned char> memory(bytes + 1);
      require(perturb_context_set_workspace(context.get(), memory.data() + 1, bytes));
      EXPECT_TRUE(accepted(p)) << bytes;
      if (bytes > 0) {
        require(perturb_context_set_workspace(context.get(), memory.data() + 1, bytes - 1));
        const std::string needed = std::to_string(bytes);
        EXPECT_TRUE(refused(p, p.valid, {PERTURB_ERROR_WORKSPACE_TOO_SMALL}, {needed.c_str()}));
      }
      require(perturb_context_set_workspace(context.get(), nullptr, 0));
      EXPECT_TRUE(accepted(p));
    }
  }
}

TEST(memory, no_allocation_with_a_workspace) {
  watching_allocator watch;
  const context_ptr context = make_context(3, watch.hooks());
  std::vector<unsigned char> memory(size_t{64} << 20);
  require(perturb_context_set_workspace(context.get(), memory.data(), memory.size()));
  for (entry_point entry : entry_points)
    for (size_t which : oracles_of(entry)) {
      prepared_request p(context.get(), entry, one_of(which), 5);
      const request call = p.valid;
      for (int round = 0; round < 2; ++round) {
        const int64_t hooks_before = watch.calls, news_before = news.load();
        const perturb_status status = call.call();
        const int64_t hooks_after = watch.calls, news_after = news.load();
        EXPECT_EQ(status, PERTURB_OK) << perturb_last_error();
        EXPECT_EQ(hooks_after, hooks_before) << entry_names[static_cast<int>(entry)] << " used the allocator";
        EXPECT_EQ(news_after, news_before) << entry_names[static_cast<int>(entry)] << " used operator new";
        count(2);
      }
    }
}

// The same for every case of the list, with larger shapes and all options.
TEST(memory, no_allocation_in_any_case) {
  const context_ptr context = make_context(2), plain = make_context(1);
  std::vector<unsigned char> memory(size_t{256} << 20);
  std::vector<test_case> all = cases();
  for (const test_case& c : noise_cases())
    if (c.has_score()) all.push_back(c);
  for (const test_case& c : all) {
    const prepared_case p(plain.get(), c);
    const perturb_noise noise = make_noise(p.c, p.factors);
    std::vector<float> y(c.batch * c.m()), gradient(c.batch * c.n);
    require(perturb_context_set_workspace(context.get(), memory.data(), memory.size()));
    const int64_t before = news.load();
    const perturb_status first =
        perturb_expectation(context.get(), p.oracle.get(), &noise, c.batch, p.theta.data(), y.data(), nullptr, nullptr, nullptr);
    const perturb_status second =
        perturb_vjp(context.get(), p.oracle.get(), &noise, c.batch, p.theta.data(), p.cotangent.data(), gradient.data());
    const int64_t after = news.load();
    EXPECT_EQ(first, PERTURB_OK) << perturb_last_error();
    EXPECT_EQ(second, PERTURB_OK) << perturb_last_error();
    EXPECT_EQ(after, before) << c.name;
    count();
    require(perturb_context_set_workspace(context.get(), nullptr, 0));
  }
}

// The counter itself works: an allocation in this binary is seen.
TEST(memory, the_counter_counts) {
  const int64_t before = news.load();
  // Not a new-expression: the compiler may leave those out where nothing is seen of them.
  ::operator delete(::operator new(100));
  ::operator delete(::operator new(100, std::align_val_t{64}), std::align_val_t{64});
  EXPECT_EQ(news.load(), before + 2);
  count();
}

}  // namespace
}  // namespace perturb::test
