#pragma once

#include "core/types.hpp"

namespace bptt {

/// A loss of rows of outputs y with targets z of the same shape.
enum class RowLoss {
  kSquaredError,        // the mean of (y - z)^2 over the outputs of a row
  kBinaryCrossEntropy,  // of logits y and probabilities z
  kCrossEntropy,        // of logits y and a distribution z over the outputs
};

struct RowLossOptions {
  double smoothing = 0;  // kCrossEntropy: this share of every target is spread evenly
  double divisor = 1;    // of value and gradient
};

struct RowLossResult {
  double value;
  bool valid;  // whether all targets that count are in range
};

/// L = sum over rows and steps of w * loss, and dL/dy in the same pass. y, z and d are
/// (batch, steps, outputs) as their strides say, outputs adjacent; weights (batch, steps) are
/// adjacent, all 1 if null. Where w is 0, nothing is read and the gradient is 0. Summed in double.
template <class S>
RowLossResult row_loss(RowLoss loss, Index batch, Index steps, Index outputs, Sequence<const S> y,
                       Sequence<const S> z, const double* weights, const RowLossOptions& options,
                       Sequence<S> d);

}  // namespace bptt
