#pragma once

#include "core/cell_direction.hpp"
#include "core/cells/cell.hpp"

// One step of one row, for streams: input and recurrent weights of a panel in one pass, with its
// sums in registers from the bias to the equations. The terms of every sum, and their order, are
// those of the time loop (cell_steps.hpp), and so are the bits.

namespace bptt {

template <class Cell, class S, bool kUsual>
struct RowSteps {
  static constexpr CellInfo kCell = make_cell_info<Cell>();
  static constexpr Index kLanes = Vec<S>::kLanes;

  static void step(const CellDirection<S>& layer, const RowStep<S>& row) {
    phase<0>(layer, row);
    if constexpr (kCell.phases > 1) phase<1>(layer, row);
  }

 private:
  /// All panels of a phase, two at a time: the sums of one are too few to hide the latency.
  template <int kPhase>
  static void phase(const CellDirection<S>& layer, const RowStep<S>& row) {
    constexpr int kGates = kCell.phase_gates(kPhase), kPackets = kMaxPackets / kGates * kGates;
    const PackedWeights<S>& weights = layer.weight_hh_[kPhase];
    const Index count = weights.count(), pairs = (count + 1) / 2;
    for (Index i = 0; i < pairs; ++i) {
      const Index q = 2 * (row.reversed ? pairs - 1 - i : i);
      const bool two = q + 1 < count;
      if (two && weights.packets(q + 1) == kPackets && weights.depth(q) == weights.depth(q + 1)) {
        panels<kPhase, kPackets, 2>(layer, row, q);
      } else {
        panel<kPhase, kPackets>(layer, row, q);
        if (two) panel<kPhase, kPackets>(layer, row, q + 1);
      }
    }
  }

  /// One panel of at most kPackets packets.
  template <int kPhase, int kPackets>
  static void panel(const CellDirection<S>& layer, const RowStep<S>& row, Index q) {
    constexpr int kFewer = kPackets - kCell.phase_gates(kPhase);
    if constexpr (kFewer > 0) {
      if (layer.weight_hh_[kPhase].packets(q) < kPackets) {
        return panel<kPhase, kFewer>(layer, row, q);
      }
    }
    panels<kPhase, kPackets, 1>(layer, row, q);
  }

  /// P packets of each of Q adjacent panels, and the equations of their units.
  template <int kPhase, int P, int Q>
  [[gnu::noinline]] static void panels(const CellDirection<S>& layer, const RowStep<S>& row,
                                       Index q) {
    constexpr int kColumns = P * Q, kGates = kCell.phase_gates(kPhase);
    const PackedWeights<S>& weights = layer.weight_hh_[kPhase];
    const PackedWeights<S>& inputs = layer.weight_ih_[kPhase];
    const Index column = weights.column(q), first = layer.phase_column(kPhase) + column;
    Vec<S> sum[kColumns], recurrent[kCell.separate_recurrent ? kColumns : 1];
    load<kColumns>(sum, layer.bias_.data() + first);
    const Index input_stride = inputs.panel(q + 1) - inputs.panel(q);
    if (row.x != nullptr) {
      accumulate<P, Q>(sum, inputs.panel(q), input_stride, row.x, layer.input_);
    } else {
      const S* const weight = inputs.panel(q) + row.id * P * kLanes;
#pragma GCC unroll 8
      for (int i = 0; i < kColumns; ++i) {
        sum[i] += Vec<S>::load(weight + i / P * input_stride + i % P * kLanes);
      }
    }
    const Range depth = weights.depth(q);
    const S* const left = (kPhase == 0 ? row.before[0] : row.operand) + depth.first;
    const Index stride = weights.panel(q + 1) - weights.panel(q);
    if constexpr (kCell.separate_recurrent) {
      load<kColumns>(recurrent, layer.bias_hn_.data() + column);
      accumulate<P, Q>(recurrent, weights.panel(q), stride, left, depth.size());
    } else {
      accumulate<P, Q>(sum, weights.panel(q), stride, left, depth.size());
    }
    const Index block = q * weights.blocks_per_panel();
#pragma GCC unroll 8
    for (int b = 0; b < kColumns / kGates; ++b) {
      const Vec<S>* const own = recurrent + (kCell.separate_recurrent ? b * kGates : 0);
      if constexpr (kUsual) {
        equations<kPhase>(kUsualActivations, layer, row, block + b, sum + b * kGates, own);
      } else {
        any_equations<kPhase>(layer, row, block + b, sum + b * kGates, own);
      }
    }
  }

