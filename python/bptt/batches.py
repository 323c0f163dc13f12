"""Minibatches of sequences of about the same length, so that little is padded."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

POOL = 50  # batches that are sorted by length together


def shuffled(
    lengths: NDArray[np.int64], batch_size: int, seed: int, epoch: int
) -> list[NDArray[np.int64]]:
    """Cut all sequences into minibatches, in an order that is a function of seed and epoch alone.

    The sequences are shuffled; pools of many batches are sorted by length and cut; and the batches
    are shuffled again, so that neither long nor short ones come together.

    Parameters
    ----------
    lengths : integer array (N,)
    batch_size : int
        Sequences of a minibatch; the last of a pool may have fewer.

    Returns
    -------
    list of integer arrays
        Indices; each sequence comes once.
    """
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(len(lengths))
    batches: list[NDArray[np.int64]] = []
    for first in range(0, len(order), POOL * batch_size):
        pool = order[first : first + POOL * batch_size]
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        batches += [pool[i : i + batch_size] for i in range(0, len(pool), batch_size)]
    return [batches[i] for i in random.permutation(len(batches))]


def in_order(lengths: NDArray[np.int64], batch_size: int) -> list[NDArray[np.int64]]:
    """The same without chance, the shortest first: for what changes nothing."""
    order = np.argsort(lengths, kind="stable")
    return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
