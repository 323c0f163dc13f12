#include "core/network.hpp"

#include "core/denormals.hpp"
#include "core/dropout.hpp"
#include "core/merge.hpp"

namespace bptt {

Index parameter_offset(const NetworkSpec& spec, Index layer, Index direction) {
  Index offset = 0;
  for (Index l = 0; l <= layer; ++l) {
    const Index count =
        parameter_sizes(spec.cell, spec.layer_input_size(l), spec.hidden_size).total();
    offset += count * (l < layer ? spec.directions() : direction);
  }
  return offset;
}

template <class S>
Network<S>::Network(const NetworkSpec& spec, const S* parameters, bool training)
    : spec_(spec), training_(training) {
  for (Index layer = 0; layer < spec.num_layers; ++layer) {
    for (Index d = 0; d < spec.directions(); ++d) {
      directions_.push_back(make_direction<S>(
          spec.cell, spec.activations, spec.layer_input_size(layer), spec.hidden_size,
          parameters + parameter_offset(spec, layer, d), training));
    }
  }
}

namespace {

template <class S>
Sequence<const S> read_only(Sequence<S> s) {
  return {s.data, s.batch_stride, s.step_stride, s.feature_stride};
}

/// Memory of a layer that lives as long as the call, or as long as what is saved for backward.
template <class S>
S* sequence_memory(Buffer<S>* kept, Index count, bool zeroed) {
  if (kept == nullptr) return zeroed ? scratch().take_zeroed<S>(count) : scratch().take<S>(count);
  *kept = Buffer<S>(count);
  if (zeroed) kept->set_zero();
  return kept->data();
}

template <class S>
void zero_padding(const RowPlan& plan, Sequence<S> y, Index features) {
  if (!plan.ragged()) return;
  for (Index rank = 0; rank < plan.batch(); ++rank) {
    for (Index time = plan.length(rank); time < plan.steps(); ++time) {
      std::fill_n(y.row(plan.row(rank), time), features, S(0));
    }
  }
}

}  // namespace

// ---- forward

template <class S>
void Network<S>::forward(const NetworkForward<S>& call) const {
  const FlushDenormals flush;
  const Arena::Scope scope(scratch());
  const RowPlan& plan = *call.plan;
  const Index features = spec_.output_size(), count = plan.steps() * plan.batch() * features;
  if (call.saved != nullptr) {
    call.saved->layers.resize(static_cast<std::size_t>(spec_.num_layers));
  }
  LayerInput<S> x = call.x;
  for (Index layer = 0; layer + 1 < spec_.num_layers; ++layer) {
    auto* const saved = call.saved ? &call.saved->layers[static_cast<std::size_t>(layer)] : nullptr;
    S* const memory = sequence_memory(saved ? &saved->output : nullptr, count, plan.ragged());
    Sequence<S> y = inner_sequence(memory, plan.batch(), features);
    forward_layer(call, layer, x, y);
    if (saved != nullptr && spec_.dropout > 0) {
      saved->dropped = Buffer<S>(count);
      y.data = saved->dropped.data();
      DropoutMask(spec_.dropout, call.saved->dropout_key, layer).apply(memory, y.data, count);
    }
    x = {read_only(y), {}};
  }
  forward_layer(call, spec_.num_layers - 1, x, call.y);
  zero_padding(plan, call.y, features);
}

template <class S>
void Network<S>::forward_layer(const NetworkForward<S>& call, Index layer, const LayerInput<S>& x,
                               Sequence<S> y) const {
  const RowPlan& plan = *call.plan;
  const bool merged = spec_.bidirectional && spec_.merge != Merge::kConcat;
  auto* const saved = call.saved ? &call.saved->layers[static_cast<std::size_t>(layer)] : nullptr;
  const Index hidden = spec_.hidden_size, state = plan.batch() * hidden;
  Sequence<S> h[2];
  for (Index d = 0; d < spec_.directions(); ++d) {
    const auto i = static_cast<std::size_t>(d);
    h[d] = y.features_from(d * hidden);
    if (merged) {
      S* const memory =
          sequence_memory(saved ? &saved->h[i] : nullptr, plan.steps() * state, false);
      h[d] = inner_sequence(memory, plan.batch(), hidden);
    }
    const Index offset = (layer * spec_.directions() + d) * state;
    const auto at = [offset](auto* p) { return p == nullptr ? nullptr : p + offset; };
    direction(layer, d).forward({&plan, d == 1, x, h[d], at(call.h0), at(call.c0), at(call.h_final),
                                 at(call.c_final), saved ? &saved->directions[i] : nullptr});
  }
  if (merged) merge_forward(spec_.merge, plan, hidden, read_only(h[0]), read_only(h[1]), y);
}

// ---- backward

template <class S>
void Network<S>::backward(const NetworkBackward<S>& call) const {
  const FlushDenormals flush;
  const Arena::Scope scope(scratch());
  const RowPlan& plan = call.saved->plan;
  const Index features = spec_.output_size(), count = plan.steps() * plan.batch() * features;
  Sequence<const S> y = call.y, d_y = call.d_y;
  for (Index layer = spec_.num_layers - 1; layer > 0; --layer) {
    const auto& below = call.saved->layers[static_cast<std::size_t>(layer - 1)];
    const bool dropped = !below.dropped.empty();
    const auto inner = [&](const Buffer<S>& buffer) {
      return Sequence<const S>{buffer.data(), features, plan.batch() * features, 1};
    };
    S* const memory = sequence_memory<S>(nullptr, count, plan.ragged());
    const Sequence<S> d_x = inner_sequence(memory, plan.batch(), features);
    backward_layer(call, layer, {inner(dropped ? below.dropped : below.output), {}}, y, d_y, d_x);
    if (dropped) {
      DropoutMask(spec_.dropout, call.saved->dropout_key, layer - 1).apply(memory, memory, count);
    }
    y = inner(below.output);
    d_y = read_only(d_x);
  }
  backward_layer(call, 0, call.x, y, d_y, call.d_x);
  if (call.d_x) zero_padding(plan, call.d_x, spec_.input_size);
}

template <class S>
void Network<S>::backward_layer(const NetworkBackward<S>& call, Index layer, const LayerInput<S>& x,
                                Sequence<const S> y, Sequence<const S> d_y, Sequence<S> d_x) const {
  const Arena::Scope scope(scratch());
  const RowPlan& plan = call.saved->plan;
  const auto& saved = call.saved->layers[static_cast<std::size_t>(layer)];
  const bool merged = spec_.bidirectional && spec_.merge != Merge::kConcat;
  const Index hidden = spec_.hidden_size, state = plan.batch() * hidden;
  for (Index d = 0; d < spec_.directions(); ++d) {
    const auto i = static_cast<std::size_t>(d);
    Sequence<const S> h = y.features_from(d * hidden), d_h = d_y.features_from(d * hidden);
    if (merged) {
      const auto of = [&](std::size_t j) {
        return Sequence<const S>{saved.h[j].data(), hidden, state, 1};
      };
      h = of(i);
      if (d_y) {
        const Sequence<S> part =
            inner_sequence(scratch().take<S>(plan.steps() * state), plan.batch(), hidden);
        merge_backward(spec_.merge, plan, hidden, d_y, of(1 - i), part);
        d_h = read_only(part);
      }
    }
    const Index index = layer * spec_.directions() + d, offset = index * state;
    const auto at = [offset](auto* p) { return p == nullptr ? nullptr : p + offset; };
    const auto steps = [index](const std::vector<Sequence<S>>& all) {
      return all.empty() ? Sequence<S>{} : all[static_cast<std::size_t>(index)];
    };
    direction(layer, d).backward({&plan, d == 1, x, h, &saved.directions[i], d_h,
                                  at(call.d_h_final), at(call.d_c_final), d_x, d == 1,
                                  at(call.d_h0), at(call.d_c0),
                                  call.d_parameters + parameter_offset(spec_, layer, d),
                                  steps(call.d_h_steps), steps(call.d_c_steps)});
  }
}

template class Network<float>;
template class Network<double>;

}  // namespace bptt
