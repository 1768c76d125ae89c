// One long table of refusals: every argument of every function is wrong once, and kept in one file so that a missing one shows.
// Bad arguments of every kind to every function: the right status, a sentence that names the argument, outputs untouched, and a context
// that works as before. test_contract_memory.cpp has allocation and workspace, test_contract_threads.cpp contexts side by side.
#include <gtest/gtest.h>

#include <functional>

#include "compare.h"
#include "refusal.h"

namespace perturb::test {
namespace {

constexpr int64_t two_32 = int64_t{1} << 32;
constexpr float infinity = std::numeric_limits<float>::infinity(), not_a_number = std::numeric_limits<float>::quiet_NaN();

perturb_grid_path_options small_grid() {
  perturb_grid_path_options options = PERTURB_GRID_PATH_OPTIONS_INIT;
  options.height = 3;
  options.width = 4;
  options.target = 11;
  return options;
}

// One oracle of every kind.
constexpr int oracle_count = 7;
oracle_ptr make_kind(int which) {
  switch (which) {
    case 0:
      return make_argmax(6);
    case 1:
      return make_top_k(7, 3);
    case 2:
      return make_rank(5);
    case 3:
      return make_grid(small_grid());
    case 4:
      return make_custom_argmax();
    case 5:
      return make_sort(5, 1);
    default:
      return make_ordered_top_k(6, 2);
  }
}
constexpr oracle_family family_of(int which) {
  return which < 4 ? oracle_family::built_in : which == 4 ? oracle_family::custom : oracle_family::sort;
}

// Calls `test` with a valid request of every entry point for every oracle; afterwards the valid call must still succeed.
void for_every_call(const std::function<void(prepared_request&)>& test) {
  const context_ptr context = make_context(2);
  for (entry_point entry : entry_points)
    for (int oracle = 0; oracle < oracle_count; ++oracle) {
      if (!offered(entry, family_of(oracle))) continue;
      prepared_request p(context.get(), entry, make_kind(oracle));
      EXPECT_TRUE(accepted(p));
      test(p);
      EXPECT_TRUE(accepted(p)) << "after a refusal";
    }
}

TEST(contract, null_pointers) {
  for_every_call([](prepared_request& p) {
    request r = p.valid;
    r.context = nullptr;
    EXPECT_TRUE(refused(p, r, PERTURB_ERROR_INVALID_ARGUMENT, "context"));
    if (p.valid.takes_oracle()) {
      r = p.valid;
      r.oracle = nullptr;
      EXPECT_TRUE(refused(p, r, PERTURB_ERROR_INVALID_ARGUMENT, "oracle"));
      r = p.valid;
      r.theta = nullptr;
      EXPECT_TRUE(refused(p, r, PERTURB_ERROR_INVALID_ARGUMENT, "theta"));
    }
    if (p.valid.takes_noise()) {
      r = p.valid;
      r.noise = nullptr;
      EXPECT_TRUE(refused(p, r, PERTURB_ERROR_INVALID_ARGUMENT, "noise"));
    }
    if (*p.valid.extra_name()) {
      r = p.valid;
      r.extra = nullptr;
      EXPECT_TRUE(refused(p, r, PERTURB_ERROR_INVALID_ARGUMENT, p.valid.extra_name()));
    }
    for (int o = 0; o < p.valid.required_outputs(); ++o) {
      r = p.valid;
      r.output[o] = nullptr;
      EXPECT_TRUE(refused(p, r, PERTURB_ERROR_INVALID_ARGUMENT, p.valid.output_names()[o]));
    }
    if (p.valid.required_outputs() == 0) {
      r = p.valid;
      r.output[0] = r.output[1] = r.output[2] = nullptr;
      EXPECT_TRUE(refused(p, r, PERTURB_ERROR_INVALID_ARGUMENT, ""));
    }
  });
}

TEST(contract, noise_fields) {
  struct spoil {
    const char* name;
    std::initializer_list<perturb_status> statuses;
    std::function<void(perturb_noise&)> apply;
  };
  const auto invalid = {PERTURB_ERROR_INVALID_ARGUMENT};
  const auto unsupported = {PERTURB_ERROR_UNSUPPORTED};
  const auto number = {PERTURB_ERROR_INVALID_ARGUMENT, PERTURB_ERROR_NON_FINITE};
  const auto structure = {PERTURB_ERROR_INVALID_STRUCT};
  const auto out_of_range = [](auto& field, int value) { field = static_cast<std::remove_reference_t<decltype(field)>>(value); };
  static const float some[4] = {};
  const spoil spoils[] = {
      {"struct_size", structure, [](perturb_noise& z) { z.struct_size = 0; }},
      {"struct_size", structure, [](perturb_noise& z) { z.struct_size -= 1; }},
      {"struct_size", structure, [](perturb_noise& z) { z.struct_size += 4; }},
      {"struct_size", structure, [](perturb_noise& z) { z.struct_size = 0xffffffffu; }},
      {"distribution", invalid, [&](perturb_noise& z) { out_of_range(z.distribution, -1); }},
      {"distribution", invalid, [&](perturb_noise& z) { out_of_range(z.distribution, 6); }},
      {"mode", invalid, [&](perturb_noise& z) { out_of_range(z.mode, -1); }},
      {"mode", invalid, [&](perturb_noise& z) { out_of_range(z.mode, 2); }},
      {"sampling", invalid, [&](perturb_noise& z) { out_of_range(z.sampling, -1); }},
      {"sampling", invalid, [&](perturb_noise& z) { out_of_range(z.sampling, 3); }},
      {"samples", invalid, [](perturb_noise& z) { z.sampling = PERTURB_SAMPLING_ANTITHETIC; }},  // 5 of them
      {"first_sample", invalid, [](perturb_noise& z) { z.sampling = PERTURB_SAMPLING_ANTITHETIC, z.samples = 4, z.first_sample = 1; }},
      {"first_sample", invalid, [](perturb_noise& z) { z.sampling = PERTURB_SAMPLING_LATIN, z.first_sample = 1; }},
      {"sampling", unsupported, [](perturb_noise& z) { z.sampling = PERTURB_SAMPLING_LATIN, z.distribution = PERTURB_SUM_OF_GAMMA; }},
      {"sampling", unsupported, [](perturb_noise& z) { z.sampling = PERTURB_SAMPLING_LATIN, z.distribution = PERTURB_GIVEN; }},
      {"sampling", unsupported, [](perturb_noise& z) { z.sampling = PERTURB_SAMPLING_ANTITHETIC, z.distribution = PERTURB_GIVEN, z.samples = 4; }},
      {"mode", unsupported, [](perturb_noise& z) { z.mode = PERTURB_MULTIPLICATIVE, z.distribution = PERTURB_SUM_OF_GAMMA; }},
      {"mode", unsupported, [](perturb_noise& z) { z.mode = PERTURB_MULTIPLICATIVE, z.distribution = PERTURB_GIVEN; }},
      {"noise.z:", invalid, [](perturb_noise& z) { z.distribution = PERTURB_GIVEN; }},
      {"noise.z:", invalid, [&](perturb_noise& z) { z.z = some; }},
      {"noise.z_score", invalid, [&](perturb_noise& z) { z.z_score = some; }},
      {"noise.z:", invalid, [&](perturb_noise& z) { z.distribution = PERTURB_GIVEN, z.z = reinterpret_cast<const float*>(reinterpret_cast<uintptr_t>(some) + 2); }},
      {"baseline", invalid, [&](perturb_noise& z) { out_of_range(z.baseline, -1); }},
      {"baseline", invalid, [&](perturb_noise& z) { out_of_range(z.baseline, 3); }},
      {"epsilon", number, [](perturb_noise& z) { z.epsilon = -1; }},
      {"epsilon", number, [](perturb_noise& z) { z.epsilon = -1e-30f; }},
      {"epsilon", number, [](perturb_noise& z) { z.epsilon = not_a_number; }},
      {"epsilon", number, [](perturb_noise& z) { z.epsilon = infinity; }},
      {"samples", invalid, [](perturb_noise& z) { z.samples = 0; }},
      {"samples", invalid, [](perturb_noise& z) { z.samples = -1; }},
      {"samples", invalid, [](perturb_noise& z) { z.samples = INT64_MIN; }},
      {"sample", invalid, [](perturb_noise& z) { z.samples = two_32 + 1; }},
      {"sample", invalid, [](perturb_noise& z) { z.samples = INT64_MAX; }},
      {"first_sample", invalid, [](perturb_noise& z) { z.first_sample = -1; }},
      {"first_sample", invalid, [](perturb_noise& z) { z.first_sample = two_32 - z.samples + 1; }},
      {"first_sample", invalid, [](perturb_noise& z) { z.first_sample = INT64_MAX; }},
      {"first_row", invalid, [](perturb_noise& z) { z.first_row = -1; }},
      {"first_row", invalid, [](perturb_noise& z) { z.first_row = two_32 - 2; }},  // batch is 3
      {"first_row", invalid, [](perturb_noise& z) { z.first_row = INT64_MAX; }},
      {"sum_of_gamma", invalid, [](perturb_noise& z) { z.sum_of_gamma_k = 1; }},
      {"sum_of_gamma", invalid, [](perturb_noise& z) { z.sum_of_gamma_terms = -1; }},
      {"sum_of_gamma_k", invalid, [](perturb_noise& z) { z.distribution = PERTURB_SUM_OF_GAMMA, z.sum_of_gamma_terms = 3; }},
      {"sum_of_gamma_k", invalid, [](perturb_noise& z) { z.distribution = PERTURB_SUM_OF_GAMMA, z.sum_of_gamma_terms = 3, z.sum_of_gamma_k = 1048577; }},
      {"sum_of_gamma_terms", invalid, [](perturb_noise& z) { z.distribution = PERTURB_SUM_OF_GAMMA, z.sum_of_gamma_k = 1; }},
      {"sum_of_gamma_terms", invalid, [](perturb_noise& z) { z.distribution = PERTURB_SUM_OF_GAMMA, z.sum_of_gamma_k = 1, z.sum_of_gamma_terms = 1001; }},
  };
  for_every_call([&](prepared_request& p) {
    if (!p.valid.takes_noise()) return;
    for (const spoil& s : spoils) {
      perturb_noise noise = p.noise;
      s.apply(noise);
      request r = p.valid;
      r.noise = &noise;
      EXPECT_TRUE(refused(p, r, s.statuses, {s.name}));
    }
    for (perturb_distribution d : {PERTURB_GUMBEL, PERTURB_LOGISTIC, PERTURB_LAPLACE}) {
      if (p.valid.entry == entry_point::noise_fill) continue;  // mode does not matter there
      perturb_noise noise = p.noise;
      noise.distribution = d;
      noise.mode = PERTURB_MULTIPLICATIVE;
      request r = p.valid;
      r.noise = &noise;
      EXPECT_TRUE(refused(p, r, {PERTURB_ERROR_UNSUPPORTED}, {"mode", "distribution", "ultiplicative"}));
    }
    perturb_noise last = p.noise;
    last.first_row = two_32 - p.valid.batch;
    last.first_sample = two_32 - last.samples;
    request r = p.valid;
    r.noise = &last;
    EXPECT_EQ(r.call(), PERTURB_OK) << perturb_last_error();
    count();
  });
}

TEST(contract, epsilon_per_item) {
  for_every_call([](prepared_request& p) {
    if (!p.valid.takes_noise() || p.valid.entry == entry_point::noise_fill) return;
    for (size_t at : {size_t{0}, p.factors.size() - 1})
      for (float bad : {-1.0f, not_a_number, infinity, -infinity}) {
        const float before = p.factors[at];
        p.factors[at] = bad;
        EXPECT_TRUE(refused(
            p, p.valid,
            {bad < 0 && bad > -infinity ? PERTURB_ERROR_INVALID_ARGUMENT : PERTURB_ERROR_NON_FINITE, PERTURB_ERROR_INVALID_ARGUMENT},
            {"epsilon_per_item"}))
            << bad;
        p.factors[at] = before;
      }
    // epsilon * epsilon_per_item overflows to infinity
    perturb_noise noise = p.noise;
    noise.epsilon = 3e38f;
    p.factors[0] = 3;
    request r = p.valid;
    r.noise = &noise;
    EXPECT_TRUE(refused(p, r, {PERTURB_ERROR_INVALID_ARGUMENT, PERTURB_ERROR_NON_FINITE}, {"epsilon"}));
    p.factors[0] = 1;
  });
}

// theta + eps_i z may leave the range of float for the one item whose factor is large, with I-MLE too.
TEST(contract, one_item_leaves_the_range_of_float) {
  const context_ptr context = make_context(1);
  const oracle_ptr oracle = make_argmax(4);
  const float theta[4] = {1e38f, -1e38f, 1e38f, 1e38f}, cotangent[4] = {1, 1, 1, 1};
  float factors[4] = {1, 1, 1, 1}, out[4];
  perturb_noise noise = make_noise(PERTURB_NORMAL, 1e37f, 10);
  noise.epsilon_per_item = factors;
  perturb_lpgd_options options = PERTURB_LPGD_OPTIONS_INIT;
  for (float factor : {1.0f, 5.0f}) {
    factors[2] = factor;
    const perturb_status expected = factor == 1 ? PERTURB_OK : PERTURB_ERROR_INVALID_ARGUMENT;
    EXPECT_EQ(perturb_expectation(context.get(), oracle.get(), &noise, 1, theta, out, nullptr, nullptr, nullptr), expected);
    if (factor != 1) {
      EXPECT_NE(std::string(perturb_last_error()).find("theta[0, 2]"), std::string::npos) << perturb_last_error();
    }
    EXPECT_EQ(perturb_imle(context.get(), oracle.get(), &noise, &options, 1, theta, cotangent, out), expected);
    count(3);
  }
}

TEST(contract, sizes) {
  for_every_call([](prepared_request& p) {
    for (int64_t batch : {int64_t{-1}, INT64_MIN, INT64_MAX, INT64_MAX / 2, int64_t{1} << 61}) {
      request r = p.valid;
      r.batch = batch;
      EXPECT_TRUE(refused(p, r, {PERTURB_ERROR_INVALID_ARGUMENT}, {"batch", "first_row"})) << batch;
    }
    if (p.valid.takes_noise()) {
      request r = p.valid;
      r.batch = two_32 + 1;
      EXPECT_TRUE(refused(p, r, {PERTURB_ERROR_INVALID_ARGUMENT}, {"batch", "first_row"}));
    }
    // batch * samples * n >= 2^63 where that array exists
    if (p.valid.entry == entry_point::sample || p.valid.entry == entry_point::noise_fill) {
      perturb_noise noise = p.noise;
      noise.samples = two_32;
      request r = p.valid;
      r.noise = &noise;
      r.batch = two_32;
      EXPECT_TRUE(refused(p, r, PERTURB_ERROR_INVALID_ARGUMENT, ""));
    }
    if (p.valid.entry == entry_point::noise_fill)
      for (int64_t n : {int64_t{0}, int64_t{-1}, int64_t{1} << 31, INT64_MAX}) {
        request r = p.valid;
        r.n = n;
        EXPECT_TRUE(refused(p, r, PERTURB_ERROR_INVALID_ARGUMENT, "n")) << n;
      }
    request r = p.valid;
    r.batch = 0;
    p.reset_outputs();
    EXPECT_EQ(r.call(), PERTURB_OK) << perturb_last_error();
    for (const auto& values : p.outputs) EXPECT_TRUE(untouched(values));
  });
}

// n x n x batch overflows although every single size is allowed; nothing of that size is read or written first.
TEST(contract, jacobian_too_large) {
  const context_ptr context = make_context(1);
  const oracle_ptr oracle = make_argmax((int64_t{1} << 31) - 1);
  const perturb_noise noise = make_noise(PERTURB_NORMAL, 1, 2);
  std::vector<float> theta(16), jacobian(16);
  fill_canary(jacobian);
  EXPECT_EQ(perturb_jacobian(context.get(), oracle.get(), &noise, 4, theta.data(), jacobian.data()), PERTURB_ERROR_INVALID_ARGUMENT);
  EXPECT_TRUE(untouched(jacobian));
}

TEST(contract, non_finite_inputs) {
  for_every_call([](prepared_request& p) {
    if (!p.valid.takes_oracle()) return;
    for (float bad : {not_a_number, infinity, -infinity, -not_a_number})
      for (size_t at : {size_t{0}, p.theta.size() / 2, p.theta.size() - 1}) {
        std::vector<float> theta = p.theta;
        theta[at] = bad;
        request r = p.valid;
        r.theta = theta.data();
        EXPECT_TRUE(refused(p, r, PERTURB_ERROR_NON_FINITE, "theta")) << bad << " at " << at;
        if (p.valid.takes_noise()) {
          perturb_noise hard = p.noise;
          hard.epsilon = 0;
          r.noise = &hard;
          EXPECT_TRUE(refused(p, r, PERTURB_ERROR_NON_FINITE, "theta")) << "epsilon 0";
        }
        if (!*p.valid.extra_name()) continue;
        std::vector<float> extra = p.extra;
        extra[at * extra.size() / theta.size()] = bad;
        r = p.valid;
        r.extra = extra.data();
        EXPECT_TRUE(refused(p, r, PERTURB_ERROR_NON_FINITE, p.valid.extra_name())) << bad << " at " << at;
      }
  });
}

// An output on top of an input (wholly, or by one float at either end) is refused; side by side is fine.
TEST(contract, overlap) {
  for_every_call([](prepared_request& p) {
    if (!p.valid.takes_oracle()) return;
    const auto names = p.valid.output_names();
    for (size_t o = 0; o < names.size(); ++o) {
      const size_t size = p.outputs[o].size();
      for (bool theta_or_extra : {true, false}) {
        if (!theta_or_extra && !*p.valid.extra_name()) continue;
        const std::vector<float>& values = theta_or_extra ? p.theta : p.extra;
        const size_t inputs = values.size();
        std::vector<float> memory(size + inputs + size, 0.0f);
        float* const middle = memory.data() + size;
        request r = p.valid;
        (theta_or_extra ? r.theta : r.extra) = middle;
        for (float* output : {middle, middle - size + 1, middle + inputs - 1}) {
          std::copy(values.begin(), values.end(), middle);
          const std::vector<float> before = memory;
          r.output[o] = output;
          EXPECT_TRUE(refused(p, r, {PERTURB_ERROR_INVALID_ARGUMENT}, {names[o], "overlap"})) << output - middle;
          EXPECT_TRUE(same_bits(before, memory));
        }
        for (float* output : {middle - size, middle + inputs}) {
          std::copy(values.begin(), values.end(), middle);
          r.output[o] = output;
          EXPECT_EQ(r.call(), PERTURB_OK) << perturb_last_error();
          count();
        }
      }
    }
  });
}

// Two outputs on top of each other, and arrays that are not aligned to four bytes.
TEST(contract, overlapping_outputs_and_alignment) {
  for_every_call([](prepared_request& p) {
    const auto names = p.valid.output_names();
    for (size_t o = 1; o < names.size(); ++o) {
      request r = p.valid;
      r.output[o] = r.output[o - 1];
      EXPECT_TRUE(refused(p, r, {PERTURB_ERROR_INVALID_ARGUMENT}, {names[o], names[o - 1]}));
    }
    const auto misaligned = [](const float* pointer) {
      return reinterpret_cast<const float*>(reinterpret_cast<uintptr_t>(pointer) + 1);  // only looked at, never dereferenced
    };
    request r = p.valid;
    if (p.valid.takes_oracle()) {
      r.theta = misaligned(r.theta);
      EXPECT_TRUE(refused(p, r, PERTURB_ERROR_INVALID_ARGUMENT, "theta"));
    }
    r = p.valid;
    r.output[0] = const_cast<float*>(misaligned(r.output[0]));
    EXPECT_TRUE(refused(p, r, PERTURB_ERROR_INVALID_ARGUMENT, names[0]));
  });
}

// Sizes at both ends of float: refused, or y, its error and the gradients finite; never a NaN. A value or a loss is a sum that may
// itself lie beyond float.
TEST(contract, finite_results_at_the_edge_of_float) {
  const context_ptr context = make_context(1);
  for (entry_point entry : entry_points)
    for (int which = 0; which < oracle_count; ++which)
      for (perturb_mode mode : {PERTURB_ADDITIVE, PERTURB_MULTIPLICATIVE})
        for (float size : {1e-44f, 1e-38f, 1e-30f, 1e30f, 1e37f, 3.4e38f})
          for (float epsilon : {1e-44f, 1e-38f, 1e-20f, 1.0f, 10.0f, 1e20f, 3e38f}) {
            if (!offered(entry, family_of(which))) continue;
            prepared_request p(context.get(), entry, make_kind(which));
            for (float& t : p.theta) t = (t - 4) / 5 * size;
            p.noise.epsilon = epsilon;
            p.noise.mode = mode;
            p.reset_outputs();
            const perturb_status status = p.valid.call();
            count();
            const std::string where = std::string(entry_names[static_cast<int>(entry)]) + " oracle " + std::to_string(which) + " mode " +
                                      std::to_string(mode) + " size " + std::to_string(size) + " epsilon " + std::to_string(epsilon);
            if (status != PERTURB_OK) {
              EXPECT_EQ(status, PERTURB_ERROR_INVALID_ARGUMENT) << where << " " << perturb_last_error();
              for (const auto& values : p.outputs) EXPECT_TRUE(untouched(values)) << where;
              continue;
            }
            const auto names = p.valid.output_names();
            for (size_t o = 0; o < names.size(); ++o) {
              const std::string name = names[o];
              const bool sum = name.find("value") == 0 || name == "loss" || name == "epsilon_gradient";
              for (float value : p.outputs[o])
                if (std::isnan(value) || (std::isinf(value) && !sum)) {
                  ADD_FAILURE() << where << ": " << name << " holds " << value;
                  break;
                }
            }
          }
}

// ---------------------------------------------------------------- creating things

// The status, a sentence naming the argument, and no object.
template <class Create>
testing::AssertionResult creation_refused(Create create, perturb_status expected, const char* name) {
  count();
  perturb_oracle* oracle = nullptr;
  const perturb_status status = create(&oracle);
  const std::string error = perturb_last_error();
  if (oracle != nullptr) {
    perturb_oracle_destroy(oracle);
    return testing::AssertionFailure() << "an oracle came back with " << perturb_status_name(status);
  }
  if (status != expected) return testing::AssertionFailure() << perturb_status_name(status) << " \"" << error << "\"";
  if (error.empty() || error.find(name) == std::string::npos)
    return testing::AssertionFailure() << "\"" << error << "\" does not name " << name;
  return testing::AssertionSuccess();
}

TEST(contract, selection_oracles) {
  const auto invalid = PERTURB_ERROR_INVALID_ARGUMENT;
  for (int64_t n : {int64_t{0}, int64_t{-1}, int64_t{1} << 31, INT64_MIN, INT64_MAX}) {
    EXPECT_TRUE(creation_refused([&](perturb_oracle** o) { return perturb_argmax_create(n, o); }, invalid, "n")) << n;
    EXPECT_TRUE(creation_refused([&](perturb_oracle** o) { return perturb_top_k_create(n, 1, o); }, invalid, "n")) << n;
    EXPECT_TRUE(creation_refused([&](perturb_oracle** o) { return perturb_rank_create(n, nullptr, o); }, invalid, "n")) << n;
  }
  for (int64_t k : {int64_t{0}, int64_t{-1}, int64_t{6}, INT64_MAX, INT64_MIN})
    EXPECT_TRUE(creation_refused([&](perturb_oracle** o) { return perturb_top_k_create(5, k, o); }, invalid, "k")) << k;
  EXPECT_EQ(perturb_argmax_create(3, nullptr), invalid);
  EXPECT_EQ(perturb_top_k_create(3, 1, nullptr), invalid);
  EXPECT_EQ(perturb_rank_create(3, nullptr, nullptr), invalid);
  EXPECT_EQ(perturb_grid_path_create(nullptr, nullptr), invalid);
  count(4);

  const auto rank = [&](auto spoil) {
    perturb_rank_options options = PERTURB_RANK_OPTIONS_INIT;
    spoil(options);
    return [options](perturb_oracle** o) { return perturb_rank_create(5, &options, o); };
  };
  for (int32_t base : {-1, 2, 1000}) EXPECT_TRUE(creation_refused(rank([&](auto& r) { r.base = base; }), invalid, "base"));
  for (int32_t value : {-1, 2}) EXPECT_TRUE(creation_refused(rank([&](auto& r) { r.descending = value; }), invalid, "descending"));
  for (uint32_t size : {uint32_t{0}, uint32_t{sizeof(perturb_rank_options)} - 1, uint32_t{sizeof(perturb_rank_options)} + 4, 0xffffffffu})
    EXPECT_TRUE(creation_refused(rank([&](auto& r) { r.struct_size = size; }), PERTURB_ERROR_INVALID_STRUCT, "struct_size"));
}

TEST(contract, sort_oracles) {
  const auto invalid = PERTURB_ERROR_INVALID_ARGUMENT;
  for (int64_t n : {int64_t{0}, int64_t{-1}, int64_t{46341}, INT64_MIN, INT64_MAX})
    EXPECT_TRUE(creation_refused([&](perturb_oracle** o) { return perturb_sort_create(n, 0, o); }, invalid, "n: ")) << n;
  for (int32_t descending : {-1, 2})
    EXPECT_TRUE(creation_refused([&](perturb_oracle** o) { return perturb_sort_create(4, descending, o); }, invalid, "descending"));
  for (int64_t n : {int64_t{0}, int64_t{-1}, int64_t{1} << 31, INT64_MIN, INT64_MAX})
    EXPECT_TRUE(creation_refused([&](perturb_oracle** o) { return perturb_ordered_top_k_create(n, 1, o); }, invalid, "n: ")) << n;
  for (int64_t k : {int64_t{0}, int64_t{-1}, int64_t{6}, INT64_MAX, INT64_MIN})
    EXPECT_TRUE(creation_refused([&](perturb_oracle** o) { return perturb_ordered_top_k_create(5, k, o); }, invalid, "k: ")) << k;
  EXPECT_TRUE(creation_refused([&](perturb_oracle** o) { return perturb_ordered_top_k_create(1000000, 2148, o); }, invalid, "2147"));
  EXPECT_EQ(perturb_sort_create(3, 0, nullptr), invalid);
  EXPECT_EQ(perturb_ordered_top_k_create(3, 1, nullptr), invalid);
  const oracle_ptr largest = make_sort(46340), wide = make_ordered_top_k(1000000, 2147);
  EXPECT_EQ(perturb_oracle_input_size(largest.get()), 46340);
  EXPECT_EQ(perturb_oracle_output_size(largest.get()), int64_t{46340} * 46340);
  EXPECT_EQ(perturb_oracle_output_size(wide.get()), 2147000000);
  count(5);
}

// y is a matrix: what needs <y, theta> is refused, and sorted values are of sorts alone.
TEST(contract, sorts_have_no_value) {
  const auto unsupported = PERTURB_ERROR_UNSUPPORTED;
  const context_ptr context = make_context(1);
  for (entry_point entry : {entry_point::fenchel_young, entry_point::lpgd, entry_point::imle, entry_point::spo_plus})
    for (int which : {5, 6}) {
      prepared_request p(context.get(), entry_point::vjp, make_kind(which));
      request r = p.valid;
      r.entry = entry;
      EXPECT_TRUE(refused(p, r, unsupported, "<y, theta>"));
      size_t bytes = 77;
      EXPECT_EQ(perturb_workspace_size(context.get(), operation_of(entry), p.oracle.get(), &p.noise, 3, &bytes), unsupported);
      EXPECT_EQ(bytes, 77u);
    }
  std::vector<float> value(3);
  for (int which : {5, 6}) {
    prepared_request solve(context.get(), entry_point::solve, make_kind(which)), mean(context.get(), entry_point::expectation, make_kind(which));
    request r = solve.valid;
    r.output[1] = value.data();
    EXPECT_TRUE(refused(solve, r, unsupported, "value"));
    r = mean.valid;
    r.output[2] = value.data();
    EXPECT_TRUE(refused(mean, r, unsupported, "value"));
    r.output[2] = nullptr;
    r.output[3] = value.data();
    EXPECT_TRUE(refused(mean, r, unsupported, "value_std_error"));
    // An accumulator's result too.
    perturb_accumulator* made = nullptr;
    require(perturb_accumulator_create(context.get(), PERTURB_OP_EXPECTATION, mean.oracle.get(), &mean.noise, 3, &made));
    require(perturb_accumulator_add(made, 0, 4, mean.theta.data(), nullptr));
    r.output[2] = value.data();
    r.output[3] = nullptr;
    mean.reset_outputs();
    EXPECT_EQ(perturb_accumulator_result(made, mean.theta.data(), nullptr, r.output), unsupported);
    for (const auto& values : mean.outputs) EXPECT_TRUE(untouched(values));
    perturb_accumulator_destroy(made);
    prepared_request sorted(context.get(), entry_point::sorted_values, make_kind(which));
    sorted.noise.samples = 4;
    sorted.noise.sampling = PERTURB_SAMPLING_ANTITHETIC;
    EXPECT_TRUE(refused(sorted, sorted.valid, unsupported, "std_error"));
    EXPECT_EQ(perturb_accumulator_create(context.get(), PERTURB_OP_SORTED_VALUES, sorted.oracle.get(), &sorted.noise, 3, &made), unsupported);
    r = sorted.valid;
    r.output[1] = nullptr;
    EXPECT_EQ(r.call(), PERTURB_OK) << perturb_last_error();
  }
  for (entry_point entry : {entry_point::sorted_values, entry_point::sorted_values_vjp})
    for (int which = 0; which < 5; ++which) {
      prepared_request p(context.get(), entry, make_kind(which));
      EXPECT_TRUE(refused(p, p.valid, unsupported, "perturb_sort_create"));
    }
}

TEST(contract, grid_oracles) {
  const auto invalid = PERTURB_ERROR_INVALID_ARGUMENT;
  std::vector<uint8_t> passable(12, 1);
  const auto grid = [&](auto spoil) {
    perturb_grid_path_options options = small_grid();
    options.passable = passable.data();
    spoil(options);
    return [options](perturb_oracle** o) { return perturb_grid_path_create(&options, o); };
  };
  EXPECT_TRUE(creation_refused([](perturb_oracle** o) { return perturb_grid_path_create(nullptr, o); }, invalid, "options"));
  for (uint32_t size :
       {uint32_t{0}, uint32_t{sizeof(perturb_grid_path_options)} - 1, uint32_t{sizeof(perturb_grid_path_options)} + 4, 0xffffffffu})
    EXPECT_TRUE(creation_refused(grid([&](auto& g) { g.struct_size = size; }), PERTURB_ERROR_INVALID_STRUCT, "struct_size"));
  for (int64_t size : {int64_t{0}, int64_t{-1}, int64_t{4097}, INT64_MAX, INT64_MIN}) {
    EXPECT_TRUE(creation_refused(grid([&](auto& g) { g.height = size; }), invalid, "height"));
    EXPECT_TRUE(creation_refused(grid([&](auto& g) { g.width = size; }), invalid, "width"));
  }
  for (int connectivity : {0, 5, 81, -4})
    EXPECT_TRUE(creation_refused(grid([&](auto& g) { g.connectivity = static_cast<perturb_connectivity>(connectivity); }), invalid,
                                 "connectivity"));
  for (float factor : {0.0f, 0.999f, 2.001f, -1.0f, not_a_number, infinity})
    EXPECT_TRUE(creation_refused(grid([&](auto& g) { g.diagonal_factor = factor; }), invalid, "diagonal_factor")) << factor;
  for (int32_t value : {-1, 2}) EXPECT_TRUE(creation_refused(grid([&](auto& g) { g.count_source = value; }), invalid, "count_source"));
  for (int64_t cell : {int64_t{-1}, int64_t{12}, INT64_MAX, INT64_MIN}) {
    EXPECT_TRUE(creation_refused(grid([&](auto& g) { g.source = cell; }), invalid, "source"));
    EXPECT_TRUE(creation_refused(grid([&](auto& g) { g.target = cell; }), invalid, "target"));
  }
  for (int negative : {-1, 2})
    EXPECT_TRUE(creation_refused(grid([&](auto& g) { g.negative = static_cast<perturb_negative_cost>(negative); }), invalid, "negative"));
  for (float floor : {0.0f, -1.0f, not_a_number, infinity})
    EXPECT_TRUE(creation_refused(grid([&](auto& g) { g.cost_floor = floor; }), invalid, "cost_floor")) << floor;

  passable[0] = 0;
  EXPECT_TRUE(creation_refused(grid([](auto&) {}), PERTURB_ERROR_UNREACHABLE, "source"));
  passable[0] = 1;
  passable[11] = 0;
  EXPECT_TRUE(creation_refused(grid([](auto&) {}), PERTURB_ERROR_UNREACHABLE, "target"));
  passable[11] = 1;
  for (int row = 0; row < 3; ++row) passable[row * 4 + 2] = 0;
  EXPECT_TRUE(creation_refused(grid([](auto&) {}), PERTURB_ERROR_UNREACHABLE, "target"));
  // A diagonal gap: open to 8 neighbours with corner cutting, closed to the others.
  passable = {1, 1, 0, 1, 1, 0, 1, 1, 0, 1, 1, 1};  // 3 x 4
  for (perturb_connectivity connectivity : {PERTURB_CONNECT_4, PERTURB_CONNECT_8_NO_CORNER_CUTTING})
    EXPECT_TRUE(creation_refused(grid([&](auto& g) { g.connectivity = connectivity; }), PERTURB_ERROR_UNREACHABLE, "target"));
  perturb_oracle* oracle = nullptr;
  EXPECT_EQ(grid([](auto&) {})(&oracle), PERTURB_OK) << perturb_last_error();
  perturb_oracle_destroy(oracle);
}

TEST(contract, unsupported_features) {
  const auto unsupported = PERTURB_ERROR_UNSUPPORTED;
  const context_ptr context = make_context(1);
  // Fenchel-Young needs value = <y, theta>.
  perturb_grid_path_options options = small_grid();
  options.diagonal_factor = 1.5f;
  prepared_request p(context.get(), entry_point::fenchel_young, make_grid(options));
  EXPECT_TRUE(refused(p, p.valid, {unsupported}, {"diagonal_factor"}));
  prepared_request spo(context.get(), entry_point::spo_plus, make_grid(options));
  EXPECT_TRUE(refused(spo, spo.valid, {unsupported}, {"diagonal_factor"}));
  prepared_request lpgd(context.get(), entry_point::lpgd, make_grid(options));
  EXPECT_TRUE(accepted(lpgd));
  request near = lpgd.valid;
  near.lpgd.rho = 0.5f;
  EXPECT_TRUE(refused(lpgd, near, {unsupported}, {"rho"}));
  prepared_request imle(context.get(), entry_point::imle, make_argmax(3));
  near = imle.valid;
  near.lpgd.rho = 0.5f;
  EXPECT_TRUE(refused(imle, near, {unsupported}, {"rho"}));
  options = small_grid();
  options.negative = PERTURB_NEGATIVE_ERROR;
  for (entry_point entry : {entry_point::lpgd, entry_point::imle, entry_point::spo_plus}) {
    prepared_request refusing(context.get(), entry, make_grid(options));
    EXPECT_TRUE(refused(refusing, refusing.valid, {unsupported}, {"negative"}));
  }
  count(10);
}

TEST(contract, custom_oracles_have_no_prox_term) {
  const context_ptr context = make_context(1);
  for (entry_point entry : {entry_point::lpgd, entry_point::imle}) {
    prepared_request p(context.get(), entry, make_custom_argmax());
    EXPECT_TRUE(accepted(p));
    request near = p.valid;
    near.lpgd.rho = 0.5f;
    EXPECT_TRUE(refused(p, near, {PERTURB_ERROR_UNSUPPORTED}, {"rho"}));
  }
}

TEST(contract, negative_costs_as_errors) {
  const context_ptr context = make_context(2);
  perturb_grid_path_options options = small_grid();
  options.negative = PERTURB_NEGATIVE_ERROR;
  options.cost_floor = 0.01f;
  for (entry_point entry : entry_points) {
    if (entry >= entry_point::lpgd) continue;  // noise_fill has no costs, the others refuse such grids
    prepared_request p(context.get(), entry, make_grid(options));
    EXPECT_TRUE(accepted(p));
    std::vector<float> theta = p.theta;
    request r = p.valid;
    r.theta = theta.data();
    for (float low : {-1.0f, 0.0f, 0.009f}) {
      theta.back() = low;
      perturb_noise still = p.noise;
      still.epsilon = 0;
      r.noise = &still;
      EXPECT_TRUE(refused(p, r, PERTURB_ERROR_INVALID_ARGUMENT, "")) << low;
    }
    if (entry == entry_point::solve) continue;
    perturb_noise wild = p.noise;  // the unperturbed costs are fine, some sample's are not
    wild.epsilon = 50;
    r = p.valid;
    r.noise = &wild;
    EXPECT_TRUE(refused(p, r, PERTURB_ERROR_INVALID_ARGUMENT, ""));
  }
}

// ---------------------------------------------------------------- contexts

TEST(contract, context_options) {
  const auto create = [](auto spoil, perturb_status expected, const char* name) -> testing::AssertionResult {
    count();
    perturb_context_options options = PERTURB_CONTEXT_OPTIONS_INIT;
    options.backend = PERTURB_BACKEND_CPU;
    spoil(options);
    perturb_context* context = reinterpret_cast<perturb_context*>(&options);
    const perturb_status status = perturb_context_create(&options, &context);
    const std::string error = perturb_last_error();
    if (status != expected) return testing::AssertionFailure() << perturb_status_name(status) << " \"" << error << "\"";
    if (context != nullptr) return testing::AssertionFailure() << "*context is not NULL";
    if (error.find(name) == std::string::npos) return testing::AssertionFailure() << "\"" << error << "\" does not name " << name;
    return testing::AssertionSuccess();
  };
  const auto invalid = PERTURB_ERROR_INVALID_ARGUMENT;
  for (uint32_t size :
       {uint32_t{0}, uint32_t{sizeof(perturb_context_options)} - 1, uint32_t{sizeof(perturb_context_options)} + 4, 0xffffffffu})
    EXPECT_TRUE(create([&](auto& o) { o.struct_size = size; }, PERTURB_ERROR_INVALID_STRUCT, "struct_size"));
  for (int backend : {-1, 3, 100})
    EXPECT_TRUE(create([&](auto& o) { o.backend = static_cast<perturb_backend>(backend); }, invalid, "backend"));
  for (int32_t threads : {-1, 1025, INT32_MIN, INT32_MAX}) EXPECT_TRUE(create([&](auto& o) { o.threads = threads; }, invalid, "threads"));
  const auto some = [](size_t, size_t, void*, void*) -> void* { return nullptr; };
  const auto other = [](void*, size_t, void*, void*) {};
  EXPECT_TRUE(create([&](auto& o) { o.host_allocator.allocate = some; }, invalid, "host_allocator"));
  EXPECT_TRUE(create([&](auto& o) { o.host_allocator.deallocate = other; }, invalid, "host_allocator"));
  EXPECT_TRUE(create([&](auto& o) { o.device_allocator.allocate = some; }, invalid, "device_allocator"));
  EXPECT_TRUE(create([&](auto& o) { o.device_allocator.deallocate = other; }, invalid, "device_allocator"));
  for (const char* isa : {"nonsense", "AVX-1024", " "}) {
    isa_override scope(isa);
    perturb_context* context = nullptr;
    perturb_context_options options = PERTURB_CONTEXT_OPTIONS_INIT;
    options.backend = PERTURB_BACKEND_CPU;
    EXPECT_NE(perturb_context_create(&options, &context), PERTURB_OK) << "PERTURB_ISA=" << isa;
    EXPECT_EQ(context, nullptr);
    perturb_context_destroy(context);
    count();
  }
  for (int32_t threads : {1, 64, 1024}) EXPECT_NE(make_context(threads).get(), nullptr);
}

TEST(contract, context_setters) {
  const context_ptr context = make_context(1);
  int stream = 0;
  EXPECT_EQ(perturb_context_set_stream(context.get(), &stream), PERTURB_ERROR_INVALID_ARGUMENT);
  EXPECT_NE(std::string(perturb_last_error()).find("stream"), std::string::npos);
  EXPECT_EQ(perturb_context_set_stream(context.get(), nullptr), PERTURB_OK);
  EXPECT_STREQ(perturb_last_error(), "");
  EXPECT_EQ(perturb_context_set_stream(nullptr, nullptr), PERTURB_ERROR_INVALID_ARGUMENT);
  EXPECT_EQ(perturb_context_set_workspace(nullptr, nullptr, 0), PERTURB_ERROR_INVALID_ARGUMENT);
  EXPECT_EQ(perturb_context_set_workspace(context.get(), nullptr, 8), PERTURB_ERROR_INVALID_ARGUMENT);
  EXPECT_EQ(perturb_context_backend(nullptr), PERTURB_BACKEND_AUTO);
  EXPECT_EQ(perturb_context_backend(context.get()), PERTURB_BACKEND_CPU);
  count(9);
}

TEST(contract, workspace_size_arguments) {
  const context_ptr context = make_context(1);
  const oracle_ptr oracle = make_rank(5);
  const perturb_noise noise = PERTURB_NOISE_INIT;
  const auto refused_size = [&](const perturb_context* c, int operation, const perturb_oracle* o, const perturb_noise* z, int64_t batch,
                                bool with_bytes, perturb_status expected, const char* name) -> testing::AssertionResult {
    count();
    size_t bytes = 12345;
    const perturb_status status =
        perturb_workspace_size(c, static_cast<perturb_operation>(operation), o, z, batch, with_bytes ? &bytes : nullptr);
    const std::string error = perturb_last_error();
    if (status != expected) return testing::AssertionFailure() << perturb_status_name(status) << " \"" << error << "\"";
    if (bytes != 12345) return testing::AssertionFailure() << "bytes was written";
    if (error.find(name) == std::string::npos) return testing::AssertionFailure() << "\"" << error << "\" does not name " << name;
    return testing::AssertionSuccess();
  };
  const auto invalid = PERTURB_ERROR_INVALID_ARGUMENT;
  EXPECT_TRUE(refused_size(nullptr, PERTURB_OP_VJP, oracle.get(), &noise, 1, true, invalid, "context"));
  EXPECT_TRUE(refused_size(context.get(), -1, oracle.get(), &noise, 1, true, invalid, "operation"));
  EXPECT_TRUE(refused_size(context.get(), 17, oracle.get(), &noise, 1, true, invalid, "operation"));
  EXPECT_TRUE(refused_size(context.get(), PERTURB_OP_VJP, nullptr, &noise, 1, true, invalid, "oracle"));
  EXPECT_TRUE(refused_size(context.get(), PERTURB_OP_VJP, oracle.get(), nullptr, 1, true, invalid, "noise"));
  EXPECT_TRUE(refused_size(context.get(), PERTURB_OP_VJP, oracle.get(), &noise, -1, true, invalid, "batch"));
  EXPECT_TRUE(refused_size(context.get(), PERTURB_OP_VJP, oracle.get(), &noise, 1, false, invalid, "bytes"));
  perturb_noise bad = noise;
  bad.struct_size = 3;
  EXPECT_TRUE(refused_size(context.get(), PERTURB_OP_VJP, oracle.get(), &bad, 1, true, PERTURB_ERROR_INVALID_STRUCT, "struct_size"));
  bad = noise;
  bad.samples = 0;
  EXPECT_TRUE(refused_size(context.get(), PERTURB_OP_VJP, oracle.get(), &bad, 1, true, invalid, "samples"));
  size_t bytes = 0;
  EXPECT_EQ(perturb_workspace_size(context.get(), PERTURB_OP_SOLVE, oracle.get(), nullptr, 1, &bytes), PERTURB_OK);
}

// Nothing of size batch x samples x n: the workspace does not grow with the samples, and hardly with the batch.
TEST(contract, workspace_size_does_not_grow_with_samples) {
  const context_ptr context = make_context(2);
  for (const oracle_ptr& oracle : {make_argmax(100), make_top_k(100, 10), make_rank(100), make_rank(600), make_grid(small_grid())})
    for (perturb_operation operation :
         {PERTURB_OP_SAMPLE, PERTURB_OP_EXPECTATION, PERTURB_OP_VJP, PERTURB_OP_JVP, PERTURB_OP_JACOBIAN, PERTURB_OP_FENCHEL_YOUNG}) {
      size_t few = 0, many = 0;
      perturb_noise noise = make_noise(PERTURB_NORMAL, 1, 1000);
      require(perturb_workspace_size(context.get(), operation, oracle.get(), &noise, 100, &few));
      noise.samples = 1000000;
      require(perturb_workspace_size(context.get(), operation, oracle.get(), &noise, 10000, &many));
      EXPECT_LE(many, few + (size_t{64} << 20)) << operation;
      EXPECT_LE(few, size_t{32} << 20) << operation;
      count(2);
    }
}

TEST(contract, success_clears_the_error) {
  const context_ptr context = make_context(1);
  perturb_oracle* oracle = nullptr;
  EXPECT_EQ(perturb_argmax_create(0, &oracle), PERTURB_ERROR_INVALID_ARGUMENT);
  EXPECT_STRNE(perturb_last_error(), "");
  EXPECT_EQ(perturb_argmax_create(4, &oracle), PERTURB_OK);
  EXPECT_STREQ(perturb_last_error(), "");
  perturb_oracle_destroy(oracle);
  count(4);
}

}  // namespace
}  // namespace perturb::test
