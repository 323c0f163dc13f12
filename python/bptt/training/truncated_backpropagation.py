"""Truncated backpropagation through time: learning from streams of any length in little memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt._core.checks import FloatArray
from bptt._core.lengths import Lengths, padding_of
from bptt.nn.module import Gradients
from bptt.nn.sequential import Sequential, check_sequences
from bptt.nn.sequential_run import SequentialRun
from bptt.nn.state import State, States, as_states


@dataclass(frozen=True)
class Window:
    """Some new steps of a stream, and the gradients of their loss."""

    steps: slice
    """The new steps: `targets[:, window.steps]` are theirs."""
    loss: float
    """Of the new steps, as `loss_fn` says."""
    output: FloatArray
    """Of the new steps, (B, steps, K)."""
    gradients: list[Gradients]
    """Of each module: what an optimizer takes."""
    state: States
    """After the last step: to go on with."""


def truncated_bptt(
    model: Sequential,
    x: NDArray[Any],
    loss_fn: Callable[[FloatArray, slice], tuple[float, FloatArray]],
    k1: int,
    k2: int,
    *,
    lengths: Lengths | None = None,
    state: Sequence[State | None] | None = None,
) -> Iterator[Window]:
    """Go through a long stream; every k1 steps, backpropagate their loss through the last k2 steps.

    A window of k2 steps is computed at a time: its last k1 steps are new, and the gradients of
    their loss flow through all of it, but no further. The state at its beginning is the one that
    was computed when that step was new. With k2 >= T nothing is cut off: the gradients of all
    windows together are those of the whole stream. Memory grows with k2, never with T.

    The parameters may be changed between windows: each window is computed with those of its time,
    from a state that may be of older ones. Dropout drops anew in every window.

    R. Williams and J. Peng (1990), An efficient gradient-based algorithm for on-line training of
    recurrent network trajectories, where it is BPTT(k2; k1).

    Parameters
    ----------
    model : Sequential
        In one direction and without a pool.
    x : array (B, T, features), or integer array (B, T), or (T,) for B = 1
        The stream; B of them side by side. May be a memory-mapped array: only windows are read.
    loss_fn : function
        From the output (B, n, K) of n new steps and their place, a slice of [0, T), to their loss
        and its gradient: what the losses of this package return.
    k1 : int
        New steps of a window, >= 1; the last window has those that are left.
    k2 : int
        Steps of a window, >= k1; the first windows have those that there are.
    lengths : integer array (B,), optional
        Number of steps of each stream, in [0, T]; all T by default. The losses need those of the
        new steps, ``np.clip(lengths - steps.start, 0, steps.stop - steps.start)``.
    state : tuple of states, optional
        The initial state of each recurrent layer. Zero by default.

    Yields
    ------
    Window

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind, or has a value out of its range.

    Examples
    --------
    >>> def loss_fn(output, steps):
    ...     return softmax_cross_entropy(output, targets[:, steps], reduction="mean")
    >>> for window in truncated_bptt(model, ids, loss_fn, k1=50, k2=100):
    ...     clip_by_global_norm(window.gradients, 1.0)
    ...     optimizer.step(window.gradients)
    """
    if not isinstance(model, Sequential):
        raise TypeError(f"model must be a Sequential, got {type(model).__name__}")
    if not model._layers:
        raise ValueError(f"model must have a recurrent layer, got {model}")
    if model.pool:
        raise ValueError(f"model must have pool=None, got pool={model.pool!r}")
    body = Sequential(*model.modules[: model._layers[-1] + 1])  # all that has a state
    if any(getattr(module, "bidirectional", False) for module in body.modules):
        raise ValueError(f"model must have layers with bidirectional=False, got {model}")
    x, _ = model._checked(x, None)
    check_sequences("x must have", x)
    padding_of(lengths, *x.shape[:2])
    if not callable(loss_fn):
        raise TypeError(f"loss_fn must be a function, got {type(loss_fn).__name__}")
    k1 = checks.integer("k1", k1)
    k2 = checks.integer("k2", k2)
    if k2 < k1:  # some new steps would have a loss that nobody learns from
        raise ValueError(f"k2 must be an integer >= k1 = {k1}, got {k2}")
    initial = tuple(as_states("state", state, len(model._layers)))
    lengths = None if lengths is None else np.asarray(lengths).astype(np.int64)
    stream = _Stream(model, body, x, lengths)
    return _windows(stream, loss_fn, k1, k2, initial)


@dataclass(frozen=True)
class _Stream:
    """What is the same for all windows."""

    model: Sequential
    body: Sequential
    x: NDArray[Any]
    lengths: Lengths | None

    def forward(self, part: Sequential, first: int, last: int, state: States) -> SequentialRun:
        """Run a part of the model over the steps [first, last)."""
        lengths = self.lengths
        if lengths is not None:
            lengths = np.clip(lengths, first, last) - first
        return part.forward(self.x[:, first:last], lengths=lengths, state=state)


def _windows(
    stream: _Stream,
    loss_fn: Callable[[FloatArray, slice], tuple[float, FloatArray]],
    k1: int,
    k2: int,
    initial: States,
) -> Iterator[Window]:
    steps = stream.x.shape[1]
    states = {0: initial}  # at the steps where the windows to come begin
    for new in range(0, steps, k1):
        end = min(new + k1, steps)
        begin = max(0, end - k2)
        # Later windows begin in the midst of these new steps, if k1 does not divide k2 or T.
        starts = {new + k1 - k2 % k1, steps - k2}
        cuts = sorted({begin, new, end} | {start for start in starts if new < start < end})
        states = {step: state for step, state in states.items() if step >= begin}
        state = states[begin]
        runs: dict[int, SequentialRun] = {}  # by first step
        for first, last in pairwise(cuts):
            # Of the old steps, nothing above the last state is seen again.
            part = stream.body if first < new else stream.model
            runs[first] = stream.forward(part, first, last, state)
            state = runs[first].state
            if first >= new and last in starts:
                states[last] = state
        old = [run for first, run in runs.items() if first < new]
        recent = [run for first, run in runs.items() if first >= new]
        output = np.concatenate([run.output for run in recent], 1)
        loss, d_output = _loss(loss_fn, output, slice(new, end))
        gradients = _backward(old, recent, d_output)
        yield Window(slice(new, end), loss, output, gradients, state)


def _loss(
    loss_fn: Callable[[FloatArray, slice], tuple[float, FloatArray]],
    output: FloatArray,
    steps: slice,
) -> tuple[float, FloatArray]:
    result: Any = loss_fn(output, steps)
    if not isinstance(result, tuple) or len(result) != 2:
        kind = type(result).__name__
        raise TypeError(f"loss_fn must return a pair, the loss and its gradient, got {kind}")
    loss, d_output = result
    name = "the gradient that loss_fn returns"
    checks.array(name, d_output, output.dtype)
    checks.same_shape(name, d_output, "the output", output.shape)
    return float(loss), d_output


def _backward(
    old: list[SequentialRun], new: list[SequentialRun], d_output: FloatArray
) -> list[Gradients]:
    """Backpropagate through runs that follow each other; only the `new` ones have a loss."""
    places = np.cumsum([run.output.shape[1] for run in new])[:-1]
    *d_outputs, d_last = np.split(d_output, places, axis=1)
    *runs, last = *old, *new
    found = last.backward(d_last, input=False)
    gradients = found.modules
    for run, d in zip(reversed(runs), reversed([*(None for _ in old), *d_outputs]), strict=True):
        found = run.backward(d, found.state, input=False)
        for total, part in zip(gradients, found.modules, strict=False):  # old ones have no head
            total._flat += part._flat
    return gradients
