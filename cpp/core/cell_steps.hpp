#pragma once

#include "core/backward_loop.hpp"
#include "core/cells/cell.hpp"
#include "core/forward_loop.hpp"

// What is compiled for every cell: its equations at one step, forward and backward, for some rows
// of the batch and some blocks of units. The time loops call them through CellKernels.

namespace bptt {

template <class Cell, class S>
struct CellSteps {
  static constexpr CellInfo kCell = make_cell_info<Cell>();
  static constexpr Index kLanes = Vec<S>::kLanes;

  /// One phase of one step, for some rows and the units of some panels: the product with the
  /// recurrent weights, and the equations.
  template <int kPhase, bool kTraining>
  static void step(const ForwardLoop<S>& loop, Index s, Range slots, S* gates, Range panels) {
    const CellDirection<S>& layer = loop.layer_;
    const PackedWeights<S>& weights = layer.weight_hh_[kPhase];
    const RowPointers<S> left{(kPhase == 0 ? loop.h_rows_[s & 1] : loop.operand_rows_) +
                              slots.first};
    const Index width = kCell.gates * layer.padded_, per_panel = weights.blocks_per_panel();
    for_each_group(panels, slots.size(), s % 2 != 0, [&](Index first, Index last) {
      if constexpr (kCell.separate_recurrent) {
        gemm_packed(weights, first, last, left, slots.size(), layer.bias_hn_.data(), 0,
                    loop.recurrent_ + slots.first * width, width);
      } else {
        S* const sums = gates + layer.phase_column(kPhase);
        gemm_packed(weights, first, last, left, slots.size(), sums, width, sums, width);
      }
      const Range blocks{first * per_panel, std::min(last * per_panel, layer.blocks_)};
      forward<kPhase, kTraining>(loop, s, slots, gates, blocks);
    });
  }

  /// The cell's equations, for the units whose sums are complete.
  template <int kPhase, bool kTraining>
  static void forward(const ForwardLoop<S>& loop, Index s, Range slots, S* gates, Range blocks) {
    constexpr int kGatesSoFar = kCell.end_gate(kPhase);
    constexpr bool kLast = kPhase == kCell.last_phase();
    const CellDirection<S>& layer = loop.layer_;
    const RaggedBatch& batch = loop.batch_;
    const Activations activations = loop.activations_;
    const Index padded = layer.padded_, width = kCell.gates * padded;
    const S* const h_before = loop.h_[s & 1];
    S* const h_after = loop.h_[(s + 1) & 1];
    const Index saved_row = kTraining ? batch.first_row(s) : 0;
    for (Index slot = slots.first; slot < slots.last; ++slot, gates += width) {
      S* y = nullptr;
      if constexpr (kLast) {
        y = loop.task_.y.row(batch.row(slot), batch.time(slot, s, loop.task_.reverse));
      }
      for (Index block = blocks.first; block < blocks.last; ++block) {
        const Index unit = block * kLanes, state = slot * padded + unit;
        ForwardUnits<S> u;
#pragma GCC unroll 4
        for (int g = 0; g < kGatesSoFar; ++g) {
          const Index column = gate_column(g, block, padded);
          u.gate[g] = Vec<S>::load(gates + column);
          if constexpr (kCell.separate_recurrent) {
            u.recurrent[g] = Vec<S>::load(loop.recurrent_ + slot * width + column);
          }
        }
        u.h = Vec<S>::load(h_before + state);
#pragma GCC unroll 4
        for (int i = 0; i < kCell.memory; ++i) u.memory[i] = Vec<S>::load(loop.memory_[i] + state);
        load_unit_weights(layer, u.unit_weight, unit);
        Cell::template forward<kPhase>(activations, u);
        if constexpr (!kLast) {
#pragma GCC unroll 4
          for (int g = kCell.first_gate(kPhase); g < kGatesSoFar; ++g) {
            u.gate[g].store(gates + gate_column(g, block, padded));
          }
          u.operand.store(loop.operand_ + state);
        } else {
          u.h.store(h_after + state);
          u.h.store_some(y + unit, layer.hidden_ - unit);
#pragma GCC unroll 4
          for (int i = 0; i < kCell.memory; ++i) u.memory[i].store(loop.memory_[i] + state);
          if constexpr (kTraining) save(*loop.task_.saved, u, saved_row + slot, block, padded);
        }
      }
    }
  }

