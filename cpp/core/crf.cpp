#include "core/crf.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "core/activations.hpp"
#include "core/buffer.hpp"
#include "core/gemm.hpp"
#include "core/parallel/blocks.hpp"
#include "core/softmax_rows.hpp"

// The recursions of forward-backward (L. Rabiner, 1989, A tutorial on hidden Markov models, section
// V.A), written once, over two kinds of numbers:
//
//   Scaled   exponentials; a step is a product with the matrix exp(A), and every vector is divided
//            by its sum, whose logarithm is kept
//   Logs     logarithms; a step is a log-sum-exp over K x K exponentials
//
// Scaled is exact to rounding as long as exp(A - max A) is far from underflow: then no vector of
// sums has an element that is small beside the others, and what underflows does not count. Logs
// takes the rest, such as A with -inf or -10000 for labels that must not follow each other.
//
// Vectors of K labels are padded to whole packets with the number 0, or its logarithm.

namespace bptt {
namespace {

template <class S>
constexpr S kInfinity = std::numeric_limits<S>::infinity();
template <class S>
constexpr S kLowest = S(-1e30);  // highest number of a sum whose terms may all be -inf

Index padded(Index labels, Index lanes) { return (labels + lanes - 1) / lanes * lanes; }

template <class S>
struct Matrices {
  const S* forward;   // from a label (row) to the next one
  const S* backward;  // its transpose
  double shift;       // what A has been reduced by
};

/// merge of step(i, initial) over i < count, in four parts whose operations overlap.
template <class S, class Step, class Merge>
Vec<S> fold(Index count, Vec<S> initial, const Step& step, const Merge& merge) {
  Vec<S> a = initial, b = initial, c = initial, d = initial;
  Index i = 0;
  for (; i + 4 <= count; i += 4) {
    a = step(i, a);
    b = step(i + 1, b);
    c = step(i + 2, c);
    d = step(i + 3, d);
  }
  for (; i < count; ++i) a = step(i, a);
  return merge(merge(a, b), merge(c, d));
}

template <class S>
Vec<S> sum_of_two(Vec<S> a, Vec<S> b) {
  return a + b;
}

/// Numbers of a chain as exponentials.
template <class S>
struct Scaled {
  using V = Vec<S>;
  static constexpr S kOne = 1, kZero = 0;
  static S weight(S transition, S shift) {
    return static_cast<S>(std::exp(static_cast<double>(transition) - static_cast<double>(shift)));
  }

  /// Replaces scores by the numbers of the step; returns the logarithm that they are reduced by.
  static double from_scores(S* a, Index width) {
    const S highest = highest_of(a, width);
    for (Index v = 0; v < width; v += V::kLanes) {
      exp_not_positive(V::load(a + v) - V(highest)).store(a + v);
    }
    return static_cast<double>(highest);
  }
  /// to[j] = sum_i from[i] * matrix[i][j]
  static void product(const S* from, const S* matrix, Index labels, Index width, S* to) {
    for (Index v = 0; v < width; v += V::kLanes) {
      const auto step = [=](Index i, V sum) {
        return fma(V(from[i]), V::load(matrix + i * width + v), sum);
      };
      fold(labels, V::zero(), step, sum_of_two<S>).store(to + v);
    }
  }
  static void multiply_by(S* a, const S* b, Index width) {
    for (Index v = 0; v < width; v += V::kLanes) (V::load(a + v) * V::load(b + v)).store(a + v);
  }
  static S sum(const S* a, Index width) {
    V total = V::zero();
    for (Index v = 0; v < width; v += V::kLanes) total += V::load(a + v);
    return sum_of_lanes(total);
  }
  static void divide_by(S* a, S sum, Index width) {
    const S scale = S(1) / sum;
    for (Index v = 0; v < width; v += V::kLanes) (V::load(a + v) * scale).store(a + v);
  }
  static double log_of(S sum) { return std::log(static_cast<double>(sum)); }
  static void to_probabilities(S*, Index) {}

