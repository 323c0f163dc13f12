#pragma once

#include "core/network.hpp"

// Activation checkpointing: forward keeps only the states at which segments of steps begin, and
// backward recomputes a segment when it reaches it. T steps in segments of k take the memory of T/k
// states and of k steps.
//
//   T. Chen, B. Xu, C. Zhang and C. Guestrin (2016), Training deep nets with sublinear memory cost.
//   A. Gruslys et al. (2016), Memory-efficient backpropagation through time.
//
// Segments consist of whole chunks of backward, and every sum over the steps is carried from one
// segment to the next: the results are bit for bit those without recomputation.

namespace bptt {

/// `Network::forward`, with at least `recompute_every` steps in a segment. The network has one
/// direction.
template <class S>
void forward_recompute(const Network<S>& network, const NetworkForward<S>& call,
                       Index recompute_every, Saved<S>& saved);

/// `Network::backward`, after either forward.
template <class S>
void backward_recompute(const Network<S>& network, const NetworkBackward<S>& call);

/// visit(what forward keeps of a segment's every step, its output), from the last segment to the
/// first. Without recomputation all steps are one segment, whose output is left to the caller.
template <class S, class Visit>
void for_each_segment(const Network<S>& network, const Saved<S>& saved, const LayerInput<S>& x,
                      Visit visit) {
  if (saved.segments.empty()) return visit(saved, Sequence<const S>{});
  const LayerConfig& config = network.config();
  const Index features = config.output_size();
  const Index rows = config.num_layers * saved.batch.size();
  Arena& arena = scratch();
  for (Index i = static_cast<Index>(saved.segments.size()) - 1; i-- > 0;) {
    const Arena::Scope scope(arena);
    const auto segment = saved.segments.begin() + i;
    Saved<S> again(saved.batch.slice(segment[0], segment[1] - segment[0]), saved.dropout_key,
                   segment[0]);
    const RaggedBatch batch = again.batch.slice(0, again.batch.longest());  // the rest is padding
    const Index row = batch.size() * features;
    const Sequence<S> y{arena.allocate<S>(batch.steps() * row), features, row};
    States<const S> initial{};
    States<S> last{};
    for (std::size_t k = 0; k < kMaxStates && !saved.states[k].empty(); ++k) {
      const Index size = rows * config.state_size(k);
      initial[k] = saved.states[k].data() + i * size;
      last[k] = arena.allocate<S>(size);
    }
    network.forward(
        {.batch = &batch, .x = x.from_step(segment[0]), .y = y, .initial = initial, .last = last},
        again);
    visit(again, read_only(y));
  }
}

}  // namespace bptt
