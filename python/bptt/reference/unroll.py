"""Unrolling over time and backpropagation through time, for all cells.

All arrays have the steps first. The reverse direction processes each sequence from its last step to
its first: its processing order is backwards in time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .activations import Array
from .cells.cell import Cell, Functions, State, Weights, diagonal_blocks, sum_over_steps
from .normalization import layer_norm, normalize, normalize_backward


@dataclass(frozen=True)
class Unrolled:
    """Forward pass of one layer and direction; lists are in processing order."""

    cell: Cell
    weights: Weights
    functions: Functions
    lengths: Array | None  # (B,)
    reverse: bool
    x: Array  # (T, B, I), in processing order
    states: list[State]  # T + 1: step t maps states[t] to states[t + 1]
    previous: list[State]  # T: what step t reads of states[t], with h decayed
    saved: list[Any]  # T
    outputs: list[Array]  # T; h of the cell before its projection, (B, H)
    updates: list[Array] | None  # (T, B, H) of zoneout, of each part of the state; processing order
    decay: Array | None  # (T, B, H) factors of h_{t-1}; processing order

    @property
    def sizes(self) -> tuple[int, ...]:
        """Sizes of the parts of the state."""
        return state_sizes(self.cell, self.weights)

    @property
    def hidden_size(self) -> int:
        """H, also of a cell whose h is projected."""
        return len(self.weights.b) // self.cell.gates

    def in_time_order(self, values: Iterable[Array], size: int) -> Array:
        """Stack values (B, size) of each step to (T, B, size), in time order, 0 in the padding."""
        steps = np.zeros((*self.x.shape[:2], size), self.x.dtype)
        for t, value in enumerate(values):
            steps[t] = select(t, self.lengths, value, steps[t])
        return flip(steps, self.lengths) if self.reverse else steps


class UnrolledGradients(NamedTuple):
    """Gradients of one layer and direction; steps are in time order."""

    parameters: dict[str, Array]
    x: Array  # (T, B, I)
    decay: Array  # (T, B, H)
    initial: State
    states: list[Array]  # ∂L/∂ of each part of s_t: h_t (T, B, P), then c_t for the LSTM (T, B, H)


def state_sizes(cell: Cell, weights: Weights) -> tuple[int, ...]:
    """Sizes of the parts of the state: P of h, H of the others."""
    hidden_size = len(weights.b) // cell.gates
    h_size = hidden_size if weights.projection is None else len(weights.projection)
    return (h_size, *[hidden_size] * (cell.states - 1))


def select(t: int, lengths: Array | None, running: Array, ended: Array) -> Array:
    """Return `running` for sequences with a step t, and `ended` for those past their end."""
    return running if lengths is None else np.where((t < lengths)[:, None], running, ended)


def flip(steps: Array, lengths: Array | None) -> Array:
    """Reverse the steps of each sequence, (T, B, ...); its own inverse."""
    if lengths is None:
        return steps[::-1]
    t = np.arange(len(steps))[:, None]
    order = np.where(t < lengths, lengths - 1 - t, t)
    return np.take_along_axis(steps, order[:, :, None], axis=0)


def project(x: Array, U: Array) -> Array:
    """Return U x_t of all steps (T, B, G*H), in one product."""
    product: Array = (x.reshape(-1, x.shape[2]) @ U.T).reshape(*x.shape[:2], len(U))
    return product


def input_part(product: Array, weights: Weights) -> Array:
    """Return U x_t + b, or γ_ih ⊙ N(U x_t) + b with layer normalization."""
    if "gain_ih" in weights.extra:
        return layer_norm(product, weights.extra["gain_ih"], weights.b)
    return product + weights.b


def input_part_backward(x: Array, d_a: Array, weights: Weights) -> tuple[Array, dict[str, Array]]:
    """Return ∂L/∂(U x_t) and the gradients of the bias and the gain."""
    d_bias = {"bias": d_a.sum(axis=(0, 1))}
    if "gain_ih" not in weights.extra:
        return d_a, d_bias
    z, deviation = normalize(project(x, weights.U))
    d_product = normalize_backward(z, deviation, d_a * weights.extra["gain_ih"])
    return d_product, {**d_bias, "gain_ih": (d_a * z).sum(axis=(0, 1))}


def unroll(
    cell: Cell,
    weights: Weights,
    functions: Functions,
    x: Array,
    initial: State,
    lengths: Array | None,
    reverse: bool,
    updates: list[Array] | None = None,
    decay: Array | None = None,
) -> Unrolled:
    """Compute s_t = cell(x_t, s_{t-1}) for all t, with the same weights at every step.

    Projection: h_t = W_hr h, with h of the cell. Zoneout, after it:
    s_t = u_t ⊙ cell(x_t, s_{t-1}) + (1 - u_t) ⊙ s_{t-1}, with `updates` u (T, B, H) in time order,
    of h, and of all other parts of the state. Decay, before it all: γ_t ⊙ h_{t-1} takes the place
    of h_{t-1}, with `decay` γ (T, B, H) in time order.
    """
    x = np.ascontiguousarray(flip(x, lengths) if reverse else x)
    ux = input_part(project(x, weights.U), weights)
    factors = None
    if updates is not None:
        given = [flip(u, lengths) if reverse else u for u in updates]
        factors = given[:1] + given[1:] * (cell.states - 1)
    if decay is not None and reverse:
        decay = flip(decay, lengths)
    states, previous, saved, outputs = [initial], [], [], []
    for t in range(len(x)):
        before = states[t]
        if decay is not None:
            before = (decay[t] * before[0], *before[1:])
        state, kept = cell.step(ux[t], before, weights, functions)
        if weights.projection is not None:
            outputs.append(state[0])
            state = (state[0] @ weights.projection.T, *state[1:])
        if factors is not None:
            parts = zip(factors, state, before, strict=True)
            state = tuple(u[t] * new + (1 - u[t]) * old for u, new, old in parts)
        states.append(tuple(select(t, lengths, *s) for s in zip(state, states[t], strict=True)))
        previous.append(before)
        saved.append(kept)
    run = (cell, weights, functions, lengths, reverse, x, states, previous, saved, outputs)
    return Unrolled(*run, factors, decay)


def unroll_backward(run: Unrolled, d_output: Array, d_last: State) -> UnrolledGradients:
    """Backpropagation through time.

    The steps share their parameters, so the loss L = Σ_t L_t depends on W through every step:

        ∂L/∂W = Σ_t Σ_k ∂L_t/∂s_t · ∂s_t/∂s_k · ∂⁺s_k/∂W        (k ≤ t)

    where ∂⁺ is the immediate derivative: with respect to W in step k, with s_{k-1} fixed.
    The sum over t is accumulated in one pass from the last step to the first,

        ∂L/∂s_k = ∂L_k/∂s_k + ∂L/∂s_{k+1} · ∂s_{k+1}/∂s_k

    and the sum over k, Σ_k ∂L/∂s_k · ∂⁺s_k/∂W, is one matrix product over all steps.

    `d_output` is ∂L_t/∂h_t (T, B, H) in time order, 0 in the padding; `d_last` is the gradient of
    the final state.
    """
    cell, (U, W, b, _, projection) = run.cell, run.weights
    d_output = flip(d_output, run.lengths) if run.reverse else d_output
    pre_activations = (cell.pre_activations or cell.gates) * run.hidden_size
    d_a = np.zeros((*run.x.shape[:2], pre_activations), run.x.dtype)
    d_h = np.zeros((*run.x.shape[:2], run.sizes[0]), run.x.dtype)  # ∂L/∂(W_hr h)
    d_decay = np.zeros_like(d_h)
    d_state, d_states = d_last, []
    for t in reversed(range(len(d_a))):
        d_state = (d_state[0] + d_output[t], *d_state[1:])
        d_cell = d_state
        if run.updates is not None:
            d_cell = tuple(u[t] * d for u, d in zip(run.updates, d_state, strict=True))
        if projection is not None:
            d_h[t] = select(t, run.lengths, d_cell[0], d_h[t])
            d_cell = (d_cell[0] @ projection, *d_cell[1:])
        d_a_t, d_previous, d_full = cell.step_backward(
            d_cell, run.previous[t], run.saved[t], run.weights, run.functions
        )
        d_full = (d_state[0], *d_full[1:])
        if run.updates is not None:
            parts = zip(run.updates, d_state, d_previous, strict=True)
            d_previous = tuple(d_s + (1 - u[t]) * d for u, d, d_s in parts)
            d_full = d_state
        if run.decay is not None:
            d_decay[t] = select(t, run.lengths, d_previous[0] * run.states[t][0], d_decay[t])
            d_previous = (d_previous[0] * run.decay[t], *d_previous[1:])
        d_a[t] = select(t, run.lengths, d_a_t, d_a[t])
        d_state = tuple(select(t, run.lengths, *d) for d in zip(d_previous, d_state, strict=True))
        d_states.append(d_full)
    h = np.reshape([s[0] for s in run.previous], (*d_a.shape[:2], run.sizes[0]))
    d_recurrent = cell.weight_gradients(d_a, h, run.saved, run.weights)
    d_product, d_input = input_part_backward(run.x, d_a[..., : len(b)], run.weights)
    d_parameters = {
        "weight_ih": sum_over_steps(d_product, run.x),
        "weight_hh": diagonal_blocks(d_recurrent.pop("weight_hh"), W.shape[1]),
        **d_input,
        **d_recurrent,
    }
    if projection is not None:
        outputs = np.reshape(run.outputs, (*d_a.shape[:2], run.hidden_size))
        d_parameters["weight_hr"] = sum_over_steps(d_h, outputs)
    d_x = (d_product.reshape(-1, len(b)) @ U).reshape(run.x.shape)
    if run.reverse:
        d_x, d_decay = flip(d_x, run.lengths), flip(d_decay, run.lengths)
    d_steps = [
        run.in_time_order((d[k] for d in reversed(d_states)), size)
        for k, size in enumerate(run.sizes)
    ]
    return UnrolledGradients(d_parameters, d_x, d_decay, d_state, d_steps)
