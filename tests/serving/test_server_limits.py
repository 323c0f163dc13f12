"""The server: limits, clients that vanish, access."""

from __future__ import annotations

import json
import socket
from urllib.parse import urlsplit

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("prometheus_client")
pytest.importorskip("websockets")

from websockets import exceptions

from bptt.serving._limits import Limits
from bptt.serving._served_model import ServedModel
from serve_clients import NETWORK, ask, greeting, rows, serving, single_stream, wait_until

TOKEN = "correct-horse-battery"


@pytest.fixture(scope="module")
def server():
    with serving(ServedModel(NETWORK, "numbers")) as running:
        yield running


# ---- limits


def test_large_messages(server) -> None:
    x = rows(2, 4)
    path = "/v1/sessions/large/step"
    server.request("POST", path, x[:1].tobytes())
    large = b" " * 70_000
    assert server.request("POST", path, large).status == 413
    chunked = server.request("POST", path, iter([large]), Content_Type="application/json")
    assert chunked.status == 413
    with server.connect("/v1/sessions/large/stream") as websocket:
        greeting(websocket)
        websocket.send(large)
        with pytest.raises(exceptions.ConnectionClosedError) as closed:
            websocket.recv(60)
    assert closed.value.rcvd.code == 1009
    wait_until(lambda: server.metric('bptt_errors_total{reason="size"}') >= 3)
    found = server.request("POST", path, x[1:].tobytes()).content
    np.testing.assert_array_equal(np.frombuffer(found, "<f4"), single_stream(NETWORK, x)[1])


def test_rate_of_a_session() -> None:
    limits = Limits(session_rate=0.001, message_steps=4)
    with serving(ServedModel(NETWORK), limits=limits) as server:
        with server.connect() as websocket:
            greeting(websocket)
            assert len(ask(websocket, rows(3).tobytes())) == 3 * 4 * 4
            assert ask(websocket, "garbage")["status"] == 400  # is the fourth
            refused = ask(websocket, rows(1).tobytes())
            assert refused["error"] == "a session may have 0.001 steps a second"
            assert refused["status"] == 429
            assert refused["retry_after"] > 900
        answer = server.request("POST", "/v1/sessions/other/step", rows(5).tobytes())
        assert answer.status == 413
        assert server.request("POST", "/v1/sessions/else/step", rows(4).tobytes()).status == 200
        answer = server.request("POST", "/v1/sessions/else/step", rows(1).tobytes())
        assert (answer.status, int(answer.headers["Retry-After"]) > 900) == (429, True)


def test_number_of_sessions_and_connections() -> None:
    limits = Limits(sessions=2, connections=1)
    x = {"inputs": rows(1).tolist()}
    with serving(ServedModel(NETWORK), limits=limits) as server:
        for key in "ab":
            assert server.request("POST", f"/v1/sessions/{key}/step", x).status == 200
        answer = server.request("POST", "/v1/sessions/c/step", x)
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
        assert answer.content["error"] == "the server has 2 sessions, and no room"
        assert server.request("POST", "/v1/sessions/a/step", x).content["step"] == 2
        server.request("DELETE", "/v1/sessions/b")
        assert server.request("POST", "/v1/sessions/c/step", x).status == 200
        with server.connect() as websocket:
            greeting(websocket)
            with pytest.raises(exceptions.InvalidStatus) as refused:
                server.connect()
            assert refused.value.response.status_code == 503
        assert server.metric('bptt_errors_total{reason="capacity"}') == 1


def test_idle_sessions_end_and_their_connections_learn_it() -> None:
    with serving(ServedModel(NETWORK), limits=Limits(idle=0.3)) as server:
        with server.connect("/v1/sessions/quiet/stream") as websocket:
            greeting(websocket)
            ask(websocket, rows(1).tobytes())
            with pytest.raises(exceptions.ConnectionClosed) as closed:
                websocket.recv(60)
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (
            4408,
            "no step for 0.3 seconds",
        )
        assert server.request("GET", "/v1/sessions/quiet").status == 404
        assert server.metric("bptt_sessions") == 0
        assert server.metric("bptt_evictions_total") == 1


# ---- clients that vanish


def raw_websocket(server, key: str) -> socket.socket:
    """Return a socket after the handshake of a WebSocket and its first message."""
    host, port = urlsplit(server.url).netloc.split(":")
    raw = socket.create_connection((host, int(port)), timeout=60)
    raw.sendall(
        f"GET /v1/sessions/{key}/stream HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
    )
    data = b""
    while b'"session"' not in data:
        data += raw.recv(4096)
    return raw


