"""The work of this process in a training: its part of each minibatch, and what all parts give.

In one process it is all of the work, and nothing is exchanged.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import overload

import numpy as np
from numpy.typing import NDArray

from bptt.data.batching import shuffled_batches, sorted_batches
from bptt.distributed._communicator import Communicator
from bptt.distributed._gradients import add_scaled, no_gradients, row_counts
from bptt.nn.module import Gradients, Module
from bptt.training._state import EpochTotals, TrainingState
from bptt.training.protocols import Dataset, Evaluation, OrderedDataset, TrainingStep
from bptt.training.windowed import Batches, WindowedDataset, count_of, parts_of

_NUMBERS = 4  # of a step: loss, metric and their weights
_DRAWS = 1 << 64  # of a minibatch, at most


class RankWork:
    """The part of a training that one of its ranks computes.

    Parameters
    ----------
    state : TrainingState
        The training. In whole data, every rank has the same sequences, and computes its part of
        each minibatch; with ``communicator.shards`` it has other ones than the other ranks.
    """

    def __init__(self, state: TrainingState) -> None:
        self._state = state
        self._ranks = state.communicator
        self._data = _rows_of_rank(state.data, self._ranks)
        self._validation = _rows_of_rank(state.validation, self._ranks)
        self._draws = None if self._ranks.is_alone else _Draws(state.modules.values(), self._ranks)

    def batches(self) -> Batches:
        """Return the minibatches of the epoch: those of all ranks together, or of a shard."""
        state, ranks = self._state, self._ranks
        size, data = state.options.batch_size, state.data
        count = 0
        if ranks.shards and not isinstance(data, OrderedDataset):
            # As many minibatches as in one process, each of about batch_size sequences in all.
            count = -(-state.num_sequences // size)
            size = -(-count_of(data) // count)
        found: Batches
        if isinstance(data, OrderedDataset):
            found = list(data.batches())
        elif isinstance(data, WindowedDataset):
            found = data.epoch_batches(size, state.seed, state.epoch)
        else:
            found = shuffled_batches(data.lengths, size, state.seed, state.epoch)
        return _Padded(found, max(count, *ranks._gather(len(found)))) if ranks.shards else found

    def count_done(self, batches: Batches) -> int:
        """Return the number of sequences of the minibatches that are done; of windows, about."""
        done = self._state.batch
        if isinstance(batches, list):  # else windows would be read
            return self.count(batches[:done])
        return done * self._state.options.batch_size

    def count(self, group: Sequence[NDArray[np.int64]]) -> int:
        """Return the number of sequences of minibatches, on all ranks; of shards, about that."""
        if self._ranks.shards:
            return len(group) * self._state.options.batch_size
        return sum(map(len, group))

    def step(self, indices: NDArray[np.int64], number: int) -> TrainingStep:
        """Return loss and gradients of this rank's part of a minibatch; 0 if it has none.

        Parameters
        ----------
        indices : int64 array
            The minibatch.
        number : int
            Number of minibatches of this training before it.
        """
        task = self._state.task
        if self._draws is None:
            return task.training_step(self._data.batch(indices))  # type: ignore[union-attr]
        part = indices if _is_ordered(self._state.data) else self._ranks._part(indices)
        if self._data is None or not len(part):
            zeros = no_gradients(list(self._state.modules.values()))
            return TrainingStep(0.0, 0.0, 0.0, zeros)
        with self._draws.of_minibatch(number):
            return task.training_step(self._data.batch(part))

    def combine(
        self, steps: Sequence[TrainingStep], gradients: list[Gradients]
    ) -> list[TrainingStep]:
        """Return the steps of whole minibatches; make the gradients those of their mean loss.

        If a loss is not finite, the gradients stay those of this rank. All ranks get the same.

        Parameters
        ----------
        steps : sequence of TrainingStep
            This rank's parts of the minibatches of an update, without gradients.
        gradients : list of Gradients
            Those of a single step, or the sum of those of several, times their weights. Changed.
        """
        ranks = self._ranks
        own = [number for step in steps for number in _numbers(step)]
        gathered = ranks._gather_rows(np.array([*own, *row_counts(gradients)], np.float64))
        numbers, counts = np.split(gathered, [len(own)], axis=1)
        parts = numbers.reshape(ranks.size, len(steps), _NUMBERS)
        whole = [_whole_step(parts[:, i]) for i in range(len(steps))]
        if all(math.isfinite(step.loss) for step in whole):
            total = sum(step.weight for step in whole) or 1.0
            weight = steps[0].weight if len(steps) == 1 else 1.0
            add_scaled(ranks, gradients, weight / total, counts)
        return whole

    def evaluate(self) -> EpochTotals:
        """Return the sums over the validation data, of which every rank evaluates a part."""
        data, ranks = self._validation, self._ranks
        totals = EpochTotals()
        for part in [None] if data is None else parts_of(data):
            for result in self._results(part):
                totals.add(result)
            del part  # before the next window is read
        return sum(ranks._gather(totals), EpochTotals()) if ranks.shards else totals

    def _results(self, part: Dataset | None) -> Iterable[Evaluation]:
        """Return the results of all ranks for validation data or a window; of a shard its own."""
        ranks = self._ranks
        results: list[Evaluation] = []
        if part is not None:
            batches = sorted_batches(part.lengths, self._state.options.batch_size)
            mine = batches if _is_ordered(part) else ranks._share(batches)
            results = [self._state.task.evaluate(part.batch(indices)) for indices in mine]
        return results if ranks.shards else ranks._gather_shares(results)

    def end(self) -> None:
        """Leave the modules' random generators behind all numbers that were drawn."""
        if self._draws is not None:
            self._draws.end()


