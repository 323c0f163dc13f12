#pragma once

#include "core/network.hpp"

// Backpropagation through time with less memory: forward keeps only the states in which segments of
// steps begin, its checkpoints. Backward computes a segment again when it comes to it. T steps in
// segments of k take the memory of T/k states and of k steps.
//
//   T. Chen, B. Xu, C. Zhang and C. Guestrin (2016), Training deep nets with sublinear memory cost.
//   A. Gruslys et al. (2016), Memory-efficient backpropagation through time.
//
// Segments are made of whole chunks of backward, and every sum over the steps goes on from one
// segment to the next: the results are the same bits as without checkpoints.

namespace bptt {

/// `Network::forward` for training, with at least `every` steps from one checkpoint to the next.
/// The network has one direction.
template <class S>
void forward_checkpointed(const Network<S>& network, const NetworkForward<S>& call, Index every);

/// `Network::backward`, after either forward.
template <class S>
void backward_checkpointed(const Network<S>& network, const NetworkBackward<S>& call);

/// visit(what forward keeps of a segment's every step, its output), from the last segment to the
/// first. Without checkpoints all steps are one segment, whose output is left to the caller.
template <class S, class Visit>
void for_each_segment(const Network<S>& network, const Saved<S>& saved, const LayerInput<S>& x,
                      Visit visit) {
  if (saved.segments.empty()) return visit(saved, Sequence<const S>{});
  const NetworkSpec& spec = network.spec();
  const Index batch = saved.plan.batch(), features = spec.output_size();
  const Index state = spec.num_layers * batch * spec.hidden_size;
  Arena& arena = scratch();
  for (Index i = static_cast<Index>(saved.segments.size()) - 1; i-- > 0;) {
    const Arena::Scope scope(arena);
    const auto segment = saved.segments.begin() + i;
    Saved<S> again(saved.plan.slice(segment[0], segment[1] - segment[0]), saved.dropout_key,
                   segment[0]);
    const RowPlan plan = again.plan.slice(0, again.plan.longest());  // the rest is padding
    const Sequence<S> y{arena.take<S>(plan.steps() * batch * features), features, batch * features};
    const auto begin = [&](const Buffer<S>& states) {
      return states.empty() ? nullptr : states.data() + i * state;
    };
    network.forward({&plan, x.from_step(segment[0]), y, begin(saved.h), begin(saved.c),
                     arena.take<S>(state), arena.take<S>(state), &again});
    visit(again, read_only(y));
  }
}

}  // namespace bptt
