#include "core/gemm_compressed.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <type_traits>
#include <utility>

#include "core/register_tile.hpp"

#if defined(__SSE2__)
#include <cpuid.h>
#include <immintrin.h>
#endif

// Two products in depth lie side by side, in 32 bits a column. Of bfloat16 they become floats with
// a shift and a mask, in every instruction set by the compiler's own vectors. Of 8 bits, an
// instruction that every x86 has multiplies two pairs of 16 bits and adds them: a third of the work
// of widening to float, which would take longer than reading the weights. Conversions by the
// compiler's vectors are not used: g++ 12 splits them into many instructions.

namespace bptt {
namespace {

using V = Vec<float>;
constexpr Index kLanes = V::kLanes;

/// The operands of register tiles side by side, as in gemm_packed.cpp: R rows times P packets of
/// each of Q adjacent panels.
template <class W>
struct Tiles {
  const float* const* rows;  // [R] pointers to rows of the left operand
  Index offset;              // in a row to the first k
  Index step;                // between k and k + 1
  const W* panel;            // [depth/2][P][lanes][2] of the first panel
  Index panel_stride;        // to the same k of the next panel
  Index depth;               // products in a sum
  const float* scales;       // [Q][P][lanes] of 8 bits
  const float* init;         // [R][Q][P][lanes] what sums are added to, or null for 0
  Index init_stride;         // between its rows, 0 to repeat one
  float* out;                // [R][Q][P][lanes]
  Index out_stride;          // between its rows

  /// Goes on with the rows below, or with the panels on the right.
  void skip_rows(Index height) {
    rows += height;
    if (init != nullptr) init += height * init_stride;
    out += height * out_stride;
  }
  void skip_panels(Index number, int packets) {
    panel += number * panel_stride;
    const Index columns = number * packets * kLanes;
    if (scales != nullptr) scales += columns;
    if (init != nullptr) init += columns;
    out += columns;
  }

  V initial(int r, int c) const {
    return init == nullptr ? V::zero() : V::load(init + r * init_stride + c * kLanes);
  }
  float* sum(int r, int c) const { return out + r * out_stride + c * kLanes; }
};

// ---- bfloat16

using Words [[gnu::vector_size(4 * kLanes)]] = std::uint32_t;

/// The first (0) or the second of the adjacent weights of a packet.
template <int kHalf>
V half_of(const Bfloat16* pairs) {
  Words words;
  std::memcpy(&words, pairs, sizeof words);
  words = kHalf == 0 ? words << 16 : words & 0xFFFF0000U;
  V::Packet packet;
  std::memcpy(&packet, &words, sizeof packet);
  return V(packet);
}

/// sum[r][c] += a[r][at] * the first (0) or the second of the pairs.
template <int kHalf, int P, int R, int C>
[[gnu::always_inline]] inline void add_half(V (&sum)[R][C], const float* const (&a)[R], Index at,
                                            const Bfloat16* pairs, Index panel_stride) {
  add_products(
      sum, [&](int r) { return V(a[r][at]); },
      [&](int c) { return half_of<kHalf>(pairs + c / P * panel_stride + c % P * (2 * kLanes)); });
}

template <int P, int R, int Q>
void multiply_tile(const Tiles<Bfloat16>& t) {
  V sum[R][P * Q];
  const float* a[R];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    a[r] = t.rows[r] + t.offset;
#pragma GCC unroll 8
    for (int c = 0; c < P * Q; ++c) sum[r][c] = t.initial(r, c);
  }
  const Bfloat16* pairs = t.panel;
  Index at = 0;
  for (Index k = 0; k < t.depth / 2; ++k, pairs += P * (2 * kLanes), at += 2 * t.step) {
    add_half<0, P>(sum, a, at, pairs, t.panel_stride);
    add_half<1, P>(sum, a, at + t.step, pairs, t.panel_stride);
  }
  if (t.depth % 2 != 0) add_half<0, P>(sum, a, at, pairs, t.panel_stride);
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int c = 0; c < P * Q; ++c) sum[r][c].store(t.sum(r, c));
  }
}

// ---- 8 bits

