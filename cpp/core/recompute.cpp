#include "core/recompute.hpp"

namespace bptt {
namespace {

/// Where segments begin, and T.
template <class S>
std::vector<Index> find_segments(const Network<S>& network, const RaggedBatch& batch,
                                 Index recompute_every) {
  std::vector<Index> segments{0};
  const Index steps = batch.total_rows() > 0 ? batch.longest() : 0;
  for (Index first = 0, last = 0; first < steps; first = last) {
    while (last < steps && last - first < recompute_every)
      last = network.backward_chunk_end(batch, last);
    segments.push_back(last < steps ? last : batch.steps());
  }
  return segments;
}

}  // namespace

template <class S>
void forward_recompute(const Network<S>& network, const NetworkForward<S>& call,
                       Index recompute_every, Saved<S>& saved) {
  const LayerConfig& config = network.config();
  const RaggedBatch& batch = *call.batch;
  std::vector<Index> segments = find_segments(network, batch, recompute_every);
  if (segments.size() <= 2) return network.forward(call, saved);
  const Index count = static_cast<Index>(segments.size()) - 1;
  const Index rows = config.num_layers * batch.size();
  const auto make_states = [&](const S* first, Index size) {
    Buffer<S> states(count * size);
    first != nullptr ? std::copy_n(first, size, states.data())
                     : std::fill_n(states.data(), size, S(0));
    return states;
  };
  const auto states = static_cast<std::size_t>(cell_info(config.cell).states());
  for (std::size_t k = 0; k < states; ++k) {
    saved.states[k] = make_states(call.initial[k], rows * config.state_size(k));
  }

  // Only random masks need the kernels of training here, and what they keep is not used.
  const bool drops = saved.dropout_key && ((config.dropout > 0 && config.num_layers > 1) ||
                                           config.zoneout > 0 || config.recurrent_dropout > 0);
  for (Index i = 0; i < count; ++i) {
    const auto segment = segments.begin() + i;
    const RaggedBatch steps = batch.slice(segment[0], segment[1] - segment[0]);
    NetworkForward<S> part{.batch = &steps,
                           .x = call.x.from_step(segment[0]),
                           .y = call.y.from_step(segment[0]),
                           .initial = {},
                           .last = call.last};
    for (std::size_t k = 0; k < states; ++k) {
      const Index size = rows * config.state_size(k);
      part.initial[k] = saved.states[k].data() + i * size;
      if (i + 1 < count) part.last[k] = saved.states[k].data() + (i + 1) * size;
    }
    if (drops) {
      Saved<S> unused(steps, saved.dropout_key, segment[0]);
      network.forward(part, unused);
    } else {
      network.infer(part);
    }
  }
  saved.segments = std::move(segments);
}

template <class S>
void backward_recompute(const Network<S>& network, const NetworkBackward<S>& call) {
  const Saved<S>& saved = *call.saved;
  if (saved.segments.empty()) return network.backward(call);
  const LayerConfig& config = network.config();
  const Index rows = config.num_layers * saved.batch.size();
  Arena& arena = scratch();
  const Arena::Scope scope(arena);
  const auto states = static_cast<std::size_t>(cell_info(config.cell).states());
  Index units = 0;
  for (std::size_t k = 0; k < states; ++k) units += config.state_size(k);
  S* next = arena.allocate<S>(rows * units);
  States<S> d_between{};  // from one segment to the one before
  for (std::size_t k = 0; k < states; ++k) {
    d_between[k] = next;
    next += rows * config.state_size(k);
  }
  NetworkBackward<S> part = call;
  part.accumulator.memory = arena.allocate_zeroed<S>(network.accumulator_size(call.x));
  for_each_segment(network, saved, call.x, [&](const Saved<S>& segment, Sequence<const S> y) {
    const Index first = segment.first_step;
    part.saved = &segment;
    part.x = call.x.from_step(first);
    part.y = y;
    part.d_y = call.d_y.from_step(first);
    part.d_x = call.d_x.from_step(first);
    part.d_decay = call.d_decay.from_step(first);
    for (std::size_t i = 0; i < call.d_h_steps.size(); ++i) {
      part.d_h_steps[i] = call.d_h_steps[i].from_step(first);
    }
    for (std::size_t i = 0; i < call.d_c_steps.size(); ++i) {
      part.d_c_steps[i] = call.d_c_steps[i].from_step(first);
    }
    part.d_initial = first > 0 ? d_between : call.d_initial;
    part.accumulator.last = first == 0;
    network.backward(part);
    part.accumulator.first = false;
    std::copy(d_between.begin(), d_between.end(), part.d_last.begin());  // read before written
  });
}

template void forward_recompute(const Network<float>&, const NetworkForward<float>&, Index,
                                Saved<float>&);
template void forward_recompute(const Network<double>&, const NetworkForward<double>&, Index,
                                Saved<double>&);
template void backward_recompute<float>(const Network<float>&, const NetworkBackward<float>&);
template void backward_recompute<double>(const Network<double>&, const NetworkBackward<double>&);

}  // namespace bptt
