"""Parts of the server: buckets, batches, models that are refused, the command."""

from __future__ import annotations

import asyncio
import threading

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("prometheus_client")
pytest.importorskip("websockets")

import bptt
from bptt.serving._access import Access, is_loopback
from bptt.serving._batcher import Batcher
from bptt.serving._limits import RateLimit
from bptt.serving._messages import Request, RequestError, read_binary
from bptt.serving._metrics import Metrics
from bptt.serving._served_model import ServedModel
from command_line import fails

# ---- rates


def test_bucket_fills_at_its_rate() -> None:
    now = [0.0]
    limit = RateLimit("session", 10.0, seconds=2.0, clock=lambda: now[0])
    limit.take("a", 20)
    with pytest.raises(RequestError, match="a session may have 10 steps a second") as refused:
        limit.take("a", 5)
    assert (refused.value.status, refused.value.retry_after) == (429, 0.5)
    limit.take("b", 20)  # has a bucket of its own
    now[0] = 0.5
    limit.take("a", 5)
    with pytest.raises(RequestError):
        limit.take("a", 1)
    now[0] = 1e6
    limit.take("a", 20)  # no more than full
    with pytest.raises(RequestError):
        limit.take("a", 1)


def test_full_buckets_are_forgotten() -> None:
    now = [0.0]
    limit = RateLimit("client", 1.0, clock=lambda: now[0])
    for i in range(100_000):
        limit.take(i, 1)
        now[0] += 0.01
    assert len(limit) < 2500
    RateLimit("client", None).take("a", 10**9)  # no limit


# ---- batches


class Sums:
    """Sessions whose state is the sum of their inputs; every call is recorded."""

    nbytes = 0

    def __init__(self) -> None:
        self.states: dict[str, np.ndarray] = {}
        self.calls: list[list[str]] = []
        self.may_step = threading.Event()
        self.may_step.set()

    def __iter__(self):
        return iter(self.states)

    def step(self, keys, x):
        assert len(set(keys)) == len(keys)
        self.calls.append(list(keys))
        assert self.may_step.wait(60)
        if np.isinf(x).any():
            raise ValueError("infinite")
        for key, row in zip(keys, x, strict=True):
            self.states[key] = self.states.get(key, 0.0) + row
        return np.stack([self.states[key] for key in keys])

    def reset(self, keys):
        for key in keys:
            self.states[key] = np.zeros_like(self.states[key])

    def remove(self, keys):
        for key in keys:
            del self.states[key]

    def evict(self, idle_seconds):
        return []

    def save(self, path):
        pass


MODEL = ServedModel(bptt.Sequential(bptt.RNN(2, 2, seed=0)))


def ask(*values: float, **options: object) -> Request:
    return Request(np.repeat(np.float32([values]).T, 2, axis=1), **options)


def batched(scenario, capacity: int = 100, max_rows: int = 100) -> Sums:
    """Run a scenario with a batcher on `Sums`."""
    sums = Sums()

    async def run() -> None:
        batcher = Batcher(sums, MODEL, capacity, Metrics(), max_rows)
        batcher.start()
        try:
            await scenario(batcher, sums)
        finally:
            await batcher.close()

    asyncio.run(run())
    return sums


def test_steps_that_come_while_the_kernel_works_are_one_call() -> None:
    async def scenario(batcher: Batcher, sums: Sums) -> None:
        sums.may_step.clear()
        first = asyncio.create_task(batcher.run("a", ask(1, 2, 3)))
        while not sums.calls:
            await asyncio.sleep(0.001)
        rest = [asyncio.create_task(batcher.run(key, ask(1, 1))) for key in "bcda"]
        await asyncio.sleep(0)
        sums.may_step.set()
        results = await asyncio.gather(first, *rest)
        assert [result.outputs[:, 0].tolist() for result in results] == [
            [1, 3, 6],
            *([[1, 2]] * 3),
            [7, 8],  # of one session in their order
        ]
        assert [result.step for result in results] == [3, 2, 2, 2, 5]
        assert [result.new for result in results] == [True, True, True, True, False]

    calls = batched(scenario).calls
    assert [sorted(call) for call in calls] == [["a"], [*"abcd"], [*"abcd"], ["a"], ["a"]]


