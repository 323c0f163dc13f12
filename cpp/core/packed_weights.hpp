#pragma once

#include <algorithm>
#include <cstddef>
#include <type_traits>
#include <vector>

#include "core/buffer.hpp"
#include "core/ragged_batch.hpp"
#include "core/storage.hpp"
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
//
// Recurrent weights may consist of blocks on the diagonal, the only elements that there are: each
// head of units sees its own units alone. A panel then has the depth of its units' heads.
//
// Weights for inference alone may be kept in fewer bits (storage.hpp): two products in depth are
// then adjacent, [panel][k/2][block][gate][W][k%2], and an odd depth ends with zeros.

namespace bptt {

constexpr int kMaxPackets = 4;

template <class S>
class PackedWeights {
 public:
  static constexpr Index kLanes = Vec<S>::kLanes;

  PackedWeights() = default;
  /// With heads, depth is the same units, or (with depth_gates) their gates in the order that
  /// pack_transposed takes.
  PackedWeights(Index units, int gates, Index depth, Index heads = 1, int depth_gates = 0,
                Storage storage = Storage::kFull)
      : storage_(storage),
        units_(units),
        gates_(gates),
        blocks_((units + kLanes - 1) / kLanes),
        blocks_per_panel_(kMaxPackets / gates),
        heads_(heads) {
    for (Index q = 0; q < count(); ++q) {
      depths_.push_back(heads == 1 ? Range{0, depth} : depth_of_heads(q, depth_gates));
      longest_ = std::max(longest_, depths_.back().size());
    }
    visit_storage<S>(storage, [&](auto w) {
      data_ = Buffer<std::byte>(width() * kept_depth() * static_cast<Index>(sizeof w));
    });
    if (storage == Storage::kInt8) scales_ = Buffer<S>(width());
  }

  Storage storage() const { return storage_; }
  Index bytes() const { return data_.size(); }

  /// The part of a row of the left operand that a panel is multiplied with.
  Range depth(Index panel) const { return depths_[static_cast<std::size_t>(panel)]; }
  Index blocks() const { return blocks_; }
  Index width() const { return blocks_ * gates_ * kLanes; }
  Index count() const { return (blocks_ + blocks_per_panel_ - 1) / blocks_per_panel_; }
  Index blocks_per_panel() const { return blocks_per_panel_; }
  /// The blocks of some panels.
  Range blocks_of(Range panels) const {
    return {panels.first * blocks_per_panel_, std::min(panels.last * blocks_per_panel_, blocks_)};
  }
  /// The columns of some panels in a row of all columns.
  Range columns_of(Range panels) const {
    const Range blocks = blocks_of(panels);
    return {blocks.first * gates_ * kLanes, blocks.last * gates_ * kLanes};
  }
  int packets(Index panel) const {
    const Index left = blocks_ - panel * blocks_per_panel_;
    return static_cast<int>(std::min(left, blocks_per_panel_)) * gates_;
  }
  /// First column of a panel in a row of all columns, and the panel's weights, kept as W.
  Index column(Index panel) const { return panel * blocks_per_panel_ * gates_ * kLanes; }
  template <class W = S>
  const W* panel(Index panel) const {
    return reinterpret_cast<const W*>(data_.data()) + column(panel) * kept_depth();
  }
  /// The scale of every column, or null if there are none.
  const S* scales() const { return scales_.data(); }

  /// Packs some of the panels: column (unit, gate g) of the product is row
  /// `first_row + g*units + unit` of `weight` (rows, depth or units of a head). Weights of fewer
  /// bits are given as the floats that they stand for, with the scales of the rows of `weight`.
  void pack(const S* weight, Index first_row, Range panels, const S* row_scales = nullptr) {
    visit_storage<S>(storage_,
                     [&](auto w) { pack_as<decltype(w)>(weight, first_row, panels, row_scales); });
  }

  /// The transpose, for d_a = d_gates · weight: columns are the `units` of `weight`'s columns, and
  /// depth runs over gate columns in the order that a forward product with (gate_units, gates)
  /// leaves them. Packs some of that depth, a range of gate_units' blocks.
  void pack_transposed(const S* weight, Index first_row, Index gate_units, int gates,
                       Range blocks) {
    for (Index block = blocks.first; block < blocks.last; ++block) {
      for (int gate = 0; gate < gates; ++gate) {
        for (Index lane = 0; lane < kLanes; ++lane) {
          const Index unit = block * kLanes + lane;
          const Index row = first_row + gate * gate_units + unit;
          const Range units = unit < gate_units ? head_of(unit) : Range{};
          pack_row(weight + row * units.size(), units, (block * gates + gate) * kLanes + lane);
        }
      }
    }
  }

 private:
  /// The depth of a panel in memory.
  Index kept_depth() const {
    return storage_ == Storage::kFull ? longest_ : (longest_ + 1) / 2 * 2;
  }

  template <class W>
  W* data() {
    return reinterpret_cast<W*>(data_.data());
  }

