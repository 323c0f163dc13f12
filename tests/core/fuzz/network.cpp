#include "core/network.hpp"

#include <algorithm>
#include <vector>

#include "core/activations.hpp"
#include "core/cells/cell_kind.hpp"
#include "core/merge.hpp"
#include "core/recompute.hpp"
#include "fuzz/targets.hpp"
#include "fuzz/tools.hpp"

namespace bptt::fuzz {

namespace {

template <class S>
class NetworkFuzz {
 public:
  explicit NetworkFuzz(Choices& choices)
      : choices_(choices),
        config_(draw_config(choices)),
        batch_(draw_batch(choices, config_)),
        output_kind_(choices.byte()),
        recompute_every_(config_.bidirectional ? 0 : choices.size(0, 4)),
        uses_ids_(choices.byte() % 4 == 0),
        aliases_(choices.flag()),
        numbers_(choices),
        parameters_(numbers_.memory<S>(parameter_count(config_), weight_scale())),
        x_(choices, size(), steps(), uses_ids_ ? 0 : config_.input_size,
           [&] { return numbers_.draw<S>(2); }),
        decay_(numbers_.memory<S>(size() * steps() * decay_units(), 1)),
        ids_(choices, size(), steps(), 1,
             [&] { return static_cast<std::int32_t>(numbers_.below(config_.input_size)); }),
        d_y_(choices, size(), steps(), config_.output_size(), [&] { return numbers_.draw<S>(1); }),
        initial_(draw_states()),
        d_last_(draw_states()),
        given_(choices.byte()),
        network_(config_, parameters_.data(), true) {}

  /// A training, and one of its comparisons.
  void run() {
    const Results<S> trained = with_threads(choices_, [&] { return train(recompute_every_); });
    if (is_bounded()) require_finite(trained, numbers_);
    switch (choices_.byte() % 3) {
      case 0:
        if (recompute_every_ > 0) require_same(train(0), trained, "the same bits recomputed");
        break;
      case 1:
        check_inference(trained);
        break;
      default:
        if (size() > 0) check_row_alone(choices_.size(0, size() - 1));
    }
  }

 private:
  static LayerConfig draw_config(Choices& choices) {
    LayerConfig config;
    config.cell = choices.kind<CellKind>(static_cast<int>(cell_infos().size()));
    config.activations = {choices.kind<Activation>(4), choices.kind<GateActivation>(3)};
    config.input_size = choices.size(1, 20);
    config.num_heads = choices.flag() ? choices.size(1, 4) : 1;
    config.hidden_size = config.num_heads * choices.size(1, 40 / config.num_heads);
    config.num_layers = choices.size(1, 3);
    config.bidirectional = choices.flag();
    config.merge = choices.kind<Merge>(4);
    config.dropout = choices.flag() ? 0.25 : 0;
    config.zoneout = choices.flag() ? 0.25 : 0;
    config.recurrent_dropout = choices.flag() ? 0.25 : 0;
    if (cell_info(config.cell).memory > 0 && config.num_heads == 1) {
      config.proj_size = choices.size(0, config.hidden_size - 1);
    }
    return config;
  }

  /// Fewer steps of more work: an input takes at most a few milliseconds.
  static RaggedBatch draw_batch(Choices& choices, const LayerConfig& config) {
    constexpr Index kMostWork = 100'000;
    const Index batch = choices.size(0, 9), steps = choices.size(0, 12);
    const Index sums = config.num_layers * config.directions() * std::max<Index>(batch, 1);
    const Index work = sums * config.hidden_size * (config.hidden_size + config.input_size);
    return fuzz::draw_batch(choices, batch, std::min(steps, std::max<Index>(2, kMostWork / work)));
  }

