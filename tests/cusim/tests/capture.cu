// Stream capture: what is recorded, what each mode forbids, how a capture becomes invalid, memory in graphs.
#include <thread>

#include "check.cuh"

__global__ void add(int* p, int v) { p[threadIdx.x] += v; }
__global__ void combine(const int* a, const int* b, int* out) { out[threadIdx.x] = 10 * a[threadIdx.x] + b[threadIdx.x]; }
struct Table {
  int offset, factor[8];
};
__global__ void affine(const __grid_constant__ Table t, int* p) { p[threadIdx.x] = t.offset + t.factor[threadIdx.x % 8] * p[threadIdx.x]; }

constexpr cudaStreamCaptureMode kGlobal = cudaStreamCaptureModeGlobal, kThreadLocal = cudaStreamCaptureModeThreadLocal,
                                kRelaxed = cudaStreamCaptureModeRelaxed;
constexpr int N = 32;

struct Stream {
  cudaStream_t s;
  explicit Stream(bool blocking = false) { CUDA_OK(cudaStreamCreateWithFlags(&s, blocking ? cudaStreamDefault : cudaStreamNonBlocking)); }
  ~Stream() { cudaStreamDestroy(s); }
  operator cudaStream_t() const { return s; }
};
struct Event {
  cudaEvent_t e;
  Event() { CUDA_OK(cudaEventCreate(&e)); }
  ~Event() { cudaEventDestroy(e); }
  operator cudaEvent_t() const { return e; }
};

// The error that ends the capture; no graph may come with one.
cudaError_t end(cudaStream_t s, cudaGraph_t* out = nullptr) {
  cudaGraph_t g = nullptr;
  cudaError_t e = cudaStreamEndCapture(s, &g);
  CHECK((e == cudaSuccess) == (g != nullptr));
  cudaGetLastError();
  if (out) *out = g;
  else if (g) cudaGraphDestroy(g);
  return e;
}
cudaStreamCaptureStatus status(cudaStream_t s) {
  cudaStreamCaptureStatus x;
  CUDA_OK(cudaStreamIsCapturing(s, &x));
  return x;
}

// Fill, copy, kernels and a copy back, captured once and launched with other data each time.
void test_relaunch(cudaStreamCaptureMode mode) {
  Stream s;
  Device<int> in(N), work(N);
  int *h, *back;
  CUDA_OK(cudaMallocHost(&h, 2 * N * sizeof(int)));
  back = h + N;
  Table t = {3, {1, 2, 3, 4, 5, 6, 7, 8}};
  CUDA_OK(cudaStreamBeginCapture(s, mode));
  CHECK(status(s) == cudaStreamCaptureStatusActive);
  CUDA_OK(cudaMemcpyAsync(in.p, h, N * sizeof(int), cudaMemcpyHostToDevice, s));
  CUDA_OK(cudaMemsetAsync(work.p, 0, N * sizeof(int), s));
  add<<<1, N, 0, s>>>(work.p, 5);
  combine<<<1, N, 0, s>>>(in.p, work.p, work.p);
  affine<<<1, N, 0, s>>>(t, work.p);
  CUDA_OK(cudaMemcpyAsync(back, work.p, N * sizeof(int), cudaMemcpyDeviceToHost, s));
  t.offset = 1000;  // the arguments were those of the launch
  cudaGraph_t g;
  CHECK(end(s, &g) == cudaSuccess && status(s) == cudaStreamCaptureStatusNone);
  size_t nodes = 0;
  CUDA_OK(cudaGraphGetNodes(g, nullptr, &nodes));
  CHECK(nodes == 6);
  std::vector<cudaGraphNode_t> all(nodes);
  CUDA_OK(cudaGraphGetNodes(g, all.data(), &nodes));
  const cudaGraphNodeType want[] = {cudaGraphNodeTypeMemcpy, cudaGraphNodeTypeMemset, cudaGraphNodeTypeKernel,
                                    cudaGraphNodeTypeKernel, cudaGraphNodeTypeKernel, cudaGraphNodeTypeMemcpy};
  for (size_t i = 0; i < nodes; ++i) {
    cudaGraphNodeType type;
    CUDA_OK(cudaGraphNodeGetType(all[i], &type));
    CHECK(type == want[i]);
  }
  cudaGraphExec_t x;
  CUDA_OK(cudaGraphInstantiate(&x, g, 0));
  CUDA_OK(cudaGraphDestroy(g));  // the executable graph stands alone
  CHECK(cudaGraphDestroy(g) == cudaErrorInvalidValue && cudaGetLastError() == cudaErrorInvalidValue);
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < N; ++i) h[i] = 100 * round + i, back[i] = -1;
    CUDA_OK(cudaGraphLaunch(x, s));
    CUDA_OK(cudaStreamSynchronize(s));
    bool ok = true;
    for (int i = 0; i < N; ++i) ok &= back[i] == 3 + (i % 8 + 1) * (10 * h[i] + 5);
    CHECK(ok);
  }
  CUDA_OK(cudaGraphExecDestroy(x));
  CHECK(cudaGraphLaunch(x, s) == cudaErrorInvalidValue && cudaGetLastError() == cudaErrorInvalidValue);
  CUDA_OK(cudaFreeHost(h));
}

