#pragma once

#include "core/types.hpp"

// Updates of flat parameter arrays, in place.

namespace bptt {

/// v = momentum * v + g; p -= learning_rate * v. Without a velocity (null), p -= learning_rate * g.
template <class S>
void sgd_step(Index count, S* p, const S* g, S* v, double learning_rate, double momentum);

struct AdamOptions {
  double learning_rate, beta1, beta2, epsilon;
};

/// Kingma & Ba 2015, algorithm 1, with its bias correction; `step` counts from 1.
template <class S>
void adam_step(Index count, S* p, const S* g, S* m, S* v, const AdamOptions& options, Index step);

template <class S>
double sum_of_squares(Index count, const S* a);

/// Every value into [-limit, limit]; NaN stays.
template <class S>
void clip(Index count, S* a, double limit);

template <class S>
void scale(Index count, S* a, double factor);

}  // namespace bptt
