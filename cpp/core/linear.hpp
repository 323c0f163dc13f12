#pragma once

#include <vector>

#include "core/packed_weights.hpp"
#include "core/types.hpp"

// The output layer y = V s + c on N rows: V is `weight` (K, D), c is `bias` (K). All arrays
// C-contiguous.

namespace bptt {

template <class S>
void linear_forward(const S* x, Index rows, Index in, Index out, const S* weight,
                    const S* bias /* or null */, S* y);

/// Overwrites d_x (N, D, or null), d_weight (K, D) and d_bias (K, or null).
template <class S>
void linear_backward(const S* x, Index rows, Index in, Index out, const S* weight, const S* d_y,
                     S* d_x, S* d_weight, S* d_bias);

/// A weight (K, D) of fewer bits, for inference, packed in blocks of outputs. Immutable.
template <class S>
class CompressedLinear {
 public:
  /// The weight is given as the floats that it stands for.
  CompressedLinear(const S* weight, Index in, Index out, const Compression<S>& compression);

  Index in_features() const { return in_; }
  Index out_features() const { return out_; }
  /// As linear_forward.
  void forward(const S* x, Index rows, const S* bias, S* y) const;

 private:
  Index in_, out_;
  std::vector<PackedWeights<S>> blocks_;
};

}  // namespace bptt