  /// Adds factor * the pair probabilities of all steps to `sums`, but for the factor exp(A).
  static void add_pairs(const S* alphas, const S* betas, Index pairs, const Matrices<S>&,
                        Index labels, Index width, S factor, S* scratch, S* sums) {
    for (Index at = 0; at < pairs * width; at += V::kLanes) {
      (V::load(alphas + at) * factor).store(scratch + at);
    }
    multiply_transposed<S>({scratch, pairs, labels, width}, {betas, pairs, width, width},
                           {sums, labels, width, width}, true);
  }
  static S pair(S sum, S matrix_element) { return sum * matrix_element; }
};

/// Numbers of a chain as logarithms.
template <class S>
struct Logs {
  using V = Vec<S>;
  static constexpr S kOne = 0, kZero = -kInfinity<S>;
  static S weight(S transition, S shift) { return transition - shift; }

  static double from_scores(S*, Index) { return 0; }
  static void product(const S* from, const S* matrix, Index labels, Index width, S* to) {
    for (Index v = 0; v < width; v += V::kLanes) {
      const auto term = [=](Index i) { return V(from[i]) + V::load(matrix + i * width + v); };
      const auto most = [=](Index i, V highest) { return larger(highest, term(i)); };
      const V highest = fold(labels, V(kLowest<S>), most, larger<S>);
      const auto step = [=](Index i, V sum) { return sum + exp_not_positive(term(i) - highest); };
      fold(labels, V::zero(), step, sum_of_two<S>).store(to + v);
      for (Index k = 0; k < V::kLanes; ++k) to[v + k] = std::log(to[v + k]);
      (V::load(to + v) + highest).store(to + v);
    }
  }
  static void multiply_by(S* a, const S* b, Index width) {
    for (Index v = 0; v < width; v += V::kLanes) (V::load(a + v) + V::load(b + v)).store(a + v);
  }
  static S sum(const S* a, Index width) {
    const S highest = std::max(highest_of(a, width), kLowest<S>);
    V total = V::zero();
    for (Index v = 0; v < width; v += V::kLanes) {
      total += exp_not_positive(V::load(a + v) - V(highest));
    }
    return highest + std::log(sum_of_lanes(total));
  }
  static void divide_by(S* a, S sum, Index width) {
    for (Index v = 0; v < width; v += V::kLanes) (V::load(a + v) - V(sum)).store(a + v);
  }
  static double log_of(S sum) { return static_cast<double>(sum); }
  /// Divided by their sum: logarithms of 10,000 have errors that show in it.
  static void to_probabilities(S* a, Index width) {
    for (Index v = 0; v < width; v += V::kLanes) {
      exp_not_positive(at_most(V::load(a + v), S(0))).store(a + v);
    }
    Scaled<S>::divide_by(a, Scaled<S>::sum(a, width), width);
  }

  static void add_pairs(const S* alphas, const S* betas, Index pairs, const Matrices<S>& matrices,
                        Index labels, Index width, S factor, S*, S* sums) {
    for (Index t = 0; t < pairs; ++t) {
      for (Index i = 0; i < labels; ++i) {
        const V from(alphas[t * width + i]);
        const S* const row = matrices.forward + i * width;
        for (Index v = 0; v < width; v += V::kLanes) {
          const V log = from + V::load(row + v) + V::load(betas + t * width + v);
          S* const to = sums + i * width + v;
          fma(exp_not_positive(at_most(log, S(0))), V(factor), V::load(to)).store(to);
        }
      }
    }
  }
  static S pair(S sum, S) { return sum; }
};

/// Scratch memory for one sequence after the other.
template <class S>
struct Workspace {
  Workspace(Arena& arena, Index steps, Index width)
      : alphas(arena.allocate<S>(steps * width)),
        betas(arena.allocate<S>(steps * width)),
        other(arena.allocate<S>(std::max<Index>(steps, 1) * width)),
        probabilities(arena.allocate<S>(width)) {}
  S* alphas;  // (n, width): of all ways to a label, with its emission
  S* betas;   // (n, width): emissions; then of all ways from a label on, with its emission
  S* other;   // (n, width)
  S* probabilities;
};

/// One sequence of a batch.
template <class S>
struct Chain {
  Chain(const CrfInput<S>& in, Index b)
      : steps(in.lengths == nullptr ? in.steps : in.lengths[b]),
        labels(in.labels),
        width(padded(in.labels, Vec<S>::kLanes)),
        emissions(in.emissions + b * in.steps * in.labels),
        start(in.start),
        end(in.end) {}

