"""Data with targets, and how a chain of modules learns them: what `bptt.training` works on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt._core.checks import FloatArray
from bptt.data.sequences import Sequences
from bptt.losses import Loss
from bptt.nn.module import Module
from bptt.nn.sequential import Sequential
from bptt.training.loop import Score, Step

PREDICTED_TOGETHER = 64  # sequences


@dataclass(frozen=True)
class Batch:
    """Some sequences, padded to the longest of them."""

    x: NDArray[Any]  # (B, T) ids, or (B, T, I)
    lengths: NDArray[np.int64]  # (B,)
    y: NDArray[Any]  # (B, ..), or (B, T, ..) for targets at every step
    weights: NDArray[np.float64] | None  # (B,)


@dataclass(frozen=True)
class SequenceData:
    """Sequences with a target each, or with one at every step."""

    sequences: Sequences
    targets: NDArray[Any] | Sequences
    weights: NDArray[np.float64] | None = None

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Number of steps of each sequence."""
        return self.sequences.lengths

    def batch(self, indices: NDArray[np.int64]) -> Batch:
        """Return some of the sequences, padded."""
        x, lengths = self.sequences.pad(indices)
        targets = self.targets
        y = targets.pad(indices)[0] if isinstance(targets, Sequences) else targets[indices]
        return Batch(x, lengths, y, None if self.weights is None else self.weights[indices])

    def take(self, indices: NDArray[np.int64]) -> SequenceData:
        """The same for some of the sequences."""
        targets = self.targets
        return SequenceData(
            self.sequences.take(indices),
            targets.take(indices) if isinstance(targets, Sequences) else targets[indices],
            None if self.weights is None else self.weights[indices],
        )

    def split(
        self, fraction: float, random: np.random.Generator
    ) -> tuple[SequenceData, SequenceData]:
        """All but a fraction, and this fraction, at random."""
        kept, held_out = split_indices(len(self.lengths), fraction, random)
        return self.take(kept), self.take(held_out)


def split_indices(
    count: int, fraction: float, random: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All indices but a fraction, and this fraction, at random."""
    held_out = round(count * fraction)
    if not 0 < held_out < count:
        raise ValueError(
            f"validation_fraction = {fraction:g} of {count} sequences leaves "
            f"{count - held_out} to learn and {held_out} to validate: both need one"
        )
    order = random.permutation(count)
    return np.sort(order[held_out:]), np.sort(order[:held_out])


LossOf = Callable[[FloatArray, Batch], Loss]  # the mean over the targets of a batch
MetricOf = Callable[[FloatArray, Batch], float]
WeightOf = Callable[[Batch], float]  # of all targets of a batch


@dataclass(frozen=True)
class Supervised:
    """A chain of modules whose output is compared with targets."""

    model: Sequential
    loss_of: LossOf
    metric_of: MetricOf
    weight_of: WeightOf
    recompute_every: int | None = None

    @property
    def modules(self) -> Mapping[str, Module]:
        """Name -> module, in the order of the chain."""
        return named(self.model.modules)

    def gradients(self, batch: Batch) -> Step:
        """Return the mean loss of a batch and its gradients."""
        run = self.model.forward(
            batch.x, lengths=batch.lengths, recompute_every=self.recompute_every
        )
        loss = self.loss_of(run.output, batch)
        return Step(
            loss.value,
            self.metric_of(run.output, batch),
            self.weight_of(batch),
            run.backward(loss.gradient).modules,
        )

    def evaluate(self, batch: Batch) -> Score:
        """Return mean loss and metric of a batch, without dropout."""
        output = self.predict(batch.x, batch.lengths)
        return Score(
            self.loss_of(output, batch).value,
            self.metric_of(output, batch),
            self.weight_of(batch),
        )

    def predict(self, x: NDArray[Any], lengths: NDArray[np.int64]) -> FloatArray:
        """Return the output of padded sequences."""
        return self.model(x, lengths=lengths)[0]


def named(modules: tuple[Module, ...]) -> dict[str, Module]:
    """Names for the modules of a chain, as in "0-embedding", "1-lstm", "2-linear"."""
    return {f"{i}-{type(m).__name__.lower()}": m for i, m in enumerate(modules)}


def outputs(
    predict: Callable[[NDArray[Any], NDArray[np.int64]], FloatArray], sequences: Sequences
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], FloatArray]]:
    """Yield indices, lengths and output of all sequences, those of about one length together."""
    order = np.argsort(sequences.lengths, kind="stable")
    for first in range(0, len(order), PREDICTED_TOGETHER):
        indices = order[first : first + PREDICTED_TOGETHER]
        x, lengths = sequences.pad(indices)
        yield indices, lengths, predict(x, lengths)
