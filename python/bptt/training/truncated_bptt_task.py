"""Truncated BPTT of a decoder: long token sequences, one window of steps per update."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt.nn.module import Module
from bptt.nn.sequential import Sequential
from bptt.nn.state import State
from bptt.training.protocols import Evaluation, TrainingStep
from bptt.training.teacher_forcing import DecoderTask, TokenBatch, TokenDataset, token_accuracy
from bptt.training.truncated_bptt import Parts, Window, WindowLoss, windows


class WindowBatch(NamedTuple):
    """A window of steps of all sequences."""

    sequences: TokenBatch
    """All steps of the sequences."""
    steps: slice
    """The steps of the window."""


class WindowDataset:
    """Token sequences side by side, cut into consecutive windows of `k1` steps.

    Parameters
    ----------
    data : TokenDataset
        The sequences.
    k1 : int
        Number of steps of a window.
    """

    def __init__(self, data: TokenDataset, k1: int) -> None:
        checks.instance("data", data, TokenDataset)
        k1 = checks.integer("k1", k1)
        self._sequences = data.batch(np.arange(len(data.lengths)))
        self._k1 = k1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Number of steps of each window; all equal, so that sorting by length keeps the order."""
        count = -(-self._sequences.tokens.shape[1] // self._k1)
        return np.full(count, self._k1, np.int64)

    def part(self, rank: int, size: int) -> WindowDataset | None:
        """Return the windows of every size-th sequence, from number `rank` on; None without any.

        Parameters
        ----------
        rank : int
            Number of the first sequence, in [0, size).
        size : int
            Number of parts.

        Returns
        -------
        WindowDataset or None
            As many windows; sequences that end before a window have no targets in it.

        Raises
        ------
        TypeError, ValueError
            If an argument is not an integer, or out of range.
        """
        rank, size = checks.integer("rank", rank, 0), checks.integer("size", size)
        if rank >= size:
            raise ValueError(f"rank must be < size = {size}, got {rank}")
        whole = self._sequences
        if rank >= len(whole.lengths):
            return None
        condition, weights = whole.condition, whole.weights
        found = copy.copy(self)
        found._sequences = TokenBatch(
            None if condition is None else condition[rank::size],
            whole.tokens[rank::size],
            whole.targets[rank::size],
            whole.lengths[rank::size],
            None if weights is None else weights[rank::size],
        )
        return found

    def batches(self) -> list[NDArray[np.int64]]:
        """Return the windows in order, one per minibatch.

        Returns
        -------
        list of integer arrays
        """
        return list(np.arange(len(self.lengths))[:, np.newaxis])

    def batch(self, indices: NDArray[np.int64]) -> WindowBatch:
        """Return consecutive windows as one.

        Parameters
        ----------
        indices : integer array
            Indices of consecutive windows.

        Returns
        -------
        WindowBatch

        Raises
        ------
        TypeError, ValueError
            If an index is not an integer, or there is no such window.
        """
        indices = checks.indices("indices", indices, len(self.lengths))
        if not len(indices):
            raise ValueError("indices must have at least one window, got none")
        first, last = int(indices[0]) * self._k1, (int(indices[-1]) + 1) * self._k1
        end = min(last, self._sequences.tokens.shape[1])
        return WindowBatch(self._sequences, slice(first, end))


class TruncatedBPTTTask:
    """Decoder trained on consecutive windows; the state is carried from one to the next.

    Parameters
    ----------
    task : DecoderTask
        The decoder, without a condition.
    k1 : int
        Number of new steps of a window.
    k2 : int
        Number of steps through which their loss is backpropagated, >= k1.
    """

    def __init__(self, task: DecoderTask, k1: int, k2: int) -> None:
        checks.instance("task", task, DecoderTask)
        k1, k2 = checks.integer("k1", k1), checks.integer("k2", k2)
        if k2 < k1:
            raise ValueError(
                f"k2 must be an integer >= k1 = {checks.shown(k1)}, got {checks.shown(k2)}"
            )
        self.decoder_task = task
        self.k1, self.k2 = k1, k2
        self._windows: Iterator[Window] = iter(())
        self._evaluation_state: State | None = None

    @property
    def modules(self) -> Mapping[str, Module]:
        """Name -> module."""
        return self.decoder_task.modules

    def training_step(self, batch: WindowBatch) -> TrainingStep:
        """Return mean loss, accuracy and gradients of the next window.

        Parameters
        ----------
        batch : WindowBatch
            The window after that of the last call, or the first.

        Returns
        -------
        TrainingStep

        Raises
        ------
        TypeError
            If `batch` is none.
        """
        checks.instance("batch", batch, WindowBatch)
        checks.instance("batch.sequences", batch.sequences, TokenBatch)
        checks.instance("batch.steps", batch.steps, slice)
        sequences, steps = batch

        def loss_fn(parts: Parts, steps: slice) -> WindowLoss:
            return self._loss(parts, sequences, steps)

        if steps.start == 0:
            model = Sequential(*self.modules.values())
            self._windows = windows(
                model,
                sequences.tokens,
                loss_fn,
                self.k1,
                self.k2,
                lengths=sequences.lengths,
                restart=True,  # else an overflow leaves out all later updates of the epoch
            )
        window = next(self._windows)
        targets = sequences.window(steps)
        accuracy = token_accuracy(window.output, targets)
        return TrainingStep(window.loss, accuracy, targets.weight, window.gradients)

    def _loss(self, parts: Parts, sequences: TokenBatch, steps: slice) -> WindowLoss:
        """Return mean loss and predicted tokens of new steps, which are in several runs."""
        options = self.decoder_task.loss_options(sequences)
        weights, total = options.pop("weights"), sequences.window(steps).weight
        shares = np.ones(len(sequences.lengths)) if weights is None else weights
        options |= {"weights": shares / max(total, 1e-300), "reduction": "sum"}
        options["num_sampled"] = self.decoder_task.num_sampled
        losses = [run.cross_entropy(sequences.targets[:, part], **options) for part, run in parts]
        predicted = np.concatenate([loss.predicted for loss in losses], axis=1)
        return WindowLoss(math.fsum(loss.value for loss in losses), predicted, losses)

    def evaluate(self, batch: WindowBatch) -> Evaluation:
        """Return mean loss and accuracy of the next window, without dropout.

        Parameters
        ----------
        batch : WindowBatch
            The window after that of the last call, or the first.

        Returns
        -------
        Evaluation

        Raises
        ------
        TypeError
            If `batch` is none.
        """
        checks.instance("batch", batch, WindowBatch)
        checks.instance("batch.sequences", batch.sequences, TokenBatch)
        checks.instance("batch.steps", batch.steps, slice)
        task, window = self.decoder_task, batch.sequences.window(batch.steps)
        state = self._evaluation_state if batch.steps.start else None
        features, self._evaluation_state = task.decoder.features(
            window.tokens, lengths=window.lengths, state=state
        )
        return task.evaluate_features(features, window)
