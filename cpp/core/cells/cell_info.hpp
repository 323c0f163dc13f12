#pragma once

#include "core/types.hpp"

namespace bptt {

constexpr int kMaxGates = 4;
constexpr int kMaxPhases = 2;
constexpr int kMaxMemory = 3;
constexpr int kMaxStates = 1 + kMaxMemory;

/// What is known of a cell outside its own translation unit: the constants of CellDefaults
/// (cell.hpp), for the time loops, which are compiled once for all cells.
struct CellInfo {
  const char* name;
  int gates, saved, memory, unit_weights;
  int phases, first_phase_gates;
  int recurrent_bias_gate;
  bool separate_recurrent, normalized;

  constexpr int states() const { return 1 + memory; }
  constexpr int last_phase() const { return phases - 1; }
  /// Products with the recurrent weights in one step: a phase without gates has none.
  constexpr int products() const { return first_phase_gates == gates ? 1 : phases; }
  /// Whether the last phase takes the cell state normalized.
  constexpr bool normalizes_cell() const { return normalized && phases > 1; }
  /// How many gates a phase completes, the first of them, and the one after the last.
  constexpr int first_gate(int phase) const { return phase == 0 ? 0 : first_phase_gates; }
  constexpr int end_gate(int phase) const {
    return phase == last_phase() ? gates : first_phase_gates;
  }
  constexpr int phase_gates(int phase) const { return end_gate(phase) - first_gate(phase); }
  constexpr int phase_of(int gate) const { return gate < end_gate(0) ? 0 : 1; }

  // A row of gates is stored phase by phase: [phase][H/W blocks][gates of the phase][W]. Where they
  // begin in it; H is padded to whole blocks.
  constexpr Index phase_column(int phase, Index padded) const { return first_gate(phase) * padded; }
  constexpr Index gate_column(int gate, Index block, Index padded, Index lanes) const {
    const int phase = phase_of(gate);
    return phase_column(phase, padded) +
           (block * phase_gates(phase) + gate - first_gate(phase)) * lanes;
  }
};

}  // namespace bptt
