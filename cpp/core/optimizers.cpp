#include "core/optimizers.hpp"

#include <algorithm>
#include <cmath>

#include "core/buffer.hpp"
#include "core/parallel/blocks.hpp"

namespace bptt {
namespace {

constexpr Index kBlockElements = Index{1} << 15;

/// visit(block, range) for blocks of a flat array; an element takes about so many operations. A
/// moment may be denormal, and is not flushed.
template <class Visit>
void for_each_part(Index count, double operations, const Visit& visit) {
  for_each_range(count, kBlockElements, {operations * static_cast<double>(count), false}, visit);
}

}  // namespace

template <class S>
void sgd_step(Index count, S* p, const S* g, S* v, const SgdOptions& options) {
  const S rate = static_cast<S>(options.learning_rate), keep = static_cast<S>(options.momentum);
  const S decay = static_cast<S>(options.weight_decay);
  for_each_part(count, 10, [=, nesterov = options.nesterov](Index, Range own) {
    if (v == nullptr) {
      for (Index i = own.first; i < own.last; ++i) p[i] -= rate * (g[i] + decay * p[i]);
      return;
    }
    for (Index i = own.first; i < own.last; ++i) {
      const S slope = g[i] + decay * p[i];
      v[i] = keep * v[i] + slope;
      p[i] -= rate * (nesterov ? slope + keep * v[i] : v[i]);
    }
  });
}

template <class S>
void rmsprop_step(Index count, S* p, const S* g, S* s, S* v, const RmsPropOptions& options) {
  const S rate = static_cast<S>(options.learning_rate), keep = static_cast<S>(options.momentum);
  const S old_share = static_cast<S>(options.decay), new_share = static_cast<S>(1 - options.decay);
  const S epsilon = static_cast<S>(options.epsilon);
  for_each_part(count, 15, [=](Index, Range own) {
    for (Index i = own.first; i < own.last; ++i) {
      s[i] = old_share * s[i] + new_share * g[i] * g[i];
      S u = g[i] / (std::sqrt(s[i]) + epsilon);
      if (v != nullptr) u = v[i] = keep * v[i] + u;
      p[i] -= rate * u;
    }
  });
}

template <class S>
void adam_step(Index count, S* p, const S* g, S* m, S* v, const AdamOptions& options, Index step) {
  const double t = static_cast<double>(step);
  const S rate = static_cast<S>(options.learning_rate / (1 - std::pow(options.beta1, t)));
  const S root = static_cast<S>(1 / std::sqrt(1 - std::pow(options.beta2, t)));
  const S keep1 = static_cast<S>(options.beta1), new1 = static_cast<S>(1 - options.beta1);
  const S keep2 = static_cast<S>(options.beta2), new2 = static_cast<S>(1 - options.beta2);
  const S epsilon = static_cast<S>(options.epsilon);
  const S keep = static_cast<S>(1 - options.learning_rate * options.weight_decay);
  for_each_part(count, 15, [=](Index, Range own) {
    for (Index i = own.first; i < own.last; ++i) {
      m[i] = keep1 * m[i] + new1 * g[i];
      v[i] = keep2 * v[i] + new2 * g[i] * g[i];
      p[i] = keep * p[i] - rate * m[i] / (std::sqrt(v[i]) * root + epsilon);
    }
  });
}

namespace {

template <class S>
double sum_of_squares_of(const S* a, Range own) {
  constexpr Index kPartial = 8;  // independent sums, so that the additions overlap
  double sums[kPartial] = {};
  Index i = own.first;
  for (; i + kPartial <= own.last; i += kPartial) {
    for (Index j = 0; j < kPartial; ++j) {
      const double x = static_cast<double>(a[i + j]);
      sums[j] += x * x;
    }
  }
  double total = 0;
  for (const double sum : sums) total += sum;
  for (; i < own.last; ++i) total += static_cast<double>(a[i]) * static_cast<double>(a[i]);
  return total;
}

}  // namespace

template <class S>
double sum_of_squares(Index count, const S* a) {
  Arena& arena = scratch();
  const Arena::Scope scope(arena);
  const Index blocks = (count + kBlockElements - 1) / kBlockElements;
  double* const sums = arena.allocate<double>(blocks);
  for_each_part(count, 10,
                [&](Index block, Range own) { sums[block] = sum_of_squares_of(a, own); });
  double total = 0;
  for (Index block = 0; block < blocks; ++block) total += sums[block];
  return total;
}

template <class S>
void clip(Index count, S* a, double limit) {
  const S high = static_cast<S>(limit);
  for (Index i = 0; i < count; ++i) a[i] = a[i] > high ? high : a[i] < -high ? -high : a[i];
}

template <class S>
void scale(Index count, S* a, double factor) {
  const S by = static_cast<S>(factor);
  for (Index i = 0; i < count; ++i) a[i] *= by;
}

#define BPTT_INSTANTIATE(S)                                                        \
  template void sgd_step(Index, S*, const S*, S*, const SgdOptions&);              \
  template void rmsprop_step(Index, S*, const S*, S*, S*, const RmsPropOptions&);  \
  template void adam_step(Index, S*, const S*, S*, S*, const AdamOptions&, Index); \
  template double sum_of_squares(Index, const S*);                                 \
  template void clip(Index, S*, double);                                           \
  template void scale(Index, S*, double);
BPTT_INSTANTIATE(float)
BPTT_INSTANTIATE(double)
#undef BPTT_INSTANTIATE

}  // namespace bptt
