// As planted.cu, for thread-block clusters: clusters of two blocks of 64 threads.
#include <cooperative_groups.h>

#include <functional>
#include <map>
#include <string>

#include "check.cuh"

namespace cg = cooperative_groups;

constexpr int N = 64;
#define CLUSTER_KERNEL __global__ void __cluster_dims__(2, 1, 1)

__device__ inline unsigned rank() { return cg::this_cluster().block_rank(); }
__device__ inline void cluster_sync() { cg::this_cluster().sync(); }
template <class T> __device__ T* of_block(T* shared, unsigned r) { return cg::this_cluster().map_shared_rank(shared, r); }
__device__ inline unsigned address_in_cluster(const void* shared, unsigned r) {
  unsigned a;
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(a) : "r"(unsigned(__cvta_generic_to_shared(shared))), "r"(r));
  return a;
}

CLUSTER_KERNEL bounds(int* q, bool bug) {
  __shared__ int s[N];
  cluster_sync();
  of_block(s, rank() ^ 1)[threadIdx.x + (bug ? 1 : 0)] = 1;
  cluster_sync();
  q[blockIdx.x * N + threadIdx.x] = s[threadIdx.x];
}
CLUSTER_KERNEL no_such_rank(int* q, bool bug) {
  __shared__ int s[N];
  s[threadIdx.x] = 2;
  cluster_sync();
  q[blockIdx.x * N + threadIdx.x] = of_block(s, bug ? 2 : 1)[threadIdx.x];
  cluster_sync();
}
// An instruction for the block's own shared memory with the address of another's.
CLUSTER_KERNEL wrong_window(int* q, bool bug) {
  __shared__ int s[N];
  s[threadIdx.x] = 2;
  cluster_sync();
  unsigned remote = address_in_cluster(s + threadIdx.x, rank() ^ 1);
  int v;
  if (bug) asm volatile("ld.shared::cta.u32 %0, [%1];" : "=r"(v) : "r"(remote) : "memory");
  else asm volatile("ld.shared::cluster.u32 %0, [%1];" : "=r"(v) : "r"(remote) : "memory");
  q[blockIdx.x * N + threadIdx.x] = v;
  cluster_sync();
}
CLUSTER_KERNEL uninit(int* q, bool bug) {
  __shared__ int s[N];
  if (!bug || threadIdx.x != 5) s[threadIdx.x] = threadIdx.x;
  cluster_sync();
  if (of_block(s, rank() ^ 1)[threadIdx.x] > 3) q[blockIdx.x * N + threadIdx.x] = 1;
  cluster_sync();
}
CLUSTER_KERNEL race_read(int* q, bool bug) {
  __shared__ int s[N];
  cluster_sync();
  s[threadIdx.x] = threadIdx.x;
  if (bug) __syncthreads();  // of the own block only
  else cluster_sync();
  q[blockIdx.x * N + threadIdx.x] = of_block(s, rank() ^ 1)[threadIdx.x];
  cluster_sync();
}
// Both blocks write to the first one.
CLUSTER_KERNEL race_write(int* q, bool bug) {
  __shared__ int s[2 * N];
  cluster_sync();
  of_block(s, 0)[threadIdx.x + (bug ? 0 : rank() * N)] = int(rank());
  cluster_sync();
  if (rank() == 0) q[threadIdx.x] = s[threadIdx.x];
}
// The next round's values overwrite what the neighbour may be reading.
CLUSTER_KERNEL race_reuse(int* q, bool bug) {
  __shared__ int s[N];
  for (int round = 0; round < 3; ++round) {
    s[threadIdx.x] = threadIdx.x * round;
    cluster_sync();
    q[blockIdx.x * N + threadIdx.x] = of_block(s, rank() ^ 1)[threadIdx.x];
    if (!bug || round == 2) cluster_sync();
  }
}
CLUSTER_KERNEL race_atomic(int* q, bool bug) {
  __shared__ int s;
  s = 0;
  cluster_sync();
  if (threadIdx.x < 8) atomicAdd(of_block(&s, 0), 1);
  if (!bug) cluster_sync();
  if (rank() == 1 && threadIdx.x == 40) q[0] = *of_block(&s, 0);
  cluster_sync();
}
// Two warps of one block meet in the other's shared memory: ordered by a barrier of their own block.
CLUSTER_KERNEL race_within_block(int* q, bool bug) {
  __shared__ int s[N];
  cluster_sync();
  if (rank() == 0) {
    int* there = of_block(s, 1);
    there[threadIdx.x] = threadIdx.x;
    if (!bug) __syncthreads();
    q[threadIdx.x] = there[N - 1 - threadIdx.x];
  }
  cluster_sync();
}
// Shared memory of a block that may not have started.
CLUSTER_KERNEL entry(int* q, bool bug) {
  __shared__ int s[N];
  if (!bug) cluster_sync();
  of_block(s, rank() ^ 1)[threadIdx.x] = 1;
  cluster_sync();
  q[blockIdx.x * N + threadIdx.x] = s[threadIdx.x];
}
// The first block leaves while the second still reads; and the other way round, where the order of execution hides it.
__device__ inline void leave(int* q, bool bug, unsigned reader) {
  __shared__ int s[N];
  s[threadIdx.x] = threadIdx.x;
  cluster_sync();
  if (rank() == reader) q[threadIdx.x] = of_block(s, reader ^ 1)[threadIdx.x];
  if (!bug) cluster_sync();
}
CLUSTER_KERNEL exit_before(int* q, bool bug) { leave(q, bug, 1); }
CLUSTER_KERNEL exit_unordered(int* q, bool bug) { leave(q, bug, 0); }
CLUSTER_KERNEL divergent(int* q, bool bug) {
  if (bug && threadIdx.x % 2) {
    q[blockIdx.x * N + threadIdx.x] = 1;
    asm volatile("barrier.cluster.arrive.aligned;\nbarrier.cluster.wait.aligned;" ::: "memory");
  } else {
    q[blockIdx.x * N + threadIdx.x] = 2;
    asm volatile("barrier.cluster.arrive.aligned;\nbarrier.cluster.wait.aligned;" ::: "memory");
  }
}
CLUSTER_KERNEL arrive_twice(bool bug) {
  asm volatile("barrier.cluster.arrive;" ::: "memory");
  if (bug) asm volatile("barrier.cluster.arrive;" ::: "memory");
  asm volatile("barrier.cluster.wait;" ::: "memory");
}
CLUSTER_KERNEL wait_only(bool bug) {
  if (!bug) asm volatile("barrier.cluster.arrive;" ::: "memory");
  asm volatile("barrier.cluster.wait;" ::: "memory");
}
// A warp of the second block waits at a barrier for all its threads, the other one at that of the cluster.
CLUSTER_KERNEL mismatched(bool bug) {
  if (bug && rank() == 1 && threadIdx.x < 32) asm volatile("barrier.sync 0;" ::: "memory");
  cluster_sync();
}
CLUSTER_KERNEL early_exit(bool bug) {
  if (bug && threadIdx.x == 63) return;
  cluster_sync();
}
// The mbarrier that st.async completes on must be where the data goes.
CLUSTER_KERNEL async_elsewhere(int* q, bool bug) {
  __shared__ int box;
  __shared__ unsigned long long bar;
  const unsigned mine = unsigned(__cvta_generic_to_shared(&bar));
  if (threadIdx.x == 0) {
    asm volatile("mbarrier.init.shared.b64 [%0], 1;" ::"r"(mine) : "memory");
    asm volatile("{ .reg .b64 s; mbarrier.arrive.expect_tx.shared.b64 s, [%0], 4; }" ::"r"(mine) : "memory");
  }
  cluster_sync();
  if (threadIdx.x == 0) {
    unsigned to = address_in_cluster(&box, rank() ^ 1), signal = address_in_cluster(&bar, bug ? rank() : rank() ^ 1);
    asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.u32 [%0], %1, [%2];" ::"r"(to), "r"(5), "r"(signal) : "memory");
    unsigned done = 0;
    while (!done)
      asm volatile("{ .reg .pred p; mbarrier.test_wait.parity.shared.b64 p, [%1], 0; selp.u32 %0, 1, 0, p; }"
                   : "=r"(done) : "r"(mine) : "memory");
    q[blockIdx.x] = box;
  }
  cluster_sync();
}
__global__ void any_size(int* q) { q[threadIdx.x] = 1; }

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  const bool bug = std::string(argv[2]) == "bug";
  int* q;
  CUDA_OK(cudaMalloc(&q, 4 * N * sizeof(int)));
  CUDA_OK(cudaMemset(q, 0, 4 * N * sizeof(int)));
  struct Case {
    std::function<void()> run;
    cudaError_t expected = cudaSuccess;
  };
