"""Files of sessions: the same bits, damage, other models."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

import bptt
from bptt import Sessions
from bptt._core.tensor_files import write_file
from session_streams import Clock, inputs, same_bits

pytest.importorskip("safetensors")


def model(seed: int = 0, hidden: int = 4) -> bptt.Sequential:
    return bptt.Sequential(
        bptt.LSTM(3, hidden, seed=seed), bptt.Linear(hidden, 2, seed=seed), pool="last"
    )


def started(clock: Clock | None = None, **options: object) -> Sessions:
    sessions = Sessions(model(), clock=clock or Clock(), **options)
    random = np.random.default_rng(0)
    sessions.step(["a", 7, "b"], inputs(sessions.model, 3, random))
    return sessions


def test_restored_sessions_go_on_with_the_same_bits(tmp_path):
    path, clock = tmp_path / "sessions.safetensors", Clock()
    sessions = started(clock, capacity=5, idle=60.0, when_full="error")
    clock.now += 10
    sessions.step(["a"], np.ones((1, 3), np.float32))
    clock.now += 20
    sessions.save(path)
    later = Clock()
    later.now = 5.0  # of another process
    restored = Sessions.load(path, model(), clock=later)
    assert (restored.capacity, restored.idle, restored.when_full) == (5, 60.0, "error")
    assert set(restored) == {"a", 7, "b"}
    x = np.random.default_rng(1).normal(size=(3, 3)).astype(np.float32)
    assert same_bits(restored.step(["b", "a", 7], x), sessions.step(["b", "a", 7], x))
    again = Sessions.load(path, model(), clock=later, idle=None, capacity=3)
    assert again.evict(30.0) == [7, "b"]
    later.now += 9.0
    assert again.evict(30.0) == []
    later.now += 1.0
    assert again.evict(30.0) == ["a"]


def test_no_sessions_are_a_file_too(tmp_path):
    Sessions(model()).save(tmp_path / "none")
    assert len(Sessions.load(tmp_path / "none", model())) == 0


def test_states_with_nan_are_kept(tmp_path):
    sessions = started()
    sessions.step(["b"], np.full((1, 3), np.nan, np.float32))
    sessions.save(tmp_path / "file")
    restored = Sessions.load(tmp_path / "file", model())
    for key in ("a", "b"):
        for own, expected in zip(restored.state(key)[0], sessions.state(key)[0], strict=True):
            assert same_bits(own, expected)
    assert np.isnan(restored.state("b")[0].h).all()


@pytest.mark.parametrize("key", [1.5, ("a", 1), True, None, b"a"])
def test_keys_of_other_types_cannot_be_saved(tmp_path, key):
    sessions = started()
    sessions.step([key], np.zeros((1, 3), np.float32))
    with pytest.raises(TypeError, match="keys in a file must be strings or integers"):
        sessions.save(tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_another_model_is_refused(tmp_path):
    path = tmp_path / "file"
    started().save(path)
    with pytest.raises(ValueError, match="sessions are of another model, with other parameters"):
        Sessions.load(path, model(seed=1))
    with pytest.raises(ValueError, match="another model: they have states"):
        Sessions.load(path, model(hidden=5))
    with pytest.raises(ValueError, match="another model"):
        Sessions.load(path, model()[0])
    changed = model()
    changed[1]["bias"] = np.array([0.0, 1e-7], np.float32)
    with pytest.raises(ValueError, match="another model, with other parameters"):
        Sessions.load(path, changed)
    with pytest.raises(ValueError, match="at least the file's 3 sessions, got capacity=2"):
        Sessions.load(path, model(), capacity=2)


def test_an_equal_model_from_a_file_is_accepted(tmp_path):
    started().save(tmp_path / "sessions")
    model().save(tmp_path / "model")
    assert len(Sessions.load(tmp_path / "sessions", bptt.Sequential.load(tmp_path / "model"))) == 3


def test_damaged_files_are_refused(tmp_path):
    path = tmp_path / "file"
    started().save(path)
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    for place in [*range(8), *random.integers(8, len(whole), 150).tolist()]:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(random.integers(8))
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=re.escape(str(path))):
            Sessions.load(path, model())
    for size in (0, 7, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match="cannot load"):
            Sessions.load(path, model())


def rewrite(path: Path, header: dict[str, object], tensors: object = None) -> None:
    """Change entries of the header, and tensors, of a file whose checksum then is right."""
    with safe_open(path, framework="numpy") as file:
        before = json.loads(file.metadata()["bptt"])
    del before["checksum"]
    write_file(path, {**load_file(path), **(tensors or {})}, {**before, **header}, allow_nan=True)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("keys", ["a", "b"], "states"),
        ("keys", ["a", "a", 7], "keys must be distinct"),
        ("keys", ["a", 1.5, 7], "keys must be strings or integers, got float"),
        ("keys", ["a", True, 7], "keys must be strings or integers, got bool"),
        ("keys", "ab7", "keys must be of type list"),
        ("options", 3, "options must be a mapping"),
        ("options", {"capacity": 3}, "'idle' is missing in options"),
        (
            "options",
            {"capacity": 0, "idle": None, "when_full": "evict"},
            "capacity must be an integer >= 1, got 0",
        ),
        ("format", "sessions 2", "format sessions 2|has format 2"),
        ("model", None, "another model"),
    ],
)
def test_headers_are_checked(tmp_path, name, value, message):
    path = tmp_path / "file"
    started().save(path)
    rewrite(path, {name: value})
    with pytest.raises((TypeError, ValueError), match=message):
        Sessions.load(path, model())


@pytest.mark.parametrize("age", [-1.0, np.nan, np.inf])
def test_ages_are_checked(tmp_path, age):
    path = tmp_path / "file"
    started().save(path)
    rewrite(path, {}, {"ages": np.array([0.0, age, 0.0])})
    with pytest.raises(ValueError, match="ages must be finite and >= 0"):
        Sessions.load(path, model())


def test_a_file_of_something_else_is_refused(tmp_path):
    model().save(tmp_path / "model")
    with pytest.raises(ValueError, match="not a file of"):
        Sessions.load(tmp_path / "model", model())
    with pytest.raises(FileNotFoundError):
        Sessions.load(tmp_path / "nothing", model())
