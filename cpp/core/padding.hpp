#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "core/types.hpp"

namespace bptt {

/// Sequences in one array of rows, one after the other or with gaps.
struct Places {
  const std::byte* values;
  Index row;                    // bytes of a step
  const std::int64_t* starts;   // (batch,), in steps
  const std::int64_t* lengths;  // (batch,)
};

/// padded (batch, steps) = the sequences, with zeros behind each; no length exceeds `steps`.
inline void pad(const Places& from, Index batch, Index steps, std::byte* padded) {
  for (Index b = 0; b < batch; ++b) {
    const auto size = static_cast<std::size_t>(from.lengths[b] * from.row);
    const auto whole = static_cast<std::size_t>(steps * from.row);
    if (size > 0) std::memcpy(padded, from.values + from.starts[b] * from.row, size);
    std::memset(padded + size, 0, whole - size);
    padded += whole;
  }
}

}  // namespace bptt
