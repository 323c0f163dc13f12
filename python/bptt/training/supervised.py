"""Supervised training: sequences with targets, and a chain of modules that predicts them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt._core.checks import FloatArray
from bptt.data.batching import sorted_batches
from bptt.data.sequences import Sequences
from bptt.losses import Loss
from bptt.nn.linear import OutputLoss
from bptt.nn.module import Module
from bptt.nn.sequential import Sequential
from bptt.nn.sequential_run import SequentialRun
from bptt.training.protocols import Evaluation, TrainingStep

PREDICTION_BATCH_SIZE = 64  # sequences


@dataclass(frozen=True)
class SequenceBatch:
    """A minibatch of sequences and targets, padded to the longest sequence."""

    x: NDArray[Any]
    """Ids (B, T), or features (B, T, I)."""
    lengths: NDArray[np.int64]
    """Number of steps of each sequence, (B,)."""
    y: NDArray[Any]
    """Targets (B, ..), or one per step, (B, T, ..)."""
    weights: NDArray[np.float64] | None
    """Sample weights (B,), or of steps (B, T), 0 in the padding."""

    def __post_init__(self) -> None:
        checks.array_of("x", self.x, "iuf", 2, 3)
        checks.array_of("lengths", self.lengths, "iu", 1)
        checks.numpy_array("y", self.y)
        if self.weights is not None:
            checks.array_of("weights", self.weights, "f", 1, 2)

    @cached_property
    def exists(self) -> NDArray[np.bool_]:
        """False in the padding, (B, T)."""
        steps: NDArray[np.bool_] = np.arange(self.x.shape[1]) < self.lengths[:, np.newaxis]
        return steps


@dataclass(frozen=True)
class SequenceDataset:
    """Sequences with one target each, or with one target per step."""

    sequences: Sequences
    """The N sequences."""
    targets: NDArray[Any] | Sequences
    """Targets (N, ..), or sequences of targets."""
    weights: NDArray[np.float64] | Sequences | None = None
    """Sample weights (N,), or sequences of weights of the steps."""

    def __post_init__(self) -> None:
        checks.instance("sequences", self.sequences, Sequences)
        if not isinstance(self.targets, Sequences):
            checks.array_of("targets", self.targets, "iufb", 1, 2, 3)
        if self.weights is not None and not isinstance(self.weights, Sequences):
            checks.array_of("weights", self.weights, "f", 1)
        for name, values in (("targets", self.targets), ("weights", self.weights)):
            if values is not None and len(values) != len(self.sequences):
                rule = f"{name} must have one entry for each of {len(self.sequences)} sequences"
                raise ValueError(f"{rule}, got {len(values)}")

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Number of steps of each sequence, (N,)."""
        return self.sequences.lengths

    def batch(self, indices: NDArray[np.int64]) -> SequenceBatch:
        """Return these sequences as a padded minibatch.

        Parameters
        ----------
        indices : integer array (B,)
            Indices of sequences.

        Returns
        -------
        SequenceBatch
        """
        indices = checks.indices("indices", indices, len(self.sequences))
        x, lengths = self.sequences.pad(indices)
        targets = self.targets
        y = targets.pad(indices)[0] if isinstance(targets, Sequences) else targets[indices]
        weights = self.weights
        if isinstance(weights, Sequences):
            return SequenceBatch(x, lengths, y, weights.pad(indices)[0])
        return SequenceBatch(x, lengths, y, None if weights is None else weights[indices])

    def take(self, indices: NDArray[np.int64]) -> SequenceDataset:
        """Return the dataset of these sequences.

        Parameters
        ----------
        indices : integer array (B,)
            Indices of sequences.

        Returns
        -------
        SequenceDataset
        """
        indices = checks.indices("indices", indices, len(self.sequences))
        targets, weights = self.targets, self.weights
        if isinstance(weights, Sequences):
            weights = weights.take(indices)
        elif weights is not None:
            weights = weights[indices]
        return SequenceDataset(
            self.sequences.take(indices),
            targets.take(indices) if isinstance(targets, Sequences) else targets[indices],
            weights,
        )


class WeightedMean(NamedTuple):
    """A metric, and its weight in the mean of an epoch."""

    value: float
    """Mean over a minibatch."""
    weight: float
    """Number of what the mean is over."""


BatchLoss: TypeAlias = Callable[
    [FloatArray, SequenceBatch], "Loss | OutputLoss"
]  # mean over the targets
BatchMetric: TypeAlias = Callable[[FloatArray, SequenceBatch], "float | WeightedMean"]
BatchWeight: TypeAlias = Callable[[SequenceBatch], float]  # of all targets
Predicted: TypeAlias = NDArray[np.integer[Any]]  # class of each target


class ClassTargets(NamedTuple):
    """Softmax cross-entropy and a metric of the predicted classes: no logits are needed."""

    arguments_fn: Callable[[SequenceBatch], Mapping[str, Any]]
    """Minibatch -> arguments of `SequentialRun.cross_entropy`, for the mean loss."""
    metric_fn: Callable[[Predicted, SequenceBatch], float | WeightedMean]
    """Predicted classes and minibatch -> mean metric over the targets, or with its own weight."""


