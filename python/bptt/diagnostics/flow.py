"""Gradient flow: norm of the loss gradient at every step of every recurrent layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bptt._core.checks import FloatArray
from bptt._core.lengths import Lengths, padding_of, steps_of
from bptt.diagnostics import plots
from bptt.diagnostics._float64 import (
    LossFunction,
    as_float64,
    float64_chain,
    float64_copy,
    loss_gradient,
    safe_norm,
)
from bptt.diagnostics.verdict import Verdict
from bptt.nn.module import Gradients, Module
from bptt.nn.recurrent_base import Recurrent
from bptt.nn.sequential import Sequential
from bptt.nn.state import State, as_states

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, eq=False)
class GradientFlow:
    """Gradient at every step. All tuples have one item per layer and direction."""

    names: tuple[str, ...]
    """From input to output: "layer 0", "layer 0, reverse", "layer 1"."""
    norms: tuple[FloatArray, ...]
    """(T,) each: ‖∂L/∂h_t‖ over all sequences and units."""
    remaining: tuple[FloatArray, ...]
    """(n+1,) each: relative norm of the gradient of every sequence's last loss after 0, 1, .., n
    steps back through the layer. A reverse direction: first loss, steps forward."""
    verdicts: tuple[Verdict, ...]
    """Verdicts on `remaining`."""

    @property
    def verdict(self) -> Verdict:
        """Verdict on the layer in which the gradient changes most."""
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
    loss_fn: LossFunction,
    *,
    lengths: Lengths | None = None,
    state: State = None,
) -> GradientFlow:
    """Return the norm of the gradient of a loss at every step of every recurrent layer.

    ∂L/∂h_t sums over all paths: where every step has a loss, every step has a gradient, even if
    nothing is propagated from later steps. The verdict is therefore on the gradient of the last
    loss of every sequence alone, as it is propagated step by step back through time.

    Parameters
    ----------
    model : RNN, LSTM, GRU or Sequential
    x : array
        A batch in the form that the model takes.
    loss_fn : function
        Maps the output, in the model's dtype, to a pair (loss, gradient), as the losses of this
        package do.
    lengths : integer array (B,), optional
        Length of each sequence. T by default.
    state : array, LSTMState, or for a Sequential a tuple of states, optional
        Initial state. Zero by default.

    Returns
    -------
    GradientFlow

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or shape.

    Examples
    --------
    >>> flow = gradient_flow(model, x, lambda y: softmax_cross_entropy(y, classes))
    >>> print(flow.verdict)
    """
    if isinstance(model, Recurrent):
        chain = Sequential(float64_copy(model, time_major=False))
        time_major, dtype, states = model.time_major, model.dtype, (state,)
    elif not isinstance(model, Sequential):
        kind = type(model).__name__
        cure = ": use estimator_flow" if hasattr(model, "get_params") else ""
        raise TypeError(f"model must be an RNN, LSTM, GRU or Sequential, got {kind}{cure}")
    elif not model._layers:
        raise ValueError(f"model must have a recurrent layer, got {model}")
    else:
        chain = float64_chain(model)
        time_major, dtype, states = False, model.modules[0].dtype, state
    initial = [as_float64(part) for part in as_states("state", states, len(chain._layers))]
    if time_major and np.ndim(x) > 1:
        x = np.swapaxes(x, 0, 1)
    run = chain.forward(as_float64(x), lengths=lengths, state=initial)
    d_output = _swap_axes(
        loss_gradient(loss_fn, _swap_axes(run.output, time_major), dtype), time_major
    )

    def gradients_of(d: FloatArray) -> list[Gradients]:
        return run.backward(d, steps=True, input=False, retain=True).modules

    parts = [NetworkPart("", i, module, lengths) for i, module in enumerate(chain.modules)]
    return compute_flow(parts, gradients_of, d_output, lengths)


# ---- computation of the flow ---------------------------------------------------------------------


class NetworkPart(NamedTuple):
    """A module of a network."""

    prefix: str
    """Prefix of the names of its layers."""
    position: int
    """Index of its gradients among those of the network."""
    module: Module
    lengths: Lengths | None
    """Lengths of its input sequences."""


def compute_flow(
    parts: Sequence[NetworkPart],
    gradients_of: Callable[[FloatArray], Sequence[Gradients]],
    d_output: FloatArray,
    lengths: Lengths | None,
) -> GradientFlow:
    """Return the flow through a network.

    Parameters
    ----------
    parts : sequence of NetworkPart
        In the order from input to output.
    gradients_of : function
        Maps the gradient of the output to the gradients of all modules, with those of their steps.
    d_output : array (B, T, K), or (B, K)
        Gradient of the loss with respect to the output.
    lengths : integer array (B,), optional
        Lengths of the output sequences.
    """
    recurrent = [part for part in parts if isinstance(part.module, Recurrent)]
    whole = last = first = gradients_of(d_output)
    if d_output.ndim == 3:
        last = gradients_of(_single_loss(d_output, lengths, -1))
        modules: list[Any] = [part.module for part in recurrent]
        if any(module.bidirectional or module.reverse for module in modules):
            first = gradients_of(_single_loss(d_output, lengths, 0))
    names: list[str] = []
    norms: list[FloatArray] = []
    logs: list[FloatArray] = []
    below: dict[str, int] = {}
    for prefix, position, module, steps in recurrent:
        layer: Any = module
        for i in range(layer.num_layers * (1 + layer.bidirectional)):
            level, second = divmod(i, 1 + layer.bidirectional)
            reverse = layer.reverse or second == 1
            number = below.get(prefix, 0) + level
            names.append(f"{prefix}layer {number}" + (", reverse" if reverse else ""))
            norms.append(safe_norm(_hidden_norms(whole[position], i), axis=0))
            sizes = _hidden_norms((first if reverse else last)[position], i)
            logs.append(_log_remaining(sizes, steps, reverse))
        below[prefix] = below.get(prefix, 0) + layer.num_layers
    with np.errstate(over="ignore"):
        remaining = tuple(map(np.exp, logs))
    return GradientFlow(
        tuple(names), tuple(norms), remaining, tuple(map(Verdict.from_log_factors, logs))
    )


def _swap_axes(values: FloatArray, time_major: bool) -> FloatArray:
    return np.swapaxes(values, 0, 1) if time_major else values


def _hidden_norms(gradients: Gradients, place: int) -> FloatArray:
    """Return ‖∂L/∂h_t‖ over the units of one layer and direction, (B, T)."""
    assert gradients.steps is not None
    return safe_norm(gradients.steps.hidden[place], axis=-1)


def _single_loss(d_output: FloatArray, lengths: Lengths | None, which: int) -> FloatArray:
    """Return `d_output`, zero except at the last (-1) or first (0) loss of every sequence."""
    there: NDArray[np.bool_] = np.any(d_output, axis=-1)
    if (padding := padding_of(lengths, *there.shape)) is not None:
        there &= ~padding
    steps = there.shape[1]
    place = there.argmax(axis=1) if which == 0 else steps - 1 - there[:, ::-1].argmax(axis=1)
    chosen = there & (np.arange(steps) == place[:, np.newaxis])
    return np.where(chosen[..., np.newaxis], d_output, 0.0)


def _log_remaining(sizes: FloatArray, lengths: Lengths | None, reverse: bool) -> FloatArray:
    """Return the logarithm of the relative gradient norm after 0, 1, .. steps back.

    `sizes` (B, T) are the norms at every step.

    Steps are counted from the end of each sequence (a reverse direction: from its beginning). The
    norm after n steps is relative to the norm at step 0 of the same sequences, those longer than n.
    Step 0 is the last one with a gradient in any sequence.
    """
    batch, steps = sizes.shape
    ends = steps_of(lengths, batch, steps)
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
        logs: FloatArray = np.log(safe_norm(aligned, 0)) - np.log(
            safe_norm(aligned[:, :1] * there, 0)
        )
    return logs
