#pragma once

#include "core/vec.hpp"

namespace bptt {

/// sum[r][c] += left(r) * weight(c): one depth of a register tile of R rows and C packets. The
/// smaller operand is held in registers, the other one streamed.
template <class V, int R, int C, class Left, class Weight>
[[gnu::always_inline]] inline void add_products(V (&sum)[R][C], Left left, Weight weight) {
  if constexpr (R <= C) {
    V rows[R];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) rows[r] = left(r);
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) {
      const V w = weight(c);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) sum[r][c] = fma(rows[r], w, sum[r][c]);
    }
  } else {
    V columns[C];
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) columns[c] = weight(c);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const V row = left(r);
#pragma GCC unroll 8
      for (int c = 0; c < C; ++c) sum[r][c] = fma(row, columns[c], sum[r][c]);
    }
  }
}

}  // namespace bptt
