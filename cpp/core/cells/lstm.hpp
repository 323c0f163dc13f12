#pragma once

#include "core/cells/cell.hpp"

namespace bptt {

/// i, f, o = sigma(.), g = phi(.) of U x_t + W h_{t-1} + b
/// c_t = f * c_{t-1} + i * g
/// h_t = o * phi(c_t)
///
/// With peepholes, i and f also see p * c_{t-1}, and o sees p * c_t. Coupled, i = 1 - f has no
/// weights. Normalized, h_t = o * phi(gain * normalized c_t + bias): the output needs c_t of all
/// units, hence two phases.
template <bool kPeephole, bool kCoupled, bool kLayerNorm = false>
struct LstmForm : CellDefaults {
  static_assert(!kLayerNorm || !(kPeephole || kCoupled), "their normalization is not defined");
  static constexpr int kInput = kCoupled ? -1 : 0;
  static constexpr int kForget = kInput + 1, kCell = kForget + 1, kOutput = kCell + 1;
  static constexpr int kGates = kOutput + 1;
  static constexpr int kOutputGate = kLayerNorm ? -1 : kOutput;
  static constexpr int kSaved = kGates;
  static constexpr int kMemory = 1;
  static constexpr bool kNormalized = kLayerNorm;
  static constexpr int kPhases = kLayerNorm ? 2 : 1;
  static constexpr int kFirstPhaseGates = kLayerNorm ? kGates : 0;
  static constexpr int kUnitWeights = kPeephole ? kGates - 1 : kLayerNorm ? 2 : 0;
  // Numbers of unit weights; the peepholes of i and f have those of their gates.
  static constexpr int kOutputPeephole = kForget + 1;
  static constexpr int kCellGain = 0, kCellBias = 1;

  template <int phase, class S>
  static void forward(const Activations& act, ForwardUnits<S>& u) {
    if constexpr (phase == 0) {
      Vec<S>& c = u.memory[0];
      const Vec<S> c_prev = c;
      const Vec<S> f = apply(act.gate, peep(u, kForget, c_prev, u.gate[kForget]));
      const Vec<S> g = apply(act.cell, u.gate[kCell]);
      if constexpr (kCoupled) {
        c = fma(f, c_prev - g, g);
      } else {
        const Vec<S> i = apply(act.gate, peep(u, kInput, c_prev, u.gate[kInput]));
        c = fma(f, c_prev, i * g);
        u.gate[kInput] = i;
      }
      u.gate[kOutput] = apply(act.gate, peep(u, kOutputPeephole, c, u.gate[kOutput]));
      u.gate[kForget] = f;
      u.gate[kCell] = g;
    }
    if constexpr (phase > 0) output(act, u);
  }

  template <class S>
  static void output(const Activations& act, ForwardUnits<S>& u) {
    u.h = u.gate[kOutput] * apply(act.cell, seen_cell(u));
  }

  template <int phase, class S>
  static void backward(const Activations& act, BackwardUnits<S>& u) {
    const Vec<S> f = u.gate[kForget], g = u.gate[kCell], o = u.gate[kOutput];
    const Vec<S> phi_c = apply(act.cell, seen_cell(u));
    const Vec<S> d_seen = activation_backward(act.cell, phi_c, u.d_h * o);
    if constexpr (phase > 0) {
      u.d_unit_weight[kCellGain] = d_seen * u.c_normalized;
      u.d_unit_weight[kCellBias] = d_seen;
      u.d_c_normalized = d_seen * u.unit_weight[kCellGain];
      return;
    }
    const Vec<S> c = u.memory[0], c_prev = u.memory_prev[0];
    Vec<S>&d_c = u.d_memory[0], &d_c_prev = u.d_memory_prev[0];
    u.d_gate[kOutput] = activation_backward(act.gate, o, u.d_h * phi_c);
    if constexpr (!kLayerNorm) d_c += d_seen;
    d_c = peep_backward(u, kOutputPeephole, c, kOutput, d_c);
    d_c_prev = d_c * f;
    Vec<S> f_slope, d_g;  // dc/df, dL/dg
    if constexpr (kCoupled) {
      f_slope = c_prev - g;
      d_g = d_c - d_c_prev;
    } else {
      const Vec<S> i = u.gate[kInput];
      u.d_gate[kInput] = activation_backward(act.gate, i, d_c * g);
      d_c_prev = peep_backward(u, kInput, c_prev, kInput, d_c_prev);
      f_slope = c_prev;
      d_g = d_c * i;
    }
    // In this order: d_c * c_prev may overflow where f is saturated.
    u.d_gate[kForget] = d_c * activation_backward(act.gate, f, f_slope);
    d_c_prev = peep_backward(u, kForget, c_prev, kForget, d_c_prev);
    u.d_gate[kCell] = activation_backward(act.cell, g, d_g);
    u.d_h_prev = Vec<S>::zero();
  }

 private:
  /// The cell state as the output sees it.
  template <class Units>
  static auto seen_cell(const Units& u) {
    if constexpr (kLayerNorm) {
      return fma(u.unit_weight[kCellGain], u.c_normalized, u.unit_weight[kCellBias]);
    } else {
      return u.memory[0];
    }
  }

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
struct LstmLayerNorm : LstmForm<false, false, true> {
  static constexpr const char* kName = "lstm_layer_norm";
};

}  // namespace bptt
