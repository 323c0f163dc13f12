"""The application: the routes of HTTP, and the page that shows them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from importlib.resources import files
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute

from bptt.serving._messages import RequestError, check_key, write_json
from bptt.serving._metrics import CONTENT_TYPE
from bptt.serving._service import Service
from bptt.serving._websocket import stream

_log = logging.getLogger("bptt.serving")

_JSON, _BINARY = "application/json", "application/octet-stream"
_NO_STORE = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
# The page has its own files and connection, and nothing else: no other host.
_PAGE_HEADERS = {
    **_NO_STORE,
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
}
_PAGE = (
    ("/", "index.html", "text/html"),
    ("/demo.js", "demo.js", "text/javascript"),
    ("/demo.css", "demo.css", "text/css"),
)


def make_application(service: Service) -> Starlette:
    """Return the application of a service, which it starts and closes."""

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        service.start()
        yield
        await service.close()

    session = "/v1/sessions/{key}"
    application = Starlette(
        routes=[
            *(Route(path, _file(name, kind)) for path, name, kind in _PAGE),
            Route("/healthz", _health),
            Route("/readyz", _ready),
            Route("/metrics", _metrics),
            Route("/v1/model", _model),
            Route(session, _session),
            Route(session, _remove, methods=["DELETE"]),
            Route(f"{session}/step", _step, methods=["POST"]),
            Route(f"{session}/reset", _reset, methods=["POST"]),
            WebSocketRoute("/v1/stream", stream),
            WebSocketRoute(f"{session}/stream", stream),
        ],
        lifespan=lifespan,
        exception_handlers={
            RequestError: _request_error,
            HTTPException: _http_error,
            Exception: _internal_error,
        },
    )
    application.state.service = service
    return application


def _json(content: Any, status: int = 200, **headers: str) -> Response:
    return Response(
        write_json(content), status, {**_NO_STORE, **headers}, media_type=f"{_JSON}; charset=utf-8"
    )


def _file(name: str, kind: str) -> Callable[[Request], Any]:
    """Return the endpoint of a file of the package."""
    content = (files("bptt.serving") / "static" / name).read_bytes()

    async def send(_: Request) -> Response:
        return Response(content, 200, _PAGE_HEADERS, media_type=f"{kind}; charset=utf-8")

    return send


def _checked(request: Request) -> Service:
    """Return the service, if the client may use it."""
    service: Service = request.app.state.service
    service.access.check_page(request.headers)
    service.access.check_header(request.headers)
    return service


def _key(request: Request) -> str:
    return check_key(request.path_params["key"])


# ---- what the server is


async def _health(_: Request) -> Response:
    return _json({"status": "ok"})


async def _ready(request: Request) -> Response:
    ready = request.app.state.service.is_ready
    return _json({"status": "ok" if ready else "stopping"}, 200 if ready else 503)


async def _metrics(request: Request) -> Response:
    return Response(_checked(request).metrics.text(), 200, _NO_STORE, media_type=CONTENT_TYPE)


async def _model(request: Request) -> Response:
    service = _checked(request)
    limits = service.limits
    return _json(
        {
            **service.model.describe(),
            "limits": {
                "message_bytes": limits.message_bytes,
                "message_steps": limits.message_steps,
                "session_rate": limits.session_rate,
                "idle_seconds": limits.idle,
            },
        }
    )


# ---- sessions


async def _session(request: Request) -> Response:
    service, key = _checked(request), _key(request)
    if key not in service.batcher:
        raise RequestError(404, "there is no such session", "session")
    return _json({"session": key, "step": service.batcher.step_of(key)})


async def _remove(request: Request) -> Response:
    service, key = _checked(request), _key(request)
    if not await service.batcher.remove(key):
        raise RequestError(404, "there is no such session", "session")
    return Response(status_code=204)


async def _step(request: Request) -> Response:
    service, key = _checked(request), _key(request)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in (_JSON, _BINARY):
        raise RequestError(415, f"Content-Type must be {_JSON} or {_BINARY}")
    data = await _body(request, service)
    resume = request.query_params.get("resume") == "1"
    answer = await service.answer(
        key, _client(request), data, binary=kind == _BINARY, resume=resume
    )
    service.metrics.messages.labels("http").inc()
    if isinstance(answer, bytes):
        step = {"Bptt-Step": str(service.batcher.step_of(key))}
        return Response(answer, 200, {**_NO_STORE, **step}, media_type=_BINARY)
    return _json(answer)


async def _reset(request: Request) -> Response:
    service, key = _checked(request), _key(request)
    message = '{"reset": true}'
    await service.answer(key, _client(request), message, binary=False, resume=True)
    return _json({"session": key, "step": 0})


def _client(request: Request) -> str:
    return request.client.host if request.client else ""


async def _body(request: Request, service: Service) -> bytes:
    """Return the body, which must be small and there in time."""
    most = service.limits.message_bytes
    too_large = RequestError(413, f"a message must have at most {most} bytes", "size")
    announced = request.headers.get("content-length", "0")
    if not announced.isascii() or not announced.isdigit() or int(announced) > most:
        raise too_large

    async def read() -> bytes:
        parts, size = [], 0
        async for part in request.stream():
            size += len(part)
            if size > most:
                raise too_large
            parts.append(part)
        return b"".join(parts)

    seconds = service.limits.receive_seconds
    try:
        return await asyncio.wait_for(read(), seconds)
    except asyncio.TimeoutError:
        raise RequestError(408, f"the body must be there in {seconds:g} seconds", "time") from None
    except ClientDisconnect:
        raise RequestError(400, "the client is gone", "gone") from None


# ---- errors


async def _request_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    headers = {}
    if error.retry_after is not None:
        headers["Retry-After"] = str(max(1, round(error.retry_after)))
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if error.status in (408, 413):  # there may be more that nobody reads
        headers["Connection"] = "close"
    return _json(request.app.state.service.failed(error), error.status, **headers)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    wrong = RequestError(error.status_code, error.detail.lower(), "path")
    return _json(request.app.state.service.failed(wrong), wrong.status, **dict(error.headers or {}))


async def _internal_error(request: Request, error: Exception) -> Response:
    _log.error("a request failed", exc_info=error)
    wrong = RequestError(500, "the server failed", "internal")
    return JSONResponse(request.app.state.service.failed(wrong), 500)
