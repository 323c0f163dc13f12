#pragma once

#include <cstddef>

namespace bptt {

constexpr std::size_t kAlignment = 64;  // a cache line, and the widest packet

// Whether AddressSanitizer watches: memory then comes from the system in its exact size, and is not
// reused, so that it sees every access beyond a piece and after its end.
#if defined(__SANITIZE_ADDRESS__)
#define BPTT_WATCHED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define BPTT_WATCHED 1
#endif
#endif
#if defined(BPTT_WATCHED)
constexpr bool kWatched = true;
#else
constexpr bool kWatched = false;
#endif

/// Uninitialized memory; throws std::bad_alloc. Large freed blocks are reused before the system is
/// asked for new ones: it maps and clears them page by page, which can take longer than the work
/// done in them.
void* allocate_memory(std::size_t bytes);
/// Frees what allocate_memory(bytes) returned.
void free_memory(void* memory, std::size_t bytes) noexcept;

}  // namespace bptt
