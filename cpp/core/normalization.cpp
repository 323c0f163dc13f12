#include "core/normalization.hpp"

#include <algorithm>
#include <cmath>

#include "core/buffer.hpp"
#include "core/parallel/blocks.hpp"
#include "core/parallel/parts.hpp"
#include "core/shrink.hpp"

// Threads take rows. The gradients of the parameters are sums over rows: one for each of a fixed
// number of parts, added in order.

namespace bptt {
namespace {

constexpr double kOperations = 10;          // of an element
constexpr Index kLeastRows = 64 / kShrink;  // of a part

double cost_of(Index rows, Index features) {
  return kOperations * static_cast<double>(rows) * static_cast<double>(features);
}

/// The mean of term(i) for i < count, in double.
template <class Term>
double mean_of(Index count, Term term) {
  constexpr Index kPartial = 8;  // independent sums, so that additions overlap
  double sums[kPartial] = {};
  Index i = 0;
  for (; i + kPartial <= count; i += kPartial) {
    for (Index j = 0; j < kPartial; ++j) sums[j] += static_cast<double>(term(i + j));
  }
  for (Index j = 0; i < count; ++i, ++j) sums[j] += static_cast<double>(term(i));
  double total = 0;
  for (const double sum : sums) total += sum;
  return total / static_cast<double>(count);
}

template <class S>
S normalize_row(const S* x, Index features, const S* weight, const S* bias, double epsilon, S* y,
                S* z) {
  const S mean = static_cast<S>(mean_of(features, [=](Index i) { return x[i]; }));
  for (Index i = 0; i < features; ++i) z[i] = x[i] - mean;
  const double variance = mean_of(features, [=](Index i) { return z[i] * z[i]; });
  const S scale = static_cast<S>(1.0 / std::sqrt(variance + epsilon));
  for (Index i = 0; i < features; ++i) {
    z[i] *= scale;
    y[i] = weight[i] * z[i] + bias[i];
  }
  return scale;
}

template <class S>
void input_gradient(const S* z, S scale, Index features, const S* weight, const S* d_y, S* d_x) {
  for (Index i = 0; i < features; ++i) d_x[i] = d_y[i] * weight[i];
  const S mean = static_cast<S>(mean_of(features, [=](Index i) { return d_x[i]; }));
  const S slope = static_cast<S>(mean_of(features, [=](Index i) { return z[i] * d_x[i]; }));
  for (Index i = 0; i < features; ++i) d_x[i] = scale * (d_x[i] - mean - z[i] * slope);
}

}  // namespace

template <class S>
void normalize_forward(const S* x, Index rows, Index features, const S* weight, const S* bias,
                       double epsilon, S* y, S* z, S* scale) {
  for_each_range(rows, kLeastRows, {cost_of(rows, features)}, [&](Index, Range own) {
    for (Index r = own.first; r < own.last; ++r) {
      const Index at = r * features;
      scale[r] = normalize_row(x + at, features, weight, bias, epsilon, y + at, z + at);
    }
  });
}

template <class S>
void normalize_backward(const S* z, const S* scale, Index rows, Index features, const S* weight,
                        const S* d_y, S* d_x, S* d_weight, S* d_bias) {
  const Parts parts(rows, kLeastRows);
  Buffer<S> sums(2 * parts.size() * features);
  sums.set_zero();
  for_each_block(parts.size(), {2 * cost_of(rows, features)}, [&](Index part) {
    S* const own_weight = sums.data() + 2 * part * features;
    S* const own_bias = own_weight + features;
    const Range own = parts[part];
    for (Index r = own.first; r < own.last; ++r) {
      const Index at = r * features;
      for (Index i = 0; i < features; ++i) {
        own_weight[i] += z[at + i] * d_y[at + i];
        own_bias[i] += d_y[at + i];
      }
      if (d_x != nullptr) {
        input_gradient(z + at, scale[r], features, weight, d_y + at, d_x + at);
      }
    }
  });
  std::fill_n(d_weight, features, S(0));
  std::fill_n(d_bias, features, S(0));
  for (Index part = 0; part < parts.size(); ++part) {
    const S* const own = sums.data() + 2 * part * features;
    for (Index i = 0; i < features; ++i) {
      d_weight[i] += own[i];
      d_bias[i] += own[features + i];
    }
  }
}

#define BPTT_INSTANTIATE(S)                                                                        \
  template void normalize_forward(const S*, Index, Index, const S*, const S*, double, S*, S*, S*); \
  template void normalize_backward(const S*, const S*, Index, Index, const S*, const S*, S*, S*,   \
                                   S*);
BPTT_INSTANTIATE(float)
BPTT_INSTANTIATE(double)
#undef BPTT_INSTANTIATE

}  // namespace bptt
