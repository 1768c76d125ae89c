// Stream capture: which calls it records, forbids or is invalidated by.
#include <algorithm>
#include <chrono>
#include <unordered_set>

#include "runtime.hpp"

namespace cusim {
namespace {

std::vector<std::shared_ptr<Capture>>& captures() {  // under way
  static auto* list = new std::vector<std::shared_ptr<Capture>>;
  return *list;
}
thread_local cudaStreamCaptureMode thread_mode = cudaStreamCaptureModeGlobal;

bool is_legacy(const Stream& s) { return &s == stream_of(cudaStreamLegacy); }

void add_tail(std::vector<GraphNode*>& tail, const std::vector<GraphNode*>& more) {
  for (GraphNode* n : more)
    if (std::find(tail.begin(), tail.end(), n) == tail.end()) tail.push_back(n);
}

void end(Capture& c) {
  c.ended = true;
  for (Stream* s : c.streams) {
    s->capture = nullptr;
    s->tail.clear();
  }
  c.streams.clear();
  auto& list = captures();
  list.erase(std::find_if(list.begin(), list.end(), [&](auto& x) { return x.get() == &c; }));
}

// Is every stream's work something that the last nodes of the first stream depend on?
bool joined(const Capture& c) {
  std::unordered_set<GraphNode*> reached;
  std::vector<GraphNode*> next = c.origin->tail;
  while (!next.empty()) {
    GraphNode* n = next.back();
    next.pop_back();
    if (reached.insert(n).second) next.insert(next.end(), n->after.begin(), n->after.end());
  }
  for (Stream* s : c.streams)
    for (GraphNode* n : s->tail)
      if (!reached.count(n)) return false;
  return true;
}

cudaStreamCaptureStatus status_of(const Stream& s) {
  if (!s.capture) return cudaStreamCaptureStatusNone;
  return s.capture->broken ? cudaStreamCaptureStatusInvalidated : cudaStreamCaptureStatusActive;
}

bool blocking_capture() {
  for (auto& c : captures())
    for (Stream* s : c->streams)
      if (s->blocking()) return true;
  return false;
}

}  // namespace

double now_ms() {
  using namespace std::chrono;
  return duration<double, std::milli>(steady_clock::now().time_since_epoch()).count();
}

cudaError_t legacy_conflict(const Stream& s) {
  if (!is_legacy(s) || !blocking_capture()) return cudaSuccess;
  for (auto& c : captures())
    for (Stream* other : c->streams) c->broken |= other->blocking();
  return cudaErrorStreamCaptureImplicit;
}

cudaError_t unsafe_call() {
  std::lock_guard<std::recursive_mutex> lock(Runtime::get().mutex);
  if (thread_mode == cudaStreamCaptureModeRelaxed) return cudaSuccess;
  bool forbidden = false;
  for (auto& c : captures()) {
    bool mine = c->thread == std::this_thread::get_id();
    bool applies = mine ? c->mode != cudaStreamCaptureModeRelaxed
                        : c->mode == cudaStreamCaptureModeGlobal && thread_mode == cudaStreamCaptureModeGlobal;
    if (!applies) continue;
    c->broken = true;
    forbidden = true;
  }
  return forbidden ? cudaErrorStreamCaptureUnsupported : cudaSuccess;
}

cudaError_t unsafe_on_legacy_stream() {
  std::lock_guard<std::recursive_mutex> lock(Runtime::get().mutex);
  if (cudaError_t e = legacy_conflict(*stream_of(cudaStreamLegacy))) return e;
  return unsafe_call();
}

cudaError_t wait_for_stream(Stream& s) {
  if (cudaError_t e = legacy_conflict(s)) return e;
  if (!s.capture) return cudaSuccess;
  s.capture->broken = true;
  return cudaErrorStreamCaptureUnsupported;
}

cudaError_t wait_for_device() {
  for (auto& c : captures()) c->broken = true;
  return captures().empty() ? cudaSuccess : cudaErrorStreamCaptureUnsupported;
}

cudaError_t record_event(Event& e, Stream& s) {
  if (cudaError_t error = legacy_conflict(s)) return error;
  if (s.capture && s.capture->broken) return cudaErrorStreamCaptureInvalidated;
  e.capture = s.capture;
  e.tail = s.tail;
  if (!s.capture) e.recorded_ms = now_ms();
  return cudaSuccess;
}

cudaError_t wait_for_event(Stream& s, Event& e) {
  if (cudaError_t error = legacy_conflict(s)) return error;
  if (s.capture && s.capture->broken) return cudaErrorStreamCaptureInvalidated;
  if (!e.capture || e.capture->ended) {
    if (s.capture) {
      s.capture->broken = true;
      return cudaErrorStreamCaptureIsolation;
    }
    return e.capture ? cudaErrorCapturedEvent : cudaSuccess;
  }
  if (e.capture->broken) return cudaErrorStreamCaptureInvalidated;
  if (is_legacy(s)) {  // which cannot be captured
    e.capture->broken = true;
    return cudaErrorStreamCaptureUnsupported;
  }
  if (s.capture && s.capture != e.capture) {
    s.capture->broken = e.capture->broken = true;
    return cudaErrorStreamCaptureMerge;
  }
  if (!s.capture) {  // the stream joins the capture
    s.capture = e.capture;
    s.capture->streams.insert(&s);
  }
  add_tail(s.tail, e.tail);
  return cudaSuccess;
}

cudaError_t submit(cudaStream_t handle, cudaGraphNodeType type, std::function<cudaError_t()> op, GraphNode* prototype) {
  Stream* s = stream_of(handle);
  if (!s) return cudaErrorInvalidResourceHandle;
  if (cudaError_t e = legacy_conflict(*s)) return e;
  if (!s->capture) return op();
  if (s->capture->broken) return cudaErrorStreamCaptureInvalidated;
  auto node = prototype ? std::make_unique<GraphNode>(*prototype) : std::make_unique<GraphNode>();
  node->type = type;
  node->run = std::move(op);
  node->after = s->tail;
  s->tail = {node.get()};
  s->capture->graph->nodes.push_back(std::move(node));
  return cudaSuccess;
}

void leave_capture(Stream& s) {
  if (!s.capture) return;
  Capture& c = *s.capture;
  c.broken = true;
  if (c.origin == &s) {
    if (!c.given) Runtime::get().graphs.remove(c.graph);
    end(c);
  } else {
    c.streams.erase(&s);
  }
}

void reset_captures() {
  while (!captures().empty()) end(*captures().back());
}

}  // namespace cusim

