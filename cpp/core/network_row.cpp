#include "core/network.hpp"
#include "core/parallel/lease.hpp"
#include "core/thread_local.hpp"
#include "core/vec.hpp"

// Inference of one step of one sequence: what infer does, without loops, plans and threads.

namespace bptt {

namespace {

/// Whether this thread's next step begins with the last panel: the cache still holds what the step
/// before has read last.
bool reverse_panels() {
  BPTT_THREAD_LOCAL bool reversed = false;
  return reversed = !reversed;
}

}  // namespace

template <class S>
void Network<S>::step_row(const NetworkForward<S>& call) const {
  constexpr Index kLanes = Vec<S>::kLanes;
  const FlushDenormals mode;
  Arena& arena = scratch();
  const Arena::Scope scope(arena);
  const Index layers = config_.num_layers, hidden = config_.hidden_size;
  const Index padded = (hidden + kLanes - 1) / kLanes * kLanes;
  const Index states = kMaxStates * padded, gates = kMaxGates * padded;
  S* const scratch_gates = arena.allocate<S>(gates + padded + (1 + layers) * states);
  RowStep<S> row{
      .gates = scratch_gates, .operand = scratch_gates + gates, .reversed = reverse_panels()};
  // Copies of the states where they are not padded, and those of all layers after the step: the
  // caller's arrays, which may be those that are read, are written last.
  S *const copies = row.operand + padded, *const results = copies + states;
  if (call.x.ids) {
    row.id = *call.x.ids.row(0, 0);
  } else if (row.x = call.x.values.data; call.x.values.feature_stride != 1) {
    const Index inputs = config_.layer_input_size(0);
    S* const adjacent = arena.allocate<S>(inputs);
    for (Index i = 0; i < inputs; ++i) adjacent[i] = row.x[i * call.x.values.feature_stride];
    row.x = adjacent;
  }
  for (Index layer = 0; layer < layers; ++layer) {
    for (std::size_t i = 0; i < kMaxStates && call.last[i] != nullptr; ++i) {
      const Index at = static_cast<Index>(i) * padded;
      const S* const initial = call.initial[i];
      row.after[i] = results + layer * states + at;
      if (initial != nullptr && hidden == padded) {
        row.before[i] = initial + layer * hidden;
        continue;
      }
      const Index given = initial == nullptr ? 0 : hidden;
      std::copy_n(initial + layer * given, given, copies + at);
      std::fill(copies + at + given, copies + at + padded, S(0));
      row.before[i] = copies + at;
    }
    direction(layer, 0).step_row(row);
    row.x = row.after[0];
  }
  std::copy_n(row.x, hidden, call.y.data);
  for (Index layer = 0; layer < layers; ++layer) {
    const S* after = results + layer * states;
    for (std::size_t i = 0; i < kMaxStates && call.last[i] != nullptr; ++i, after += padded) {
      std::copy_n(after, hidden, call.last[i] + layer * hidden);
    }
  }
}

template void Network<float>::step_row(const NetworkForward<float>&) const;
template void Network<double>::step_row(const NetworkForward<double>&) const;

}  // namespace bptt
