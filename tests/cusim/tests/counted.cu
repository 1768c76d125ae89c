// Kernels whose statistics are counted by hand. A line "//= kernel: field value, ..." holds what --stats=FILE must say of
// the kernel; counts of memory, barriers and branches that it does not name must be 0 (counted.cmake).
//
// A warp's access to global memory is one request. It takes the 32-byte sectors that its lanes touch, each once; the least
// possible number (ideal) is that of the distinct bytes laid end to end. Traffic (compulsory) is the distinct sectors of a
// launch. A warp's access to shared memory takes as many wavefronts as the busiest of the 32 banks has distinct 4-byte words
// to serve; ideal is the distinct words over 32. Lanes of 8 bytes go by half warps, those of 16 by quarter warps.
// Allocations begin at multiples of 256 bytes. One warp unless the launch below says otherwise.
#include "check.cuh"

// ---- instruction classes: nothing but the asm and the final ret ----

// Two warps, 64 threads. Three times round the loop, where the branch is taken by all threads twice; then lanes below 16 add
// once more, by a predicate.
//   int, where a setp of integers is one: (3 add + 1 add + 3 setp + 1 setp) * 2 warps = 16; threads
//     3 * 64 + 2 * 16 + 4 * 64 = 480
//   predicate, operations on predicates alone: 1 * 2 = 2; 64
//   fp32: 3 fma * 2 = 6; 192.   fp64: 1 * 2 = 2; 64.   sfu: 1 * 2 = 2; 64.   convert: 1 * 2 = 2; 64
//   move: %tid, %laneid and two constants, 4 * 2 = 8; 256
//   control: (3 bra + 1 ret) * 2 = 8; threads 2 * 64 + 64 = 192, the third bra being taken by none
//   shuffle: 1 * 2 = 2; 64.   barrier: 1 * 2 = 2; 64, one barrier of the block
//= classes: launches 1, blocks 1, threads 64, barriers 1
//= classes: warp_instructions.int 16, warp_instructions.predicate 2, warp_instructions.fp32 6, warp_instructions.fp64 2
//= classes: warp_instructions.sfu 2, warp_instructions.convert 2, warp_instructions.move 8, warp_instructions.control 8
//= classes: warp_instructions.shuffle_vote 2, warp_instructions.barrier_fence 2, warp_instructions.global_mem 0
//= classes: thread_instructions.int 480, thread_instructions.predicate 64, thread_instructions.fp32 192
//= classes: thread_instructions.fp64 64, thread_instructions.sfu 64, thread_instructions.convert 64
//= classes: thread_instructions.move 256, thread_instructions.control 192, thread_instructions.shuffle_vote 64
//= classes: thread_instructions.barrier_fence 64, warp_instructions.other 0, thread_instructions.param_mem 0
__global__ void classes() {
  asm volatile(R"({
    .reg .pred p;
    .reg .b32 i, lane, a, b;
    .reg .f32 x;
    .reg .f64 y;
    mov.u32 a, %tid.x;
    mov.u32 lane, %laneid;
    mov.u32 i, 0;
    mov.f32 x, 0f3F800000;
  again:
    add.s32 i, i, 1;
    fma.rn.f32 x, x, x, x;
    setp.lt.s32 p, i, 3;
    @p bra again;
    setp.lt.u32 p, lane, 16;
    @p add.s32 a, a, i;
    not.pred p, p;
    cvt.f64.f32 y, x;
    add.f64 y, y, y;
    sqrt.approx.f32 x, x;
    shfl.sync.idx.b32 b, a, 0, 31, 0xffffffff;
    bar.sync 0;
  })");
}
// The odd lanes take one side and the even ones the other: one divergent branch in each of two warps.
//= divergent: launches 1, divergent_branches 2
__global__ void divergent() {
  asm volatile(R"({
    .reg .pred p;
    .reg .b32 lane;
    mov.u32 lane, %laneid;
    and.b32 lane, lane, 1;
    setp.ne.u32 p, lane, 0;
    @p bra odd;
    add.s32 lane, lane, 1;
  odd:
    add.s32 lane, lane, 1;
  })");
}

