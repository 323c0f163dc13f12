"""Gated recurrent unit (GRU), in two forms; the blocks of rows of the parameters are r, z, n.

r, z = σ(U x_t + W h_{t-1} + b)
n    = φ(U_n x_t + W_n (r ⊙ h_{t-1}) + b_n)             reset before the product
n    = φ(U_n x_t + b_n + r ⊙ (W_n h_{t-1} + b_hn))      reset after the product
h_t  = (1 - z) ⊙ n + z ⊙ h_{t-1}

Some texts define the update gate as Γu = 1 - z instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..activations import Array
from .cell import Cell, Functions, State, Weights, split, sum_over_steps


class Saved(NamedTuple):
    """Values of a step that backward needs; each (B, H)."""

    reset: Array
    update: Array
    candidate: Array
    product: Array  # reset before: r ⊙ h_{t-1}; reset after: q = W_n h_{t-1} + b_hn


# ---------------------------------------------------------------- reset before the product


def step(ux: Array, state: State, p: Weights, f: Functions) -> tuple[State, Saved]:
    """Return s_t, from `ux` = U x_t + b (B, G*H) and s_{t-1}."""
    (h,) = state
    rz = 2 * h.shape[1]  # rows of r and z; those of n follow
    r, z = split(f.sigma.function(ux[:, :rz] + h @ p.W[:rz].T), 2)
    rh = r * h
    n = f.phi.function(ux[:, rz:] + rh @ p.W[rz:].T)
    return ((1 - z) * n + z * h,), Saved(r, z, n, rh)


def step_backward(
    d_state: State, previous: State, saved: Saved, p: Weights, f: Functions
) -> tuple[Array, State, State]:
    """Return ∂L/∂a_t, ∂L/∂s_{t-1} and ∂L/∂s_t."""
    (d_h,), (h,) = d_state, previous
    r, z, n, _ = saved
    rz = 2 * h.shape[1]
    d_a_n = d_h * (1 - z) * f.phi.derivative(n)
    d_rh = d_a_n @ p.W[rz:]
    d_a_r = d_rh * h * f.sigma.derivative(r)
    d_a_z = d_h * (h - n) * f.sigma.derivative(z)
    d_a = np.concatenate([d_a_r, d_a_z, d_a_n], axis=1)
    return d_a, (d_h * z + d_rh * r + d_a[:, :rz] @ p.W[:rz],), d_state


def weight_gradients(d_a: Array, h: Array, saved: Sequence[Saved], p: Weights) -> dict[str, Array]:
    """Return ∂L/∂W: a_r and a_z contain W h_{t-1}, a_n contains W_n (r ⊙ h_{t-1})."""
    rz = 2 * h.shape[2]
    rh = np.reshape([s.product for s in saved], h.shape)
    d_W_rz, d_W_n = sum_over_steps(d_a[..., :rz], h), sum_over_steps(d_a[..., rz:], rh)
    return {"weight_hh": np.concatenate([d_W_rz, d_W_n])}


# ----------------------------------------------------------------- reset after the product


def reset_after(ux: Array, w: Array, h: Array, p: Weights, f: Functions) -> tuple[Array, Saved]:
    """Return h_t, from `ux` = U x_t + b and `w` = W h_{t-1} (B, G*H), and h_{t-1}."""
    u_r, u_z, u_n = split(ux, 3)
    w_r, w_z, w_n = split(w, 3)
    r, z = f.sigma.function(u_r + w_r), f.sigma.function(u_z + w_z)
    q = w_n + p.extra["bias_hn"]
    n = f.phi.function(u_n + r * q)
    return (1 - z) * n + z * h, Saved(r, z, n, q)


def reset_after_backward(
    d_h: Array, h: Array, saved: Saved, f: Functions
) -> tuple[Array, Array, Array]:
    """Return ∂L/∂a_t, ∂L/∂w, and ∂L/∂h_{t-1} outside of w."""
    r, z, n, q = saved
    d_a_n = d_h * (1 - z) * f.phi.derivative(n)
    d_a_r = d_a_n * q * f.sigma.derivative(r)
    d_a_z = d_h * (h - n) * f.sigma.derivative(z)
    d_w = np.concatenate([d_a_r, d_a_z, d_a_n * r], axis=1)
    return np.concatenate([d_a_r, d_a_z, d_a_n], axis=1), d_w, d_h * z


def reset_after_products(d_a: Array, reset: Sequence[Array]) -> tuple[Array, Array]:
    """Return ∂L/∂w of all steps (T, B, G*H) and ∂L/∂b_hn: a_n contains r ⊙ (w_n + b_hn)."""
    rz, n = np.split(d_a, [2 * d_a.shape[2] // 3], axis=2)
    d_q = n * np.reshape(reset, n.shape)
    return np.concatenate([rz, d_q], axis=2), d_q.sum(axis=(0, 1))


def reset_after_step(ux: Array, state: State, p: Weights, f: Functions) -> tuple[State, Saved]:
    """Return s_t, from `ux` = U x_t + b (B, G*H) and s_{t-1}."""
    (h,) = state
    h_next, saved = reset_after(ux, h @ p.W.T, h, p, f)
    return (h_next,), saved


def reset_after_step_backward(
    d_state: State, previous: State, saved: Saved, p: Weights, f: Functions
) -> tuple[Array, State, State]:
    """Return ∂L/∂a_t, ∂L/∂s_{t-1} and ∂L/∂s_t."""
    (d_h,), (h,) = d_state, previous
    d_a, d_w, d_direct = reset_after_backward(d_h, h, saved, f)
    return d_a, (d_direct + d_w @ p.W,), d_state


def reset_after_weight_gradients(
    d_a: Array, h: Array, saved: Sequence[Saved], p: Weights
) -> dict[str, Array]:
    """Return ∂L/∂W and ∂L/∂b_hn."""
    d_w, d_bias_hn = reset_after_products(d_a, [s.reset for s in saved])
    return {"weight_hh": sum_over_steps(d_w, h), "bias_hn": d_bias_hn}


# ---------------------------------------------------------------------------------- both forms

CELLS = {
    "gru": Cell(3, Saved._fields[:3], 1, step, step_backward, weight_gradients),
    "gru_reset_after": Cell(
        3,
        Saved._fields[:3],
        1,
        reset_after_step,
        reset_after_step_backward,
        reset_after_weight_gradients,
        extra_parameters=("bias_hn",),
    ),
}
