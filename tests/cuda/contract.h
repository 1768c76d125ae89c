// What the contract tests of CUDA contexts share: a pair of contexts to compare, shapes, streams.
#pragma once

#include <gtest/gtest.h>

#include "cuda/cuda_call.h"

namespace perturb::test {

struct cuda_contract : testing::Test {
  context_ptr cpu = make_context(2), cuda = make_cuda_context();
  void SetUp() override { ASSERT_TRUE(cuda) << perturb_last_error(); }
};

struct stream {
  cudaStream_t handle = nullptr;
  stream() { require_cuda(cudaStreamCreateWithFlags(&handle, cudaStreamNonBlocking)); }
  ~stream() { (void)cudaStreamDestroy(handle); }
  stream(const stream&) = delete;
  stream& operator=(const stream&) = delete;
};

// A few shapes for what does not depend on the kernel; shapes() has them all.
inline std::vector<test_case> few_shapes() {
  std::vector<test_case> few;
  for (const test_case& c : shapes())
    if ((c.n < 40 || c.n == 100) && (c.has_fenchel_young() || c.is_sort()) && !c.tables) few.push_back(c);  // every call of any rows
  return few;
}
inline const test_case& first_shape() {
  static const test_case c = shapes().front();
  return c;
}

// A shape for every entry point.
inline const test_case& shape_for(entry_point entry) {
  static const std::vector<test_case> all = few_shapes();
  if (!of_sorts(entry)) return first_shape();
  return *std::find_if(all.begin(), all.end(), [](const test_case& c) { return c.is_sort(); });
}

inline context_ptr create(const perturb_context_options& options) {
  perturb_context* context = nullptr;
  require(perturb_context_create(&options, &context));
  return context_ptr(context);
}

inline perturb_context_options cuda_options() {
  perturb_context_options options = PERTURB_CONTEXT_OPTIONS_INIT;
  options.backend = PERTURB_BACKEND_CUDA;
  return options;
}

}  // namespace perturb::test
