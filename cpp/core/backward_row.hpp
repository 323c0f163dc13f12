#pragma once

#include "core/backward_loop.hpp"
#include "core/cells/cell.hpp"

namespace bptt {

/// What CellSteps::backward reads and writes of one row of one step, from its first unit on; what a
/// cell does not have is null. Pointers of its own: a packet stored may be anything to the
/// compiler, which would load what is behind the loop's pointers again after each.
template <class Cell, class S>
struct BackwardRow {
  static constexpr CellInfo kCell = make_cell_info<Cell>();
  static constexpr Index kLanes = Vec<S>::kLanes;

  BackwardRow(const BackwardLoop<S>& loop, Index s, Index slot, const StepRange& steps) {
    const RaggedBatch& batch = loop.batch_;
    const DirectionSaved<S>& saved = *loop.task_.saved;
    const auto& chunk = loop.chunk_;
    const Index padded = loop.layer_.padded_, state = slot * padded;
    const Index saved_row = batch.first_row(s) + slot, row = saved_row - steps.first_row;
    const Index at = batch.row(slot), time = batch.time(slot, s, loop.task_.reverse);
    if (loop.d_y_) d_y = loop.d_y_.row(at, time);
    if (loop.d_h_steps_) d_h_step = loop.d_h_steps_.row(at, time);
    if (loop.d_c_steps_) d_c_step = loop.d_c_steps_.row(at, time);
    d_y_stride = loop.d_y_.feature_stride;
    gates = saved.gates.data() + saved_row * kCell.saved * padded;
    d_h = loop.cell_d_h_ + state;
    d_gates = chunk.gates + row * loop.layer_.gates_stride_;
    if constexpr (kCell.separate_recurrent) {
      d_recurrent = chunk.recurrent + row * loop.layer_.gates_stride_;
    }
    if constexpr (Cell::kReadsPreviousOutput || Cell::kReadsOutput) {
      h_prev = chunk.h_prev + row * padded;
    }
    if constexpr (Cell::kReadsOutput) {
      y = loop.y_row(slot, s);
      expected_zoneout = loop.expected_zoneout_;
    }
#pragma GCC unroll 4
    for (int i = 0; i < kCell.memory; ++i) {
      const auto of = static_cast<std::size_t>(i);
      memory[i] = saved.memory[of].data() + saved_row * padded;
      memory_prev[i] = s == 0 ? saved.initial[1 + of].data() + state
                              : saved.memory_states(i) + (batch.first_row(s - 1) + slot) * padded;
      d_memory[i] = loop.d_memory_[i] + state;
    }
    if constexpr (kCell.products() > 1) {
      d_operand = loop.d_operand_ + state;
      operand = chunk.operand + row * padded;
    }
    if constexpr (kCell.unit_weights > 0) {
      d_unit_weights = chunk.unit_weights + row * kCell.unit_weights * padded;
    }
    if constexpr (kCell.normalizes_cell()) {
      const S* const moments = saved.cell_moments.data() + 2 * saved_row;
      cell_moments = {moments[0], moments[1]};
      d_c_normalized = loop.d_c_normalized_ + state;
    }
  }

  /// What the normalization of c makes of the gradients that phase 1 has left.
  void find_cell_gradient(const CellDirection<S>& layer) {
    const S *const d = d_c_normalized, *const c = memory[0];
    const Moments<S> moments = cell_moments;
    cell_gradient = layer.normalized_cell_row().gradient(
        moments.scale, [=](Index i) { return Vec<S>::load(d + i); },
        [=](Index i) { return moments.normalize(Vec<S>::load(c + i)); });
  }

  void load(BackwardUnits<S>& u, Index unit, Index units) const {
#pragma GCC unroll 5
    for (int g = 0; g < kCell.saved; ++g) {
      u.gate[g] = Vec<S>::load(gates + unit * kCell.saved + g * kLanes);
    }
    if constexpr (Cell::kReadsPreviousOutput) u.h_prev = Vec<S>::load(h_prev + unit);
    if constexpr (Cell::kReadsOutput) {
      u.h = Vec<S>::load_some(y + unit, 1, units);
      // What random zoneout has kept has no gradient, but the expected value is not the cell's.
      if (const S p = expected_zoneout; p > S(0)) {
        u.h = (u.h - Vec<S>::load(h_prev + unit) * p) / Vec<S>(S(1) - p);
      }
    }
#pragma GCC unroll 4
    for (int i = 0; i < kCell.memory; ++i) {
      u.memory[i] = Vec<S>::load(memory[i] + unit);
      u.memory_prev[i] = Vec<S>::load(memory_prev[i] + unit);
      u.d_memory[i] = Vec<S>::load(d_memory[i] + unit);
    }
    if constexpr (kCell.normalizes_cell()) u.c_normalized = cell_moments.normalize(u.memory[0]);
  }

  template <int kPhase>
  void store(const BackwardUnits<S>& u, Index block, Index padded, Index units) const {
    const Index unit = block * kLanes;
    for (int g = kCell.first_gate(kPhase); g < kCell.end_gate(kPhase); ++g) {
      const Index column = kCell.gate_column(g, block, padded, kLanes);
      store_units(u.d_gate[g], d_gates + column, units);
      if constexpr (kCell.separate_recurrent) {
        store_units(u.d_recurrent[g], d_recurrent + column, units);
      }
    }
#pragma GCC unroll 4
    for (int i = 0; i < kCell.unit_weights; ++i) {
      store_units(u.d_unit_weight[i], d_unit_weights + i * padded + unit, units);
    }
    if constexpr (kPhase > 0) {
      u.d_h.store(d_h + unit);  // now with this step's d_y
      if constexpr (kCell.normalizes_cell()) u.d_c_normalized.store(d_c_normalized + unit);
    } else {
      u.d_h_prev.store(d_h + unit);
#pragma GCC unroll 4
      for (int i = 0; i < kCell.memory; ++i) u.d_memory_prev[i].store(d_memory[i] + unit);
      if constexpr (kCell.products() > 1) u.operand.store(operand + unit);
    }
  }

  /// The lanes beyond H become 0: an infinite input makes them NaN, and products read them.
  static void store_units(Vec<S> v, S* to, Index units) {
    v.store(to);
    for (Index lane = units; lane < kLanes; ++lane) to[lane] = S(0);
  }

  // In: the caller's gradients, null if there are none, and what forward has saved.
  const S* d_y = nullptr;
  Index d_y_stride = 0;
  const S *gates = nullptr, *h_prev = nullptr, *y = nullptr;
  const S *memory[kMaxMemory] = {}, *memory_prev[kMaxMemory] = {}, *d_operand = nullptr;
  S expected_zoneout = 0;
  Moments<S> cell_moments{};
  NormalizationGradient<S> cell_gradient{};
  // In: from the step or phase before in backward's order; out: for the one after.
  S *d_h = nullptr, *d_memory[kMaxMemory] = {}, *d_unit_weights = nullptr,
    *d_c_normalized = nullptr;
  // Out: the caller's, null if it wants none, and what later products read.
  S *d_h_step = nullptr, *d_c_step = nullptr;
  S *d_gates = nullptr, *d_recurrent = nullptr, *operand = nullptr;
};

}  // namespace bptt
