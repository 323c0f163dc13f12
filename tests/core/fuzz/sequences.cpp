#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "core/crf.hpp"
#include "core/ctc.hpp"
#include "core/padding.hpp"
#include "fuzz/targets.hpp"
#include "fuzz/tools.hpp"

namespace bptt::fuzz {
namespace {

/// Rounding of sums over a sequence.
template <class S>
double tolerance(Index steps) {
  return 100 * static_cast<double>(steps + 1) *
         static_cast<double>(std::numeric_limits<S>::epsilon());
}

/// A weight for each sequence, often 0.
Memory<double> draw_weights(Choices& choices, Index batch) {
  Memory<double> weights(batch);
  for (Index b = 0; b < batch; ++b) weights[b] = 0.5 * static_cast<double>(choices.byte() % 3);
  return weights;
}

Memory<std::int32_t> draw_ids(Numbers& numbers, Index count, Index below) {
  Memory<std::int32_t> ids(count);
  for (Index i = 0; i < count; ++i) ids[i] = static_cast<std::int32_t>(numbers.below(below));
  return ids;
}

template <class S>
class CrfFuzz {
 public:
  explicit CrfFuzz(Choices& choices)
      : choices_(choices),
        batch_(choices.size(0, 40)),
        steps_(choices.size(0, 9)),
        labels_(choices.size(1, 20)),
        ragged_(choices.flag()),
        weighted_(choices.flag()),
        lengths_(draw_lengths(choices, batch_, steps_)),
        weights_(draw_weights(choices, batch_)),
        scale_(choices.byte() % 3 == 2 ? 1e4 : 1),  // too wide for exponentials
        numbers_(choices),
        emissions_(numbers_.memory<S>(batch_ * steps_ * labels_, 2)),
        transitions_(numbers_.memory<S>(labels_ * labels_, scale_)),
        start_(numbers_.memory<S>(labels_, 1)),
        end_(numbers_.memory<S>(labels_, 1)),
        targets_(draw_ids(numbers_, batch_ * steps_, labels_)) {
    for (Index i = 0; i < targets_.size(); ++i) {
      if (choices.byte() % 8 == 7) targets_[i] = -1;  // not known
    }
  }

  void run() {
    const Results<S> loss = with_threads(choices_, [&] { return losses(input(), true); });
    const Results<S> others = with_threads(choices_, [&] { return marginals(); });
    require_finite(loss, numbers_);
    require_finite(others, numbers_);
    const Results<S> without = losses(input(), false);
    require(same(loss[0], without[0]), "the same loss without gradients");
    if (batch_ > 0) check_alone(choices_.size(0, batch_ - 1), loss[0]);
    if (!numbers_.wild) check_probabilities(others[0]);
  }

 private:
  CrfInput<S> input() const {
    return {.batch = batch_,
            .steps = steps_,
            .labels = labels_,
            .emissions = emissions_.data(),
            .transitions = transitions_.data(),
            .start = start_.data(),
            .end = end_.data(),
            .lengths = ragged_ ? lengths_.data() : nullptr};
  }
  Index length(Index b) const { return ragged_ ? lengths_[b] : steps_; }

  Results<S> losses(const CrfInput<S>& in, bool gradients) const {
    Memory<double> each(in.batch);
    Memory<S> all(in.batch + 1), d_x(gradients ? in.batch * in.steps * labels_ : 0);
    Memory<S> d_a(labels_ * labels_), d_start(labels_), d_end(labels_);
    CrfGradients<S> d{};
    if (gradients) d = {d_x.data(), d_a.data(), d_start.data(), d_end.data()};
    const Index first = (in.emissions - emissions_.data()) / std::max<Index>(1, steps_ * labels_);
    const CrfTargets wanted{targets_.data() + first * steps_,
                            weighted_ ? weights_.data() + first : nullptr, 2.0};
    all[in.batch] = static_cast<S>(crf_loss(in, wanted, each.data(), d));
    for (Index b = 0; b < in.batch; ++b) all[b] = static_cast<S>(each[b]);
    Results<S> results;
    for (Memory<S>* one : {&all, &d_x, &d_a, &d_start, &d_end}) results.push_back(std::move(*one));
    return results;
  }

  /// Probabilities, and labels of Viterbi's algorithm.
  Results<S> marginals() const {
    Memory<S> p(batch_ * steps_ * labels_), path(batch_ * steps_);
    Memory<std::int32_t> labels(batch_ * steps_);
    crf_marginals(input(), p.data());
    crf_viterbi(input(), labels.data());
    for (Index i = 0; i < labels.size(); ++i) {
      require(labels[i] >= 0 && labels[i] < labels_, "a label of the best path exists");
      path[i] = static_cast<S>(labels[i]);
    }
    Results<S> results;
    results.push_back(std::move(p));
    results.push_back(std::move(path));
    return results;
  }

  /// A sequence has the same loss alone as in its batch.
  void check_alone(Index b, const Memory<S>& of_batch) const {
    if (steps_ == 0) return;
    CrfInput<S> one = input();
    one.batch = 1;
    one.emissions += b * steps_ * labels_;
    if (ragged_) one.lengths += b;
    Memory<S> expected(1), found(1);
    expected[0] = of_batch[b];
    found[0] = losses(one, true)[0][0];
    require(same(expected, found), "the same bits for a sequence alone");
  }

