"""The server: uvicorn with the application, until a signal ends it."""

from __future__ import annotations

import gc
import signal
import socket
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, NamedTuple

import uvicorn

from bptt.serving._access import Access
from bptt.serving._application import make_application
from bptt.serving._limits import Limits
from bptt.serving._served_model import ServedModel
from bptt.serving._service import Service

_DRAIN_SECONDS = 5.0
_PING_SECONDS = 20.0  # between pings, and until the answer: clients that vanished are noticed
# Thresholds of Python's garbage collector, which looks at the objects of all connections while
# nobody is answered: a full collection after a million new objects, some 10,000 connections.
_GARBAGE = (20_000, 10, 5)
_MORE_FILES = 128  # than connections: sockets that listen, the log, the snapshot


class _Server(uvicorn.Server):  # type: ignore[misc]
    """A server that answers what is here before it closes connections."""

    def __init__(self, config: uvicorn.Config, service: Service, started: Callable[[], None]):
        super().__init__(config)
        self._service, self._tell_started = service, started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._tell_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._service.drain(_DRAIN_SECONDS)
        await super().shutdown(sockets)


class Listening(NamedTuple):
    """A server that has an address, and does not run yet."""

    server: _Server
    socket: socket.socket
    service: Service
    restored: int
    """Number of sessions of the snapshot."""


def listen(
    model: ServedModel,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    limits: Limits | None = None,
    token: str | None = None,
    origins: Collection[str] = (),
    snapshot: Path | None = None,
    snapshot_seconds: float | None = None,
    started: Callable[[str, int], None] = lambda url, restored: None,
) -> Listening:
    """Restore the sessions of a model, and listen; `run` serves them.

    Parameters
    ----------
    model : ServedModel
    host, port : str, int
        Where to listen; port 0 for a free one.
    limits : Limits, optional
    token : str, optional
        Bearer token that clients need.
    origins : collection of str
        Origins of other hosts' pages that may connect.
    snapshot : path, optional
        File of all states: restored from at the start, if it exists, and written at the end.
    snapshot_seconds : float, optional
        Seconds between two snapshots while the server runs.
    started : function
        Called with the URL and the number of restored sessions, when requests are answered.

    Returns
    -------
    Listening

    Raises
    ------
    OSError
        If the server cannot listen, or the snapshot cannot be read.
    ValueError
        If the snapshot is damaged, or of another model.
    """
    limits = limits or Limits()
    sessions = _sessions(model, limits, snapshot)
    access = Access(token, origins, host)
    files: dict[str, Any] = {"snapshot": snapshot, "snapshot_seconds": snapshot_seconds}
    service = Service(model, sessions, limits, access, **files)
    most = limits.connections + _MORE_FILES
    _allow_files(most)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.create_server((host, port), family=family, backlog=2048)
    url = f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}"
    config = uvicorn.Config(
        make_application(service),
        log_level="critical",  # others are noise of clients; failures have logs of their own
        access_log=False,
        server_header=False,
        proxy_headers=False,  # a client could give any address
        lifespan="on",
        ws="websockets-sansio",
        ws_max_size=limits.message_bytes,
        ws_ping_interval=_PING_SECONDS,
        ws_ping_timeout=_PING_SECONDS,
        ws_per_message_deflate=False,  # a small message could become a large one
        limit_concurrency=most,
        timeout_graceful_shutdown=int(_DRAIN_SECONDS),
    )
    restored = len(sessions)
    server = _Server(config, service, lambda: started(url, restored))
    return Listening(server, listening, service, restored)


def run(listening: Listening) -> int:
    """Serve until SIGINT or SIGTERM, and write the snapshot.

    Parameters
    ----------
    listening : Listening

    Returns
    -------
    int
        Number of sessions at the end.

    Raises
    ------
    OSError
        If the snapshot cannot be written.
    """
    server = listening.server
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GARBAGE)
    # A signal ends the server, not the process, which has states to save.
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, server.handle_exit) for number in signals}
    try:
        with listening.socket:
            server.run([listening.socket])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    listening.service.save()
    return len(listening.service.batcher)


def _sessions(model: ServedModel, limits: Limits, snapshot: Path | None) -> Any:
    from bptt.serving.sessions import Sessions

    options: dict[str, Any] = {"capacity": limits.sessions, "idle": None, "when_full": "error"}
    if snapshot is not None and snapshot.exists():
        sessions = Sessions.load(snapshot, model.network, **options)
        if not all(isinstance(key, str) for key in sessions):
            raise ValueError(f"cannot load {snapshot}: keys of sessions must be strings")
        return sessions
    return Sessions(model.network, **options)


def _allow_files(count: int) -> None:
    """Let the process have as many open files, as far as the system does."""
    try:
        import resource
    except ImportError:  # Windows
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
