#pragma once

#include "core/types.hpp"

namespace bptt {

/// What a batch of class ids is measured by.
struct CrossEntropyOptions {
  double smoothing = 0;  // this share of every target is spread evenly over all classes
  double divisor = 1;    // of value and gradient
};

/// L = -sum over rows and steps of w * sum_k q_k log softmax(logits)_k, and dL/dlogits in the same
/// pass, with q = (1 - smoothing) * onehot(target) + smoothing / classes. logits, targets and
/// d_logits are (batch, steps, ..) as their strides say, features adjacent; weights (batch, steps)
/// are adjacent, all 1 if null. Where w is 0, logits are not read and the gradient is 0. Summed in
/// double.
template <class S>
double softmax_cross_entropy(Index batch, Index steps, Index classes, Sequence<const S> logits,
                             Sequence<const std::int32_t> targets, const double* weights,
                             const CrossEntropyOptions& options, Sequence<S> d_logits);

}  // namespace bptt