/// Pairs of integers of 16 bits, and sums of 32 bits, one a lane.
#if defined(EIGEN_VECTORIZE_AVX512)
struct Integers {
  using Packet = __m512i;
  static Packet zero() { return _mm512_setzero_si512(); }
  static Packet weights(const Int8* pairs) {
    return _mm512_cvtepi8_epi16(_mm256_load_si256(reinterpret_cast<const __m256i*>(pairs)));
  }
  static Packet repeated(std::int32_t pair) { return _mm512_set1_epi32(pair); }
  static Packet add_products(Packet a, Packet b, Packet sum) {
    return _mm512_add_epi32(sum, _mm512_madd_epi16(a, b));
  }
  static V as_floats(Packet sum) { return V(_mm512_cvtepi32_ps(sum)); }
};

/// The same integers with VNNI, in one instruction.
#define BPTT_VNNI [[gnu::target("avx512vnni")]]
struct VnniIntegers : Integers {
  BPTT_VNNI static Packet add_products(Packet a, Packet b, Packet sum) {
    return _mm512_dpwssd_epi32(sum, a, b);
  }
};
#elif defined(EIGEN_VECTORIZE_AVX2)
struct Integers {
  using Packet = __m256i;
  static Packet zero() { return _mm256_setzero_si256(); }
  static Packet weights(const Int8* pairs) {
    return _mm256_cvtepi8_epi16(_mm_load_si128(reinterpret_cast<const __m128i*>(pairs)));
  }
  static Packet repeated(std::int32_t pair) { return _mm256_set1_epi32(pair); }
  static Packet add_products(Packet a, Packet b, Packet sum) {
    return _mm256_add_epi32(sum, _mm256_madd_epi16(a, b));
  }
  static V as_floats(Packet sum) { return V(_mm256_cvtepi32_ps(sum)); }
};
#elif defined(__SSE2__)
struct Integers {
  using Packet = __m128i;
  static Packet zero() { return _mm_setzero_si128(); }
  static Packet weights(const Int8* pairs) {
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(pairs));
    return _mm_srai_epi16(_mm_unpacklo_epi8(bytes, bytes), 8);
  }
  static Packet repeated(std::int32_t pair) { return _mm_set1_epi32(pair); }
  static Packet add_products(Packet a, Packet b, Packet sum) {
    return _mm_add_epi32(sum, _mm_madd_epi16(a, b));
  }
  static V as_floats(Packet sum) { return V(_mm_cvtepi32_ps(sum)); }
};
#else
struct Integers {
  struct Packet {
    std::int32_t first[kLanes], second[kLanes];  // of a sum the first alone
  };
  static Packet zero() { return {}; }
  static Packet weights(const Int8* pairs) {
    Packet packet;
    for (int i = 0; i < kLanes; ++i) {
      packet.first[i] = pairs[2 * i];
      packet.second[i] = pairs[2 * i + 1];
    }
    return packet;
  }
  static Packet repeated(std::int32_t pair) {
    std::int16_t values[2];
    std::memcpy(values, &pair, sizeof values);
    Packet packet;
    std::fill_n(packet.first, kLanes, values[0]);
    std::fill_n(packet.second, kLanes, values[1]);
    return packet;
  }
  static Packet add_products(const Packet& a, const Packet& b, Packet sum) {
    for (int i = 0; i < kLanes; ++i) {
      sum.first[i] += a.first[i] * b.first[i] + a.second[i] * b.second[i];
    }
    return sum;
  }
  static V as_floats(const Packet& sum) {
    alignas(64) float values[kLanes];
    std::copy_n(sum.first, kLanes, values);
    return V::load(values);
  }
};
#endif

/// Rounds numbers to integers of 16 bits times the step that is returned. What is NaN or infinite
/// makes the step so.
float round_to_integers(const float* from, Index stride, Index count, std::int16_t* to) {
  float values[kIntegerDepth];
  std::uint32_t bits = 0;  // of the largest magnitude: in the order of the numbers
  for (Index i = 0; i < count; ++i) values[i] = from[i * stride];
  for (Index i = 0; i < count; ++i) {
    bits = std::max(bits, std::bit_cast<std::uint32_t>(values[i]) & 0x7FFFFFFFU);
  }
  const auto largest = std::bit_cast<float>(bits);
  constexpr float kLargest = 32767, kLeast = 1e-33F;  // less is 0: its inverse has no float
  const float factor = largest < kLeast ? 0.0F : kLargest / largest;
  constexpr float kShift = 12582912;  // 1.5 * 2^23: added, it leaves the integer in the last bits
  for (Index i = 0; i < count; ++i) {
    const auto shifted = std::bit_cast<std::uint32_t>(values[i] * factor + kShift);
    to[i] = static_cast<std::int16_t>(shifted);
  }
  return largest < kLeast ? 0.0F : largest / kLargest;
}

