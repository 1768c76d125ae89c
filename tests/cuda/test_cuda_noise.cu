// The noise on the device: Philox words are cuRAND's own, every transform of src/math/noise.h gives the bits that the host gives over
// blocks of words, and perturb_noise_fill on CUDA writes the CPU's array.
#include <curand_kernel.h>
#include <gtest/gtest.h>

#include "compare.h"
#include "cuda/device_memory.h"
#include "kernels/noise.cuh"

namespace perturb::test {
namespace {

struct host_tag {};
using host = scalar_lanes<host_tag>;
using cuda::lane;

// A copy in device memory, and back.
template <class T>
class device_array {
 public:
  explicit device_array(const std::vector<T>& values) : device_array(values.size()) {
    require_cuda(cudaMemcpy(data(), values.data(), count_ * sizeof(T), cudaMemcpyHostToDevice));
  }
  explicit device_array(size_t values) : memory_(values * sizeof(T)), count_(values) {}
  T* data() const { return memory_.as<T>(); }
  std::vector<T> get() const {
    require_cuda(cudaDeviceSynchronize());
    std::vector<T> values(count_);
    require_cuda(cudaMemcpy(values.data(), data(), count_ * sizeof(T), cudaMemcpyDeviceToHost));
    return values;
  }

 private:
  device_buffer memory_;
  size_t count_;
};

constexpr unsigned block = 256;
unsigned blocks_of(size_t threads) { return static_cast<unsigned>((threads + block - 1) / block); }

testing::AssertionResult same_words(const std::vector<uint32_t>& expected, const std::vector<uint32_t>& actual) {
  if (expected.size() != actual.size()) return testing::AssertionFailure() << "sizes differ";
  count(static_cast<int64_t>(expected.size()));
  for (size_t i = 0; i < expected.size(); ++i)
    if (expected[i] != actual[i])
      return testing::AssertionFailure() << "word " << i << " of " << expected.size() << std::hex << ": " << expected[i] << " and "
                                         << actual[i];
  return testing::AssertionSuccess();
}

// ---------------------------------------------------------------- Philox and cuRAND

struct place {
  uint64_t seed;
  uint32_t row, sample, stream, item;
};

// Extremes of every index against extremes of all others, and places at random; items of every remainder by 4.
std::vector<place> places() {
  std::vector<place> all;
  const uint32_t ends[] = {0, 1, 0x7fffffffu, 0x80000000u, 0xffffffffu};
  for (uint64_t seed :
       {uint64_t{0}, uint64_t{1}, uint64_t{0xffffffff}, uint64_t{1} << 32, uint64_t{1} << 63, ~uint64_t{0}, 0xfedcba9876543210u})
    for (uint32_t row : ends)
      for (uint32_t sample : ends)
        for (uint32_t item : {0u, 1u, 2u, 3u, 4u, 7u, 0x3fffffffu, 0x7ffffffbu, 0x7ffffffcu, 0x7ffffffdu, 0x7ffffffeu})
          all.push_back({seed, row, sample, 0, item});
  for (uint64_t i = 0; i < 4000; ++i) {
    const auto word = [&](uint64_t which) { return static_cast<uint32_t>(hashed(which, i)); };
    const uint32_t item = (word(4) & 0x7fffffffu) >> (word(5) % 31);  // of every size
    all.push_back({hashed(1, i), word(2), word(3), static_cast<uint32_t>(i % 8 == 0 ? word(6) % 4 : 0), item});
  }
  return all;
}

__global__ void words_of_curand(const place* at, int64_t n, uint32_t* words) {
  const int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  curandStatePhilox4_32_10_t state;
  curand_init(at[i].seed, (unsigned long long)at[i].row << 32 | at[i].sample, (unsigned long long)at[i].stream << 34 | at[i].item, &state);
  words[i] = curand(&state);
}

__global__ void words_of_philox(const place* at, const philox_keys* keys, int64_t n, uint32_t* words) {
  const int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  philox<lane>(keys[i], at[i].item >> 2, at[i].stream, at[i].sample, at[i].row, words + 4 * i);
}

std::vector<uint32_t> blocks_on_host(const std::vector<place>& at) {
  std::vector<uint32_t> words(4 * at.size());
  for (size_t i = 0; i < at.size(); ++i)
    philox<host>(make_philox_keys(at[i].seed), at[i].item >> 2, at[i].stream, at[i].sample, at[i].row, &words[4 * i]);
  return words;
}

// What docs/noise.md promises to users of cuRAND.
TEST(cuda_noise, words_are_those_of_curand) {
  const std::vector<place> at = places();
  const device_array<place> on_device(at);
  const device_array<uint32_t> words(at.size());
  words_of_curand<<<blocks_of(at.size()), block>>>(on_device.data(), (int64_t)at.size(), words.data());
  require_cuda(cudaGetLastError());
  const std::vector<uint32_t> blocks = blocks_on_host(at);
  std::vector<uint32_t> expected;
  for (size_t i = 0; i < at.size(); ++i) expected.push_back(blocks[4 * i + at[i].item % 4]);
  EXPECT_TRUE(same_words(expected, words.get()));
}

TEST(cuda_noise, philox_of_the_device) {
  const std::vector<place> at = places();
  std::vector<philox_keys> keys;
  for (const place& p : at) keys.push_back(make_philox_keys(p.seed));
  const device_array<place> on_device(at);
  const device_array<philox_keys> keys_on_device(keys);
  const device_array<uint32_t> words(4 * at.size());
  words_of_philox<<<blocks_of(at.size()), block>>>(on_device.data(), keys_on_device.data(), (int64_t)at.size(), words.data());
  require_cuda(cudaGetLastError());
  EXPECT_TRUE(same_words(blocks_on_host(at), words.get()));
}

// ---------------------------------------------------------------- transforms

// Words to try: runs of consecutive ones at both ends, in the middle and elsewhere, where the transforms change their branches.
std::vector<uint32_t> probes() {
  std::vector<uint32_t> words;
  for (uint32_t start : {0u, 0x3fff8000u, 0x7fff8000u, 0xb504e000u, 0xffff0000u, 0x5a827000u})
    for (uint32_t i = 0; i < 0x10000u; ++i) words.push_back(start + i);
  for (int bit = 0; bit < 32; ++bit)
    for (int d = -2; d <= 2; ++d) words.push_back((1u << bit) + static_cast<uint32_t>(d));
  for (uint32_t edge : {0u, 1u, 0x7fffffffu, 0x80000000u, 0xffffffffu}) words.push_back(edge);
  return words;
}

// A quad of words made of one: as the radius's word of a normal pair, itself and complemented, and as an angle's.
template <class U>
PERTURB_INLINE void make_quad(uint32_t x, U quad[4]) {
  quad[0] = x;
  quad[1] = x * 747796405u + 2891336453u;
  quad[2] = ~(x * 2654435761u);
  quad[3] = x;
}

// Bits of four z, then of four S.
template <class V, distribution D>
PERTURB_INLINE void transform(uint32_t x, uint32_t* bits) {
  uint32_t quad[4];
  float z[4], s[4];
  make_quad(x, quad);
  noise_of_words<V, D>(quad, z);
  scores_of_words<V, D>(quad, s);
  for (int j = 0; j < 4; ++j) {
    bits[j] = V::bits(z[j]);
    bits[4 + j] = V::bits(s[j]);
  }
}

template <distribution D>
__global__ void transforms(const uint32_t* words, int64_t n, uint32_t* bits) {
  const int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) transform<lane, D>(words[i], bits + 8 * i);
}

template <distribution D>
void expect_transforms_of_the_host() {
  const std::vector<uint32_t> words = probes();
  const device_array<uint32_t> on_device(words), bits(8 * words.size());
  transforms<D><<<blocks_of(words.size()), block>>>(on_device.data(), (int64_t)words.size(), bits.data());
  require_cuda(cudaGetLastError());
  std::vector<uint32_t> expected(8 * words.size());
  for (size_t i = 0; i < words.size(); ++i) transform<host, D>(words[i], &expected[8 * i]);
  EXPECT_TRUE(same_words(expected, bits.get()));
}

TEST(cuda_noise, normal) { expect_transforms_of_the_host<distribution::normal>(); }
TEST(cuda_noise, gumbel) { expect_transforms_of_the_host<distribution::gumbel>(); }
TEST(cuda_noise, logistic) { expect_transforms_of_the_host<distribution::logistic>(); }
TEST(cuda_noise, laplace) { expect_transforms_of_the_host<distribution::laplace>(); }

// ---------------------------------------------------------------- factors and scores

struct factor_input {
  float a;           // of exponential_function
  float z, epsilon;  // of multiplicative_factor
  float theta;
};

// Bits of exp(a), W, and the additive and multiplicative scores.
template <class V>
PERTURB_INLINE void factors(const factor_input& x, uint32_t* bits) {
  bits[0] = V::bits(exponential_function<V>(x.a));
  bits[1] = V::bits(multiplicative_factor<V>(x.z, x.epsilon, -0.5f * (x.epsilon * x.epsilon)));
  bits[2] = V::bits(additive_score<V>(x.theta, x.epsilon, x.z));
  bits[3] = V::bits(multiplicative_score<V>(x.theta, x.epsilon, x.z));
}

__global__ void factors_of(const factor_input* x, int64_t n, uint32_t* bits) {
  const int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) factors<lane>(x[i], bits + 4 * i);
}

