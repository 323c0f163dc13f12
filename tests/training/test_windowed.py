"""Datasets in windows: minibatches, and what is in memory."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from bptt.data import shuffled_batches
from bptt.distributed._communicator import ALONE
from bptt.training import Evaluation, WindowedDataset
from bptt.training._rank_work import RankWork

LENGTHS = np.random.default_rng(0).integers(1, 30, 1000)


class Part:
    """A window; batches are the numbers of the sequences in the data."""

    alive = 0

    def __init__(self, first, lengths):
        self.first, self.lengths = first, lengths
        Part.alive += 1

    def __del__(self):
        Part.alive -= 1

    def batch(self, indices):
        return self.first + indices


def dataset(window=200, lengths=LENGTHS, count=None):
    reads = []

    def read(number):
        for first in range(number * window, len(lengths), window):
            reads.append(first // window)
            yield Part(first, lengths[first : first + window])

    data = WindowedDataset(read, len(lengths) if count is None else count, window, "test")
    return data, reads


@pytest.mark.parametrize("group", [1, 3, 7])
def test_every_sequence_once_and_two_windows_at_most(group):
    data, reads = dataset()
    batches = data.epoch_batches(8, 3, 1)
    assert len(batches) == 125
    seen, most = [], 0
    for i in range(0, 125, group):
        chosen = batches[i : i + group]
        most = max(most, Part.alive)
        for indices in chosen:
            assert len(set(indices // 200)) == 1
            assert np.array_equal(data.batch(indices), indices)
            seen += indices.tolist()
    assert sorted(seen) == list(range(1000))
    assert seen != list(range(1000))
    assert most == (1 if group == 1 else 2)
    assert reads == [0, 1, 2, 3, 4]


def test_one_window_has_the_batches_of_data_in_memory():
    data, _ = dataset(1000)
    batches = data.epoch_batches(8, 3, 2)
    expected = shuffled_batches(LENGTHS, 8, 3, 2)
    assert all(map(np.array_equal, batches[:], expected))
    assert np.array_equal(batches[7], expected[7])


def test_windows_and_epochs_have_orders_of_their_own():
    data, _ = dataset(lengths=np.ones(1000, np.int64))
    orders = {
        tuple(np.concatenate(data.epoch_batches(8, seed, epoch)[first : first + 25]) % 200)
        for seed, epoch in ((0, 1), (0, 2), (1, 1))
        for first in (0, 25)
    }
    assert len(orders) == 6


@pytest.mark.parametrize("first", [0, 24, 25, 26, 60, 124])
def test_from_any_minibatch_on(first):
    data, reads = dataset()
    expected = data.epoch_batches(8, 3, 1)[:]
    reads.clear()
    rest = data.epoch_batches(8, 3, 1)[first:]
    assert all(map(np.array_equal, rest, expected[first:]))
    assert reads[0] == first // 25


def test_minibatches_end_at_the_border_of_a_window():
    data, _ = dataset()
    batches = data.epoch_batches(70, 0, 1)
    sizes = [len(batch) for batch in batches]
    assert len(batches) == len(sizes) == 15
    assert [sum(sizes[i : i + 3]) for i in range(0, 15, 3)] == [200] * 5
    assert sorted(np.concatenate(batches[:])) == list(range(1000))


@pytest.mark.parametrize(("count", "got"), [(1001, 0), (999, 200), (800, 200)])
def test_changed_data(count, got):
    data, _ = dataset(count=count)
    rule = f"the source must yield the same sequences in every pass, {count}: "
    with pytest.raises(ValueError, match=rule) as caught:
        list(data.windows())
    assert str(caught.value).endswith(f"got {got}")


def test_one_window_is_evaluated_at_a_time():
    data, reads = dataset()
    alive = []

    def evaluate(batch):
        alive.append(Part.alive)
        return Evaluation(float(batch.sum()), np.nan, float(len(batch)))

    state = SimpleNamespace(
        communicator=ALONE,
        data=data,
        validation=data,
        task=SimpleNamespace(evaluate=evaluate),
        options=SimpleNamespace(batch_size=8),
    )
    before = Part.alive
    totals = RankWork(state).evaluate()
    assert reads == [0, 1, 2, 3, 4]
    assert set(alive) == {before + 1}
    assert Part.alive == before
    assert totals.weight == 1000


def test_wrong_arguments():
    data, _ = dataset()
    batches = data.epoch_batches(8, 0, 1)
    batches[0:1]
    with pytest.raises(ValueError, match=r"in an open window \(0\), got window 2"):
        data.batch(np.array([400]))
    with pytest.raises(ValueError, match=r"first must be in \[0, 5\), got 5"):
        next(data.windows(5))
    with pytest.raises(TypeError, match="read must be a function, got int"):
        WindowedDataset(3, 1, 1, "")