  /// The derivative of the cell's equations. On entry d_h_ holds what comes from later steps; on
  /// exit from phase 0 what this step loops to h_{t-1} outside W.
  template <int kPhase>
  static void backward(const BackwardLoop<S>& loop, Index s, Range slots, const StepRange& steps,
                       Range blocks) {
    constexpr bool kFirst = kPhase == kCell.last_phase();  // the last phase comes first here
    const CellDirection<S>& layer = loop.layer_;
    const BackwardTask<S>& task = loop.task_;
    const RaggedBatch& batch = loop.batch_;
    const Activations activations = loop.activations_;
    const Index first = batch.first_row(s) - steps.first_row;
    for (Index slot = slots.first; slot < slots.last; ++slot) {
      const Index chunk_row = first + slot;
      const Index time = batch.time(slot, s, task.reverse), row = batch.row(slot);
      const S* const d_y = loop.d_y_ ? loop.d_y_.row(row, time) : nullptr;
      for (Index block = blocks.first; block < blocks.last; ++block) {
        const Index unit = block * kLanes, state = slot * layer.padded_ + unit;
        const Index units = layer.hidden_ - unit;
        BackwardUnits<S> u;
        u.d_h = Vec<S>::load(loop.d_h_ + state);
        if (kFirst && d_y != nullptr) {
          const Index stride = loop.d_y_.feature_stride;
          u.d_h += Vec<S>::load_some(d_y + unit * stride, stride, units);
        }
        load(loop, u, s, slot, steps.first_row + chunk_row, chunk_row, block);
        load_unit_weights(layer, u.unit_weight, unit);
        load_unit_weight_gradients<kPhase>(loop, u, chunk_row, unit);
        if constexpr (!kFirst) u.d_operand = Vec<S>::load(loop.d_operand_ + state);
        Cell::template backward<kPhase>(activations, u);
        if (kFirst && loop.d_h_steps_)
          u.d_h.store_some(loop.d_h_steps_.row(row, time) + unit, units);
        store<kPhase>(loop, u, slot, chunk_row, block);
        if constexpr (kCell.memory > 0) {
          if (loop.d_c_steps_) {
            u.d_memory[0].store_some(loop.d_c_steps_.row(row, time) + unit, units);
          }
        }
      }
    }
  }

 private:
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

  static void load(const BackwardLoop<S>& loop, BackwardUnits<S>& u, Index s, Index slot,
                   Index saved_row, Index row, Index block) {
    const Index padded = loop.layer_.padded_;
    const Index unit = block * kLanes, state = slot * padded + unit;
    const DirectionSaved<S>& saved = *loop.task_.saved;
    const S* const gates =
        saved.gates.data() + saved_row * kCell.saved * padded + block * kCell.saved * kLanes;
#pragma GCC unroll 5
    for (int g = 0; g < kCell.saved; ++g) u.gate[g] = Vec<S>::load(gates + g * kLanes);
    if constexpr (Cell::kReadsPreviousOutput) {
      u.h_prev = Vec<S>::load(loop.chunk_.h_prev + row * padded + unit);
    }
    if constexpr (Cell::kReadsOutput) {
      u.h = Vec<S>::load_some(loop.y_row(slot, s) + unit, 1, loop.layer_.hidden_ - unit);
      // What random zoneout has kept has no gradient, but the expected value is not the cell's.
      if (const S p = loop.expected_zoneout_; p > S(0)) {
        const Vec<S> h_prev = Vec<S>::load(loop.chunk_.h_prev + row * padded + unit);
        u.h = (u.h - h_prev * p) / Vec<S>(S(1) - p);
      }
    }
    const Index row_before = s == 0 ? 0 : loop.batch_.first_row(s - 1) + slot;
#pragma GCC unroll 4
    for (int i = 0; i < kCell.memory; ++i) {
      const auto at = static_cast<std::size_t>(i);
      const S* const before = s == 0 ? saved.initial[1 + at].data() + state
                                     : saved.memory_states(i) + row_before * padded + unit;
      u.memory[i] = Vec<S>::load(saved.memory[at].data() + saved_row * padded + unit);
      u.memory_prev[i] = Vec<S>::load(before);
      u.d_memory[i] = Vec<S>::load(loop.d_memory_[i] + state);
    }
  }

