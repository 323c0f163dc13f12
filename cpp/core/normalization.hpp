#pragma once

#include "core/types.hpp"

// Layer normalization of N rows of D features: z = (x - mean) / sqrt(variance + epsilon) and
// y = w z + b. All arrays are C-contiguous.

namespace bptt {

/// Writes y and z (N, D) and 1 / sqrt(variance + epsilon) of each row (N).
template <class S>
void normalize_forward(const S* x, Index rows, Index features, const S* weight, const S* bias,
                       double epsilon, S* y, S* z, S* scale);

/// Overwrites d_x (N, D, or null), d_weight and d_bias (D).
template <class S>
void normalize_backward(const S* z, const S* scale, Index rows, Index features, const S* weight,
                        const S* d_y, S* d_x, S* d_weight, S* d_bias);

}  // namespace bptt