  Index size() const { return batch_.size(); }
  Index steps() const { return batch_.steps(); }
  Index state_size(std::size_t state) const {
    return directions() * size() * config_.state_size(state);
  }
  Index directions() const { return config_.num_layers * config_.directions(); }
  Index decay_units() const { return config_.directions() * config_.h_size(); }
  /// Gradients of a product of unbounded factors may overflow.
  bool is_bounded() const {
    const Activation activation = config_.activations.cell;
    return activation == Activation::kTanh || activation == Activation::kSigmoid;
  }
  double weight_scale() const {
    return 2.0 / static_cast<double>(std::max(config_.hidden_size, config_.input_size));
  }
  std::size_t states() const { return static_cast<std::size_t>(cell_info(config_.cell).states()); }
  std::vector<Memory<S>> draw_states() {
    std::vector<Memory<S>> drawn;
    for (std::size_t i = 0; i < states(); ++i) {
      drawn.push_back(numbers_.memory<S>(state_size(i), 1));
    }
    if (states() > 2) {  // a normalizer, which divides, and is never small
      for (Index i = 0; i < state_size(2); ++i) drawn[2].data()[i] += S(2);
    }
    return drawn;
  }
  States<const S> given_states(const std::vector<Memory<S>>& drawn, bool memory) const {
    States<const S> all{};
    for (std::size_t i = 0; i < (memory ? states() : 1); ++i) all[i] = drawn[i].data();
    return all;
  }
  std::vector<Memory<S>> new_states(Index rows) const {
    std::vector<Memory<S>> made;
    for (std::size_t i = 0; i < states(); ++i) {
      made.emplace_back(directions() * rows * config_.state_size(i));
    }
    return made;
  }
  static States<S> pointers(std::vector<Memory<S>>& memory) {
    States<S> all{};
    for (std::size_t i = 0; i < memory.size(); ++i) all[i] = memory[i].data();
    return all;
  }
  /// What is optional in a call is given or not, by this bit.
  bool given(unsigned bit) const { return ((given_ >> bit) & 1U) != 0; }

  LayerInput<S> input() const {
    const Index row = decay_units();
    const Sequence<const S> decay =
        given(6) ? Sequence<const S>{decay_.data(), steps() * row, row} : Sequence<const S>{};
    if (uses_ids_) return {.values = {}, .ids = ids_.view(), .decay = decay};
    return {.values = x_.view(), .ids = {}, .decay = decay};
  }

  struct Forward {
    Output<S> y;
    std::vector<Memory<S>> last;
  };

  NetworkForward<S> forward_call(Forward& to) const {
    States<const S> initial{};
    if (given(0)) initial = given_states(initial_, given(1));
    if (aliases_ && given(0)) {  // states may be updated in place
      std::copy_n(initial_[0].data(), state_size(0), to.last[0].data());
      initial[0] = to.last[0].data();
    }
    return {.batch = &batch_,
            .x = input(),
            .y = to.y.view,
            .initial = initial,
            .last = pointers(to.last)};
  }
  Forward new_forward() const {
    return {Output<S>(output_kind_, size(), steps(), config_.output_size()), new_states(size())};
  }

  Results<S> infer() const {
    Forward to = new_forward();
    network_.infer(forward_call(to));
    to.y.check_gaps();
    Results<S> results;
    results.push_back(std::move(to.y.memory));
    for (Memory<S>& state : to.last) results.push_back(std::move(state));
    return results;
  }

