"""Label feedback: the label of the previous step is part of the input (teacher forcing)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt._core.checks import FloatArray
from bptt.nn.embedding import Embedding
from bptt.nn.linear import Linear
from bptt.nn.module import Module
from bptt.nn.sequential import Sequential
from bptt.training.protocols import Evaluation, TrainingStep
from bptt.training.supervised import (
    BatchLoss,
    BatchMetric,
    BatchWeight,
    ClassTargets,
    SequenceBatch,
    check_functions,
    loss_and_metric,
    measured,
    named_modules,
)


@dataclass(frozen=True)
class LabelFeedbackTask:
    """Chain with the input [x_t, one-hot y_{t-1}] and the output y_t; tokens x_t are embedded.

    y_0, before the first step, is the zero vector. In training y_{t-1} is the true label (teacher
    forcing), in prediction the most likely one.
    """

    embedding: Embedding | None
    """Embedding of tokens; None for features."""
    chain: Sequential
    """[x_t, y_{t-1}] -> logits of y_t."""
    loss_fn: BatchLoss
    """Logits and minibatch -> mean loss and its gradient."""
    metric_fn: BatchMetric
    """Logits and minibatch -> mean metric."""
    weight_fn: BatchWeight
    """Minibatch -> total weight of its targets."""
    recompute_every: int | None = None
    """Interval of stored states; see `RNN.forward`."""
    class_targets: ClassTargets | None = None
    """The same loss and metric without logits, if that is possible: less time and memory."""

    def __post_init__(self) -> None:
        if self.embedding is not None:
            checks.instance("embedding", self.embedding, Embedding)
        checks.instance("chain", self.chain, Sequential)
        checks.instance("the last module of chain", self.chain.modules[-1], Linear)
        check_functions(self)

    @property
    def modules(self) -> Mapping[str, Module]:
        """Name -> module, in the order of the chain."""
        first = () if self.embedding is None else (self.embedding,)
        return named_modules((*first, *self.chain.modules))

    @property
    def num_labels(self) -> int:
        """Number of labels, K."""
        return int(self.chain.modules[-1].out_features)  # type: ignore[attr-defined]

    def training_step(self, batch: SequenceBatch) -> TrainingStep:
        """Return mean loss, metric and gradients of a minibatch, with teacher forcing.

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
        embedded = None if self.embedding is None else self.embedding.forward(batch.x)
        x = batch.x if embedded is None else embedded.output
        run = self.chain.forward(
            self.append_labels(x, batch.y),
            lengths=batch.lengths,
            recompute_every=self.recompute_every,
        )
        loss, found = loss_and_metric(run, batch, self.loss_fn, self.metric_fn, self.class_targets)
        d = run.backward(loss, input=embedded is not None)
        gradients = list(d.modules)
        if embedded is not None:
            assert d.input is not None
            gradients.insert(0, embedded.backward(d.input[..., : x.shape[-1]]))
        metric, metric_weight = measured(found)
        return TrainingStep(loss.value, metric, self.weight_fn(batch), gradients, metric_weight)

    def evaluate(self, batch: SequenceBatch) -> Evaluation:
        """Return the mean loss with teacher forcing, and the metric of the predicted labels.

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
        x = self.embed(batch.x)
        forced, _ = self.chain(self.append_labels(x, batch.y), lengths=batch.lengths)
        loss = self.loss_fn(forced, batch).value
        predicted = self.predict(batch.x, batch.lengths)
        metric, metric_weight = measured(self.metric_fn(predicted, batch))
        return Evaluation(loss, metric, self.weight_fn(batch), metric_weight)

    def predict(self, x: NDArray[Any], lengths: NDArray[np.int64]) -> FloatArray:
        """Return the logits of every step, (B, T, K), each given the most likely labels before.

        Parameters
        ----------
        x : integer array (B, T), or array (B, T, I)
            Padded ids or features.
        lengths : int64 array (B,)
            Number of steps of each sequence.

        Returns
        -------
        array (B, T, K)
            Logits.
        """
        x = self.embed(x)
        batch, steps, size = x.shape
        logits = np.empty((batch, steps, self.num_labels), x.dtype)
        z_t = np.zeros((batch, size + self.num_labels), x.dtype)
        rows, state = np.arange(batch), None
        for t in range(steps):
            z_t[:, :size] = x[:, t]
            logits[:, t], state = self.chain.step(z_t, state)
            z_t[:, size:] = 0
            z_t[rows, size + logits[:, t].argmax(axis=1)] = 1
        return logits

    def embed(self, x: NDArray[Any]) -> FloatArray:
        """Return the features (B, T, I) of the input, embedded if it is ids (B, T).

        Parameters
        ----------
        x : integer array (B, T), or array (B, T, I)
            Padded ids or features.

        Returns
        -------
        array (B, T, I)
            Features.

        Raises
        ------
        TypeError, ValueError
            If the input has the wrong type or shape.
        """
        if self.embedding is not None:
            return self.embedding(x)
        return checks.array_of("x", x, "f", 3)

    def append_labels(self, x: FloatArray, y: NDArray[Any]) -> FloatArray:
        """Append the one-hot label of the previous step to features: (B, T, I + K).

        Parameters
        ----------
        x : array (B, T, I)
            Features.
        y : integer array (B, T)
            Ids of labels; the negative ones of steps without a label give the zero vector.

        Returns
        -------
        array (B, T, I + K)
            Input of the chain.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or shape, or there is no such label.
        """
        checks.array_of("x", x, "f", 3)
        checks.array_of("y", y, "iu", 2)
        batch, steps, size = x.shape
        checks.same_shape("y", y, "x without features", (batch, steps))
        if (y >= self.num_labels).any():
            got = y.max(initial=0)
            raise ValueError(f"y must be < the number of labels, {self.num_labels}, got {got}")
        z = np.zeros((batch, steps, size + self.num_labels), x.dtype)
        z[..., :size] = x
        if steps > 1:
            rows, times = np.nonzero(y[:, :-1] >= 0)
            z[rows, times + 1, size + y[rows, times]] = 1
        return z