// ---- global memory ----

__device__ inline float load(const float* p) {
  float v;
  asm volatile("ld.global.f32 %0, [%1];" : "=f"(v) : "l"(p));
  return v;
}
__device__ inline float4 load4(const float* p) {
  float4 v;
  asm volatile("ld.global.v4.f32 {%0, %1, %2, %3}, [%4];" : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w) : "l"(p));
  return v;
}
__device__ inline unsigned lane() { return threadIdx.x; }

// 4 warps, each 32 * 4 = 128 bytes = 4 sectors, in and out.
//= coalesced: launches 1, global_load_requests 4, global_load_bytes 512, global_load_sectors 16, global_load_ideal_sectors 16
//= coalesced: global_store_requests 4, global_store_bytes 512, global_store_sectors 16, global_store_ideal_sectors 16
//= coalesced: compulsory_read_bytes 512, compulsory_write_bytes 512
//= coalesced: warp_instructions.global_mem 8, thread_instructions.global_mem 256
__global__ void coalesced(const float* in, float* out) { out[threadIdx.x] = load(in + threadIdx.x); }

// Every second word: 256 bytes = 8 sectors for 128 bytes of use.
//= stride_2: launches 1, global_load_requests 1, global_load_bytes 128, global_load_sectors 8, global_load_ideal_sectors 4
//= stride_2: compulsory_read_bytes 256
__global__ void stride_2(const float* in) { load(in + 2 * lane()); }

// A word of every sector: 32 sectors, all of them traffic.
//= stride_8: launches 1, global_load_requests 1, global_load_bytes 128, global_load_sectors 32, global_load_ideal_sectors 4
//= stride_8: compulsory_read_bytes 1024
__global__ void stride_8(const float* in) { load(in + 8 * lane()); }

// Descending addresses are the same sectors.
//= reversed: launches 1, global_load_requests 1, global_load_bytes 128, global_load_sectors 4, global_load_ideal_sectors 4
//= reversed: compulsory_read_bytes 128
__global__ void reversed(const float* in) { load(in + 31 - lane()); }

// 16 bytes a lane: 512 bytes = 16 sectors by one request.
//= vector_16: launches 1, global_load_requests 1, global_load_bytes 512, global_load_sectors 16, global_load_ideal_sectors 16
//= vector_16: compulsory_read_bytes 512
__global__ void vector_16(const float* in) { load4(in + 4 * lane()); }

// 64 bytes a lane, by four loads of 16 bytes: each request touches half of every second sector, so 32 of them for 512 bytes
// (16 sectors' worth). Together the four read 32 * 64 = 2048 bytes, whole.
//= vector_64: launches 1, global_load_requests 4, global_load_bytes 2048, global_load_sectors 128, global_load_ideal_sectors 64
//= vector_64: compulsory_read_bytes 2048
__global__ void vector_64(const float* in) {
  for (int k = 0; k < 4; ++k) load4(in + 16 * lane() + 4 * k);
}

// 32 bytes a lane (sm_100): 1024 bytes = 32 sectors.
//= vector_32: launches 1, global_load_requests 1, global_load_bytes 1024, global_load_sectors 32, global_load_ideal_sectors 32
//= vector_32: compulsory_read_bytes 1024
__global__ void vector_32(const float* in) {
  float v[8];
  asm volatile("ld.global.v8.f32 {%0, %1, %2, %3, %4, %5, %6, %7}, [%8];"
               : "=f"(v[0]), "=f"(v[1]), "=f"(v[2]), "=f"(v[3]), "=f"(v[4]), "=f"(v[5]), "=f"(v[6]), "=f"(v[7]) : "l"(in + 8 * lane()));
}

// A row that begins 4 bytes after a sector: bytes 4 to 131 are in 5 sectors.
//= misaligned_row: launches 1, global_load_requests 1, global_load_bytes 128, global_load_sectors 5, global_load_ideal_sectors 4
//= misaligned_row: compulsory_read_bytes 160
__global__ void misaligned_row(const float* in) { load(in + 1 + lane()); }

