// A device allocator that watches, and can fail: what the library asks of perturb_context_options.device_allocator.
#pragma once

#include <cuda_runtime_api.h>

#include <map>
#include <string>
#include <vector>

#include "cuda/device_memory.h"
#include "support.h"

namespace perturb::test {

class watching_device_allocator {
 public:
  int64_t calls = 0;
  bool fail = false;
  void* stream = nullptr;  // the only one that may come
  std::vector<size_t> sizes;
  std::string fault;  // the first broken promise, "" while there is none

  perturb_allocator hooks() { return {&watching_device_allocator::allocate, &watching_device_allocator::deallocate, this}; }
  std::string verdict() const {
    if (!fault.empty()) return fault;
    return blocks_.empty() ? "" : std::to_string(blocks_.size()) + " blocks never came back";
  }

 private:
  struct block {
    void* base;
    size_t bytes;
  };
  static constexpr size_t guard = 256;
  std::map<void*, block> blocks_;

  void expect(bool fine, const std::string& text) {
    if (!fine && fault.empty()) fault = text;
  }
  // Aligned to what was asked for and to no higher power of two; 0x5a before and behind.
  static void* allocate(size_t bytes, size_t alignment, void* stream, void* user) {
    auto& self = *static_cast<watching_device_allocator*>(user);
    ++self.calls;
    self.sizes.push_back(bytes);
    self.expect(stream == self.stream, "allocate on another stream");
    self.expect(bytes > 0, "allocate of 0 bytes");
    self.expect(alignment > 0 && alignment <= 256 && (alignment & (alignment - 1)) == 0, "alignment " + std::to_string(alignment));
    if (self.fail) return nullptr;
    void* base = nullptr;
    const size_t all = bytes + 1024 + guard;
    require_cuda(cudaMalloc(&base, all));
    unsigned char* pointer = reinterpret_cast<unsigned char*>((reinterpret_cast<uintptr_t>(base) + 511) / 512 * 512) + alignment;
    require_cuda(cudaMemset(pointer - alignment, 0x5a, alignment));
    require_cuda(cudaMemset(pointer + bytes, 0x5a, guard));
    self.blocks_[pointer] = {base, bytes};
    return pointer;
  }
  static void deallocate(void* pointer, size_t bytes, void* stream, void* user) {
    auto& self = *static_cast<watching_device_allocator*>(user);
    self.expect(stream == self.stream, "deallocate on another stream");
    const auto found = self.blocks_.find(pointer);
    if (found == self.blocks_.end()) return self.expect(false, "deallocate of memory that is not live");
    self.expect(found->second.bytes == bytes,
                "given back as " + std::to_string(bytes) + " bytes, was " + std::to_string(found->second.bytes));
    require_cuda(cudaStreamSynchronize(static_cast<cudaStream_t>(stream)));
    std::vector<unsigned char> behind(guard);
    require_cuda(cudaMemcpy(behind.data(), static_cast<unsigned char*>(pointer) + bytes, guard, cudaMemcpyDeviceToHost));
    for (unsigned char byte : behind) self.expect(byte == 0x5a, "a byte past the end was written");
    require_cuda(cudaFree(found->second.base));
    self.blocks_.erase(found);
  }
};

}  // namespace perturb::test
