"""The server: protocol, limits, access, sessions of clients that vanish, snapshots."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("prometheus_client")
pytest.importorskip("websockets")

from websockets import exceptions

import bptt
from bptt.serving._limits import Limits
from bptt.serving._served_model import ServedModel
from serve_clients import Server, ask, greeting, serving, single_stream, wait_until

TOKEN = "correct-horse-battery"
NETWORK = bptt.Sequential(bptt.LSTM(3, 8, seed=0), bptt.GRU(8, 4, seed=1))


def rows(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 3), dtype=np.float32)


@pytest.fixture(scope="module")
def server():
    with serving(ServedModel(NETWORK, "numbers")) as running:
        yield running


@pytest.fixture(scope="module")
def language_model():
    return bptt.LanguageModel(hidden_size=8, epochs=2, random_state=0).fit(["anna", "bob", "eve"])


# ---- steps


def test_answers_have_the_bits_of_a_single_stream(server) -> None:
    x = rows(7)
    expected = single_stream(NETWORK, x)
    with server.connect() as websocket:
        assert greeting(websocket)["new"] is True
        first = ask(websocket, x[:1].tobytes())
        rest = ask(websocket, x[1:4].tobytes())
        np.testing.assert_array_equal(
            np.frombuffer(first + rest, "<f4").reshape(4, 4), expected[:4]
        )
        answer = ask(websocket, {"inputs": x[4:].tolist()})
    assert (answer["step"], answer["new"]) == (7, False)
    np.testing.assert_array_equal(np.array(answer["outputs"], np.float32), expected[4:])


def test_http_and_websocket_share_a_session(server) -> None:
    x = rows(4, 1)
    expected = single_stream(NETWORK, x)
    answer = server.request("POST", "/v1/sessions/shared/step", {"inputs": x[:1].tolist()})
    assert (answer.status, answer.content["new"]) == (200, True)
    answer = server.request("POST", "/v1/sessions/shared/step", x[1:3].tobytes())
    assert (answer.status, answer.headers["Bptt-Step"]) == (200, "3")
    np.testing.assert_array_equal(np.frombuffer(answer.content, "<f4").reshape(2, 4), expected[1:3])
    with server.connect("/v1/sessions/shared/stream?resume=1") as websocket:
        assert greeting(websocket) == {"session": "shared", "new": False, "step": 3}
        outputs = np.frombuffer(ask(websocket, x[3:].tobytes()), "<f4")
    np.testing.assert_array_equal(outputs, expected[3])


def test_many_clients_at_once(server) -> None:
    """Steps that share calls of the kernel have the bits of streams stepped alone."""
    start = threading.Barrier(16)

    def client(seed: int) -> None:
        x = rows(12, seed)
        with server.connect() as websocket:
            greeting(websocket)
            start.wait(60)
            answers = [ask(websocket, row.tobytes()) for row in x[:8]]
            answers.append(ask(websocket, x[8:].tobytes()))
        found = np.frombuffer(b"".join(answers), "<f4").reshape(12, 4)
        np.testing.assert_array_equal(found, single_stream(NETWORK, x))

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(client, range(16)))


def test_reset_and_removal(server) -> None:
    x = rows(1, 2).tolist()
    path = "/v1/sessions/again"
    first = server.request("POST", f"{path}/step", {"inputs": x}).content
    second = server.request("POST", f"{path}/step", {"inputs": x}).content
    assert first["outputs"] != second["outputs"]
    assert server.request("POST", f"{path}/reset").content == {"session": "again", "step": 0}
    third = server.request("POST", f"{path}/step", {"inputs": x}).content
    assert third == {**first, "new": False}
    fourth = server.request("POST", f"{path}/step", {"inputs": x, "reset": True}).content
    assert fourth == third
    assert server.request("GET", path).content == {"session": "again", "step": 1}
    assert server.request("DELETE", path).status == 204
    for method, place in (("DELETE", path), ("GET", path), ("POST", f"{path}/reset")):
        assert server.request(method, place).status == 404
    assert server.request("POST", f"{path}/step?resume=1", {"inputs": x}).status == 404


def test_language_model_reads_start_by_itself(language_model) -> None:
    names = [str(name) for name in language_model.tokens_]
    with serving(ServedModel(language_model)) as server, server.connect() as websocket:
        greeting(websocket)
        answer = ask(websocket, {"text": "an", "top": 100})
        assert answer["tokens"] == ["a", "n"]
        for prompt, found in zip(("a", "an"), answer["top"], strict=True):
            expected = language_model.next_token_probabilities(prompt)
            assert [name for name, _ in found] == [*expected]
            np.testing.assert_allclose([p for _, p in found], [*expected.values()], rtol=1e-5)
        explicit = ask(websocket, {"inputs": ["<start>", "a"], "reset": True})
        assert explicit["outputs"][1] == ask(websocket, {"text": "a", "reset": True})["outputs"][0]
        ids = np.array([names.index("a")], "<i4").tobytes()
        ask(websocket, {"reset": True})
        np.testing.assert_array_equal(
            np.frombuffer(ask(websocket, ids), "<f4"), np.float32(explicit["outputs"][1])
        )
        assert ask(websocket, {"inputs": ["z"]})["step"] == 2  # is <unk>
        assert "list of characters" in ask(websocket, {"inputs": ["no character"]})["error"]


def test_model_is_described(server, language_model) -> None:
    found = server.request("GET", "/v1/model").content
    assert found["limits"]["message_steps"] == 1024
    expected = {"name": "numbers", "input": "numbers", "input_size": 3, "output_size": 4}
    assert {**found, **expected, "dtype": "float32", "names": None} == found
    found = ServedModel(language_model).describe()
    assert (found["input"], found["unit"], found["output"]) == (
        *("tokens", "characters"),
        "language model",
    )
    assert found["names"] == language_model.tokens_


# ---- messages that are none


@pytest.mark.parametrize(
    ("message", "status", "error"),
    [
        ("garbage", 400, "a message must be JSON, or a binary frame of rows"),
        ("[1]", 400, "a message must be a JSON object, got list"),
        ("[" * 20_000, 400, "a message must be JSON, or a binary frame of rows"),
        ('{"inputs": [[NaN, 0, 0]]}', 400, "a message must be JSON, or a binary frame of rows"),
        ("{}", 400, "a message must have inputs, text or reset"),
        ('{"input": 1}', 400, "fields must be inputs, text, reset, top, got 'input'"),
        ('{"inputs": 1}', 422, "inputs must be a list, one input a step"),
        ('{"inputs": [[1, 2]]}', 422, "inputs must be 3 numbers each, got 2"),
        ('{"inputs": [1, 2]}', 422, "inputs must be 3 numbers each, got shape (2,)"),
        ('{"inputs": [[1, 2, 3], [1]]}', 422, "inputs must be numbers, as many in each step"),
        ('{"inputs": [["1", "2", "3"]]}', 422, "inputs must be numbers"),
        ('{"inputs": [[1e99, 0, 0]]}', 422, "inputs must be finite numbers"),
        ('{"text": "a"}', 422, "text needs a model of characters or words: inputs are numbers"),
        (
            '{"inputs": [[1, 2, 3]], "text": ""}',
            400,
            "a message must have inputs or text, not both",
        ),
        ('{"reset": 1}', 400, "reset must be true or false"),
        ('{"reset": true, "top": 2}', 422, "top needs a model of classes or tokens: leave it out"),
        (b"abc", 400, "a binary message must be rows of 3 float32, 12 bytes each, got 3 bytes"),
        (b"", 400, "a binary message must be rows of 3 float32, 12 bytes each, got 0 bytes"),
        (b"\xff" * 12, 422, "inputs must be finite numbers"),
        (bytes(12 * 1025), 413, "a message must have at most 1024 steps, got 1025"),
    ],
)
def test_wrong_messages_change_nothing(server, message, status, error) -> None:
    x = rows(2, 3)
    with server.connect() as websocket:
        key = greeting(websocket)["session"]
        ask(websocket, x[:1].tobytes())
        expected = {"error": error, "status": status}
        assert ask(websocket, message) == expected
        answer = server.request("POST", f"/v1/sessions/{key}/step", message)
        assert (answer.status, answer.content) == (status, expected)
        outputs = np.frombuffer(ask(websocket, x[1:].tobytes()), "<f4")
    np.testing.assert_array_equal(outputs, single_stream(NETWORK, x)[1])


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/nothing", 404),
        ("PUT", "/healthz", 405),
        ("POST", "/v1/sessions/a%2Fb/step", 404),
        ("POST", "/v1/sessions/..%2F..%2Fetc/step", 404),
        ("POST", f"/v1/sessions/{'a' * 65}/step", 400),
        ("POST", "/v1/sessions/%00/step", 400),
        ("GET", "/v1/sessions/nobody", 404),
    ],
)
def test_wrong_paths(server, method, path, status) -> None:
    answer = server.request(method, path, {} if method == "POST" else None)
    assert (answer.status, answer.content["status"]) == (status, status)


def test_content_type_is_needed(server) -> None:
    answer = server.request("POST", "/v1/sessions/a/step", "{}", Content_Type="text/plain")
    assert answer.status == 415


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


# ---- the end


def test_answers_come_before_the_end(monkeypatch) -> None:
    with serving(ServedModel(NETWORK)) as server:
        begun, may_step = threading.Event(), threading.Event()
        sessions = server.service._sessions
        step = sessions.step

        def slow(keys, x):
            begun.set()
            assert may_step.wait(60)
            return step(keys, x)

        monkeypatch.setattr(sessions, "step", slow)
        with server.connect() as busy, server.connect() as idle:
            greeting(busy)
            greeting(idle)
            busy.send(rows(2).tobytes())
            assert begun.wait(60)
            server.stop()
            for websocket in (idle, busy):
                if websocket is busy:
                    may_step.set()
                    assert len(websocket.recv(60)) == 2 * 4 * 4
                with pytest.raises(exceptions.ConnectionClosed) as closed:
                    websocket.recv(60)
                assert closed.value.rcvd.code == 1012


def test_snapshots_while_the_server_runs(tmp_path) -> None:
    file = tmp_path / "sessions.safetensors"
    with serving(ServedModel(NETWORK), snapshot=file, snapshot_seconds=0.05) as server:
        server.request("POST", "/v1/sessions/a/step", rows(1).tobytes())
        wait_until(lambda: file.exists() and [*bptt.Sessions.load(file, NETWORK)] == ["a"])


# ---- the process


def start_process(model: Path, *options: object, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "bptt", "serve", model, "--port", "0", *options]
    return subprocess.Popen(
        [str(part) for part in command],
        env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_snapshot_survives_restarts(tmp_path) -> None:
    model, snapshot = tmp_path / "model.safetensors", tmp_path / "sessions.safetensors"
    NETWORK.save(model)
    x = rows(6, 7)
    found = []
    for part, number in ((x[:3], signal.SIGTERM), (x[3:], signal.SIGINT)):
        process = start_process(model, "--snapshot", snapshot)
        try:
            line = process.stdout.readline()
            server = Server(line.split()[2].rstrip(";,"))
            with server.connect("/v1/sessions/kept/stream") as websocket:
                assert greeting(websocket)["new"] is (not found)
                found.append(ask(websocket, part.tobytes()))
                process.send_signal(number)
                with pytest.raises(exceptions.ConnectionClosed) as closed:
                    websocket.recv(60)
                assert closed.value.rcvd.code == 1012
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
        assert process.returncode == 0, err
        assert (out, err) == ("", f"1 session written to {snapshot}\n")
    assert "1 session restored" in line
    outputs = np.frombuffer(b"".join(found), "<f4").reshape(6, 4)
    np.testing.assert_array_equal(outputs, single_stream(NETWORK, x))
