#include "core/losses.hpp"

#include <cmath>

#include "core/loss_rows.hpp"
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

}  // namespace

template <class S>
double softmax_cross_entropy(Index batch, Index steps, Index classes, Sequence<const S> logits,
                             Sequence<const std::int32_t> targets, const double* weights,
                             const CrossEntropyOptions& options, Sequence<S> d_logits) {
  constexpr double kElementOperations = 20;
  const Shares q(options.smoothing, classes);
  return sum_of_row_losses(batch, steps, classes, kElementOperations, weights, options.divisor,
                           d_logits, [&](Index b, Index t, double scale, S* d) {
                             return cross_entropy_row(logits.row(b, t), classes, *targets.row(b, t),
                                                      q, scale, d);
                           });
}

#define BPTT_INSTANTIATE(S)                                                          \
  template double softmax_cross_entropy(Index, Index, Index, Sequence<const S>,      \
                                        Sequence<const std::int32_t>, const double*, \
                                        const CrossEntropyOptions&, Sequence<S>);
BPTT_INSTANTIATE(float)
BPTT_INSTANTIATE(double)
#undef BPTT_INSTANTIATE

}  // namespace bptt
