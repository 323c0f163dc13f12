#pragma once

#include "core/ragged_batch.hpp"
#include "core/types.hpp"
#include "core/vec.hpp"

// out += leftᵀ · right (a GEMM whose left operand is transposed), where both operands have a row
// for each step and batch row: the gradient of weights that all steps share. Both are packed first,
// so that a register tile reads each of them contiguously:
//
//   left    [tile of kTileColumns columns][row][column]
//   right   [panel of kPackets packets][row][W]…
//
// Every element is summed over rows in order: which thread computes it does not change the bits.

namespace bptt {

template <class S>
class GemmTn {
 public:
  static constexpr int kPackets = 2;
  static constexpr Index kPanelColumns = kPackets * Vec<S>::kLanes;
  // Of 16 or 32 vector registers; the rest hold the operands.
  static constexpr int kTileColumns =
      (EIGEN_ARCH_DEFAULT_NUMBER_OF_REGISTERS >= 32 ? 24 : 12) / kPackets;

  static Index tiles(Index left_columns) {
    return (left_columns + kTileColumns - 1) / kTileColumns;
  }
  static Index panels(Index right_columns) {
    return (right_columns + kPanelColumns - 1) / kPanelColumns;
  }
  /// Elements of memory for the packed operands.
  static Index left_size(Index columns, Index rows) { return tiles(columns) * kTileColumns * rows; }
  static Index right_size(Index columns, Index rows) {
    return panels(columns) * kPanelColumns * rows;
  }

  /// Packs rows `range` of `rows` rows; `from` has stride `stride` and `columns` columns.
  static void pack_left(const S* from, Index stride, Index columns, Range range, Index rows, S* to);
  /// The same for the right operand; row r begins at from(r), its features are `step` apart.
  template <class Row>
  static void pack_right(Row from, Index step, Index columns, Range range, Index rows, S* to);

  /// Adds to (or sets) out[i][j] for all j and the i of the tiles; rows of `out` that are null are
  /// skipped.
  static void run(const S* left, const S* right, Index rows, Range tiles, Index left_columns,
                  Index right_columns, S* const* out, bool add);

 private:
  template <int P>
  static void run_tile(const S* left, const S* right, Index rows, int columns, Index width,
                       S* const* out, Index first, bool add);
};

template <class S>
template <class Row>
void GemmTn<S>::pack_right(Row from, Index step, Index columns, Range range, Index rows, S* to) {
  for (Index r = range.first; r < range.last; ++r) {
    const S* const row = from(r);
    for (Index first = 0; first < columns; first += Vec<S>::kLanes) {
      const Index panel = first / kPanelColumns, lane = first % kPanelColumns;
      Vec<S>::load_some(row + first * step, step, columns - first)
          .store(to + (panel * rows + r) * kPanelColumns + lane);
    }
    const Index used = (columns + Vec<S>::kLanes - 1) / Vec<S>::kLanes * Vec<S>::kLanes;
    for (Index first = used; first < panels(columns) * kPanelColumns; first += Vec<S>::kLanes) {
      const Index panel = first / kPanelColumns, lane = first % kPanelColumns;
      Vec<S>::zero().store(to + (panel * rows + r) * kPanelColumns + lane);
    }
  }
}

extern template class GemmTn<float>;
extern template class GemmTn<double>;

}  // namespace bptt
