// The core under libFuzzer: shapes, lengths, strides, options and values that the fuzzer chooses,
// in arrays of their exact size, so that AddressSanitizer sees every access beyond them. Checked:
// the same bits with one thread and with three, with and without recomputation, for a sequence
// alone and in its batch; finite results of moderate input; nothing written between the rows.
// .ci/fuzz builds it (preset `fuzz`) and runs it.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <limits>
#include <memory>
#include <random>
#include <vector>

#include "core/activations.hpp"
#include "core/attention.hpp"
#include "core/cells/cell_kind.hpp"
#include "core/dropout.hpp"
#include "core/embedding.hpp"
#include "core/linear.hpp"
#include "core/linear_cross_entropy.hpp"
#include "core/losses.hpp"
#include "core/merge.hpp"
#include "core/network.hpp"
#include "core/normalization.hpp"
#include "core/optimizers.hpp"
#include "core/parallel/lease.hpp"
#include "core/parallel/thread_limit.hpp"
#include "core/recompute.hpp"
#include "core/row_losses.hpp"

namespace {

using namespace bptt;

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "violated: %s\n", what);
  std::abort();
}

/// What the fuzzer has made; 0 beyond its end.
class Choices {
 public:
  Choices(const std::uint8_t* data, std::size_t size) : data_(data), end_(data + size) {}
  unsigned byte() { return data_ == end_ ? 0U : *data_++; }
  bool flag() { return (byte() & 1U) != 0; }
  /// In [low, high].
  Index size(Index low, Index high) { return low + static_cast<Index>(byte()) % (high - low + 1); }
  template <class Kind>
  Kind kind(int count) {
    return static_cast<Kind>(byte() % static_cast<unsigned>(count));
  }

 private:
  const std::uint8_t *data_, *end_;
};

/// Exactly so many elements, on the heap; never null.
template <class T>
class Memory {
 public:
  explicit Memory(Index count, T value = T())
      : size_(count), data_(new T[static_cast<std::size_t>(count)]) {
    std::fill_n(data(), count, value);
  }
  T* data() const { return data_.get(); }
  Index size() const { return size_; }
  T& operator[](Index i) const { return data_[static_cast<std::size_t>(i)]; }

 private:
  Index size_;
  std::unique_ptr<T[]> data_;
};

/// The same bits, or NaN in both.
template <class S>
bool same(const Memory<S>& a, const Memory<S>& b) {
  if (a.size() != b.size()) return false;
  for (Index i = 0; i < a.size(); ++i) {
    if (std::memcmp(&a[i], &b[i], sizeof(S)) == 0) continue;
    if (!(std::isnan(a[i]) && std::isnan(b[i]))) return false;
  }
  return true;
}

template <class S>
bool finite(const Memory<S>& a) {
  return std::all_of(a.data(), a.data() + a.size(), [](S value) { return std::isfinite(value); });
}

/// Where numbers come from: moderate ones, or with `wild` also those at the ends of their range.
class Numbers {
 public:
  explicit Numbers(Choices& choices) : wild(choices.byte() % 4 == 3), generator_(choices.byte()) {}

  template <class S>
  S draw(double scale) {
    if (wild && generator_() % 8 == 0) return extreme<S>();
    return static_cast<S>(scale * (static_cast<double>(generator_()) / 2147483648.0 - 1));
  }
  template <class S>
  Memory<S> memory(Index count, double scale) {
    Memory<S> values(count);
    for (Index i = 0; i < count; ++i) values[i] = draw<S>(scale);
    return values;
  }
  Index below(Index limit) { return static_cast<Index>(generator_()) % limit; }

  const bool wild;

 private:
  template <class S>
  S extreme() {
    using Limits = std::numeric_limits<S>;
    const S values[] = {Limits::quiet_NaN(),
                        Limits::infinity(),
                        -Limits::infinity(),
                        Limits::max(),
                        Limits::denorm_min(),
                        -Limits::min() / 3,
                        S(-0.0),
                        Limits::lowest()};
    return values[generator_() % 8];
  }