  template <int kPhase>
  static void load_unit_weight_gradients(const BackwardLoop<S>& loop, BackwardUnits<S>& u,
                                         Index row, Index unit) {
    if constexpr (kCell.unit_weights > 0) {
      const Index padded = loop.layer_.padded_;
      const S* const sums = loop.chunk_.unit_weights + row * kCell.unit_weights * padded + unit;
#pragma GCC unroll 4
      for (int i = 0; i < kCell.unit_weights; ++i) {
        u.d_unit_weight[i] =
            kPhase == kCell.last_phase() ? Vec<S>::zero() : Vec<S>::load(sums + i * padded);
      }
    }
  }

  /// The lanes beyond H become 0: an infinite input makes them NaN, and products read them.
  static void store_units(Vec<S> v, S* to, Index units) {
    v.store(to);
    for (Index lane = units; lane < kLanes; ++lane) to[lane] = S(0);
  }

  template <int kPhase>
  static void store(const BackwardLoop<S>& loop, const BackwardUnits<S>& u, Index slot, Index row,
                    Index block) {
    const auto& chunk = loop.chunk_;
    const Index padded = loop.layer_.padded_, units = loop.layer_.hidden_ - block * kLanes;
    const Index unit = block * kLanes, state = slot * padded + unit;
    for (int g = kCell.first_gate(kPhase); g < kCell.end_gate(kPhase); ++g) {
      const Index column = row * kCell.gates * padded + gate_column(g, block, padded);
      store_units(u.d_gate[g], chunk.gates + column, units);
      if constexpr (kCell.separate_recurrent) {
        store_units(u.d_recurrent[g], chunk.recurrent + column, units);
      }
    }
    if constexpr (kCell.unit_weights > 0) {
      S* const to = chunk.unit_weights + row * kCell.unit_weights * padded + unit;
      for (int i = 0; i < kCell.unit_weights; ++i) {
        store_units(u.d_unit_weight[i], to + i * padded, units);
      }
    }
    if constexpr (kPhase > 0) {
      u.d_h.store(loop.d_h_ + state);  // now with this step's d_y
    } else {
      u.d_h_prev.store(loop.d_h_ + state);
#pragma GCC unroll 4
      for (int i = 0; i < kCell.memory; ++i) u.d_memory_prev[i].store(loop.d_memory_[i] + state);
      if constexpr (kCell.phases > 1) u.operand.store(chunk.operand + row * padded + unit);
    }
  }
};

template <class Cell>
CellInfo cell_info_of() {
  return make_cell_info<Cell>();
}

template <class Cell, class S>
CellKernels<S> cell_kernels_of() {
  using Steps = CellSteps<Cell, S>;
  CellKernels<S> kernels{{&Steps::template step<0, false>},
                         {&Steps::template step<0, true>},
                         {&Steps::template backward<0>}};
  if constexpr (Cell::kPhases > 1) {
    kernels.infer[1] = &Steps::template step<1, false>;
    kernels.train[1] = &Steps::template step<1, true>;
    kernels.backward[1] = &Steps::template backward<1>;
  }
  return kernels;
}

}  // namespace bptt
