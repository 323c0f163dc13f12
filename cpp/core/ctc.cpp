#include "core/ctc.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/activations.hpp"
#include "core/buffer.hpp"
#include "core/parallel/blocks.hpp"
#include "core/softmax_rows.hpp"

// A path goes through the states blank 0, label 0, blank 1, label 1, …, blank U. Those of blanks
// and of labels are kept apart: a step is then elementwise, but for a shift by one label, and the
// blanks need one exponential less. All in logarithms, reduced by the highest of each step: scaled
// exponentials would lose states that are unlikely until all others have come to a dead end.

namespace bptt {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
template <class S>
constexpr S kLogZero = S(-1e30);
template <class S>
constexpr S kImpossible = S(-1e29);  // below, there is no path

/// log(x) for 1 <= x <= 3: log(c) + 2 artanh((x - c) / (x + c)) with c = sqrt(3), by Taylor.
template <class S>
Vec<S> log_up_to_three(Vec<S> x) {
  constexpr int kTerms = sizeof(S) == sizeof(float) ? 7 : 14;
  const Vec<S> center(S(1.7320508075688773)), log_center(S(0.5493061443340549));
  const Vec<S> s = (x - center) / (x + center), square = s * s;
  Vec<S> series(S(1) / S(2 * kTerms - 1));
  for (int k = kTerms - 1; k >= 1; --k) series = fma(series, square, Vec<S>(S(1) / S(2 * k - 1)));
  return fma(s + s, series, log_center);
}

/// log(exp(a) + exp(b))
template <class S>
Vec<S> log_add(Vec<S> a, Vec<S> b) {
  const Vec<S> e = exp_not_positive(Vec<S>::zero() - absolute(a - b));
  return larger(a, b) + log_up_to_three(Vec<S>(S(1)) + e);
}

/// log(exp(a) + exp(b) + exp(c))
template <class S>
Vec<S> log_add(Vec<S> a, Vec<S> b, Vec<S> c) {
  const Vec<S> m = larger(larger(a, b), c);
  const Vec<S> sum = exp_not_positive(a - m) + exp_not_positive(b - m) + exp_not_positive(c - m);
  return m + log_up_to_three(sum);
}

template <class S>
constexpr Index kLanes = Vec<S>::kLanes;

/// Logarithms of all states at one step, with a packet of log 0 before and after each kind.
template <class S>
struct States {
  S* blanks;  // (U + 1)
  S* labels;  // (U)

  static Index stride(Index width) { return 2 * (width + 2 * kLanes<S>); }
  static States at(S* memory, Index width) {
    return {memory + kLanes<S>, memory + kLanes<S> + width + 2 * kLanes<S>};
  }
};

/// What the time loops of a sequence share.
template <class S>
struct Alignment {
  Index steps, labels, width;  // n, U, U + 1 padded to whole packets
  const std::int32_t* targets;
  S* repeated;   // (width, with a packet after it) log 0 where a label is that before, else 0
  S* alphas;     // (n) States: all ways to a state, with its class
  S* emissions;  // (n, width): log-probabilities of the labels
  S* log_blank;  // (n): that of the blank
  S* betas;      // (2) States: all ways from a state on, without and with its class

  Alignment(Arena& arena, const CtcInput<S>& in, Index b)
      : steps(in.lengths == nullptr ? in.steps : in.lengths[b]),
        labels(in.target_lengths == nullptr ? in.labels : in.target_lengths[b]),
        width((labels + kLanes<S>) / kLanes<S> * kLanes<S>),
        targets(in.targets + b * in.labels),
        repeated(arena.allocate<S>(width + kLanes<S>)),
        alphas(arena.allocate<S>(steps * States<S>::stride(width))),
        emissions(arena.allocate<S>(steps * width)),
        log_blank(arena.allocate<S>(steps)),
        betas(arena.allocate<S>(2 * States<S>::stride(width))) {
    std::fill_n(repeated, width + kLanes<S>, S(0));
    for (Index u = 1; u < labels; ++u) {
      if (targets[u] == targets[u - 1]) repeated[u] = kLogZero<S>;
    }
  }

