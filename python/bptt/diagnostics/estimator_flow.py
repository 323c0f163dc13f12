"""Gradient flow of fitted estimators, after training and after every epoch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from bptt._core.checks import FloatArray
from bptt.diagnostics import plots
from bptt.diagnostics._float64 import as_float64, decoder_chain, float64_copy, loss_gradient
from bptt.diagnostics.flow import GradientFlow, NetworkPart, compute_flow, gradient_flow
from bptt.losses import Loss
from bptt.nn.dropout import Dropout
from bptt.nn.module import Gradients
from bptt.nn.seq2seq import EncoderDecoderNetwork, EncoderDecoderRun
from bptt.training.label_feedback import LabelFeedbackTask
from bptt.training.sequence_to_sequence import PairBatch, SequenceToSequenceTask
from bptt.training.teacher_forcing import DecoderTask
from bptt.training.truncated_bptt_task import WindowBatch

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from bptt.estimators._base import SequenceEstimator
    from bptt.training.loop import Training


def estimator_flow(
    estimator: SequenceEstimator, X: Any, y: Any = None, lengths: Any = None
) -> GradientFlow:
    """Return the gradient flow of a fitted estimator's own loss.

    Parameters
    ----------
    estimator : SequenceEstimator
        Fitted. The flow of a `LanguageModel` with truncated BPTT is that of the first k2 steps. The
        decoder of an `EncoderDecoder` is run with teacher forcing, and the flow through its encoder
        includes the gradient from the decoder.
    X, y, lengths : as for `fit`
        A few sequences, as for `fit`; together they are one batch.

    Returns
    -------
    GradientFlow

    Raises
    ------
    TypeError, ValueError
        If `estimator` is none of this package, or the data do not match those of `fit`.
    sklearn.exceptions.NotFittedError
        If the estimator has not been fitted.
    """
    from sklearn.utils.validation import check_is_fitted

    from bptt.estimators._base import SequenceEstimator

    if not isinstance(estimator, SequenceEstimator):
        rule = "estimator must be an estimator of bptt"
        raise TypeError(f"{rule}, got {type(estimator).__name__}")
    check_is_fitted(estimator)
    estimator._check_target(y)
    data = estimator._dataset(X, y, lengths)
    task: Any = estimator._task()
    batch = data.batch(np.arange(len(data.lengths)))
    if isinstance(batch, WindowBatch):  # truncated BPTT: the first k2 steps of each text
        task, batch = task.decoder_task, batch.sequences.window(slice(0, task.k2))
    if isinstance(task, SequenceToSequenceTask):
        return _encoder_decoder_flow(task, batch)
    if isinstance(task, DecoderTask):
        loss_fn: Callable[[FloatArray], Loss] = partial(task.loss, batch=batch)
        state = task.initial_state(batch.condition)
        initial = None if state is None else (state,)
        model = decoder_chain(task.decoder)
        return gradient_flow(model, batch.tokens, loss_fn, lengths=batch.lengths, state=initial)
    loss_fn = partial(_loss, task, batch)
    if isinstance(task, LabelFeedbackTask):
        x = task.append_labels(task.embed(batch.x), batch.y)
        return gradient_flow(task.chain, x, loss_fn, lengths=batch.lengths)
    return gradient_flow(task.model, batch.x, loss_fn, lengths=batch.lengths)


@dataclass(eq=False)
class GradientFlowRecorder:
    """Callback that records the gradient flow after every epoch of `fit`.

    Parameters
    ----------
    X, y, lengths : as for `fit`
        A few sequences on which the flow is computed, as for `fit`.

    Attributes
    ----------
    flows : list of GradientFlow
        One per epoch.

    Examples
    --------
    >>> recorder = GradientFlowRecorder(X[:32], y[:32])
    >>> model.set_params(callbacks=[recorder]).fit(X, y)
    >>> print(recorder.flows[-1].verdict)
    """

    X: Any = field(repr=False)
    y: Any = field(default=None, repr=False)
    lengths: Any = field(default=None, repr=False)
    flows: list[GradientFlow] = field(default_factory=list, repr=False, init=False)

    def on_train_begin(self, training: Training) -> None:
        """Discard the flows of an earlier training.

        Parameters
        ----------
        training : Training
            State of the training loop.
        """
        self.flows = []

    def on_epoch_end(self, training: Training) -> None:
        """Record the gradient flow of the current parameters.

        Parameters
        ----------
        training : Training
            State of the training loop.

        Raises
        ------
        TypeError
            If it is not a callback of an estimator's `fit`.
        """
        callbacks = getattr(training, "callbacks", ())
        estimator = next((c.estimator for c in callbacks if hasattr(c, "estimator")), None)
        if estimator is None:
            raise TypeError("GradientFlowRecorder must be a callback of an estimator's fit")
        self.flows.append(estimator_flow(estimator, self.X, self.y, self.lengths))

    def plot(self, ax: Axes | None = None, *, layer: int = 0) -> Axes:
        """Plot with `bptt.diagnostics.plots.plot_flow_history`, whose parameters these are.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Axes to draw into. By default those of a new figure.
        layer : int
            Index of the layer and direction in `GradientFlow.names`.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If nothing has been recorded, or there is no such layer.
        """
        return plots.plot_flow_history(self.flows, ax, layer=layer)


def _loss(task: Any, batch: Any, output: FloatArray) -> Loss:
    loss: Loss = task.loss_fn(output, batch)
    return loss


def _encoder_decoder_flow(task: SequenceToSequenceTask, batch: PairBatch) -> GradientFlow:
    """Return the flow through decoder and encoder, with teacher forcing."""
    modules = task.network.modules
    network = EncoderDecoderNetwork.of(
        {
            name: float64_copy(module)
            for name, module in modules.items()
            if not isinstance(module, Dropout)
        }
    )
    targets = batch.targets

    def forward() -> EncoderDecoderRun:
        x = as_float64(batch.x)
        return network.forward(x, batch.lengths, targets.tokens, targets.lengths)

    def gradients_of(d: FloatArray) -> list[Gradients]:
        return forward().backward(d, steps=True)

    dtype = task.network.decoder.output.dtype
    d_output = loss_gradient(
        partial(task.decoder_task.loss, batch=targets), forward().output, dtype
    )
    lengths = {"encoder": batch.lengths, "bridge": None, "decoder": targets.lengths}
    names = [name.partition("-")[0] for name in network.modules]
    parts = [
        NetworkPart(f"{name} ", i, module, lengths[name])
        for i, (name, module) in enumerate(zip(names, network.modules.values(), strict=True))
    ]
    return compute_flow(parts, gradients_of, d_output, targets.lengths)