// Two streams fork from a third and join it again, the second only if it is told to.
struct Fork {
  Stream s, t, u;
  Event fork, join_t, join_u;
  Device<int> a{N}, b{N}, out{N};

  Fork() {
    for (int* p : {a.p, b.p, out.p}) CUDA_OK(cudaMemset(p, 0, N * sizeof(int)));
  }
  void capture(bool join = true) {
    CUDA_OK(cudaStreamBeginCapture(s, kGlobal));
    add<<<1, N, 0, s>>>(out.p, 1);
    CUDA_OK(cudaEventRecord(fork, s));
    CUDA_OK(cudaStreamWaitEvent(t, fork, 0));
    CUDA_OK(cudaStreamWaitEvent(u, fork, 0));
    CHECK(status(t) == cudaStreamCaptureStatusActive && status(u) == cudaStreamCaptureStatusActive);
    add<<<1, N, 0, t>>>(a.p, 2);
    add<<<1, N, 0, u>>>(b.p, 3);
    CUDA_OK(cudaEventRecord(join_t, t));
    CUDA_OK(cudaEventRecord(join_u, u));
    CUDA_OK(cudaStreamWaitEvent(s, join_t, 0));
    if (join) CUDA_OK(cudaStreamWaitEvent(s, join_u, 0));
    size_t count;
    cudaStreamCaptureStatus state;
    CUDA_OK(cudaStreamGetCaptureInfo(s, &state, nullptr, nullptr, nullptr, nullptr, &count));
    CHECK(count == (join ? 3 : 2));  // its own kernel and those it waits for
    combine<<<1, N, 0, s>>>(a.p, b.p, out.p);
  }
};

void test_fork() {
  Fork f;
  f.capture();
  cudaGraph_t g;
  CHECK(end(f.s, &g) == cudaSuccess);
  CHECK(status(f.t) == cudaStreamCaptureStatusNone && status(f.u) == cudaStreamCaptureStatusNone);
  size_t nodes, roots;
  CUDA_OK(cudaGraphGetNodes(g, nullptr, &nodes));
  CUDA_OK(cudaGraphGetRootNodes(g, nullptr, &roots));
  CHECK(nodes == 4 && roots == 1);
  cudaGraphExec_t x;
  CUDA_OK(cudaGraphInstantiate(&x, g, 0));
  for (int i = 1; i <= 3; ++i) {
    CUDA_OK(cudaGraphLaunch(x, f.t));
    CUDA_OK(cudaStreamSynchronize(f.t));
    CHECK(f.out.get()[N - 1] == 20 * i + 3 * i);
  }
  // An event of the capture is of no use after it, until it is recorded again.
  CHECK(cudaStreamWaitEvent(f.s, f.fork, 0) == cudaErrorCapturedEvent && cudaEventSynchronize(f.fork) == cudaErrorCapturedEvent);
  cudaGetLastError();
  CUDA_OK(cudaEventRecord(f.fork, f.s));
  CUDA_OK(cudaStreamWaitEvent(f.t, f.fork, 0));
  CUDA_OK(cudaEventSynchronize(f.fork));

  f.capture();  // asks for the state of an event in it
  CHECK(cudaEventQuery(f.fork) == cudaErrorCapturedEvent && status(f.s) == cudaStreamCaptureStatusInvalidated);
  CHECK(end(f.s) == cudaErrorStreamCaptureInvalidated);
  f.capture();  // ends in the wrong stream
  CHECK(end(f.t) == cudaErrorStreamCaptureUnmatched && end(f.s) == cudaErrorStreamCaptureInvalidated);
  f.capture(false);
  CHECK(end(f.s) == cudaErrorStreamCaptureUnjoined && status(f.u) == cudaStreamCaptureStatusNone);
  CHECK(f.out.get()[0] == 69);  // none of these ran
}

