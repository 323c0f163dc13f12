#pragma once

#include "core/buffer.hpp"
#include "core/types.hpp"
#include "core/vec.hpp"

// A recurrent matrix product reads its weights once a step, so they are packed once, in the order
// in which the registers want them:
//
//   columns   W hidden units of gate 0 | the same W units of gate 1 | …     one *block* of units
//   panel     as many blocks side by side as one register tile holds (at most kMaxPackets packets)
//   memory    panel after panel; in a panel, depth k after k: [panel][k][block][gate][W]
//
// One tile of the product thus ends with all gates of the same units in registers. H is padded to
// whole packets with zeros here and nowhere else.

namespace bptt {

constexpr int kMaxPackets = 4;

template <class S>
class Panels {
 public:
  static constexpr Index kLanes = Vec<S>::kLanes;

  Panels() = default;
  Panels(Index units, int gates, Index depth)
      : units_(units),
        gates_(gates),
        blocks_((units + kLanes - 1) / kLanes),
        blocks_per_panel_(kMaxPackets / gates),
        depth_(depth),
        data_(blocks_ * gates * kLanes * depth) {}

  Index depth() const { return depth_; }
  Index blocks() const { return blocks_; }
  Index width() const { return blocks_ * gates_ * kLanes; }
  Index count() const { return (blocks_ + blocks_per_panel_ - 1) / blocks_per_panel_; }
  Index blocks_per_panel() const { return blocks_per_panel_; }
  int packets(Index panel) const {
    const Index left = blocks_ - panel * blocks_per_panel_;
    return static_cast<int>(std::min(left, blocks_per_panel_)) * gates_;
  }
  /// First column of a panel in a row of all columns, and the panel's weights.
  Index column(Index panel) const { return panel * blocks_per_panel_ * gates_ * kLanes; }
  const S* panel(Index panel) const { return data_.data() + column(panel) * depth_; }

  /// Column (unit, gate g) of the product is row `first_row + g*units + unit` of `weight` (rows,
  /// depth).
  void pack(const S* weight, Index first_row) {
    for (Index q = 0; q < count(); ++q) {
      const int packets_here = packets(q);
      for (int p = 0; p < packets_here; ++p) {
        const Index unit = (q * blocks_per_panel_ + p / gates_) * kLanes;
        const S* from = weight + (first_row + p % gates_ * units_ + unit) * depth_;
        S* to = data_.data() + column(q) * depth_ + p * kLanes;
        const Index lanes = std::min(kLanes, units_ - unit);
        for (Index k = 0; k < depth_; ++k, to += packets_here * kLanes) {
          for (Index w = 0; w < lanes; ++w) to[w] = from[w * depth_ + k];
          for (Index w = lanes; w < kLanes; ++w) to[w] = S(0);
        }
      }
    }
  }

  /// The transpose, for d_a = d_gates · weight: columns are the `units` columns of `weight`, and
  /// depth runs over gate columns in the order that a forward product with (gate_units, gates)
  /// leaves them.
  void pack_transposed(const S* weight, Index first_row, Index gate_units, int gates) {
    for (Index q = 0; q < count(); ++q) {
      const int packets_here = packets(q);
      S* to = data_.data() + column(q) * depth_;
      const Index first_column = q * blocks_per_panel_ * kLanes;
      const Index columns = std::min<Index>(packets_here * kLanes, units_ - first_column);
      for (Index k = 0; k < depth_; ++k, to += packets_here * kLanes) {
        const Index unit = k / (gates * kLanes) * kLanes + k % kLanes;
        const Index gate = k / kLanes % gates;
        const bool real = unit < gate_units;
        if (real) {
          const S* from = weight + (first_row + gate * gate_units + unit) * units_ + first_column;
          std::copy(from, from + columns, to);
        }
        std::fill(to + (real ? columns : 0), to + packets_here * kLanes, S(0));
      }
    }
  }

 private:
  Index units_ = 0;
  int gates_ = 1;
  Index blocks_ = 0, blocks_per_panel_ = 1, depth_ = 0;
  Buffer<S> data_;
};

}  // namespace bptt
