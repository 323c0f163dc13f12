"""Minibatches: a partition of the sequences, little padding, a reproducible order."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bptt.data.batching import shuffled_batches, sorted_batches

SIZE = 32


def uniform(count, longest, seed=0):
    return np.random.default_rng(seed).integers(1, longest + 1, count)


def padding(found, lengths):
    """The fraction of padding in the batches."""
    whole = sum(len(batch) * lengths[batch].max() for batch in found)
    return 1 - lengths.sum() / whole


@given(
    lengths=st.lists(st.integers(0, 50), max_size=300),
    size=st.integers(1, 40),
    seed=st.integers(0, 2**63),
    epoch=st.integers(1, 100),
)
def test_batches_are_a_partition(lengths, size, seed, epoch):
    lengths = np.array(lengths, np.int64)
    for found in (
        shuffled_batches(lengths, size, seed, epoch),
        sorted_batches(lengths, size),
    ):
        flat = np.concatenate([np.empty(0, np.int64), *found])
        np.testing.assert_array_equal(np.sort(flat), np.arange(len(lengths)))
        sizes = sorted(map(len, found), reverse=True)
        assert all(n == size for n in sizes[:-1])
        assert len(found) == -(-len(lengths) // size)


@pytest.mark.parametrize("longest", [1, 30, 1000])
@pytest.mark.parametrize("count", [50 * SIZE, 99 * SIZE + 1, 40_000])
def test_little_is_padded(count, longest):
    lengths = uniform(count, longest)
    order = np.random.default_rng(0).permutation(count)
    unsorted = [order[i : i + SIZE] for i in range(0, count, SIZE)]
    assert padding(shuffled_batches(lengths, SIZE, 0, 1), lengths) < 0.05
    assert padding(sorted_batches(lengths, SIZE), lengths) < 0.05
    assert longest == 1 or padding(unsorted, lengths) > 0.4


def test_few_sequences_are_sorted_all_together():
    lengths = uniform(10 * SIZE, 1000)
    found = shuffled_batches(lengths, SIZE, 0, 1)
    ranges = sorted((lengths[batch].min(), lengths[batch].max()) for batch in found)
    assert all(high <= low for (_, high), (low, _) in pairwise(ranges))


def test_order_is_a_function_of_seed_and_epoch():
    lengths = uniform(1000, 20)

    def flat(seed, epoch):
        return np.concatenate(shuffled_batches(lengths, SIZE, seed, epoch))

    np.testing.assert_array_equal(flat(3, 7), flat(3, 7))
    others = [flat(3, 8), flat(4, 7), flat(7, 3)]
    assert not any(np.array_equal(flat(3, 7), other) for other in others)


def test_lengths_of_consecutive_batches_are_uncorrelated():
    lengths = uniform(40_000, 1000)
    means = [lengths[batch].mean() for batch in shuffled_batches(lengths, SIZE, 0, 1)]
    correlation = np.corrcoef(means[:-1], means[1:])[0, 1]
    assert abs(correlation) < 5 / np.sqrt(len(means))


def test_sequences_of_one_length_are_batched_differently_in_every_epoch():
    lengths = np.full(10 * SIZE, 5)
    one, other = (shuffled_batches(lengths, SIZE, 0, epoch) for epoch in (1, 2))
    for batch in one:
        assert max(len(np.intersect1d(batch, again)) for again in other) < SIZE / 2
