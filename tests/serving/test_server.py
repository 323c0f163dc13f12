"""The server: messages and their answers, its end, snapshots."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("prometheus_client")
pytest.importorskip("websockets")

from websockets import exceptions

import bptt
from bptt.serving._served_model import ServedModel
from serve_clients import (
    NETWORK,
    Server,
    ask,
    greeting,
    rows,
    serving,
    single_stream,
    wait_until,
)


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