// The same with 16 bytes a lane, 16 bytes after a sector: bytes 16 to 527 are in 17 sectors.
//= misaligned_vectors: launches 1, global_load_requests 1, global_load_bytes 512, global_load_sectors 17
//= misaligned_vectors: global_load_ideal_sectors 16, compulsory_read_bytes 544
__global__ void misaligned_vectors(const float* in) { load4(in + 4 + 4 * lane()); }

// One word for all: 1 sector, which is the least possible.
//= broadcast: launches 1, global_load_requests 1, global_load_bytes 128, global_load_sectors 1, global_load_ideal_sectors 1
//= broadcast: compulsory_read_bytes 32
__global__ void broadcast(const float* in) { load(in); }

// Pairs of lanes share a word: 64 distinct bytes = 2 sectors.
//= shared_words: launches 1, global_load_requests 1, global_load_bytes 128, global_load_sectors 2, global_load_ideal_sectors 2
//= shared_words: compulsory_read_bytes 64
__global__ void shared_words(const float* in) { load(in + lane() / 2); }

// 10 lanes: 40 bytes in 2 sectors. The others go round the store, which is a divergent branch.
//= few_lanes: launches 1, divergent_branches 1
//= few_lanes: global_store_requests 1, global_store_bytes 40, global_store_sectors 2, global_store_ideal_sectors 2
//= few_lanes: compulsory_write_bytes 64
__global__ void few_lanes(float* out) {
  if (lane() < 10) out[lane()] = 1;
}

// Two launches of two blocks, all reading the same 128 bytes: 4 requests of 4 sectors. The traffic is that of each launch once.
//= again: launches 2, blocks 4, threads 128, global_load_requests 4, global_load_bytes 512, global_load_sectors 16
//= again: global_load_ideal_sectors 16, compulsory_read_bytes 256
__global__ void again(const float* in) { load(in + lane()); }

// Read and written: traffic both ways.
//= in_place: launches 1, global_load_requests 1, global_load_bytes 128, global_load_sectors 4, global_load_ideal_sectors 4
//= in_place: global_store_requests 1, global_store_bytes 128, global_store_sectors 4, global_store_ideal_sectors 4
//= in_place: compulsory_read_bytes 128, compulsory_write_bytes 128
__global__ void in_place(float* p) { p[lane()] = load(p + lane()) + 1; }

// Atomics count as stores, and their sectors as read and written. 32 lanes on 8 words: 32 distinct bytes = 1 sector.
//= atomics_32: launches 1, global_store_requests 1, global_store_bytes 128, global_store_sectors 1, global_store_ideal_sectors 1
//= atomics_32: compulsory_read_bytes 32, compulsory_write_bytes 32, warp_instructions.atomic 1, thread_instructions.atomic 32
__global__ void atomics_32(int* p) { atomicAdd(p + (lane() & 7), 1); }

// 8 bytes a lane, all distinct: 256 bytes = 8 sectors.
//= atomics_64: launches 1, global_store_requests 1, global_store_bytes 256, global_store_sectors 8, global_store_ideal_sectors 8
//= atomics_64: compulsory_read_bytes 256, compulsory_write_bytes 256, warp_instructions.atomic 1
__global__ void atomics_64(unsigned long long* p) { atomicMax(p + lane(), 1ull); }

// Constants and parameters are not global memory, nor is the stack.
__constant__ float constants[32];
//= not_global: launches 1, warp_instructions.global_mem 0
__global__ void not_global(int n) {
  volatile float stack[4];
  float v;
  asm volatile("{ .reg .u64 a; cvta.to.const.u64 a, %1; ld.const.f32 %0, [a]; }" : "=f"(v) : "l"(constants + lane()));
  stack[n] = v;
  stack[n + 1] = stack[n];
}

// ---- shared memory ----

