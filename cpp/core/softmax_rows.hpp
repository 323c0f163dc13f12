#pragma once

#include <algorithm>

#include "core/activations.hpp"
#include "core/types.hpp"
#include "core/vec.hpp"

// Pieces of softmax cross-entropy on one row of logits. All sums are in double.

namespace bptt {

/// How a target shares its probability out: this much to its own class, and to every class.
struct Shares {
  Shares(double smoothing, Index classes)
      : own(1 - smoothing), every(smoothing / static_cast<double>(classes)) {}
  double own, every;
};

/// The highest logit; where one is NaN, any of them.
template <class S>
S highest_of(const S* a, Index count) {
  constexpr Index kLanes = Vec<S>::kLanes;
  if (count < kLanes) return *std::max_element(a, a + count);
  Vec<S> top(a[0]);
  for (Index at = 0; at < count; at += kLanes) {  // the last packet overlaps the one before it
    top = larger(top, Vec<S>::load_some(a + std::min(at, count - kLanes), 1, kLanes));
  }
  return highest_lane(top);
}

/// The sum of a[i] - shift.
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

/// out[i] = exp(a[i] - highest) * scale - every; a and out may be the same.
template <class S>
void scaled_exponentials(const S* a, Index count, S highest, S scale, S every, S* out) {
  constexpr Index kLanes = Vec<S>::kLanes;
  const auto packet = [=](Index i, Index size) {
    const Vec<S> shifted = Vec<S>::load_some(a + i, 1, size) - Vec<S>(highest);
    return exp_not_positive(shifted) * scale - Vec<S>(every);
  };
  if (count < kLanes) return packet(0, count).store_some(out, count);
  const Vec<S> last = packet(count - kLanes, kLanes);  // overlaps the one before it
  for (Index i = 0; i + kLanes <= count; i += kLanes) packet(i, kLanes).store_some(out + i, kLanes);
  last.store_some(out + count - kLanes, kLanes);
}

/// The sum of exp(a[i] - highest).
template <class S>
double sum_of_exponentials(const S* a, Index count, S highest) {
  constexpr Index kAtOnce = 512;  // they stay in L1
  S e[kAtOnce];
  double total = 0;
  for (Index at = 0; at < count; at += kAtOnce) {
    const Index size = std::min(kAtOnce, count - at);
    scaled_exponentials(a + at, size, highest, S(1), S(0), e);
    total += shifted_sum(e, size, S(0));
  }
  return total;
}

}  // namespace bptt
