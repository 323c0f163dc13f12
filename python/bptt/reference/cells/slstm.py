"""LSTM with exponential input gates (sLSTM); the blocks of rows of the parameters are i, f, z, o.

ĩ, f̃, z̃, õ = U x_t + W h_{t-1} + b;    i = exp(ĩ), f = σ(f̃), z = φ(z̃), o = σ(õ)

C_t  = f ⊙ C_{t-1} + i ⊙ z
N_t  = f ⊙ N_{t-1} + i
h_t  = o ⊙ C_t / N_t

No exponential overflows in the state (h, c, n, m), with C = c exp(m), N = n exp(m) and

m_t  = max(log f + m_{t-1}, ĩ)
i'   = exp(ĩ - m_t),  f' = exp(log f + m_{t-1} - m_t)
c_t  = f' ⊙ c_{t-1} + i' ⊙ z
n_t  = f' ⊙ n_{t-1} + i'
h_t  = o ⊙ c_t / n_t

Where n_{t-1} ≤ 0 the memory holds nothing yet: m_t = ĩ, f' = 0.

W consists of blocks on the diagonal, one for each head of units, and 0 between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..activations import Array, sigmoid
from .cell import Cell, Functions, State, Weights, block_diagonal, split, sum_over_steps


class Saved(NamedTuple):
    """Values of a step that backward needs; each (B, H)."""

    input: Array  # i'
    forget: Array  # f'
    cell: Array  # z
    output: Array
    forget_slope: Array  # d log f / d f̃ = 1 - f
    is_new: Array  # where m_t = ĩ
    c_previous: Array
    n_previous: Array
    c: Array
    n: Array


def step(ux: Array, state: State, p: Weights, functions: Functions) -> tuple[State, Saved]:
    """Return s_t, from `ux` = U x_t + b (B, 4*H) and s_{t-1}."""
    h, c_previous, n_previous, m_previous = state
    log_i, a_f, a_z, a_o = split(ux + h @ block_diagonal(p.W, h.shape[1]).T, 4)
    log_f = np.minimum(a_f, 0) - np.log1p(np.exp(-np.abs(a_f)))
    kept, empty = log_f + m_previous, n_previous <= 0
    m = np.where(empty, log_i, np.maximum(kept, log_i))
    i = np.exp(log_i - m)
    f = np.where(empty, 0, np.exp(np.minimum(kept - m, 0)))
    z, o = functions.phi.function(a_z), sigmoid(a_o)
    c = f * c_previous + i * z
    n = f * n_previous + i
    saved = Saved(i, f, z, o, sigmoid(-a_f), m == log_i, c_previous, n_previous, c, n)
    return (o * c / n, c, n, m), saved


def step_backward(
    d_state: State, previous: State, saved: Saved, p: Weights, functions: Functions
) -> tuple[Array, State, State]:
    """Return ∂L/∂a_t, ∂L/∂s_{t-1} and ∂L/∂s_t.

    i' and f' depend on m_t as well. The one that m_t was taken from is 1, whatever it is; the other
    one has the difference of both as its exponent.
    """
    d_h, d_c, d_n, d_m = d_state
    i, f, z, o, slope, is_new, c_previous, n_previous, c, n = saved
    mean, d_mean = c / n, d_h * o
    d_a_o = d_h * mean * o * (1 - o)
    d_c = d_c + d_mean / n
    d_n = d_n - d_mean * mean / n
    d_log_i = (d_c * z + d_n) * i
    d_kept = (d_c * c_previous + d_n * n_previous) * f
    d_input = np.where(is_new, d_m - d_kept, d_log_i)
    d_kept = np.where(is_new, d_kept, d_m - d_log_i)
    d_a_z = d_c * i * functions.phi.derivative(z)
    d_a = np.concatenate([d_input, d_kept * slope, d_a_z, d_a_o], axis=1)
    d_h_previous = d_a @ block_diagonal(p.W, d_h.shape[1])
    return d_a, (d_h_previous, d_c * f, d_n * f, d_kept), (d_h, d_c, d_n, d_m)


def weight_gradients(d_a: Array, h: Array, saved: Sequence[Saved], p: Weights) -> dict[str, Array]:
    """Return ∂L/∂W = Σ_t ∂L/∂a_tᵀ h_{t-1}, also between the heads; `h` is h_{t-1} of all steps."""
    return {"weight_hh": sum_over_steps(d_a, h)}


CELLS = {
    "slstm": Cell(4, Saved._fields[:4], 4, step, step_backward, weight_gradients, has_heads=True)
}
