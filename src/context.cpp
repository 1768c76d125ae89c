// Contexts: their memory comes from the caller's allocator, or from aligned operator new.
#include "context.h"

#include <memory>
#include <new>
#include <thread>

#include "cpu/dispatch.h"
#include "error.h"

namespace perturb {
namespace {

constexpr size_t alignment = 64;

void* default_allocate(size_t bytes, size_t align, void*, void*) { return ::operator new(bytes, std::align_val_t(align), std::nothrow); }
void default_deallocate(void* pointer, size_t, void*, void*) { ::operator delete(pointer, std::align_val_t(alignment)); }

// A context without a backend yet, or null.
perturb_context* allocate_context(perturb_allocator allocator) {
  if (!allocator.allocate) allocator = {default_allocate, default_deallocate, nullptr};
  void* memory = allocator.allocate(sizeof(perturb_context), alignment, nullptr, allocator.user);
  if (!memory) {
    fail(PERTURB_ERROR_OUT_OF_MEMORY, "context: %zu bytes for it cannot be had from host_allocator", sizeof(perturb_context));
    return nullptr;
  }
  perturb_context* made = new (memory) perturb_context;
  made->allocator = allocator;
  return made;
}

void free_context(perturb_context* context) {
  const perturb_allocator allocator = context->allocator;
  context->~perturb_context();
  allocator.deallocate(context, sizeof(perturb_context), nullptr, allocator.user);
}

perturb_status create_cpu_context(const perturb_context_options& options, perturb_context** context) {
  const cpu_backend* cpu = choose_cpu_backend();
  if (!cpu) return fail(PERTURB_ERROR_BACKEND_UNAVAILABLE, "PERTURB_ISA: the instruction set it names is unknown or not on this processor");
  const unsigned processors = std::thread::hardware_concurrency();
  const int threads = options.threads > 0 ? options.threads : processors > 1024 ? 1024 : processors > 0 ? (int)processors : 1;

  perturb_context* made = allocate_context(options.host_allocator);
  if (!made) return PERTURB_ERROR_OUT_OF_MEMORY;
  made->backend = PERTURB_BACKEND_CPU;
  made->cpu = cpu;

  const size_t worker_bytes = sizeof(std::thread) * (size_t)threads;
  made->workers = static_cast<std::thread*>(made->allocate(worker_bytes));
  void* pool_memory = made->workers ? made->allocate(sizeof(pool)) : nullptr;
  if (pool_memory) {
    try {
      made->pool = new (pool_memory) pool(threads, made->workers);
    } catch (const std::exception&) {
      made->deallocate(pool_memory, sizeof(pool));
      pool_memory = nullptr;
    }
  }
  if (!pool_memory) {
    if (made->workers) made->deallocate(made->workers, worker_bytes);
    free_context(made);
    return fail(PERTURB_ERROR_OUT_OF_MEMORY, "threads: no memory or threads left for %d", threads);
  }
  *context = made;
  return PERTURB_OK;
}

perturb_status create_cuda_context(const perturb_context_options& options, perturb_context** context) {
  cuda_device device;
  if (const perturb_status s = open_cuda_device(options.device, options.stream, options.device_allocator, device)) return s;
  perturb_context* made = allocate_context(options.host_allocator);
  if (!made) return PERTURB_ERROR_OUT_OF_MEMORY;
  made->backend = PERTURB_BACKEND_CUDA;
  made->cuda = device;
  *context = made;
  return PERTURB_OK;
}

}  // namespace

perturb_status create_context(const perturb_context_options& options, perturb_context** context) {
  if (options.backend == PERTURB_BACKEND_CUDA) return create_cuda_context(options, context);
  if (options.backend == PERTURB_BACKEND_AUTO) {
    const perturb_status s = create_cuda_context(options, context);
    if (s != PERTURB_ERROR_BACKEND_UNAVAILABLE && s != PERTURB_ERROR_CUDA) return s;
    clear_error();
  }
  return create_cpu_context(options, context);
}

void destroy_context(perturb_context* context) {
  if (context->pool) {
    const size_t worker_bytes = sizeof(std::thread) * (size_t)context->pool->size();
    context->pool->~pool();
    context->deallocate(context->pool, sizeof(pool));
    context->deallocate(context->workers, worker_bytes);
  }
  free_context(context);
}

call_scratch::~call_scratch() {
  if (owned_) context_.deallocate(owned_, owned_bytes_);
}

perturb_status call_scratch::acquire(size_t bytes) {
  if (context_.workspace) {
    void* at = context_.workspace;
    size_t space = context_.workspace_bytes;
    // workspace_size() counts the bytes that aligning may cost.
    if (context_.workspace_bytes < bytes + alignment - 1 || !std::align(alignment, bytes, at, space))
      return fail(PERTURB_ERROR_WORKSPACE_TOO_SMALL, "workspace: this call needs %zu bytes, the workspace has %zu", bytes + alignment - 1, context_.workspace_bytes);
    memory_ = at;
    return PERTURB_OK;
  }
  owned_ = context_.allocate(bytes);
  if (!owned_) return fail(PERTURB_ERROR_OUT_OF_MEMORY, "scratch: %zu bytes for this call cannot be had from host_allocator", bytes);
  owned_bytes_ = bytes;
  memory_ = owned_;
  return PERTURB_OK;
}

}  // namespace perturb

void* perturb_context::allocate(size_t bytes) { return allocator.allocate(bytes, perturb::alignment, nullptr, allocator.user); }
void perturb_context::deallocate(void* pointer, size_t bytes) { allocator.deallocate(pointer, bytes, nullptr, allocator.user); }