TEST(cuda_noise, exponential_and_scores) {
  constexpr float infinity = std::numeric_limits<float>::infinity(), tiny = std::numeric_limits<float>::denorm_min();
  std::vector<factor_input> inputs;
  for (uint64_t i = 0; i < 60000; ++i) {
    const float scale = std::ldexp(1.0f, static_cast<int>(hashed(11, i) % 60) - 40);
    inputs.push_back(
        {uniform_float(7, i, -90, 92), uniform_float(8, i, -6.77, 6.77), uniform_float(9, i, 0, 3), uniform_float(10, i, -4, 4) * scale});
  }
  // The clamps, the ends of a binade of the result, results near overflow, zeros of both signs and denormals.
  for (float a :
       {-86.0f, -85.9999f, -86.0001f, 88.0f, 87.9999f, 88.0001f, 0.0f, -0.0f, infinity, -infinity, tiny, -tiny, 0.34657359f, -0.34657359f})
    for (float epsilon : {0.0f, tiny, 1e-20f, 1.0f, 10.0f, 1e18f})
      for (float theta : {0.0f, -0.0f, tiny, -1e-38f, 1.0f, 3.4e38f, -3.4e38f}) {
        inputs.push_back({a, 6.76f, epsilon, theta});
        inputs.push_back({a, -6.76f, epsilon, theta});
        inputs.push_back({a, 0.0f, epsilon, theta});
      }
  const device_array<factor_input> on_device(inputs);
  const device_array<uint32_t> bits(4 * inputs.size());
  factors_of<<<blocks_of(inputs.size()), block>>>(on_device.data(), (int64_t)inputs.size(), bits.data());
  require_cuda(cudaGetLastError());
  std::vector<uint32_t> expected(4 * inputs.size());
  for (size_t i = 0; i < inputs.size(); ++i) factors<host>(inputs[i], &expected[4 * i]);
  EXPECT_TRUE(same_words(expected, bits.get()));
}

