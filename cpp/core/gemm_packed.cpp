#include "core/gemm_packed.hpp"

#include <algorithm>
#include <utility>

namespace bptt {
namespace {

// Of 16 or 32 vector registers; the rest hold the operands.
constexpr int kAccumulators = EIGEN_ARCH_DEFAULT_NUMBER_OF_REGISTERS >= 32 ? 24 : 12;

constexpr int kMaxTileRows = 8;  // each row has a pointer in a general register

constexpr int tile_rows(int packets) { return std::min(kAccumulators / packets, kMaxTileRows); }

/// What one register tile needs: R rows times P packets of each of Q neighbouring panels.
template <class S>
struct Tile {
  const S* const* rows;
  Index step;
  const S* panel;
  Index panel_stride;
  Index depth;
  const S* init;
  Index init_stride;
  S* out;
  Index out_stride;
  const S* ahead = nullptr;  // what this tile brings into the L2 cache for later tiles, if anything
  Index ahead_step = 0;      // elements of it for each step of depth
};

template <class S, int P, int R, int Q = 1>
void multiply_tile(const Tile<S>& t) {
  using V = Vec<S>;
  constexpr int kColumns = P * Q;
  V sum[R][kColumns];
  const S* a[R];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    a[r] = t.rows[r];
#pragma GCC unroll 8
    for (int c = 0; c < kColumns; ++c) {
      sum[r][c] =
          t.init == nullptr ? V::zero() : V::load(t.init + r * t.init_stride + c * V::kLanes);
    }
  }
  const S* panel = t.panel;
  const Index panel_stride = t.panel_stride;
  const Index step = t.step;
  const auto weight = [&panel, panel_stride](int c) {
    return V::load(panel + c / P * panel_stride + c % P * V::kLanes);
  };
  Index i = 0;
  const S* ahead = t.ahead;
  for (Index k = 0; k < t.depth; ++k, i += step, panel += P * V::kLanes) {
    if constexpr (Q == 1) {
      __builtin_prefetch(ahead, 0, 2);
      ahead += t.ahead_step;
    }
    // Hold the smaller operand in registers and stream the other.
    if constexpr (R <= P) {
      V left[R];
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) left[r] = V(a[r][i]);
#pragma GCC unroll 8
      for (int c = 0; c < kColumns; ++c) {
        const V w = weight(c);
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) sum[r][c] = fma(left[r], w, sum[r][c]);
      }
    } else {
      V right[kColumns];
#pragma GCC unroll 8
      for (int c = 0; c < kColumns; ++c) right[c] = weight(c);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        const V left(a[r][i]);
#pragma GCC unroll 8
        for (int c = 0; c < kColumns; ++c) sum[r][c] = fma(left, right[c], sum[r][c]);
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int c = 0; c < kColumns; ++c) sum[r][c].store(t.out + r * t.out_stride + c * V::kLanes);
  }
}

template <class S, int P, int... R>
void multiply_rows(int rows, const Tile<S>& tile, std::integer_sequence<int, R...>) {
  using Function = void (*)(const Tile<S>&);
  static constexpr Function functions[] = {multiply_tile<S, P, R + 1>...};
  functions[rows - 1](tile);
}

/// One panel for any number of rows. Depth is walked in stretches whose weights fit the L1 cache
/// beside the rows, and every row tile uses a stretch before the next one is touched.
template <class S, int P>
void multiply_panel(Tile<S> tile, Index rows) {
  constexpr int kRows = tile_rows(P);
  constexpr Index kStretchBytes = 16 * 1024;
  constexpr Index kStretch = kStretchBytes / (P * Vec<S>::kLanes * static_cast<Index>(sizeof(S)));
  const Index tiles = (rows + kRows - 1) / kRows;
  const Index stretch = tiles == 1 ? tile.depth : std::min(tile.depth, kStretch);
  const Index depth = tile.depth;
  Index k = 0;
  do {
    Tile<S> part = tile;
    part.depth = std::min(stretch, depth - k);
    part.panel = tile.panel + k * P * Vec<S>::kLanes;
    // The weights follow each other in memory: while this stretch is used, fetch the next.
    part.ahead_step = (P * Vec<S>::kLanes + tiles - 1) / tiles;
    Index first = 0;
    for (Index i = 0; i < tiles; ++i) {
      const Index last = rows * (i + 1) / tiles;  // tiles of nearly equal height
      const S* shifted[kMaxTileRows];
      for (Index r = first; r < last; ++r) shifted[r - first] = tile.rows[r] + k * tile.step;
      part.rows = shifted;
      part.ahead = part.panel + (part.depth + i * part.depth / tiles) * P * Vec<S>::kLanes;
      part.init = tile.init == nullptr ? nullptr : tile.init + first * tile.init_stride;
      part.out = tile.out + first * tile.out_stride;
      multiply_rows<S, P>(static_cast<int>(last - first), part,
                          std::make_integer_sequence<int, kRows>());
      first = last;
    }
    tile.init = tile.out;  // from here on the sum so far
    tile.init_stride = tile.out_stride;
    k += stretch;
  } while (k < depth);
}

template <class S>
void multiply_any(int packets, const Tile<S>& tile, Index rows) {
  switch (packets) {
    case 1:
      return multiply_panel<S, 1>(tile, rows);
    case 2:
      return multiply_panel<S, 2>(tile, rows);
    case 3:
      return multiply_panel<S, 3>(tile, rows);
    case 4:
      return multiply_panel<S, 4>(tile, rows);
  }
}

}  // namespace

template <class S>
void product(const Panels<S>& panels, Index first, Index last, Rows<S> a, Index rows, const S* init,
             Index init_stride, S* out, Index out_stride) {
  if (rows == 0) return;
  for (Index q = first; q < last;) {
    const Index column = panels.column(q);
    const S* const start = init == nullptr ? nullptr : init + column;
    const Tile<S> tile{
        a.row,          a.step, panels.panel(q), panels.panel(q + 1) - panels.panel(q),
        panels.depth(), start,  init_stride,     out + column,
        out_stride};
    const int packets = panels.packets(q);
    if (rows == 1 && q + 1 < last && packets >= 3 && panels.packets(q + 1) == packets) {
      packets == 4 ? multiply_tile<S, 4, 1, 2>(tile) : multiply_tile<S, 3, 1, 2>(tile);
      q += 2;
    } else {
      multiply_any(packets, tile, rows);
      q += 1;
    }
  }
}

template void product<float>(const Panels<float>&, Index, Index, Rows<float>, Index, const float*,
                             Index, float*, Index);
template void product<double>(const Panels<double>&, Index, Index, Rows<double>, Index,
                              const double*, Index, double*, Index);

}  // namespace bptt
