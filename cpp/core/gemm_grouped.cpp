#include "core/gemm_grouped.hpp"

#include <algorithm>
#include <utility>

#include "core/shrink.hpp"

namespace bptt {
namespace {

/// The operands of a register tile: some rows times the first packets of one panel.
template <class S>
struct GroupedTile {
  const S* left;
  Index group_stride;  // to the same row of the next group
  const S* right;
  Index depth;
  S* out;
  Index stride;   // between rows of out
  Index columns;  // of out, from this panel on
  bool add;
};

/// The last columns of a row are fewer than the packets hold.
template <class S, int P, int R>
void store_some(const S* sums, const GroupedTile<S>& t) {
  constexpr Index kWidth = P * Vec<S>::kLanes;
  for (Index r = 0; r < R; ++r) {
    for (Index c = 0; c < t.columns; ++c) {
      S& to = t.out[r * t.stride + c];
      to = t.add ? to + sums[r * kWidth + c] : sums[r * kWidth + c];
    }
  }
}

template <class S, int kGroup, int P, int R>
void multiply_tile(const GroupedTile<S>& t) {
  using V = Vec<S>;
  V sum[R][P];
#pragma GCC unroll 12
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 2
    for (int p = 0; p < P; ++p) sum[r][p] = V::zero();
    __builtin_prefetch(t.out + r * t.stride, 1);
  }
  const S *left = t.left, *right = t.right;
  for (Index k = 0; k < t.depth; k += kGroup, left += t.group_stride) {
    const Index count = std::min<Index>(kGroup, t.depth - k);
    for (Index i = 0; i < count; ++i, right += GemmTn<S>::kPanelColumns) {
      V column[P];
#pragma GCC unroll 2
      for (int p = 0; p < P; ++p) column[p] = V::load(right + p * V::kLanes);
#pragma GCC unroll 12
      for (int r = 0; r < R; ++r) {
        const V row(left[Index{r} * kGroup + i]);
#pragma GCC unroll 2
        for (int p = 0; p < P; ++p) sum[r][p] = fma(row, column[p], sum[r][p]);
      }
    }
  }
  if (t.columns < P * V::kLanes) {
    alignas(64) S sums[R * P * V::kLanes];
#pragma GCC unroll 12
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 2
      for (int p = 0; p < P; ++p) sum[r][p].store(sums + (r * P + p) * V::kLanes);
    }
    return store_some<S, P, R>(sums, t);
  }
#pragma GCC unroll 12
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 2
    for (int p = 0; p < P; ++p) {
      S* const to = t.out + r * t.stride + p * V::kLanes;
      const V all = t.add ? V::load_some(to, 1, V::kLanes) + sum[r][p] : sum[r][p];
      all.store_some(to, V::kLanes);
    }
  }
}

template <class S, int kGroup, int P, int... R>
void multiply_rows(int rows, const GroupedTile<S>& tile, std::integer_sequence<int, R...>) {
  using Function = void (*)(const GroupedTile<S>&);
  static constexpr Function functions[] = {multiply_tile<S, kGroup, P, R + 1>...};
  functions[rows - 1](tile);
}

}  // namespace

template <class S, int kGroup>
void multiply_grouped(const S* left, Index rows, Index depth, const S* right, Index columns, S* out,
                      Index stride, bool add) {
  using Gemm = GemmTn<S>;
  constexpr int kRows = Gemm::kTileColumns;
  // A panel so deep fits L1, and the rows that are multiplied with it fit L2.
  constexpr Index kMostDepth = 320 / kShrink, kRowsAtOnce = Index{32} * kRows;
  const Index parts = (depth + kMostDepth - 1) / kMostDepth;
  const Index groups = (depth + kGroup - 1) / kGroup;
  for (Index part = 0; part < parts; ++part, add = true) {
    const Index k = groups * part / parts * kGroup;
    const Index end = std::min(depth, groups * (part + 1) / parts * kGroup);
    for (Index begin = 0; begin < rows; begin += kRowsAtOnce) {
      const Index last = std::min(rows, begin + kRowsAtOnce);
      for (Index panel = 0; panel < Gemm::panels(columns); ++panel) {
        const Index column = panel * Gemm::kPanelColumns;
        for (Index row = begin; row < last; row += kRows) {
          const GroupedTile<S> tile{.left = left + k * rows + row * kGroup,
                                    .group_stride = rows * kGroup,
                                    .right = right + (panel * depth + k) * Gemm::kPanelColumns,
                                    .depth = end - k,
                                    .out = out + row * stride + column,
                                    .stride = stride,
                                    .columns = columns - column,
                                    .add = add};
          const int count = static_cast<int>(std::min<Index>(kRows, last - row));
          const auto heights = std::make_integer_sequence<int, kRows>();
          tile.columns > Vec<S>::kLanes
              ? multiply_rows<S, kGroup, Gemm::kPackets>(count, tile, heights)
              : multiply_rows<S, kGroup, 1>(count, tile, heights);
        }
      }
    }
  }
}

template <class S>
void pack_right_transposed(const S* from, Index stride, Index columns, Index depth, S* to) {
  constexpr Index kLanes = Vec<S>::kLanes, kPanelColumns = GemmTn<S>::kPanelColumns;
  for (Index first = 0; first < GemmTn<S>::panels(columns) * kPanelColumns; first += kLanes) {
    S* const packets = to + first / kPanelColumns * kPanelColumns * depth + first % kPanelColumns;
    const Index used = std::clamp<Index>(columns - first, 0, kLanes);
    Index k = 0;
    if (used == kLanes) {
      for (; k + kLanes <= depth; k += kLanes) {
        transpose(from + first * stride + k, stride, packets + k * kPanelColumns, kPanelColumns);
      }
    }
    for (; k < depth; ++k) {
      Vec<S>::load_some(from + first * stride + k, stride, used).store(packets + k * kPanelColumns);
    }
  }
}

#define BPTT_INSTANTIATE(S)                                                                     \
  template void multiply_grouped<S, GemmTn<S>::kTileColumns>(const S*, Index, Index, const S*,  \
                                                             Index, S*, Index, bool);           \
  template void multiply_grouped<S, GemmTn<S>::kPanelColumns>(const S*, Index, Index, const S*, \
                                                              Index, S*, Index, bool);          \
  template void pack_right_transposed(const S*, Index, Index, Index, S*);
BPTT_INSTANTIATE(float)
BPTT_INSTANTIATE(double)
#undef BPTT_INSTANTIATE

}  // namespace bptt