// ---------------------------------------------------------------- square roots

// Two binades have every mantissa with either parity of the exponent; on a GPU also its own rsqrt.approx.
__global__ void wrong_roots(unsigned* wrong) {
  unsigned found = 0;
  for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < 1u << 24; i += gridDim.x * blockDim.x) {
    const float x = __uint_as_float(0x3f000000u + i);
    found += lane::sqrt(x) != __fsqrt_rn(x);
  }
  atomicAdd(wrong, found);
}

TEST(cuda_noise, square_roots_of_all_mantissas) {
  device_buffer wrong(sizeof(unsigned));
  require_cuda(cudaMemset(wrong.as<void>(), 0, sizeof(unsigned)));
  wrong_roots<<<64, 256>>>(wrong.as<unsigned>());
  require_cuda(cudaGetLastError());
  unsigned found = 1;
  require_cuda(cudaMemcpy(&found, wrong.as<void>(), sizeof found, cudaMemcpyDeviceToHost));
  EXPECT_EQ(found, 0u);
  count(int64_t{1} << 24);
}

// ---------------------------------------------------------------- perturb_noise_fill

TEST(cuda_noise, fill) {
  const context_ptr cpu = make_context(2), device = make_cuda_context();
  ASSERT_TRUE(device) << perturb_last_error();
  constexpr int64_t two_32 = int64_t{1} << 32, batch = 3, samples = 7;
  for (int d = PERTURB_NORMAL; d <= PERTURB_LAPLACE; ++d)
    for (int64_t n : {1, 2, 3, 4, 5, 63, 401})
      for (bool last : {false, true}) {
        SCOPED_TRACE("distribution " + std::to_string(d) + ", n " + std::to_string(n) + (last ? ", last rows and samples" : ""));
        perturb_noise noise = make_noise(static_cast<perturb_distribution>(d), 0, samples, hashed(5, n));
        noise.first_row = last ? two_32 - batch : n;
        noise.first_sample = last ? two_32 - samples : 12345 * n;
        std::vector<float> expected(batch * samples * n);
        require(perturb_noise_fill(cpu.get(), &noise, batch, n, expected.data()));
        device_memory memory;
        require(perturb_noise_fill(device.get(), &noise, batch, n, memory.output(batch * samples * n)));
        EXPECT_TRUE(same_bits(expected, memory.result(0)));
      }
}

// More than one row of blocks has to loop over: rows and samples stay in step.
TEST(cuda_noise, fill_of_many_rows) {
  const context_ptr cpu = make_context(2), device = make_cuda_context();
  ASSERT_TRUE(device) << perturb_last_error();
  const perturb_noise noise = make_noise(PERTURB_GUMBEL, 1, 61, 9);
  std::vector<float> expected(1001 * 61 * 5);
  require(perturb_noise_fill(cpu.get(), &noise, 1001, 5, expected.data()));
  device_memory memory;
  require(perturb_noise_fill(device.get(), &noise, 1001, 5, memory.output(1001 * 61 * 5)));
  EXPECT_TRUE(same_bits(expected, memory.result(0)));
}

}  // namespace
}  // namespace perturb::test
