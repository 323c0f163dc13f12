#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "core/ragged_batch.hpp"
#include "core/types.hpp"

// Inverted dropout: each value is kept with probability 1-p and scaled by 1/(1-p), so that nothing
// changes at inference. Whether value i is kept is a function of (key, i) alone: backward and any
// number of threads see the same mask, and it is never stored.
//
// Every block of values has a key of 64 bits, mixed from (key, block); within a block 32 bits are
// enough, and those are mixed in every lane of a register at once.

namespace bptt {

class DropoutMask {
 public:
  /// Keeps all values.
  DropoutMask() = default;
  /// The mask of the values from `origin` on, which are counted from 0.
  DropoutMask(double p, std::uint64_t key, Index layer, Index origin = 0)
      : DropoutMask(p, key, layer, origin, 1.0 / (1.0 - p)) {}
  /// The same with another factor of the values that are kept.
  DropoutMask(double p, std::uint64_t key, Index layer, Index origin, double scale)
      : scale_(scale),
        threshold_(static_cast<std::uint32_t>(std::ldexp(p, 32))),
        key_(mix(key + static_cast<std::uint64_t>(layer))),
        origin_(origin) {}

  /// to[0 … count) = what the values first, first + 1, … are multiplied with: 0 or 1/(1-p).
  template <class S>
  void factors(Index first, Index count, S* to) const {
    for (Index done = 0; done < count;) {
      const Index place = origin_ + first + done, block = place / kBlock, begin = place % kBlock;
      const Index size = std::min(kBlock - begin, count - done);
      factors_of_block(mix(key_ + static_cast<std::uint64_t>(block)), begin, size, to + done);
      done += size;
    }
  }

  /// out = in * mask; in and out may be the same.
  template <class S>
  void apply(const S* in, S* out, Range range) const {
    S by[kBlock];
    for (Index i = range.first; i < range.last; i += kBlock) {
      const Index count = std::min(kBlock, range.last - i);
      factors(i, count, by);
      for (Index j = 0; j < count; ++j) out[i + j] = in[i + j] * by[j];
    }
  }

 private:
  static constexpr Index kBlock = 1024;

  template <class S>
  void factors_of_block(std::uint64_t key, Index begin, Index size, S* to) const {
    const std::uint32_t low = static_cast<std::uint32_t>(key) + static_cast<std::uint32_t>(begin);
    const std::uint32_t high = static_cast<std::uint32_t>(key >> 32), threshold = threshold_;
    const S scale = static_cast<S>(scale_);
    const std::uint32_t n = static_cast<std::uint32_t>(size);
    for (std::uint32_t j = 0; j < n; ++j) to[j] = mix(low + j, high) < threshold ? S(0) : scale;
  }

  // SplitMix64 (Steele, Lea & Flood 2014).
  static std::uint64_t mix(std::uint64_t z) {
    z += 0x9e3779b97f4a7c15U;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
  }

  // The 32-bit mixer with the least bias that C. Wellons found (2018), "lowbias32", with the other
  // half of the key between its multiplications: blocks are not shifted copies of each other.
  static std::uint32_t mix(std::uint32_t z, std::uint32_t other) {
    z = (z ^ (z >> 16)) * 0x7feb352dU;
    z ^= other;
    z = (z ^ (z >> 15)) * 0x846ca68bU;
    return z ^ (z >> 16);
  }

  double scale_ = 1.0;
  std::uint32_t threshold_ = 0;
  std::uint64_t key_ = 0;
  Index origin_ = 0;
};

}  // namespace bptt