@dataclass(frozen=True)
class SupervisedTask:
    """Chain of modules whose output is compared with targets."""

    model: Sequential
    """The network."""
    loss_fn: BatchLoss
    """Output and minibatch -> mean loss and its gradient."""
    metric_fn: BatchMetric
    """Output and minibatch -> mean metric over the targets, or a mean with a weight of its own."""
    weight_fn: BatchWeight
    """Minibatch -> total weight of its targets."""
    recompute_every: int | None = None
    """Interval of stored states; see `RNN.forward`."""
    class_targets: ClassTargets | None = None
    """The same loss and metric without logits, if that is possible: less time and memory."""

    def __post_init__(self) -> None:
        checks.instance("model", self.model, Sequential)
        check_functions(self)

    @property
    def modules(self) -> Mapping[str, Module]:
        """Name -> module, in the order of the chain."""
        return named_modules(self.model.modules)

    def training_step(self, batch: SequenceBatch) -> TrainingStep:
        """Return mean loss, metric and gradients of a minibatch.

        Parameters
        ----------
        batch : SequenceBatch
            Minibatch.

        Returns
        -------
        TrainingStep

        Raises
        ------
        TypeError
            If `batch` is none.
        """
        checks.instance("batch", batch, SequenceBatch)
        run = self.model.forward(
            batch.x, lengths=batch.lengths, recompute_every=self.recompute_every
        )
        loss, metric = loss_and_metric(run, batch, self.loss_fn, self.metric_fn, self.class_targets)
        gradients = run.backward(loss, input=False).modules
        value, weight = measured(metric)
        return TrainingStep(loss.value, value, self.weight_fn(batch), gradients, weight)

    def evaluate(self, batch: SequenceBatch) -> Evaluation:
        """Return mean loss and metric of a minibatch, without dropout.

        Parameters
        ----------
        batch : SequenceBatch
            Minibatch.

        Returns
        -------
        Evaluation

        Raises
        ------
        TypeError
            If `batch` is none.
        """
        checks.instance("batch", batch, SequenceBatch)
        loss: Loss | OutputLoss
        if self.class_targets is None:
            output = self.predict(batch.x, batch.lengths)
            loss, metric = self.loss_fn(output, batch), self.metric_fn(output, batch)
        else:
            arguments = self.class_targets.arguments_fn(batch)
            loss = self.model.cross_entropy(batch.x, lengths=batch.lengths, **arguments)
            metric = self.class_targets.metric_fn(loss.predicted, batch)
        value, weight = measured(metric)
        return Evaluation(loss.value, value, self.weight_fn(batch), weight)

    def predict(self, x: NDArray[Any], lengths: NDArray[np.int64]) -> FloatArray:
        """Return the output for padded sequences, without dropout.

        Parameters
        ----------
        x : integer array (B, T), or array (B, T, I)
            Padded ids or features.
        lengths : int64 array (B,)
            Number of steps of each sequence.

        Returns
        -------
        array (B, K), or (B, T, K)
            Output once per sequence or at every step.
        """
        return self.model(x, lengths=lengths)[0]


def check_functions(task: Any) -> None:
    """Check the functions of a task, and what it has instead of them.

    Raises
    ------
    TypeError
        If one is no function.
    """
    for name in ("loss_fn", "metric_fn", "weight_fn"):
        function = getattr(task, name)
        if not callable(function):
            raise TypeError(f"{name} must be a function, got {type(function).__name__}")
    if task.class_targets is not None:
        checks.instance("class_targets", task.class_targets, ClassTargets)


def loss_and_metric(
    run: SequentialRun,
    batch: SequenceBatch,
    loss_fn: BatchLoss,
    metric_fn: BatchMetric,
    class_targets: ClassTargets | None,
) -> tuple[Loss | OutputLoss, float | WeightedMean]:
    """Return loss and metric of a forward pass: without logits if there are class targets."""
    if class_targets is None:
        return loss_fn(run.output, batch), metric_fn(run.output, batch)
    loss = run.cross_entropy(**class_targets.arguments_fn(batch))
    return loss, class_targets.metric_fn(loss.predicted, batch)


def measured(metric: float | WeightedMean) -> tuple[float, float | None]:
    """Return value and weight of a metric; no weight means that of the loss."""
    return metric if isinstance(metric, WeightedMean) else (metric, None)


def named_modules(modules: tuple[Module, ...]) -> dict[str, Module]:
    """Return names for the modules of a chain: "0-embedding", "1-lstm", "2-linear"."""
    return {f"{i}-{type(m).__name__.lower()}": m for i, m in enumerate(modules)}


def predict_in_batches(
    predict: Callable[[NDArray[Any], NDArray[np.int64]], FloatArray], sequences: Sequences
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], FloatArray]]:
    """Predict minibatches of sequences of similar length.

    Parameters
    ----------
    predict : function
        Padded sequences and their lengths -> output.
    sequences : Sequences
        Input.

    Yields
    ------
    tuple of three arrays
        Indices, lengths and output of a minibatch.
    """
    for indices in sorted_batches(sequences.lengths, PREDICTION_BATCH_SIZE):
        x, lengths = sequences.pad(indices)
        yield indices, lengths, predict(x, lengths)
