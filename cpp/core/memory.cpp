#include "core/memory.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <mutex>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace bptt {
namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;
constexpr std::size_t kLarge = kHugePage / 2;

/// What is really asked for: large blocks come in few sizes, eight for each power of two.
std::size_t block_bytes(std::size_t bytes) {
  std::size_t unit = kAlignment;
  while (unit * 16 <= bytes && bytes >= kLarge) unit *= 2;
  return (bytes + unit - 1) / unit * unit;
}

void* from_system(std::size_t bytes) {
  const std::size_t alignment = bytes >= kHugePage ? kHugePage : kAlignment;
  void* memory = nullptr;
  if (posix_memalign(&memory, alignment, bytes) != 0) throw std::bad_alloc();
#if defined(__linux__)
  // Fewer pages to map, and to find when many are in use. A refusal does no harm.
  if (bytes >= kHugePage) madvise(memory, bytes, MADV_HUGEPAGE);
#endif
  return memory;
}

/// Blocks that nobody uses, the oldest first.
class Unused {
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

  /// Keeps a block, and lets go of older ones if that makes too much.
  bool keep(void* memory, std::size_t bytes) {
    if (bytes > kMostBytes) return false;
    const std::unique_lock<std::mutex> lock(mutex_, std::try_to_lock);
    if (!lock) return false;
    while (count_ == blocks_.size() || total_ + bytes > kMostBytes) std::free(remove(0));
    blocks_[count_++] = {memory, bytes};
    total_ += bytes;
    return true;
  }

 private:
  static constexpr std::size_t kMostBytes = std::size_t{256} << 20;

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

Unused& unused() {
  static Unused* const the_unused = new Unused;  // never destroyed: buffers may outlive it
  return *the_unused;
}

}  // namespace

void* take_memory(std::size_t bytes) {
  const std::size_t block = block_bytes(bytes);
  if (block >= kLarge) {
    if (void* const memory = unused().find(block)) return memory;
  }
  return from_system(block);
}

void give_back_memory(void* memory, std::size_t bytes) noexcept {
  const std::size_t block = block_bytes(bytes);
  if (block < kLarge || !unused().keep(memory, block)) std::free(memory);
}

}  // namespace bptt
