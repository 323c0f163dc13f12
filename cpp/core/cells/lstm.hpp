#pragma once

#include "core/cells/cell.hpp"

namespace bptt {

/// i, f, o = sigma(.), g = phi(.) of U x_t + W h_{t-1} + b
/// c_t = f * c_{t-1} + i * g
/// h_t = o * phi(c_t)
struct Lstm : CellDefaults {
  enum Gate { kInput, kForget, kCell, kOutput };
  static constexpr const char* kName = "lstm";
  static constexpr int kGates = 4;
  static constexpr int kSaved = 4;
  static constexpr bool kHasCellState = true;

  template <int phase, class S>
  static void forward(const Activations& act, ForwardUnits<S>& u) {
    const Vec<S> i = apply(act.gate, u.gate[kInput]);
    const Vec<S> f = apply(act.gate, u.gate[kForget]);
    const Vec<S> g = apply(act.cell, u.gate[kCell]);
    const Vec<S> o = apply(act.gate, u.gate[kOutput]);
    u.c = fma(f, u.c, i * g);
    u.h = o * apply(act.cell, u.c);
    u.gate[kInput] = i;
    u.gate[kForget] = f;
    u.gate[kCell] = g;
    u.gate[kOutput] = o;
  }

  template <int phase, class S>
  static void backward(const Activations& act, BackwardUnits<S>& u) {
    const Vec<S> i = u.gate[kInput], f = u.gate[kForget], g = u.gate[kCell], o = u.gate[kOutput];
    const Vec<S> phi_c = apply(act.cell, u.c);
    u.d_c += activation_backward(act.cell, phi_c, u.d_h * o);
    u.d_gate[kInput] = activation_backward(act.gate, i, u.d_c * g);
    u.d_gate[kForget] = activation_backward(act.gate, f, u.d_c * u.c_prev);
    u.d_gate[kCell] = activation_backward(act.cell, g, u.d_c * i);
    u.d_gate[kOutput] = activation_backward(act.gate, o, u.d_h * phi_c);
    u.d_c_prev = u.d_c * f;
    u.d_h_prev = Vec<S>::zero();
  }
};

}  // namespace bptt
