// Wide integers: 128-bit arithmetic, 64-bit atomics in global and shared memory, warp reductions, DPX instructions.
#include <algorithm>
#include <climits>

#include "check.cuh"

using i128 = __int128;
using u128 = unsigned __int128;
using u64 = unsigned long long;
using i64 = long long;

struct Results {
  i128 sum, difference, product, quotient, remainder, left, right;
  u128 unsigned_quotient, unsigned_remainder, unsigned_right;
  double to_double;
  i128 from_double;
  int less, unsigned_less, equal;
};

__host__ __device__ inline Results compute(i128 a, i128 b) {
  Results r = {};
  const int shift = int(b & 127);
  const u128 ua = a, ub = b;
  r.sum = i128(ua + ub);
  r.difference = i128(ua - ub);
  r.product = i128(ua * ub);
  if (b != 0 && !(b == -1 && ua == u128(1) << 127)) r.quotient = a / b, r.remainder = a % b;
  if (b != 0) r.unsigned_quotient = ua / ub, r.unsigned_remainder = ua % ub;
  r.left = i128(ua << shift);
  r.right = a >> shift;
  r.unsigned_right = ua >> shift;
  r.to_double = double(a);
  r.from_double = i128(double(i64(a)) * 1048576.0);
  r.less = a < b;
  r.unsigned_less = ua < ub;
  r.equal = a == b;
  return r;
}
__global__ void wide(const i128* a, const i128* b, Results* out, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) out[i] = compute(a[i], b[i]);
}

void test_int128() {
  std::vector<i128> a, b;
  const i128 one = 1, edges[] = {0, 1, -1, 2, -3, INT_MAX, i128(LLONG_MAX), i128(LLONG_MIN), one << 64, -(one << 64), (one << 64) - 1,
                                 i128(u128(one) << 127), i128(~(u128(one) << 127)), (one << 100) + 12345};
  for (i128 x : edges)
    for (i128 y : edges) a.push_back(x), b.push_back(y);
  auto words = random_values<uint64_t>(4000, 5);
  for (size_t i = 0; i < words.size(); i += 4) {
    // Of every length, so that quotients have too.
    a.push_back(i128(u128(words[i]) << 64 | words[i + 1]) >> (i % 127));
    b.push_back(i128(u128(words[i + 2]) << 64 | words[i + 3]) >> (i * 7 % 127));
  }
  const int n = int(a.size());
  Device<i128> da(a), db(b);
  Device<Results> out(n);
  CUDA_OK(cudaMemset(out.p, 0, n * sizeof(Results)));  // the padding is copied to the host as well
  wide<<<(n + 127) / 128, 128>>>(da.p, db.p, out.p, n);
  auto got = out.get();
  int wrong = 0;
  for (int i = 0; i < n; ++i) {
    Results w = compute(a[i], b[i]);
    const Results& g = got[i];
    wrong += !(g.sum == w.sum && g.difference == w.difference && g.product == w.product && g.quotient == w.quotient &&
               g.remainder == w.remainder && g.left == w.left && g.right == w.right && g.unsigned_quotient == w.unsigned_quotient &&
               g.unsigned_remainder == w.unsigned_remainder && g.unsigned_right == w.unsigned_right && g.to_double == w.to_double &&
               g.from_double == w.from_double && g.less == w.less && g.unsigned_less == w.unsigned_less && g.equal == w.equal);
  }
  CHECK(wrong == 0);
}

// ---- 64-bit atomics: every thread applies each operation; the results do not depend on the order ----

