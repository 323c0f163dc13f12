"""Limits of what clients may ask for."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from bptt.serving._messages import RequestError

_MIN_PRUNED = 1024  # buckets: fewer are kept, full ones too


@dataclass(frozen=True)
class Limits:
    """Limits of a server.

    Attributes
    ----------
    message_bytes : int
        Size of a message.
    message_steps : int
        Steps of a message.
    sessions : int
        Sessions at the same time.
    connections : int
        Connections at the same time.
    session_rate, client_rate : float or None
        Steps a second of a session, and of a client's address; None for any. A message that is
        refused counts as one step.
    idle : float
        Seconds without a step after which a session is evicted.
    receive_seconds : float
        Seconds in which the body of a request, or the token of a connection, must be there.
    """

    message_bytes: int = 65536
    message_steps: int = 1024
    sessions: int = 10_000
    connections: int = 10_000
    session_rate: float | None = 1000.0
    client_rate: float | None = None
    idle: float = 300.0
    receive_seconds: float = 10.0


class RateLimit:
    """Token buckets by key: `rate` steps a second, and those of `seconds` at once.

    J. S. Turner (1986), New directions in communications: the leaky bucket as a meter.

    Parameters
    ----------
    what : str
        What has the limit, for messages.
    rate : float or None
        Steps a second; None for any.
    seconds : float
        Seconds whose steps may come at once.
    burst : float
        The least size of a bucket, in steps: that of a message.
    clock : function
        Seconds, monotonic.
    """

    def __init__(
        self,
        what: str,
        rate: float | None,
        *,
        seconds: float = 2.0,
        burst: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._what, self._rate, self._clock = what, rate, clock
        self._size = 0.0 if rate is None else max(rate * seconds, burst)
        self._buckets: dict[Hashable, tuple[float, float]] = {}  # steps left, and when
        self._prune_at = _MIN_PRUNED

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, key: Hashable, steps: int) -> None:
        """Take steps out of a bucket.

        Raises
        ------
        RequestError
            If there are fewer; nothing is taken then.
        """
        if self._rate is None:
            return
        now = self._clock()
        left, before = self._buckets.get(key, (self._size, now))
        left = min(self._size, left + (now - before) * self._rate)
        if steps > left:
            self._buckets[key] = left, now
            raise RequestError(
                429,
                f"a {self._what} may have {self._rate:g} steps a second",
                "rate",
                retry_after=(steps - left) / self._rate,
            )
        self._buckets[key] = left - steps, now
        if len(self._buckets) > self._prune_at:
            self._prune(now)

    def _prune(self, now: float) -> None:
        """Forget full buckets, which are as new ones."""
        assert self._rate is not None
        self._buckets = {
            key: (left, before)
            for key, (left, before) in self._buckets.items()
            if left + (now - before) * self._rate < self._size
        }
        self._prune_at = max(_MIN_PRUNED, 2 * len(self._buckets))
