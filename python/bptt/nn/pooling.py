"""Pooling: one vector for each sequence from the output of a recurrent layer.

Shapes: B batch, T steps, H hidden_size, D output_size of the layer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bptt._core.checks import FloatArray
from bptt._core.lengths import Padding
from bptt.nn.recurrent_base import Recurrent
from bptt.nn.state import State, arrays_of, as_state


class Pooled(NamedTuple):
    """Pooled output, and the function of its backward pass."""

    output: FloatArray
    """(B, D)"""
    backward: Callable[[FloatArray, State | None], tuple[FloatArray | None, State | None]]
    """Gradients of `output` and of the final state -> gradients of the layer's output and state."""


def last(layer: Recurrent[Any], output: FloatArray, state: State, padding: Padding) -> Pooled:
    """Return the final hidden state, with both directions merged as in the layer's output."""
    directions, merge = (2, layer.merge) if layer.bidirectional else (1, "sum")
    hidden: FloatArray
    hidden, *cell = arrays_of(state)
    ends = hidden[-directions:]

    def backward(d: FloatArray, d_state: State | None) -> tuple[None, State]:
        d_hidden = np.zeros_like(hidden)
        d_hidden[-directions:] = _d_merged(merge, ends, d)
        if d_state is None:
            return None, as_state(d_hidden, *map(np.zeros_like, cell))
        d_h, *d_cell = arrays_of(d_state)
        return None, as_state(d_hidden + d_h, *d_cell)

    return Pooled(_merged(merge, ends), backward)


def mean(layer: Recurrent[Any], output: FloatArray, state: State, padding: Padding) -> Pooled:
    """Return the mean over the steps of each sequence; 0 for an empty one."""
    share = (1.0 / np.maximum(_lengths(output, padding), 1)).astype(output.dtype)[:, np.newaxis]

    def backward(d: FloatArray, d_state: State | None) -> tuple[FloatArray, State | None]:
        # Broadcast instead of copied: padding is not read.
        return np.broadcast_to((d * share)[:, np.newaxis], output.shape), d_state

    return Pooled(output.sum(1) * share, backward)  # the output is 0 in the padding


def maximum(layer: Recurrent[Any], output: FloatArray, state: State, padding: Padding) -> Pooled:
    """Return the maximum of each feature over the steps of each sequence; 0 for an empty one.

    The gradient goes to the first step with the maximum.
    """
    steps = output if padding is None else np.where(padding[..., np.newaxis], -np.inf, output)
    highest = steps.max(1, initial=-np.inf)
    exists = _lengths(output, padding)[:, np.newaxis] > 0

    def backward(d: FloatArray, d_state: State | None) -> tuple[FloatArray, State | None]:
        d_output = np.zeros_like(output)
        if d_output.size:
            # The argmax of booleans is faster than that of floats.
            first = (steps == highest[:, np.newaxis]).argmax(1)
            np.put_along_axis(d_output, first[:, np.newaxis], d[:, np.newaxis], 1)
        return d_output, d_state

    return Pooled(np.where(exists, highest, 0.0), backward)


POOLS = {"last": last, "mean": mean, "max": maximum}


def _lengths(output: FloatArray, padding: Padding) -> NDArray[np.int_]:
    batch, steps, _ = output.shape
    return np.full(batch, steps) if padding is None else steps - padding.sum(1)


def _merged(merge: str, ends: FloatArray) -> FloatArray:
    """Merge (directions, B, H) into (B, D)."""
    if merge == "concat":
        return np.concatenate(list(ends), axis=-1)
    merged: FloatArray = ends.prod(0) if merge == "mul" else ends.sum(0)
    return 0.5 * merged if merge == "mean" else merged


def _d_merged(merge: str, ends: FloatArray, d: FloatArray) -> FloatArray | list[FloatArray]:
    """Return the gradient of each direction of `ends`."""
    if merge == "concat":
        return np.split(d, 2, axis=-1)
    if merge == "mul":
        return d * np.flip(ends, 0)
    return 0.5 * d if merge == "mean" else d
