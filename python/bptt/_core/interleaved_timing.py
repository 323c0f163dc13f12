"""Timing of calls, interleaved so that disturbances of the machine affect all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

_Key = TypeVar("_Key", bound=Hashable)


def seconds_per_call(call: Callable[[], object], min_seconds: float = 0.0) -> float:
    """Return the mean seconds per call, over as many calls as take `min_seconds` together."""
    once = _seconds(call, 1)
    count = int(min_seconds / once)
    return once if count <= 1 else _seconds(call, count) / count


def interleave(
    measures: Mapping[_Key, Callable[[], float]],
    rounds: int,
    *,
    min_seconds: float = 0.0,
    on_measure: Callable[[], object] = lambda: None,
) -> dict[_Key, list[float]]:
    """Call all functions in turn, round by round.

    Parameters
    ----------
    measures : mapping of keys to functions
        Each returns the seconds that it has measured.
    rounds : int
        Minimum number of rounds, >= 1, after a warm-up round that does not count.
    min_seconds : float
        Minimum duration; rounds are added until it has passed.
    on_measure : function
        Called after every measurement.

    Returns
    -------
    dict
        Key -> seconds of every round.
    """
    samples: dict[_Key, list[float]] = {key: [] for key in measures}
    start = time.perf_counter()
    completed = 0
    while completed <= rounds or time.perf_counter() - start < min_seconds:
        for key, measure in measures.items():
            measured = measure()
            if completed > 0:
                samples[key].append(measured)
            on_measure()
        completed += 1
    return samples


def _seconds(call: Callable[[], object], count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        call()
    return time.perf_counter() - start
