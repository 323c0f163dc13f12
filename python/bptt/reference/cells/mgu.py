"""Minimal gated unit (MGU); the blocks of rows of the parameters are f, n.

f    = σ(U x_t + W h_{t-1} + b)
n    = φ(U_n x_t + W_n (f ⊙ h_{t-1}) + b_n)
h_t  = (1 - f) ⊙ h_{t-1} + f ⊙ n
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..activations import Array
from .cell import Cell, Functions, State, Weights, sum_over_steps


class Saved(NamedTuple):
    """Values of a step that backward needs; each (B, H)."""

    forget: Array
    candidate: Array
    product: Array  # f ⊙ h_{t-1}


def step(ux: Array, state: State, p: Weights, functions: Functions) -> tuple[State, Saved]:
    """Return s_t, from `ux` = U x_t + b (B, G*H) and s_{t-1}."""
    (h,) = state
    H = h.shape[1]  # rows of f; those of n follow
    f = functions.sigma.function(ux[:, :H] + h @ p.W[:H].T)
    fh = f * h
    n = functions.phi.function(ux[:, H:] + fh @ p.W[H:].T)
    return ((1 - f) * h + f * n,), Saved(f, n, fh)


def step_backward(
    d_state: State, previous: State, saved: Saved, p: Weights, functions: Functions
) -> tuple[Array, State, State]:
    """Return ∂L/∂a_t, ∂L/∂s_{t-1} and ∂L/∂s_t."""
    (d_h,), (h,) = d_state, previous
    H = h.shape[1]
    f, n, _ = saved
    d_a_n = d_h * f * functions.phi.derivative(n)
    d_fh = d_a_n @ p.W[H:]
    d_a_f = (d_h * (n - h) + d_fh * h) * functions.sigma.derivative(f)
    d_a = np.concatenate([d_a_f, d_a_n], axis=1)
    return d_a, (d_h * (1 - f) + d_fh * f + d_a_f @ p.W[:H],), d_state


def weight_gradients(d_a: Array, h: Array, saved: Sequence[Saved], p: Weights) -> dict[str, Array]:
    """Return ∂L/∂W: a_f contains W h_{t-1}, a_n contains W_n (f ⊙ h_{t-1})."""
    H = h.shape[2]
    fh = np.reshape([s.product for s in saved], h.shape)
    d_W_f, d_W_n = sum_over_steps(d_a[..., :H], h), sum_over_steps(d_a[..., H:], fh)
    return {"weight_hh": np.concatenate([d_W_f, d_W_n])}


CELLS = {"mgu": Cell(2, Saved._fields[:2], 1, step, step_backward, weight_gradients)}
