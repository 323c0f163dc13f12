#pragma once

#include "core/gemm_tn.hpp"

namespace bptt {

// out = left · right, where each operand is packed as GemmTn packs one: a matrix that is read
// transposed in one product and as it is in another is packed once for both.
//
//   left    [group of kGroup columns][row][column]: pack_left or pack_right of GemmTn
//   right   [panel of kPackets packets][k][W]…: pack_right, or pack_right_transposed
//
// Every element is summed over k in order.

/// out (rows, columns), its rows `stride` apart, = left (rows, depth) · right, or is added to.
/// kGroup is GemmTn's kTileColumns or kPanelColumns.
template <class S, int kGroup>
void multiply_grouped(const S* left, Index rows, Index depth, const S* right, Index columns, S* out,
                      Index stride, bool add);

/// Packs the transpose of `from`, (columns, depth) with rows `stride` apart, as the right operand.
template <class S>
void pack_right_transposed(const S* from, Index stride, Index columns, Index depth, S* to);

}  // namespace bptt
