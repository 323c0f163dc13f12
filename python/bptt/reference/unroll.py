"""The time loop and back-propagation through time, once for all cells.

Everything here has its steps first. A layer in the reverse direction walks from each row's own
last step to its first; "in the order of the walk" then means backwards in time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .activations import Array
from .cells.cell import Cell, Functions, State, Weights, sum_over_steps


@dataclass(frozen=True)
class Unrolled:
    """One layer in one direction after its forward; lists are in the order of the walk."""

    cell: Cell
    weights: Weights
    functions: Functions
    lengths: Array | None  # (B,)
    reverse: bool
    x: Array  # (T, B, I), in the order of the walk
    states: list[State]  # T + 1 of them: step t goes from states[t] to states[t + 1]
    saved: list[Any]  # T

    def in_time_order(self, walk: Iterable[Array]) -> Array:
        """(B, H) of every step as (T, B, H) in the order of time, 0 in the padding."""
        steps = np.zeros((*self.x.shape[:2], self.weights.W.shape[1]), self.x.dtype)
        for t, value in enumerate(walk):
            steps[t] = select(t, self.lengths, value, steps[t])
        return flip(steps, self.lengths) if self.reverse else steps


class UnrolledGradients(NamedTuple):
    """What `unroll_backward` returns; steps are in the order of time."""

    parameters: dict[str, Array]
    x: Array  # (T, B, I)
    initial: State
    states: list[Array]  # ∂L/∂h_t and, for the LSTM, ∂L/∂c_t; (T, B, H)


def select(t: int, lengths: Array | None, running: Array, ended: Array) -> Array:
    """`running` in the rows that have a step t, `ended` in the rows that are past their end."""
    return running if lengths is None else np.where((t < lengths)[:, None], running, ended)


def flip(steps: Array, lengths: Array | None) -> Array:
    """Reverse the order of each row's own steps, (T, B, ...). Its own inverse."""
    if lengths is None:
        return steps[::-1]
    t = np.arange(len(steps))[:, None]
    order = np.where(t < lengths, lengths - 1 - t, t)
    return np.take_along_axis(steps, order[:, :, None], axis=0)


def unroll(
    cell: Cell,
    weights: Weights,
    functions: Functions,
    x: Array,
    initial: State,
    lengths: Array | None,
    reverse: bool,
) -> Unrolled:
    """s_t = cell(x_t, s_{t-1}) for all t, with the same weights at every step."""
    x = np.ascontiguousarray(flip(x, lengths) if reverse else x)
    ux = (x.reshape(-1, x.shape[2]) @ weights.U.T + weights.b).reshape(*x.shape[:2], len(weights.b))
    states, saved = [initial], []
    for t in range(len(x)):
        state, kept = cell.step(ux[t], states[t], weights, functions)
        states.append(tuple(select(t, lengths, *s) for s in zip(state, states[t], strict=True)))
        saved.append(kept)
    return Unrolled(cell, weights, functions, lengths, reverse, x, states, saved)


def unroll_backward(run: Unrolled, d_output: Array, d_last: State) -> UnrolledGradients:
    """Back-propagation through time: the ordered derivative.

    The parameters are shared over time, so W acts on the loss L = Σ_t L_t at every step:

        ∂L/∂W = Σ_t Σ_k ∂L_t/∂s_t · ∂s_t/∂s_k · ∂⁺s_k/∂W        (k ≤ t)

    where ∂⁺ is the immediate derivative: W moves in step k only, and s_{k-1} is held fixed.
    The sum over t is what one walk from the last step to the first carries along,

        ∂L/∂s_k = ∂L_k/∂s_k + ∂L/∂s_{k+1} · ∂s_{k+1}/∂s_k

    and what then remains, Σ_k ∂L/∂s_k · ∂⁺s_k/∂W, is one product over all steps.

    `d_output` is ∂L_t/∂h_t (T, B, H) in the order of time, 0 in the padding; `d_last` is what
    comes from outside for the final state.
    """
    cell, (U, W, b, _) = run.cell, run.weights
    d_output = flip(d_output, run.lengths) if run.reverse else d_output
    d_a = np.zeros((*run.x.shape[:2], len(b)), run.x.dtype)
    d_state, d_states = d_last, []
    for t in reversed(range(len(d_a))):
        d_state = (d_state[0] + d_output[t], *d_state[1:])
        d_a_t, d_previous, d_full = cell.step_backward(
            d_state, run.states[t], run.saved[t], run.weights, run.functions
        )
        d_a[t] = select(t, run.lengths, d_a_t, d_a[t])
        d_state = tuple(select(t, run.lengths, *d) for d in zip(d_previous, d_state, strict=True))
        d_states.append(d_full)
    h = np.reshape([s[0] for s in run.states[:-1]], (*d_a.shape[:2], W.shape[1]))
    d_recurrent = cell.weight_gradients(d_a, h, run.saved)
    d_parameters = {
        "weight_ih": sum_over_steps(d_a, run.x),
        "weight_hh": d_recurrent.pop("weight_hh"),
        "bias": d_a.sum(axis=(0, 1)),
        **d_recurrent,
    }
    d_x = (d_a.reshape(-1, len(b)) @ U).reshape(run.x.shape)
    d_x = flip(d_x, run.lengths) if run.reverse else d_x
    d_steps = [run.in_time_order(d[k] for d in reversed(d_states)) for k in range(cell.states)]
    return UnrolledGradients(d_parameters, d_x, d_state, d_steps)