  std::mt19937 generator_;
};

/// A (batch, step, feature) array to read, with any strides: negative, 0, with gaps.
template <class T>
class Input {
 public:
  template <class Draw>
  Input(Choices& choices, Index batch, Index steps, Index features, Draw draw)
      : Input(strides(choices, batch, steps, features), batch, steps, features) {
    for (Index i = 0; i < memory_.size(); ++i) memory_[i] = draw();
  }
  Sequence<const T> view() const { return read_only(view_); }

 private:
  Input(Sequence<T> strides, Index batch, Index steps, Index features)
      : memory_(span(strides, batch, steps, features)), view_(strides) {
    const auto below = [](Index stride, Index count) {
      return count > 0 ? std::max<Index>(0, -stride * (count - 1)) : 0;
    };
    view_.data = memory_.data() + below(view_.batch_stride, batch) +
                 below(view_.step_stride, steps) + below(view_.feature_stride, features);
  }
  static Index span(Sequence<T> s, Index batch, Index steps, Index features) {
    if (batch * steps * features == 0) return 0;
    return 1 + std::abs(s.batch_stride) * (batch - 1) + std::abs(s.step_stride) * (steps - 1) +
           std::abs(s.feature_stride) * (features - 1);
  }
  static Sequence<T> strides(Choices& choices, Index batch, Index steps, Index features) {
    const unsigned kind = choices.byte();
    Index feature = 1, step = features, row = steps * features;
    if ((kind & 1U) != 0) step = batch * features, row = features;  // time-major
    if ((kind & 2U) != 0) feature = 3, step *= 3, row *= 3;         // gaps
    if ((kind & 4U) != 0) feature = -feature;                       // backwards
    if ((kind & 8U) != 0) step = -step;
    if ((kind & 16U) != 0) row = -row;
    if ((kind & 96U) == 96U) row = 0;  // broadcast
    if ((kind & 160U) == 160U) step = 0;
    if ((kind & 192U) == 192U) feature = 0;
    return {nullptr, row, step, feature};
  }

  Memory<T> memory_;
  Sequence<T> view_;
};

/// A (batch, step, feature) array to write, features adjacent, with a gap between the rows.
template <class S>
class Output {
 public:
  Output(unsigned kind, Index batch, Index steps, Index features)
      : batch_(batch), steps_(steps), features_(features), width_(features + (kind >> 1U) % 4) {
    const bool time_major = (kind & 1U) != 0;
    const Index rows = batch * steps;
    memory = Memory<S>(rows == 0 ? 0 : (rows - 1) * width_ + features, kMark);
    view = {memory.data(), time_major ? width_ : steps * width_,
            time_major ? batch * width_ : width_, 1};
  }
  /// That what lies between the rows is as it was.
  void check_gaps() const {
    for (Index row = 0; row + 1 < batch_ * steps_; ++row) {
      for (Index i = features_; i < width_; ++i) {
        require(memory[row * width_ + i] == kMark, "nothing is written between the rows");
      }
    }
  }

  Memory<S> memory{0};
  Sequence<S> view;

 private:
  static constexpr S kMark = S(-12345);
  Index batch_, steps_, features_, width_;
};

/// Results of one call.
template <class S>
using Results = std::vector<Memory<S>>;

/// call() with one thread and with three has the same results, which are returned.
template <class Call>
auto with_threads(Choices& choices, const Call& call) {
  set_own_thread_limit(1);
  auto results = call();
  if (choices.byte() % 8 == 7) {
    set_engine("pool");  // forgets that cores were busy
    set_own_thread_limit(3);
    const auto again = call();
    require(results.size() == again.size(), "as many results with any number of threads");
    for (std::size_t i = 0; i < results.size(); ++i) {
      require(same(results[i], again[i]), "the same bits with any number of threads");
    }
  }
  return results;
}

template <class S>
void require_finite(const Results<S>& results, const Numbers& numbers) {
  if (numbers.wild) return;
  for (const auto& each : results) require(finite(each), "finite results of moderate input");
}

