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
  const auto states = static_cast<std::size_t>(cell_info(config_.cell).states());
  const Index hidden = config_.hidden_size, padded = (hidden + kLanes - 1) / kLanes * kLanes;
  // What is read, padded where the caller's memory is not, and what is written, of all layers: the
  // caller's arrays are written last, since they may be those that are read.
  const Index layers = config_.num_layers, count = static_cast<Index>(states) * padded;
  S* const memory = arena.allocate<S>((layers + 1) * count + 4 * padded);
  S *const before = memory, *const scratch_gates = memory + count;
  S* after = scratch_gates + 4 * padded;
  RowStep<S> row{.gates = scratch_gates,
                 .operand = scratch_gates + 3 * padded,
                 .reversed = reverse_panels()};
  const Index inputs = config_.layer_input_size(0);
  if (call.x.ids) {
    row.id = *call.x.ids.row(0, 0);
  } else if (row.x = call.x.values.data; call.x.values.feature_stride != 1) {
    S* const adjacent = arena.allocate<S>(inputs);
    for (Index i = 0; i < inputs; ++i) adjacent[i] = row.x[i * call.x.values.feature_stride];
    row.x = adjacent;
  }
  for (Index layer = 0; layer < layers; ++layer, after += count) {
    for (std::size_t i = 0; i < states; ++i) {
      const S* const initial = call.initial[i];
      row.before[i] = initial == nullptr ? nullptr : initial + layer * hidden;
      if (initial == nullptr || hidden != padded) {
        S* const copy = before + static_cast<Index>(i) * padded;
        const Index given = initial == nullptr ? 0 : hidden;
        std::copy_n(row.before[i], given, copy);
        std::fill(copy + given, copy + padded, S(0));
        row.before[i] = copy;
      }
      row.after[i] = after + static_cast<Index>(i) * padded;
    }
    direction(layer, 0).step_row(row);
    row.x = row.after[0];
  }
  std::copy_n(row.after[0], hidden, call.y.row(0, 0));
  after -= layers * count;
  for (Index layer = 0; layer < layers; ++layer) {
    for (std::size_t i = 0; i < states; ++i, after += padded) {
      if (call.last[i] != nullptr) std::copy_n(after, hidden, call.last[i] + layer * hidden);
    }
  }
}

template void Network<float>::step_row(const NetworkForward<float>&) const;
template void Network<double>::step_row(const NetworkForward<double>&) const;

}  // namespace bptt
