// A host allocator that watches: balance, sizes given back, alignment asked and given, the calling thread, the user pointer, bytes
// written past the end, and that can fail at its k-th call.
#pragma once

#include <cstring>
#include <map>
#include <thread>

#include "support.h"

namespace perturb::test {

class watching_allocator {
 public:
  int64_t calls = 0, fail_at = -1;  // fail_at: the 0-based call that returns NULL, -1: none
  size_t live_bytes = 0, peak_bytes = 0;
  std::string fault;  // the first broken promise, "" while there is none

  perturb_allocator hooks() { return {&watching_allocator::allocate, &watching_allocator::deallocate, this}; }
  size_t live_blocks() const { return blocks_.size(); }
  // "" when everything came back and nothing was wrong.
  std::string verdict() const {
    if (!fault.empty()) return fault;
    if (!blocks_.empty()) return std::to_string(blocks_.size()) + " blocks, " + std::to_string(live_bytes) + " bytes never came back";
    return "";
  }
  ~watching_allocator() {
    for (auto& [pointer, held] : blocks_) std::free(held.base);
  }

 private:
  struct block {
    void* base;
    size_t bytes;
  };
  static constexpr size_t guard = 32;
  std::map<void*, block> blocks_;
  std::thread::id owner_ = std::this_thread::get_id();

  void complain(const std::string& text) {
    if (fault.empty()) fault = text;
  }
  static void* allocate(size_t bytes, size_t alignment, void* stream, void* user) {
    auto& self = *static_cast<watching_allocator*>(user);
    if (std::this_thread::get_id() != self.owner_) self.complain("allocate was called on another thread");
    if (alignment == 0 || (alignment & (alignment - 1)) != 0 || alignment > 256) self.complain("alignment " + std::to_string(alignment));
    if (bytes == 0) self.complain("allocate of 0 bytes");
    if (stream != nullptr) self.complain("a stream on a CPU context");
    if (self.calls++ == self.fail_at) return nullptr;
    // Aligned to what was asked for and to no higher power of two, so that a wrong request shows.
    unsigned char* base = static_cast<unsigned char*>(std::malloc(bytes + 1024 + guard));
    unsigned char* pointer = reinterpret_cast<unsigned char*>((reinterpret_cast<uintptr_t>(base) + 511) / 512 * 512) + alignment;
    std::memset(pointer, 0xa5, bytes + guard);
    self.blocks_[pointer] = {base, bytes};
    self.live_bytes += bytes;
    self.peak_bytes = std::max(self.peak_bytes, self.live_bytes);
    return pointer;
  }
  static void deallocate(void* pointer, size_t bytes, void*, void* user) {
    auto& self = *static_cast<watching_allocator*>(user);
    if (std::this_thread::get_id() != self.owner_) self.complain("deallocate was called on another thread");
    const auto found = self.blocks_.find(pointer);
    if (found == self.blocks_.end()) {
      self.complain("deallocate of memory that is not live");
      return;
    }
    if (found->second.bytes != bytes)
      self.complain("given back as " + std::to_string(bytes) + " bytes, was " + std::to_string(found->second.bytes));
    const unsigned char* end = static_cast<unsigned char*>(pointer) + found->second.bytes;
    for (size_t i = 0; i < guard; ++i)
      if (end[i] != 0xa5) {
        self.complain("a byte past the end was written");
        break;
      }
    self.live_bytes -= found->second.bytes;
    std::free(found->second.base);
    self.blocks_.erase(found);
  }
};

}  // namespace perturb::test
