"""Teacher forcing: a decoder is trained to predict every token, given the true tokens before it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt._core.checks import FloatArray
from bptt._core.lengths import Ids
from bptt.data.sequences import Sequences
from bptt.losses import Loss, softmax_cross_entropy
from bptt.nn.decoder import Decoder, teacher_forcing
from bptt.nn.embedding import Embedding
from bptt.nn.linear import Linear
from bptt.nn.module import Gradients, Module
from bptt.nn.state import State, arrays_of, as_state
from bptt.training.protocols import Evaluation, TrainingStep

_MAX_ID = 2**31 - 2
_TOKEN_ARRAYS = (("tokens", "iu", 2), ("targets", "iu", 2), ("lengths", "iu", 1))
_SURPRISAL_STEPS = 1000  # steps whose features are in memory at a time


@dataclass(frozen=True)
class TokenBatch:
    """A minibatch of token sequences, padded to the longest."""

    condition: NDArray[Any] | None
    """Features (B, I) or ids (B,) on which the sequences depend."""
    tokens: NDArray[np.int32]
    """Inputs of the decoder, (B, S), the start token first."""
    targets: NDArray[np.int32]
    """Targets (B, S), the stop token last."""
    lengths: NDArray[np.int64]
    """Number of steps of each sequence, (B,)."""
    weights: NDArray[np.float64] | None
    """Sample weights (B,)."""

    def __post_init__(self) -> None:
        if self.condition is not None:
            checks.array_of("condition", self.condition, "iuf", 1, 2)
        for name, kinds, dimensions in _TOKEN_ARRAYS:
            checks.array_of(name, getattr(self, name), kinds, dimensions)
        checks.same_shape("targets", self.targets, "tokens", self.tokens.shape)
        checks.same_shape("lengths", self.lengths, "the batch", (len(self.tokens),))
        if self.weights is not None:
            checks.array_of("weights", self.weights, "f", 1)
            checks.same_shape("weights", self.weights, "lengths", self.lengths.shape)

    @property
    def weight(self) -> float:
        """Number of targets, or the sum of their weights."""
        lengths = self.lengths
        return float(lengths.sum() if self.weights is None else lengths @ self.weights)

    def window(self, steps: slice) -> TokenBatch:
        """Return a window of steps; a sequence that ends before it has length 0.

        Parameters
        ----------
        steps : slice
            Steps of the window.

        Returns
        -------
        TokenBatch

        Raises
        ------
        TypeError, ValueError
            If `steps` is no slice of step 1 with a start >= 0.
        """
        checks.instance("steps", steps, slice)
        if steps.step not in (None, 1) or checks.integer("steps.start", steps.start, 0) < 0:
            raise ValueError(f"steps must have a step of 1, got {steps}")
        tokens, targets = self.tokens[:, steps], self.targets[:, steps]
        lengths = np.clip(self.lengths - steps.start, 0, tokens.shape[1])
        return TokenBatch(self.condition, tokens, targets, lengths, self.weights)


@dataclass(frozen=True)
class TokenDataset:
    """Token sequences, optionally each with a condition on which it depends."""

    sequences: Sequences
    """The N sequences of ids, without start and stop tokens."""
    start: int
    """Id of the start token."""
    stop: int
    """Id of the stop token."""
    condition: NDArray[Any] | None = None
    """Features (N, I) or ids (N,)."""
    weights: NDArray[np.float64] | None = None
    """Sample weights (N,)."""

    def __post_init__(self) -> None:
        checks.instance("sequences", self.sequences, Sequences)
        for name in ("start", "stop"):
            value = checks.integer(name, getattr(self, name), 0)
            if value > _MAX_ID:
                got = checks.shown(value)
                raise ValueError(f"{name} must be an id <= {_MAX_ID}, got {got}")
            object.__setattr__(self, name, value)  # an object may be another integer next time
        rows = (len(self.sequences),)
        if self.condition is not None:
            checks.array_of("condition", self.condition, "iuf", 1, 2)
            if len(self.condition) != len(self.sequences):
                rule = f"condition must have {len(self.sequences)} rows, one for each sequence"
                raise ValueError(f"{rule}, got {len(self.condition)}")
        if self.weights is not None:
            checks.array_of("weights", self.weights, "f", 1)
            checks.same_shape("weights", self.weights, "sequences", rows)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Number of steps of each sequence, (N,), including the stop token."""
        return self.sequences.lengths + 1

    def batch(self, indices: NDArray[np.int64]) -> TokenBatch:
        """Return these sequences as a padded minibatch.

        Parameters
        ----------
        indices : integer array (B,)
            Indices of sequences.

        Returns
        -------
        TokenBatch
        """
        indices = checks.indices("indices", indices, len(self.sequences))
        forced = teacher_forcing(*self.sequences.pad(indices), self.start, self.stop)
        return TokenBatch(self._condition(indices), *forced, self._weights(indices))

    def take(self, indices: NDArray[np.int64]) -> TokenDataset:
        """Return the dataset of these sequences.

        Parameters
        ----------
        indices : integer array (B,)
            Indices of sequences.

        Returns
        -------
        TokenDataset
        """
        indices = checks.indices("indices", indices, len(self.sequences))
        sequences = self.sequences.take(indices)
        condition, weights = self._condition(indices), self._weights(indices)
        return TokenDataset(sequences, self.start, self.stop, condition, weights)

    def _condition(self, indices: NDArray[np.int64]) -> NDArray[Any] | None:
        return None if self.condition is None else self.condition[indices]

    def _weights(self, indices: NDArray[np.int64]) -> NDArray[np.float64] | None:
        return None if self.weights is None else self.weights[indices]


