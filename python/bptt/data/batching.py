"""Minibatches of sequences of about the same length, so that little is padded."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_POOL = 50  # batches at least, that are sorted by length together: few are padded by more than 1/50


def shuffled_batches(
    lengths: NDArray[np.integer[Any]], batch_size: int, seed: int, epoch: int
) -> list[NDArray[np.int64]]:
    """Divide all sequences into minibatches, in an order that seed and epoch alone decide.

    The sequences are shuffled, pools of many batches are sorted by length and cut into batches, and
    the batches are shuffled, so that neither the long nor the short ones come together.

    Parameters
    ----------
    lengths : integer array (N,)
        Number of steps of each sequence.
    batch_size : int
        Sequences of a minibatch; of one, there may be fewer.
    seed, epoch : int
        Both >= 0.

    Returns
    -------
    list of integer arrays
        Indices: each of 0 .. N-1 is in one of them.
    """
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(len(lengths))
    count = -(-len(order) // batch_size)
    pools = max(1, count // _POOL)
    borders = [count * i // pools * batch_size for i in range(pools)]
    batches = [
        batch
        for pool in np.split(order, borders[1:])
        for batch in _cut(pool[np.argsort(lengths[pool], kind="stable")], batch_size)
    ]
    return [batches[i] for i in random.permutation(count)]


def sorted_batches(lengths: NDArray[np.integer[Any]], batch_size: int) -> list[NDArray[np.int64]]:
    """Divide all sequences into minibatches, the shortest first: for what learns nothing.

    Parameters and result are those of `shuffled_batches`.
    """
    return _cut(np.argsort(lengths, kind="stable"), batch_size)


def _cut(order: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    return [order[start : start + size] for start in range(0, len(order), size)]
