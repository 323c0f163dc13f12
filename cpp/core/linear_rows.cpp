#include "core/linear_rows.hpp"

#include <algorithm>

#include "core/parallel/blocks.hpp"
#include "core/parallel/parts.hpp"
#include "core/shrink.hpp"
#include "core/vec.hpp"

// Eigen's products divide k among registers as the number of rows suggests. Here an output is the
// sum over the lanes of one register, which holds k, k + W, k + 2W, … in order: a row of x and a
// row of the weight, as they are in memory. Nothing is packed, which would not pay off for a row.

namespace bptt {
namespace {

constexpr int kTileRows = 4;
constexpr int kMaxOutputs = 4;
constexpr Index kLeastRows = 16;          // of a block, unless it is the only one
constexpr Index kBlockBytes = 16 << 10;   // of the weight, which stay in L1 for all rows
constexpr double kLarge = 3e6 / kShrink;  // operations; a smaller product is one block

/// Of a tile of so many rows, whose sums and operands are in 16 or 32 registers.
constexpr int tile_outputs(int rows) {
  return rows > 1 && EIGEN_ARCH_DEFAULT_NUMBER_OF_REGISTERS < 32 ? 2 : kMaxOutputs;
}

template <class S>
struct Operands {
  const S* x;
  Index in;
  const S* weight;
  const S* bias;
  Index out;
  S* y;
};

/// R rows times Q outputs, from row r and output k on.
template <int R, int Q, class S>
void multiply_tile(const Operands<S>& o, Index r, Index k) {
  using V = Vec<S>;
  const S* const x = o.x + r * o.in;
  const S* const weight = o.weight + k * o.in;
  V sum[R][Q];
#pragma GCC unroll 4
  for (int i = 0; i < R; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < Q; ++j) sum[i][j] = V::zero();
  }
  for (Index c = 0; c < o.in; c += V::kLanes) {
    const Index left = o.in - c;
    V w[Q];
#pragma GCC unroll 4
    for (int j = 0; j < Q; ++j) w[j] = V::load_some(weight + j * o.in + c, 1, left);
#pragma GCC unroll 4
    for (int i = 0; i < R; ++i) {
      const V row = V::load_some(x + i * o.in + c, 1, left);
#pragma GCC unroll 4
      for (int j = 0; j < Q; ++j) sum[i][j] = fma(row, w[j], sum[i][j]);
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < R; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < Q; ++j) {
      const S value = sum_of_lanes(sum[i][j]);
      o.y[(r + i) * o.out + k + j] = o.bias == nullptr ? value : value + o.bias[k + j];
    }
  }
}

template <int R, class S>
void multiply_rows(const Operands<S>& o, Index r, Range outputs) {
  constexpr int kOutputs = tile_outputs(R);
  Index k = outputs.first;
  for (; k + kOutputs <= outputs.last; k += kOutputs) multiply_tile<R, kOutputs>(o, r, k);
  for (; k < outputs.last; ++k) multiply_tile<R, 1>(o, r, k);
}

template <class S>
void multiply_block(const Operands<S>& o, Range rows, Range outputs) {
  Index r = rows.first;
  for (; r + kTileRows <= rows.last; r += kTileRows) multiply_rows<kTileRows>(o, r, outputs);
  for (; r < rows.last; ++r) multiply_rows<1>(o, r, outputs);
}

}  // namespace

template <class S>
void linear_rows(const S* x, Index rows, Index in, Index out, const S* weight, const S* bias,
                 S* y) {
  const Operands<S> operands{x, in, weight, bias, out, y};
  const double cost =
      2.0 * static_cast<double>(rows) * static_cast<double>(in) * static_cast<double>(out);
  const Parts parts(rows, cost < kLarge ? std::max(rows, Index{1}) : kLeastRows);
  const Index row_bytes = std::max(in, Index{1}) * static_cast<Index>(sizeof(S));
  const Index outputs = std::max(kBlockBytes / row_bytes / kMaxOutputs, Index{1}) * kMaxOutputs;
  const Index groups = (out + outputs - 1) / outputs;
  for_each_block(parts.size() * groups, {cost}, [&](Index block) {
    const Index first = block / parts.size() * outputs;
    multiply_block(operands, parts[block % parts.size()], {first, std::min(out, first + outputs)});
  });
}

template void linear_rows(const float*, Index, Index, Index, const float*, const float*, float*);
template void linear_rows(const double*, Index, Index, Index, const double*, const double*,
                          double*);

}  // namespace bptt
