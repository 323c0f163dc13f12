#include "core/row_losses.hpp"

#include <atomic>
#include <cmath>

#include "core/loss_rows.hpp"
#include "core/softmax_rows.hpp"

namespace bptt {
namespace {

constexpr Index kPartial = 8;  // independent sums, so that additions overlap

/// The sum of term(i) for i < count.
template <class Term>
double sum_of(Index count, Term term) {
  double sums[kPartial] = {};
  Index i = 0;
  for (; i + kPartial <= count; i += kPartial) {
    for (Index j = 0; j < kPartial; ++j) sums[j] += term(i + j);
  }
  for (Index j = 0; i < count; ++i, ++j) sums[j] += term(i);
  double total = 0;
  for (const double sum : sums) total += sum;
  return total;
}

// Each of the following writes d, the gradient of weight * loss, and returns the loss of a row.

template <class S>
double squared_error(const S* y, const S* z, Index count, double weight, S* d) {
  const double share = 1.0 / static_cast<double>(count), slope = 2.0 * weight * share;
  const auto difference = [=](Index i) {
    return static_cast<double>(y[i]) - static_cast<double>(z[i]);
  };
  const double total = sum_of(count, [=](Index i) { return difference(i) * difference(i); });
  for (Index i = 0; i < count; ++i) d[i] = static_cast<S>(slope * difference(i));
  return share * total;
}

/// log(1 + e) for e in [0, 1]: 2 artanh(e / (2 + e)), by the Taylor series of artanh up to 1/3.
template <class S>
Vec<S> log1p(Vec<S> e) {
  constexpr int kTerms = sizeof(S) == sizeof(float) ? 9 : 18;
  const Vec<S> s = e / (e + Vec<S>(S(2))), square = s * s;
  Vec<S> series(S(1) / S(2 * kTerms - 1));
  for (int k = kTerms - 1; k >= 1; --k) series = fma(series, square, Vec<S>(S(1) / S(2 * k - 1)));
  return (s + s) * series;
}

/// log(1 + exp(-|x|)) of each element.
template <class S>
void log_one_plus_exp(const S* x, Index count, S* out) {
  for (Index i = 0; i < count; i += Vec<S>::kLanes) {
    const Vec<S> size = absolute(Vec<S>::load_some(x + i, 1, count - i));
    log1p(exp_not_positive(Vec<S>::zero() - size)).store_some(out + i, count - i);
  }
}

template <class S>
double few_binary_outputs(const S* x, const S* z, Index count, double weight, S* d) {
  double total = 0;
  for (Index i = 0; i < count; ++i) {
    const double logit = static_cast<double>(x[i]), target = static_cast<double>(z[i]);
    const double e = std::exp(-std::abs(logit));
    total += std::abs(logit) * (logit > 0 ? 1 - target : target) + std::log1p(e);
    d[i] = static_cast<S>(weight * ((logit < 0 ? e : 1) / (1 + e) - target));
  }
  return total;
}

template <class S>
double binary_cross_entropy(const S* x, const S* z, Index count, double weight, S* d) {
  constexpr Index kFew = 4;  // outputs for which a register would be mostly empty
  if (count < kFew) return few_binary_outputs(x, z, count, weight, d);
  log_one_plus_exp(x, count, d);
  const double total = sum_of(count, [=](Index i) {
    const double logit = static_cast<double>(x[i]), target = static_cast<double>(z[i]);
    return std::abs(logit) * (logit > 0 ? 1 - target : target) + static_cast<double>(d[i]);
  });
  const S scale = static_cast<S>(weight);
  for (Index i = 0; i < count; i += Vec<S>::kLanes) {
    const Index left = count - i;
    const Vec<S> probability = sigmoid(Vec<S>::load_some(x + i, 1, left));
    ((probability - Vec<S>::load_some(z + i, 1, left)) * scale).store_some(d + i, left);
  }
  return total;
}

template <class S>
double cross_entropy(const S* x, const S* z, Index count, const Shares& q, double weight, S* d) {
  const S highest = highest_of(x, count);
  scaled_exponentials(x, count, highest, S(1), S(0), d);
  const double sum = shifted_sum(d, count, S(0));
  const auto share = [=](Index i) { return q.own * static_cast<double>(z[i]) + q.every; };
  const double total = sum_of(count, share);
  const double logits = sum_of(count, [=](Index i) {
    const double shifted = static_cast<double>(x[i]) - static_cast<double>(highest);
    return share(i) > 0 ? share(i) * shifted : 0.0;  // 0 · -inf is 0 here
  });
  const double scale = weight * total / sum;
  for (Index i = 0; i < count; ++i) {
    d[i] = static_cast<S>(scale * static_cast<double>(d[i]) - weight * share(i));
  }
  return total * std::log(sum) - logits;
}

/// Whether targets are in range: probabilities, which add up to 1 for a distribution.
template <class S>
bool valid(RowLoss loss, const S* z, Index count) {
  if (loss == RowLoss::kSquaredError) return true;
  bool inside = true;
  for (Index i = 0; i < count; ++i) inside = inside && z[i] >= 0;
  if (loss == RowLoss::kBinaryCrossEntropy) {
    for (Index i = 0; i < count; ++i) inside = inside && z[i] <= 1;
    return inside;
  }
  constexpr double kTolerance = 1e-3;  // of probabilities rounded to float16
  return inside && std::abs(shifted_sum(z, count, S(0)) - 1) <= kTolerance;
}

}  // namespace

template <class S>
RowLossResult row_loss(RowLoss loss, Index batch, Index steps, Index outputs, Sequence<const S> y,
                       Sequence<const S> z, const double* weights, const RowLossOptions& options,
                       Sequence<S> d) {
  constexpr double kElementOperations = 40;
  const Shares q(options.smoothing, outputs);
  std::atomic<bool> all_valid{true};
  const auto row_of = [&](Index b, Index t, double weight, S* d_row) {
    const S* const output = y.row(b, t);
    const S* const target = z.row(b, t);
    if (!valid(loss, target, outputs)) all_valid = false;
    switch (loss) {
      case RowLoss::kSquaredError:
        return squared_error(output, target, outputs, weight, d_row);
      case RowLoss::kBinaryCrossEntropy:
        return binary_cross_entropy(output, target, outputs, weight, d_row);
      case RowLoss::kCrossEntropy:
        break;
    }
    return cross_entropy(output, target, outputs, q, weight, d_row);
  };
  const double value = sum_of_row_losses(batch, steps, outputs, kElementOperations, weights,
                                         options.divisor, d, row_of);
  return {value, all_valid};
}

#define BPTT_INSTANTIATE(S)                                                                \
  template RowLossResult row_loss(RowLoss, Index, Index, Index, Sequence<const S>,         \
                                  Sequence<const S>, const double*, const RowLossOptions&, \
                                  Sequence<S>);
BPTT_INSTANTIATE(float)
BPTT_INSTANTIATE(double)
#undef BPTT_INSTANTIATE

}  // namespace bptt
