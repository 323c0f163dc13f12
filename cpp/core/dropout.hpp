#pragma once

#include <cmath>
#include <cstdint>

#include "core/rows.hpp"
#include "core/types.hpp"

// Inverted dropout: each value is kept with probability 1-p and scaled by 1/(1-p), so that nothing
// changes at inference. Whether value i is kept is a function of (key, i) alone: backward and any
// number of threads see the same mask, and it is never stored.

namespace bptt {

class DropoutMask {
 public:
  DropoutMask(double p, std::uint64_t key, Index layer)
      : scale_(1.0 / (1.0 - p)),
        threshold_(static_cast<std::uint64_t>(std::ldexp(p, 32))),
        key_(mix(key + static_cast<std::uint64_t>(layer))) {}

  template <class S>
  S factor(Index i) const {
    const std::uint64_t bits = mix(key_ + static_cast<std::uint64_t>(i)) >> 32;
    return bits < threshold_ ? S(0) : static_cast<S>(scale_);
  }

  /// out = in * mask; in and out may be the same.
  template <class S>
  void apply(const S* in, S* out, Range range) const {
    for (Index i = range.first; i < range.last; ++i) out[i] = in[i] * factor<S>(i);
  }

 private:
  // SplitMix64 (Steele, Lea & Flood 2014).
  static std::uint64_t mix(std::uint64_t z) {
    z += 0x9e3779b97f4a7c15U;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
  }

  double scale_;
  std::uint64_t threshold_, key_;
};

}  // namespace bptt
