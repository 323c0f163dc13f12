#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#include "core/types.hpp"

// Weights of fewer bits, for inference. A product of few rows is bound by reading its weights: 16
// or 8 bits take half or a quarter of that time. gemm_compressed.cpp multiplies with them.

namespace bptt {

/// How weights are kept: as S, as the upper 16 bits of a float, or as an integer of 8 bits and one
/// scale for each row of the matrix.
enum class Storage : int { kFull, kBfloat16, kInt8 };

/// How the weights of a matrix, or of several, are kept; not in full for inference only.
template <class S>
struct Compression {
  Storage storage = Storage::kFull;
  const S* scales = nullptr;  // of all rows, in the order of the matrices, with 8 bits
};

/// The upper half of a float.
struct Bfloat16 {
  std::uint16_t bits;
};
using Int8 = std::int8_t;

// Rounding is Python's (nn/compression.py). These take the floats that rounded weights stand for;
// a row of zeros has the scale 0.
inline void narrow(float value, float /* scale */, Bfloat16& to) {
  to.bits = static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(value) >> 16);
}
inline void narrow(float value, float scale, Int8& to) {
  to = static_cast<Int8>(scale > 0 ? std::nearbyint(value / scale) : 0.0F);
}

/// The number without its scale.
inline float widen(Bfloat16 value) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(value.bits) << 16);
}
inline float widen(Int8 value) { return value; }
inline float widen(float value) { return value; }
inline double widen(double value) { return value; }

/// visit(W()) with the type that weights of S are kept in; only those of float have others.
template <class S, class Visit>
void visit_storage(Storage storage, Visit visit) {
  if constexpr (sizeof(S) == sizeof(float)) {
    if (storage == Storage::kBfloat16) return visit(Bfloat16{});
    if (storage == Storage::kInt8) return visit(Int8{});
  }
  visit(S{});
}

}  // namespace bptt
