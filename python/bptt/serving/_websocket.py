"""A WebSocket: one session, whose messages are answered in their order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

from starlette.responses import JSONResponse
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from bptt.serving._messages import RequestError, check_key, read_object, write_json
from bptt.serving._service import NO_SESSION, RESTART, TOKEN, Service, new_key

_log = logging.getLogger("bptt.serving")

# Codes with which uvicorn ends connections -> reason of the error.
_BROKEN = {1002: "frame", 1007: "frame", 1009: "size"}
_FAILED = 1011


async def stream(websocket: WebSocket) -> None:
    """Answer the messages of a connection until it ends."""
    service: Service = websocket.app.state.service
    headers = websocket.headers
    try:
        service.access.check_page(headers)
        by_message = service.access.needs_token and "authorization" not in headers
        if not by_message:
            service.access.check_header(headers)
        key = check_key(websocket.path_params.get("key") or new_key())
        with service.counted():
            await _Stream(websocket, service, key).run(by_message)
    except RequestError as error:
        content = service.failed(error)
        await websocket.send_denial_response(JSONResponse(content, error.status))


class _Stream:
    """A connection that was accepted."""

    def __init__(self, websocket: WebSocket, service: Service, key: str) -> None:
        self._websocket, self._service, self._key = websocket, service, key
        self._client = websocket.client.host if websocket.client else ""
        self._busy = False

    async def run(self, by_message: bool) -> None:
        service, key = self._service, self._key
        await self._websocket.accept()
        try:
            if by_message and not await self._has_token():
                return
            if self._websocket.query_params.get("resume") == "1" and key not in service.batcher:
                service.failed(RequestError(404, "there is no such session", "session"))
                await self._close(NO_SESSION, "there is no such session")
                return
            await service.attach(key, self)
            step = service.batcher.step_of(key)
            await self._send({"session": key, "new": key not in service.batcher, "step": step})
            while await self._answer_next():
                pass
        except (WebSocketDisconnect, OSError):
            pass  # the client is gone; its session stays until it is idle
        except Exception:
            _log.exception("a connection failed")
            await self._close(_FAILED, "the server failed")
        finally:
            service.detach(key, self)

    async def end(self, code: int, reason: str) -> None:
        """Close the connection; when the server stops, after the answer that it waits for."""
        if not (code == RESTART and self._busy):
            await self._close(code, reason)

    async def _has_token(self) -> bool:
        """Read the token, which pages of browsers send as their first message."""
        try:
            message = await asyncio.wait_for(
                self._websocket.receive(), self._service.limits.receive_seconds
            )
            text = message.get("text")
            self._service.access.check_token(text and read_object(text).get("token"))
        except asyncio.TimeoutError:
            error = RequestError(401, "the first message must be the token, in time", "token")
        except RequestError as wrong:
            error = RequestError(401, "the first message must be the token", "token")
            error.__cause__ = wrong
        else:
            return True
        self._service.failed(error)
        await self._close(TOKEN, str(error))
        return False

    async def _answer_next(self) -> bool:
        """Answer a message; return whether there may be more."""
        message = await self._websocket.receive()
        if message["type"] == "websocket.disconnect":
            reason = _BROKEN.get(message.get("code", 0))
            if reason is not None:
                self._service.failed(RequestError(400, "a broken frame", reason))
            return False
        data: Any = message.get("bytes")
        binary = data is not None
        self._busy = True
        try:
            answer: Any = await self._service.answer(
                self._key, self._client, data if binary else message["text"], binary=binary
            )
            self._service.metrics.messages.labels("websocket").inc()
        except RequestError as error:
            answer = self._service.failed(error)
        finally:
            self._busy = False
        await self._send(answer)
        if self._service.is_stopping:
            await self._close(RESTART, "the server stops")
        return self._is_open

    @property
    def _is_open(self) -> bool:
        return self._websocket.application_state is WebSocketState.CONNECTED

    async def _send(self, content: Any) -> None:
        if not self._is_open:  # closed by `end`
            return
        if isinstance(content, bytes):
            await self._websocket.send_bytes(content)
        else:
            await self._websocket.send_text(write_json(content))

    async def _close(self, code: int, reason: str) -> None:
        if self._is_open:
            with contextlib.suppress(WebSocketDisconnect, OSError, RuntimeError):  # it is gone
                await self._websocket.close(code, reason)
