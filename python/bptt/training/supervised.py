"""Supervised training: sequences with targets, and a chain of modules that predicts them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bptt._core.checks import FloatArray
from bptt.data.batching import sorted_batches
from bptt.data.sequences import Sequences
from bptt.losses import Loss
from bptt.nn.module import Module
from bptt.nn.sequential import Sequential
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
    """Sample weights (B,)."""


@dataclass(frozen=True)
class SequenceDataset:
    """Sequences with one target each, or with one target per step."""

    sequences: Sequences
    """The N sequences."""
    targets: NDArray[Any] | Sequences
    """Targets (N, ..), or sequences of targets."""
    weights: NDArray[np.float64] | None = None
    """Sample weights (N,)."""

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
        x, lengths = self.sequences.pad(indices)
        targets = self.targets
        y = targets.pad(indices)[0] if isinstance(targets, Sequences) else targets[indices]
        return SequenceBatch(x, lengths, y, None if self.weights is None else self.weights[indices])

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
        targets = self.targets
        return SequenceDataset(
            self.sequences.take(indices),
            targets.take(indices) if isinstance(targets, Sequences) else targets[indices],
            None if self.weights is None else self.weights[indices],
        )

    def split(
        self, fraction: float, random: np.random.Generator
    ) -> tuple[SequenceDataset, SequenceDataset]:
        """Split at random into training data and a fraction for validation.

        Parameters
        ----------
        fraction : float
            Fraction held out for validation, in (0, 1).
        random : numpy.random.Generator
            Source of randomness.

        Returns
        -------
        tuple of two SequenceDataset

        Raises
        ------
        ValueError
            If either part would be empty.
        """
        training, validation = split_indices(len(self.lengths), fraction, random)
        return self.take(training), self.take(validation)


def split_indices(
    count: int, fraction: float, random: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split the indices 0 .. count-1 at random for training and validation.

    Parameters
    ----------
    count : int
        Number of sequences.
    fraction : float
        Fraction held out for validation, in (0, 1).
    random : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    tuple of two integer arrays
        Indices for training and for validation, sorted.

    Raises
    ------
    ValueError
        If either part would be empty.
    """
    held_out = round(count * fraction)
    if not 0 < held_out < count:
        raise ValueError(
            f"validation_fraction = {fraction:g} of {count} sequences leaves "
            f"{count - held_out} for training and {held_out} for validation: "
            "both need at least one"
        )
    order = random.permutation(count)
    return np.sort(order[held_out:]), np.sort(order[:held_out])


BatchLoss: TypeAlias = Callable[[FloatArray, SequenceBatch], Loss]  # mean over the targets
BatchMetric: TypeAlias = Callable[[FloatArray, SequenceBatch], float]  # mean over the targets
BatchWeight: TypeAlias = Callable[[SequenceBatch], float]  # of all targets


@dataclass(frozen=True)
class SupervisedTask:
    """Chain of modules whose output is compared with targets."""

    model: Sequential
    """The network."""
    loss_fn: BatchLoss
    """Output and minibatch -> mean loss and its gradient."""
    metric_fn: BatchMetric
    """Output and minibatch -> mean metric."""
    weight_fn: BatchWeight
    """Minibatch -> total weight of its targets."""
    recompute_every: int | None = None
    """Interval of stored states; see `RNN.forward`."""

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
        """
        run = self.model.forward(
            batch.x, lengths=batch.lengths, recompute_every=self.recompute_every
        )
        loss = self.loss_fn(run.output, batch)
        return TrainingStep(
            loss.value,
            self.metric_fn(run.output, batch),
            self.weight_fn(batch),
            run.backward(loss.gradient).modules,
        )

    def evaluate(self, batch: SequenceBatch) -> Evaluation:
        """Return mean loss and metric of a minibatch, without dropout.

        Parameters
        ----------
        batch : SequenceBatch
            Minibatch.

        Returns
        -------
        Evaluation
        """
        output = self.predict(batch.x, batch.lengths)
        return Evaluation(
            self.loss_fn(output, batch).value,
            self.metric_fn(output, batch),
            self.weight_fn(batch),
        )

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
