"""Sequence-to-sequence training: pairs of a source and a target sequence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt._core.checks import FloatArray
from bptt.data.sequences import Sequences
from bptt.nn.module import Module
from bptt.nn.seq2seq import EncoderDecoderNetwork
from bptt.training.protocols import Evaluation, TrainingStep
from bptt.training.teacher_forcing import DecoderTask, TokenBatch, TokenDataset, token_accuracy


@dataclass(frozen=True)
class PairBatch:
    """A minibatch of pairs; sources and targets are padded to the longest of each."""

    x: NDArray[Any]
    """Sources: ids (B, T), or features (B, T, I)."""
    lengths: NDArray[np.int64]
    """Number of steps of each source, (B,)."""
    targets: TokenBatch
    """Targets."""

    def __post_init__(self) -> None:
        checks.array_of("x", self.x, "iuf", 2, 3)
        checks.array_of("lengths", self.lengths, "iu", 1)
        checks.instance("targets", self.targets, TokenBatch)


@dataclass(frozen=True)
class PairDataset:
    """Pairs of a source and a target sequence."""

    sources: Sequences
    """The N sources."""
    targets: TokenDataset
    """The N targets."""

    def __post_init__(self) -> None:
        checks.instance("sources", self.sources, Sequences)
        checks.instance("targets", self.targets, TokenDataset)
        count = len(self.sources)
        if len(self.targets.sequences) != count:
            rule = f"targets must have {count} sequences, as sources"
            raise ValueError(f"{rule}, got {len(self.targets.sequences)}")

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Number of steps of each source, (N,)."""
        return self.sources.lengths

    def batch(self, indices: NDArray[np.int64]) -> PairBatch:
        """Return these pairs as a padded minibatch.

        Parameters
        ----------
        indices : integer array (B,)
            Indices of sequences.

        Returns
        -------
        PairBatch
        """
        return PairBatch(*self.sources.pad(indices), self.targets.batch(indices))

    def take(self, indices: NDArray[np.int64]) -> PairDataset:
        """Return the dataset of these pairs.

        Parameters
        ----------
        indices : integer array (B,)
            Indices of pairs.

        Returns
        -------
        PairDataset
        """
        return PairDataset(self.sources.take(indices), self.targets.take(indices))


@dataclass(frozen=True)
class SequenceToSequenceTask:
    """Encoder-decoder trained to generate the target of every source.

    Scheduled sampling draws from the random generator of the output layer, which is saved in
    checkpoints and not used otherwise.
    """

    network: EncoderDecoderNetwork
    """The network."""
    scheduled_sampling: float = 0.0
    """Probability that an input of the decoder is its own prediction, not the true token."""
    label_smoothing: float = 0.0
    """Probability mass of the targets that is spread over all tokens, in [0, 1)."""
    recompute_every: int | None = None
    """Interval of stored states; see `RNN.forward`."""

    def __post_init__(self) -> None:
        checks.instance("network", self.network, EncoderDecoderNetwork)
        checks.number("scheduled_sampling", self.scheduled_sampling, 0.0)
        checks.fraction("label_smoothing", self.label_smoothing)

    @property
    def modules(self) -> Mapping[str, Module]:
        """Name -> module."""
        return self.network.modules

    @property
    def decoder_task(self) -> DecoderTask:
        """Task of the decoder alone, given the state of the encoder."""
        return DecoderTask(self.network.decoder, label_smoothing=self.label_smoothing)

    def training_step(self, batch: PairBatch) -> TrainingStep:
        """Return mean loss, accuracy and gradients of a minibatch.

        Parameters
        ----------
        batch : PairBatch
            Minibatch.

        Returns
        -------
        TrainingStep

        Raises
        ------
        TypeError
            If `batch` is none.
        """
        checks.instance("batch", batch, PairBatch)
        targets = batch.targets
        run = self.network.forward(
            batch.x,
            batch.lengths,
            targets.tokens,
            targets.lengths,
            self._forced(targets),
            recompute_every=self.recompute_every,
        )
        loss = run.decoded.cross_entropy(targets.targets, **self.decoder_task.loss_options(targets))
        gradients = run.backward(loss)
        accuracy = token_accuracy(loss.predicted, targets)
        return TrainingStep(loss.value, accuracy, targets.weight, gradients)

    def evaluate(self, batch: PairBatch) -> Evaluation:
        """Return mean loss and accuracy of a minibatch, with teacher forcing, without dropout.

        Parameters
        ----------
        batch : PairBatch
            Minibatch.

        Returns
        -------
        Evaluation

        Raises
        ------
        TypeError
            If `batch` is none.
        """
        checks.instance("batch", batch, PairBatch)
        targets = batch.targets
        features = self.network.features(batch.x, batch.lengths, targets.tokens, targets.lengths)
        return self.decoder_task.evaluate_features(features, targets)

    def attention_weights(self, batch: PairBatch) -> FloatArray:
        """Return the attention weights of the source steps for every target, (B, S, T).

        Parameters
        ----------
        batch : PairBatch
            Minibatch.

        Returns
        -------
        array (B, S, T)
            Weights; rows sum to 1.

        Raises
        ------
        TypeError
            If `batch` is none.
        """
        checks.instance("batch", batch, PairBatch)
        memory = self.network.encode(batch.x, batch.lengths)
        return self.network.attention_weights(memory, batch.targets.tokens, batch.targets.lengths)

    def _forced(self, targets: TokenBatch) -> NDArray[np.bool_] | None:
        """Return which inputs of the decoder are the true tokens, (B, S); None for all."""
        if not self.scheduled_sampling:
            return None
        random = self.network.decoder.output._random
        forced: NDArray[np.bool_] = random.random(targets.tokens.shape) >= self.scheduled_sampling
        return forced