  /// Whether there are enough steps: a blank has to lie between equal labels.
  bool has_path() const {
    const Index blanks = std::count_if(repeated, repeated + labels, [](S x) { return x != 0; });
    return steps >= labels + blanks;
  }
  States<S> alpha(Index t) const {
    return States<S>::at(alphas + t * States<S>::stride(width), width);
  }
  States<S> beta(Index i) const {
    return States<S>::at(betas + i * States<S>::stride(width), width);
  }
  void clear(S* states) const { std::fill_n(states, States<S>::stride(width), kLogZero<S>); }
};

template <class S>
Vec<S> load(const S* from) {
  return Vec<S>::load_some(from, 1, kLanes<S>);
}

/// Log-probabilities of the blank and of the labels at step t; `e` gets exp(x - max x), of which
/// the sum is returned.
template <class S>
double log_probabilities(const Alignment<S>& a, const S* x, Index classes, Index blank, Index t,
                         S* e) {
  const S highest = highest_of(x, classes);
  scaled_exponentials(x, classes, highest, S(1), S(0), e);
  const double sum = shifted_sum(e, classes, S(0));
  const S log_sum = static_cast<S>(std::log(sum));
  const auto log_p = [=](Index k) { return std::max((x[k] - highest) - log_sum, kLogZero<S>); };
  a.log_blank[t] = log_p(blank);
  S* const emission = a.emissions + t * a.width;
  for (Index u = 0; u < a.labels; ++u) emission[u] = log_p(a.targets[u]);
  std::fill(emission + a.labels, emission + a.width, kLogZero<S>);
  return sum;
}

/// Subtracts the highest logarithm of the states, which is returned.
template <class S>
double reduce(const States<S>& states, Index width) {
  Vec<S> top(kLogZero<S>);
  for (Index u = 0; u < width; u += kLanes<S>) {
    top = larger(top, larger(Vec<S>::load(states.blanks + u), Vec<S>::load(states.labels + u)));
  }
  const S highest = highest_lane(top);
  for (Index u = 0; u < width; u += kLanes<S>) {
    at_least(Vec<S>::load(states.blanks + u) - Vec<S>(highest), kLogZero<S>)
        .store(states.blanks + u);
    at_least(Vec<S>::load(states.labels + u) - Vec<S>(highest), kLogZero<S>)
        .store(states.labels + u);
  }
  return static_cast<double>(highest);
}

/// alpha_t from alpha_(t-1).
template <class S>
void forward_step(const Alignment<S>& a, Index t) {
  const States<S> before = a.alpha(t - 1), now = a.alpha(t);
  const Vec<S> blank(a.log_blank[t]);
  for (Index u = 0; u < a.width; u += kLanes<S>) {
    const Vec<S> stay = Vec<S>::load(before.labels + u),
                 from_blank = Vec<S>::load(before.blanks + u);
    const Vec<S> last = load(before.labels + u - 1);
    (blank + log_add(from_blank, last)).store(now.blanks + u);
    const Vec<S> skip = last + Vec<S>::load(a.repeated + u);
    (Vec<S>::load(a.emissions + t * a.width + u) + log_add(stay, from_blank, skip))
        .store(now.labels + u);
  }
}

/// beta_t from beta_(t+1).
template <class S>
void backward_step(const Alignment<S>& a, Index t) {
  const States<S> beta = a.beta(0), with_class = a.beta(1);
  const Vec<S> blank(a.log_blank[t + 1]);
  const S* const emission = a.emissions + (t + 1) * a.width;
  for (Index u = 0; u < a.width; u += kLanes<S>) {
    (Vec<S>::load(beta.blanks + u) + blank).store(with_class.blanks + u);
    (Vec<S>::load(beta.labels + u) + Vec<S>::load(emission + u)).store(with_class.labels + u);
  }
  for (Index u = 0; u < a.width; u += kLanes<S>) {
    const Vec<S> label = Vec<S>::load(with_class.labels + u);
    log_add(Vec<S>::load(with_class.blanks + u), label).store(beta.blanks + u);
    const Vec<S> skip = load(with_class.labels + u + 1) + load(a.repeated + u + 1);
    log_add(label, load(with_class.blanks + u + 1), skip).store(beta.labels + u);
  }
}

/// alpha_t and the log-probabilities of all steps; returns log p. `d` gets softmax(x) times the
/// weight. NaN if a logit is.
template <class S>
double forward(const Alignment<S>& a, const CtcInput<S>& in, const S* x, double weight, S* d) {
  double log_p = 0;
  for (Index t = 0; t < a.steps; ++t) {
    S* const e = d + t * in.classes;
    const double sum = log_probabilities(a, x + t * in.classes, in.classes, in.blank, t, e);
    if (std::isnan(sum)) return sum;  // which a maximum may lose
    const S scale = static_cast<S>(weight / sum);
    for (Index k = 0; k < in.classes; ++k) e[k] *= scale;
    const States<S> alpha = a.alpha(t);
    a.clear(a.alphas + t * States<S>::stride(a.width));
    if (t == 0) {
      alpha.blanks[0] = a.log_blank[0];
      if (a.labels > 0) alpha.labels[0] = a.emissions[0];
    } else {
      forward_step(a, t);
    }
    const double highest = reduce(alpha, a.width);
    if (highest < static_cast<double>(kImpossible<S>)) return -kInfinity;
    log_p += highest;
  }
  const States<S> last = a.alpha(a.steps - 1);
  const double blank = static_cast<double>(last.blanks[a.labels]);
  const double label = a.labels > 0 ? static_cast<double>(last.labels[a.labels - 1]) : blank - 1e30;
  const double top = std::max(blank, label);
  if (top < static_cast<double>(kImpossible<S>)) return -kInfinity;
  return log_p + top + std::log(std::exp(blank - top) + std::exp(label - top));
}

/// Subtracts weight * the probability of each class at each step, given the targets, from d.
template <class S>
void subtract_targets(const Alignment<S>& a, const CtcInput<S>& in, S weight, S* d) {
  const States<S> beta = a.beta(0);
  a.clear(a.betas);
  a.clear(a.betas + States<S>::stride(a.width));
  beta.blanks[a.labels] = 0;
  if (a.labels > 0) beta.labels[a.labels - 1] = 0;
  for (Index t = a.steps - 1; t >= 0; --t) {
    if (t < a.steps - 1) {
      backward_step(a, t);
      reduce(beta, a.width);
    }
    const States<S> alpha = a.alpha(t);
    for (Index u = 0; u < a.width; u += kLanes<S>) {
      (Vec<S>::load(alpha.blanks + u) + Vec<S>::load(beta.blanks + u)).store(alpha.blanks + u);
      (Vec<S>::load(alpha.labels + u) + Vec<S>::load(beta.labels + u)).store(alpha.labels + u);
    }
    reduce(alpha, a.width);
    Vec<S> of_blanks = Vec<S>::zero(), of_labels = Vec<S>::zero();
    for (Index u = 0; u < a.width; u += kLanes<S>) {
      of_blanks += exp_not_positive(Vec<S>::load(alpha.blanks + u));
      const Vec<S> e = exp_not_positive(Vec<S>::load(alpha.labels + u));
      of_labels += e;
      e.store(alpha.labels + u);
    }
    const S blanks = sum_of_lanes(of_blanks), scale = weight / (blanks + sum_of_lanes(of_labels));
    S* const row = d + t * in.classes;
    row[in.blank] -= scale * blanks;
    for (Index u = 0; u < a.labels; ++u) row[a.targets[u]] -= scale * alpha.labels[u];
  }
}

/// -log p of the targets of a sequence, times the weight; its gradient in d (steps, classes).
template <class S>
double sequence_loss(const CtcInput<S>& in, Index b, double weight, S* d) {
  Arena& arena = scratch();
  const Arena::Scope scope(arena);
  const Alignment<S> a(arena, in, b);
  const Index size = in.steps * in.classes;
  double log_p = -kInfinity;
  if (weight > 0 && a.has_path()) {
    const double share = weight / in.divisor;
    log_p = a.steps == 0 ? 0.0 : forward(a, in, in.logits + b * size, share, d);
    if (std::isnan(log_p)) {
      std::fill_n(d, size, std::numeric_limits<S>::quiet_NaN());
    } else if (log_p != -kInfinity) {
      subtract_targets(a, in, static_cast<S>(share), d);
      std::fill(d + a.steps * in.classes, d + size, S(0));
    }
  }
  if (weight == 0 || log_p == -kInfinity) {
    std::fill_n(d, size, S(0));
    return weight == 0 || in.zero_infinity ? 0.0 : kInfinity;
  }
  return -weight * log_p;
}

}  // namespace

template <class S>
double ctc_loss(const CtcInput<S>& input, S* d_logits) {
  constexpr double kStateOperations = 120, kClassOperations = 30;
  const double states = static_cast<double>(input.labels + kLanes<S>) * kStateOperations;
  const double classes = static_cast<double>(input.classes) * kClassOperations;
  const double steps = static_cast<double>(input.batch) * static_cast<double>(input.steps);
  Arena& arena = scratch();
  const Arena::Scope scope(arena);
  double* const losses = arena.allocate<double>(input.batch);
  for_each_block(input.batch, {steps * (states + classes)}, [&](Index b) {
    const double weight = input.weights == nullptr ? 1.0 : input.weights[b];
    S* const d = d_logits + b * input.steps * input.classes;
    losses[b] = sequence_loss(input, b, weight, d);
  });
  double total = 0;
  for (Index b = 0; b < input.batch; ++b) total += losses[b];
  return total / input.divisor;
}

#define BPTT_INSTANTIATE(S) template double ctc_loss(const CtcInput<S>&, S*);
BPTT_INSTANTIATE(float)
BPTT_INSTANTIATE(double)
#undef BPTT_INSTANTIATE

}  // namespace bptt
