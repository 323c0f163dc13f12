"""Gradient flow: how much of the loss's gradient reaches every step of every layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bptt._core.checks import FloatArray
from bptt._core.lengths import lengths_of, padding_of
from bptt.diagnostics.float64_copies import (
    RECURRENT,
    LossOf,
    chain_twin,
    gradient_of,
    in_float64,
    norm,
    twin,
)
from bptt.diagnostics.plottable import Plotted
from bptt.diagnostics.verdict import Verdict
from bptt.nn.module import Gradients, Module
from bptt.nn.pooling import Recurrent, State
from bptt.nn.sequential import Lengths, Sequential
from bptt.nn.sequential_run import as_states

if TYPE_CHECKING:
    from bptt.estimators._base import SequenceEstimator
    from bptt.training.loop import Training


@dataclass(frozen=True, eq=False)
class GradientFlow(Plotted):
    """The gradient that reaches every step; all tuples have an item a layer and direction."""

    _drawn_by: ClassVar[str] = "plot_flow"

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


def gradient_flow(
    model: Recurrent | Sequential,
    x: NDArray[Any],
    loss_of: LossOf,
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
    if isinstance(model, RECURRENT):
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


def estimator_flow(
    estimator: SequenceEstimator, X: Any, y: Any = None, lengths: Any = None
) -> GradientFlow:
    """Return the gradient flow of a fitted estimator's own loss.

    Parameters
    ----------
    estimator : SequenceEstimator
        Fitted. A `LanguageModel` that learns from windows shows the first k2 steps. Encoder and
        decoder of an `EncoderDecoder` are shown with the right tokens before (teacher forcing), the
        encoder with what comes back through the decoder.
    X, y, lengths
        Some sequences, as for `fit`; all of them make one batch.

    Returns
    -------
    GradientFlow

    Raises
    ------
    TypeError, ValueError
        If it is no estimator, or the data are not such as it has learned from.
    sklearn.exceptions.NotFittedError
        If it has not been fitted.
    """
    from bptt.diagnostics.estimators import flow_of_estimator

    return flow_of_estimator(estimator, X, y, lengths)


@dataclass(eq=False)
class RecordFlow(Plotted):
    """A callback that records the gradient flow after every epoch of `fit`.

    Parameters
    ----------
    X, y, lengths
        Some sequences to look at, as for `fit`.

    Attributes
    ----------
    flows : list of GradientFlow
        One an epoch.

    Examples
    --------
    >>> record = RecordFlow(X[:32], y[:32])
    >>> model.set_params(callbacks=[record]).fit(X, y)
    >>> print(record.flows[-1].verdict)
    """

    _drawn_by: ClassVar[str] = "plot_recorded"

    X: Any = field(repr=False)
    y: Any = field(default=None, repr=False)
    lengths: Any = field(default=None, repr=False)
    flows: list[GradientFlow] = field(default_factory=list, repr=False)

    def on_train_begin(self, training: Training) -> None:
        """Begin anew."""
        self.flows = []

    def on_epoch_end(self, training: Training) -> None:
        """Look at the estimator as it is now."""
        estimator = next((c.estimator for c in training.callbacks if hasattr(c, "estimator")), None)
        if estimator is None:
            raise TypeError("RecordFlow must be a callback of an estimator's fit")
        self.flows.append(estimator_flow(estimator, self.X, self.y, self.lengths))


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
    recurrent = [part for part in parts if isinstance(part.module, RECURRENT)]
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
