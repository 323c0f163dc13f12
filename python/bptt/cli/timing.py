"""Timing of calls, interleaved so that disturbances affect all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

_Key = TypeVar("_Key", bound=Hashable)


def seconds_per_call(task: Callable[[], object], min_seconds: float = 0.0) -> float:
    """Return the seconds of one call, from as many calls as take `least` seconds together."""
    once = _seconds(task, 1)
    calls = int(min_seconds / once)
    return once if calls <= 1 else _seconds(task, calls) / calls


def interleave(
    measures: Mapping[_Key, Callable[[], float]],
    rounds: int,
    *,
    min_seconds: float = 0.0,
    on_turn: Callable[[], object] = lambda: None,
) -> dict[_Key, list[float]]:
    """Call every function in turn, `rounds` times and for at least `least` seconds.

    Parameters
    ----------
    measures : mapping of names to functions
        Each returns how many seconds it has measured.
    rounds : int
        At least so many turns, >= 1, after one more that does not count: there, caches and
        allocators are cold.
    least : float
        Seconds; there are more turns until they have passed.
    on_turn : function
        Called after every single call.

    Returns
    -------
    dict
        The names with the seconds of every turn.
    """
    found: dict[_Key, list[float]] = {key: [] for key in measures}
    start = time.perf_counter()
    turn = 0
    while turn <= rounds or time.perf_counter() - start < min_seconds:
        for key, measure in measures.items():
            measured = measure()
            if turn > 0:
                found[key].append(measured)
            on_turn()
        turn += 1
    return found


def _seconds(task: Callable[[], object], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        task()
    return time.perf_counter() - start
