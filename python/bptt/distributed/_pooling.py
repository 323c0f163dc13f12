"""What encoders learn from the data of all ranks: counts, sets, largest values and moments.

With shards, vocabularies, classes and scaling must be those of all data. Within `pooling`, the
functions here exchange what each rank has found; elsewhere they return their arguments, so that
encoders need not know about ranks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from bptt.distributed._communicator import ALONE, Communicator

_H = TypeVar("_H", bound=Hashable)
_ranks: ContextVar[Communicator] = ContextVar("ranks", default=ALONE)


@contextmanager
def pooling(ranks: Communicator) -> Iterator[None]:
    """Let encoders learn from the data of all ranks, if these are shards."""
    token = _ranks.set(ranks if ranks.shards else ALONE)
    try:
        yield
    finally:
        _ranks.reset(token)


def pooled_counts(counts: Counter[_H]) -> Counter[_H]:
    """Return how often each thing occurs on all ranks."""
    if _ranks.get().is_alone:
        return counts
    total: Counter[_H] = Counter()
    for found in _gather("counts", counts):
        total.update(found)
    return total


def pooled_set(found: set[_H]) -> set[_H]:
    """Return the things that occur on any rank."""
    return found if _ranks.get().is_alone else set().union(*_gather("set", found))


def pooled_max(value: int) -> int:
    """Return the largest value of all ranks."""
    return value if _ranks.get().is_alone else max(_gather("maximum", value))


def pooled_total(counts: NDArray[np.integer[Any]]) -> NDArray[np.integer[Any]]:
    """Return the sum of the arrays of all ranks, of the same shape."""
    if _ranks.get().is_alone:
        return counts
    total: NDArray[np.integer[Any]] = np.sum(_gather("total", counts), axis=0)
    return total


def pooled_moments(values: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and standard deviation of the columns of all ranks' values, (N, columns).

    Moments of parts are combined as by T. Chan, G. Golub and R. LeVeque (1983), Algorithms for
    computing the sample variance. A rank may have no rows.
    """
    if _ranks.get().is_alone:
        return values.mean(axis=0, dtype=np.float64), values.std(axis=0, dtype=np.float64)
    count, columns = values.shape
    mean = values.mean(axis=0, dtype=np.float64) if count else np.zeros(columns)
    squares = values.var(axis=0, dtype=np.float64) * count if count else np.zeros(columns)
    parts = _gather("moments", (count, mean, squares))
    total = sum(n for n, _, _ in parts) or 1
    mean = np.sum([n * m for n, m, _ in parts], axis=0) / total
    between = np.sum([n * np.square(m - mean) for n, m, _ in parts], axis=0)
    squares = np.sum([s for _, _, s in parts], axis=0) + between
    return mean, np.sqrt(squares / total)


def pooled_kind(kind: _H) -> None:
    """Check that all ranks have data of the same kind.

    Raises
    ------
    ValueError
        On all ranks, if they have not.
    """
    _ranks.get()._check_same({"the kind of the data": kind})


def _gather(name: str, value: Any) -> list[Any]:
    """Return the values of all ranks, which must ask for the same."""
    found = _ranks.get()._gather((name, value))
    if any(other != name for other, _ in found):
        kinds = ", ".join(other for other, _ in found)
        raise ValueError(f"the data must be of the same kind on all ranks, got {kinds}")
    return [one for _, one in found]
