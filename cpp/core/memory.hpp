#pragma once

#include <cstddef>

namespace bptt {

constexpr std::size_t kAlignment = 64;  // a cache line, and the widest packet

/// Uninitialised memory; throws std::bad_alloc. Large blocks that were given back are used again
/// before the system is asked: it maps and clears them page by page, which can take longer than
/// what is done in them.
void* take_memory(std::size_t bytes);
/// Gives back what take_memory(bytes) returned.
void give_back_memory(void* memory, std::size_t bytes) noexcept;

}  // namespace bptt