  template <class W>
  void pack_as(const S* weight, Index first_row, Range panels, const S* row_scales) {
    for (Index q = panels.first; q < panels.last; ++q) {
      const Index stride = packets(q) * kLanes;
      if (!scales_.empty()) set_scales(q, first_row, row_scales);
      for (Index k = depth(q).first; k < depth(q).last; k += kLanes) {
        for (int p = 0; p < packets(q); ++p) {
          const Index unit = (q * blocks_per_panel_ + p / gates_) * kLanes;
          const Index row = first_row + p % gates_ * units_ + unit;
          const Range columns{k, std::min(k + kLanes, depth(q).last)};
          W* const panel = data<W>() + column(q) * kept_depth();
          const Index to = (k - depth(q).first) * stride;
          if constexpr (!std::is_same_v<W, S>) {
            alignas(64) S square[kLanes * kLanes] = {};
            pack_square(weight, row, unit, columns, square, kLanes);
            narrow_rows(square, column(q) + p * kLanes, columns.size(), panel + to + 2 * kLanes * p,
                        2 * stride);
          } else if (heads_ == 1 && columns.size() == kLanes && unit + kLanes <= units_) {
            transpose(weight + row * longest_ + k, longest_, panel + to + p * kLanes, stride);
          } else {
            pack_square(weight, row, unit, columns, panel + to + p * kLanes, stride);
          }
        }
      }
    }
  }

  /// Rows of one packet, which begin at a column, in pairs; a row of zeros follows them.
  template <class W>
  void narrow_rows(const S* from, Index column, Index rows, W* to, Index stride) const {
    for (Index r = 0; r < (rows + 1) / 2 * 2; ++r) {
      for (Index lane = 0; lane < kLanes; ++lane) {
        const S scale = scales_.empty() ? S(1) : scales_.data()[column + lane];
        narrow(from[r * kLanes + lane], scale, to[r / 2 * stride + 2 * lane + r % 2]);
      }
    }
  }

  /// The scales of a panel's columns; 0 for those that are padding.
  void set_scales(Index panel, Index first_row, const S* row_scales) {
    S* const to = scales_.data() + column(panel);
    for (Index i = 0; i < packets(panel) * kLanes; ++i) {
      const Index packet = i / kLanes;
      const Index unit = (panel * blocks_per_panel_ + packet / gates_) * kLanes + i % kLanes;
      to[i] = unit < units_ ? row_scales[first_row + packet % gates_ * units_ + unit] : S(0);
    }
  }

  /// The units of the head that a unit belongs to.
  Range head_of(Index unit) const {
    if (heads_ == 1) return {0, units_};
    const Index size = units_ / heads_, first = unit / size * size;
    return {first, first + size};
  }

  /// The depth of the heads that the units of a panel belong to.
  Range depth_of_heads(Index panel, int depth_gates) const {
    const Index unit = panel * blocks_per_panel_ * kLanes;
    const Index last = std::min(unit + blocks_per_panel_ * kLanes, units_) - 1;
    const Range units{head_of(unit).first, head_of(last).last};
    if (depth_gates == 0) return units;
    const Index block = depth_gates * kLanes;
    return {units.first / kLanes * block, (units.last + kLanes - 1) / kLanes * block};
  }

  /// Transposes rows of a packet's units, some of their columns, into rows of packets.
  void pack_square(const S* weight, Index row, Index unit, Range columns, S* to,
                   Index stride) const {
    const Index units = std::min(kLanes, units_ - unit);
    const Range depth = heads_ == 1 ? depths_[0] : head_of(unit);  // of the first unit
    const bool whole = units == kLanes && columns.size() == kLanes && columns.last <= depth.last;
    if (whole && columns.first >= depth.first && (heads_ == 1 || unit + units <= depth.last)) {
      const S* const from = weight + row * depth.size() - depth.first;
      return transpose(from + columns.first, depth.size(), to, stride);
    }
    for (Index r = 0; r < kLanes; ++r) {
      const Range own = r >= units ? Range{} : heads_ == 1 ? depths_[0] : head_of(unit + r);
      const S* const from = weight + (row + r) * own.size() - own.first;
      for (Index k = columns.first; k < columns.last; ++k) {
        const bool real = k >= own.first && k < own.last;
        to[(k - columns.first) * stride + r] = real ? from[k] : S(0);
      }
    }
  }

  /// Writes a row of a matrix, the columns of some units and zeros for the others, to depth k of
  /// the panels that have it.
  void pack_row(const S* from, Range units, Index k) {
    for (Index q = 0; q < count(); ++q) {
      const Range depth = depths_[static_cast<std::size_t>(q)];
      if (k < depth.first || k >= depth.last) continue;
      const Index width = packets(q) * kLanes, first = column(q);
      S* const to = data<S>() + first * longest_ + (k - depth.first) * width;
      if (units.first <= first && first + width <= units.last) {
        std::copy_n(from + first - units.first, width, to);
        continue;
      }
      const Index begin = std::clamp<Index>(units.first - first, 0, width);
      const Index end = std::clamp<Index>(units.last - first, begin, width);
      std::fill(to, to + begin, S(0));
      std::copy_n(from + (begin < end ? first + begin - units.first : 0), end - begin, to + begin);
      std::fill(to + end, to + width, S(0));
    }
  }

  Storage storage_ = Storage::kFull;
  Index units_ = 0;
  int gates_ = 1;
  Index blocks_ = 0, blocks_per_panel_ = 1, heads_ = 1, longest_ = 0;
  std::vector<Range> depths_;  // by panel
  Buffer<std::byte> data_;     // [panel][k][block][gate][W] of the storage's type
  Buffer<S> scales_;           // [width()] of 8 bits
};

}  // namespace bptt
