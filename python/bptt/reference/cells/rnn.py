"""Simple recurrent cell: h_t = φ(U x_t + W h_{t-1} + b)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..activations import Array
from .cell import Cell, Functions, State, Weights, sum_over_steps


class Saved(NamedTuple):
    """Values of a step that backward needs; each (B, H)."""

    h: Array


def step(ux: Array, state: State, p: Weights, f: Functions) -> tuple[State, Saved]:
    """Return s_t, from `ux` = U x_t + b (B, G*H) and s_{t-1}."""
    (h,) = state
    h = f.phi.function(ux + h @ p.W.T)
    return (h,), Saved(h)


def step_backward(
    d_state: State, previous: State, saved: Saved, p: Weights, f: Functions
) -> tuple[Array, State, State]:
    """Return ∂L/∂a_t, ∂L/∂s_{t-1} and ∂L/∂s_t."""
    (d_h,) = d_state
    d_a = d_h * f.phi.derivative(saved.h)
    return d_a, (d_a @ p.W,), d_state


def weight_gradients(d_a: Array, h: Array, saved: Sequence[Saved], p: Weights) -> dict[str, Array]:
    """Return ∂L/∂W = Σ_t ∂L/∂a_tᵀ h_{t-1}; `h` is h_{t-1} of all steps."""
    return {"weight_hh": sum_over_steps(d_a, h)}


CELLS = {"rnn": Cell(1, (), 1, step, step_backward, weight_gradients)}