def test_calls_have_at_most_max_rows_and_sessions_take_turns() -> None:
    async def scenario(batcher: Batcher, sums: Sums) -> None:
        await asyncio.gather(*(batcher.run(key, ask(1, 1)) for key in "abcde"))

    calls = batched(scenario, max_rows=2).calls
    assert calls == [["a", "b"], ["c", "d"], ["e", "a"], ["b", "c"], ["d", "e"]]


def test_capacity_resume_reset_and_removal() -> None:
    async def scenario(batcher: Batcher, sums: Sums) -> None:
        results = await asyncio.gather(
            *(batcher.run(key, ask(1)) for key in "abc"), return_exceptions=True
        )
        assert [getattr(result, "status", 200) for result in results] == [200, 200, 503]
        with pytest.raises(RequestError, match="there is no such session"):
            await batcher.run("d", ask(1), resume=True)
        result = await batcher.run("a", ask(5, reset=True))
        assert (result.outputs[0, 0], result.step, result.new) == (5, 1, False)
        assert await batcher.remove("b")
        assert not await batcher.remove("b")
        assert (await batcher.run("c", ask(1))).new
        assert [*sums.states] == ["a", "c"]

    batched(scenario, capacity=2)


def test_a_failed_call_and_clients_that_are_gone() -> None:
    async def scenario(batcher: Batcher, sums: Sums) -> None:
        await batcher.run("a", ask(1))
        with pytest.raises(RequestError, match="the step failed") as failed:
            await batcher.run("b", ask(np.inf))
        assert failed.value.status == 500
        sums.may_step.clear()
        running = asyncio.create_task(batcher.run("a", ask(1, 1)))
        while sums.calls[-1] != ["a"] or len(sums.calls) < 3:
            await asyncio.sleep(0.001)
        waiting = asyncio.create_task(batcher.run("c", ask(1)))
        await asyncio.sleep(0)
        waiting.cancel()
        running.cancel()
        await asyncio.sleep(0)
        sums.may_step.set()
        result = await batcher.run("a", ask(1))
        # The step that ran is in the state, the one that had not begun is not.
        assert (result.step, result.outputs[0, 0]) == (3, 3)
        assert [*sums.states] == ["a"]
        assert batcher.is_working

    batched(scenario)


def test_requests_fail_when_the_server_stops() -> None:
    async def scenario(batcher: Batcher, sums: Sums) -> None:
        sums.may_step.clear()
        tasks = [asyncio.create_task(batcher.run(key, ask(1))) for key in "ab"]
        while not sums.calls:
            await asyncio.sleep(0.001)
        threading.Timer(0.05, sums.may_step.set).start()
        await batcher.close()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [result.status for result in results] == [503, 503]

    batched(scenario)


# ---- models


LSTM = {"hidden_size": 4, "epochs": 1, "random_state": 0}


@pytest.mark.parametrize(
    ("model", "rule"),
    [
        (bptt.LSTM(2, 3, bidirectional=True), "sessions need bidirectional=False"),
        (bptt.Sequential(bptt.LSTM(2, 3), pool="mean"), "pool='mean'"),
        (bptt.Sequential(bptt.LSTM(2, 3), bptt.CRF(3)), "sessions need a model without a CRF"),
    ],
)
def test_models_that_need_whole_sequences(model, rule) -> None:
    with pytest.raises(ValueError, match=rule):
        ServedModel(model)


def test_models_are_no_others() -> None:
    with pytest.raises(TypeError, match="must be a recurrent layer, a Sequential"):
        ServedModel("model")


def test_numbers_are_in_the_units_of_the_data() -> None:
    X = np.random.default_rng(0).normal(50.0, 9.0, (40, 5, 2)).astype(np.float32)
    model = bptt.SequenceRegressor(pool="last", scale=True, **LSTM).fit(X, X[:, -1, 0])
    served = ServedModel(model)
    rows, state = served.encode(X[0].tolist()), None
    for row in rows:
        y, state = served.network.step(row[np.newaxis], state)
    np.testing.assert_allclose(served.outputs(y)[0, 0], model.predict(X[:1])[0], rtol=1e-5)
    assert served.describe()["output"] == "outputs"


