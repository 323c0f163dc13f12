#pragma once

#include "core/types.hpp"

namespace bptt {

/// y[r][k] += bias[k] for `rows` rows of `width` elements, `stride` apart.
template <class S>
void add_bias(const S* bias, Index rows, Index width, Index stride, S* y) {
  for (Index r = 0; r < rows; ++r) {
    S* const row = y + r * stride;
    for (Index k = 0; k < width; ++k) row[k] += bias[k];
  }
}

/// d_bias[k] += d_y[r][k], in the order of the rows.
template <class S>
void add_bias_gradient(const S* d_y, Index rows, Index width, Index stride, S* d_bias) {
  for (Index r = 0; r < rows; ++r) {
    const S* const row = d_y + r * stride;
    for (Index k = 0; k < width; ++k) d_bias[k] += row[k];
  }
}

}  // namespace bptt
