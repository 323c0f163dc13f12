#pragma once

#include "core/rows.hpp"
#include "core/types.hpp"

namespace bptt {

/// L = -sum over rows and their steps of log softmax(logits)[target], and dL/dlogits in the same
/// pass. logits and d_logits (rows, steps, classes) as `logits` strides say, features adjacent;
/// padded steps count nothing and get gradient 0. Summed in double.
template <class S>
double softmax_cross_entropy(const RowPlan& plan, Index classes, Sequence<const S> logits,
                             Sequence<const std::int32_t> targets, Sequence<S> d_logits);

}  // namespace bptt
