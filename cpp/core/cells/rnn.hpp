#pragma once

#include "core/cells/cell.hpp"

namespace bptt {

/// h_t = phi(U x_t + W h_{t-1} + b)
struct Rnn : CellDefaults {
  enum Gate { kHidden };
  static constexpr const char* kName = "rnn";
  static constexpr int kGates = 1;
  static constexpr int kSaved = 0;  // backward reads h_t instead
  static constexpr bool kReadsOutput = true;

  template <int phase, class S>
  static void forward(const Activations& act, ForwardUnits<S>& u) {
    u.h = apply(act.cell, u.gate[kHidden]);
  }

  template <int phase, class S>
  static void backward(const Activations& act, BackwardUnits<S>& u) {
    u.d_gate[kHidden] = activation_backward(act.cell, u.h, u.d_h);
    u.d_h_prev = Vec<S>::zero();
  }
};

}  // namespace bptt