  /// The scores of step t (width), with those of the first and the last label. If `only` is given,
  /// the other labels of a step at which it is not negative cannot be.
  void scores(Index t, const std::int32_t* only, S* to) const {
    std::copy_n(emissions + t * labels, labels, to);
    if (t == 0) add(start, to);
    if (t == steps - 1) add(end, to);
    if (only != nullptr && only[t] >= 0) {
      std::fill_n(to, only[t], -kInfinity<S>);
      std::fill(to + only[t] + 1, to + labels, -kInfinity<S>);
    }
    std::fill(to + labels, to + width, -kInfinity<S>);
  }
  void add(const S* each, S* to) const {
    for (Index k = 0; k < labels; ++k) to[k] += each[k];
  }

  Index steps, labels, width;
  const S* emissions;
  const S* start;
  const S* end;
};

/// alphas, and the numbers of the emissions in betas; returns log Z.
template <class Number, class S>
double forward(const Chain<S>& chain, const Matrices<S>& matrices, const std::int32_t* only,
               const Workspace<S>& work) {
  const Index width = chain.width;
  double log_z = 0;
  for (Index t = 0; t < chain.steps; ++t) {
    S* const alpha = work.alphas + t * width;
    S* const emission = work.betas + t * width;
    chain.scores(t, only, emission);
    log_z += Number::from_scores(emission, width);
    if (t == 0) {
      std::copy_n(emission, width, alpha);
    } else {
      Number::product(alpha - width, matrices.forward, chain.labels, width, alpha);
      Number::multiply_by(alpha, emission, width);
      log_z += matrices.shift;
    }
    const S sum = Number::sum(alpha, width);
    Number::divide_by(alpha, sum, width);
    log_z += Number::log_of(sum);
  }
  return log_z;
}

/// Calls visit(t, probabilities) for the steps from the last to the first, with those of all labels
/// (width). Then alpha_t times matrix times beta_(t+1) has the pair probabilities.
template <class Number, class S, class Visit>
void backward(const Chain<S>& chain, const Matrices<S>& matrices, const Workspace<S>& work,
              Visit visit) {
  const Index width = chain.width;
  S* const p = work.probabilities;
  S* const after = work.other;  // of all ways from a label on, without its emission
  std::fill_n(after, width, Number::kOne);
  for (Index t = chain.steps - 1; t >= 0; --t) {
    S* const alpha = work.alphas + t * width;
    S* const beta = work.betas + t * width;
    std::copy_n(alpha, width, p);
    Number::multiply_by(p, after, width);
    const S sum = Number::sum(p, width);
    Number::divide_by(p, sum, width);
    Number::divide_by(alpha, sum, width);
    Number::to_probabilities(p, width);
    visit(t, p);
    if (t == 0) break;
    Number::multiply_by(beta, after, width);
    Number::divide_by(beta, Number::sum(beta, width), width);
    Number::product(beta, matrices.backward, chain.labels, width, after);
  }
}

/// Sums for the gradients of A, s and e over some of the sequences.
template <class S>
struct ParameterSums {
  S* pairs;        // (K, width): of pair probabilities, see add_pairs
  S* transitions;  // (K, K)
  S* start;        // (K)
  S* end;          // (K)

