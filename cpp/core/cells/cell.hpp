#pragma once

#include "core/activations.hpp"
#include "core/cells/cell_info.hpp"
#include "core/vec.hpp"

// The interface between the time loops and a cell.
//
// A cell is a struct of static members, derived from CellDefaults. It states
//   kName            the name by which the layer is chosen
//   kGates           columns of weight_ih and weight_hh per hidden unit
//   kSaved           values per unit that backward needs: the first kSaved of ForwardUnits::gate;
//                    it needs the memory, too, which the time loops keep
// and whatever differs from CellDefaults, and defines, for each phase,
//   forward<phase>(act, u) and backward<phase>(act, u)
// on one packet of hidden units, of one row, at one step (and output(act, u), see kOutputGate).
// Phase 0 multiplies h_{t-1} with the recurrent weights; phase 1, if there is one, multiplies the
// `operand` that phase 0 has left, or normalizes the cell state that it has left.
//
// A new cell is a header with these, a line in cells.def and its declaration in
// python/bptt/nn/cells.py (CONTRIBUTING.md).

namespace bptt {

constexpr int kMaxSaved = 5;
constexpr int kMaxUnitWeights = 4;

/// What most cells have in common.
struct CellDefaults {
  /// Products with the recurrent weights in one step, one after the other. With kNormalized, the
  /// second phase has no product: it takes the cell state normalized.
  static constexpr int kPhases = 1;
  /// With two phases: how many gates, from the first on, phase 0 completes.
  static constexpr int kFirstPhaseGates = 0;
  /// States of a unit beside h; the first is the cell state c.
  static constexpr int kMemory = 0;
  /// Whether W h + bias_hn is kept apart from U x + b, and the gate that bias_hn belongs to.
  static constexpr bool kSeparateRecurrent = false;
  static constexpr int kRecurrentBiasGate = -1;
  /// Whether U x and W h are each normalized over all gates, times a gain, before the equations.
  static constexpr bool kNormalized = false;
  /// Vectors of H weights that belong to the units, such as peepholes.
  static constexpr int kUnitWeights = 0;
  /// The gate from which, with the memory, output(act, u) computes h_t; -1 if forward does. The
  /// time loops apply it to all rows once their memory is complete: one activation after another is
  /// then not waited for.
  static constexpr int kOutputGate = -1;
  /// What else backward reads: h_t, h_{t-1}.
  static constexpr bool kReadsOutput = false;
  static constexpr bool kReadsPreviousOutput = false;
};

template <class S>
struct ForwardUnits {
  Vec<S> gate[kMaxSaved];       // in: pre-activations; out: what backward needs (gates first)
  Vec<S> recurrent[kMaxGates];  // in: W h_{t-1} + bias_hn, if kSeparateRecurrent
  Vec<S> unit_weight[kMaxUnitWeights];  // in: the first kUnitWeights
  Vec<S> h;                             // in: h_{t-1}; out: h_t
  Vec<S> memory[kMaxMemory];            // in: as the phase before has left it; out: the new one
  Vec<S> c_normalized;                  // in: with kNormalized, in phase 1
  Vec<S> operand;                       // out, if another product follows
};

template <class S>
struct BackwardUnits {
  Vec<S> gate[kMaxSaved];                              // in: as forward has left them
  Vec<S> unit_weight[kMaxUnitWeights];                 // in: the first kUnitWeights
  Vec<S> h, h_prev;                                    // in: only if the cell reads them
  Vec<S> memory[kMaxMemory], memory_prev[kMaxMemory];  // in
  Vec<S> d_h;                                          // in: dL/dh_t in full
  Vec<S> d_memory[kMaxMemory];                         // in: from t+1; out: in full
  Vec<S> c_normalized, d_c_normalized;    // in: with two phases and kNormalized; out: of phase 1
  Vec<S> d_operand;                       // in: from the product of the next phase
  Vec<S> d_gate[kMaxGates];               // out: dL/d(pre-activation)
  Vec<S> d_recurrent[kMaxGates];          // out: dL/d(W h + bias_hn), if kSeparateRecurrent
  Vec<S> d_unit_weight[kMaxUnitWeights];  // in: 0, or of the next phase; out: with this phase
  Vec<S> d_h_prev, d_memory_prev[kMaxMemory];  // out: what reaches t-1 without passing through W
  Vec<S> operand;  // out: this step's operand, for the gradient of its W
};

/// What the time loops require of a cell; checked for every cell that is compiled.
template <class Cell>
struct CheckCell {
  static_assert(Cell::kGates >= 1 && Cell::kGates <= kMaxGates,
                "a cell has from 1 to kMaxGates gates: a register tile holds all gates of a unit");
  static_assert(Cell::kSaved >= 0 && Cell::kSaved <= kMaxSaved,
                "a cell saves at most kMaxSaved values per unit, in ForwardUnits::gate");
  static_assert(Cell::kMemory >= 0 && Cell::kMemory <= kMaxMemory,
                "a cell has at most kMaxMemory states per unit beside h");
  static_assert(Cell::kPhases >= 1 && Cell::kPhases <= kMaxPhases,
                "a cell has one or two phases: there is one operand between them");
  static_assert(Cell::kPhases == 2 ? Cell::kFirstPhaseGates > 0 &&
                                         Cell::kFirstPhaseGates < Cell::kGates + Cell::kNormalized
                                   : Cell::kFirstPhaseGates == 0,
                "kFirstPhaseGates divides the gates of a cell with two phases, and is 0 otherwise");
  static_assert(!Cell::kNormalized || Cell::kPhases == 1 ||
                    (Cell::kMemory > 0 && Cell::kFirstPhaseGates == Cell::kGates),
                "the second phase of a cell with kNormalized has no gates, but a cell state");
  static_assert(!Cell::kSeparateRecurrent || Cell::kPhases == 1,
                "W h + bias_hn is kept apart only in a cell with one phase");
  static_assert(Cell::kRecurrentBiasGate == (Cell::kSeparateRecurrent ? Cell::kGates - 1 : -1),
                "bias_hn belongs to the last gate, and only to a cell with kSeparateRecurrent");
  static_assert(Cell::kOutputGate == -1 || (Cell::kPhases == 1 && Cell::kOutputGate >= 0 &&
                                            Cell::kOutputGate < Cell::kGates),
                "output(act, u) reads a gate of the only phase");
  static_assert(Cell::kUnitWeights >= 0 && Cell::kUnitWeights <= kMaxUnitWeights,
                "a cell has at most kMaxUnitWeights vectors of unit weights");
  static constexpr bool kPassed = true;
};

template <class Cell>
constexpr CellInfo make_cell_info() {
  static_assert(CheckCell<Cell>::kPassed);
  return {.name = Cell::kName,
          .gates = Cell::kGates,
          .saved = Cell::kSaved,
          .memory = Cell::kMemory,
          .unit_weights = Cell::kUnitWeights,
          .phases = Cell::kPhases,
          .first_phase_gates = Cell::kFirstPhaseGates,
          .recurrent_bias_gate = Cell::kRecurrentBiasGate,
          .separate_recurrent = Cell::kSeparateRecurrent,
          .normalized = Cell::kNormalized};
}

}  // namespace bptt
