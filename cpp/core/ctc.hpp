#pragma once

#include <cstdint>

#include "core/types.hpp"

// Connectionist temporal classification (CTC; A. Graves et al., 2006) of B sequences: T steps of
// logits over K classes, one of them the blank, and up to U labels without a time each. A path has
// a class for every step; without repetitions and then without blanks it is a label sequence.

namespace bptt {

template <class S>
struct CtcInput {
  Index batch, steps, classes, labels;  // B, T, K, U
  const S* logits;                      // (B, T, K), C-contiguous
  const std::int32_t* targets;          // (B, U), C-contiguous
  const Index* lengths;                 // (B), or null for T each
  const Index* target_lengths;          // (B), or null for U each
  const double* weights;                // (B), or null for 1 each
  Index blank;
  bool zero_infinity;  // whether sequences without a path have a loss of 0 instead of infinity
  double divisor;      // of value and gradient
};

/// L = -sum over sequences of w * log p(targets) / divisor, p the sum over all paths to them.
/// Overwrites d_logits (B, T, K) with the gradient, 0 beyond the lengths and where there
/// is no path.
template <class S>
double ctc_loss(const CtcInput<S>& input, S* d_logits);

}  // namespace bptt