Memory<Index> draw_lengths(Choices& choices, Index batch, Index steps) {
  Memory<Index> lengths(batch);
  for (Index i = 0; i < batch; ++i) lengths[i] = choices.size(0, steps);
  return lengths;
}

RaggedBatch draw_batch(Choices& choices, Index batch, Index steps) {
  if (batch == 0 || !choices.flag()) return {batch, steps};
  return {batch, steps, draw_lengths(choices, batch, steps).data()};
}

// ---- recurrent networks

template <class S>
class NetworkFuzz {
 public:
  explicit NetworkFuzz(Choices& choices)
      : choices_(choices),
        config_(draw_config(choices)),
        batch_(draw_batch(choices, choices.size(0, 9), choices.size(0, 12))),
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
        h0_(numbers_.memory<S>(state_size(), 1)),
        c0_(numbers_.memory<S>(state_size(), 1)),
        d_h_(numbers_.memory<S>(state_size(), 1)),
        d_c_(numbers_.memory<S>(state_size(), 1)),
        given_(choices.byte()),
        network_(config_, parameters_.data(), true) {}

  void run() {
    const Results<S> trained = with_threads(choices_, [&] { return train(recompute_every_); });
    if (is_bounded()) require_finite(trained, numbers_);
    if (recompute_every_ > 0) {
      const Results<S> plain = train(0);
      for (std::size_t i = 0; i < plain.size(); ++i) {
        require(same(plain[i], trained[i]), "the same bits with recomputation");
      }
    }
    const Results<S> inferred = with_threads(choices_, [&] { return infer(); });
    if (config_.dropout == 0 || config_.num_layers == 1) {
      for (std::size_t i = 0; i < inferred.size(); ++i) {
        require(same(inferred[i], trained[i]), "the same bits in inference");
      }
    }
    if (size() > 0) check_row_alone(choices_.size(0, size() - 1));
  }

 private:
  static LayerConfig draw_config(Choices& choices) {
    LayerConfig config;
    config.cell = choices.kind<CellKind>(4);
    config.activations = {choices.kind<Activation>(4), choices.kind<GateActivation>(3)};
    config.input_size = choices.size(1, 20);
    config.hidden_size = choices.size(1, 40);
    config.num_layers = choices.size(1, 3);
    config.bidirectional = choices.flag();
    config.merge = choices.kind<Merge>(4);
    config.dropout = choices.flag() ? 0.25 : 0;
    return config;
  }

