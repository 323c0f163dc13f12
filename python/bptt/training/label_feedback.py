"""A chain of modules that also sees the label of the step before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt._core.checks import FloatArray
from bptt.nn.embedding import Embedding
from bptt.nn.module import Module
from bptt.nn.sequential import Sequential
from bptt.training.loop import Score, Step
from bptt.training.supervised import Batch, LossOf, MetricOf, WeightOf, named


@dataclass(frozen=True)
class Feedback:
    """[x_t, one-hot y_{t-1}] -> chain -> y_t, where x_t is embedded if it is a token.

    y_0, before the first step, is 0 everywhere.
    """

    embedding: Embedding | None
    chain: Sequential
    loss_of: LossOf
    metric_of: MetricOf
    weight_of: WeightOf
    recompute_every: int | None = None

    @property
    def modules(self) -> Mapping[str, Module]:
        """Name -> module, in the order of the chain."""
        first = () if self.embedding is None else (self.embedding,)
        return named((*first, *self.chain.modules))

    @property
    def labels(self) -> int:
        """K, the number of labels."""
        return int(self.chain.modules[-1].out_features)  # type: ignore[attr-defined]

    def gradients(self, batch: Batch) -> Step:
        """Return the mean loss of a batch and its gradients, with teacher forcing."""
        embedded = None if self.embedding is None else self.embedding.forward(batch.x)
        x = batch.x if embedded is None else embedded.output
        run = self.chain.forward(
            self._with_labels(x, batch.y),
            lengths=batch.lengths,
            recompute_every=self.recompute_every,
        )
        loss = self.loss_of(run.output, batch)
        d = run.backward(loss.gradient)
        gradients = list(d.modules)
        if embedded is not None:
            assert d.input is not None
            gradients.insert(0, embedded.backward(d.input[..., : x.shape[-1]]))
        return Step(loss.value, self.metric_of(run.output, batch), self.weight_of(batch), gradients)

    def evaluate(self, batch: Batch) -> Score:
        """Return mean loss, with teacher forcing, and metric of a batch, as it predicts."""
        x = self._input(batch.x)
        forced, _ = self.chain(self._with_labels(x, batch.y), lengths=batch.lengths)
        return Score(
            self.loss_of(forced, batch).value,
            self.metric_of(self.predict(batch.x, batch.lengths), batch),
            self.weight_of(batch),
        )

    def predict(self, x: NDArray[Any], lengths: NDArray[np.int64]) -> FloatArray:
        """Return the logits of every step, (B, T, K), each given the likeliest label before."""
        x = self._input(x)
        batch, steps, size = x.shape
        logits = np.empty((batch, steps, self.labels), x.dtype)
        z_t = np.zeros((batch, size + self.labels), x.dtype)
        rows, state = np.arange(batch), None
        for t in range(steps):
            z_t[:, :size] = x[:, t]
            logits[:, t], state = self.chain.step(z_t, state)
            z_t[:, size:] = 0
            z_t[rows, size + logits[:, t].argmax(axis=1)] = 1
        return logits

    def _input(self, x: NDArray[Any]) -> FloatArray:
        return x if self.embedding is None else self.embedding(x)

    def _with_labels(self, x: FloatArray, y: NDArray[Any]) -> FloatArray:
        """(B, T, I + K): every step's input and the label before."""
        batch, steps, size = x.shape
        z = np.zeros((batch, steps, size + self.labels), x.dtype)
        z[..., :size] = x
        if steps > 1:
            rows, times = np.ogrid[:batch, 1:steps]
            z[rows, times, size + y[:, :-1]] = 1
        return z
