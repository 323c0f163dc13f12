"""Truncated backpropagation through time: gradients of long sequences in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt._core.checks import FloatArray
from bptt._core.lengths import Lengths, padding_of
from bptt.nn.linear import OutputLoss
from bptt.nn.module import Gradients
from bptt.nn.sequential import Sequential, check_sequences
from bptt.nn.sequential_run import SequentialRun
from bptt.nn.state import State, States, arrays_of, as_state, as_states

Parts: TypeAlias = Sequence[tuple[slice, SequentialRun]]  # consecutive steps and their runs


class WindowLoss(NamedTuple):
    """Loss of the new steps of a window, which may be in several runs."""

    value: float
    """Loss."""
    output: NDArray[Any]
    """Output (B, steps, K), or what else `Window.output` is to be."""
    gradients: Sequence[FloatArray | OutputLoss]
    """Of each run: the argument of its `backward`."""


@dataclass(frozen=True)
class Window:
    """A window of new steps, with the gradients of their loss."""

    steps: slice
    """New steps: ``targets[:, window.steps]`` are their targets."""
    loss: float
    """Loss of the new steps, as returned by `loss_fn`."""
    output: NDArray[Any]
    """Output at the new steps, (B, steps, K)."""
    gradients: list[Gradients]
    """Gradients of every module, the argument of `Optimizer.step`."""
    state: States
    """State after the last step, with which the sequence can be continued."""


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
    """Iterate over windows of a long sequence, and yield the gradients of each.

    A window consists of k2 steps, the last k1 of which are new. The gradients of the loss at the
    new steps flow through the whole window but no further; its initial state is the one computed
    when that step was new. With k2 >= T nothing is truncated: the gradients of all windows sum to
    those of the whole sequence. Memory grows with k2, not with T.

    Parameters may be updated between windows: every window is computed with the current ones, from
    a state that may depend on earlier ones. Dropout masks are drawn anew for every window.

    R. Williams and J. Peng (1990), An efficient gradient-based algorithm for on-line training of
    recurrent network trajectories, where the algorithm is called BPTT(k2; k1).

    Parameters
    ----------
    model : Sequential
        Network without pooling and without bidirectional or reverse layers.
    x : array (B, T, features), or integer array (B, T), or (T,) for B = 1
        Input: B long sequences. May be a memory-mapped array: only windows are read.
    loss_fn : function
        Output (B, n, K) at n new steps and their slice of [0, T) -> loss and gradient, a pair as
        returned by the losses of this package.
    k1 : int
        Number of new steps of a window, >= 1; the last window may have fewer.
    k2 : int
        Number of steps of a window, >= k1; the first windows have fewer.
    lengths : integer array (B,), optional
        Number of steps of each sequence, in [0, T]. All T by default. The lengths for a loss over
        the new steps are ``np.clip(lengths - steps.start, 0, steps.stop - steps.start)``.
    state : tuple of states, optional
        Initial state of each recurrent layer. Zero by default.

    Yields
    ------
    Window
        Steps, loss, output, gradients and final state of a window.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or an invalid value.

    Examples
    --------
    >>> def loss_fn(output, steps):
    ...     return softmax_cross_entropy(output, targets[:, steps], reduction="mean")
    >>> for window in truncated_bptt(model, ids, loss_fn, k1=50, k2=100):
    ...     clip_by_global_norm(window.gradients, 1.0)
    ...     optimizer.step(window.gradients)
    """
    if not callable(loss_fn):
        raise TypeError(f"loss_fn must be a function, got {type(loss_fn).__name__}")

    def loss_of_parts(parts: Parts, steps: slice) -> WindowLoss:
        output = np.concatenate([run.output for _, run in parts], 1)
        loss, d_output = _loss(loss_fn, output, steps)
        borders = [part.start - steps.start for part, _ in parts[1:]]
        return WindowLoss(loss, output, np.split(d_output, borders, axis=1))

    return windows(model, x, loss_of_parts, k1, k2, lengths=lengths, state=state)


def windows(
    model: Sequential,
    x: NDArray[Any],
    loss_fn: Callable[[Parts, slice], WindowLoss],
    k1: int,
    k2: int,
    *,
    lengths: Lengths | None = None,
    state: Sequence[State | None] | None = None,
    restart: bool = False,
) -> Iterator[Window]:
    """Iterate over windows as `truncated_bptt` does, with a loss of the runs of the new steps.

    With `restart`, sequences whose state is not finite after a window go on from the state 0.
    """
    if not isinstance(model, Sequential):
        raise TypeError(f"model must be a Sequential, got {type(model).__name__}")
    if not model._layers:
        raise ValueError(f"model must have a recurrent layer, got {model}")
    if model.pool:
        raise ValueError(f"model must have pool=None, got pool={model.pool!r}")
    body = Sequential(
        *model.modules[: model._layers[-1] + 1]
    )  # without the layers after the last state
    for option in ("bidirectional", "reverse"):
        if any(getattr(module, option, False) for module in body.modules):
            raise ValueError(f"model must have layers with {option}=False, got {model}")
    x, _ = model._checked(x, None)
    check_sequences("x must have", x)
    padding_of(lengths, *x.shape[:2])
    k1 = checks.integer("k1", k1)
    k2 = checks.integer("k2", k2)
    if k2 < k1:  # some new steps would have no gradient
        raise ValueError(f"k2 must be an integer >= k1 = {k1}, got {k2}")
    initial = tuple(as_states("state", state, len(model._layers)))
    lengths = None if lengths is None else np.asarray(lengths).astype(np.int64)
    sequences = _Sequences(model, body, x, lengths, restart)
    return _windows(sequences, loss_fn, k1, k2, initial)


@dataclass(frozen=True)
class _Sequences:
    """Arguments common to all windows."""

    model: Sequential
    body: Sequential
    x: NDArray[Any]
    lengths: Lengths | None
    restart: bool

    def forward(self, part: Sequential, first: int, last: int, state: States) -> SequentialRun:
        """Run a part of the model on the steps [first, last)."""
        lengths = self.lengths
        if lengths is not None:
            lengths = np.clip(lengths, first, last) - first
        return part.forward(self.x[:, first:last], lengths=lengths, state=state)


def _windows(
    sequences: _Sequences,
    loss_fn: Callable[[Parts, slice], WindowLoss],
    k1: int,
    k2: int,
    initial: States,
) -> Iterator[Window]:
    total = sequences.x.shape[1]
    states = {0: initial}  # initial states of later windows, by step
    for new in range(0, total, k1):
        end = min(new + k1, total)
        begin = max(0, end - k2)
        # Later windows begin inside these new steps if k1 does not divide k2 or T.
        starts = {new + k1 - k2 % k1, total - k2}
        cuts = sorted({begin, new, end} | {start for start in starts if new < start < end})
        states = {step: state for step, state in states.items() if step >= begin}
        # Its runs are freed before parameters change.
        yield _window(sequences, loss_fn, slice(new, end), cuts, states, starts)


def _window(
    sequences: _Sequences,
    loss_fn: Callable[[Parts, slice], WindowLoss],
    steps: slice,
    cuts: list[int],
    states: dict[int, States],
    starts: set[int],
) -> Window:
    """Return a window, cut at `cuts`; add the states at `starts` that are new to `states`."""
    state = states[cuts[0]]
    old: list[SequentialRun] = []
    recent: list[tuple[slice, SequentialRun]] = []
    for first, last in pairwise(cuts):
        # Old steps have no loss: layers after the last state are not needed.
        part = sequences.body if first < steps.start else sequences.model
        run = sequences.forward(part, first, last, state)
        state = run.state
        if first < steps.start:
            old.append(run)
            continue
        recent.append((slice(first, last), run))
        if last in starts:
            states[last] = _restarted(state) if sequences.restart else state
    loss = loss_fn(recent, steps)
    gradients = _backward(old, [run for _, run in recent], loss.gradients)
    return Window(steps, loss.value, loss.output, gradients, state)


def _restarted(states: States) -> States:
    """Return states without what is not finite: 0 in all layers of a sequence."""
    arrays = [array for state in states for array in arrays_of(state)]
    finite = np.logical_and.reduce([np.isfinite(array).all(axis=(0, 2)) for array in arrays])
    if finite.all():
        return states
    kept = finite[:, np.newaxis]
    return tuple(as_state(*(np.where(kept, a, 0) for a in arrays_of(state))) for state in states)


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
    old: list[SequentialRun],
    new: list[SequentialRun],
    d_outputs: Sequence[FloatArray | OutputLoss],
) -> list[Gradients]:
    """Backpropagate through consecutive runs, of which only the `new` ones have a loss."""
    *runs, last = *old, *new
    of_runs: list[Any] = [None] * len(old)  # old steps have no loss
    *others, d_last = of_runs + list(d_outputs)
    result = last.backward(d_last, input=False)
    gradients = result.modules
    for run, d in zip(reversed(runs), reversed(others), strict=True):
        result = run.backward(d, result.state, input=False)
        for total, part in zip(gradients, result.modules, strict=False):  # old runs: no head
            total._add(part)
    return gradients
