#include "core/losses.hpp"

#include <vector>

#include "core/linear.hpp"
#include "core/linear_cross_entropy.hpp"
#include "core/linear_rows.hpp"
#include "core/row_losses.hpp"
#include "fuzz/targets.hpp"
#include "fuzz/tools.hpp"

namespace bptt::fuzz {

template <class S>
void fuzz_linear(Choices& choices) {
  const Index rows = choices.size(0, 40), in = choices.size(0, 20), out = choices.size(0, 40);
  const bool bias = choices.flag(), wants_input = choices.flag();
  Numbers numbers(choices);
  const auto x = numbers.memory<S>(rows * in, 2), weight = numbers.memory<S>(out * in, 1);
  const auto c = numbers.memory<S>(out, 1), d_y = numbers.memory<S>(rows * out, 1);
  const auto results = with_threads(choices, [&] {
    Memory<S> y(rows * out), d_x(wants_input ? rows * in : 0), d_weight(out * in), d_bias(out);
    Memory<S> of_rows(rows * out);
    linear_forward(x.data(), rows, in, out, weight.data(), bias ? c.data() : nullptr, y.data());
    linear_rows(x.data(), rows, in, out, weight.data(), bias ? c.data() : nullptr, of_rows.data());
    linear_backward(x.data(), rows, in, out, weight.data(), d_y.data(),
                    wants_input ? d_x.data() : nullptr, d_weight.data(),
                    bias ? d_bias.data() : nullptr);
    Results<S> all;
    for (Memory<S>* each : {&y, &of_rows, &d_x, &d_weight, &d_bias})
      all.push_back(std::move(*each));
    return all;
  });
  require_finite(results, numbers);
}

template <class S>
void fuzz_linear_cross_entropy(Choices& choices) {
  const Index batch = choices.size(0, 9), steps = choices.size(0, 9);
  const Index in = choices.size(1, 20), out = choices.size(1, 60);
  const bool bias = choices.flag(), gradients = choices.flag();
  const CrossEntropyOptions options{.smoothing = choices.flag() ? 0.1 : 0,
                                    .divisor = choices.flag() ? 7.0 : 1.0};
  Numbers numbers(choices);
  const auto weight = numbers.memory<S>(out * in, 1), c = numbers.memory<S>(out, 1);
  const Input<S> x(choices, batch, steps, in, [&] { return numbers.draw<S>(2); });
  const bool adjacent = in < 2 || x.view().feature_stride == 1;
  if (!adjacent) return;  // the binding copies such an input
  std::vector<Index> counted;
  for (Index i = 0; i < batch * steps; ++i) {
    if (choices.byte() % 4 != 3) counted.push_back(i);
  }
  Memory<std::int32_t> targets(batch * steps);
  for (Index i = 0; i < targets.size(); ++i) {
    targets[i] = static_cast<std::int32_t>(numbers.below(out));
  }
  const auto results = with_threads(choices, [&] {
    Memory<S> d_x(batch * steps * in), d_weight(out * in), d_bias(out), all(1 + batch * steps);
    Memory<double> losses(batch * steps);
    Memory<std::int32_t> predicted(batch * steps);
    std::vector<LossRow<S>> rows;
    for (const Index i : counted) {
      rows.push_back({x.view().row(i / steps, i % steps), targets[i], 0.5, losses.data() + i,
                      d_x.data() + i * in, predicted.data() + i});
    }
    const double value = linear_cross_entropy<S>(
        rows, {weight.data(), bias ? c.data() : nullptr, in, out}, options,
        gradients ? d_weight.data() : nullptr, bias && gradients ? d_bias.data() : nullptr);
    all[0] = static_cast<S>(value);
    for (Index i = 0; i < batch * steps; ++i) {
      all[1 + i] = static_cast<S>(losses[i]);
      require(predicted[i] >= 0 && predicted[i] < out, "a predicted class exists");
    }
    Results<S> found;
    for (Memory<S>* each : {&all, &d_x, &d_weight, &d_bias}) found.push_back(std::move(*each));
    return found;
  });
  require_finite(results, numbers);
}

template <class S>
void fuzz_losses(Choices& choices) {
  const Index batch = choices.size(0, 9), steps = choices.size(0, 9), width = choices.size(1, 40);
  const unsigned kind = choices.byte() % 4, output_kind = choices.byte();
  const bool weighted = choices.flag();
  const double smoothing = choices.flag() ? 0.1 : 0, divisor = choices.flag() ? 3 : 1;
  Numbers numbers(choices);
  const auto adjacent = [&](Index features, double scale) {  // features are, rows are anywhere
    Output<S> a(choices.byte(), batch, steps, features);
    for (Index i = 0; i < a.memory.size(); ++i) a.memory[i] = numbers.draw<S>(scale);
    return a;
  };
  const Output<S> y = adjacent(width, 3), z = adjacent(width, 1);
  const Input<std::int32_t> targets(
      choices, batch, steps, 1, [&] { return static_cast<std::int32_t>(numbers.below(width)); });
  Memory<double> weights(batch * steps);
  for (Index i = 0; i < weights.size(); ++i) weights[i] = static_cast<double>(choices.size(0, 2));
  const double* const w = weighted ? weights.data() : nullptr;
  const auto results = with_threads(choices, [&] {
    Output<S> d(output_kind, batch, steps, width);
    Memory<S> value(1);
    if (kind == 3) {
      value[0] = static_cast<S>(softmax_cross_entropy<S>(
          batch, steps, width, read_only(y.view), targets.view(), w, {smoothing, divisor}, d.view));
    } else {
      const RowLossResult found =
          row_loss<S>(static_cast<RowLoss>(kind), batch, steps, width, read_only(y.view),
                      read_only(z.view), w, {smoothing, divisor}, d.view);
      value[0] = static_cast<S>(found.value);
    }
    d.check_gaps();
    Results<S> all;
    all.push_back(std::move(value));
    all.push_back(std::move(d.memory));
    return all;
  });
  require_finite(results, numbers);
}

template void fuzz_linear<float>(Choices&);
template void fuzz_linear<double>(Choices&);
template void fuzz_linear_cross_entropy<float>(Choices&);
template void fuzz_linear_cross_entropy<double>(Choices&);
template void fuzz_losses<float>(Choices&);
template void fuzz_losses<double>(Choices&);

}  // namespace bptt::fuzz