class _Padded(Sequence[NDArray[np.int64]]):
    """Minibatches, and empty ones at the end, so that all ranks have as many."""

    def __init__(self, batches: Batches, count: int) -> None:
        self._batches, self._count = batches, count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, key: int) -> NDArray[np.int64]: ...
    @overload
    def __getitem__(self, key: slice) -> list[NDArray[np.int64]]: ...
    def __getitem__(self, key: int | slice) -> NDArray[np.int64] | list[NDArray[np.int64]]:
        if not isinstance(key, slice):
            return self[slice(key, key + 1)][0]
        found = list(self._batches[key])  # windows are read
        return found + [np.empty(0, np.int64)] * (len(range(self._count)[key]) - len(found))


class _Draws:
    """Random numbers of each rank, such as dropout masks, from the modules' generators.

    For every minibatch and rank, a generator begins at another place of the sequence of the
    module's, which itself does not move: it has the same state on all ranks, and a resumed training
    draws the same numbers.
    """

    def __init__(self, modules: Iterable[Module], ranks: Communicator) -> None:
        self._ranks = ranks
        self._modules = [(module, module._random, np.random.default_rng(0)) for module in modules]

    @contextmanager
    def of_minibatch(self, number: int) -> Iterator[None]:
        place = (number * self._ranks.size + self._ranks.rank) * _DRAWS
        for module, common, own in self._modules:
            own.bit_generator.state = common.bit_generator.state
            own.bit_generator.advance(place)  # type: ignore[attr-defined]
            module._random = own
        try:
            yield
        finally:
            for module, common, _ in self._modules:
                module._random = common

    def end(self) -> None:
        for module, common, _ in self._modules:
            module._random = np.random.Generator(common.bit_generator.jumped())  # type: ignore[attr-defined]


def _is_ordered(data: object) -> bool:
    return isinstance(data, OrderedDataset)


def _rows_of_rank(
    data: Dataset | WindowedDataset | None, ranks: Communicator
) -> Dataset | WindowedDataset | None:
    """Return the sequences of this rank of an ordered dataset; other data are cut by minibatch."""
    if ranks.is_alone or ranks.shards or not isinstance(data, OrderedDataset):
        return data
    if not hasattr(data, "part"):
        raise TypeError(
            f"data must have a method part for several ranks, got {type(data).__name__}"
        )
    found: Dataset | None = data.part(ranks.rank, ranks.size)
    return found


def _numbers(step: TrainingStep) -> tuple[float, ...]:
    weight = step.weight if step.metric_weight is None else step.metric_weight
    return step.loss, step.metric, step.weight, weight


def _whole_step(parts: NDArray[np.float64]) -> TrainingStep:
    """Return the step of a minibatch, given the numbers (ranks, 4) of its parts."""
    losses, metrics, weights, metric_weights = parts.T
    total, metric_total = float(weights.sum()), float(metric_weights.sum())
    loss = float((losses * weights).sum()) / total if total else float(losses.sum())
    has_metric = metric_weights > 0
    metric = float((metrics[has_metric] * metric_weights[has_metric]).sum()) / (metric_total or 1.0)
    return TrainingStep(loss, metric, total, [], metric_total)
