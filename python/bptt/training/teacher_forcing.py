"""Sequences of tokens, and how a decoder is trained to generate them: teacher forcing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt._core.checks import FloatArray
from bptt.data.sequences import Sequences
from bptt.losses import Loss, softmax_cross_entropy
from bptt.nn.decoder import Decoder, teacher_forcing
from bptt.nn.embedding import Embedding
from bptt.nn.linear import Linear
from bptt.nn.module import Gradients, Module
from bptt.nn.recurrent import LSTM
from bptt.nn.state import LSTMState, State
from bptt.training.loop import Score, Step
from bptt.training.supervised import split_indices

_JUDGED_TOGETHER = 1000  # steps


@dataclass(frozen=True)
class TokenBatch:
    """Some sequences to write, padded to the longest of them."""

    condition: NDArray[Any] | None  # (B, features) or ids (B,)
    tokens: NDArray[np.int32]  # (B, S), what goes in
    targets: NDArray[np.int32]  # (B, S), what is to come out
    lengths: NDArray[np.int64]  # (B,)
    weights: NDArray[np.float64] | None  # (B,)

    @property
    def weight(self) -> float:
        """Number of all targets, or the sum of their weights."""
        lengths = self.lengths
        return float(lengths.sum() if self.weights is None else lengths @ self.weights)

    def part(self, steps: slice) -> TokenBatch:
        """Return some of the steps; a sequence that has ended before has length 0."""
        tokens, targets = self.tokens[:, steps], self.targets[:, steps]
        lengths = np.clip(self.lengths - steps.start, 0, tokens.shape[1])
        return TokenBatch(self.condition, tokens, targets, lengths, self.weights)


@dataclass(frozen=True)
class TokenData:
    """Sequences to write, each perhaps with a condition: what it depends on."""

    sequences: Sequences
    start: int
    stop: int
    condition: NDArray[Any] | None = None
    weights: NDArray[np.float64] | None = None

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Number of steps of each sequence, with the stop token's."""
        return self.sequences.lengths + 1

    def batch(self, indices: NDArray[np.int64]) -> TokenBatch:
        """Return some of the sequences, padded."""
        forced = teacher_forcing(*self.sequences.pad(indices), self.start, self.stop)
        return TokenBatch(self._condition(indices), *forced, self._weights(indices))

    def take(self, indices: NDArray[np.int64]) -> TokenData:
        """The same for some of the sequences."""
        sequences = self.sequences.take(indices)
        condition, weights = self._condition(indices), self._weights(indices)
        return TokenData(sequences, self.start, self.stop, condition, weights)

    def split(self, fraction: float, random: np.random.Generator) -> tuple[TokenData, TokenData]:
        """All but a fraction, and this fraction, at random."""
        kept, held_out = split_indices(len(self.sequences), fraction, random)
        return self.take(kept), self.take(held_out)

    def _condition(self, indices: NDArray[np.int64]) -> NDArray[Any] | None:
        return None if self.condition is None else self.condition[indices]

    def _weights(self, indices: NDArray[np.int64]) -> NDArray[np.float64] | None:
        return None if self.weights is None else self.weights[indices]


@dataclass(frozen=True)
class Writer:
    """A decoder that learns to write sequences, given those before (teacher forcing).

    With a condition, its vector is the initial hidden state of every layer; an LSTM's cell state
    is 0 at first.
    """

    decoder: Decoder
    condition: Linear | Embedding | None = None
    label_smoothing: float = 0.0
    recompute_every: int | None = None

    @property
    def modules(self) -> Mapping[str, Module]:
        """Name -> module."""
        first = {} if self.condition is None else {"condition": self.condition}
        return {**first, **self.decoder.modules}

    def gradients(self, batch: TokenBatch) -> Step:
        """Return the mean loss of a batch and its gradients."""
        begin: Any = None if self.condition is None else self.condition.forward(batch.condition)  # type: ignore[arg-type]
        state = None if begin is None else self._as_state(begin.output)
        run = self.decoder.forward(
            batch.tokens,
            lengths=batch.lengths,
            state=state,
            recompute_every=self.recompute_every,
        )
        loss = self.loss(run.output, batch)
        d = run.backward(loss.gradient)
        gradients: list[Gradients] = d.modules
        if begin is not None:
            d_h = d.state.h if isinstance(d.state, LSTMState) else d.state
            gradients = [begin.backward(d_h.sum(axis=0)), *gradients]
        return Step(loss.value, accuracy(run.output, batch), batch.weight, gradients)

    def evaluate(self, batch: TokenBatch) -> Score:
        """Return mean loss and accuracy of a batch, without dropout."""
        logits = self.logits(batch)
        loss = self.loss(logits, batch)
        return Score(loss.value, accuracy(logits, batch), batch.weight)

    def logits(self, batch: TokenBatch) -> FloatArray:
        """Return the logits of all targets, (B, S, V)."""
        state = self.begin(batch.condition)
        return self.decoder(batch.tokens, lengths=batch.lengths, state=state)[0]

    def surprisal(self, batch: TokenBatch) -> NDArray[np.float64]:
        """Return the bits of all targets, (B, S), in the memory of some steps."""
        state = self.begin(batch.condition)
        bits: NDArray[np.float64] = np.empty(batch.tokens.shape)
        for first in range(0, bits.shape[1], _JUDGED_TOGETHER):
            steps = slice(first, first + _JUDGED_TOGETHER)
            part = batch.part(steps)
            logits, state = self.decoder(part.tokens, lengths=part.lengths, state=state)
            logits -= logits.max(axis=2, keepdims=True)
            right = np.take_along_axis(logits, part.targets[..., np.newaxis], axis=2)[..., 0]
            bits[:, steps] = np.log(np.exp(logits).sum(axis=2)) - right
        return bits / math.log(2.0)

    def begin(self, condition: NDArray[Any] | None) -> State | None:
        """Return the initial state."""
        if self.condition is None or condition is None:
            return None
        return self._as_state(self.condition(condition))

    def _as_state(self, vector: FloatArray) -> State:
        recurrent = self.decoder.recurrent
        h = np.repeat(vector[np.newaxis], recurrent.num_layers, axis=0)
        return LSTMState(h, np.zeros_like(h)) if isinstance(recurrent, LSTM) else h

    def loss(self, logits: FloatArray, batch: TokenBatch) -> Loss:
        """Return the mean over all targets of a batch."""
        return softmax_cross_entropy(
            logits,
            batch.targets,
            lengths=batch.lengths,
            weights=batch.weights,
            label_smoothing=self.label_smoothing,
            reduction="mean",
        )


def accuracy(logits: FloatArray, batch: TokenBatch) -> float:
    """The share of tokens that are the likeliest."""
    alive = np.arange(batch.tokens.shape[1]) < batch.lengths[:, np.newaxis]
    right = ((logits.argmax(axis=2) == batch.targets) & alive).sum(axis=1)
    total = float(right.sum() if batch.weights is None else right @ batch.weights)
    return total / max(batch.weight, 1e-300)