template <int P, int R, int Q>
void multiply_tiles(Tiles<Bfloat16>& t, Index count) {
  for (; count > 0; --count, t.skip_panels(Q, P)) multiply_tile<P, R, Q>(t);
}

/// At most kIntegerDepth deep.
template <class Integers, int P, int R, int Q>
[[gnu::always_inline]] inline void multiply_integers(Tiles<Int8>& t, Index tiles) {
  using Packet = typename Integers::Packet;
  constexpr int kColumns = P * Q;
  alignas(64) std::int16_t left[R][kIntegerDepth];
  float steps[R];
  for (int r = 0; r < R; ++r) {
    steps[r] = round_to_integers(t.rows[r] + t.offset, t.step, t.depth, left[r]);
    if (t.depth % 2 != 0) left[r][t.depth] = 0;
  }
  for (; tiles > 0; --tiles, t.skip_panels(Q, P)) {
    Packet sum[R][kColumns];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
      for (int c = 0; c < kColumns; ++c) sum[r][c] = Integers::zero();
    }
    const Int8* pairs = t.panel;
    for (Index k = 0; k < t.depth; k += 2, pairs += P * (2 * kLanes)) {
      Packet a[R];
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        std::int32_t pair;
        std::memcpy(&pair, left[r] + k, sizeof pair);
        a[r] = Integers::repeated(pair);
      }
#pragma GCC unroll 8
      for (int c = 0; c < kColumns; ++c) {
        const Packet w = Integers::weights(pairs + c / P * t.panel_stride + c % P * (2 * kLanes));
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) sum[r][c] = Integers::add_products(a[r], w, sum[r][c]);
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
      for (int c = 0; c < kColumns; ++c) {
        const V scale = V::load(t.scales + c * kLanes) * steps[r];
        fma(Integers::as_floats(sum[r][c]), scale, t.initial(r, c)).store(t.sum(r, c));
      }
    }
  }
}

template <int P, int R, int Q>
void multiply_tiles(Tiles<Int8>& t, Index count) {
  multiply_integers<Integers, P, R, Q>(t, count);
}

#if defined(BPTT_VNNI)
/// Asked of the CPU itself, as in bindings/cpu.cpp.
bool cpu_has_vnni() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (c >> 11 & 1) != 0;
}
const bool kHasVnni = cpu_has_vnni();

template <int P, int R, int Q>
BPTT_VNNI void multiply_vnni(Tiles<Int8>& t, Index count) {
  multiply_integers<VnniIntegers, P, R, Q>(t, count);
}
#endif

template <class W>
using Multiply = void (*)(Tiles<W>&, Index count);

/// The function for tiles.
template <class W, int P, int R, int Q>
Multiply<W> tiles_function() {
#if defined(BPTT_VNNI)
  if constexpr (std::is_same_v<W, Int8>) {
    if (kHasVnni) return multiply_vnni<P, R, Q>;
  }
#endif
  return multiply_tiles<P, R, Q>;
}

// ---- panels

template <class W, int P, int... R>
void multiply_rows(Index rows, Tiles<W>& tiles, Index panels, std::integer_sequence<int, R...>) {
  static const Multiply<W> functions[] = {tiles_function<W, P, R + 1, 1>()...};
  functions[rows - 1](tiles, panels);
}

/// The rows of a register tile: where registers are few, the decoded weights have to fit as well.
template <class W>
constexpr int compressed_tile_rows(int packets) {
  constexpr bool kFew = std::is_same_v<W, Bfloat16> && kAccumulators < 24;
  return kFew ? std::min(9 / packets, kMaxTileRows) : tile_rows(packets);
}

