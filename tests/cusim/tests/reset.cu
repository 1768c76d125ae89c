// cudaDeviceReset: memory and handles are gone, variables and attributes as at the start, and work goes on.
#include "check.cuh"

__device__ int counter = 5;
__device__ int table[4] = {1, 2, 3};
__device__ int* into_table = table + 1;
__constant__ int factor = 7;
__managed__ int managed = 11;

__global__ void change(int* out) {
  counter += 1;
  table[0] = table[3] = 9;
  *into_table = 8;
  into_table = nullptr;
  managed += counter;
  *out = factor;
}
__global__ void read(int* out) {
  out[0] = counter, out[1] = table[0], out[2] = *into_table, out[3] = table[3], out[4] = factor, out[5] = managed;
}
__global__ void dynamic_shared(int* out) {
  extern __shared__ int s[];
  s[threadIdx.x] = threadIdx.x;
  *out = s[threadIdx.x];
}

size_t available() {
  size_t a, total;
  CUDA_OK(cudaMemGetInfo(&a, &total));
  return a;
}
std::vector<int> state() {
  Device<int> out(6);
  read<<<1, 1>>>(out.p);
  return out.get();
}
int dynamic_limit() {
  cudaFuncAttributes a;
  CUDA_OK(cudaFuncGetAttributes(&a, dynamic_shared));
  return a.maxDynamicSharedSizeBytes;
}

int main() {
  const std::vector<int> initial = {5, 1, 2, 0, 7, 11};
  CHECK(state() == initial);
  const size_t all = available();
  for (int round = 0; round < 3; ++round) {
    int *p, *pinned, *ordered;
    cudaStream_t s, capturing;
    cudaEvent_t e;
    CUDA_OK(cudaMalloc(&p, 1 << 20));
    CUDA_OK(cudaMallocHost(&pinned, 1 << 10));
    CUDA_OK(cudaStreamCreate(&s));
    CUDA_OK(cudaStreamCreateWithFlags(&capturing, cudaStreamNonBlocking));
    CUDA_OK(cudaMallocAsync((void**)&ordered, 1 << 10, s));
    CUDA_OK(cudaEventCreate(&e));
    CUDA_OK(cudaEventRecord(e, s));
    CUDA_OK(cudaFuncSetAttribute(dynamic_shared, cudaFuncAttributeMaxDynamicSharedMemorySize, 100 << 10));
    CHECK(dynamic_limit() == 100 << 10);
    dynamic_shared<<<1, 1, 100 << 10, s>>>(p);
    change<<<1, 1, 0, s>>>(p);
    CUDA_OK(cudaStreamSynchronize(s));
    CHECK(managed == 17 && available() < all);
    int zero = 0;
    CUDA_OK(cudaMemcpyToSymbol(factor, &zero, sizeof zero));
    CUDA_OK(cudaStreamBeginCapture(s, cudaStreamCaptureModeRelaxed));
    CUDA_OK(cudaMemsetAsync(p, 0, 4, s));
    cudaGraph_t g;
    CUDA_OK(cudaStreamEndCapture(s, &g));
    cudaGraphExec_t x;
    CUDA_OK(cudaGraphInstantiate(&x, g, 0));
    CUDA_OK(cudaStreamBeginCapture(capturing, cudaStreamCaptureModeGlobal));
    cudaSetDevice(1);  // an error that nobody has asked for

    CUDA_OK(cudaDeviceReset());

    CHECK(cudaGetLastError() == cudaSuccess);
    CHECK(available() == all && dynamic_limit() == 48 << 10);
    CHECK(state() == initial && managed == 11);
    // The capture has gone with its stream: calls that it forbade have just succeeded. New objects do not get the old handles.
    cudaStream_t fresh;
    cudaEvent_t fresh_event;
    CUDA_OK(cudaStreamCreate(&fresh));
    CUDA_OK(cudaEventCreate(&fresh_event));
    CHECK(fresh != s && fresh != capturing && fresh_event != e);
    cudaPointerAttributes a;
    for (int* old : {p, pinned, ordered}) {
      CUDA_OK(cudaPointerGetAttributes(&a, old));
      CHECK(a.type == cudaMemoryTypeUnregistered);
    }
    for (cudaStream_t old : {s, capturing}) {
      CHECK(cudaStreamSynchronize(old) == cudaErrorInvalidResourceHandle);
      CHECK(cudaStreamDestroy(old) == cudaErrorInvalidResourceHandle);
      CHECK(cudaStreamEndCapture(old, &g) == cudaErrorInvalidResourceHandle);
    }
    read<<<1, 1, 0, s>>>(nullptr);
    CHECK(cudaGetLastError() == cudaErrorInvalidResourceHandle);
    CHECK(cudaEventRecord(e, fresh) == cudaErrorInvalidResourceHandle);
    CHECK(cudaEventSynchronize(e) == cudaErrorInvalidResourceHandle);
    CHECK(cudaEventDestroy(e) == cudaErrorInvalidResourceHandle);
    CHECK(cudaGraphLaunch(x, fresh) == cudaErrorInvalidValue && cudaGraphExecDestroy(x) == cudaErrorInvalidValue);
    CHECK(cudaGetLastError() == cudaErrorInvalidValue && cudaGetLastError() == cudaSuccess);
    CUDA_OK(cudaEventRecord(fresh_event, fresh));
    CUDA_OK(cudaDeviceSynchronize());
  }
  return finish();
}
