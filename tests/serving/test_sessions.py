"""Sessions against the same streams stepped alone, and what errors leave."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bptt
from bptt import Sessions
from bptt.serving import SessionsFullError
from session_streams import MODELS, Alone, Clock, flat, inputs, same_bits

KEYS: list[Any] = ["Ann", "Bob", 3, "Eve", "", 0, "ω", -7]
some_keys = st.lists(st.sampled_from(KEYS), min_size=1, max_size=6, unique=True)
operations = st.one_of(
    st.tuples(st.just("step"), some_keys),
    st.tuples(st.just("step"), some_keys),
    st.tuples(st.just("reset"), some_keys),
    st.tuples(st.just("remove"), some_keys),
    st.tuples(st.just("evict"), st.integers(0, 30)),
    st.tuples(st.just("wait"), st.integers(1, 20)),
    st.tuples(st.just("snapshot"), st.none()),
    st.tuples(st.just("refuse"), some_keys),
)


class Comparison:
    """Sessions and the streams alone, side by side."""

    def __init__(self, name: str, capacity: int, idle: float | None, path: Any) -> None:
        self.model, self.clock, self.path = MODELS[name], Clock(), path
        self.sessions = Sessions(self.model, capacity=capacity, idle=idle, clock=self.clock)
        self.alone = Alone(self.model)
        self.random = np.random.default_rng(0)

    def run(self, kind: str, argument: Any) -> None:
        idle = self.sessions.idle
        if idle is not None:
            self.alone.remove(self.alone.idle(self.clock.now - idle))
        getattr(self, kind)(argument)

    def step(self, keys: list[Any]) -> None:
        x = inputs(self.model, len(keys), self.random)
        known = self.alone.used
        over = len(set(known) | set(keys)) - self.sessions.capacity
        self.check_evicted(keys, self.sessions.step(keys, x), x, over)
        self.clock.now += 1.0

    def check_evicted(self, keys: list[Any], y: Any, x: Any, over: int) -> None:
        others = {k: time for k, time in self.alone.used.items() if k not in keys}
        evicted = set(others) - set(self.sessions)
        assert len(evicted) == max(over, 0)
        assert sorted(others[key] for key in evicted) == sorted(others.values())[: len(evicted)]
        self.alone.remove(evicted)
        for own, expected in zip(y, self.alone.step(keys, x, self.clock.now), strict=True):
            assert same_bits(own[np.newaxis], expected)

    def reset(self, keys: list[Any]) -> None:
        known = [key for key in keys if key in self.sessions]
        self.sessions.reset(known)
        self.alone.reset(known)

    def remove(self, keys: list[Any]) -> None:
        known = [key for key in keys if key in self.sessions]
        self.sessions.remove(known)
        self.alone.remove(known)

    def evict(self, seconds: int) -> None:
        found = self.sessions.evict(seconds)
        assert set(found) == self.alone.idle(self.clock.now - seconds)
        assert sorted(self.alone.used[key] for key in found) == [
            self.alone.used[key] for key in found
        ]
        self.alone.remove(found)

    def wait(self, seconds: int) -> None:
        self.clock.now += seconds

    def snapshot(self, _: None) -> None:
        self.sessions.save(self.path)
        self.clock.now += 0.0
        self.sessions = Sessions.load(self.path, self.model, clock=self.clock)

    def refuse(self, keys: list[Any]) -> None:
        x = inputs(self.model, len(keys), self.random)
        with pytest.raises(ValueError, match="rows, one for each key"):
            self.sessions.step(keys, x[1:])
        with pytest.raises(ValueError, match="distinct"):
            self.sessions.step([*keys, keys[0]], np.concatenate([x, x[:1]]))
        with pytest.raises(KeyError, match="nobody"):
            self.sessions.reset([*list(self.sessions)[:2], "nobody"])
        with pytest.raises(KeyError, match="nobody"):
            self.sessions.remove([*list(self.sessions)[:2], "nobody"])


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=12, deadline=None)
@given(
    schedule=st.lists(operations, max_size=25),
    capacity=st.integers(6, 9),
    idle=st.sampled_from([None, 15.0]),
)
def test_streams_have_the_bits_of_each_stepped_alone(
    tmp_path_factory, name, schedule, capacity, idle
):
    path = tmp_path_factory.mktemp("snapshots", numbered=True) / "sessions"
    both = Comparison(name, capacity, idle, path)
    for kind, argument in schedule:
        both.run(kind, argument)
        if idle is None:
            both.alone.check(both.sessions)


@pytest.mark.parametrize("count", [1, 3, 40, 300])
@pytest.mark.parametrize("name", MODELS)
def test_batches_of_every_size_have_the_same_bits(name, count):
    model, random = MODELS[name], np.random.default_rng(1)
    sessions, alone = Sessions(model), Alone(model)
    keys = list(range(count))
    for _ in range(3):
        x = inputs(model, count, random)
        y = sessions.step(keys, x)
        some = keys if count < 100 else keys[::17]
        for key, expected in zip(some, alone.step(some, x[some], 0.0), strict=True):
            assert same_bits(y[key][np.newaxis], expected)
    assert all(
        same_bits(own, expected)
        for key in some
        for own, expected in zip(flat(sessions.state(key)), flat(alone.states[key]), strict=True)
    )


def lstm(**options: Any) -> Any:
    return bptt.LSTM(3, 4, seed=0, **options)


X = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)


def test_least_recently_used_sessions_make_room():
    clock = Clock()
    sessions = Sessions(lstm(), capacity=3, clock=clock)
    for key in ("a", "b", "c", "a", "d"):
        sessions.step([key], X[:1])
        clock.now += 1
    assert list(sessions) == ["a", "c", "d"]
    sessions.step(["e", "c"], X[:2])
    assert set(sessions) == {"c", "d", "e"}
    with pytest.raises(ValueError, match="at most capacity = 3 in one call, got 4"):
        sessions.step(["a", "b", "c", "d"], X[:4])
    assert set(sessions) == {"c", "d", "e"}


def test_full_sessions_may_refuse_new_keys():
    sessions = Sessions(lstm(), capacity=2, when_full="error")
    sessions.step(["a", "b"], X[:2])
    before = [array.copy() for array in sessions.state("a")]
    with pytest.raises(SessionsFullError, match="2 of 2 sessions, and 1 of the keys are new"):
        sessions.step(["a", "c"], X[:2])
    assert list(sessions) == ["a", "b"]
    assert all(map(same_bits, sessions.state("a"), before))
    sessions.remove(["b"])
    sessions.step(["a", "c"], X[:2])
    assert list(sessions) == ["a", "c"]


def test_idle_sessions_end_by_themselves():
    clock = Clock()
    sessions = Sessions(lstm(), idle=10.0, clock=clock)
    first = sessions.step(["a"], X[:1])
    clock.now += 6
    sessions.step(["b"], X[:1])
    clock.now += 3.5
    assert "a" in sessions
    clock.now += 0.5
    assert "a" not in sessions
    assert "b" in sessions
    assert same_bits(sessions.step(["a"], X[:1]), first)
    clock.now += 100
    assert len(sessions) == 0
    assert list(sessions) == []


def test_memory_is_the_state_and_one_number_a_session():
    sessions = Sessions(bptt.LSTM(3, 64, num_layers=2, seed=0), capacity=500)
    assert sessions.bytes_per_session == 2 * 2 * 64 * 4
    x, sizes = np.zeros((100, 3), np.float32), []
    for start in range(0, 2000, 100):  # from 500 on, others take the places
        sessions.step(range(start, start + 100), x)
        sizes.append(sessions.nbytes)
    assert len(sessions) == 500
    assert sizes[-1] == 501 * (sessions.bytes_per_session + 8)
    assert sizes == sorted(sizes)
    assert sizes[4:] == sizes[-1:] * 16


def test_changes_of_parameters_count_from_the_next_step_on():
    layer = lstm(learn_initial_state=True)
    sessions = Sessions(layer)
    sessions.step(["a"], X[:1])
    layer["h0_l0"] = np.full(4, 0.5, np.float32)
    assert same_bits(sessions.step(["b"], X[:1]), layer.step(X[:1])[0])
    sessions.reset(["a"])
    assert same_bits(sessions.step(["a"], X[:1]), layer.step(X[:1])[0])


@pytest.mark.parametrize(
    ("keys", "x", "error", "message"),
    [
        ("ab", X[:2], TypeError, "keys must be a list or an array, got str"),
        (["a", []], X[:2], TypeError, "keys must be hashable, got list"),
        (["a", ("b", [])], X[:2], TypeError, "keys must be hashable, got tuple"),
        (["a", "b", "a"], X[:3], ValueError, "keys must be distinct, got 'a' 2 times"),
        (["a", "b"], X[:3], ValueError, "x must have 2 rows, one for each key, got shape (3, 3)"),
        (
            ["a", "b"],
            X[:2, :2],
            ValueError,
            "x must have shape (batch, input_size) with input_size = 3, got (2, 2)",
        ),
        (["a", "b"], X[:2].astype("f8"), TypeError, "float32"),
        (["a", "b"], np.array([0, 3]), ValueError, "[0, 3)"),
        (["a", "b"], [[1.0, 2.0, 3.0]] * 2, TypeError, "x must be a NumPy array, got list"),
    ],
)
def test_calls_that_fail_change_nothing(keys, x, error, message):
    clock = Clock()
    sessions = Sessions(lstm(), capacity=3, clock=clock)
    sessions.step(["z", "a"], X[:2])
    clock.now += 1
    before = [array.copy() for array in sessions.state("a")]
    with pytest.raises(error) as caught:
        sessions.step(keys, x)
    assert message in str(caught.value)
    assert list(sessions) == ["z", "a"]
    assert all(map(same_bits, sessions.state("a"), before))
    assert sessions.evict(1.0) == ["z", "a"]  # the failed call was no use


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lstm(bidirectional=True), "sessions need bidirectional=False"),
        (lstm(reverse=True), "sessions need reverse=False"),
        (bptt.Sequential(lstm(), pool="mean"), "sessions need pool=None or pool='last'"),
        (bptt.Sequential(bptt.Linear(3, 4)), "model must have a recurrent layer"),
        (bptt.Sequential(lstm(), bptt.CRF(4)), "sessions need a model without a CRF"),
        (bptt.SequenceGenerator(), "model must be a recurrent layer, a Sequential, or"),
    ],
)
def test_models_that_need_whole_sequences_are_refused(model, message):
    with pytest.raises((TypeError, ValueError), match=message):
        Sessions(model)


def test_threads_share_sessions():
    """Each thread has its own streams, and all evict: no step is lost, none is done twice."""
    model = MODELS["tokens"]
    sessions = Sessions(model, capacity=64)
    ids = np.random.default_rng(2).integers(0, 11, (8, 50, 4))
    outputs: list[Any] = [None] * 8

    def run(thread: int) -> None:
        keys = [(thread, i) for i in range(4)]
        outputs[thread] = [sessions.step(keys, x) for x in ids[thread]]
        sessions.reset(keys[:1])
        assert keys[0] in sessions
        sessions.remove(keys[1:])

    threads = [threading.Thread(target=run, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(sessions) == {(thread, 0) for thread in range(8)}
    for thread in range(8):
        alone = Alone(model)
        for x, y in zip(ids[thread], outputs[thread], strict=True):
            expected = np.concatenate(alone.step(range(4), x, 0.0))
            assert same_bits(y, expected)


def test_no_keys_are_no_steps():
    sessions = Sessions(lstm())
    assert sessions.step([], X[:0]).shape == (0, 4)
    assert len(sessions) == 0