def test_words_with_features_are_no_binary_rows() -> None:
    model = bptt.SequenceTagger(tokens="words", embedding_size=4, affixes=2, **LSTM)
    served = ServedModel(model.fit(["a b", "b a"], [["X", "Y"], ["Y", "X"]]))
    assert served.encode(["a", "unknown"]).ndim == 2
    assert served.describe()["names"] == ["X", "Y"]
    with pytest.raises(RequestError, match="use JSON"):
        read_binary(served, bytes(8), 10)


def test_classes_of_characters() -> None:
    model = bptt.SequenceClassifier(pool="last", **LSTM).fit(["ab", "ba"] * 3, ["x", "y"] * 3)
    served = ServedModel(model)
    rows = served.encode(served.tokenize("ab"))
    assert (
        rows.tolist()
        == served.encode(["a", "b"]).tolist()
        == model.encoder_.transform(["ab"])[0].tolist()
    )
    with pytest.raises(TypeError, match="a list of characters"):
        served.encode(["ab"])


def test_ids() -> None:
    served = ServedModel(bptt.Sequential(bptt.Embedding(5, 2), bptt.GRU(2, 3)))
    assert served.encode([4, 0]).dtype == np.int32
    for wrong in ([5], [-1], [1.5], ["1"], [[1]], [True], [2**70]):
        with pytest.raises((TypeError, ValueError), match=r"(ids|inputs) must be"):
            served.encode(wrong)
    assert read_binary(served, np.int32([3]).tobytes(), 10).rows.tolist() == [3]


# ---- access


def test_hosts() -> None:
    for host in ("localhost", "127.0.0.1", "127.8.9.1", "::1", "[::1]"):
        assert is_loopback(host)
    for host in ("0.0.0.0", "::", "example.org", "localhost.example.org", "10.0.0.1", ""):
        assert not is_loopback(host)
    local = Access()
    for host in ("localhost:8000", "127.0.0.1", "[::1]:80"):
        local.check_page({"host": host, "origin": f"http://{host}"})
    for headers in ({}, {"host": "rebound.test"}, {"host": "localhost", "origin": "http://a.b"}):
        with pytest.raises(RequestError):
            local.check_page(headers)
    Access("a" * 16).check_page({"host": "any.host:80"})


# ---- the command


@pytest.fixture
def model_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BPTT_SERVE_TOKEN", raising=False)
    bptt.Sequential(bptt.LSTM(2, 3, seed=0)).save("a.safetensors")
    return "a.safetensors"


def test_errors_of_use(model_file, capsys, tmp_path, monkeypatch) -> None:
    error = fails(capsys, "serve", "missing.safetensors")
    assert error == "cannot load missing.safetensors: there is no such file"
    error = fails(capsys, "serve", model_file, "--host", "0.0.0.0")
    assert error.startswith("--host 0.0.0.0 lets other machines in: set BPTT_SERVE_TOKEN or")
    error = fails(capsys, "serve", model_file, "--snapshot-every", "5")
    assert error == "argument --snapshot-every: needs --snapshot FILE"
    assert "it is the input file" in fails(capsys, "serve", model_file, "--snapshot", model_file)
    assert "cannot read" in fails(capsys, "serve", model_file, "--token-file", tmp_path)
    monkeypatch.setenv("BPTT_SERVE_TOKEN", "short")
    assert "at least 16 printable ASCII characters" in fails(capsys, "serve", model_file)


def test_models_and_snapshots_that_do_not_fit(model_file, capsys) -> None:
    bptt.Sequential(bptt.LSTM(2, 3, bidirectional=True)).save("two.safetensors")
    error = fails(capsys, "serve", "two.safetensors")
    assert error.startswith("cannot serve two.safetensors: sessions need bidirectional=False")
    error = fails(capsys, "serve", model_file, "--snapshot", "two.safetensors")
    assert "two.safetensors" in error
    sessions = bptt.Sessions(bptt.Sequential(bptt.LSTM(2, 3, seed=1)))
    sessions.step(["a"], np.zeros((1, 2), np.float32))
    sessions.save("other.safetensors")
    error = fails(capsys, "serve", model_file, "--snapshot", "other.safetensors")
    assert "of another model" in error


def test_port_that_is_taken(model_file, capsys) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        error = fails(capsys, "serve", model_file, "--port", taken.getsockname()[1])
    assert "in use" in error