  void check_probabilities(const Memory<S>& p) const {
    for (Index b = 0; b < batch_; ++b) {
      for (Index t = 0; t < steps_; ++t) {
        double sum = 0;
        for (Index k = 0; k < labels_; ++k) {
          sum += static_cast<double>(p[(b * steps_ + t) * labels_ + k]);
        }
        const double expected = t < length(b) ? 1 : 0;
        require(std::abs(sum - expected) < tolerance<S>(labels_), "probabilities have sum 1");
      }
    }
  }

  Choices& choices_;
  const Index batch_, steps_, labels_;
  const bool ragged_, weighted_;
  const Memory<Index> lengths_;
  const Memory<double> weights_;
  const double scale_;
  Numbers numbers_;
  const Memory<S> emissions_, transitions_, start_, end_;
  const Memory<std::int32_t> targets_;
};

}  // namespace

template <class S>
void fuzz_crf(Choices& choices) {
  CrfFuzz<S>(choices).run();
}

template <class S>
void fuzz_ctc(Choices& choices) {
  const Index batch = choices.size(0, 9), steps = choices.size(0, 20);
  const Index classes = choices.size(1, 40), labels = classes > 1 ? choices.size(0, 20) : 0;
  const bool ragged = choices.flag(), ragged_targets = choices.flag(), weighted = choices.flag();
  const bool zero_infinity = choices.flag();
  const Index blank = choices.size(0, classes - 1);
  const auto lengths = draw_lengths(choices, batch, steps);
  const auto counts = draw_lengths(choices, batch, labels);
  const auto weights = draw_weights(choices, batch);
  Numbers numbers(choices);
  const auto logits = numbers.memory<S>(batch * steps * classes, choices.flag() ? 2 : 200);
  const auto targets = draw_ids(numbers, batch * labels, std::max<Index>(classes - 1, 1));
  for (Index i = 0; i < targets.size(); ++i) targets[i] += targets[i] >= blank;
  const CtcInput<S> in{.batch = batch,
                       .steps = steps,
                       .classes = classes,
                       .labels = labels,
                       .logits = logits.data(),
                       .targets = targets.data(),
                       .lengths = ragged ? lengths.data() : nullptr,
                       .target_lengths = ragged_targets ? counts.data() : nullptr,
                       .weights = weighted ? weights.data() : nullptr,
                       .blank = blank,
                       .zero_infinity = zero_infinity,
                       .divisor = 2};
  const auto results = with_threads(choices, [&] {
    Memory<S> d(batch * steps * classes), value(1);
    value[0] = static_cast<S>(ctc_loss(in, d.data()));
    Results<S> all;
    all.push_back(std::move(d));
    all.push_back(std::move(value));
    return all;
  });
  if (numbers.wild) return;
  const S value = results[1][0];
  require(finite(results[0]), "a finite gradient of moderate logits");
  require(value >= -tolerance<S>(batch * steps) * 200, "a loss is not negative");
  require(std::isfinite(value) || (!zero_infinity && value > 0), "a loss is finite or infinite");
  for (Index row = 0; row < batch * steps; ++row) {
    double sum = 0;
    for (Index k = 0; k < classes; ++k) sum += static_cast<double>(results[0][row * classes + k]);
    require(std::abs(sum) < tolerance<S>(classes), "the gradient of a step has sum 0");
  }
}

/// Padding of values of any size.
template <class S>
void fuzz_padding(Choices& choices) {
  const Index total = choices.size(0, 60), row = choices.size(0, 9), batch = choices.size(0, 9);
  Numbers numbers(choices);
  const auto values = numbers.memory<S>(total * row, 1);
  Memory<std::int64_t> starts(batch), lengths(batch);
  Index longest = choices.size(0, 3);
  for (Index b = 0; b < batch; ++b) {
    starts[b] = choices.size(0, total);
    lengths[b] = choices.size(0, total - starts[b]);
    longest = std::max<Index>(longest, lengths[b]);
  }
  Memory<S> padded(batch * longest * row, S(7));
  pad({reinterpret_cast<const std::byte*>(values.data()), row * static_cast<Index>(sizeof(S)),
       starts.data(), lengths.data()},
      batch, longest, reinterpret_cast<std::byte*>(padded.data()));
  for (Index b = 0; b < batch; ++b) {
    for (Index i = 0; i < longest * row; ++i) {
      const S found = padded[b * longest * row + i];
      const S expected = i < lengths[b] * row ? values[starts[b] * row + i] : S(0);
      require(std::memcmp(&found, &expected, sizeof(S)) == 0, "values, then zeros");
    }
  }
}

template void fuzz_crf<float>(Choices&);
template void fuzz_crf<double>(Choices&);
template void fuzz_ctc<float>(Choices&);
template void fuzz_ctc<double>(Choices&);
template void fuzz_padding<float>(Choices&);
template void fuzz_padding<double>(Choices&);

}  // namespace bptt::fuzz
