#pragma once

#include "core/backward_row.hpp"
#include "core/cells/cell.hpp"
#include "core/forward_loop.hpp"
#include "core/row_step.hpp"

// What is compiled for every cell: its equations at one step, forward and backward, for some rows
// of the batch and some blocks of units. The time loops call them through CellKernels.

namespace bptt {

/// visit(row_of(slot), slot, block) for every packet of some rows. In one loop: a row often has one
/// block, and what a loop sets up before its first packet costs as much as a packet.
template <class RowOf, class Visit>
[[gnu::always_inline]] inline void for_each_packet(Range slots, Range blocks, RowOf row_of,
                                                   Visit visit) {
  if (slots.size() <= 0 || blocks.size() <= 0) return;
  Index slot = slots.first, block = blocks.first;
  for (auto row = row_of(slot);;) {
    visit(row, slot, block);
    if (++block < blocks.last) continue;
    if (++slot == slots.last) return;
    block = blocks.first;
    row = row_of(slot);
  }
}

template <class Cell, class S, bool kUsual>
struct CellSteps {
  static constexpr CellInfo kCell = make_cell_info<Cell>();
  static constexpr int kOutputGate = Cell::kOutputGate;
  static constexpr Index kLanes = Vec<S>::kLanes;

  /// One phase of one step, for some rows and the units of some panels: the product with the
  /// recurrent weights, and the equations. A normalized cell needs the sums of all units first:
  /// ForwardLoop::multiply.
  template <int kPhase, bool kTraining>
  static void step(const ForwardLoop<S>& loop, Index s, Range slots, S* gates, Range panels) {
    const CellDirection<S>& layer = loop.layer_;
    if constexpr (kCell.normalized) {
      return forward<kPhase, kTraining>(loop, s, slots, gates, loop.blocks_of(kPhase, panels));
    }
    const PackedWeights<S>& weights = layer.weight_hh_[kPhase];
    const RowPointers<S> left{(kPhase == 0 ? loop.h_rows_[s & 1] : loop.operand_rows_) +
                              slots.first};
    const Index stride = layer.gates_stride_;
    for_each_group(weights, panels, slots.size(), s % 2 != 0, [&](Index first, Index last) {
      if constexpr (kCell.separate_recurrent) {
        gemm_packed(weights, first, last, left, slots.size(), layer.bias_hn_.data(), 0,
                    loop.recurrent_ + slots.first * stride, stride);
      } else {
        S* const sums = gates + layer.phase_column(kPhase);
        gemm_packed(weights, first, last, left, slots.size(), sums, stride, sums, stride);
      }
      forward<kPhase, kTraining>(loop, s, slots, gates, weights.blocks_of({first, last}));
    });
  }

  /// The cell's equations, for the units whose sums are complete.
  template <int kPhase, bool kTraining>
  static void forward(const ForwardLoop<S>& loop, Index s, Range slots, S* gates, Range blocks) {
    constexpr int kGatesSoFar = kCell.end_gate(kPhase);
    constexpr bool kLast = kPhase == kCell.last_phase();
    const CellDirection<S>& layer = loop.layer_;
    const Activations activations = kUsual ? kUsualActivations : loop.activations_;
    const Index padded = layer.padded_, stride = layer.gates_stride_;
    const States states(loop, s);
    const Index saved_row = kTraining ? loop.batch_.first_row(s) : 0;
    struct Row {
      S* gates;
      S* y = nullptr;
      Moments<S> moments{};
    };
    const auto row_of = [&](Index slot) {
      Row row{gates + (slot - slots.first) * stride};
      if constexpr (kLast) row.y = states.y_row(slot);
      if constexpr (kCell.normalized) {
        row.moments = row_moments<kPhase, kTraining>(loop, slot, saved_row + slot, blocks);
      }
      return row;
    };
    for_each_packet(slots, blocks, row_of, [&](const Row& row, Index slot, Index block) {
      const Index unit = block * kLanes, state = slot * padded + unit;
      ForwardUnits<S> u;
#pragma GCC unroll 4
      for (int g = 0; g < kGatesSoFar; ++g) {
        const Index column = gate_column(g, block, padded);
        u.gate[g] = Vec<S>::load(row.gates + column);
        if constexpr (kCell.normalized && kPhase == 0) {
          add_normalized<kTraining>(loop, u, g, row.moments, slot, saved_row + slot, column);
        } else if constexpr (kCell.separate_recurrent) {
          u.recurrent[g] = Vec<S>::load(loop.recurrent_ + slot * stride + column);
        }
      }
      u.h = Vec<S>::load(states.before + state);
      states.load_memory(u, state);
      if constexpr (kPhase > 0 && kCell.normalized) {
        u.c_normalized = row.moments.normalize(u.memory[0]);
      }
      load_unit_weights(layer, u.unit_weight, unit);
      Cell::template forward<kPhase>(activations, u);
      if constexpr (!kLast) {
#pragma GCC unroll 4
        for (int g = kCell.first_gate(kPhase); g < kGatesSoFar; ++g) {
          u.gate[g].store(row.gates + gate_column(g, block, padded));
        }
        if constexpr (kCell.normalizes_cell()) {
          u.memory[0].store(loop.memory_[0] + state);
          u.operand = u.memory[0];
        }
        u.operand.store(loop.operand_ + state);
      } else {
        if constexpr (kOutputGate < 0) {
          states.store_h(u.h, state, row.y, unit);
        } else {
          u.gate[kOutputGate].store(row.gates + gate_column(kOutputGate, block, padded));
          __builtin_prefetch(row.y + unit, 1);  // until output stores it
        }
        states.store_memory(u, state);
        if constexpr (kTraining) save(*loop.task_.saved, u, saved_row + slot, block, padded);
      }
    });
    if constexpr (kOutputGate >= 0) output(activations, states, slots, gates, stride, blocks);
  }