// One call within a capture: its error, whether it invalidates the capture, and the error of the end.
template <class F> void within(cudaStreamCaptureMode mode, cudaError_t want, F call) {
  Stream s;
  Device<int> p(N);
  CUDA_OK(cudaMemset(p.p, 0, N * sizeof(int)));
  CUDA_OK(cudaStreamBeginCapture(s, mode));
  add<<<1, N, 0, s>>>(p.p, 1);
  CHECK(call(cudaStream_t(s)) == want);
  CHECK(cudaGetLastError() == want);
  CHECK(status(s) == (want ? cudaStreamCaptureStatusInvalidated : cudaStreamCaptureStatusActive));
  add<<<1, N, 0, s>>>(p.p, 1);
  CHECK(cudaGetLastError() == (want ? cudaErrorStreamCaptureInvalidated : cudaSuccess));
  CHECK(end(s) == (want ? cudaErrorStreamCaptureInvalidated : cudaSuccess));
  add<<<1, N, 0, s>>>(p.p, 7);  // the stream works again
  CUDA_OK(cudaStreamSynchronize(s));
  CHECK(p.get()[0] == 7);
}

void test_forbidden() {
  void* p;
  int h = 0;
  Event before;
  CUDA_OK(cudaEventRecord(before, 0));
  for (auto mode : {kGlobal, kThreadLocal, kRelaxed}) {
    // These wait for captured work, which cannot be.
    within(mode, cudaErrorStreamCaptureUnsupported, [](cudaStream_t s) { return cudaStreamSynchronize(s); });
    within(mode, cudaErrorStreamCaptureUnsupported, [](cudaStream_t s) { return cudaStreamQuery(s); });
    within(mode, cudaErrorStreamCaptureUnsupported, [](cudaStream_t) { return cudaDeviceSynchronize(); });
    within(mode, cudaErrorStreamCaptureIsolation, [&](cudaStream_t s) { return cudaStreamWaitEvent(s, before, 0); });
    // These might wait, which the relaxed mode leaves to the program.
    cudaError_t unsafe = mode == kRelaxed ? cudaSuccess : cudaErrorStreamCaptureUnsupported;
    within(mode, unsafe, [&](cudaStream_t) { return cudaMalloc(&p, 64); });
    within(mode, unsafe, [&](cudaStream_t) { return cudaMallocHost(&p, 64); });
    within(mode, unsafe, [&](cudaStream_t) { return cudaFree(nullptr); });
    within(mode, unsafe, [&](cudaStream_t) { return cudaEventQuery(before); });
    Device<int> d(std::vector<int>{5});
    within(mode, unsafe, [&](cudaStream_t) { return cudaMemcpy(&h, d.p, 4, cudaMemcpyDeviceToHost); });
    // These are no work at all, or for another stream.
    within(mode, cudaSuccess, [](cudaStream_t) { return cudaFuncSetAttribute(combine, cudaFuncAttributeMaxDynamicSharedMemorySize, 1 << 10); });
    within(mode, cudaSuccess, [&](cudaStream_t) { return cudaMemsetAsync(d.p, 0, 4, 0); });
  }
  CHECK(h == 5);
  Stream s;
  CHECK(end(s) == cudaErrorIllegalState);
  CUDA_OK(cudaStreamBeginCapture(s, kGlobal));
  CHECK(cudaStreamBeginCapture(s, kGlobal) == cudaErrorIllegalState);
  CHECK(end(s) == cudaSuccess);
  Stream t;  // two captures cannot become one
  Event e;
  CUDA_OK(cudaStreamBeginCapture(s, kGlobal));
  CUDA_OK(cudaStreamBeginCapture(t, kGlobal));
  CUDA_OK(cudaEventRecord(e, t));
  CHECK(cudaStreamWaitEvent(s, e, 0) == cudaErrorStreamCaptureMerge);
  CHECK(end(s) == cudaErrorStreamCaptureInvalidated && end(t) == cudaErrorStreamCaptureInvalidated);
}

