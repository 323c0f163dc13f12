"""Gradient flow: how much of the loss's gradient reaches every step of every layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bptt.checks import FloatArray
from bptt.diagnostics.plotted import Plotted
from bptt.diagnostics.twins import (
    RECURRENT,
    LossOf,
    chain_twin,
    gradient_of,
    in_float64,
    norm,
    twin,
)
from bptt.diagnostics.verdict import Verdict
from bptt.module import Gradients
from bptt.padding import lengths_of
from bptt.pooling import Recurrent, State
from bptt.sequential import Lengths, Sequential

if TYPE_CHECKING:
    from bptt.estimator import SequenceEstimator
    from bptt.training import Training


@dataclass(frozen=True, eq=False)
class GradientFlow(Plotted):
    """Norms of the gradient that reaches every step, one array a layer and direction."""

    _drawn_by: ClassVar[str] = "plot_flow"

    names: tuple[str, ...]
    """Of the layers and directions from the input up: "layer 0", "layer 0, reverse", "layer 1"."""
    norms: tuple[FloatArray, ...]
    """(T,) each: ‖∂L/∂h_t‖ over all sequences and units, in float64."""
    verdicts: tuple[Verdict, ...]
    """On each: what is left of the gradient on its way from the step where it enters.

    Steps are counted from each sequence's own end (a reverse direction: from its beginning), and
    those of n steps before are compared with the last ones of the same sequences.
    """

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

    ∂L/∂h_t has come along all paths: of a loss at the end alone, what is left of it t steps before
    the end. If every step has a loss, every step has a gradient, however little comes from later
    ones: then ask `jacobian_products` or `contributions`.

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
    x = in_float64(x)
    if isinstance(model, Sequential):
        if not model._layers:
            raise ValueError(f"model must have a recurrent layer, got {model}")
        chain = chain_twin(model)
        initial = None if state is None else tuple(map(in_float64, state))
        run = chain.forward(x, lengths=lengths, state=initial)
        d_output = gradient_of(loss_of, run.output, model.modules[0].dtype)
        found = run.backward(d_output, steps=True, input=False).modules
        parts = [
            ("", module, gradients, lengths)
            for module, gradients in zip(chain.modules, found, strict=True)
            if isinstance(module, RECURRENT)
        ]
        return flow_of(parts)
    if not isinstance(model, RECURRENT):
        kind = type(model).__name__
        raise TypeError(f"model must be an RNN, LSTM, GRU or Sequential, got {kind}")
    layer: Recurrent = twin(model)
    passed: Any = layer.forward(x, lengths=lengths, state=in_float64(state))
    d_output = gradient_of(loss_of, passed.output, model.dtype)
    gradients = passed.backward(d_output, steps=True, input=False)
    return flow_of([("", layer, gradients, lengths)])


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

    X: Any
    y: Any = None
    lengths: Any = None
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


_Part: TypeAlias = tuple[str, Recurrent, Gradients, Lengths | None]


def flow_of(parts: Sequence[_Part]) -> GradientFlow:
    """Return the flow through recurrent layers, from the input up.

    Parameters
    ----------
    parts : sequence of tuples
        What the names begin with, a layer, its gradients with those of the steps, and lengths.
    """
    names: list[str] = []
    norms: list[FloatArray] = []
    verdicts: list[Verdict] = []
    below: dict[str, int] = {}
    for prefix, layer, gradients, lengths in parts:
        assert gradients.steps is not None
        directions, count = 1 + layer.bidirectional, below.get(prefix, 0)
        for i, d_h in enumerate(gradients.steps.hidden):  # (B, T, H)
            level, reverse = divmod(i, directions)
            sizes = norm(np.swapaxes(d_h, 0, 1) if layer.time_major else d_h, axis=-1)  # (B, T)
            names.append(f"{prefix}layer {count + level}" + (", reverse" if reverse else ""))
            norms.append(norm(sizes, axis=0))
            verdicts.append(Verdict.of(_logs_left(sizes, lengths, bool(reverse))))
        below[prefix] = count + layer.num_layers
    return GradientFlow(tuple(names), tuple(norms), tuple(verdicts))


def _logs_left(sizes: FloatArray, lengths: Lengths | None, reverse: bool) -> FloatArray:
    """Return the logarithm of what is left after 0, 1, .. steps back, of norms (B, T).

    It begins with the last step that has a gradient in any sequence.
    """
    batch, steps = sizes.shape
    ends = np.full(batch, steps) if lengths is None else lengths_of(lengths, batch, steps)
    back = np.arange(ends.max(initial=0))
    place = np.broadcast_to(back, (batch, len(back))) if reverse else ends[:, None] - 1 - back
    there = back < ends[:, None]
    aligned = np.where(there, np.take_along_axis(sizes, np.where(there, place, 0), 1), 0.0)
    reached = aligned.any(axis=0)
    if not reached.any():
        return np.array([-np.inf])
    first = int(reached.argmax())
    aligned, there = aligned[:, first:], there[:, first:]
    with np.errstate(divide="ignore"):
        left = np.log(norm(aligned, axis=0)) - np.log(norm(aligned[:, :1] * there, axis=0))
    return left