  static Index size(Index labels, Index width) {
    return padded(labels * (width + labels + 2), Vec<S>::kLanes);
  }
  ParameterSums(S* memory, Index labels, Index width)
      : pairs(memory),
        transitions(pairs + labels * width),
        start(transitions + labels * labels),
        end(start + labels) {}
};

/// The score of the labels of a chain.
template <class S>
double score(const Chain<S>& chain, const S* transitions, const std::int32_t* labels) {
  double total = 0;
  for (Index t = 0; t < chain.steps; ++t) {
    const Index k = labels[t];
    const S first = t == 0 ? chain.start[k] : S(0);
    const S last = t == chain.steps - 1 ? chain.end[k] : S(0);
    total += static_cast<double>(chain.emissions[t * chain.labels + k] + first + last);
    if (t > 0) total += static_cast<double>(transitions[labels[t - 1] * chain.labels + k]);
  }
  return total;
}

/// Adds `factor` times the expected counts of labels and of pairs to the gradients.
template <class Number, class S>
void add_expected(const Chain<S>& chain, const Matrices<S>& matrices, const Workspace<S>& work,
                  S factor, S* d_emissions, const ParameterSums<S>& sums) {
  const Index labels = chain.labels, width = chain.width;
  backward<Number>(chain, matrices, work, [&](Index t, const S* p) {
    S* const d = d_emissions + t * labels;
    for (Index k = 0; k < labels; ++k) d[k] += factor * p[k];
  });
  const Index pairs = chain.steps - 1;
  if (pairs > 0) {
    Number::add_pairs(work.alphas, work.betas + width, pairs, matrices, labels, width, factor,
                      work.other, sums.pairs);
  }
}

/// The same for the counts of given labels.
template <class S>
void add_observed(const Chain<S>& chain, const std::int32_t* labels, S factor, S* d_emissions,
                  const ParameterSums<S>& sums) {
  for (Index t = 0; t < chain.steps; ++t) {
    d_emissions[t * chain.labels + labels[t]] += factor;
    if (t > 0) sums.transitions[labels[t - 1] * chain.labels + labels[t]] += factor;
  }
}

/// -log p of the labels of a sequence. With gradients, those of weight * -log p.
template <class Number, class S>
double sequence_loss(const Chain<S>& chain, const Matrices<S>& matrices, const S* transitions,
                     const std::int32_t* labels, S weight, const Workspace<S>& work, S* d_emissions,
                     const ParameterSums<S>* sums) {
  const bool all_known =
      std::all_of(labels, labels + chain.steps, [](std::int32_t label) { return label >= 0; });
  const double log_z = forward<Number>(chain, matrices, nullptr, work);
  if (sums != nullptr) add_expected<Number>(chain, matrices, work, weight, d_emissions, *sums);
  double log_target = 0;  // of the sum over what is not known
  if (all_known) {
    log_target = score(chain, transitions, labels);
    if (sums != nullptr) add_observed(chain, labels, -weight, d_emissions, *sums);
  } else {
    log_target = forward<Number>(chain, matrices, labels, work);
    if (sums != nullptr) add_expected<Number>(chain, matrices, work, -weight, d_emissions, *sums);
  }
  if (sums != nullptr) {
    const S* const d_last = d_emissions + (chain.steps - 1) * chain.labels;
    for (Index k = 0; k < chain.labels; ++k) {
      sums->start[k] += d_emissions[k];
      sums->end[k] += d_last[k];
    }
  }
  return log_z - log_target;
}

/// Whether A can be used as exponentials.
template <class S>
bool is_narrow(const S* transitions, Index labels) {
  constexpr S kWidest = sizeof(S) == sizeof(float) ? S(40) : S(300);
  const auto [low, high] = std::minmax_element(transitions, transitions + labels * labels);
  return *high - *low <= kWidest;
}

template <class Number, class S>
Matrices<S> make_matrices(const S* transitions, Index labels, Arena& arena) {
  const Index width = padded(labels, Vec<S>::kLanes);
  S* const forward = arena.allocate<S>(labels * width);
  S* const backward = arena.allocate<S>(labels * width);
  const S highest = *std::max_element(transitions, transitions + labels * labels);
  std::fill_n(forward, labels * width, Number::kZero);
  std::fill_n(backward, labels * width, Number::kZero);
  for (Index i = 0; i < labels; ++i) {
    for (Index j = 0; j < labels; ++j) {
      const S weight = Number::weight(transitions[i * labels + j], highest);
      forward[i * width + j] = backward[j * width + i] = weight;
    }
  }
  return {forward, backward, static_cast<double>(highest)};
}

/// Parts of a batch, each of which has sums for the gradients of the parameters.
Index parts_of(Index batch, Index sums) {
  constexpr Index kMostParts = 32, kMostElements = Index{1} << 22;
  return std::clamp<Index>(kMostElements / sums, 1, std::clamp<Index>(batch, 1, kMostParts));
}

template <class S>
LoopCost cost_of(const CrfInput<S>& in, double products) {
  const auto width = static_cast<double>(padded(in.labels, Vec<S>::kLanes));
  const double steps = static_cast<double>(in.batch) * static_cast<double>(in.steps);
  return {steps * width * (products * 2 * static_cast<double>(in.labels) + 40)};
}

/// body(part, sequence) for all sequences, in order in each part.
template <class S, class Body>
void for_each_sequence(const CrfInput<S>& in, Index parts, double products, const Body& body) {
  for_each_block(parts, cost_of(in, products), [&](Index part) {
    Arena& arena = scratch();
    const Arena::Scope scope(arena);
    const Workspace<S> work(arena, in.steps, padded(in.labels, Vec<S>::kLanes));
    const Range own = part_of(in.batch, static_cast<int>(part), static_cast<int>(parts));
    for (Index b = own.first; b < own.last; ++b) body(part, b, work);
  });
}

/// Writes the gradients of the parameters: the sums of the parts, in order.
template <class Number, class S>
void write_sums(const CrfInput<S>& in, const Matrices<S>& matrices, S* memory, Index parts,
                const CrfGradients<S>& d) {
  const Index labels = in.labels, width = padded(labels, Vec<S>::kLanes);
  const Index size = ParameterSums<S>::size(labels, width);
  for (Index part = 1; part < parts; ++part) {
    for (Index i = 0; i < size; ++i) memory[i] += memory[part * size + i];
  }
  const ParameterSums<S> sums(memory, labels, width);
  std::copy_n(sums.start, labels, d.start);
  std::copy_n(sums.end, labels, d.end);
  for (Index i = 0; i < labels; ++i) {
    for (Index j = 0; j < labels; ++j) {
      const Index at = i * width + j;
      d.transitions[i * labels + j] =
          Number::pair(sums.pairs[at], matrices.forward[at]) + sums.transitions[i * labels + j];
    }
  }
}

template <class Number, class S>
double loss_of_batch(const CrfInput<S>& in, const CrfTargets& targets, double* losses,
                     const CrfGradients<S>& d) {
  const Index labels = in.labels, width = padded(labels, Vec<S>::kLanes);
  const Index size = ParameterSums<S>::size(labels, width), parts = parts_of(in.batch, size);
  Arena& arena = scratch();
  const Arena::Scope scope(arena);
  const Matrices<S> matrices = make_matrices<Number>(in.transitions, labels, arena);
  const bool wanted = d.emissions != nullptr;
  S* const memory = wanted ? arena.allocate_zeroed<S>(parts * size) : nullptr;
  if (wanted) std::fill_n(d.emissions, in.batch * in.steps * labels, S(0));
  for_each_sequence(in, parts, wanted ? 3 : 1, [&](Index part, Index b, const auto& work) {
    const Chain<S> chain(in, b);
    const double weight = targets.weights == nullptr ? 1.0 : targets.weights[b];
    losses[b] = 0;
    if (chain.steps == 0 || weight == 0) return;
    std::optional<ParameterSums<S>> sums;
    if (wanted) sums.emplace(memory + part * size, labels, width);
    losses[b] = weight * sequence_loss<Number>(
                             chain, matrices, in.transitions, targets.labels + b * in.steps,
                             static_cast<S>(weight / targets.divisor), work,
                             wanted ? d.emissions + b * in.steps * labels : nullptr,
                             sums ? &*sums : nullptr);
  });
  if (wanted) write_sums<Number>(in, matrices, memory, parts, d);
  double total = 0;
  for (Index b = 0; b < in.batch; ++b) total += losses[b];
  return total / targets.divisor;
}

template <class Number, class S>
void marginals_of_batch(const CrfInput<S>& in, S* probabilities) {
  Arena& arena = scratch();
  const Arena::Scope scope(arena);
  const Matrices<S> matrices = make_matrices<Number>(in.transitions, in.labels, arena);
  for_each_sequence(in, in.batch, 2, [&](Index, Index b, const auto& work) {
    const Chain<S> chain(in, b);
    S* const rows = probabilities + b * in.steps * in.labels;
    forward<Number>(chain, matrices, nullptr, work);
    backward<Number>(chain, matrices, work,
                     [&](Index t, const S* p) { std::copy_n(p, in.labels, rows + t * in.labels); });
    std::fill(rows + chain.steps * in.labels, rows + in.steps * in.labels, S(0));
  });
}

/// best[t][j] is the highest score of the ways to label j at step t, reduced by that of the step.
template <class S>
void viterbi(const Chain<S>& chain, const Matrices<S>& logs, const Workspace<S>& work,
             std::int32_t* path) {
  using V = Vec<S>;
  const Index labels = chain.labels, width = chain.width;
  for (Index t = 0; t < chain.steps; ++t) {
    S* const best = work.alphas + t * width;
    chain.scores(t, nullptr, best);
    for (Index v = 0; t > 0 && v < width; v += V::kLanes) {
      const S* const before = best - width;
      const auto step = [=](Index i, V highest) {
        return larger(highest, V(before[i]) + V::load(logs.forward + i * width + v));
      };
      (V::load(best + v) + fold(labels, V(-kInfinity<S>), step, larger<S>)).store(best + v);
    }
    Logs<S>::divide_by(best, std::max(highest_of(best, width), kLowest<S>), width);
  }
  // Of the ways to a label, the best one is found again on the way back.
  for (Index t = chain.steps - 1; t >= 0; --t) {
    S* const best = work.alphas + t * width;
    if (t + 1 < chain.steps) Logs<S>::multiply_by(best, logs.backward + path[t + 1] * width, width);
    path[t] = static_cast<std::int32_t>(std::max_element(best, best + labels) - best);
  }
}

}  // namespace

template <class S>
double crf_loss(const CrfInput<S>& input, const CrfTargets& targets, double* losses,
                const CrfGradients<S>& gradients) {
  return is_narrow(input.transitions, input.labels)
             ? loss_of_batch<Scaled<S>>(input, targets, losses, gradients)
             : loss_of_batch<Logs<S>>(input, targets, losses, gradients);
}

template <class S>
void crf_marginals(const CrfInput<S>& input, S* probabilities) {
  is_narrow(input.transitions, input.labels) ? marginals_of_batch<Scaled<S>>(input, probabilities)
                                             : marginals_of_batch<Logs<S>>(input, probabilities);
}

template <class S>
void crf_viterbi(const CrfInput<S>& input, std::int32_t* labels) {
  Arena& arena = scratch();
  const Arena::Scope scope(arena);
  const Matrices<S> logs = make_matrices<Logs<S>>(input.transitions, input.labels, arena);
  for_each_sequence(input, input.batch, 1, [&](Index, Index b, const auto& work) {
    const Chain<S> chain(input, b);
    std::int32_t* const path = labels + b * input.steps;
    viterbi(chain, logs, work, path);
    std::fill(path + chain.steps, path + input.steps, 0);
  });
}

#define BPTT_INSTANTIATE(S)                                                \
  template double crf_loss(const CrfInput<S>&, const CrfTargets&, double*, \
                           const CrfGradients<S>&);                        \
  template void crf_marginals(const CrfInput<S>&, S*);                     \
  template void crf_viterbi(const CrfInput<S>&, std::int32_t*);
BPTT_INSTANTIATE(float)
BPTT_INSTANTIATE(double)
#undef BPTT_INSTANTIATE

}  // namespace bptt
