#pragma once

#include <algorithm>

#include "core/array.hpp"
#include "core/ragged_batch.hpp"
#include "core/types.hpp"

// Elementwise work on the sequences of a batch: how the two directions of a layer become one output
// (sum, mean or product; concat needs no work), and the padding.

namespace bptt {

enum class Merge : int { kConcat, kSum, kMean, kMul };
static_assert(Merge::kConcat == Merge{}, "LayerConfig takes the first value for no merge");

template <class S>
void merge_forward(Merge merge, const RaggedBatch& batch, Range slots, Index features,
                   Sequence<const S> forward, Sequence<const S> reverse, Sequence<S> out) {
  batch.for_each_time(slots, [&](Index row, Index time) {
    const auto a = array(forward.row(row, time), features);
    const auto b = array(reverse.row(row, time), features);
    auto y = array(out.row(row, time), features);
    switch (merge) {
      case Merge::kConcat:
        break;
      case Merge::kSum:
        y = a + b;
        break;
      case Merge::kMean:
        y = (a + b) * S(0.5);
        break;
      case Merge::kMul:
        y = a * b;
        break;
    }
  });
}

/// The gradient that reaches one direction, given the output of the other one.
template <class S>
void merge_backward(Merge merge, const RaggedBatch& batch, Range slots, Index features,
                    Sequence<const S> d_y, Sequence<const S> other, Sequence<S> out) {
  batch.for_each_time(slots, [&](Index row, Index time) {
    const S *const d = d_y.row(row, time), *const b = other.row(row, time);
    const Index stride = d_y.feature_stride;
    S* const d_h = out.row(row, time);
    for (Index i = 0; i < features; ++i) {
      const S factor = merge == Merge::kMul ? b[i] : S(merge == Merge::kMean ? 0.5 : 1.0);
      d_h[i] = d[i * stride] * factor;
    }
  });
}

/// to += from
template <class S>
void add_sequence(const RaggedBatch& batch, Range slots, Index features, Sequence<const S> from,
                  Sequence<S> to) {
  batch.for_each_time(slots, [&](Index row, Index time) {
    array(to.row(row, time), features) += array(from.row(row, time), features);
  });
}

/// Writes 0 to the padding of some slots.
template <class S>
void zero_padding(const RaggedBatch& batch, Range slots, Sequence<S> y, Index features) {
  if (!batch.ragged()) return;
  for (Index slot = slots.first; slot < slots.last; ++slot) {
    for (Index time = batch.length(slot); time < batch.steps(); ++time) {
      std::fill_n(y.row(batch.row(slot), time), features, S(0));
    }
  }
}

}  // namespace bptt