@dataclass(frozen=True)
class DecoderTask:
    """Decoder trained with teacher forcing, optionally conditioned on a vector or a label.

    The condition, through `condition`, is the initial hidden state of every layer; the cell state
    of an LSTM is initially zero.
    """

    decoder: Decoder
    """The network."""
    condition: Linear | Embedding | None = None
    """Features (B, I) or ids (B,) -> initial hidden state (B, H)."""
    label_smoothing: float = 0.0
    """Probability mass of the targets that is spread over all tokens, in [0, 1)."""
    recompute_every: int | None = None
    """Interval of stored states; see `RNN.forward`."""
    num_sampled: int | None = None
    """Number of tokens in the softmax of training; see `DecoderRun.cross_entropy`."""

    def __post_init__(self) -> None:
        checks.instance("decoder", self.decoder, Decoder)
        if self.condition is not None:
            checks.instance("condition", self.condition, Linear, Embedding)
        checks.fraction("label_smoothing", self.label_smoothing)
        if self.num_sampled is not None:
            checks.integer("num_sampled", self.num_sampled)

    @property
    def modules(self) -> Mapping[str, Module]:
        """Name -> module."""
        first = {} if self.condition is None else {"condition": self.condition}
        return {**first, **self.decoder.modules}

    def training_step(self, batch: TokenBatch) -> TrainingStep:
        """Return mean loss, accuracy and gradients of a minibatch.

        Parameters
        ----------
        batch : TokenBatch
            Minibatch.

        Returns
        -------
        TrainingStep

        Raises
        ------
        TypeError
            If `batch` is none.
        """
        checks.instance("batch", batch, TokenBatch)
        projected: Any = None
        if self.condition is not None:
            projected = self.condition.forward(batch.condition)  # type: ignore[arg-type]
        run = self.decoder.forward(
            batch.tokens,
            lengths=batch.lengths,
            state=None if projected is None else self._as_state(projected.output),
            recompute_every=self.recompute_every,
        )
        options = {**self.loss_options(batch), "num_sampled": self.num_sampled}
        loss = run.cross_entropy(batch.targets, **options)
        d = run.backward(loss)
        gradients: list[Gradients] = d.modules
        if projected is not None:
            d_h = arrays_of(d.state)[0]
            gradients = [projected.backward(d_h.sum(axis=0)), *gradients]
        accuracy = token_accuracy(loss.predicted, batch)
        return TrainingStep(loss.value, accuracy, batch.weight, gradients)

    def evaluate(self, batch: TokenBatch) -> Evaluation:
        """Return mean loss and accuracy of a minibatch, without dropout.

        Parameters
        ----------
        batch : TokenBatch
            Minibatch.

        Returns
        -------
        Evaluation

        Raises
        ------
        TypeError
            If `batch` is none.
        """
        checks.instance("batch", batch, TokenBatch)
        state = self.initial_state(batch.condition)
        features, _ = self.decoder.features(batch.tokens, lengths=batch.lengths, state=state)
        return self.evaluate_features(features, batch)

    def evaluate_features(self, features: FloatArray, batch: TokenBatch) -> Evaluation:
        """Return mean loss and accuracy, given the input of the output layer.

        Parameters
        ----------
        features : array (B, S, D)
            Input of the output layer.
        batch : TokenBatch
            Minibatch.

        Returns
        -------
        Evaluation

        Raises
        ------
        TypeError
            If `batch` is none.
        """
        checks.instance("batch", batch, TokenBatch)
        loss = self.decoder.output.cross_entropy(
            features,
            batch.targets,
            lengths=batch.lengths,
            gradients=False,
            **self.loss_options(batch),
        )
        return Evaluation(loss.value, token_accuracy(loss.predicted, batch), batch.weight)

    def last_logits(self, batch: TokenBatch) -> FloatArray:
        """Return the logits of the last target of each sequence.

        Parameters
        ----------
        batch : TokenBatch
            Minibatch.

        Returns
        -------
        array (B, V)
            Logits.

        Raises
        ------
        TypeError
            If `batch` is none.
        """
        checks.instance("batch", batch, TokenBatch)
        state = self.initial_state(batch.condition)
        features, _ = self.decoder.features(batch.tokens, lengths=batch.lengths, state=state)
        last = features[np.arange(len(features)), batch.lengths - 1]
        return self.decoder.output(last)

    def surprisal(self, batch: TokenBatch) -> NDArray[np.float64]:
        """Return -log2 of the probability of every target, (B, S); 0 in the padding.

        The memory for features is bounded by a fixed number of steps.

        Parameters
        ----------
        batch : TokenBatch
            Minibatch.

        Returns
        -------
        float64 array (B, S)
            Bits.

        Raises
        ------
        TypeError
            If `batch` is none.
        """
        checks.instance("batch", batch, TokenBatch)
        state = self.initial_state(batch.condition)
        bits: NDArray[np.float64] = np.empty(batch.tokens.shape)
        for first in range(0, bits.shape[1], _SURPRISAL_STEPS):
            steps = slice(first, first + _SURPRISAL_STEPS)
            window = batch.window(steps)
            features, state = self.decoder.features(
                window.tokens, lengths=window.lengths, state=state
            )
            bits[:, steps] = self.decoder.output.cross_entropy(
                features, window.targets, lengths=window.lengths, gradients=False
            ).losses
        return bits / math.log(2.0)

    def initial_state(self, condition: NDArray[Any] | None) -> State | None:
        """Return the initial state of the decoder for these conditions; None for zeros.

        Parameters
        ----------
        condition : float array (B, I), or integer array (B,), or None
            Features or ids.

        Returns
        -------
        array, LSTMState or SLSTMState, (num_layers, B, H), or None
            Initial state; None for zeros.
        """
        if self.condition is None or condition is None:
            return None
        return self._as_state(self.condition(condition))

    def _as_state(self, h: FloatArray) -> State:
        """Return the state in which every layer has the hidden state `h`, (B, H)."""
        recurrent = self.decoder.recurrent
        layers = np.repeat(h[np.newaxis], recurrent.num_layers, axis=0)
        return as_state(layers, *(np.zeros_like(layers) for _ in recurrent.cell.states[1:]))

    def loss(self, logits: FloatArray, batch: TokenBatch) -> Loss:
        """Return the cross-entropy, its mean over all targets of the minibatch.

        Parameters
        ----------
        logits : array (B, S, V)
            Logits of the targets.
        batch : TokenBatch
            Minibatch.

        Returns
        -------
        Loss
            Value and gradient.

        Raises
        ------
        TypeError
            If `batch` is none.
        """
        checks.instance("batch", batch, TokenBatch)
        return softmax_cross_entropy(
            logits, batch.targets, lengths=batch.lengths, **self.loss_options(batch)
        )

    def loss_options(self, batch: TokenBatch) -> dict[str, Any]:
        """Return the options of the cross-entropy: weights, label smoothing and reduction.

        Parameters
        ----------
        batch : TokenBatch
            Minibatch.

        Returns
        -------
        dict

        Raises
        ------
        TypeError
            If `batch` is none.
        """
        checks.instance("batch", batch, TokenBatch)
        smoothing = self.label_smoothing
        return {"weights": batch.weights, "label_smoothing": smoothing, "reduction": "mean"}


def token_accuracy(predicted: Ids, batch: TokenBatch) -> float:
    """Return the fraction of targets that are predicted."""
    exists = np.arange(batch.tokens.shape[1]) < batch.lengths[:, np.newaxis]
    right = (predicted == batch.targets) & exists
    if batch.weights is None:
        total = float(np.count_nonzero(right))
    else:
        total = float(right.sum(axis=1) @ batch.weights)
    return total / max(batch.weight, 1e-300)