constexpr int kOps = 9;
__device__ void apply(u64* p, u64 v) {
  atomicAdd(p + 0, v);
  atomicMin(p + 1, v);
  atomicMax(p + 2, v);
  atomicMin((i64*)p + 3, i64(v));
  atomicMax((i64*)p + 4, i64(v));
  atomicAnd(p + 5, v | 0xf0f0f0f0f0f0f0f0ull);
  atomicOr(p + 6, v & 0x1111111111111111ull);
  atomicXor(p + 7, v);
  u64 old = *(volatile u64*)(p + 8), seen;  // a compare-and-swap loop
  while ((seen = atomicCAS(p + 8, old, old * 3 + 1)) != old) old = seen;
}
__global__ void atomics(const u64* in, int n, u64* global, u64* of_blocks) {
  extern __shared__ u64 shared[];
  if (threadIdx.x < kOps) shared[threadIdx.x] = 1000;
  __syncthreads();
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {
    apply(global, in[i]);
    apply(shared, in[i]);
  }
  __syncthreads();
  if (threadIdx.x < kOps) of_blocks[blockIdx.x * kOps + threadIdx.x] = shared[threadIdx.x];
}
std::vector<u64> expected_atomics(const std::vector<u64>& values) {
  std::vector<u64> p(kOps, 1000);
  for (u64 v : values) {
    p[0] += v;
    p[1] = std::min(p[1], v);
    p[2] = std::max(p[2], v);
    p[3] = u64(std::min(i64(p[3]), i64(v)));
    p[4] = u64(std::max(i64(p[4]), i64(v)));
    p[5] &= v | 0xf0f0f0f0f0f0f0f0ull;
    p[6] |= v & 0x1111111111111111ull;
    p[7] ^= v;
    p[8] = p[8] * 3 + 1;
  }
  return p;
}
void test_atomics() {
  const int blocks = 3, threads = 96, n = 1000;
  auto h = random_values<u64>(n, 9);
  Device<u64> in(h), global(std::vector<u64>(kOps, 1000)), of_blocks(blocks * kOps);
  atomics<<<blocks, threads, kOps * sizeof(u64)>>>(in.p, n, global.p, of_blocks.p);
  CHECK(global.get() == expected_atomics(h));
  auto got = of_blocks.get();
  for (int b = 0; b < blocks; ++b) {
    std::vector<u64> mine;
    for (int i = 0; i < n; ++i)
      if (i / threads % blocks == b) mine.push_back(h[i]);
    CHECK(std::equal(got.begin() + b * kOps, got.begin() + (b + 1) * kOps, expected_atomics(mine).begin()));
  }
}

// ---- reductions over all lanes, and over the lanes of three groups ----

constexpr int kReductions = 8;
__global__ void reductions(const int* in, int* out) {
  const int i = threadIdx.x, v = in[i];
  const unsigned group = i % 3 == 0 ? 0x49249249u : i % 3 == 1 ? 0x92492492u : 0x24924924u;
  for (unsigned mask : {0xffffffffu, group}) {
    out[i] = int(__reduce_add_sync(mask, unsigned(v)));
    out[32 + i] = __reduce_add_sync(mask, v);
    out[64 + i] = int(__reduce_min_sync(mask, unsigned(v)));
    out[96 + i] = __reduce_min_sync(mask, v);
    out[128 + i] = int(__reduce_max_sync(mask, unsigned(v)));
    out[160 + i] = __reduce_max_sync(mask, v);
    out[192 + i] = int(__reduce_and_sync(mask, unsigned(v) | 0xff00ff00u));
    out[224 + i] = int(__reduce_or_sync(mask, unsigned(v) & 0x01010101u) ^ __reduce_xor_sync(mask, unsigned(v)));
    out += 32 * kReductions;
  }
}
void test_reductions() {
  auto h = random_values<int>(32, 3);
  Device<int> in(h), out(2 * 32 * kReductions);
  reductions<<<1, 32>>>(in.p, out.p);
  auto got = out.get();
  bool ok = true;
  for (int pass = 0; pass < 2; ++pass)
    for (int i = 0; i < 32; ++i) {
      unsigned sum = 0, low = ~0u, high = 0, all = ~0u, any = 0, odd = 0;
      int least = INT_MAX, most = INT_MIN;
      for (int j = 0; j < 32; ++j) {
        if (pass && j % 3 != i % 3) continue;
        const unsigned u = unsigned(h[j]);
        sum += u, low = std::min(low, u), high = std::max(high, u), least = std::min(least, h[j]), most = std::max(most, h[j]);
        all &= u | 0xff00ff00u, any |= u & 0x01010101u, odd ^= u;
      }
      const int want[kReductions] = {int(sum), int(sum), int(low), least, int(high), most, int(all), int(any ^ odd)};
      for (int k = 0; k < kReductions; ++k) ok &= got[(pass * kReductions + k) * 32 + i] == want[k];
    }
  CHECK(ok);
}

