"""Minibatches of sequences of similar length, which need little padding."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks

_MIN_POOL = 50  # batches sorted by length together: few are padded by more than 1/50


def shuffled_batches(
    lengths: NDArray[np.integer[Any]], batch_size: int, seed: int, epoch: int, window: int = 0
) -> list[NDArray[np.int64]]:
    """Divide sequences into minibatches, in an order determined by seed, epoch and window.

    The sequences are shuffled; pools of at least 50 batches are sorted by length and cut into
    batches; the batches are shuffled, so that long and short ones alternate.

    Parameters
    ----------
    lengths : integer array (N,)
        Number of steps of each sequence.
    batch_size : int
        Minibatch size, in sequences; one of the minibatches may be smaller.
    seed : int
        Seed of the order, >= 0.
    epoch : int
        Number of the epoch, >= 0.
    window : int
        Number of the window, >= 0, if the sequences are one of several windows of the data.

    Returns
    -------
    list of int64 arrays
        Indices of each minibatch, a partition of 0 .. N-1.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or an invalid value.
    """
    lengths, batch_size = _checked(lengths, batch_size)
    seed, epoch = checks.integer("seed", seed, 0), checks.integer("epoch", epoch, 0)
    window = checks.integer("window", window, 0)
    random = np.random.default_rng([seed, epoch, window] if window else [seed, epoch])
    order = random.permutation(len(lengths))
    count = -(-len(order) // batch_size)
    pools = max(1, count // _MIN_POOL)
    borders = [count * i // pools * batch_size for i in range(pools)]
    batches = [
        batch
        for pool in np.split(order, borders[1:])
        for batch in _split(pool[np.argsort(lengths[pool], kind="stable")], batch_size)
    ]
    return [batches[i] for i in random.permutation(count)]


def sorted_batches(lengths: NDArray[np.integer[Any]], batch_size: int) -> list[NDArray[np.int64]]:
    """Divide sequences into minibatches in ascending order of length, for evaluation.

    Parameters
    ----------
    lengths : integer array (N,)
        Number of steps of each sequence.
    batch_size : int
        Minibatch size, in sequences; the last minibatch may be smaller.

    Returns
    -------
    list of int64 arrays
        Indices of each minibatch, a partition of 0 .. N-1.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or an invalid value.
    """
    lengths, batch_size = _checked(lengths, batch_size)
    return _split(np.argsort(lengths, kind="stable"), batch_size)


def _checked(lengths: Any, batch_size: Any) -> tuple[NDArray[np.integer[Any]], int]:
    """Check the lengths of sequences and a minibatch size."""
    checks.numpy_array("lengths", lengths)
    if lengths.ndim != 1 or lengths.dtype.kind not in "iu":
        got = f"{lengths.dtype} {lengths.shape}"
        raise ValueError(f"lengths must be integers of shape (N,), got {got}")
    return lengths, checks.integer("batch_size", batch_size)


def _split(order: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    return [order[start : start + size] for start in range(0, len(order), size)]
