#include "core/gemm_packed.hpp"

#include <algorithm>
#include <type_traits>
#include <utility>

#include "core/caches.hpp"
#include "core/gemm_compressed.hpp"
#include "core/register_tile.hpp"
#include "core/shrink.hpp"

namespace bptt {
namespace {

// Weights of which L3 holds a few times as much, if nobody else uses it.
constexpr Index kFarBytes = (Index{5} << 20) / kShrink;

/// Beside what else a step reads.
bool l2_holds(Index weight_bytes) { return weight_bytes <= l2_cache_bytes() / 4 * 3; }

/// The operands of register tiles, one below the other: each of R rows times P packets of a panel,
/// and N packets of the next one. All memory is the caller's of gemm_packed.
template <class S>
struct Tiles {
  const S* const* rows;         // [count][R] pointers to rows of the left operand
  Index offset;                 // in a row to the first k
  Index step;                   // between k and k + 1
  const S* panel;               // [depth][kLine][W]
  const S* next = nullptr;      // [depth][kNextLine][W]
  Index depth;                  // products in a sum
  const S* init;                // [count][R][P+N][W] the sums start from it, or null for 0
  Index init_stride;            // between its rows, 0 to repeat one
  S* out;                       // [count][R][P+N][W]
  Index out_stride;             // between its rows
  const S* prefetch = nullptr;  // what is fetched into L2 for later tiles
  Index prefetch_step = 0;      // elements of it for each k of each tile
  Index weight_bytes = 0;       // of all panels, which are read at every step