// ---- DPX ----

constexpr int kDpx = 16;
__host__ __device__ inline int half(unsigned v, int k) { return short(v >> (16 * k)); }
__global__ void dpx(const int* a, const int* b, const int* c, int n, int* out) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  int *o = out + i * kDpx, x = a[i], y = b[i], z = c[i];
  bool first, second;
  o[0] = __viaddmin_s32(x, y, z);
  o[1] = __viaddmax_s32(x, y, z);
  o[2] = __viaddmin_s32_relu(x, y, z);
  o[3] = int(__viaddmax_u32(x, y, z));
  o[4] = __vimin3_s32(x, y, z);
  o[5] = __vimax3_s32(x, y, z);
  o[6] = __vimin3_s32_relu(x, y, z);
  o[7] = int(__vimin3_u32(x, y, z));
  o[8] = int(__vimax3_u32(x, y, z));
  o[9] = __vimin_s32_relu(x, y);
  o[10] = __vibmin_s32(x, y, &first);
  o[11] = first;
  o[12] = int(__vibmax_u32(x, y, &second));
  o[13] = second;
  o[14] = int(__viaddmin_s16x2(x, y, z));
  o[15] = int(__vimax3_s16x2_relu(x, y, z));
}
void test_dpx() {
  std::vector<int> a, b, c;
  const int edges[] = {0, 1, -1, INT_MAX, INT_MIN, 0x00018000, 0x7fff8001};
  for (int x : edges)
    for (int y : edges)
      for (int z : edges) a.push_back(x), b.push_back(y), c.push_back(z);
  auto more = random_values<int>(600, 8);
  for (size_t i = 0; i < more.size(); i += 3) a.push_back(more[i]), b.push_back(more[i + 1]), c.push_back(more[i + 2]);
  const int n = int(a.size());
  Device<int> da(a), db(b), dc(c), out(n * kDpx);
  dpx<<<(n + 63) / 64, 64>>>(da.p, db.p, dc.p, n, out.p);
  auto got = out.get();
  int wrong = 0;
  for (int i = 0; i < n; ++i) {
    const int x = a[i], y = b[i], z = c[i], sum = int(unsigned(x) + unsigned(y));  // the sums wrap
    const unsigned ux = x, uy = y, uz = z;
    unsigned sums = 0, most = 0;
    for (int k = 0; k < 2; ++k) {
      sums |= unsigned(std::min<int>(short(half(x, k) + half(y, k)), half(z, k)) & 0xffff) << (16 * k);
      most |= unsigned(std::max({half(x, k), half(y, k), half(z, k), 0}) & 0xffff) << (16 * k);
    }
    const int want[kDpx] = {std::min(sum, z),        std::max(sum, z),        std::max(std::min(sum, z), 0),
                            int(std::max(ux + uy, uz)), std::min({x, y, z}),     std::max({x, y, z}),
                            std::max(std::min({x, y, z}), 0), int(std::min({ux, uy, uz})), int(std::max({ux, uy, uz})),
                            std::max(std::min(x, y), 0), std::min(x, y),         x <= y,
                            int(std::max(ux, uy)),   ux >= uy,                int(sums), int(most)};
    for (int k = 0; k < kDpx; ++k) wrong += got[i * kDpx + k] != want[k];
  }
  CHECK(wrong == 0);
}

int main() {
  test_int128();
  test_atomics();
  test_reductions();
  test_dpx();
  return finish();
}
