#pragma once

#include <algorithm>

#include "core/buffer.hpp"
#include "core/parallel/blocks.hpp"
#include "core/shrink.hpp"
#include "core/types.hpp"

namespace bptt {

/// The sum of the losses of batch * steps rows, each times its weight (1 if null), over `divisor`.
/// loss(b, t, scale, d) writes the gradient of one row, scaled by weight / divisor, and returns its
/// loss; it takes about so many operations for each of the `width` elements. Rows of weight 0 are
/// left out, and their gradient is 0.
template <class S, class Loss>
double sum_of_row_losses(Index batch, Index steps, Index width, double element_operations,
                         const double* weights, double divisor, Sequence<S> d, const Loss& loss) {
  constexpr Index kBlockElements = (Index{1} << 14) / kShrink;
  const Index rows = batch * steps;
  Arena& arena = scratch();
  const Arena::Scope scope(arena);
  double* const losses = arena.allocate<double>(rows);
  const double elements = static_cast<double>(rows) * static_cast<double>(width);
  for_each_range(rows, std::max<Index>(1, kBlockElements / width), {element_operations * elements},
                 [&](Index, Range own) {
                   Index b = own.first / steps, t = own.first % steps;
                   for (Index row = own.first; row < own.last; ++row) {
                     const double weight = weights == nullptr ? 1.0 : weights[row];
                     if (weight == 0) {
                       std::fill_n(d.row(b, t), width, S(0));
                       losses[row] = 0;
                     } else {
                       losses[row] = weight * loss(b, t, weight / divisor, d.row(b, t));
                     }
                     if (++t == steps) {
                       ++b;
                       t = 0;
                     }
                   }
                 });
  double total = 0;
  for (Index row = 0; row < rows; ++row) total += losses[row];
  return total / divisor;
}

}  // namespace bptt
