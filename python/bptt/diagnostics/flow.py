"""Gradient flow: how much of the loss's gradient reaches every step of every layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bptt._core.checks import FloatArray
from bptt._core.lengths import Lengths, lengths_of, padding_of
from bptt.diagnostics import plots
from bptt.diagnostics._float64 import (
    LossFunction,
    chain_twin,
    gradient_of,
    in_float64,
    norm,
    twin,
)
from bptt.diagnostics.verdict import Verdict
from bptt.nn.module import Gradients, Module
from bptt.nn.recurrent import Recurrent
from bptt.nn.sequential import Sequential
from bptt.nn.state import State, as_states

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, eq=False)
class GradientFlow:
    """The gradient that reaches every step; all tuples have an item a layer and direction."""

    names: tuple[str, ...]
    """From the input up: "layer 0", "layer 0, reverse", "layer 1"."""
    norms: tuple[FloatArray, ...]
    """(T,) each: ‖∂L/∂h_t‖ over all sequences and units."""
    left: tuple[FloatArray, ...]
    """(n+1,) each: what is left of the gradient of every sequence's last loss 0, 1, .., n steps
    before it enters the layer. Of a reverse direction: of the first loss, so many steps behind."""
    verdicts: tuple[Verdict, ...]
    """On what is left."""

    @property
    def verdict(self) -> Verdict:
        """The worst: that of the layer in which the gradient changes most."""
        return max(self.verdicts, key=lambda verdict: verdict.severity)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Plot with `bptt.diagnostics.plots.plot_flow`, whose parameters these are.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Axes to draw into. By default those of a new figure.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        return plots.plot_flow(self, ax)


def gradient_flow(
    model: Recurrent[Any] | Sequential,
    x: NDArray[Any],
    loss_of: LossFunction,
    *,
    lengths: Lengths | None = None,
    state: State = None,
) -> GradientFlow:
    """Return how much of a loss's gradient reaches every step.

    ∂L/∂h_t comes along all paths. If every step has a loss, every step has a gradient, however
    little of it has come from later ones; so the verdict is on the last loss of every sequence
    alone: how much of its gradient is left, step by step back.

    Parameters
    ----------
    model : RNN, LSTM, GRU or Sequential
    x : array
        A batch, as the model takes it.
    loss_of : function
        From the output, in the model's dtype, to the loss and its gradient: what the losses of
        this package return.
    lengths : integer array (B,), optional
        Number of steps of each sequence. All T by default.
    state : as the model takes it, optional
        Initial state. Zero by default.

    Returns
    -------
    GradientFlow

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind, or does not fit.

    Examples
    --------
    >>> flow = gradient_flow(model, x, lambda y: softmax_cross_entropy(y, classes))
    >>> print(flow.verdict)
    """
    if isinstance(model, Recurrent):
        chain = Sequential(twin(model, time_major=False))
        time_major, dtype, states = model.time_major, model.dtype, (state,)
    elif not isinstance(model, Sequential):
        kind = type(model).__name__
        raise TypeError(f"model must be an RNN, LSTM, GRU or Sequential, got {kind}")
    elif not model._layers:
        raise ValueError(f"model must have a recurrent layer, got {model}")
    else:
        chain = chain_twin(model)
        time_major, dtype, states = False, model.modules[0].dtype, state
    initial = [in_float64(part) for part in as_states("state", states, len(chain._layers))]
    if time_major and np.ndim(x) > 1:
        x = np.swapaxes(x, 0, 1)
    run = chain.forward(in_float64(x), lengths=lengths, state=initial)
    d_output = _swapped(gradient_of(loss_of, _swapped(run.output, time_major), dtype), time_major)

    def gradients_of(d: FloatArray) -> list[Gradients]:
        return run.backward(d, steps=True, input=False, retain=True).modules

    parts = [Part("", i, module, lengths) for i, module in enumerate(chain.modules)]
    return flow_of(parts, gradients_of, d_output, lengths)


# ---- from gradients to flow ----------------------------------------------------------------------


class Part(NamedTuple):
    """A module of a network."""

    prefix: str
    """What its name begins with."""
    place: int
    """Of its gradients among all."""
    module: Module
    lengths: Lengths | None
    """Of the sequences that it reads."""


def flow_of(
    parts: Sequence[Part],
    gradients_of: Callable[[FloatArray], Sequence[Gradients]],
    d_output: FloatArray,
    lengths: Lengths | None,
) -> GradientFlow:
    """Return the flow through a network.

    Parameters
    ----------
    parts : sequence of Part
        From the input up.
    gradients_of : function
        From a gradient of the output to those of all modules, with those of their steps.
    d_output : array (B, T, K), or (B, K)
        Gradient of the loss with respect to the output.
    lengths : integer array (B,), optional
        Of the output.
    """
    recurrent = [part for part in parts if isinstance(part.module, Recurrent)]
    whole = last = first = gradients_of(d_output)
    if d_output.ndim == 3:
        last = gradients_of(_one_loss(d_output, lengths, -1))
        if any(part.module.bidirectional for part in recurrent):  # type: ignore[attr-defined]
            first = gradients_of(_one_loss(d_output, lengths, 0))
    names: list[str] = []
    norms: list[FloatArray] = []
    logs: list[FloatArray] = []
    below: dict[str, int] = {}
    for prefix, place, module, steps in recurrent:
        layer: Any = module
        for i in range(layer.num_layers * (1 + layer.bidirectional)):
            level, reverse = divmod(i, 1 + layer.bidirectional)
            number = below.get(prefix, 0) + level
            names.append(f"{prefix}layer {number}" + (", reverse" if reverse else ""))
            norms.append(norm(_sizes(whole[place], i), axis=0))
            sizes = _sizes((first if reverse else last)[place], i)
            logs.append(_logs_left(sizes, steps, bool(reverse)))
        below[prefix] = below.get(prefix, 0) + layer.num_layers
    with np.errstate(over="ignore"):
        left = tuple(map(np.exp, logs))
    return GradientFlow(tuple(names), tuple(norms), left, tuple(map(Verdict.of, logs)))


def _swapped(values: FloatArray, time_major: bool) -> FloatArray:
    return np.swapaxes(values, 0, 1) if time_major else values


def _sizes(gradients: Gradients, place: int) -> FloatArray:
    """Return ‖∂L/∂h_t‖ over the units of one layer and direction, (B, T)."""
    assert gradients.steps is not None
    return norm(gradients.steps.hidden[place], axis=-1)


def _one_loss(d_output: FloatArray, lengths: Lengths | None, which: int) -> FloatArray:
    """Return `d_output` with 0 everywhere but at the last (-1) or first (0) loss of a sequence."""
    there: NDArray[np.bool_] = np.any(d_output, axis=-1)
    if (padding := padding_of(lengths, *there.shape)) is not None:
        there &= ~padding
    steps = there.shape[1]
    place = there.argmax(axis=1) if which == 0 else steps - 1 - there[:, ::-1].argmax(axis=1)
    chosen = there & (np.arange(steps) == place[:, np.newaxis])
    return np.where(chosen[..., np.newaxis], d_output, 0.0)


def _logs_left(sizes: FloatArray, lengths: Lengths | None, reverse: bool) -> FloatArray:
    """Return the logarithm of what is left after 0, 1, .. steps back, of norms (B, T).

    Steps are counted from each sequence's own end (a reverse direction: from its beginning), and
    what is left n steps before is compared with the last steps of the same sequences: those that
    are longer than n. It begins with the last step that has a gradient in any sequence.
    """
    batch, steps = sizes.shape
    ends = np.full(batch, steps) if lengths is None else lengths_of(lengths, batch, steps)
    back = np.arange(ends.max(initial=0))
    there = back < ends[:, np.newaxis]
    place = back if reverse else ends[:, np.newaxis] - 1 - back
    aligned = np.where(there, np.take_along_axis(sizes, np.where(there, place, 0), 1), 0.0)
    reached = aligned.any(axis=0)
    if not reached.any():
        return np.array([-np.inf])
    begin = int(reached.argmax())
    aligned, there = aligned[:, begin:], there[:, begin:]
    with np.errstate(divide="ignore", invalid="ignore"):
        logs: FloatArray = np.log(norm(aligned, 0)) - np.log(norm(aligned[:, :1] * there, 0))
    return logs
