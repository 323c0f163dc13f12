#include "core/losses.hpp"

#include <algorithm>
#include <cmath>

#include "core/buffer.hpp"
#include "core/parallel/blocks.hpp"
#include "core/softmax_rows.hpp"

namespace bptt {
namespace {

/// One row of logits: d = weight * (softmax(logits) - q); returns -sum_k q_k log softmax(logits)_k.
template <class S>
double cross_entropy_row(const S* logits, Index classes, Index target, const Shares& q,
                         double weight, S* d) {
  const S highest = highest_of(logits, classes);
  scaled_exponentials(logits, classes, highest, S(1), S(0), d);
  const double sum = shifted_sum(d, classes, S(0));
  const S scale = static_cast<S>(weight / sum), every = static_cast<S>(weight * q.every);
  for (Index k = 0; k < classes; ++k) d[k] = d[k] * scale - every;
  d[target] -= static_cast<S>(weight * q.own);
  const double own = static_cast<double>(logits[target]) - static_cast<double>(highest);
  const double loss = std::log(sum) - q.own * own;
  return q.every > 0 ? loss - q.every * shifted_sum(logits, classes, highest) : loss;
}

/// Some rows of softmax_cross_entropy, numbered batch by batch: their losses and gradients.
template <class S>
void cross_entropy_rows(Range own, Index steps, Index classes, Sequence<const S> logits,
                        Sequence<const std::int32_t> targets, const double* weights, Shares q,
                        double divisor, double* losses, Sequence<S> d_logits) {
  Index b = own.first / steps, t = own.first % steps;
  for (Index row = own.first; row < own.last; ++row) {
    const double weight = weights == nullptr ? 1.0 : weights[row];
    S* const d = d_logits.row(b, t);
    if (weight == 0) {
      std::fill_n(d, classes, S(0));
      losses[row] = 0;
    } else {
      losses[row] = weight * cross_entropy_row(logits.row(b, t), classes, *targets.row(b, t), q,
                                               weight / divisor, d);
    }
    if (++t == steps) {
      ++b;
      t = 0;
    }
  }
}

}  // namespace

template <class S>
double softmax_cross_entropy(Index batch, Index steps, Index classes, Sequence<const S> logits,
                             Sequence<const std::int32_t> targets, const double* weights,
                             const CrossEntropyOptions& options, Sequence<S> d_logits) {
  constexpr Index kBlockElements = Index{1} << 14;
  constexpr double kElementOperations = 20;
  const Shares q(options.smoothing, classes);
  const Index rows = batch * steps;
  Arena& arena = scratch();
  const Arena::Scope scope(arena);
  double* const losses = arena.allocate<double>(rows);
  const double elements = static_cast<double>(rows) * static_cast<double>(classes);
  for_each_range(rows, std::max<Index>(1, kBlockElements / classes),
                 {kElementOperations * elements}, [&](Index, Range own) {
                   cross_entropy_rows(own, steps, classes, logits, targets, weights, q,
                                      options.divisor, losses, d_logits);
                 });
  double total = 0;
  for (Index row = 0; row < rows; ++row) total += losses[row];
  return total / options.divisor;
}

#define BPTT_INSTANTIATE(S)                                                          \
  template double softmax_cross_entropy(Index, Index, Index, Sequence<const S>,      \
                                        Sequence<const std::int32_t>, const double*, \
                                        const CrossEntropyOptions&, Sequence<S>);
BPTT_INSTANTIATE(float)
BPTT_INSTANTIATE(double)
#undef BPTT_INSTANTIATE

}  // namespace bptt