#define WITH_MEMORY(kernel, ...) {#kernel, {[=] { kernel<<<2, N>>>(q, bug); }, ##__VA_ARGS__}}
#define BARE(kernel, ...) {#kernel, {[=] { kernel<<<2, N>>>(bug); }, ##__VA_ARGS__}}
  const std::map<std::string, Case> cases = {
      WITH_MEMORY(bounds, cudaErrorIllegalAddress), WITH_MEMORY(no_such_rank, cudaErrorIllegalAddress),
      WITH_MEMORY(wrong_window, cudaErrorIllegalAddress), WITH_MEMORY(uninit), WITH_MEMORY(race_read),
      WITH_MEMORY(race_write), WITH_MEMORY(race_reuse), WITH_MEMORY(race_atomic), WITH_MEMORY(race_within_block),
      WITH_MEMORY(entry), WITH_MEMORY(exit_before, cudaErrorIllegalAddress), WITH_MEMORY(exit_unordered), WITH_MEMORY(divergent),
      BARE(arrive_twice), BARE(wait_only), BARE(mismatched, cudaErrorLaunchTimeout), BARE(early_exit),
      WITH_MEMORY(async_elsewhere, cudaErrorLaunchFailure)};
  if (std::string(argv[1]) == "bad_size") {
    cudaLaunchConfig_t c = {};
    cudaLaunchAttribute a = {};
    c.gridDim = 4;
    c.blockDim = N;
    c.attrs = &a;
    c.numAttrs = 1;
    a.id = cudaLaunchAttributeClusterDimension;
    a.val.clusterDim = {bug ? 3u : 4u, 1, 1};
    CHECK(cudaLaunchKernelEx(&c, any_size, q) == (bug ? cudaErrorInvalidClusterSize : cudaSuccess));
    return finish();
  }
  const Case& c = cases.at(argv[1]);
  c.run();
  CHECK(cudaDeviceSynchronize() == (bug ? c.expected : cudaSuccess));
  return finish();
}
