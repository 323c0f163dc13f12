"""Parameters that one thread changes while others use them: every call sees old or new ones."""

from __future__ import annotations

import copy
import os
import sys
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest

import bptt

X = np.ones((1, 2, 400), np.float32)
MODULES = {
    "RNN": (bptt.RNN(400, 400, seed=0), lambda m: m(X)[0]),
    "LSTM": (bptt.LSTM(400, 300, seed=0), lambda m: m(X)[0]),
    "LSTM.step": (bptt.LSTM(400, 300, seed=0), lambda m: m.step(X[:, 0])[0]),
    "Linear": (bptt.Linear(400, 2000, seed=0), lambda m: m(X)),
    "Linear.forward": (bptt.Linear(400, 2000, seed=0), lambda m: m.forward(X).output),
    "Linear.cross_entropy": (
        bptt.Linear(400, 2000, seed=0),
        lambda m: m.cross_entropy(X, np.array([[3, 5]])).losses,
    ),
    "Embedding": (bptt.Embedding(3000, 64, seed=0), lambda m: m(np.arange(3000)[np.newaxis])),
    "CharacterEmbedding": (
        bptt.CharacterEmbedding(3000, 64, 100, 5, seed=0),
        lambda m: m.forward(np.arange(5, 2005).reshape(1, 400, 5)).output,
    ),
    "LayerNorm": (bptt.LayerNorm(400), lambda m: m(X + np.arange(400, dtype="f4"))),
    "Attention": (
        bptt.Attention(400, 400, kind="additive", attention_size=300, seed=0),
        lambda m: m.forward(X, np.repeat(X, 3, axis=1) * np.arange(6, dtype="f4")[:, None]).output,
    ),
    "GRU": (bptt.GRU(400, 300, num_layers=2, seed=0), lambda m: m.forward(X).output),
}


def large_and_small(module):
    """Two values of all parameters."""
    names = list(module.parameters)
    steps = {name: np.linspace(0, 1e-3, module[name].size) for name in names}
    return [
        {name: (v + steps[name]).astype("f4").reshape(module[name].shape) for name in names}
        for v in (0.01, -0.02)
    ]


@pytest.mark.parametrize("name", MODULES)
def test_no_call_sees_half_of_a_change(name):
    module, call = copy.deepcopy(MODULES[name][0]), MODULES[name][1]
    flats, expected = [], set()
    for values in large_and_small(module):
        for key, value in values.items():
            module[key] = value
        flats.append(module._flat.copy())
        expected.add(call(module).tobytes())
    found: set[bytes] = set()
    end = time.monotonic() + 0.5

    def change() -> None:
        while time.monotonic() < end:
            for flat in flats:
                with module._changing() as own:  # as an optimizer does, with all parameters at once
                    own[...] = flat

    def use() -> None:
        while time.monotonic() < end:
            found.add(call(module).tobytes())

    threads = [threading.Thread(target=use) for _ in range(3)]
    threads.append(threading.Thread(target=change))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found
    assert found <= expected


@contextmanager
def assigning(layer, values):
    """Assign the values of a parameter in turn, in another thread."""
    ended = threading.Event()

    def assign() -> None:
        while not ended.is_set():
            for value in values:
                layer["weight_hh_l0"] = value

    thread = threading.Thread(target=assign)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def test_no_parameter_is_assigned_by_halves():
    layer = bptt.LSTM(400, 300, seed=0)
    values = [np.full_like(layer["weight_hh_l0"], value) for value in (0.01, -0.02)]
    expected = set()
    for value in values:
        layer["weight_hh_l0"] = value
        expected.add(layer(X)[0].tobytes())
    with assigning(layer, values):
        found = {layer(X)[0].tobytes() for _ in range(200)}
    assert found <= expected


@pytest.mark.skipif(sys.platform != "linux", reason="forks")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork")
def test_a_child_of_fork_has_no_half_of_a_change_and_no_lock_of_its_parent():
    layer = bptt.LSTM(400, 300, seed=0)
    values = [np.full_like(layer["weight_hh_l0"], value) for value in (0.01, -0.02)]
    with assigning(layer, values):
        for _ in range(30):
            child = os.fork()
            if not child:
                whole = len(np.unique(layer["weight_hh_l0"])) == 1
                layer["weight_hh_l0"] = values[0]
                os._exit(0 if whole else 1)
            assert os.waitpid(child, 0)[1] == 0
