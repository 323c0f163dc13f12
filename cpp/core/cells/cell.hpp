#pragma once

#include "core/activations.hpp"
#include "core/types.hpp"
#include "core/vec.hpp"

// What the time loop hands to a cell: one packet of hidden units, of one row, at one step.
//
// A cell states
//   kGates           columns of weight_ih per unit
//   kPhases          products with the recurrent weights in one step, one after the other
//   phase_gates(p)   how many gates (consecutive, from 0) phase p completes
//   kSaved           columns per unit that backward needs
//   kHasCellState    whether there is a c beside h
//   kSeparateRecurrent   whether W h + bias_hn is kept apart from U x + b
//   kReadsOutput, kReadsPreviousOutput   what else backward wants to see
// and, for each phase, `forward` and `backward`. Phase 0 multiplies h_{t-1}; a later phase
// multiplies the `operand` that the phase before it left.

namespace bptt {

constexpr int kMaxGates = 4;

template <class S>
struct ForwardUnits {
  Vec<S> gate[kMaxGates];       // in: pre-activations; out: what backward needs (gates first)
  Vec<S> recurrent[kMaxGates];  // in: W h_{t-1} + bias_hn, if kSeparateRecurrent
  Vec<S> h, c;                  // in: previous state; out: new state
  Vec<S> operand;               // out, if another phase follows
};

template <class S>
struct BackwardUnits {
  Vec<S> gate[kMaxGates];         // as forward left them
  Vec<S> h, h_prev, c, c_prev;    // h and h_prev only if the cell reads them
  Vec<S> d_h, d_c;                // dL/dh_t in full; dL/dc_t in: from t+1, out: in full
  Vec<S> d_operand;               // from the product of the phase after this one
  Vec<S> d_gate[kMaxGates];       // out: dL/d(pre-activation)
  Vec<S> d_recurrent[kMaxGates];  // out: dL/d(W h + bias_hn), if kSeparateRecurrent
  Vec<S> d_h_prev, d_c_prev;      // out: what reaches t-1 without passing through W
  Vec<S> operand;                 // out: this step's operand again, for the gradient of its W
};

}  // namespace bptt