using namespace cusim;

namespace {

cudaError_t begin(cudaStream_t handle, cudaStreamCaptureMode mode, Graph* given) {
  static unsigned long long next_id = 1;
  Stream* s = stream_of(handle);
  if (!s) return cudaErrorInvalidResourceHandle;
  if (is_legacy(*s)) return cudaErrorStreamCaptureUnsupported;
  if (s->capture) return cudaErrorIllegalState;
  auto c = std::make_shared<Capture>();
  c->graph = given ? given : Runtime::get().graphs.add();
  c->given = given != nullptr;
  c->mode = mode;
  c->id = next_id++;
  c->thread = std::this_thread::get_id();
  c->origin = s;
  c->streams.insert(s);
  s->capture = c;
  s->tail.clear();
  captures().push_back(c);
  return cudaSuccess;
}

// Ends the capture but for calls from the wrong place, which only invalidate it.
cudaError_t finish(Stream& s, Graph*& graph) {
  std::shared_ptr<Capture> c = s.capture;
  if (c->origin != &s) return c->broken = true, cudaErrorStreamCaptureUnmatched;
  if (c->mode != cudaStreamCaptureModeRelaxed && c->thread != std::this_thread::get_id())
    return c->broken = true, cudaErrorStreamCaptureWrongThread;
  const bool complete = joined(*c);
  end(*c);
  if (!c->broken && complete) {
    graph = c->graph;
    return cudaSuccess;
  }
  if (!c->given) Runtime::get().graphs.remove(c->graph);
  return c->broken ? cudaErrorStreamCaptureInvalidated : cudaErrorStreamCaptureUnjoined;
}

}  // namespace

extern "C" {

cudaError_t cudaStreamBeginCapture(cudaStream_t handle, cudaStreamCaptureMode mode) {
  CUSIM_API("cudaStreamBeginCapture");
  return result(begin(handle, mode, nullptr));
}
cudaError_t cudaStreamBeginCaptureToGraph(cudaStream_t handle, cudaGraph_t g, const cudaGraphNode_t* after, const cudaGraphEdgeData*,
                                          size_t count, cudaStreamCaptureMode mode) {
  CUSIM_API("cudaStreamBeginCaptureToGraph");
  Graph* graph = Runtime::get().graphs.find(g);
  if (!graph) return result(cudaErrorInvalidValue);
  if (cudaError_t e = begin(handle, mode, graph)) return result(e);
  for (size_t i = 0; i < count; ++i) stream_of(handle)->tail.push_back(reinterpret_cast<GraphNode*>(after[i]));
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t handle, cudaGraph_t* out) {
  CUSIM_API("cudaStreamEndCapture");
  *out = nullptr;
  Stream* s = stream_of(handle);
  if (!s) return result(cudaErrorInvalidResourceHandle);
  if (!s->capture) return result(cudaErrorIllegalState);
  Graph* g = nullptr;
  cudaError_t e = finish(*s, g);
  *out = reinterpret_cast<cudaGraph_t>(g);
  return result(e);
}
cudaError_t cudaStreamIsCapturing(cudaStream_t handle, cudaStreamCaptureStatus* status) {
  CUSIM_API("cudaStreamIsCapturing");
  Stream* s = stream_of(handle);
  if (!s) return result(cudaErrorInvalidResourceHandle);
  if (is_legacy(*s) && blocking_capture()) return result(cudaErrorStreamCaptureImplicit);  // the captures stay valid
  *status = status_of(*s);
  return cudaSuccess;
}
cudaError_t cudaStreamGetCaptureInfo(cudaStream_t handle, cudaStreamCaptureStatus* status, unsigned long long* id, cudaGraph_t* graph,
                                     const cudaGraphNode_t** dependencies, const cudaGraphEdgeData** edges, size_t* count) {
  CUSIM_API("cudaStreamGetCaptureInfo");
  Stream* s = stream_of(handle);
  if (!s) return result(cudaErrorInvalidResourceHandle);
  if (is_legacy(*s) && blocking_capture()) return result(cudaErrorStreamCaptureImplicit);
  *status = status_of(*s);
  if (id) *id = s->capture ? s->capture->id : 0;
  if (graph) *graph = reinterpret_cast<cudaGraph_t>(s->capture ? s->capture->graph : nullptr);
  if (dependencies) *dependencies = reinterpret_cast<const cudaGraphNode_t*>(s->tail.data());
  if (edges) *edges = nullptr;
  if (count) *count = s->tail.size();
  return cudaSuccess;
}
cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* mode) {
  std::swap(*mode, thread_mode);
  return cudaSuccess;
}

}  // extern "C"
