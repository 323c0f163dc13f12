#pragma once

#include "core/cells/cell.hpp"

namespace bptt {

/// z = phi(.), o = sigma(.), f = sigma(f~), i = exp(i~), with z, o, f~, i~ of U x_t + W h_{t-1} + b
/// C_t = f * C_{t-1} + i * z
/// N_t = f * N_{t-1} + i
/// h_t = o * C_t / N_t
///
/// The memory holds c = C exp(-m) and n = N exp(-m), with the stabilizer m_t = max(log f + m_{t-1},
/// i~): exponentials of what exceeds m are never taken. Memory with n <= 0 holds nothing yet; it is
/// how a sequence begins, and n >= 1 from then on.
struct Slstm : CellDefaults {
  enum Gate { kInput, kForget, kCell, kOutput, kForgetSlope };
  enum Memory { kC, kN, kM };
  static constexpr const char* kName = "slstm";
  static constexpr int kGates = 4;
  static constexpr int kSaved = 5;  // exp(i~ - m), f exp(m_{t-1} - m), z, o, d(log f)/d(f~)
  static constexpr int kMemory = 3;

  template <int phase, class S>
  static void forward(const Activations& act, ForwardUnits<S>& u) {
    const Vec<S> zero = Vec<S>::zero(), i_log = u.gate[kInput];
    const Vec<S> c_prev = u.memory[kC], n_prev = u.memory[kN], m_prev = u.memory[kM];
    const LogSigmoid<S> f_log = log_sigmoid(u.gate[kForget]);
    const Vec<S> kept = f_log.value + m_prev;
    const Vec<S> m = select_at_most(n_prev, S(0), i_log, larger(kept, i_log));
    const Vec<S> i = exp_not_positive(i_log - m);
    const Vec<S> f = select_at_most(n_prev, S(0), zero, exp_not_positive(kept - m));
    const Vec<S> z = apply(act.cell, u.gate[kCell]);
    const Vec<S> o = sigmoid(u.gate[kOutput]);
    const Vec<S> c = fma(f, c_prev, i * z), n = fma(f, n_prev, i);
    u.h = o * (c / n);
    u.memory[kC] = c;
    u.memory[kN] = n;
    u.memory[kM] = m;
    u.gate[kInput] = i;
    u.gate[kForget] = f;
    u.gate[kCell] = z;
    u.gate[kOutput] = o;
    u.gate[kForgetSlope] = f_log.slope;
  }

  template <int phase, class S>
  static void backward(const Activations& act, BackwardUnits<S>& u) {
    const Vec<S> i = u.gate[kInput], f = u.gate[kForget], z = u.gate[kCell], o = u.gate[kOutput];
    const Vec<S> mean = u.memory[kC] / u.memory[kN];
    const Vec<S> d_mean = u.d_h * o / u.memory[kN];  // dh/dc
    const Vec<S> d_c = u.d_memory[kC] + d_mean;
    const Vec<S> d_n = u.d_memory[kN] - d_mean * mean;
    const Vec<S> d_m = u.d_memory[kM];
    // Of the exponents i~ - m and log f + m_{t-1} - m. The one of the larger is 0 whatever it is,
    // and it is what the other one subtracts.
    const Vec<S> d_i = i * fma(d_c, z, d_n);
    const Vec<S> d_f = f * fma(d_c, u.memory_prev[kC], d_n * u.memory_prev[kN]);
    const Vec<S> minus_i = Vec<S>::zero() - i;
    const Vec<S> d_kept = select_at_most(minus_i, S(-1), d_f, d_m - d_i);
    u.d_gate[kInput] = select_at_most(minus_i, S(-1), d_m - d_f, d_i);
    u.d_gate[kForget] = d_kept * u.gate[kForgetSlope];
    u.d_gate[kCell] = activation_backward(act.cell, z, d_c * i);
    u.d_gate[kOutput] = activation_backward(GateActivation::kSigmoid, o, u.d_h * mean);
    u.d_memory[kC] = d_c;
    u.d_memory_prev[kC] = d_c * f;
    u.d_memory_prev[kN] = d_n * f;
    u.d_memory_prev[kM] = d_kept;
    u.d_h_prev = Vec<S>::zero();
  }
};

}  // namespace bptt
