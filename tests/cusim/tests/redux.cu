// redux.sync on f32: only the PTX of sm_100a has it. NaN loses against numbers, or wins with .NaN.
#include <limits>

#include "check.cuh"

#define REDUX(name, suffix)                                                                                 \
  __device__ float name(unsigned mask, float v) {                                                           \
    float r;                                                                                                \
    asm volatile("redux.sync." suffix ".f32 %0, %1, %2;" : "=f"(r) : "f"(v), "r"(mask));                    \
    return r;                                                                                               \
  }
REDUX(least, "min")
REDUX(most, "max")
REDUX(least_abs, "min.abs")
REDUX(most_abs, "max.abs")
REDUX(least_nan, "min.NaN")
REDUX(most_nan, "max.NaN")
REDUX(least_abs_nan, "min.abs.NaN")
REDUX(most_abs_nan, "max.abs.NaN")

// The even and the odd lanes reduce apart.
__global__ void reduce(const float* in, float* out) {
  const int i = threadIdx.x;
  const unsigned mask = i % 2 ? 0xaaaaaaaau : 0x55555555u;
  const float v = in[i];
  const float r[8] = {least(mask, v),     most(mask, v),     least_abs(mask, v),     most_abs(mask, v),
                      least_nan(mask, v), most_nan(mask, v), least_abs_nan(mask, v), most_abs_nan(mask, v)};
  for (int k = 0; k < 8; ++k) out[32 * k + i] = r[k];
}

float reference(const std::vector<float>& in, int parity, bool max, bool abs, bool nan) {
  float best = NAN;
  for (int i = parity; i < 32; i += 2) {
    float v = abs ? std::fabs(in[i]) : in[i];
    if (std::isnan(v)) {
      if (nan) return NAN;
    } else if (std::isnan(best) || (max ? v > best : v < best)) {
      best = v;
    } else if (v == best && std::signbit(v) != max) {  // -0 is below +0
      best = v;
    }
  }
  return best;
}

int main() {
  auto base = random_values<float>(32, 4);
  const float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  std::vector<std::vector<float>> cases(7, base);
  cases[1][4] = nan;                                    // among the even lanes
  cases[2][7] = inf, cases[2][8] = -inf;
  cases[3].assign(32, nan);
  for (int i = 0; i < 32; ++i) cases[4][i] = i % 3 ? 0.f : -0.f;
  for (int i = 0; i < 32; ++i) cases[5][i] = -float(i + 1);
  for (int i = 1; i < 32; i += 2) cases[6][i] = nan;    // only NaN among the odd lanes
  cases[6][31] = std::numeric_limits<float>::denorm_min();
  Device<float> in(32), out(8 * 32);
  for (auto& c : cases) {
    CUDA_OK(cudaMemcpy(in.p, c.data(), 32 * 4, cudaMemcpyHostToDevice));
    reduce<<<1, 32>>>(in.p, out.p);
    auto got = out.get();
    for (int k = 0; k < 8; ++k)
      for (int i = 0; i < 32; ++i) {
        float want = reference(c, i % 2, k & 1, k & 2, k & 4), g = got[32 * k + i];
        if (std::isnan(want)) want = g, CHECK(std::isnan(g) && !std::memcmp(&g, "\xff\xff\xff\x7f", 4));  // the canonical NaN
        CHECK(!std::memcmp(&want, &g, 4));
      }
  }
  return finish();
}