__device__ inline unsigned at(const void* p) { return unsigned(__cvta_generic_to_shared(p)); }
__device__ inline void put(unsigned a, int v) { asm volatile("st.shared.b32 [%0], %1;" ::"r"(a), "r"(v) : "memory"); }
__device__ inline void put2(unsigned a, int v) { asm volatile("st.shared.v2.b32 [%0], {%1, %1};" ::"r"(a), "r"(v) : "memory"); }
__device__ inline void put4(unsigned a, int v) { asm volatile("st.shared.v4.b32 [%0], {%1, %1, %1, %1};" ::"r"(a), "r"(v) : "memory"); }

// One word a bank.
//= conflict_free: launches 1, static_shared_bytes 128, shared_requests 1, shared_wavefronts 1, shared_ideal_wavefronts 1
__global__ void conflict_free() {
  __shared__ int s[32];
  put(at(s + lane()), 1);
}
// Every second word: each of the 16 even banks has two.
//= conflict_2: launches 1, static_shared_bytes 256, shared_requests 1, shared_wavefronts 2, shared_ideal_wavefronts 1
__global__ void conflict_2() {
  __shared__ int s[64];
  put(at(s + 2 * lane()), 1);
}
// Every 32nd word, all in one bank; and every 33rd, one in each.
//= conflict_32: launches 1, static_shared_bytes 4224, shared_requests 2, shared_wavefronts 33, shared_ideal_wavefronts 2
__global__ void conflict_32() {
  __shared__ int s[32 * 33];
  put(at(s + 32 * lane()), 1);
  put(at(s + 33 * lane()), 1);
}
// All lanes on one word; and four lanes on each of 8 words: 32 consecutive bytes.
//= same_word: launches 1, static_shared_bytes 64, shared_requests 2, shared_wavefronts 2, shared_ideal_wavefronts 2
__global__ void same_word() {
  __shared__ int s[16];
  put(at(s), 1);
  asm volatile("st.shared.b8 [%0], %1;" ::"r"(at(s) + lane()), "r"(1) : "memory");
}
// 8 bytes a lane: each half warp has the 32 banks for its 32 words. With the upper half alone there is one such
// (after a divergent branch).
//= vectors_8: launches 1, divergent_branches 1, static_shared_bytes 256, shared_requests 2, shared_wavefronts 3, shared_ideal_wavefronts 3
__global__ void vectors_8() {
  __shared__ __align__(16) int s[64];
  put2(at(s + 2 * lane()), 1);
  if (lane() >= 16) put2(at(s + 2 * lane()), 1);
}
// 16 bytes a lane: four quarters of 32 words.
//= vectors_16: launches 1, static_shared_bytes 512, shared_requests 1, shared_wavefronts 4, shared_ideal_wavefronts 4
__global__ void vectors_16() {
  __shared__ __align__(16) int s[128];
  put4(at(s + 4 * lane()), 1);
}
// 16 bytes of every 32: the 8 lanes of a quarter have words 0-3, 8-11, ..., 56-59, two for each of 16 banks.
//= vectors_conflict: launches 1, static_shared_bytes 1024, shared_requests 1, shared_wavefronts 8, shared_ideal_wavefronts 4
__global__ void vectors_conflict() {
  __shared__ __align__(16) int s[256];
  put4(at(s + 8 * lane()), 1);
}
// By generic addresses. Load and store of the dynamic part; one word a bank.
//= generic: launches 1, dynamic_shared_bytes 128, shared_requests 2, shared_wavefronts 2, shared_ideal_wavefronts 2
__global__ void generic() {
  extern __shared__ int dynamic[];
  int* p = dynamic + lane();
  asm volatile("{ .reg .b32 v; mov.u32 v, 3; st.b32 [%0], v; ld.b32 v, [%0]; }" ::"l"(p) : "memory");
}
// 32-bit atomics without conflict, then all 64-bit ones on one place: its two words for either half warp.
//= shared_atomics: launches 1, static_shared_bytes 136, shared_requests 4, shared_wavefronts 5, shared_ideal_wavefronts 5
//= shared_atomics: warp_instructions.atomic 2
__global__ void shared_atomics() {
  __shared__ __align__(16) int s[34];
  put(at(s + lane()), 1);
  put(at(s + 2 + lane()), 1);
  asm volatile("red.shared.add.u32 [%0], 1;" ::"r"(at(s + lane())) : "memory");
  asm volatile("red.shared.add.u64 [%0], 1;" ::"r"(at(s)) : "memory");
}
// 2 blocks of 2 warps: three barriers each, and a named one for the first block's first warp alone.
//= barriers: launches 1, blocks 2, barriers 7, warp_instructions.barrier_fence 13
__global__ void barriers() {
  asm volatile("bar.sync 0;\nbar.sync 0;\nbar.sync 0;");
  if (blockIdx.x == 0 && threadIdx.x < 32) asm volatile("bar.sync 1, 32;");
}

