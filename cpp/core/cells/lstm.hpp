#pragma once

#include "core/cells/cell.hpp"

namespace bptt {

/// i, f, o = sigma(.), g = phi(.) of U x_t + W h_{t-1} + b
/// c_t = f * c_{t-1} + i * g
/// h_t = o * phi(c_t)
///
/// With peepholes, i and f also see p * c_{t-1}, and o sees p * c_t. Coupled, i = 1 - f has no
/// weights.
template <bool kPeephole, bool kCoupled>
struct LstmForm : CellDefaults {
  static constexpr int kInput = kCoupled ? -1 : 0;
  static constexpr int kForget = kInput + 1, kCell = kForget + 1, kOutput = kCell + 1;
  static constexpr int kGates = kOutput + 1;
  static constexpr int kSaved = kGates;
  static constexpr int kMemory = 1;
  static constexpr int kUnitWeights = kPeephole ? kGates - 1 : 0;
  static constexpr int kOutputPeephole = kForget + 1;  // those of i and f have their gates' numbers

  template <int phase, class S>
  static void forward(const Activations& act, ForwardUnits<S>& u) {
    const Vec<S> c_prev = u.memory[0];
    Vec<S>& c = u.memory[0];
    const Vec<S> f = apply(act.gate, peep(u, kForget, c_prev, u.gate[kForget]));
    const Vec<S> g = apply(act.cell, u.gate[kCell]);
    if constexpr (kCoupled) {
      c = fma(f, c_prev - g, g);
    } else {
      const Vec<S> i = apply(act.gate, peep(u, kInput, c_prev, u.gate[kInput]));
      c = fma(f, c_prev, i * g);
      u.gate[kInput] = i;
    }
    const Vec<S> o = apply(act.gate, peep(u, kOutputPeephole, c, u.gate[kOutput]));
    u.h = o * apply(act.cell, c);
    u.gate[kForget] = f;
    u.gate[kCell] = g;
    u.gate[kOutput] = o;
  }

  template <int phase, class S>
  static void backward(const Activations& act, BackwardUnits<S>& u) {
    const Vec<S> f = u.gate[kForget], g = u.gate[kCell], o = u.gate[kOutput];
    const Vec<S> c = u.memory[0], c_prev = u.memory_prev[0];
    Vec<S>&d_c = u.d_memory[0], &d_c_prev = u.d_memory_prev[0];
    const Vec<S> phi_c = apply(act.cell, c);
    u.d_gate[kOutput] = activation_backward(act.gate, o, u.d_h * phi_c);
    d_c += activation_backward(act.cell, phi_c, u.d_h * o);
    d_c = peep_backward(u, kOutputPeephole, c, kOutput, d_c);
    d_c_prev = d_c * f;
    Vec<S> d_f, d_g;
    if constexpr (kCoupled) {
      d_f = d_c * (c_prev - g);
      d_g = d_c - d_c_prev;
    } else {
      const Vec<S> i = u.gate[kInput];
      u.d_gate[kInput] = activation_backward(act.gate, i, d_c * g);
      d_c_prev = peep_backward(u, kInput, c_prev, kInput, d_c_prev);
      d_f = d_c * c_prev;
      d_g = d_c * i;
    }
    u.d_gate[kForget] = activation_backward(act.gate, f, d_f);
    d_c_prev = peep_backward(u, kForget, c_prev, kForget, d_c_prev);
    u.d_gate[kCell] = activation_backward(act.cell, g, d_g);
    u.d_h_prev = Vec<S>::zero();
  }

 private:
  /// a + p * c, for the pre-activation a of a gate that has a peephole.
  template <class S>
  static Vec<S> peep(const ForwardUnits<S>& u, int peephole, Vec<S> c, Vec<S> a) {
    if constexpr (kPeephole) return fma(u.unit_weight[peephole], c, a);
    return a;
  }

  /// Adds what a peephole passes on to c to d_c, and the gradient of its weight.
  template <class S>
  static Vec<S> peep_backward(BackwardUnits<S>& u, int peephole, Vec<S> c, int gate, Vec<S> d_c) {
    if constexpr (!kPeephole) return d_c;
    u.d_unit_weight[peephole] = u.d_gate[gate] * c;
    return fma(u.d_gate[gate], u.unit_weight[peephole], d_c);
  }
};

struct Lstm : LstmForm<false, false> {
  static constexpr const char* kName = "lstm";
};
struct LstmPeephole : LstmForm<true, false> {
  static constexpr const char* kName = "lstm_peephole";
};
struct LstmCoupled : LstmForm<false, true> {
  static constexpr const char* kName = "lstm_coupled";
};
struct LstmPeepholeCoupled : LstmForm<true, true> {
  static constexpr const char* kName = "lstm_peephole_coupled";
};

}  // namespace bptt
