#include "core/gemm_packed.hpp"

#include <algorithm>
#include <type_traits>
#include <utility>

#include "core/gemm_compressed.hpp"
#include "core/register_tile.hpp"

namespace bptt {
namespace {

/// The operands of one register tile: R rows times P packets of each of Q adjacent weights. All
/// memory is the caller's of gemm_packed.
template <class S>
struct Tile {
  const S* const* rows;         // [R] pointers to rows of the left operand
  Index offset;                 // in a row to the tile's first k
  Index step;                   // between k and k + 1
  const S* panel;               // [depth][P][W] of the first panel
  Index panel_stride;           // to the same k of the next panel
  Index depth;                  // products in a sum
  const S* init;                // [R][Q][P][W] the sums start from it, or null for 0
  Index init_stride;            // between its rows, 0 to repeat one
  S* out;                       // [R][Q][P][W]
  Index out_stride;             // between its rows
  const S* prefetch = nullptr;  // what this tile fetches into L2 for later tiles, or null
  Index prefetch_step = 0;      // elements of it for each k
};

template <class S, int P, int R, int Q = 1>
void multiply_tile(const Tile<S>& t) {
  using V = Vec<S>;
  constexpr int kColumns = P * Q;
  V sum[R][kColumns];
  const S* a[R];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    a[r] = t.rows[r] + t.offset;
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
  const S* prefetch = t.prefetch;
  for (Index k = 0; k < t.depth; ++k, i += step, panel += P * V::kLanes) {
    if constexpr (Q == 1) {
      __builtin_prefetch(prefetch, 0, 2);
      prefetch += t.prefetch_step;
    }
    add_products(sum, [&](int r) { return V(a[r][i]); }, weight);
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

/// One panel for any number of rows. Depth is split into K blocks whose weights fit the L1 cache
/// beside the rows, and all row tiles use a K block before the next one is read.
template <class S, int P>
void multiply_panel(Tile<S> tile, Index rows) {
  constexpr int kTileRows = tile_rows(P);
  constexpr Index kBlockBytes = Index{16} << 10;
  constexpr Index kBlockDepth = kBlockBytes / (P * Vec<S>::kLanes * static_cast<Index>(sizeof(S)));
  const Index tiles = (rows + kTileRows - 1) / kTileRows;
  const Index block = tiles == 1 ? tile.depth : std::min(tile.depth, kBlockDepth);
  const Index depth = tile.depth;
  Index k = 0;
  do {
    Tile<S> part = tile;
    part.depth = std::min(block, depth - k);
    part.panel = tile.panel + k * P * Vec<S>::kLanes;
    // The weights are contiguous in memory: prefetch the next K block while this one is used.
    part.prefetch_step = (P * Vec<S>::kLanes + tiles - 1) / tiles;
    Index first = 0;
    for (Index i = 0; i < tiles; ++i) {
      const Index last = rows * (i + 1) / tiles;  // tiles of nearly equal height
      part.rows = tile.rows + first;
      part.offset = tile.offset + k * tile.step;
      part.prefetch = part.panel + (part.depth + i * part.depth / tiles) * P * Vec<S>::kLanes;
      part.init = tile.init == nullptr ? nullptr : tile.init + first * tile.init_stride;
      part.out = tile.out + first * tile.out_stride;
      multiply_rows<S, P>(static_cast<int>(last - first), part,
                          std::make_integer_sequence<int, kTileRows>());
      first = last;
    }
    tile.init = tile.out;  // from here on the partial sums
    tile.init_stride = tile.out_stride;
    k += block;
  } while (k < depth);
}

template <class S>
void multiply_panel(int packets, const Tile<S>& tile, Index rows) {
  switch (packets) {
    case 1:
      return multiply_panel<S, 1>(tile, rows);
    case 2:
      return multiply_panel<S, 2>(tile, rows);
    case 3:
      return multiply_panel<S, 3>(tile, rows);
    default:
      return multiply_panel<S, 4>(tile, rows);
  }
}

}  // namespace

template <class S>
void gemm_packed(const PackedWeights<S>& weights, Index first, Index last, RowPointers<S> a,
                 Index rows, const S* init, Index init_stride, S* out, Index out_stride) {
  if (rows == 0) return;
  if constexpr (std::is_same_v<S, float>) {
    if (weights.storage() != Storage::kFull) {
      return gemm_compressed(weights, {first, last}, a, rows, init, init_stride, out, out_stride);
    }
  }
  for (Index q = first; q < last;) {
    const Index column = weights.column(q);
    const Range depth = weights.depth(q);
    const Tile<S> tile{.rows = a.row,
                       .offset = depth.first * a.step,
                       .step = a.step,
                       .panel = weights.panel(q),
                       .panel_stride = weights.panel(q + 1) - weights.panel(q),
                       .depth = depth.size(),
                       .init = init == nullptr ? nullptr : init + column,
                       .init_stride = init_stride,
                       .out = out + column,
                       .out_stride = out_stride};
    const int packets = weights.packets(q);
    if (rows == 1 && q + 1 < last && packets >= 3 && weights.packets(q + 1) == packets &&
        weights.depth(q + 1) == depth) {
      packets == 4 ? multiply_tile<S, 4, 1, 2>(tile) : multiply_tile<S, 3, 1, 2>(tile);
      q += 2;
    } else {
      multiply_panel(packets, tile, rows);
      q += 1;
    }
  }
}

template <class S>
void add_weights(const PackedWeights<S>& weights, Index k, S* out) {
  if constexpr (std::is_same_v<S, float>) {
    if (weights.storage() != Storage::kFull) return add_compressed(weights, k, out);
  }
  for (Index q = 0; q < weights.count(); ++q) {
    const Index width = weights.packets(q) * Vec<S>::kLanes;
    const S* const from = weights.panel(q) + k * width;
    S* const to = out + weights.column(q);
    for (Index i = 0; i < width; ++i) to[i] += from[i];
  }
}

#define BPTT_INSTANTIATE(S)                                                                  \
  template void gemm_packed<S>(const PackedWeights<S>&, Index, Index, RowPointers<S>, Index, \
                               const S*, Index, S*, Index);                                  \
  template void add_weights<S>(const PackedWeights<S>&, Index, S*);
BPTT_INSTANTIATE(float)
BPTT_INSTANTIATE(double)
#undef BPTT_INSTANTIATE

}  // namespace bptt
