#pragma once

#include <algorithm>

#include "core/packed_weights.hpp"
#include "core/ragged_batch.hpp"

namespace bptt {

/// The left operand, row by row: row r, depth k is at row[r][k * step].
template <class S>
struct RowPointers {
  const S* const* row;
  Index step = 1;
};

/// Numbers in a cache line.
template <class S>
constexpr Index kCacheLine = 64 / static_cast<Index>(sizeof(S));

/// A stride for the rows that a product writes: an odd number of cache lines. Rows at a multiple of
/// 4 KiB would share a few sets of the L1 cache, and drive each other out.
template <class S>
constexpr Index row_stride(Index width) {
  return ((width + kCacheLine<S> - 1) / kCacheLine<S> | 1) * kCacheLine<S>;
}

// Of 16 or 32 vector registers; the rest hold the operands.
constexpr int kAccumulators = EIGEN_ARCH_DEFAULT_NUMBER_OF_REGISTERS >= 32 ? 24 : 12;
constexpr int kMaxTileRows = 8;  // each row has a pointer in a general register

/// The rows of a register tile that is this many packets wide.
constexpr int tile_rows(int packets) { return std::min(kAccumulators / packets, kMaxTileRows); }

/// Whether so many rows are computed in fours, three packets at a time. Where a tile has three rows
/// and a whole panel, tiles of two would be left, with too few sums to hide their latency.
constexpr bool in_fours(Index rows) {
  return tile_rows(kMaxPackets) == 3 && rows % 4 == 0 && rows % 3 != 0 && rows <= 20;
}

constexpr Index kPanelsTogether = 16;  // at most

/// How many panels to compute together for n rows, before the cell's equations are applied to all
/// of them. A single row needs two to hide the latency of its sums, rows in fours three; for a few
/// rows, the equations of so many panels are worth a call. Rows are rounded to integers once for
/// all panels.
inline Index panels_together(Storage storage, Index rows) {
  if (storage == Storage::kInt8) return kPanelsTogether;
  if (storage == Storage::kFull && in_fours(rows)) return 3;
  return rows <= 1 ? 2 : std::max<Index>(1, kPanelsTogether / rows);
}

/// visit(first, last) for a range of panels, as many together as suits n rows. Loops that read the
/// same panels at every step reverse the order every other step: the cache still holds the last
/// ones.
template <class S, class Visit>
void for_each_group(const PackedWeights<S>& weights, Range panels, Index rows, bool reversed,
                    Visit visit) {
  const Index together = panels_together(weights.storage(), rows);
  const Index groups = (panels.size() + together - 1) / together;
  for (Index i = 0; i < groups; ++i) {
    const Index first = panels.first + (reversed ? groups - 1 - i : i) * together;
    visit(first, std::min(first + together, panels.last));
  }
}

/// out[r] = init[r] + a[r] · weights, for r < rows and the columns of panels first … last-1.
///
/// `init` and `out` point to column 0 of row 0; an init_stride of 0 repeats one row; no init means
/// 0; init and out may be the same. Every element is summed over depth in order, whatever the
/// number of rows, so the bits of a row do not depend on the other rows.
template <class S>
void gemm_packed(const PackedWeights<S>& weights, Index first, Index last, RowPointers<S> a,
                 Index rows, const S* init, Index init_stride, S* out, Index out_stride);

/// out[column] += the weight at depth k, for the columns of some panels: the product with a unit
/// vector.
template <class S>
void add_weights(const PackedWeights<S>& weights, Range panels, Index k, S* out);

#define BPTT_DECLARE(S)                                                                      \
  extern template void gemm_packed<S>(const PackedWeights<S>&, Index, Index, RowPointers<S>, \
                                      Index, const S*, Index, S*, Index);                    \
  extern template void add_weights<S>(const PackedWeights<S>&, Range, Index, S*);
BPTT_DECLARE(float)
BPTT_DECLARE(double)
#undef BPTT_DECLARE

}  // namespace bptt
