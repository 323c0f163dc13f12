#pragma once

#include <cstdint>

#include "core/types.hpp"

// Updates of flat parameter arrays, in place.

namespace bptt {

/// The gradient of `count` parameters. A dense one has a value for each of them. A sparse one is of
/// a table with `width` columns, and has values (rows, width) for the rows `ids`, in ascending
/// order; the gradient of other rows is 0. Updates are the same bits for both.
template <class S>
struct Gradient {
  const S* values;
  S scale = S(1);  // of every value; the product is rounded before anything is computed from it
  bool sparse = false;
  const std::int32_t* ids = nullptr;
  Index rows = 0, width = 1;
};

struct SgdOptions {
  double learning_rate, momentum, weight_decay;
  bool nesterov;
};

/// g += weight_decay * p; v = momentum * v + g; p -= learning_rate * v, or with Nesterov's
/// look-ahead, p -= learning_rate * (g + momentum * v). Without a velocity (null), v is g.
template <class S>
void sgd_step(Index count, S* p, const Gradient<S>& gradient, S* v, const SgdOptions& options);

struct RmsPropOptions {
  double learning_rate, decay, epsilon, momentum;
};

/// s = decay * s + (1 - decay) * g^2; u = g / (sqrt(s) + epsilon); v = momentum * v + u;
/// p -= learning_rate * v. Without a velocity (null), v is u.
template <class S>
void rmsprop_step(Index count, S* p, const Gradient<S>& gradient, S* s, S* v,
                  const RmsPropOptions& options);

struct AdamOptions {
  double learning_rate, beta1, beta2, epsilon, weight_decay;
  bool lazy;  // leaves the rows that a sparse gradient does not name as they are
};

/// Kingma & Ba 2015, algorithm 1, with its bias correction; `step` counts from 1. Before it,
/// p -= learning_rate * weight_decay * p (Loshchilov & Hutter 2019).
template <class S>
void adam_step(Index count, S* p, const Gradient<S>& gradient, S* m, S* v,
               const AdamOptions& options, Index step);

/// Of the values, without the scale; the same bits for a sparse gradient as for a dense one.
template <class S>
double sum_of_squares(Index count, const Gradient<S>& gradient);

/// Every value into [-limit, limit]; NaN stays.
template <class S>
void clip(Index count, S* a, double limit);

template <class S>
void scale(Index count, S* a, double factor);

}  // namespace bptt