  Results<S> train(Index recompute_every) const {
    Forward to = new_forward();
    Saved<S> saved(batch_, 17);
    const NetworkForward<S> call = forward_call(to);
    recompute_every > 0 ? forward_recompute(network_, call, recompute_every, saved)
                        : network_.forward(call, saved);
    to.y.check_gaps();

    Output<S> d_x(output_kind_, size(), steps(), config_.input_size);
    Output<S> d_decay(output_kind_, size(), steps(), decay_units());
    std::vector<Memory<S>> d_initial = new_states(size());
    Memory<S> d_parameters(parameter_count(config_), S(-12345));
    Memory<S> d_h_steps(given(5) ? steps() * state_size(0) : 0);
    Memory<S> d_c_steps(given(5) ? steps() * state_size(1) : 0);
    const auto sequences = [&](Memory<S>& of, Index units) {
      std::vector<Sequence<S>> all;
      for (Index i = 0; given(5) && i < directions(); ++i) {
        all.push_back({of.data() + i * size() * steps() * units, steps() * units, units, 1});
      }
      return all;
    };
    NetworkBackward<S> backward{
        .saved = &saved,
        .x = input(),
        .y = read_only(to.y.view),
        .d_y = given(2) ? d_y_.view() : Sequence<const S>{},
        .d_last = given(3) ? given_states(d_last_, true) : States<const S>{},
        .d_x = given(4) && !uses_ids_ ? d_x.view : Sequence<S>{},
        .d_initial = pointers(d_initial),
        .d_parameters = d_parameters.data(),
        .d_h_steps = sequences(d_h_steps, config_.h_size()),
        .d_c_steps =
            states() > 1 ? sequences(d_c_steps, config_.hidden_size) : std::vector<Sequence<S>>{},
        .d_decay = given(6) ? d_decay.view : Sequence<S>{}};
    backward_recompute(network_, backward);
    d_x.check_gaps();
    d_decay.check_gaps();
    Results<S> results;
    results.push_back(std::move(to.y.memory));
    for (Memory<S>& state : to.last) results.push_back(std::move(state));
    for (Memory<S>& state : d_initial) results.push_back(std::move(state));
    for (Memory<S>* each_one :
         {&d_x.memory, &d_decay.memory, &d_parameters, &d_h_steps, &d_c_steps}) {
      results.push_back(std::move(*each_one));
    }
    return results;
  }

  void check_inference(const Results<S>& trained) const {
    const Results<S> inferred = with_threads(choices_, [&] { return infer(); });
    const bool drops = config_.dropout > 0 && config_.num_layers > 1;
    if (drops || config_.zoneout > 0 || config_.recurrent_dropout > 0) return;
    require_same(inferred, trained, "the same bits in inference");
  }

  /// A sequence has the same output alone as in its batch.
  void check_row_alone(Index slot) const {
    const Index row = batch_.row(slot), length = batch_.length(slot);
    Forward all = new_forward();
    network_.infer(forward_call(all));
    const RaggedBatch one(1, length);
    std::vector<Memory<S>> own = new_states(1);
    const Index features = config_.output_size();
    Memory<S> y(length * features);
    for (std::size_t state = 0; state < states(); ++state) {
      const Index units = config_.state_size(state);
      for (Index i = 0; i < directions(); ++i) {
        std::copy_n(initial_[state].data() + (i * size() + row) * units, units,
                    own[state].data() + i * units);
      }
    }
    LayerInput<S> x = input();
    if (uses_ids_) {
      x.ids.data += row * x.ids.batch_stride;
    } else {
      x.values.data += row * x.values.batch_stride;
    }
    if (x.decay) x.decay.data += row * x.decay.batch_stride;
    network_.infer({.batch = &one,
                    .x = x,
                    .y = {y.data(), length * features, features, 1},
                    .initial = given(0) ? given_states(own, given(1)) : States<const S>{},
                    .last = pointers(own)});
    for (Index t = 0; t < length; ++t) {
      Memory<S> expected(features), found(features);
      std::copy_n(all.y.view.row(row, t), features, expected.data());
      std::copy_n(y.data() + t * features, features, found.data());
      require(same(expected, found), "the same bits for a sequence alone");
    }
  }

  Choices& choices_;
  const LayerConfig config_;
  const RaggedBatch batch_;
  const unsigned output_kind_;
  const Index recompute_every_;
  const bool uses_ids_, aliases_;
  Numbers numbers_;
  const Memory<S> parameters_;
  const Input<S> x_;
  const Memory<S> decay_;
  const Input<std::int32_t> ids_;
  const Input<S> d_y_;
  const std::vector<Memory<S>> initial_, d_last_;
  const unsigned given_;
  const Network<S> network_;
};

}  // namespace

template <class S>
void fuzz_network(Choices& choices) {
  NetworkFuzz<S>(choices).run();
}

template void fuzz_network<float>(Choices&);
template void fuzz_network<double>(Choices&);

}  // namespace bptt::fuzz