  template <int kCount>
  [[gnu::always_inline]] static void load(Vec<S>* to, const S* from) {
#pragma GCC unroll 8
    for (int i = 0; i < kCount; ++i) to[i] = Vec<S>::load(from + i * kLanes);
  }

  /// sum += weights · a, over k in order.
  template <int P, int Q>
  [[gnu::always_inline]] static void accumulate(Vec<S>* sum, const S* panel, Index panel_stride,
                                                const S* a, Index depth) {
#pragma GCC unroll 4
    for (Index k = 0; k < depth; ++k, panel += P * kLanes) {
      const Vec<S> left(a[k]);
#pragma GCC unroll 8
      for (int i = 0; i < P * Q; ++i) {
        sum[i] = fma(left, Vec<S>::load(panel + i / P * panel_stride + i % P * kLanes), sum[i]);
      }
    }
  }

  /// The cell's equations for a block of units, whose sums are complete.
  template <int kPhase>
  [[gnu::always_inline]] static void equations(const Activations& activations,
                                               const CellDirection<S>& layer, const RowStep<S>& row,
                                               Index block, const Vec<S>* sum,
                                               const Vec<S>* recurrent) {
    constexpr int kFirst = kCell.first_gate(kPhase), kEnd = kCell.end_gate(kPhase);
    const Index unit = block * kLanes;
    S* const gates = row.gates + block * kCell.first_phase_gates * kLanes;
    ForwardUnits<S> u;
#pragma GCC unroll 4
    for (int g = 0; g < kFirst; ++g) u.gate[g] = Vec<S>::load(gates + g * kLanes);
#pragma GCC unroll 4
    for (int g = kFirst; g < kEnd; ++g) {
      u.gate[g] = sum[g - kFirst];
      if constexpr (kCell.separate_recurrent) u.recurrent[g] = recurrent[g - kFirst];
    }
    u.h = Vec<S>::load_some(row.before[0] + unit, 1, kLanes);
#pragma GCC unroll 4
    for (int i = 0; i < kCell.memory; ++i) {
      u.memory[i] = Vec<S>::load_some(row.before[1 + i] + unit, 1, kLanes);
    }
#pragma GCC unroll 4
    for (int i = 0; i < kCell.unit_weights; ++i) {
      u.unit_weight[i] = Vec<S>::load(layer.unit_weights_.data() + i * layer.padded_ + unit);
    }
    Cell::template forward<kPhase>(activations, u);
    if constexpr (Cell::kOutputGate >= 0) Cell::output(activations, u);
    if constexpr (kPhase < kCell.last_phase()) {
#pragma GCC unroll 4
      for (int g = kFirst; g < kEnd; ++g) u.gate[g].store(gates + g * kLanes);
      u.operand.store(row.operand + unit);
    } else {
      u.h.store(row.after[0] + unit);
#pragma GCC unroll 4
      for (int i = 0; i < kCell.memory; ++i) u.memory[i].store(row.after[1 + i] + unit);
    }
  }

  template <int kPhase>
  [[gnu::noinline]] static void any_equations(const CellDirection<S>& layer, const RowStep<S>& row,
                                              Index block, const Vec<S>* sum,
                                              const Vec<S>* recurrent) {
    equations<kPhase>(layer.activations_, layer, row, block, sum, recurrent);
  }
};

}  // namespace bptt
