#include "core/gemm_tn.hpp"

#include <algorithm>

namespace bptt {

template <class S>
void GemmTn<S>::pack_left(const S* from, Index stride, Index columns, Range range, Index rows,
                          S* to) {
  using V = Vec<S>;
  // A few rows at a time: the cache lines read and written then stay in L1.
  constexpr Index kRowsAtOnce = 8;
  const Index full = columns / kTileColumns;
  for (Index begin = range.first; begin < range.last; begin += kRowsAtOnce) {
    const Index end = std::min(begin + kRowsAtOnce, range.last);
    for (Index tile = 0; tile < tiles(columns); ++tile) {
      // As one packet where it holds a row of the tile: what it writes beyond is overwritten by the
      // next row, which the last of a few rows does not have.
      const bool packet = kTileColumns <= V::kLanes && tile * kTileColumns + V::kLanes <= columns;
      for (Index r = begin; r < end; ++r) {
        const S* const source = from + r * stride + tile * kTileColumns;
        S* const target = to + (tile * rows + r) * kTileColumns;
        if (packet && r + 1 < end) {
          V::load_some(source, 1, V::kLanes).store_some(target, V::kLanes);
        } else if (tile < full) {
          for (int i = 0; i < kTileColumns; ++i) target[i] = source[i];
        } else {
          const Index count = columns - tile * kTileColumns;
          std::copy_n(source, count, target);
          std::fill(target + count, target + kTileColumns, S(0));
        }
      }
    }
  }
}

/// One register tile: kTileColumns columns of left times P packets of one panel, all of them or,
/// where the others are padding, the first.
template <class S>
template <int P>
void GemmTn<S>::run_tile(const S* left, const S* right, Index rows, int columns, Index width,
                         S* const* out, Index first, bool add) {
  using V = Vec<S>;
  V sum[kTileColumns][P];
#pragma GCC unroll 12
  for (int i = 0; i < kTileColumns; ++i) {
#pragma GCC unroll 2
    for (int p = 0; p < P; ++p) sum[i][p] = V::zero();
    // Of large weights, the result comes from memory: it is fetched while the sums are computed.
    if (i < columns && out[i] != nullptr) __builtin_prefetch(out[i] + first, 1);
  }
  for (Index r = 0; r < rows; ++r, left += kTileColumns, right += kPanelColumns) {
    V row[P];
#pragma GCC unroll 2
    for (int p = 0; p < P; ++p) row[p] = V::load(right + p * V::kLanes);
#pragma GCC unroll 12
    for (int i = 0; i < kTileColumns; ++i) {
      const V column(left[i]);
#pragma GCC unroll 2
      for (int p = 0; p < P; ++p) sum[i][p] = fma(column, row[p], sum[i][p]);
    }
  }
#pragma GCC unroll 12
  for (int i = 0; i < kTileColumns; ++i) {
    if (i >= columns || out[i] == nullptr) continue;
#pragma GCC unroll 2
    for (int p = 0; p < P; ++p) {
      const Index count = width - first - p * V::kLanes;
      if (count <= 0) continue;
      S* const to = out[i] + first + p * V::kLanes;
      (add ? V::load_some(to, 1, count) + sum[i][p] : sum[i][p]).store_some(to, count);
    }
  }
}

template <class S>
void GemmTn<S>::run(const S* left, const S* right, Index rows, Range tiles, Index left_columns,
                    Index right_columns, S* const* out, bool add) {
  // A panel of so many rows fits L1, and the tiles that are multiplied with it fit L2. The parts
  // are nearly equal: a short one would read and write all of the result for a few rows.
  constexpr Index kMostRows = 320, kTilesAtOnce = 32;
  const int parts = static_cast<int>((rows + kMostRows - 1) / kMostRows);
  for (int part = 0; part < parts; ++part, add = true) {
    const Index begin = part_of(rows, part, parts).first;
    const Index count = part_of(rows, part, parts).size();
    for (Index group = tiles.first; group < tiles.last; group += kTilesAtOnce) {
      const Index end = std::min(group + kTilesAtOnce, tiles.last);
      for (Index panel = 0; panel < panels(right_columns); ++panel) {
        for (Index tile = group; tile < end; ++tile) {
          const Index column = tile * kTileColumns;
          const auto multiply = right_columns - panel * kPanelColumns > Vec<S>::kLanes
                                    ? run_tile<kPackets>
                                    : run_tile<1>;
          multiply(left + (tile * rows + begin) * kTileColumns,
                   right + (panel * rows + begin) * kPanelColumns, count,
                   static_cast<int>(std::min<Index>(kTileColumns, left_columns - column)),
                   right_columns, out + column, panel * kPanelColumns, add);
        }
      }
    }
  }
}

template class GemmTn<float>;
template class GemmTn<double>;

}  // namespace bptt
