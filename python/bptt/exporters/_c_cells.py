"""Equations of the cells in C, for one step of one layer.

A template computes h, and the other states, in place from `a` = U x + b and the states of the step
before. It uses the constants H (hidden units), P (units of h) and G (gates), the weights of the
layer, as `_c_matrices.with_types` reads them, and the functions of `_c_functions`. The equations
are those of `bptt.reference.cells`.
"""

from __future__ import annotations

_LSTM = """\
  accumulate(WEIGHT_HH, h, P, G * H, a);
  for (int i = 0; i < H; ++i) {{
{gates}
  }}
"""

_GATES = """\
    const float f = SIGMA(a[{forget}H + i]{peephole_forget});
    const float in = {input};
    c[i] = f * c[i] + in * PHI(a[{cell}H + i]);
    cell_h[i] = SIGMA(a[{output}H + i]{peephole_output}) * PHI(c[i]);"""

_GRU = """\
  float rh[H];
  accumulate(WEIGHT_HH, h, H, 2 * H, a); /* r and z */
  for (int i = 0; i < 2 * H; ++i) a[i] = SIGMA(a[i]);
  for (int i = 0; i < H; ++i) rh[i] = a[i] * h[i];
  accumulate(WEIGHT_HN, rh, H, H, a + 2 * H);
  for (int i = 0; i < H; ++i) {
    const float z = a[H + i];
    h[i] = (1.0f - z) * PHI(a[2 * H + i]) + z * h[i];
  }
"""

_GRU_RESET_AFTER = """\
  float q[3 * H];
  zero(q, 2 * H);
  copy(BIAS_HN, H, q + 2 * H);
  accumulate(WEIGHT_HH, h, H, 3 * H, q);
  for (int i = 0; i < H; ++i) {
    const float r = SIGMA(a[i] + q[i]);
    const float z = SIGMA(a[H + i] + q[H + i]);
    h[i] = (1.0f - z) * PHI(a[2 * H + i] + r * q[2 * H + i]) + z * h[i];
  }
"""

_GRU_LAYER_NORM = """\
  float q[3 * H];
  zero(q, 3 * H);
  accumulate(WEIGHT_HH, h, H, 3 * H, q);
  normalize(q, 3 * H, GAIN_HH, 1e-5f);
  for (int i = 0; i < H; ++i) {
    const float r = SIGMA(a[i] + q[i]);
    const float z = SIGMA(a[H + i] + q[H + i]);
    h[i] = (1.0f - z) * PHI(a[2 * H + i] + r * (q[2 * H + i] + BIAS_HN[i])) + z * h[i];
  }
"""

_LSTM_LAYER_NORM = """\
  float q[4 * H], normal[H];
  zero(q, 4 * H);
  accumulate(WEIGHT_HH, h, H, 4 * H, q);
  normalize(q, 4 * H, GAIN_HH, 1e-5f);
  for (int i = 0; i < 4 * H; ++i) a[i] += q[i];
  for (int i = 0; i < H; ++i) {
    c[i] = SIGMA(a[H + i]) * c[i] + SIGMA(a[i]) * PHI(a[2 * H + i]);
  }
  copy(c, H, normal);
  normalize(normal, H, GAIN_CELL, 1e-5f);
  for (int i = 0; i < H; ++i) h[i] = SIGMA(a[3 * H + i]) * PHI(normal[i] + BIAS_CELL[i]);
"""

_MGU = """\
  float fh[H];
  accumulate(WEIGHT_HH, h, H, H, a); /* f */
  for (int i = 0; i < H; ++i) {
    a[i] = SIGMA(a[i]);
    fh[i] = a[i] * h[i];
  }
  accumulate(WEIGHT_HN, fh, H, H, a + H);
  for (int i = 0; i < H; ++i) h[i] = (1.0f - a[i]) * h[i] + a[i] * PHI(a[H + i]);
"""

_RNN = """\
  accumulate(WEIGHT_HH, h, H, H, a);
  for (int i = 0; i < H; ++i) h[i] = PHI(a[i]);
"""

_SLSTM = """\
  for (int head = 0; head < HEADS; ++head) {
    for (int gate = 0; gate < 4; ++gate) {
      const int block = head * 4 + gate; /* of W, for each head and gate */
      accumulate(WEIGHT_HH[block], h + head * (H / HEADS), H / HEADS, H / HEADS,
                 a + gate * H + head * (H / HEADS));
    }
  }
  for (int i = 0; i < H; ++i) {
    const float log_i = a[i], a_f = a[H + i];
    const float log_f = (a_f < 0.0f ? a_f : 0.0f) - log1pf(expf(-fabsf(a_f)));
    const float kept = log_f + m[i];
    const int empty = n[i] <= 0.0f;
    const float next = empty || log_i > kept ? log_i : kept;
    const float in = expf(log_i - next), f = empty ? 0.0f : expf(kept - next);
    c[i] = f * c[i] + in * PHI(a[2 * H + i]);
    n[i] = f * n[i] + in;
    m[i] = next;
    h[i] = sigmoid(a[3 * H + i]) * c[i] / n[i];
  }
"""


def _lstm(peephole: bool, coupled: bool) -> str:
    """Return the equations of an LSTM without layer normalization; `cell_h` is h if P = H."""
    places = ("forget", "cell", "output") if coupled else ("input", "forget", "cell", "output")
    at = {name: ("0 * ", "", "2 * ", "3 * ")[place] for place, name in enumerate(places)}
    peepholes = {
        f"peephole_{gate}": f" + PEEPHOLE_{gate.upper()}[i] * c[i]" if peephole else ""
        for gate in ("input", "forget", "output")
    }
    of_input = "1.0f - f"
    if not coupled:
        of_input = f"SIGMA(a[{at['input']}H + i]{peepholes['peephole_input']})"
    gates = _GATES.format(
        input=of_input,
        forget=at["forget"],
        cell=at["cell"],
        output=at["output"],
        peephole_forget=peepholes["peephole_forget"],
        peephole_output=peepholes["peephole_output"],
    )
    return _LSTM.format(gates=gates)


EQUATIONS = {
    "rnn": _RNN,
    "lstm": _lstm(False, False),
    "lstm_peephole": _lstm(True, False),
    "lstm_coupled": _lstm(False, True),
    "lstm_peephole_coupled": _lstm(True, True),
    "lstm_layer_norm": _LSTM_LAYER_NORM,
    "gru": _GRU,
    "gru_reset_after": _GRU_RESET_AFTER,
    "gru_layer_norm": _GRU_LAYER_NORM,
    "mgu": _MGU,
    "slstm": _SLSTM,
}
"""Equations by the names of `bptt.nn.cells`."""

PROJECTION = """\
  zero(h, P);
  accumulate(WEIGHT_HR, cell_h, H, P, h);
"""