  /// The derivative of the cell's equations. On entry cell_d_h_ holds what comes from later steps;
  /// on exit from phase 0 what this step loops to h_{t-1} outside W.
  template <int kPhase>
  static void backward(const BackwardLoop<S>& loop, Index s, Range slots, const StepRange& steps,
                       Range blocks) {
    constexpr bool kFirst = kPhase == kCell.last_phase();  // the last phase comes first here
    const CellDirection<S>& layer = loop.layer_;
    const Activations activations = kUsual ? kUsualActivations : loop.activations_;
    const Index hidden = layer.hidden_, padded = layer.padded_;
    using Row = BackwardRow<Cell, S>;
    const auto row_of = [&](Index slot) {
      Row row(loop, s, slot, steps);
      if constexpr (kCell.normalizes_cell() && !kFirst) row.find_cell_gradient(layer);
      return row;
    };
    for_each_packet(slots, blocks, row_of, [&](const Row& row, Index, Index block) {
      const Index unit = block * kLanes, units = hidden - unit;
      BackwardUnits<S> u;
      u.d_h = Vec<S>::load(row.d_h + unit);
      if (kFirst && row.d_y != nullptr) {
        u.d_h += Vec<S>::load_some(row.d_y + unit * row.d_y_stride, row.d_y_stride, units);
      }
      row.load(u, unit, units);
      load_unit_weights(layer, u.unit_weight, unit);
#pragma GCC unroll 4
      for (int i = 0; i < kCell.unit_weights; ++i) {
        u.d_unit_weight[i] =
            kFirst ? Vec<S>::zero() : Vec<S>::load(row.d_unit_weights + i * padded + unit);
      }
      if constexpr (kPhase + 1 < kCell.products()) {
        u.d_operand = Vec<S>::load(row.d_operand + unit);
      }
      if constexpr (kCell.normalizes_cell() && !kFirst) {
        const Vec<S> d = Vec<S>::load(row.d_c_normalized + unit);
        u.d_memory[0] += row.cell_gradient(d, u.c_normalized);
      }
      Cell::template backward<kPhase>(activations, u);
      if (kFirst && row.d_h_step != nullptr) u.d_h.store_some(row.d_h_step + unit, units);
      row.template store<kPhase>(u, block, padded, units);
      if constexpr (kCell.memory > 0 && kPhase == 0) {
        if (row.d_c_step != nullptr) u.d_memory[0].store_some(row.d_c_step + unit, units);
      }
    });
  }

 private:
  /// Where a step finds and leaves its states. Copies: a packet stored may be anything to the
  /// compiler, which would load what is behind a pointer again after each.
  struct States {
    States(const ForwardLoop<S>& loop, Index s)
        : batch(loop.batch_),
          step(s),
          reverse(loop.task_.reverse),
          padded(loop.layer_.padded_),
          hidden(loop.layer_.hidden_),
          before(loop.cell_h_[s & 1]),
          after(loop.cell_h_[(s + 1) & 1]),
          y(loop.cell_y_) {
      std::copy_n(loop.memory_, kCell.memory, memory);
    }
    S* y_row(Index slot) const { return y.row(batch.row(slot), batch.time(slot, step, reverse)); }
    void load_memory(ForwardUnits<S>& u, Index state) const {
#pragma GCC unroll 4
      for (int i = 0; i < kCell.memory; ++i) u.memory[i] = Vec<S>::load(memory[i] + state);
    }
    void store_memory(const ForwardUnits<S>& u, Index state) const {
#pragma GCC unroll 4
      for (int i = 0; i < kCell.memory; ++i) u.memory[i].store(memory[i] + state);
    }
    void store_h(Vec<S> h, Index state, S* y_units, Index unit) const {
      h.store(after + state);
      h.store_some(y_units + unit, hidden - unit);
    }

    const RaggedBatch& batch;
    const Index step;
    const bool reverse;
    const Index padded, hidden;
    const S* const before;  // h_{t-1}
    S* const after;         // h_t
    const Sequence<S> y;
    S* memory[kMaxMemory];
  };

