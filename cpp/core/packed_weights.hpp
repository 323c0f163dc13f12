#pragma once

#include "core/buffer.hpp"
#include "core/ragged_batch.hpp"
#include "core/types.hpp"
#include "core/vec.hpp"

// A recurrent matrix product reads its weights at every step, so they are packed once, in the order
// in which the register tiles read them:
//
//   columns   W hidden units of gate 0 | the same W units of gate 1 | …     one *block* of units
//   panel     as many blocks side by side as one register tile holds (at most kMaxPackets packets)
//   memory    panel after panel; in a panel, depth k after k: [panel][k][block][gate][W]
//
// A tile of the product thus ends with all gates of the same units in registers. H is padded to
// whole packets with zeros here and nowhere else.

namespace bptt {

constexpr int kMaxPackets = 4;

template <class S>
class PackedWeights {
 public:
  static constexpr Index kLanes = Vec<S>::kLanes;

  PackedWeights() = default;
  PackedWeights(Index units, int gates, Index depth)
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
  /// The blocks of some panels.
  Range blocks_of(Range panels) const {
    return {panels.first * blocks_per_panel_, std::min(panels.last * blocks_per_panel_, blocks_)};
  }
  int packets(Index panel) const {
    const Index left = blocks_ - panel * blocks_per_panel_;
    return static_cast<int>(std::min(left, blocks_per_panel_)) * gates_;
  }
  /// First column of a panel in a row of all columns, and the panel's weights.
  Index column(Index panel) const { return panel * blocks_per_panel_ * gates_ * kLanes; }
  const S* panel(Index panel) const { return data_.data() + column(panel) * depth_; }

  /// Packs some of the panels: column (unit, gate g) of the product is row
  /// `first_row + g*units + unit` of `weight` (rows, depth).
  void pack(const S* weight, Index first_row, Range panels) {
    for (Index q = panels.first; q < panels.last; ++q) {
      const int packets_here = packets(q);
      for (Index k = 0; k < depth_; k += kLanes) {
        for (int p = 0; p < packets_here; ++p) {
          const Index unit = (q * blocks_per_panel_ + p / gates_) * kLanes;
          const S* const from = weight + (first_row + p % gates_ * units_ + unit) * depth_ + k;
          S* const to = data_.data() + column(q) * depth_ + (k * packets_here + p) * kLanes;
          pack_square(from, std::min(kLanes, units_ - unit), std::min(kLanes, depth_ - k), to,
                      packets_here * kLanes);
        }
      }
    }
  }

  /// The transpose, for d_a = d_gates · weight: columns are the `units` columns of `weight`, and
  /// depth runs over gate columns in the order that a forward product with (gate_units, gates)
  /// leaves them. Packs some of that depth, a range of gate_units' blocks.
  void pack_transposed(const S* weight, Index first_row, Index gate_units, int gates,
                       Range blocks) {
    for (Index block = blocks.first; block < blocks.last; ++block) {
      for (int gate = 0; gate < gates; ++gate) {
        for (Index lane = 0; lane < kLanes; ++lane) {
          const Index unit = block * kLanes + lane;
          const Index row = first_row + gate * gate_units + unit;
          pack_row(unit < gate_units ? weight + row * units_ : nullptr,
                   (block * gates + gate) * kLanes + lane);
        }
      }
    }
  }

 private:
  /// Transposes up to kLanes rows of `columns` columns into rows of packets.
  void pack_square(const S* from, Index rows, Index columns, S* to, Index stride) const {
    if (rows == kLanes && columns == kLanes) return transpose(from, depth_, to, stride);
    for (Index c = 0; c < columns; ++c) {
      for (Index r = 0; r < kLanes; ++r) {
        to[c * stride + r] = r < rows ? from[r * depth_ + c] : S(0);
      }
    }
  }

  /// Writes one row of a matrix with a unit a column, or zeros, to depth k of all panels.
  void pack_row(const S* from, Index k) {
    for (Index q = 0; q < count(); ++q) {
      const Index width = packets(q) * kLanes, first = column(q);
      S* const to = data_.data() + first * depth_ + k * width;
      const Index real = from == nullptr ? 0 : std::min(width, units_ - first);
      std::copy_n(from + (real > 0 ? first : 0), real, to);
      std::fill(to + real, to + width, S(0));
    }
  }

  Index units_ = 0;
  int gates_ = 1;
  Index blocks_ = 0, blocks_per_panel_ = 1, depth_ = 0;
  Buffer<S> data_;
};

}  // namespace bptt
