#pragma once

#include <algorithm>

#include "core/ragged_batch.hpp"
#include "core/shrink.hpp"

namespace bptt {

/// A range of `count` rows or columns cut into 1, 2, 4, … parts of at least `least`, at most
/// kMostParts. They begin at multiples of a packet.
class Parts {
 public:
  static constexpr Index kMostParts = 32;

  Parts(Index count, Index least) : count_(count) {
    least = std::max(least, kAlign);
    while (parts_ < kMostParts && count >= 2 * parts_ * least) parts_ *= 2;
  }
  Index size() const { return parts_; }
  Range operator[](Index i) const {
    const Range range =
        part_of((count_ + kAlign - 1) / kAlign, static_cast<int>(i), static_cast<int>(parts_));
    return {std::min(range.first * kAlign, count_), std::min(range.last * kAlign, count_)};
  }

 private:
  static constexpr Index kAlign = 16;

  Index count_, parts_ = 1;
};

/// Many outputs of a linear layer, or classes, cut into blocks of at most 288 for gemm_grouped.hpp:
/// multiples of its tiles and panels, but for the last one.
class OutputBlocks {
 public:
  explicit OutputBlocks(Index outputs)
      : outputs_(outputs), number_(static_cast<int>((outputs + kMost - 1) / kMost)) {}
  Index size() const { return number_; }
  Range operator[](Index i) const {
    const Range own = part_of((outputs_ + kUnit - 1) / kUnit, static_cast<int>(i), number_);
    return {own.first * kUnit, std::min(outputs_, own.last * kUnit)};
  }

 private:
  static constexpr Index kUnit = 96 / kShrink, kMost = 3 * kUnit;
  Index outputs_;
  int number_;
};

}  // namespace bptt
