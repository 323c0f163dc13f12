"""The server: uvicorn with the application, until a signal ends it."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import uvicorn

from bptt.serving._access import Access
from bptt.serving._application import make_application
from bptt.serving._limits import Limits
from bptt.serving._served_model import ServedModel
from bptt.serving._service import Service

_DRAIN_SECONDS = 5.0
_PING_SECONDS = 20.0  # between pings, and until the answer: clients that vanished are noticed
_MORE_FILES = 128  # than connections: sockets that listen, the log, the snapshot


class _Server(uvicorn.Server):
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


def serve(
    model: ServedModel,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    limits: Limits | None = None,
    token: str | None = None,
    origins: Collection[str] = (),
    snapshot: Path | None = None,
    snapshot_seconds: float | None = None,
    started: Callable[[str, int], None] = lambda url, sessions: None,
) -> int:
    """Serve a model until SIGINT or SIGTERM.

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
        Called with the URL and the number of restored sessions.

    Returns
    -------
    int
        Number of sessions at the end.

    Raises
    ------
    OSError
        If the server cannot listen, or the snapshot cannot be read or written.
    ValueError
        If the snapshot is damaged, or of another model.
    """
    limits = limits or Limits()
    sessions = _sessions(model, limits, snapshot)
    restored = len(sessions)
    service = Service(
        model,
        sessions,
        limits,
        Access(token, origins, host),
        snapshot=snapshot,
        snapshot_seconds=snapshot_seconds,
    )
    _allow_files(limits.connections + _MORE_FILES)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family, backlog=2048) as listening:
        url_host = f"[{host}]" if ":" in host else host
        url = f"http://{url_host}:{listening.getsockname()[1]}"
        config = uvicorn.Config(
            make_application(service),
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,  # a client could give any address
            lifespan="on",
            ws="websockets-sansio",
            ws_max_size=limits.message_bytes,
            ws_ping_interval=_PING_SECONDS,
            ws_ping_timeout=_PING_SECONDS,
            ws_per_message_deflate=False,  # a small message could become a large one
            limit_concurrency=limits.connections + _MORE_FILES,
            timeout_graceful_shutdown=int(_DRAIN_SECONDS),
        )
        server = _Server(config, service, lambda: started(url, restored))
        _run(server, listening)
    service.save()
    return len(sessions)


def _sessions(model: ServedModel, limits: Limits, snapshot: Path | None) -> Any:
    from bptt.serving.sessions import Sessions

    options: dict[str, Any] = {"capacity": limits.sessions, "idle": None, "when_full": "error"}
    if snapshot is not None and snapshot.exists():
        return Sessions.load(snapshot, model.network, **options)
    return Sessions(model.network, **options)


def _run(server: _Server, listening: socket.socket) -> None:
    """Run the server; a signal ends it, not the process, which has states to save."""
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, server.handle_exit) for number in signals}
    try:
        server.run([listening])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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
