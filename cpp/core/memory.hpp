#pragma once

#include <cstddef>

namespace bptt {

constexpr std::size_t kAlignment = 64;  // a cache line, and the widest packet

/// Uninitialized memory; throws std::bad_alloc. Large freed blocks are reused before the system is
/// asked for new ones: it maps and clears them page by page, which can take longer than the work
/// done in them.
void* allocate_memory(std::size_t bytes);
/// Frees what allocate_memory(bytes) returned.
void free_memory(void* memory, std::size_t bytes) noexcept;

}  // namespace bptt
