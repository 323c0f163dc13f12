#pragma once

#include "core/gemm_packed.hpp"

namespace bptt {

/// gemm_packed for weights of fewer bits: bfloat16 exactly as if they were floats. With 8 bits the
/// left operand is rounded as well, to integers of 16 bits times a step of its own for each
/// kIntegerDepth products of a row, whose sums are then exact. The bits of a row do not depend on
/// the other rows.
void gemm_compressed(const PackedWeights<float>& weights, Range panels, RowPointers<float> a,
                     Index rows, const float* init, Index init_stride, float* out,
                     Index out_stride);

/// add_weights for weights of fewer bits.
void add_compressed(const PackedWeights<float>& weights, Range panels, Index k, float* out);

/// As many products of 8 and 16 bits do not overflow 32: 127 * 32767 * 512 < 2^31.
constexpr Index kIntegerDepth = 512;

}  // namespace bptt
