#pragma once

#include "core/cells/cell.hpp"

namespace bptt {

// r, z = sigma(U x_t + W h_{t-1} + b), n the candidate, h_t = (1 - z) * n + z * h_{t-1}.
// The two forms differ in whether r gates h before or after its product with W_n.

namespace gru {
enum Gate { kReset, kUpdate, kCandidate, kRecurrentCandidate };

/// h_t = (1 - z) * n + z * h_{t-1}
template <class S>
Vec<S> mix(Vec<S> z, Vec<S> n, Vec<S> h_prev) {
  return fma(z, h_prev - n, n);
}

/// The gradients that this equation passes on to n and z, before their activations.
template <class S>
[[gnu::always_inline]] inline void mix_backward(const Activations& act, BackwardUnits<S>& u) {
  const Vec<S> z = u.gate[kUpdate], n = u.gate[kCandidate];
  u.d_gate[kCandidate] = activation_backward(act.cell, n, u.d_h - u.d_h * z);
  u.d_gate[kUpdate] = activation_backward(act.gate, z, u.d_h * (u.h_prev - n));
  u.d_h_prev = u.d_h * z;
}
}  // namespace gru

/// n = phi(U_n x_t + W_n (r * h_{t-1}) + b_n): r must be known before W_n is used, hence two
/// phases.
struct Gru : CellDefaults {
  static constexpr const char* kName = "gru";
  static constexpr int kGates = 3;
  static constexpr int kPhases = 2;
  static constexpr int kFirstPhaseGates = 2;
  static constexpr int kSaved = 3;
  static constexpr bool kReadsPreviousOutput = true;

  template <int phase, class S>
  static void forward(const Activations& act, ForwardUnits<S>& u) {
    using namespace gru;
    if constexpr (phase == 0) {
      u.gate[kReset] = apply(act.gate, u.gate[kReset]);
      u.gate[kUpdate] = apply(act.gate, u.gate[kUpdate]);
      u.operand = u.gate[kReset] * u.h;
    } else {
      u.gate[kCandidate] = apply(act.cell, u.gate[kCandidate]);
      u.h = mix(u.gate[kUpdate], u.gate[kCandidate], u.h);
    }
  }

  template <int phase, class S>
  static void backward(const Activations& act, BackwardUnits<S>& u) {
    using namespace gru;
    mix_backward(act, u);
    if constexpr (phase == 0) {
      u.operand = u.gate[kReset] * u.h_prev;
      u.d_gate[kReset] = activation_backward(act.gate, u.gate[kReset], u.d_operand * u.h_prev);
      u.d_h_prev = fma(u.d_operand, u.gate[kReset], u.d_h_prev);
    }
  }
};

/// n = phi(U_n x_t + b_n + r * q), q = W_n h_{t-1} + bias_hn
struct GruResetAfter : CellDefaults {
  static constexpr const char* kName = "gru_reset_after";
  static constexpr int kGates = 3;
  static constexpr int kSaved = 4;
  static constexpr bool kSeparateRecurrent = true;
  static constexpr int kRecurrentBiasGate = gru::kCandidate;
  static constexpr bool kReadsPreviousOutput = true;

  template <int phase, class S>
  static void forward(const Activations& act, ForwardUnits<S>& u) {
    using namespace gru;
    const Vec<S> r = apply(act.gate, u.gate[kReset] + u.recurrent[kReset]);
    const Vec<S> z = apply(act.gate, u.gate[kUpdate] + u.recurrent[kUpdate]);
    const Vec<S> q = u.recurrent[kCandidate];
    const Vec<S> n = apply(act.cell, fma(r, q, u.gate[kCandidate]));
    u.h = mix(z, n, u.h);
    u.gate[kReset] = r;
    u.gate[kUpdate] = z;
    u.gate[kCandidate] = n;
    u.gate[kRecurrentCandidate] = q;
  }

  template <int phase, class S>
  static void backward(const Activations& act, BackwardUnits<S>& u) {
    using namespace gru;
    mix_backward(act, u);
    const Vec<S> r = u.gate[kReset];
    const Vec<S> d_n = u.d_gate[kCandidate];
    u.d_gate[kReset] = activation_backward(act.gate, r, d_n * u.gate[kRecurrentCandidate]);
    u.d_recurrent[kReset] = u.d_gate[kReset];
    u.d_recurrent[kUpdate] = u.d_gate[kUpdate];
    u.d_recurrent[kCandidate] = d_n * r;
  }
};

/// The same with U x_t and W h_{t-1} normalized.
struct GruLayerNorm : GruResetAfter {
  static constexpr const char* kName = "gru_layer_norm";
  static constexpr bool kNormalized = true;
};

}  // namespace bptt
