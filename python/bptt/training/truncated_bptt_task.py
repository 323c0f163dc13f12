"""Long sequences, a window of steps at a time: truncated BPTT for estimators that write."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bptt._core.checks import FloatArray
from bptt.losses import Loss
from bptt.nn.module import Module
from bptt.nn.sequential import Sequential
from bptt.nn.state import State
from bptt.training.loop import Score, Step
from bptt.training.teacher_forcing import TokenBatch, TokenData, Writer, accuracy
from bptt.training.truncated_backpropagation import Window, truncated_bptt


class StreamBatch(NamedTuple):
    """Some steps of sequences side by side."""

    whole: TokenBatch
    steps: slice


class StreamData:
    """Sequences side by side, cut into windows of k1 steps that come one after the other."""

    def __init__(self, data: TokenData, k1: int) -> None:
        self._whole = data.batch(np.arange(len(data.lengths)))
        self._k1 = k1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Number of steps of each window: all the same, so that they stay in their order."""
        count = -(-self._whole.tokens.shape[1] // self._k1)
        return np.full(count, self._k1, np.int64)

    def order(self) -> list[NDArray[np.int64]]:
        """The windows, one a minibatch."""
        return list(np.arange(len(self.lengths))[:, np.newaxis])

    def batch(self, indices: NDArray[np.int64]) -> StreamBatch:
        """Return windows that follow each other."""
        first, last = int(indices[0]) * self._k1, (int(indices[-1]) + 1) * self._k1
        return StreamBatch(self._whole, slice(first, min(last, self._whole.tokens.shape[1])))


class StreamWriter:
    """A writer that learns from windows in their order, with the state carried on between them."""

    def __init__(self, writer: Writer, k1: int, k2: int) -> None:
        self._writer = writer
        self._k1, self._k2 = k1, k2
        self._windows: Iterator[Window] = iter(())
        self._state: State | None = None  # in evaluation

    @property
    def modules(self) -> Mapping[str, Module]:
        """Name -> module."""
        return self._writer.modules

    def gradients(self, batch: StreamBatch) -> Step:
        """Return the mean loss of the window that comes next, and its gradients."""
        whole, steps = batch

        def loss_of(logits: FloatArray, steps: slice) -> Loss:
            return self._writer.loss(logits, whole.part(steps))

        if steps.start == 0:
            model = Sequential(*self.modules.values())
            self._windows = truncated_bptt(
                model, whole.tokens, loss_of, self._k1, self._k2, lengths=whole.lengths
            )
        window = next(self._windows)
        part = whole.part(steps)
        return Step(window.loss, accuracy(window.output, part), part.weight, window.gradients)

    def evaluate(self, batch: StreamBatch) -> Score:
        """Return mean loss and accuracy of the steps that come next, without dropout."""
        part = batch.whole.part(batch.steps)
        state = self._state if batch.steps.start else None
        logits, self._state = self._writer.decoder(part.tokens, lengths=part.lengths, state=state)
        return Score(self._writer.loss(logits, part).value, accuracy(logits, part), part.weight)
