"""Protocols of the training loop: the task that is trained, and its data in minibatches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

from numpy.typing import NDArray

from bptt.nn.module import Gradients, Module


class TrainingStep(NamedTuple):
    """Loss and gradients of one minibatch."""

    loss: float
    """Mean over the targets."""
    metric: float
    """Mean over the targets; NaN if the task has no metric."""
    weight: float
    """Number of targets, or the sum of their weights."""
    gradients: list[Gradients]
    """Gradients of the loss, one per module, in order. The training loop may modify them."""
    metric_weight: float | None = None
    """Weight of the metric in the mean of an epoch; by default that of the loss."""


class Evaluation(NamedTuple):
    """Loss and metric of one minibatch, without gradients."""

    loss: float
    """Mean over the targets."""
    metric: float
    """Mean over the targets; NaN if the task has no metric."""
    weight: float
    """Number of targets, or the sum of their weights."""
    metric_weight: float | None = None
    """Weight of the metric in the mean of an epoch; by default that of the loss."""


class TrainingTask(Protocol):
    """A network and its loss.

    All randomness must come from the generators of the modules, which checkpoints contain: a
    resumed training then draws the same numbers.
    """

    @property
    def modules(self) -> Mapping[str, Module]:
        """Name -> module; the same modules at every call."""

    def training_step(self, batch: Any) -> TrainingStep:
        """Return loss and gradients of a minibatch.

        Parameters
        ----------
        batch : object
            Minibatch, from `Dataset.batch`.

        Returns
        -------
        TrainingStep
        """

    def evaluate(self, batch: Any) -> Evaluation:
        """Return the loss of a minibatch at inference, without dropout.

        Parameters
        ----------
        batch : object
            Minibatch, from `Dataset.batch`.

        Returns
        -------
        Evaluation
        """


class Dataset(Protocol):
    """Sequences that can be retrieved as minibatches."""

    @property
    def lengths(self) -> NDArray[Any]:
        """Number of steps of each sequence, an integer array (N,)."""

    def batch(self, indices: NDArray[Any]) -> Any:
        """Return a minibatch of these sequences, padded to the longest, as the task expects it.

        Parameters
        ----------
        indices : integer array (B,)
            Indices of sequences.

        Returns
        -------
        object
            Minibatch, the argument of the task.
        """


@runtime_checkable
class OrderedDataset(Dataset, Protocol):
    """A dataset whose minibatches have a fixed order, such as the windows of long sequences.

    The task may carry state from one minibatch to the next; a resumed training therefore restarts
    at the beginning of an epoch.
    """

    def batches(self) -> list[NDArray[Any]]:
        """Return the minibatches of an epoch, in order, as arrays of indices.

        Returns
        -------
        list of integer arrays
        """