  /// h_t of the units whose memory and kOutputGate forward has left.
  static void output(const Activations& activations, const States& states, Range slots,
                     const S* gates, Index stride, Range blocks) {
    const Index padded = states.padded;
    const auto y_of = [&](Index slot) { return states.y_row(slot); };
    for_each_packet(slots, blocks, y_of, [&](S* y, Index slot, Index block) {
      const Index unit = block * kLanes, state = slot * padded + unit;
      const S* const row = gates + (slot - slots.first) * stride;
      ForwardUnits<S> u;
      u.gate[kOutputGate] = Vec<S>::load(row + gate_column(kOutputGate, block, padded));
      states.load_memory(u, state);
      Cell::output(activations, u);
      states.store_h(u.h, state, y, unit);
    });
  }

  static Index gate_column(int gate, Index block, Index padded) {
    return kCell.gate_column(gate, block, padded, kLanes);
  }

  /// The unit weights of the packet that begins with `unit`.
  static void load_unit_weights(const CellDirection<S>& layer, Vec<S>* to, Index unit) {
#pragma GCC unroll 4
    for (int i = 0; i < kCell.unit_weights; ++i) {
      to[i] = Vec<S>::load(layer.unit_weights_.data() + i * layer.padded_ + unit);
    }
  }

  /// Of the row that a phase takes normalized: W h, then c, as phase 0 has left it (zoneout changes
  /// memory_ in this phase). All threads that share the row compute the same; the one with the
  /// first units saves it.
  template <int kPhase, bool kTraining>
  static Moments<S> row_moments(const ForwardLoop<S>& loop, Index slot, Index saved_row,
                                Range blocks) {
    const CellDirection<S>& layer = loop.layer_;
    const bool saves = kTraining && blocks.first == 0 && blocks.last > 0;
    if constexpr (kPhase == 0) {
      const S* const sums = loop.recurrent_ + slot * layer.gates_stride_;
      const Moments<S> moments = layer.normalized_row().moments(sums);
      if (saves) loop.task_.saved->recurrent.scales.data()[saved_row] = moments.scale;
      return moments;
    } else {
      const S* const c = loop.operand_ + slot * layer.padded_;
      const Moments<S> moments = layer.normalized_cell_row().moments(c);
      if (saves) {
        S* const to = loop.task_.saved->cell_moments.data() + 2 * saved_row;
        to[0] = moments.mean;
        to[1] = moments.scale;
      }
      return moments;
    }
  }

  /// The normalized recurrent part of a gate, for the packet that begins at a column.
  template <bool kTraining>
  static void add_normalized(const ForwardLoop<S>& loop, ForwardUnits<S>& u, int gate,
                             const Moments<S>& moments, Index slot, Index saved_row, Index column) {
    const CellDirection<S>& layer = loop.layer_;
    const S* const sums = loop.recurrent_ + slot * layer.gates_stride_;
    const Vec<S> z = moments.normalize(Vec<S>::load(sums + column));
    if constexpr (kTraining) {
      S* const values = loop.task_.saved->recurrent.values.data();
      z.store(values + saved_row * layer.gates_width() + column);
    }
    const Vec<S> gain = Vec<S>::load(layer.gain_hh_.data() + column);
    if constexpr (kCell.separate_recurrent) {
      u.recurrent[gate] = fma(z, gain, Vec<S>::load(layer.bias_hn_.data() + column));
    } else {
      u.gate[gate] = fma(z, gain, u.gate[gate]);
    }
  }

  static void save(DirectionSaved<S>& saved, const ForwardUnits<S>& u, Index row, Index block,
                   Index padded) {
    S* const to = saved.gates.data() + row * kCell.saved * padded + block * kCell.saved * kLanes;
#pragma GCC unroll 5
    for (int g = 0; g < kCell.saved; ++g) u.gate[g].store(to + g * kLanes);
#pragma GCC unroll 4
    for (std::size_t i = 0; i < kCell.memory; ++i) {
      u.memory[i].store(saved.memory[i].data() + row * padded + block * kLanes);
    }
  }
};

template <class Cell>
CellInfo cell_info_of() {
  return make_cell_info<Cell>();
}

template <class Cell, class S, bool kUsual>
CellKernels<S> cell_kernels_with() {
  using Steps = CellSteps<Cell, S, kUsual>;
  CellKernels<S> kernels{{&Steps::template step<0, false>},
                         {&Steps::template step<0, true>},
                         {&Steps::template backward<0>},
                         nullptr};
  if constexpr (!Cell::kNormalized) kernels.row = &RowSteps<Cell, S, kUsual>::step;
  if constexpr (Cell::kPhases > 1) {
    kernels.infer[1] = &Steps::template step<1, false>;
    kernels.train[1] = &Steps::template step<1, true>;
    kernels.backward[1] = &Steps::template backward<1>;
  }
  return kernels;
}

template <class Cell, class S>
CellKernels<S> cell_kernels_of(const Activations& of) {
  const bool usual =
      of.cell == kUsualActivations.cell && (Cell::kGates == 1 || of.gate == kUsualActivations.gate);
  return usual ? cell_kernels_with<Cell, S, true>() : cell_kernels_with<Cell, S, false>();
}

}  // namespace bptt