  Index size() const { return batch_.size(); }
  Index steps() const { return batch_.steps(); }
  Index state_size() const {
    return config_.num_layers * config_.directions() * size() * config_.hidden_size;
  }
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
      std::copy_n(h0_.data(), state_size(), to.h.data());
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
            Memory<S>(state_size()), Memory<S>(state_size())};
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
    Memory<S> d_h0(state_size()), d_c0(state_size());
    Memory<S> d_parameters(parameter_count(config_), S(-12345));
    const Index directions = config_.num_layers * config_.directions();
    const Index each = size() * steps() * config_.hidden_size;
    Memory<S> d_steps(given(5) ? 2 * directions * each : 0);
    const auto sequences = [&](Index first) {
      std::vector<Sequence<S>> all;
      for (Index i = 0; given(5) && i < directions; ++i) {
        all.push_back({d_steps.data() + (first + i) * each, steps() * config_.hidden_size,
                       config_.hidden_size, 1});
      }
      return all;
    };
    NetworkBackward<S> backward{
        .saved = &saved,
        .x = input(),
        .y = read_only(to.y.view),
        .d_y = given(2) ? d_y_.view() : Sequence<const S>{},
        .d_h_final = given(3) ? d_h_.data() : nullptr,
        .d_c_final = given(3) && has_cell_state() ? d_c_.data() : nullptr,
        .d_x = given(4) && !uses_ids_ ? d_x.view : Sequence<S>{},
        .d_h0 = d_h0.data(),
        .d_c0 = has_cell_state() ? d_c0.data() : nullptr,
        .d_parameters = d_parameters.data(),
        .d_h_steps = sequences(0),
        .d_c_steps = has_cell_state() ? sequences(directions) : std::vector<Sequence<S>>{}};
    backward_recompute(network_, backward);
    d_x.check_gaps();
    Results<S> results;
    for (Memory<S>* each_one :
         {&to.y.memory, &to.h, &to.c, &d_x.memory, &d_h0, &d_c0, &d_parameters, &d_steps}) {
      results.push_back(std::move(*each_one));
    }
    return results;
  }

  /// A sequence has the same output alone as in its batch.
  void check_row_alone(Index slot) const {
    const Index row = batch_.row(slot), length = batch_.length(slot);
    Forward all = new_forward();
    network_.infer(forward_call(all));
    const RaggedBatch one(1, length);
    const Index directions = config_.num_layers * config_.directions();
    const Index hidden = config_.hidden_size, features = config_.output_size();
    Memory<S> h(directions * hidden), c(directions * hidden), y(length * features);
    for (Index i = 0; i < directions; ++i) {
      const Index from = (i * size() + row) * hidden;
      std::copy_n(h0_.data() + from, hidden, h.data() + i * hidden);
      std::copy_n(c0_.data() + from, hidden, c.data() + i * hidden);
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

template <class S>
void fuzz_network(Choices& choices) {
  NetworkFuzz<S>(choices).run();
}

// ---- output layer and losses

template <class S>
void fuzz_linear(Choices& choices) {
  const Index rows = choices.size(0, 40), in = choices.size(0, 20), out = choices.size(0, 40);
  const bool bias = choices.flag(), wants_input = choices.flag();
  Numbers numbers(choices);
  const auto x = numbers.memory<S>(rows * in, 2), weight = numbers.memory<S>(out * in, 1);
  const auto c = numbers.memory<S>(out, 1), d_y = numbers.memory<S>(rows * out, 1);
  const auto results = with_threads(choices, [&] {
    Memory<S> y(rows * out), d_x(wants_input ? rows * in : 0), d_weight(out * in), d_bias(out);
    linear_forward(x.data(), rows, in, out, weight.data(), bias ? c.data() : nullptr, y.data());
    linear_backward(x.data(), rows, in, out, weight.data(), d_y.data(),
                    wants_input ? d_x.data() : nullptr, d_weight.data(),
                    bias ? d_bias.data() : nullptr);
    Results<S> all;
    for (Memory<S>* each : {&y, &d_x, &d_weight, &d_bias}) all.push_back(std::move(*each));
    return all;
  });
  require_finite(results, numbers);
}

template <class S>
void fuzz_linear_cross_entropy(Choices& choices) {
  const Index batch = choices.size(0, 9), steps = choices.size(0, 9);
  const Index in = choices.size(0, 20), out = choices.size(1, 60);
  const bool bias = choices.flag(), gradients = choices.flag(), wants_input = choices.flag();
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
                      wants_input ? d_x.data() + i * in : nullptr, predicted.data() + i});
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

// ---- attention, embedding, normalization, dropout

template <class S>
void fuzz_attention(Choices& choices) {
  const Index batch = choices.size(0, 6), queries = choices.size(0, 8), keys = choices.size(0, 9);
  const bool additive = choices.flag(), ragged = choices.flag();
  const Index size = choices.size(0, 20), features = additive ? choices.size(0, 20) : size;
  const Memory<Index> lengths = draw_lengths(choices, batch, keys);
  Numbers numbers(choices);
  const auto query = numbers.memory<S>(batch * queries * size, 1);
  const auto key = numbers.memory<S>(batch * keys * size, 1);
  const auto value = numbers.memory<S>(batch * keys * features, 1);
  const auto v = numbers.memory<S>(size, 1);
  const auto d_contexts = numbers.memory<S>(batch * queries * features, 1);
  const AttentionInput<S> in{.batch = batch,
                             .queries = queries,
                             .keys = keys,
                             .size = size,
                             .features = features,
                             .query = query.data(),
                             .key = additive ? key.data() : value.data(),
                             .value = value.data(),
                             .v = additive ? v.data() : nullptr,
                             .lengths = ragged ? lengths.data() : nullptr};
  const auto results = with_threads(choices, [&] {
    Memory<S> weights(batch * queries * keys), contexts(batch * queries * features);
    Memory<S> d_query(query.size()), d_key(key.size()), d_value(value.size()), d_v(size);
    attention_forward(in, weights.data(), contexts.data());
    attention_backward(in, weights.data(), d_contexts.data(), d_query.data(),
                       additive ? d_key.data() : nullptr, d_value.data(),
                       additive ? d_v.data() : nullptr);
    Results<S> all;
    for (Memory<S>* each : {&weights, &contexts, &d_query, &d_key, &d_value, &d_v}) {
      all.push_back(std::move(*each));
    }
    return all;
  });
  require_finite(results, numbers);
}

template <class S>
void fuzz_embedding(Choices& choices) {
  const Index bag = choices.size(1, 3), count = choices.size(1, 200);
  const Index features = choices.size(0, 20), steps = bag * choices.size(0, 6);
  const RaggedBatch batch = draw_batch(choices, choices.size(0, 9), steps);
  const unsigned output_kind = choices.byte();
  Numbers numbers(choices);
  const auto table = numbers.memory<S>(count * features, 1);
  const auto d_y = numbers.memory<S>(batch.size() * steps / bag * features, 1);
  const Input<std::int32_t> ids(choices, batch.size(), steps, 1,
                                [&] { return static_cast<std::int32_t>(numbers.below(count)); });
  const auto results = with_threads(choices, [&] {
    Output<S> y(output_kind, batch.size(), steps / bag, features);
    embedding_forward(batch, bag, features, table.data(), ids.view(), y.view);
    y.check_gaps();
    const StepsById grouped(batch, count, ids.view());
    require(grouped.total_steps() == batch.total_rows(), "every step has an id");
    require(std::is_sorted(grouped.ids().begin(), grouped.ids().end()), "ids ascend");
    Memory<S> d_rows(grouped.size() * features);
    embedding_backward(grouped, bag, features, d_y.data(), d_rows.data());
    Results<S> all;
    all.push_back(std::move(y.memory));
    all.push_back(std::move(d_rows));
    return all;
  });
  require_finite(results, numbers);
}

template <class S>
void fuzz_normalization(Choices& choices) {
  const Index rows = choices.size(0, 40), features = choices.size(1, 40);
  const bool wants_input = choices.flag();
  Numbers numbers(choices);
  const auto x = numbers.memory<S>(rows * features, 2), d_y = numbers.memory<S>(rows * features, 1);
  const auto weight = numbers.memory<S>(features, 1), bias = numbers.memory<S>(features, 1);
  const auto results = with_threads(choices, [&] {
    Memory<S> y(x.size()), z(x.size()), scale(rows), d_x(wants_input ? x.size() : 0);
    Memory<S> d_weight(features), d_bias(features);
    normalize_forward(x.data(), rows, features, weight.data(), bias.data(), 1e-5, y.data(),
                      z.data(), scale.data());
    normalize_backward(z.data(), scale.data(), rows, features, weight.data(), d_y.data(),
                       wants_input ? d_x.data() : nullptr, d_weight.data(), d_bias.data());
    Results<S> all;
    for (Memory<S>* each : {&y, &z, &scale, &d_x, &d_weight, &d_bias}) {
      all.push_back(std::move(*each));
    }
    return all;
  });
  require_finite(results, numbers);
}

template <class S>
void fuzz_dropout(Choices& choices) {
  const Index count = 20 * choices.size(0, 255), cut = choices.size(0, 255);
  const Index origin = 100 * choices.size(0, 255);
  const DropoutMask mask(0.5, choices.byte(), 0, origin);
  Numbers numbers(choices);
  const auto x = numbers.memory<S>(count, 1);
  Memory<S> whole(count), parts(count), factors(count);
  mask.apply(x.data(), whole.data(), {0, count});
  const Index middle = std::min(cut * 20, count);
  mask.apply(x.data(), parts.data(), {0, middle});
  mask.apply(x.data(), parts.data(), {middle, count});
  mask.factors(0, count, factors.data());
  require(same(whole, parts), "the same mask in parts");
  for (Index i = 0; i < count; ++i) {
    require(factors[i] == 0 || factors[i] == 2, "a value is dropped or scaled");
  }
}

// ---- optimizers

template <class S>
void fuzz_optimizers(Choices& choices) {
  const Index rows = choices.size(0, 40), width = choices.size(1, 50), count = rows * width;
  const unsigned kind = choices.byte() % 5;
  const bool has_velocity = choices.flag(), option = choices.flag(), decays = choices.flag();
  const S scale_by = choices.flag() ? S(0.5) : S(1);
  std::vector<std::int32_t> ids;
  for (Index i = 0; i < rows; ++i) {
    if (choices.flag()) ids.push_back(static_cast<std::int32_t>(i));
  }
  const Index named = static_cast<Index>(ids.size());
  Numbers numbers(choices);
  const auto values = numbers.memory<S>(named * width, 1), start = numbers.memory<S>(count, 1);
  Memory<S> dense(count);
  for (Index i = 0; i < named; ++i) {
    std::copy_n(values.data() + i * width, width,
                dense.data() + ids[static_cast<std::size_t>(i)] * width);
  }
  const Gradient<S> of_all{.values = dense.data(), .scale = scale_by};
  const Gradient<S> of_rows{.values = values.data(),
                            .scale = scale_by,
                            .sparse = true,
                            .ids = ids.data(),
                            .rows = named,
                            .width = width};
  const bool lazy = kind == 2 && option;
  const auto update = [&](const Gradient<S>& g) {
    Memory<S> p(count), m(count), v(count), sum(1);
    std::copy_n(start.data(), count, p.data());
    S* const velocity = has_velocity ? v.data() : nullptr;
    const double decay = decays ? 0.01 : 0;
    if (kind == 0) sgd_step(count, p.data(), g, velocity, {0.1, 0.9, decay, option});
    if (kind == 1) rmsprop_step(count, p.data(), g, m.data(), velocity, {0.1, 0.9, 1e-8, 0.9});
    if (kind == 2) {
      adam_step(count, p.data(), g, m.data(), v.data(), {0.1, 0.9, 0.99, 1e-8, decay, option}, 3);
    }
    if (kind == 3) clip(count, p.data(), 0.5);
    if (kind == 4) scale(count, p.data(), 0.5);
    sum[0] = static_cast<S>(sum_of_squares(count, g));
    Results<S> all;
    for (Memory<S>* each : {&p, &m, &v, &sum}) all.push_back(std::move(*each));
    return all;
  };
  const auto results = with_threads(choices, [&] { return update(of_all); });
  require_finite(results, numbers);
  const auto sparse = with_threads(choices, [&] { return update(of_rows); });
  if (lazy || numbers.wild) return;  // lazy updates differ; 0 * inf is not 0
  for (std::size_t i = 0; i < results.size(); ++i) {
    require(same(results[i], sparse[i]), "the same bits for a sparse gradient");
  }
}

template <class S>
void fuzz(Choices& choices) {
  constexpr void (*kTargets[])(Choices&) = {
      fuzz_network<S>,   fuzz_network<S>,    fuzz_network<S>,      fuzz_linear_cross_entropy<S>,
      fuzz_attention<S>, fuzz_embedding<S>,  fuzz_losses<S>,       fuzz_linear<S>,
      fuzz_dropout<S>,   fuzz_optimizers<S>, fuzz_normalization<S>};
  kTargets[choices.byte() % std::size(kTargets)](choices);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const bool started = (start_engines(), set_oversubscription(true), true);
  (void)started;
  Choices choices(data, size);
  choices.flag() ? fuzz<float>(choices) : fuzz<double>(choices);
  return 0;
}
