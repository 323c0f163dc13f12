#include "core/memory.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#elif defined(_WIN32)
#include <malloc.h>
#endif

namespace bptt {
namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;
constexpr std::size_t kLarge = kWatched ? SIZE_MAX : kHugePage / 2;  // worth keeping for reuse

/// The bytes actually allocated: large blocks come in few sizes, eight for each power of two.
std::size_t block_bytes(std::size_t bytes) {
  if (kWatched) return bytes;
  std::size_t unit = kAlignment;
  while (unit * 16 <= bytes && bytes >= kLarge) unit *= 2;
  return (bytes + unit - 1) / unit * unit;
}

void* from_system(std::size_t bytes) {
  const std::size_t alignment = bytes >= kHugePage ? kHugePage : kAlignment;
  void* memory = nullptr;
#if defined(_WIN32)
  memory = _aligned_malloc(bytes, alignment);
  if (memory == nullptr) throw std::bad_alloc();
#else
  if (posix_memalign(&memory, alignment, bytes) != 0) throw std::bad_alloc();
#endif
#if defined(__linux__)
  // Fewer pages to map, and fewer TLB misses. A refusal does no harm.
  if (bytes >= kHugePage) madvise(memory, bytes, MADV_HUGEPAGE);
#endif
  return memory;
}

void to_system(void* memory) noexcept {
#if defined(_WIN32)
  _aligned_free(memory);
#else
  std::free(memory);
#endif
}

/// Freed blocks that are kept for reuse, the oldest first.
class FreeList {
 public:
  /// A block of this size, or null.
  void* find(std::size_t bytes) {
    const std::unique_lock<std::mutex> lock(mutex_, std::try_to_lock);
    if (!lock) return nullptr;
    for (std::size_t i = count_; i-- > 0;) {
      if (blocks_[i].bytes == bytes) return remove(i);
    }
    return nullptr;
  }

  /// Keeps a block, and frees older ones where the total would be too large.
  bool keep(void* memory, std::size_t bytes) {
    if (bytes > kMaxBytes) return false;
    const std::unique_lock<std::mutex> lock(mutex_, std::try_to_lock);
    if (!lock) return false;
    while (count_ == blocks_.size() || total_ + bytes > kMaxBytes) to_system(remove(0));
    blocks_[count_++] = {memory, bytes};
    total_ += bytes;
    return true;
  }

 private:
  static constexpr std::size_t kMaxBytes = std::size_t{256} << 20;

  struct Block {
    void* memory;
    std::size_t bytes;
  };

  void* remove(std::size_t i) {
    const Block block = blocks_[i];
    std::copy(blocks_.begin() + i + 1, blocks_.begin() + count_, blocks_.begin() + i);
    --count_;
    total_ -= block.bytes;
    return block.memory;
  }

  // Only ever tried: a child of fork may find it locked for good by a thread it does not have.
  std::mutex mutex_;
  std::array<Block, 64> blocks_;
  std::size_t count_ = 0, total_ = 0;
};

FreeList& free_list() {
  static FreeList* const list = new FreeList;  // never destroyed: buffers may outlive it
  return *list;
}

}  // namespace

void* allocate_memory(std::size_t bytes) {
  const std::size_t block = block_bytes(bytes);
  if (block >= kLarge) {
    if (void* const memory = free_list().find(block)) return memory;
  }
  return from_system(block);
}

void free_memory(void* memory, std::size_t bytes) noexcept {
  const std::size_t block = block_bytes(bytes);
  if (block < kLarge || !free_list().keep(memory, block)) to_system(memory);
}

}  // namespace bptt
