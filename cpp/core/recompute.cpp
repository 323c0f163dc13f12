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
  const Index h_size = rows * config.h_size(), c_size = rows * config.hidden_size;
  const auto make_states = [&](const S* first, Index size) {
    Buffer<S> states(count * size);
    first != nullptr ? std::copy_n(first, size, states.data())
                     : std::fill_n(states.data(), size, S(0));
    return states;
  };
  saved.h = make_states(call.h0, h_size);
  if (call.c_final != nullptr) saved.c = make_states(call.c0, c_size);

  // Only random masks need the kernels of training here, and what they keep is not used.
  const bool drops = saved.dropout_key && ((config.dropout > 0 && config.num_layers > 1) ||
                                           config.zoneout > 0 || config.recurrent_dropout > 0);
  for (Index i = 0; i < count; ++i) {
    const auto segment = segments.begin() + i;
    const RaggedBatch steps = batch.slice(segment[0], segment[1] - segment[0]);
    const auto at = [&](Buffer<S>& states, Index size, Index index, S* otherwise) {
      return states.empty() || index == count ? otherwise : states.data() + index * size;
    };
    const NetworkForward<S> part{.batch = &steps,
                                 .x = call.x.from_step(segment[0]),
                                 .y = call.y.from_step(segment[0]),
                                 .h0 = at(saved.h, h_size, i, nullptr),
                                 .c0 = at(saved.c, c_size, i, nullptr),
                                 .h_final = at(saved.h, h_size, i + 1, call.h_final),
                                 .c_final = at(saved.c, c_size, i + 1, call.c_final)};
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
  S* const d_h = arena.allocate<S>(rows * config.h_size());  // from one segment to the one before
  S* const d_c = arena.allocate<S>(rows * config.hidden_size);
  NetworkBackward<S> part = call;
  part.accumulator.memory = arena.allocate_zeroed<S>(network.accumulator_size(call.x));
  for_each_segment(network, saved, call.x, [&](const Saved<S>& segment, Sequence<const S> y) {
    const Index first = segment.first_step;
    part.saved = &segment;
    part.x = call.x.from_step(first);
    part.y = y;
    part.d_y = call.d_y.from_step(first);
    part.d_x = call.d_x.from_step(first);
    for (std::size_t i = 0; i < call.d_h_steps.size(); ++i) {
      part.d_h_steps[i] = call.d_h_steps[i].from_step(first);
    }
    for (std::size_t i = 0; i < call.d_c_steps.size(); ++i) {
      part.d_c_steps[i] = call.d_c_steps[i].from_step(first);
    }
    part.d_h0 = first > 0 ? d_h : call.d_h0;
    part.d_c0 = first > 0 ? d_c : call.d_c0;
    part.accumulator.last = first == 0;
    network.backward(part);
    part.accumulator.first = false;
    part.d_h_final = d_h;  // read before it is written
    part.d_c_final = d_c;
  });
}

template void forward_recompute(const Network<float>&, const NetworkForward<float>&, Index,
                                Saved<float>&);
template void forward_recompute(const Network<double>&, const NetworkForward<double>&, Index,
                                Saved<double>&);
template void backward_recompute<float>(const Network<float>&, const NetworkBackward<float>&);
template void backward_recompute<double>(const Network<double>&, const NetworkBackward<double>&);

}  // namespace bptt
