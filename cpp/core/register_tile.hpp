#pragma once

#include "core/vec.hpp"

namespace bptt {

/// add(h, s, held(h), streamed(s)) for all h and s: H packets are held in registers, S streamed.
template <class V, int H, int S, class Held, class Streamed, class Add>
[[gnu::always_inline]] inline void for_each_product(Held held, Streamed streamed, Add add) {
  V registers[H];
#pragma GCC unroll 8
  for (int h = 0; h < H; ++h) registers[h] = held(h);
#pragma GCC unroll 8
  for (int s = 0; s < S; ++s) {
    const V next = streamed(s);
#pragma GCC unroll 8
    for (int h = 0; h < H; ++h) add(h, s, registers[h], next);
  }
}

/// sum[r][c] += left(r) * weight(c): one depth of a register tile of R rows and C packets. The
/// smaller operand is held in registers.
template <class V, int R, int C, class Left, class Weight>
[[gnu::always_inline]] inline void add_products(V (&sum)[R][C], Left left, Weight weight) {
  const auto add = [&sum](int r, int c, V a, V w) { sum[r][c] = fma(a, w, sum[r][c]); };
  if constexpr (R <= C) {
    for_each_product<V, R, C>(left, weight, add);
  } else {
    for_each_product<V, C, R>(weight, left, [&](int c, int r, V w, V a) { add(r, c, a, w); });
  }
}

}  // namespace bptt
