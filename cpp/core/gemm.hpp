#pragma once

#include "core/types.hpp"

// Products of plain row-major matrices by Eigen, in one file because compiling Eigen's products
// takes half a minute for each instruction set.

namespace bptt {

/// A row-major matrix whose rows are `stride` apart.
template <class S>
struct MatrixView {
  S* data;
  Index rows, columns, stride;
};

/// out = a · b
template <class S>
void multiply(MatrixView<const S> a, MatrixView<const S> b, MatrixView<S> out);
/// out = a · bᵀ
template <class S>
void multiply_by_transposed(MatrixView<const S> a, MatrixView<const S> b, MatrixView<S> out);
/// out = aᵀ · b, or out += aᵀ · b
template <class S>
void multiply_transposed(MatrixView<const S> a, MatrixView<const S> b, MatrixView<S> out,
                         bool add = false);

}  // namespace bptt
