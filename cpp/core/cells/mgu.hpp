#pragma once

#include "core/cells/cell.hpp"

namespace bptt {

/// f = sigma(U x_t + W h_{t-1} + b)
/// n = phi(U_n x_t + W_n (f * h_{t-1}) + b_n), hence two phases
/// h_t = (1 - f) * h_{t-1} + f * n
struct Mgu : CellDefaults {
  enum Gate { kForget, kCandidate };
  static constexpr const char* kName = "mgu";
  static constexpr int kGates = 2;
  static constexpr int kPhases = 2;
  static constexpr int kFirstPhaseGates = 1;
  static constexpr int kSaved = 2;
  static constexpr bool kReadsPreviousOutput = true;

  template <int phase, class S>
  static void forward(const Activations& act, ForwardUnits<S>& u) {
    if constexpr (phase == 0) {
      u.gate[kForget] = apply(act.gate, u.gate[kForget]);
      u.operand = u.gate[kForget] * u.h;
    } else {
      u.gate[kCandidate] = apply(act.cell, u.gate[kCandidate]);
      u.h = fma(u.gate[kForget], u.gate[kCandidate] - u.h, u.h);
    }
  }

  template <int phase, class S>
  static void backward(const Activations& act, BackwardUnits<S>& u) {
    const Vec<S> f = u.gate[kForget], n = u.gate[kCandidate];
    if constexpr (phase == 1) {
      u.d_gate[kCandidate] = activation_backward(act.cell, n, u.d_h * f);
    } else {
      u.operand = f * u.h_prev;
      const Vec<S> d_f = fma(u.d_operand, u.h_prev, u.d_h * (n - u.h_prev));
      u.d_gate[kForget] = activation_backward(act.gate, f, d_f);
      u.d_h_prev = fma(u.d_operand - u.d_h, f, u.d_h);
    }
  }
};

}  // namespace bptt