/// Some panels of P packets: rows are rounded once for all of them. `tiles` is changed in place, as
/// in gemm_packed.cpp, and back.
template <class W, int P>
void multiply_block(Tiles<W>& tiles, Index panels, Index rows) {
  // Sums of integers have no latency to hide, unless VNNI adds them.
  constexpr bool kPairs = P >= 3 && (std::is_same_v<W, Bfloat16> || kAccumulators >= 24);
  if constexpr (kPairs) {
    if (rows == 1) {
      tiles_function<W, P, 1, 2>()(tiles, panels / 2);
      if (panels % 2 != 0) tiles_function<W, P, 1, 1>()(tiles, 1);
      return tiles.skip_panels(-panels, P);
    }
  }
  constexpr int kTileRows = compressed_tile_rows<W>(P);
  const int count = static_cast<int>((rows + kTileRows - 1) / kTileRows);
  for (int i = 0; i < count; ++i) {
    const Index height = part_of(rows, i, count).size();
    multiply_rows<W, P>(height, tiles, panels, std::make_integer_sequence<int, kTileRows>());
    tiles.skip_panels(-panels, P);
    tiles.skip_rows(height);
  }
  tiles.skip_rows(-rows);
}

/// Block by block in depth: of one panel for several tiles of rows, it stays in the L1 cache.
template <class W, int P>
void multiply_panels(Tiles<W>& tiles, Index panels, Index rows) {
  constexpr Index kFloatDepth = kIntegerDepth / 2;  // the same bytes
  const Index depth = tiles.depth;
  const Index block = std::is_same_v<W, Int8>             ? kIntegerDepth
                      : rows > compressed_tile_rows<W>(P) ? kFloatDepth
                                                          : depth;
  Index first = 0;
  do {
    tiles.depth = std::min(block, depth - first);
    multiply_block<W, P>(tiles, panels, rows);
    tiles.panel += tiles.depth * P * kLanes;
    tiles.offset += tiles.depth * tiles.step;
    tiles.init = tiles.out;  // from here on the partial sums
    tiles.init_stride = tiles.out_stride;
    first += block;
  } while (first < depth);
}

template <class W>
void multiply_panels(int packets, Tiles<W>& tiles, Index panels, Index rows) {
  switch (packets) {
    case 1:
      return multiply_panels<W, 1>(tiles, panels, rows);
    case 2:
      return multiply_panels<W, 2>(tiles, panels, rows);
    case 3:
      return multiply_panels<W, 3>(tiles, panels, rows);
    default:
      return multiply_panels<W, 4>(tiles, panels, rows);
  }
}

/// visit(Bfloat16()) or visit(Int8()).
template <class Visit>
void visit_compressed(Storage storage, Visit visit) {
  storage == Storage::kInt8 ? visit(Int8{}) : visit(Bfloat16{});
}

}  // namespace

void gemm_compressed(const PackedWeights<float>& weights, Range panels, RowPointers<float> a,
                     Index rows, const float* init, Index init_stride, float* out,
                     Index out_stride) {
  visit_compressed(weights.storage(), [&](auto w) {
    using W = decltype(w);
    const Index together = std::is_same_v<W, Int8> ? kPanelsTogether : rows == 1 ? 2 : 1;
    for (Index q = panels.first; q < panels.last;) {
      const Index column = weights.column(q);
      const int packets = weights.packets(q);
      const Range depth = weights.depth(q);
      Index last = q + 1;
      while (last < std::min(q + together, panels.last) && weights.packets(last) == packets &&
             weights.depth(last) == depth) {
        ++last;
      }
      const W* const panel = weights.panel<W>(q);
      Tiles<W> tiles{.rows = a.row,
                     .offset = depth.first * a.step,
                     .step = a.step,
                     .panel = panel,
                     .panel_stride = weights.panel<W>(q + 1) - panel,
                     .depth = depth.size(),
                     .scales = weights.scales() == nullptr ? nullptr : weights.scales() + column,
                     .init = init == nullptr ? nullptr : init + column,
                     .init_stride = init_stride,
                     .out = out + column,
                     .out_stride = out_stride};
      multiply_panels(packets, tiles, last - q, rows);
      q = last;
    }
  });
}

void add_compressed(const PackedWeights<float>& weights, Range panels, Index k, float* out) {
  visit_compressed(weights.storage(), [&](auto w) {
    using W = decltype(w);
    for (Index q = panels.first; q < panels.last; ++q) {
      const Index width = weights.packets(q) * kLanes, column = weights.column(q);
      const W* const from = weights.panel<W>(q) + k / 2 * (2 * width) + k % 2;
      const float* const scales = weights.scales();
      for (Index i = 0; i < width; ++i) {
        out[column + i] += widen(from[2 * i]) * (scales == nullptr ? 1.0F : scales[column + i]);
      }
    }
  });
}

}  // namespace bptt
