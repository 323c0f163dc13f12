"""Pairs of a source and a target sequence, and how an encoder-decoder learns them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt._core.checks import FloatArray
from bptt.data.sequences import Sequences
from bptt.nn.module import Module
from bptt.nn.seq2seq import EncoderDecoderNetwork
from bptt.training.loop import Score, Step
from bptt.training.supervised import split_indices
from bptt.training.teacher_forcing import TokenBatch, TokenData, Writer, accuracy


@dataclass(frozen=True)
class Pairs:
    """Some pairs: sources and targets, each padded to the longest of them."""

    x: NDArray[Any]  # (B, T) ids, or (B, T, I)
    lengths: NDArray[np.int64]  # (B,)
    targets: TokenBatch


@dataclass(frozen=True)
class PairData:
    """Sequences to read, and the sequence to write for each."""

    sources: Sequences
    targets: TokenData

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Number of steps of each source."""
        return self.sources.lengths

    def batch(self, indices: NDArray[np.int64]) -> Pairs:
        """Return some of the pairs, padded."""
        return Pairs(*self.sources.pad(indices), self.targets.batch(indices))

    def split(self, fraction: float, random: np.random.Generator) -> tuple[PairData, PairData]:
        """All but a fraction, and this fraction, at random."""
        kept, held_out = split_indices(len(self.sources), fraction, random)
        return self._take(kept), self._take(held_out)

    def _take(self, indices: NDArray[np.int64]) -> PairData:
        return PairData(self.sources.take(indices), self.targets.take(indices))


@dataclass(frozen=True)
class Translator:
    """An encoder-decoder that learns to write the targets.

    With probability `sampling` a token that goes into the decoder is not the target's but the
    network's own (scheduled sampling). Which is said by the generator of the output layer, as it is
    in every checkpoint, and nothing else draws from it.
    """

    network: EncoderDecoderNetwork
    sampling: float = 0.0
    label_smoothing: float = 0.0
    recompute_every: int | None = None

    @property
    def modules(self) -> Mapping[str, Module]:
        """Name -> module."""
        return self.network.modules

    def gradients(self, batch: Pairs) -> Step:
        """Return the mean loss of a batch and its gradients."""
        targets = batch.targets
        run = self.network.forward(
            batch.x,
            batch.lengths,
            targets.tokens,
            targets.lengths,
            self._forced(targets),
            recompute_every=self.recompute_every,
        )
        loss = self._writer.loss(run.output, targets)
        gradients = run.backward(loss.gradient)
        return Step(loss.value, accuracy(run.output, targets), targets.weight, gradients)

    def evaluate(self, batch: Pairs) -> Score:
        """Return mean loss and accuracy of a batch, with teacher forcing, without dropout."""
        targets = batch.targets
        logits = self.network(batch.x, batch.lengths, targets.tokens, targets.lengths)
        loss = self._writer.loss(logits, targets)
        return Score(loss.value, accuracy(logits, targets), targets.weight)

    def attention_weights(self, batch: Pairs) -> FloatArray:
        """Return the weights of the sources' steps at every target, (B, S, T)."""
        memory = self.network.read(batch.x, batch.lengths)
        return self.network.attention_weights(memory, batch.targets.tokens, batch.targets.lengths)

    @property
    def _writer(self) -> Writer:
        return Writer(self.network.decoder, label_smoothing=self.label_smoothing)

    def _forced(self, targets: TokenBatch) -> NDArray[np.bool_] | None:
        """(B, S): which tokens go in as they are; None for all."""
        if not self.sampling:
            return None
        random = self.network.decoder.output._random
        forced: NDArray[np.bool_] = random.random(targets.tokens.shape) >= self.sampling
        return forced
