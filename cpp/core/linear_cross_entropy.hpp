#pragma once

#include <cstdint>
#include <vector>

#include "core/losses.hpp"
#include "core/types.hpp"

// Output layer and softmax cross-entropy together: the logits y = V s + c of all rows are never in
// memory at once.

namespace bptt {

/// V is `weight` (K, D), c is `bias` (K, or null), both C-contiguous.
template <class S>
struct OutputLayer {
  const S* weight;
  const S* bias;
  Index in, out;  // D, K
};

/// A row that counts, with what is written for it.
template <class S>
struct LossRow {
  const S* x;  // (D)
  std::int32_t target;
  double weight;
  double* loss;             // times the weight
  S* d_x;                   // (D), if there is a d_weight
  std::int32_t* predicted;  // the first class with the highest logit
};

/// The loss of softmax_cross_entropy for the logits of these rows. Overwrites d_weight (K, D) and
/// d_bias (K, or null) and d_x with their gradients; without d_weight the loss alone is computed.
template <class S>
double linear_cross_entropy(const std::vector<LossRow<S>>& rows, const OutputLayer<S>& layer,
                            const CrossEntropyOptions& options, S* d_weight, S* d_bias);

}  // namespace bptt
