#include "core/linear.hpp"

#include <algorithm>

#include "core/bias.hpp"
#include "core/buffer.hpp"
#include "core/gemm.hpp"
#include "core/gemm_grouped.hpp"
#include "core/gemm_packed.hpp"
#include "core/parallel/blocks.hpp"
#include "core/parallel/parts.hpp"
#include "core/shrink.hpp"

// Eigen's products on blocks of the result, each over the whole depth. The blocks of a large
// product depend on its shape alone. An operand is packed once for each block, so that blocks are
// few. Many outputs of many rows are computed by a product of our own, which packs x once for all
// blocks.

namespace bptt {
namespace {

double operations(Index rows, Index in, Index out) {
  return 2.0 * static_cast<double>(rows) * static_cast<double>(in) * static_cast<double>(out);
}

constexpr Index kLeastRows = 160 / kShrink;      // of a block that packs all of the weight
constexpr Index kLeastOutputs = 256 / kShrink;   // of a block that packs all rows of x
constexpr Index kLeastFeatures = 128 / kShrink;  // of a block of d_weight that packs all of d_y
constexpr Index kWhole = Index{1} << 40;
constexpr double kLarge = 3e6 / kShrink;   // operations; a smaller product is one block
constexpr Index kManyRows = 64 / kShrink;  // are worth packing the weight and x for our own product

/// linear_forward for many rows and outputs.
template <class S>
void forward_by_outputs(const S* x, Index rows, Index in, Index out, const S* weight, const S* bias,
                        S* y) {
  using Gemm = GemmTn<S>;
  constexpr Index kRowsAtOnce = 64;
  Buffer<S> packed(Gemm::right_size(in, rows));
  for_each_range(rows, kRowsAtOnce, {2.0 * static_cast<double>(rows * in)}, [&](Index, Range own) {
    Gemm::pack_right([&](Index r) { return x + r * in; }, 1, in, own, rows, packed.data());
  });
  const OutputBlocks blocks(out);
  for_each_block(blocks.size(), {operations(rows, in, out)}, [&](Index block) {
    Arena& arena = scratch();
    const Arena::Scope scope(arena);
    const Range k = blocks[block];
    S* const w = arena.allocate<S>(Gemm::right_size(k.size(), in));
    pack_right_transposed(weight + k.first * in, in, k.size(), in, w);
    multiply_grouped<S, Gemm::kPanelColumns>(packed.data(), rows, in, w, k.size(), y + k.first, out,
                                             false);
    if (bias != nullptr) add_bias(bias + k.first, rows, k.size(), out, y + k.first);
  });
}

}  // namespace

template <class S>
void linear_forward(const S* x, Index rows, Index in, Index out, const S* weight, const S* bias,
                    S* y) {
  const double cost = operations(rows, in, out);
  const bool wide = out >= 2 * kLeastOutputs;
  if (wide && rows >= kManyRows && cost >= kLarge) {
    return forward_by_outputs(x, rows, in, out, weight, bias, y);
  }
  const Parts row_parts(rows, cost < kLarge || wide ? kWhole : kLeastRows);
  const Parts out_parts(out, cost < kLarge || !wide ? kWhole : kLeastOutputs);
  for_each_block(row_parts.size() * out_parts.size(), {cost}, [&](Index block) {
    const Range r = row_parts[block % row_parts.size()], k = out_parts[block / row_parts.size()];
    multiply_by_transposed<S>({x + r.first * in, r.size(), in, in},
                              {weight + k.first * in, k.size(), in, in},
                              {y + r.first * out + k.first, r.size(), k.size(), out});
    if (bias == nullptr) return;
    add_bias(bias + k.first, r.size(), k.size(), out, y + r.first * out + k.first);
  });
}

template <class S>
void linear_backward(const S* x, Index rows, Index in, Index out, const S* weight, const S* d_y,
                     S* d_x, S* d_weight, S* d_bias) {
  const double cost = operations(rows, in, out);
  const bool wide = out >= 2 * kLeastOutputs;
  const Parts row_parts(rows, cost < kLarge ? kWhole : kLeastRows);
  const Parts out_parts(out, cost < kLarge || !wide ? kWhole : kLeastOutputs);
  const Parts in_parts(in, cost < kLarge || wide ? kWhole : kLeastFeatures);
  const Index of_input = d_x == nullptr ? 0 : row_parts.size();  // the longest blocks come first
  const Index of_weight = out_parts.size() * in_parts.size();
  for_each_block(of_input + of_weight, {d_x == nullptr ? cost : 2 * cost}, [&](Index block) {
    if (block < of_input) {
      const Range r = row_parts[block];
      return multiply<S>({d_y + r.first * out, r.size(), out, out}, {weight, out, in, in},
                         {d_x + r.first * in, r.size(), in, in});
    }
    block -= of_input;
    const Range i = in_parts[block % in_parts.size()], k = out_parts[block / in_parts.size()];
    multiply_transposed<S>({d_y + k.first, rows, k.size(), out}, {x + i.first, rows, i.size(), in},
                           {d_weight + k.first * in + i.first, k.size(), i.size(), in});
    if (d_bias == nullptr || i.first != 0) return;
    std::fill(d_bias + k.first, d_bias + k.last, S(0));
    add_bias_gradient(d_y + k.first, rows, k.size(), out, d_bias + k.first);
  });
}

namespace {

constexpr Index kPackedOutputs = 512 / kShrink;  // of one block
constexpr Index kPackedRows = 64;                // of x that a block takes at once

}  // namespace

template <class S>
CompressedLinear<S>::CompressedLinear(const S* weight, Index in, Index out,
                                      const Compression<S>& compression)
    : in_(in), out_(out) {
  for (Index first = 0; first < out; first += kPackedOutputs) {
    const Index count = std::min(kPackedOutputs, out - first);
    PackedWeights<S>& block = blocks_.emplace_back(count, 1, in, 1, 0, compression.storage);
    const S* const scales = compression.scales;
    block.pack(weight + first * in, 0, {0, block.count()},
               scales == nullptr ? nullptr : scales + first);
  }
}

template <class S>
void CompressedLinear<S>::forward(const S* x, Index rows, const S* bias, S* y) const {
  const Index count = static_cast<Index>(blocks_.size());
  const Index groups = (rows + kPackedRows - 1) / kPackedRows;
  for_each_block(groups * count, {operations(rows, in_, out_)}, [&](Index i) {
    const PackedWeights<S>& block = blocks_[static_cast<std::size_t>(i % count)];
    const Index first = i / count * kPackedRows, column = i % count * kPackedOutputs;
    const Range r{first, std::min(first + kPackedRows, rows)};
    const S* left[kPackedRows];
    for (Index row = 0; row < r.size(); ++row) left[row] = x + (r.first + row) * in_;
    Arena& arena = scratch();
    const Arena::Scope scope(arena);
    S* const sums = arena.allocate<S>(r.size() * block.width());
    const S* const zero = nullptr;
    gemm_packed(block, 0, block.count(), RowPointers<S>{left}, r.size(), zero, 0, sums,
                block.width());
    const Index width = std::min(kPackedOutputs, out_ - column);
    for (Index row = 0; row < r.size(); ++row) {
      std::copy_n(sums + row * block.width(), width, y + (r.first + row) * out_ + column);
    }
    if (bias != nullptr) {
      add_bias(bias + column, r.size(), width, out_, y + r.first * out_ + column);
    }
  });
}

template class CompressedLinear<float>;

#define BPTT_INSTANTIATE(S)                                                            \
  template void linear_forward(const S*, Index, Index, Index, const S*, const S*, S*); \
  template void linear_backward(const S*, Index, Index, Index, const S*, const S*, S*, S*, S*);
BPTT_INSTANTIATE(float)
BPTT_INSTANTIATE(double)
#undef BPTT_INSTANTIATE

}  // namespace bptt