// ---- asynchronous copies ----

// 16 bytes a lane, as vector_16 and vectors_16.
//= copy_async: launches 1, static_shared_bytes 512, global_load_requests 1, global_load_bytes 512, global_load_sectors 16
//= copy_async: global_load_ideal_sectors 16, compulsory_read_bytes 512, shared_requests 1, shared_wavefronts 4
//= copy_async: shared_ideal_wavefronts 4
__global__ void copy_async(const float* in) {
  __shared__ __align__(16) float s[128];
  asm volatile("cp.async.ca.shared.global [%0], [%1], 16;" ::"r"(at(s + 4 * lane())), "l"(in + 4 * lane()) : "memory");
  asm volatile("cp.async.wait_all;" ::: "memory");
}
// One thread writes a word (1 wavefront) and copies 512 bytes out of shared memory, 4 wavefronts, to 16 sectors.
//= copy_bulk: launches 1, static_shared_bytes 512, global_store_requests 1, global_store_bytes 512, global_store_sectors 16
//= copy_bulk: global_store_ideal_sectors 16, compulsory_write_bytes 512, shared_requests 2, shared_wavefronts 5
//= copy_bulk: shared_ideal_wavefronts 5
__global__ void copy_bulk(float* out) {
  __shared__ __align__(16) int s[128];
  put(at(s), 1);
  asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], 512;" ::"l"(out), "r"(at(s)) : "memory");
  asm volatile("cp.async.bulk.commit_group;\ncp.async.bulk.wait_group 0;" ::: "memory");
}

int main() {
  Device<float> in(2048), out(2048);
  Device<unsigned long long> wide(64);
  CUDA_OK(cudaMemset(in.p, 0, 2048 * sizeof(float)));
  CUDA_OK(cudaMemset(out.p, 0, 2048 * sizeof(float)));
  CUDA_OK(cudaMemset(wide.p, 0, 64 * sizeof(unsigned long long)));
  classes<<<1, 64>>>();
  divergent<<<1, 64>>>();
  coalesced<<<1, 128>>>(in.p, out.p);
  for (auto kernel : {stride_2, stride_8, reversed, vector_16, vector_64, vector_32, misaligned_row, misaligned_vectors, broadcast,
                      shared_words, copy_async})
    kernel<<<1, 32>>>(in.p);
  few_lanes<<<1, 32>>>(out.p);
  for (int i = 0; i < 2; ++i) again<<<2, 32>>>(in.p);
  in_place<<<1, 32>>>(out.p);
  atomics_32<<<1, 32>>>((int*)out.p);
  atomics_64<<<1, 32>>>(wide.p);
  not_global<<<1, 32>>>(1);
  for (auto kernel : {conflict_free, conflict_2, conflict_32, same_word, vectors_8, vectors_16, vectors_conflict, shared_atomics})
    kernel<<<1, 32>>>();
  generic<<<1, 32, 128>>>();
  barriers<<<2, 64>>>();
  copy_bulk<<<1, 1>>>(out.p);
  CUDA_OK(cudaDeviceSynchronize());
  return finish();
}
