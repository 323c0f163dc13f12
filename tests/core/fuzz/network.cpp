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
        ids_(choices, size(), steps(), 1,
             [&] { return static_cast<std::int32_t>(numbers_.below(config_.input_size)); }),
        d_y_(choices, size(), steps(), config_.output_size(), [&] { return numbers_.draw<S>(1); }),
        h0_(numbers_.memory<S>(h_state_size(), 1)),
        c0_(numbers_.memory<S>(c_state_size(), 1)),
        d_h_(numbers_.memory<S>(h_state_size(), 1)),
        d_c_(numbers_.memory<S>(c_state_size(), 1)),
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
    config.hidden_size = choices.size(1, 40);
    config.num_layers = choices.size(1, 3);
    config.bidirectional = choices.flag();
    config.merge = choices.kind<Merge>(4);
    config.dropout = choices.flag() ? 0.25 : 0;
    config.zoneout = choices.flag() ? 0.25 : 0;
    config.recurrent_dropout = choices.flag() ? 0.25 : 0;
    if (cell_info(config.cell).has_cell_state) {
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
  Index h_state_size() const { return directions() * size() * config_.h_size(); }
  Index c_state_size() const { return directions() * size() * config_.hidden_size; }
  Index directions() const { return config_.num_layers * config_.directions(); }
  /// Gradients of a product of unbounded factors may overflow.
  bool is_bounded() const {
    const Activation activation = config_.activations.cell;
    return activation == Activation::kTanh || activation == Activation::kSigmoid;
  }
  double weight_scale() const {
    return 2.0 / static_cast<double>(std::max(config_.hidden_size, config_.input_size));
  }
  bool has_cell_state() const { return cell_info(config_.cell).has_cell_state; }
  /// What is optional in a call is given or not, by this bit.
  bool given(unsigned bit) const { return ((given_ >> bit) & 1U) != 0; }

  LayerInput<S> input() const {
    if (uses_ids_) return {.values = {}, .ids = ids_.view()};
    return {.values = x_.view(), .ids = {}};
  }

  struct Forward {
    Output<S> y;
    Memory<S> h, c;
  };

  NetworkForward<S> forward_call(Forward& to) const {
    const S* h0 = given(0) ? h0_.data() : nullptr;
    const S* c0 = given(0) && given(1) && has_cell_state() ? c0_.data() : nullptr;
    if (aliases_ && h0 != nullptr) {  // states may be updated in place
      std::copy_n(h0_.data(), h_state_size(), to.h.data());
      h0 = to.h.data();
    }
    return {.batch = &batch_,
            .x = input(),
            .y = to.y.view,
            .h0 = h0,
            .c0 = c0,
            .h_final = to.h.data(),
            .c_final = has_cell_state() ? to.c.data() : nullptr};
  }
  Forward new_forward() const {
    return {Output<S>(output_kind_, size(), steps(), config_.output_size()),
            Memory<S>(h_state_size()), Memory<S>(c_state_size())};
  }

  Results<S> infer() const {
    Forward to = new_forward();
    network_.infer(forward_call(to));
    to.y.check_gaps();
    Results<S> results;
    results.push_back(std::move(to.y.memory));
    results.push_back(std::move(to.h));
    results.push_back(std::move(to.c));
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
    Memory<S> d_h0(h_state_size()), d_c0(c_state_size());
    Memory<S> d_parameters(parameter_count(config_), S(-12345));
    Memory<S> d_h_steps(given(5) ? steps() * h_state_size() : 0);
    Memory<S> d_c_steps(given(5) ? steps() * c_state_size() : 0);
    const auto sequences = [&](Memory<S>& of, Index units) {
      std::vector<Sequence<S>> all;
      for (Index i = 0; given(5) && i < directions(); ++i) {
        all.push_back({of.data() + i * size() * steps() * units, steps() * units, units, 1});
      }
      return all;
    };
    NetworkBackward<S> backward{.saved = &saved,
                                .x = input(),
                                .y = read_only(to.y.view),
                                .d_y = given(2) ? d_y_.view() : Sequence<const S>{},
                                .d_h_final = given(3) ? d_h_.data() : nullptr,
                                .d_c_final = given(3) && has_cell_state() ? d_c_.data() : nullptr,
                                .d_x = given(4) && !uses_ids_ ? d_x.view : Sequence<S>{},
                                .d_h0 = d_h0.data(),
                                .d_c0 = has_cell_state() ? d_c0.data() : nullptr,
                                .d_parameters = d_parameters.data(),
                                .d_h_steps = sequences(d_h_steps, config_.h_size()),
                                .d_c_steps = has_cell_state()
                                                 ? sequences(d_c_steps, config_.hidden_size)
                                                 : std::vector<Sequence<S>>{}};
    backward_recompute(network_, backward);
    d_x.check_gaps();
    Results<S> results;
    for (Memory<S>* each_one : {&to.y.memory, &to.h, &to.c, &d_x.memory, &d_h0, &d_c0,
                                &d_parameters, &d_h_steps, &d_c_steps}) {
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
    const Index h_size = config_.h_size(), c_size = config_.hidden_size;
    const Index features = config_.output_size();
    Memory<S> h(directions() * h_size), c(directions() * c_size), y(length * features);
    for (Index i = 0; i < directions(); ++i) {
      const Index from = i * size() + row;
      std::copy_n(h0_.data() + from * h_size, h_size, h.data() + i * h_size);
      std::copy_n(c0_.data() + from * c_size, c_size, c.data() + i * c_size);
    }
    LayerInput<S> x = input();
    if (uses_ids_) {
      x.ids.data += row * x.ids.batch_stride;
    } else {
      x.values.data += row * x.values.batch_stride;
    }
    const bool c_given = given(0) && given(1) && has_cell_state();
    network_.infer({.batch = &one,
                    .x = x,
                    .y = {y.data(), length * features, features, 1},
                    .h0 = given(0) ? h.data() : nullptr,
                    .c0 = c_given ? c.data() : nullptr,
                    .h_final = h.data(),
                    .c_final = has_cell_state() ? c.data() : nullptr});
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
  const Input<std::int32_t> ids_;
  const Input<S> d_y_;
  const Memory<S> h0_, c0_, d_h_, d_c_;
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
