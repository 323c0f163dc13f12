"""Variants of the LSTM: peepholes, coupled gates, and both.

i, f = σ(U x_t + W h_{t-1} + p ⊙ c_{t-1} + b)           p only with peepholes; coupled: i = 1 - f
g    = φ(U x_t + W h_{t-1} + b)
c_t  = f ⊙ c_{t-1} + i ⊙ g
o    = σ(U x_t + W h_{t-1} + p ⊙ c_t + b)
h_t  = o ⊙ φ(c_t)

The blocks of rows of the parameters are i, f, g, o, or f, g, o if the gates are coupled.
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
    c_previous: Array
    c: Array


def peephole(p: Weights, gate: str) -> Array | float:
    """Return the weights with which a gate sees the cell state; 0 if it does not."""
    return p.extra.get(f"peephole_{gate}", 0.0)


def is_coupled(p: Weights, c: Array) -> bool:
    """Whether there are no weights of an input gate."""
    return bool(len(p.b) == 3 * c.shape[1])


def step(ux: Array, state: State, p: Weights, functions: Functions) -> tuple[State, Saved]:
    """Return s_t, from `ux` = U x_t + b (B, G*H) and s_{t-1}."""
    phi, sigma = functions.phi.function, functions.sigma.function
    h, c_previous = state
    *a_i, a_f, a_g, a_o = split(ux + h @ p.W.T, len(p.b) // c_previous.shape[1])
    f = sigma(a_f + peephole(p, "forget") * c_previous)
    i = 1 - f if is_coupled(p, c_previous) else sigma(a_i[0] + peephole(p, "input") * c_previous)
    g = phi(a_g)
    c = f * c_previous + i * g
    o = sigma(a_o + peephole(p, "output") * c)
    phi_c = phi(c)
    return (o * phi_c, c), Saved(i, f, g, o, phi_c, c_previous, c)


def step_backward(
    d_state: State, previous: State, saved: Saved, p: Weights, functions: Functions
) -> tuple[Array, State, State]:
    """Return ∂L/∂a_t, ∂L/∂s_{t-1} and ∂L/∂s_t.

    The loss depends on c_t through c_{t+1}, through h_t = o ⊙ φ(c_t), and through a peephole of o.
    """
    d_phi, d_sigma = functions.phi.derivative, functions.sigma.derivative
    d_h, d_c = d_state
    i, f, g, o, phi_c, c_previous, _ = saved
    d_a_o = d_h * phi_c * d_sigma(o)
    d_c = d_c + d_h * o * d_phi(phi_c) + d_a_o * peephole(p, "output")
    d_i, d_f = d_c * g, d_c * c_previous
    d_a_g = d_c * i * d_phi(g)
    if is_coupled(p, c_previous):
        d_a_f = (d_f - d_i) * d_sigma(f)
        d_a = np.concatenate([d_a_f, d_a_g, d_a_o], axis=1)
        d_c_previous = d_c * f + d_a_f * peephole(p, "forget")
    else:
        d_a_i, d_a_f = d_i * d_sigma(i), d_f * d_sigma(f)
        d_a = np.concatenate([d_a_i, d_a_f, d_a_g, d_a_o], axis=1)
        d_c_previous = d_c * f + d_a_f * peephole(p, "forget") + d_a_i * peephole(p, "input")
    return d_a, (d_a @ p.W, d_c_previous), (d_h, d_c)


def weight_gradients(d_a: Array, h: Array, saved: Sequence[Saved], p: Weights) -> dict[str, Array]:
    """Return ∂L/∂W = Σ_t ∂L/∂a_tᵀ h_{t-1}; `h` is h_{t-1} of all steps."""
    return {"weight_hh": sum_over_steps(d_a, h)}


def peephole_gradients(
    d_a: Array, h: Array, saved: Sequence[Saved], p: Weights
) -> dict[str, Array]:
    """Return ∂L/∂W, and ∂L/∂p = Σ_t ∂L/∂a_t ⊙ c: c_{t-1} for i and f, c_t for o."""
    hidden_size = len(p.extra["peephole_output"])
    *d_a_i, d_a_f, _, d_a_o = np.split(d_a, d_a.shape[-1] // hidden_size, axis=-1)
    c_previous = np.reshape([s.c_previous for s in saved], d_a_f.shape)
    c = np.reshape([s.c for s in saved], d_a_f.shape)
    found = weight_gradients(d_a, h, saved, p)
    for d in d_a_i:
        found["peephole_input"] = (d * c_previous).sum(axis=(0, 1))
    found["peephole_forget"] = (d_a_f * c_previous).sum(axis=(0, 1))
    found["peephole_output"] = (d_a_o * c).sum(axis=(0, 1))
    return found


PEEPHOLES = ("peephole_input", "peephole_forget", "peephole_output")
GATES = Saved._fields[:4]

CELLS = {
    "lstm_peephole": Cell(
        4,
        GATES,
        2,
        step,
        step_backward,
        peephole_gradients,
        extra_parameters=PEEPHOLES,
    ),
    "lstm_coupled": Cell(3, GATES[1:], 2, step, step_backward, weight_gradients),
    "lstm_peephole_coupled": Cell(
        3,
        GATES[1:],
        2,
        step,
        step_backward,
        peephole_gradients,
        extra_parameters=PEEPHOLES[1:],
    ),
}
