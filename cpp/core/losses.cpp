#include "core/losses.hpp"

#include <cmath>

#include "core/activations.hpp"
#include "core/denormals.hpp"

namespace bptt {
namespace {

/// One row of logits: d = softmax(logits) - onehot(target); returns -log softmax(logits)[target].
template <class S>
double cross_entropy_row(const S* logits, Index classes, Index target, S* d) {
  constexpr Index kLanes = Vec<S>::kLanes;
  S highest = logits[0];
  for (Index k = 1; k < classes; ++k) highest = logits[k] > highest ? logits[k] : highest;
  double sum = 0;
  for (Index k = 0; k < classes; k += kLanes) {
    const Vec<S> shifted = Vec<S>::load_some(logits + k, 1, classes - k) - Vec<S>(highest);
    exp_not_positive(shifted).store_some(d + k, classes - k);
  }
  for (Index k = 0; k < classes; ++k) sum += static_cast<double>(d[k]);
  const S scale = static_cast<S>(1.0 / sum);
  for (Index k = 0; k < classes; ++k) d[k] *= scale;
  d[target] -= S(1);
  return std::log(sum) - (static_cast<double>(logits[target]) - static_cast<double>(highest));
}

}  // namespace

template <class S>
double softmax_cross_entropy(const RowPlan& plan, Index classes, Sequence<const S> logits,
                             Sequence<const std::int32_t> targets, Sequence<S> d_logits) {
  const FlushDenormals flush;
  double total = 0;
  for (Index rank = 0; rank < plan.batch(); ++rank) {
    const Index row = plan.row(rank);
    for (Index t = 0; t < plan.steps(); ++t) {
      S* const d = d_logits.row(row, t);
      if (t < plan.length(rank)) {
        total += cross_entropy_row(logits.row(row, t), classes, *targets.row(row, t), d);
      } else {
        std::fill_n(d, classes, S(0));
      }
    }
  }
  return total;
}

template double softmax_cross_entropy(const RowPlan&, Index, Sequence<const float>,
                                      Sequence<const std::int32_t>, Sequence<float>);
template double softmax_cross_entropy(const RowPlan&, Index, Sequence<const double>,
                                      Sequence<const std::int32_t>, Sequence<double>);

}  // namespace bptt