// Work for the legacy stream waits for every blocking stream, so it cannot be given while one is captured.
void test_legacy_stream() {
  Stream s(true), free_of_it;
  Device<int> p(N);
  int h;
  CHECK(cudaStreamBeginCapture(0, kGlobal) == cudaErrorStreamCaptureUnsupported && cudaGetLastError() == cudaErrorStreamCaptureUnsupported);
  CUDA_OK(cudaStreamBeginCapture(free_of_it, kRelaxed));
  for (int variant = 0; variant < 3; ++variant) {
    CUDA_OK(cudaStreamBeginCapture(s, kRelaxed));
    cudaStreamCaptureStatus state;
    CHECK(cudaStreamIsCapturing(0, &state) == cudaErrorStreamCaptureImplicit && status(s) == cudaStreamCaptureStatusActive);
    cudaGetLastError();
    cudaError_t e;
    if (variant == 0) e = cudaMemsetAsync(p.p, 0, N * sizeof(int), 0);
    else if (variant == 1) e = cudaMemcpy(&h, p.p, 4, cudaMemcpyDeviceToHost);
    else e = cudaStreamSynchronize(0);
    CHECK(e == cudaErrorStreamCaptureImplicit);
    CHECK(end(s) == cudaErrorStreamCaptureInvalidated);
  }
  CHECK(end(free_of_it) == cudaSuccess);
}

// What the mode of a capture, and the calling thread's own, mean for the other threads.
void test_threads() {
  struct Case {
    cudaStreamCaptureMode capture, other;
    cudaError_t want;
  };
  const Case cases[] = {{kGlobal, kGlobal, cudaErrorStreamCaptureUnsupported}, {kGlobal, kThreadLocal, cudaSuccess},
                        {kGlobal, kRelaxed, cudaSuccess},                      {kThreadLocal, kGlobal, cudaSuccess},
                        {kRelaxed, kGlobal, cudaSuccess}};
  for (const Case& c : cases) {
    Stream s;
    cudaError_t seen = cudaSuccess;
    CUDA_OK(cudaStreamBeginCapture(s, c.capture));
    std::thread([&] {
      auto mode = c.other;
      CUDA_OK(cudaThreadExchangeStreamCaptureMode(&mode));
      void* p = nullptr;
      seen = cudaMalloc(&p, 16);
    }).join();
    CHECK(seen == c.want);
    CHECK(end(s) == (c.want ? cudaErrorStreamCaptureInvalidated : cudaSuccess));
  }
  // The thread that captures may lift the ban for itself.
  Stream s;
  auto mode = kRelaxed;
  void* p;
  CUDA_OK(cudaStreamBeginCapture(s, kGlobal));
  CUDA_OK(cudaThreadExchangeStreamCaptureMode(&mode));
  CHECK(mode == kGlobal);
  CUDA_OK(cudaMalloc(&p, 16));
  CUDA_OK(cudaFree(p));
  CUDA_OK(cudaThreadExchangeStreamCaptureMode(&mode));
  CHECK(mode == kRelaxed && end(s) == cudaSuccess);
  // It ends in the thread that began it, but for relaxed captures.
  for (auto m : {kGlobal, kThreadLocal, kRelaxed}) {
    CUDA_OK(cudaStreamBeginCapture(s, m));
    cudaError_t e = cudaSuccess;
    std::thread([&] { e = end(s); }).join();
    CHECK(e == (m == kRelaxed ? cudaSuccess : cudaErrorStreamCaptureWrongThread));
    if (m != kRelaxed) CHECK(end(s) == cudaErrorStreamCaptureInvalidated);
  }
}