  /// Goes on with the tiles below.
  void skip(Index number, Index height) {
    rows += number * height;
    if (init != nullptr) init += number * height * init_stride;
    out += number * height * out_stride;
    prefetch += number * depth * prefetch_step;
  }
};

template <class S, int P, int R, int kFetches, int N = 0, int kLine = P, int kNextLine = N>
void multiply_tiles(const Tiles<S>& t, Index count) {
  using V = Vec<S>;
  constexpr int kColumns = P + N;
  const Index step = t.step, prefetch_step = t.prefetch_step;
  const S *const *rows = t.rows, *init = t.init, *prefetch = t.prefetch;
  S* out = t.out;
  for (; count > 0; --count, rows += R) {
    V sum[R][kColumns];
    const S* a[R];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      a[r] = rows[r] + t.offset;
#pragma GCC unroll 8
      for (int c = 0; c < kColumns; ++c) {
        sum[r][c] = init == nullptr ? V::zero() : V::load(init + c * V::kLanes);
      }
      if (init != nullptr) init += t.init_stride;
    }
    const S *panel = t.panel, *next = t.next;
    const auto weight = [&](int c) {
      return V::load(c < P ? panel + c * V::kLanes : next + (c - P) * V::kLanes);
    };
    Index i = 0;
#pragma GCC unroll 4  // short enough for the end of a K block to be predicted
    for (Index k = 0; k < t.depth; ++k, i += step) {
#pragma GCC unroll 2
      for (int f = 0; f < kFetches; ++f) __builtin_prefetch(prefetch + f * kCacheLine<S>, 0, 2);
      prefetch += prefetch_step;
      add_products(sum, [&](int r) { return V(a[r][i]); }, weight);
      panel += kLine * V::kLanes;
      next += kNextLine * V::kLanes;
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r, out += t.out_stride) {
#pragma GCC unroll 8
      for (int c = 0; c < kColumns; ++c) sum[r][c].store(out + c * V::kLanes);
    }
  }
}

template <class S, int P, int... R>
void multiply_rows(Index rows, const Tiles<S>& tiles, Index count, int fetches,
                   std::integer_sequence<int, R...>) {
  using Function = void (*)(const Tiles<S>&, Index);
  static constexpr Function functions[][sizeof...(R)] = {{multiply_tiles<S, P, R + 1, 0>...},
                                                         {multiply_tiles<S, P, R + 1, 1>...},
                                                         {multiply_tiles<S, P, R + 1, 2>...}};
  functions[fetches][rows - 1](tiles, count);
}

/// One panel for any number of rows. Depth is split into K blocks whose weights fit the L1 cache
/// beside the rows, and all row tiles use a K block before the next one is read. `tiles` is changed
/// in place: a copy reads what has just been written in smaller pieces, and waits for it.
template <class S, int P>
void multiply_panel(Tiles<S>& tiles, Index rows) {
  constexpr int kTileRows = tile_rows(P);
  constexpr auto kHeights = std::make_integer_sequence<int, kTileRows>();
  constexpr Index kLine = P * Vec<S>::kLanes;
  constexpr Index kBlockBytes = Index{16} << 10;
  constexpr Index kBlockDepth = kBlockBytes / (kLine * static_cast<Index>(sizeof(S)));
  const Index count = (rows + kTileRows - 1) / kTileRows;
  const Index height = rows / count, higher = rows % count;  // tiles of nearly equal height
  const Index depth = tiles.depth;
  const int blocks =
      count == 1 ? 1 : std::max(1, static_cast<int>((depth + kBlockDepth - 1) / kBlockDepth));
  const S* const* const left = tiles.rows;
  const S* init = tiles.init;
  S* const out = tiles.out;
  // The weights are contiguous in memory: the next K block is fetched while this one is used, two
  // lines at a time where few tiles do so. A single tile reads them as fast as L2 can, if they are
  // there.
  tiles.prefetch_step = (kLine + count - 1) / count;
  const bool held = count == 1 && l2_holds(tiles.weight_bytes);
  const bool far = tiles.weight_bytes > kFarBytes && tiles.prefetch_step > kCacheLine<S>;
  const int fetches = held ? 0 : far ? 2 : 1;
  if (far) tiles.prefetch_step = 2 * kCacheLine<S>;
  for (int block = 0; block < blocks; ++block) {
    tiles.rows = left;
    tiles.depth = part_of(depth, block, blocks).size();
    tiles.init = init;
    tiles.out = out;
    tiles.prefetch = tiles.panel + tiles.depth * kLine;
    if (higher > 0) {
      multiply_rows<S, P>(height + 1, tiles, higher, fetches, kHeights);
      tiles.skip(higher, height + 1);
    }
    multiply_rows<S, P>(height, tiles, count - higher, fetches, kHeights);
    tiles.offset += tiles.depth * tiles.step;
    tiles.panel += tiles.depth * kLine;
    init = out;  // from here on the partial sums
    tiles.init_stride = tiles.out_stride;
  }
}

template <class S>
void multiply_panel(int packets, Tiles<S>& tiles, Index rows) {
  switch (packets) {
    case 1:
      return multiply_panel<S, 1>(tiles, rows);
    case 2:
      return multiply_panel<S, 2>(tiles, rows);
    case 3:
      return multiply_panel<S, 3>(tiles, rows);
    default:
      return multiply_panel<S, 4>(tiles, rows);
  }
}

// ---- several panels side by side, of weights that L2 holds or a single row reads

/// One row and two panels, whose sums hide the latency of each other's.
template <class S, int... N>
void multiply_row(int packets, int next_packets, const Tiles<S>& tiles,
                  std::integer_sequence<int, N...>) {
  if (packets == 3) return multiply_tiles<S, 3, 1, 0, 3>(tiles, 1);  // of three gates, as all are
  using Function = void (*)(const Tiles<S>&, Index);
  static constexpr Function functions[] = {multiply_tiles<S, 4, 1, 0, N + 1>...};
  functions[next_packets - 1](tiles, 1);
}

/// Tiles of four rows and three packets, from packet kFirst of three panels on.
template <class S, int kFirst>
void multiply_three_packets(Tiles<S> tiles, const S* const* panels, Index count) {
  constexpr int kPanel = kFirst / kMaxPackets, kColumn = kFirst % kMaxPackets;
  constexpr int P = std::min(3, kMaxPackets - kColumn), N = 3 - P;
  constexpr Index kLanes = Vec<S>::kLanes;
  tiles.panel = panels[kPanel] + kColumn * kLanes;
  if constexpr (N > 0) tiles.next = panels[kPanel + 1];
  if (tiles.init != nullptr) tiles.init += kFirst * kLanes;
  tiles.out += kFirst * kLanes;
  multiply_tiles<S, P, 4, 0, N, kMaxPackets, kMaxPackets>(tiles, count);
}

template <class S>
void multiply_in_fours(const Tiles<S>& tiles, const S* const* panels, Index count) {
  multiply_three_packets<S, 0>(tiles, panels, count);
  multiply_three_packets<S, 3>(tiles, panels, count);
  multiply_three_packets<S, 6>(tiles, panels, count);
  multiply_three_packets<S, 9>(tiles, panels, count);
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
    Tiles<S> tiles{.rows = a.row,
                   .offset = depth.first * a.step,
                   .step = a.step,
                   .panel = weights.panel(q),
                   .depth = depth.size(),
                   .init = init == nullptr ? nullptr : init + column,
                   .init_stride = init_stride,
                   .out = out + column,
                   .out_stride = out_stride,
                   .weight_bytes = weights.bytes()};
    const int packets = weights.packets(q);
    const auto side_by_side = [&](Index panels) {
      const Index end = q + panels - 1;
      return end < last && weights.depth(end) == depth;
    };
    if (rows == 1 && packets >= 3 && side_by_side(2)) {
      tiles.next = weights.panel(q + 1);
      multiply_row(packets, weights.packets(q + 1), tiles,
                   std::make_integer_sequence<int, kMaxPackets>());
      q += 2;
    } else if (rows == 2 && packets == 3 && side_by_side(2) && l2_holds(weights.bytes())) {
      tiles.next = weights.panel(q + 1);
      multiply_tiles<S, 3, 2, 0, 3>(tiles, 1);
      q += 2;
    } else if (in_fours(rows) && packets == kMaxPackets && side_by_side(3) &&
               weights.packets(q + 2) == kMaxPackets && l2_holds(weights.bytes())) {
      const S* const panels[] = {tiles.panel, weights.panel(q + 1), weights.panel(q + 2)};
      multiply_in_fours(tiles, panels, rows / 4);
      q += 3;
    } else {
      multiply_panel(packets, tiles, rows);
      q += 1;
    }
  }
}

template <class S>
void add_weights(const PackedWeights<S>& weights, Range panels, Index k, S* out) {
  if constexpr (std::is_same_v<S, float>) {
    if (weights.storage() != Storage::kFull) return add_compressed(weights, panels, k, out);
  }
  for (Index q = panels.first; q < panels.last; ++q) {
    const Index width = weights.packets(q) * Vec<S>::kLanes;
    const S* const from = weights.panel(q) + k * width;
    S* const to = out + weights.column(q);
    for (Index i = 0; i < width; ++i) to[i] += from[i];
  }
}

#define BPTT_INSTANTIATE(S)                                                                  \
  template void gemm_packed<S>(const PackedWeights<S>&, Index, Index, RowPointers<S>, Index, \
                               const S*, Index, S*, Index);                                  \
  template void add_weights<S>(const PackedWeights<S>&, Range, Index, S*);
BPTT_INSTANTIATE(float)
BPTT_INSTANTIATE(double)
#undef BPTT_INSTANTIATE

}  // namespace bptt
