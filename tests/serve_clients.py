"""A server of `python -m bptt serve` in a thread of the test, and its clients."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np

import bptt
from bptt.serving._server import listen

NETWORK = bptt.Sequential(bptt.LSTM(3, 8, seed=0), bptt.Linear(8, 4, seed=1))


def rows(count: int, seed: int = 0) -> np.ndarray:
    """Return inputs of `NETWORK`."""
    return np.random.default_rng(seed).standard_normal((count, 3), dtype=np.float32)


class Answer(NamedTuple):
    status: int
    content: Any
    headers: Any


class Server(NamedTuple):
    url: str
    service: Any = None
    stop: Any = None

    def request(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """Send a request; JSON unless the body is bytes."""
        kind = "application/octet-stream" if isinstance(body, bytes) else "application/json"
        data = json.dumps(body) if isinstance(body, (dict, list)) else body  # or parts of it
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None:
            given = {"Content-Type": kind, **given}
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=60)
        try:
            connection.request(method, path, data, given)
            response = connection.getresponse()
            content: Any = response.read()
            if response.headers.get("Content-Type", "").startswith("application/json"):
                content = json.loads(content)
            return Answer(response.status, content, response.headers)
        finally:
            connection.close()

    def connect(self, path: str = "/v1/stream", **options: Any) -> Any:
        """Return a WebSocket; its first message, with the session, is not yet read."""
        from websockets.sync.client import connect

        return connect(self.url.replace("http", "ws", 1) + path, compression=None, **options)

    def metric(self, name: str) -> float:
        lines = self.request("GET", "/metrics").content.decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.split()[0] == name)


@contextmanager
def serving(model: Any, **options: Any) -> Iterator[Server]:
    """Serve a `ServedModel` in a thread."""
    urls: list[str] = []
    listening = listen(model, port=0, started=lambda url, _: urls.append(url), **options)
    thread = threading.Thread(target=listening.server.run, args=([listening.socket],))
    thread.start()

    def stop() -> None:
        listening.server.should_exit = True

    try:
        wait_until(lambda: bool(urls))
        yield Server(urls[0], listening.service, stop)
    finally:
        stop()
        thread.join(60)
        listening.socket.close()
    assert not thread.is_alive()
    listening.service.save()


def ask(websocket: Any, message: Any) -> Any:
    """Send a message, JSON or bytes, and return the answer."""
    data = message if isinstance(message, (bytes, str)) else json.dumps(message)
    websocket.send(data)
    answer = websocket.recv(60)
    return answer if isinstance(answer, bytes) else json.loads(answer)


def greeting(websocket: Any) -> Any:
    return json.loads(websocket.recv(60))


def single_stream(network: Any, rows: Any) -> Any:
    """Return the outputs of a stream that is stepped alone."""
    state, outputs = None, []
    for row in rows:
        y, state = network.step(np.asarray(row)[np.newaxis], state)
        outputs.append(y[0])
    return np.stack(outputs)


def wait_until(is_so: Any, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)
