#include "core/losses.hpp"

#include <algorithm>
#include <cmath>

#include "core/activations.hpp"
#include "core/buffer.hpp"
#include "core/parallel/blocks.hpp"

namespace bptt {
namespace {

/// Where the packet that covers the elements from `at` on begins: the last one overlaps the one
/// before it, unless there are fewer elements than lanes.
template <class S>
Index packet_begin(Index at, Index count) {
  return std::max<Index>(0, std::min<Index>(at, count - Vec<S>::kLanes));
}

template <class S>
S highest_of(const S* a, Index count) {
  constexpr Index kLanes = Vec<S>::kLanes;
  if (count < kLanes) return *std::max_element(a, a + count);
  Vec<S> top(a[0]);
  for (Index at = 0; at < count; at += kLanes) {
    top = larger(top, Vec<S>::load_some(a + packet_begin<S>(at, count), 1, kLanes));
  }
  return highest_lane(top);
}

/// The sum of a[i] - shift, in double.
template <class S>
double shifted_sum(const S* a, Index count, S shift) {
  constexpr Index kPartial = 8;  // independent sums, so that the additions overlap
  double total = 0;
  Index i = 0;
  if (count >= 2 * kPartial) {
    double sums[kPartial] = {};
    for (; i + kPartial <= count; i += kPartial) {
      for (Index j = 0; j < kPartial; ++j) {
        sums[j] += static_cast<double>(a[i + j]) - static_cast<double>(shift);
      }
    }
    for (const double sum : sums) total += sum;
  }
  for (; i < count; ++i) total += static_cast<double>(a[i]) - static_cast<double>(shift);
  return total;
}

/// How a target shares its probability out: this much to its own class, and to every class.
struct Shares {
  double own, every;
};

/// One row of logits: d = weight * (softmax(logits) - q); returns -sum_k q_k log softmax(logits)_k.
template <class S>
double cross_entropy_row(const S* logits, Index classes, Index target, const Shares& q,
                         double weight, S* d) {
  const S highest = highest_of(logits, classes);
  for (Index at = 0; at < classes; at += Vec<S>::kLanes) {
    const Index k = packet_begin<S>(at, classes);
    const Vec<S> shifted = Vec<S>::load_some(logits + k, 1, classes - k) - Vec<S>(highest);
    exp_not_positive(shifted).store_some(d + k, classes - k);
  }
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
  const Shares q{1 - options.smoothing, options.smoothing / static_cast<double>(classes)};
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
