#pragma once

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

}  // namespace bptt