def test_clients_that_vanish_in_a_message(server) -> None:
    x = rows(3, 5)
    before = server.service.metrics.text().count(b"internal")
    with server.connect("/v1/sessions/good/stream") as good:
        greeting(good)
        found = [ask(good, x[:1].tobytes())]
        for frame in (
            b"\x82\xfe\x10\x00",  # a header that announces 4,096 bytes, and none
            b"\x82\x8c\0\0\0\0" + bytes(6),  # half a row
            b"\x02\x8c\0\0\0\0" + bytes(12),  # the first fragment of two
            b"\xff\xff" * 40,  # no frame
            b"\x81\x84\0\0\0\0\xff\xfe\xfd\xfc",  # no UTF-8
        ):
            raw = raw_websocket(server, "vanishing")
            raw.sendall(frame)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            raw.close()  # with a reset of the connection
        wait_until(lambda: server.metric("bptt_connections") == 1)
        found += [ask(good, row.tobytes()) for row in x[1:]]
    outputs = np.frombuffer(b"".join(found), "<f4").reshape(3, 4)
    np.testing.assert_array_equal(outputs, single_stream(NETWORK, x))
    assert server.request("GET", "/v1/sessions/vanishing").status == 404  # no step
    assert server.service.metrics.text().count(b"internal") == before


def test_body_that_never_comes() -> None:
    with serving(ServedModel(NETWORK), limits=Limits(receive_seconds=0.2)) as server:
        host, port = urlsplit(server.url).netloc.split(":")
        with socket.create_connection((host, int(port)), timeout=60) as raw:
            raw.sendall(
                f"POST /v1/sessions/slow/step HTTP/1.1\r\nHost: {host}\r\n"
                "Content-Type: application/json\r\nContent-Length: 50\r\n\r\n{".encode()
            )
            assert raw.recv(4096).startswith(b"HTTP/1.1 408 ")


def test_newest_connection_has_the_session(server) -> None:
    x = rows(2, 6)
    with server.connect("/v1/sessions/mine/stream") as old:
        greeting(old)
        first = ask(old, x[:1].tobytes())
        with server.connect("/v1/sessions/mine/stream?resume=1") as new:
            assert greeting(new)["step"] == 1
            with pytest.raises(exceptions.ConnectionClosed) as closed:
                old.recv(60)
            assert closed.value.rcvd.code == 4409
            both = first + ask(new, x[1:].tobytes())
    expected = single_stream(NETWORK, x)
    np.testing.assert_array_equal(np.frombuffer(both, "<f4").reshape(2, 4), expected)


def test_resume_of_nothing(server) -> None:
    with server.connect("/v1/sessions/nobody/stream?resume=1") as websocket:
        with pytest.raises(exceptions.ConnectionClosed) as closed:
            websocket.recv(60)
        assert closed.value.rcvd.code == 4404


# ---- access


def test_token() -> None:
    with serving(ServedModel(NETWORK), token=TOKEN) as server:
        right, wrong = {"Authorization": f"Bearer {TOKEN}"}, {"Authorization": f"Bearer {TOKEN}x"}
        for path in ("/v1/model", "/metrics", "/v1/sessions/a"):
            for headers in ({}, wrong, {"Authorization": TOKEN}, {"Authorization": "Bearer é"}):
                answer = server.request("GET", path, **headers)
                assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
            assert server.request("GET", path, **right).status in (200, 404)
        for path in ("/healthz", "/readyz", "/"):
            assert server.request("GET", path).status == 200
        with pytest.raises(exceptions.InvalidStatus) as refused:
            server.connect(additional_headers=wrong)
        assert refused.value.response.status_code == 401
        with server.connect(additional_headers=right) as websocket:
            assert greeting(websocket)["new"]
        with server.connect() as websocket:
            websocket.send(json.dumps({"token": TOKEN}))
            assert greeting(websocket)["new"]
            ask(websocket, rows(1).tobytes())
        for message in (json.dumps({"token": "no"}), "{}", "garbage", rows(1).tobytes()):
            with server.connect() as websocket:
                websocket.send(message)
                with pytest.raises(exceptions.ConnectionClosed) as closed:
                    websocket.recv(60)
                assert closed.value.rcvd.code == 4401
        assert len(server.service.batcher) == 1


def test_pages_of_other_hosts(server) -> None:
    ours = server.url
    assert server.request("GET", "/v1/model", Origin=ours).status == 200
    for headers in ({"Origin": "https://example.org"}, {"Origin": "null"}, {"Host": "evil.test"}):
        assert server.request("GET", "/v1/model", **headers).status == 403
    with pytest.raises(exceptions.InvalidStatus) as refused:
        server.connect(origin="https://example.org")
    assert refused.value.response.status_code == 403
    with (
        serving(ServedModel(NETWORK), origins=["https://example.org"]) as other,
        other.connect(origin="https://example.org") as websocket,
    ):
        assert greeting(websocket)["new"]


def test_page_has_no_other_host(server) -> None:
    for path in ("/", "/demo.js", "/demo.css"):
        answer = server.request("GET", path)
        assert answer.status == 200
        assert b"://" not in answer.content
        assert "connect-src 'self'" in answer.headers["Content-Security-Policy"]
