"""Long short-term memory (LSTM); the blocks of rows of the parameters are i, f, g, o.

i, f, o = σ(U x_t + W h_{t-1} + b)
g       = φ(U x_t + W h_{t-1} + b)
c_t     = f ⊙ c_{t-1} + i ⊙ g
h_t     = o ⊙ φ(c_t)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..activations import Array
from .cell import Cell, Functions, State, Weights, split, sum_over_steps


class Saved(NamedTuple):
    """Values of a step that backward needs; each (B, H)."""

    input: Array
    forget: Array
    cell: Array
    output: Array
    phi_c: Array


def step(ux: Array, state: State, p: Weights, functions: Functions) -> tuple[State, Saved]:
    """Return s_t, from `ux` = U x_t + b (B, G*H) and s_{t-1}."""
    phi, sigma = functions.phi.function, functions.sigma.function
    h, c = state
    a_i, a_f, a_g, a_o = split(ux + h @ p.W.T, 4)
    i, f, g, o = sigma(a_i), sigma(a_f), phi(a_g), sigma(a_o)
    c = f * c + i * g
    phi_c = phi(c)
    return (o * phi_c, c), Saved(i, f, g, o, phi_c)


def step_backward(
    d_state: State, previous: State, saved: Saved, p: Weights, functions: Functions
) -> tuple[Array, State, State]:
    """Return ∂L/∂a_t, ∂L/∂s_{t-1} and ∂L/∂s_t.

    The loss depends on c_t through c_{t+1} and through h_t = o ⊙ φ(c_t).
    """
    d_phi, d_sigma = functions.phi.derivative, functions.sigma.derivative
    d_h, d_c = d_state
    _, c = previous
    i, f, g, o, phi_c = saved
    d_c = d_c + d_h * o * d_phi(phi_c)
    d_a_i = d_c * g * d_sigma(i)
    d_a_f = d_c * c * d_sigma(f)
    d_a_g = d_c * i * d_phi(g)
    d_a_o = d_h * phi_c * d_sigma(o)
    d_a = np.concatenate([d_a_i, d_a_f, d_a_g, d_a_o], axis=1)
    return d_a, (d_a @ p.W, d_c * f), (d_h, d_c)


def weight_gradients(d_a: Array, h: Array, saved: Sequence[Saved], p: Weights) -> dict[str, Array]:
    """Return ∂L/∂W = Σ_t ∂L/∂a_tᵀ h_{t-1}; `h` is h_{t-1} of all steps."""
    return {"weight_hh": sum_over_steps(d_a, h)}


CELLS = {"lstm": Cell(4, Saved._fields[:4], 2, step, step_backward, weight_gradients)}
