"""One server: its model, sessions, limits and connections, and how a message is answered."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from bptt.serving._access import Access
from bptt.serving._batcher import Batcher, SessionStore
from bptt.serving._limits import Limits, RateLimit
from bptt.serving._messages import RequestError, read_binary, read_json, write_result
from bptt.serving._metrics import Metrics
from bptt.serving._served_model import ServedModel

_log = logging.getLogger("bptt.serving")

# Codes of WebSockets' close frames; 1009 for a large message and 1012 are the protocol's.
RESTART, TOKEN, NO_SESSION, IDLE, TAKEN = 1012, 4401, 4404, 4408, 4409

_MIN_SWEEP, _MAX_SWEEP = 0.05, 30.0  # seconds between two looks for idle sessions


class Connection(Protocol):
    """A connection with a session."""

    async def end(self, code: int, reason: str) -> None: ...


class Service:
    """What all connections and requests share.

    Parameters
    ----------
    model : ServedModel
    sessions : SessionStore
        A `bptt.Sessions` of ``model.network``.
    limits : Limits
    access : Access
    snapshot : path, optional
        File of all states.
    snapshot_seconds : float, optional
        Seconds between two snapshots while the server runs; only at its end by default.
    """

    def __init__(
        self,
        model: ServedModel,
        sessions: SessionStore,
        limits: Limits,
        access: Access,
        *,
        snapshot: Path | None = None,
        snapshot_seconds: float | None = None,
    ) -> None:
        self.model, self.limits, self.access = model, limits, access
        self.metrics = metrics = Metrics()
        self.batcher = Batcher(sessions, model, limits.sessions, metrics)
        self.is_stopping = False
        self._connections: dict[str, Connection] = {}
        self._count = self._answering = 0
        self._sessions, self._snapshot, self._snapshot_seconds = (
            sessions,
            snapshot,
            snapshot_seconds,
        )
        self._jobs: list[asyncio.Task[None]] = []
        burst = float(limits.message_steps)
        self._session_rate = RateLimit("session", limits.session_rate, burst=burst)
        self._client_rate = RateLimit("client", limits.client_rate, burst=burst)
        metrics.watch("bptt_sessions", "Sessions", lambda: len(self.batcher))
        metrics.watch("bptt_connections", "Open WebSockets", lambda: self._count)
        metrics.watch("bptt_state_bytes", "Bytes of all states", lambda: sessions.nbytes)

    # ---- life

    def start(self) -> None:
        """Begin to work, in the running event loop."""
        self.batcher.start()
        idle = self.limits.idle
        sweep = min(max(idle / 4.0, _MIN_SWEEP), _MAX_SWEEP)
        self._every(sweep, self._sweep)
        if self._snapshot_seconds is not None:
            self._every(self._snapshot_seconds, self._save)

    @property
    def is_ready(self) -> bool:
        """Whether messages are answered."""
        return self.batcher.is_working and not self.is_stopping

    async def drain(self, seconds: float) -> None:
        """Refuse further messages, and wait for the answers to those that are here."""
        self.is_stopping = True
        for connection in list(self._connections.values()):
            await connection.end(RESTART, "the server stops")
        end = asyncio.get_running_loop().time() + seconds
        while self._answering and asyncio.get_running_loop().time() < end:
            await asyncio.sleep(0.01)

    async def close(self) -> None:
        """Stop to work."""
        for job in self._jobs:
            job.cancel()
        await asyncio.gather(*self._jobs, return_exceptions=True)
        await self.batcher.close()

    def save(self) -> None:
        """Write the snapshot, after the end of the event loop."""
        self.batcher.stop_thread()
        if self._snapshot is not None:
            self._sessions.save(self._snapshot)

    def _every(self, seconds: float, job: Callable[[], Any]) -> None:
        async def run() -> None:
            while True:
                await asyncio.sleep(seconds)
                try:
                    await job()
                except Exception:  # such as a full disk; the next time may be better
                    _log.exception("%s failed", job.__name__.strip("_"))

        self._jobs.append(asyncio.get_running_loop().create_task(run()))

    async def _sweep(self) -> None:
        for key in await self.batcher.evict(self.limits.idle):
            connection = self._connections.get(key)
            if connection is not None:  # otherwise its next step would begin anew, unnoticed
                await connection.end(IDLE, f"no step for {self.limits.idle:g} seconds")

    async def _save(self) -> None:
        assert self._snapshot is not None
        await self.batcher.save(self._snapshot)

    # ---- connections

    @contextlib.contextmanager
    def counted(self) -> Any:
        """Count a connection.

        Raises
        ------
        RequestError
            If there are as many as may be, or the server stops.
        """
        if self.is_stopping:
            raise RequestError(503, "the server stops", "stopping", 1)
        if self._count >= self.limits.connections:
            raise RequestError(503, "the server has no room for connections", "connections", 1)
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1

    async def attach(self, key: str, connection: Connection) -> None:
        """Give a session to a connection; one that had it before ends."""
        before = self._connections.pop(key, None)
        self._connections[key] = connection
        if before is not None:
            await before.end(TAKEN, "another connection has taken the session")

    def detach(self, key: str, connection: Connection) -> None:
        """Forget a connection that has ended."""
        if self._connections.get(key) is connection:
            del self._connections[key]

    # ---- messages

    async def answer(
        self, key: str, client: str, data: str | bytes, *, binary: bool, resume: bool = False
    ) -> bytes | dict[str, Any]:
        """Run the steps of a message, and return the answer: bytes to a binary one.

        Parameters
        ----------
        key : str
            Of the session.
        client : str
            Address, for the limit of its rate.
        data : str or bytes
            The message.
        binary : bool
            Whether it is rows instead of JSON.
        resume : bool
            Whether the session must exist.

        Raises
        ------
        RequestError
            If the message is none, a limit is exceeded, or the server stops.
        """
        if self.is_stopping:
            raise RequestError(503, "the server stops", "stopping", 1)
        self._take(key, client, 1)  # before it is read
        read = read_binary if binary else read_json
        request = read(self.model, data, self.limits.message_steps)  # type: ignore[arg-type]
        if len(request.rows) > 1:
            self._take(key, client, len(request.rows) - 1)
        self._answering += 1
        try:
            result = await self.batcher.run(key, request, resume=resume)
        finally:
            self._answering -= 1
        return write_result(self.model, request, result)

    def _take(self, key: str, client: str, steps: int) -> None:
        self._client_rate.take(client, steps)
        self._session_rate.take(key, steps)

    def failed(self, error: RequestError) -> dict[str, Any]:
        """Count an error, and return the answer."""
        self.metrics.errors.labels(error.reason).inc()
        return error.content()


def new_key() -> str:
    """Return a key that nobody guesses."""
    return secrets.token_urlsafe(16)