// Events that the graph itself records, and waits from outside of it.
void test_external_events() {
  Stream s;
  Event start, stop, outside;
  CUDA_OK(cudaEventRecord(outside, s));
  CUDA_OK(cudaStreamBeginCapture(s, kGlobal));
  CUDA_OK(cudaStreamWaitEvent(s, outside, cudaEventWaitExternal));
  CUDA_OK(cudaEventRecordWithFlags(start, s, cudaEventRecordExternal));
  CUDA_OK(cudaEventRecordWithFlags(stop, s, cudaEventRecordExternal));
  cudaGraph_t g;
  CHECK(end(s, &g) == cudaSuccess);
  float ms = -1;
  CHECK(cudaEventElapsedTime(&ms, start, stop) == cudaErrorInvalidResourceHandle);
  cudaGetLastError();
  cudaGraphExec_t x;
  CUDA_OK(cudaGraphInstantiate(&x, g, 0));
  CUDA_OK(cudaGraphLaunch(x, s));
  CUDA_OK(cudaEventSynchronize(stop));
  CUDA_OK(cudaEventElapsedTime(&ms, start, stop));
  CHECK(ms >= 0);
}

// cudaMallocAsync in a capture: an address at once, memory when the graph runs, the same at every launch.
void test_memory() {
  Stream s;
  Device<int> out(N);
  size_t before, total, now;
  CUDA_OK(cudaMemGetInfo(&before, &total));
  CUDA_OK(cudaStreamBeginCapture(s, kGlobal));
  int* p = nullptr;
  CUDA_OK(cudaMallocAsync((void**)&p, N * sizeof(int), s));
  CHECK(p != nullptr);
  CUDA_OK(cudaMemsetAsync(p, 0, N * sizeof(int), s));
  add<<<1, N, 0, s>>>(p, 4);
  CUDA_OK(cudaMemcpyAsync(out.p, p, N * sizeof(int), cudaMemcpyDeviceToDevice, s));
  CUDA_OK(cudaFreeAsync(p, s));
  cudaGraph_t g;
  CHECK(end(s, &g) == cudaSuccess);
  cudaGraphExec_t x;
  CUDA_OK(cudaGraphInstantiate(&x, g, 0));
  for (int round = 0; round < 3; ++round) {
    CUDA_OK(cudaMemset(out.p, 0, N * sizeof(int)));
    CUDA_OK(cudaGraphLaunch(x, s));
    CUDA_OK(cudaStreamSynchronize(s));
    CHECK(out.get()[N - 1] == 4);
  }
  CUDA_OK(cudaMemGetInfo(&now, &total));
  CHECK(now == before);

  // Memory that outlives the graph: freed by the program, or by the next launch when so instantiated.
  CUDA_OK(cudaStreamBeginCapture(s, kGlobal));
  CUDA_OK(cudaMallocAsync((void**)&p, N * sizeof(int), s));
  CUDA_OK(cudaMemsetAsync(p, 1, N * sizeof(int), s));
  CHECK(end(s, &g) == cudaSuccess);
  for (unsigned long long flags : {0ull, (unsigned long long)cudaGraphInstantiateFlagAutoFreeOnLaunch}) {
    CUDA_OK(cudaGraphInstantiate(&x, g, flags));
    for (int round = 0; round < 3; ++round) {
      CUDA_OK(cudaGraphLaunch(x, s));
      add<<<1, N, 0, s>>>(p, 1);
      int h;
      CUDA_OK(cudaMemcpy(&h, p, 4, cudaMemcpyDeviceToHost));
      CHECK(h == 0x01010102);
      if (!flags || round == 2) CUDA_OK(cudaFreeAsync(p, s));
    }
    CUDA_OK(cudaGraphExecDestroy(x));
  }
  CUDA_OK(cudaMemGetInfo(&now, &total));
  CHECK(now == before);
}

int main() {
  for (auto mode : {kGlobal, kThreadLocal, kRelaxed}) test_relaunch(mode);
  test_fork();
  test_forbidden();
  test_legacy_stream();
  test_threads();
  test_external_events();
  test_memory();
  CUDA_OK(cudaDeviceSynchronize());
  return finish();
}
