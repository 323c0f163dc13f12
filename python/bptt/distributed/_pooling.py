"""What encoders learn from the data of all ranks.

With shards, vocabularies, classes and scaling must be those of all data. Within `pooling`, the
functions here exchange what each rank has found; elsewhere they return it alone, so that encoders
need not know about ranks.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from bptt.distributed._communicator import ALONE, Communicator

_T = TypeVar("_T")
_ranks: ContextVar[Communicator] = ContextVar("ranks", default=ALONE)


@contextmanager
def pooling(ranks: Communicator) -> Iterator[None]:
    """Let encoders learn from the data of all ranks, if these are shards."""
    token = _ranks.set(ranks if ranks.shards else ALONE)
    try:
        yield
    finally:
        _ranks.reset(token)


def of_all_ranks(value: _T) -> list[_T]:
    """Return the values of all ranks, in their order.

    Raises
    ------
    ValueError
        On all ranks, if they have values of different types.
    """
    ranks = _ranks.get()
    if ranks.is_alone:
        return [value]
    found = ranks._gather((type(value).__name__, value))
    kinds = [kind for kind, _ in found]
    if len(set(kinds)) > 1:
        raise ValueError(
            f"the data must be of the same kind on all ranks, got {', '.join(kinds)} to learn from"
        )
    return [one for _, one in found]


def pooled_sum(value: _T) -> _T:
    """Return the sum of the values of all ranks, added in their order.

    Raises
    ------
    TypeError, ValueError
        On all ranks, if the value of one cannot be added to those before.
    """
    total: Any
    total, *others = of_all_ranks(value)
    for rank, other in enumerate(others, 1):
        try:
            total = total + other
        except (TypeError, ValueError) as error:
            raise type(error)(f"data of rank {rank}: {error}") from error
    result: _T = total
    return result
