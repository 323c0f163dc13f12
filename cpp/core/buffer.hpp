#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/memory.hpp"
#include "core/thread_local.hpp"
#include "core/types.hpp"

namespace bptt {

/// Owned, aligned, uninitialized memory.
template <class S>
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(Index count) : size_(count) {
    if (count > 0) data_ = Memory(static_cast<S*>(allocate_memory(bytes())), Free{bytes()});
  }
  S* data() { return data_.get(); }
  const S* data() const { return data_.get(); }
  Index size() const { return size_; }
  bool empty() const { return size_ == 0; }
  void set_zero() {
    if (size_ > 0) std::memset(data(), 0, bytes());
  }

 private:
  struct Free {
    std::size_t bytes;
    void operator()(S* memory) const { free_memory(memory, bytes); }
  };
  using Memory = std::unique_ptr<S, Free>;

  std::size_t bytes() const { return static_cast<std::size_t>(size_) * sizeof(S); }

  Index size_ = 0;
  Memory data_;
};

/// Scratch memory of one call, which the thread keeps for its next call.
class Arena {
 public:
  /// Everything allocated during the lifetime of a Scope is released at its end.
  class Scope {
   public:
    explicit Scope(Arena& arena) : arena_(arena), block_(arena.block_), used_(arena.used_) {
      ++arena_.depth_;
    }
    ~Scope() {
      arena_.block_ = block_;
      arena_.used_ = used_;
      if constexpr (kWatched) arena_.blocks_.resize(block_);
      if (--arena_.depth_ == 0) arena_.merge_blocks();
    }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Arena& arena_;
    std::size_t block_;
    Index used_;
  };

  /// Memory of several users of which only one is at work at a time; it stays allocated at the end.
  class Shared {
   public:
    explicit Shared(Arena& arena) : arena_(arena), start_(arena.place()), end_(start_) {}
    /// Gives the memory that has been allocated since the beginning to the next user as well.
    void next() {
      end_ = std::max(end_, arena_.place());
      if constexpr (!kWatched) arena_.set_place(start_);
    }
    ~Shared() { arena_.set_place(std::max(end_, arena_.place())); }
    Shared(const Shared&) = delete;
    Shared& operator=(const Shared&) = delete;

   private:
    Arena& arena_;
    std::pair<std::size_t, Index> start_, end_;
  };

  template <class T>
  T* allocate(Index count) {
    if constexpr (kWatched) return allocate_alone<T>(count);
    const Index align = static_cast<Index>(kAlignment);
    const Index bytes = (count * static_cast<Index>(sizeof(T)) + align - 1) / align * align;
    while (block_ < blocks_.size() && used_ + bytes > blocks_[block_].size()) {
      ++block_;
      used_ = 0;
    }
    if (block_ == blocks_.size()) {
      blocks_.emplace_back(std::max(bytes, kMinBlock));
      used_ = 0;
    }
    std::byte* const start = blocks_[block_].data() + used_;
    used_ += bytes;
    return reinterpret_cast<T*>(start);
  }

  /// A new object that is never destroyed.
  template <class T, class... Arguments>
  T* make(Arguments&&... arguments) {
    static_assert(std::is_trivially_destructible_v<T>);
    return new (allocate<std::byte>(sizeof(T))) T(std::forward<Arguments>(arguments)...);
  }

  template <class T>
  T* allocate_zeroed(Index count) {
    T* const start = allocate<T>(count);
    std::memset(static_cast<void*>(start), 0, static_cast<std::size_t>(count) * sizeof(T));
    return start;
  }

 private:
  static constexpr Index kMinBlock = 1 << 16;

  /// Block, and bytes of it in use.
  std::pair<std::size_t, Index> place() const { return {block_, used_}; }
  void set_place(std::pair<std::size_t, Index> place) { std::tie(block_, used_) = place; }

  /// A block for these elements alone.
  template <class T>
  T* allocate_alone(Index count) {
    blocks_.emplace_back(std::max<Index>(1, count * static_cast<Index>(sizeof(T))));
    block_ = blocks_.size();
    return reinterpret_cast<T*>(blocks_.back().data());
  }

  // Blocks never move while in use; between calls they are merged into one that fits the next call.
  // Without the memory for that, the arena is empty and the next call allocates what it needs.
  void merge_blocks() noexcept {
    if (blocks_.size() < 2) return;
    Index total = 0;
    for (const auto& block : blocks_) total += block.size();
    blocks_.clear();
    try {
      blocks_.emplace_back(total);
    } catch (const std::bad_alloc&) {
      blocks_.clear();
    }
  }

  std::vector<Buffer<std::byte>> blocks_;
  std::size_t block_ = 0;
  Index used_ = 0;
  int depth_ = 0;
};

/// This thread's arena.
inline Arena& scratch() {
  BPTT_THREAD_LOCAL Arena arena;
  return arena;
}

}  // namespace bptt
