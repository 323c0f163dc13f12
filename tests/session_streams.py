"""Models for sessions, and streams stepped alone, to compare with."""

from __future__ import annotations

from typing import Any

import numpy as np

import bptt
from bptt.nn.recurrent import LAYERS
from bptt.nn.state import arrays_of

I = 5  # noqa: E741 - features of the input
H = 9


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def layers() -> dict[str, Any]:
    options = {"dtype": "float32", "seed": 0}
    double = {"dtype": "float64", "seed": 1}
    return {
        **{kind.__name__: kind(I, H, **options) for kind in LAYERS},
        "two layers": bptt.LSTM(I, H, num_layers=2, **double),
        "projected": bptt.LSTM(I, H, proj_size=4, peephole=True, num_layers=2, **options),
        "normalized": bptt.LSTM(I, H, layer_norm=True, **double),
        "learned start": with_start(bptt.LSTM(I, H, learn_initial_state=True, **options)),
        "decay": bptt.GRU(I, H, decay_size=2, num_layers=2, **double),
        "heads": bptt.SLSTM(I, 12, num_heads=3, zoneout=0.2, **options),
    }


def chains() -> dict[str, Any]:
    f4: dict[str, Any] = {"dtype": "float32", "seed": 2}
    f8: dict[str, Any] = {"dtype": "float64", "seed": 3}
    return {
        "tokens": bptt.Sequential(
            bptt.Embedding(11, 6, **f4), bptt.LSTM(6, H, **f4), bptt.Linear(H, 11, **f4)
        ),
        **{
            kind: bptt.Sequential(
                bptt.Embedding(11, 6, **f4), bptt.GRU(6, H, **f4), bptt.Linear(H, 3, **f4)
            ).compressed(kind)
            for kind in ("bfloat16", "int8")
        },
        "one-hot": bptt.Sequential(bptt.GRU(11, H, **f8), bptt.Linear(H, 3, **f8), pool="last"),
        "norms": bptt.Sequential(
            bptt.Linear(I, 7, **f8),
            bptt.Tanh(dtype="float64"),
            bptt.LSTM(7, H, **f8),
            bptt.LayerNorm(H, dtype="float64"),
            bptt.GRU(H, 6, **f8),
            bptt.Dropout(0.5, **f8),
            bptt.Linear(6, 20, **f8),
            bptt.Sigmoid(dtype="float64"),
        ),
        "skipping": bptt.Sequential(
            bptt.LSTM(I, H, **f4), bptt.Linear(H + I, 33, **f4), skip_input=True
        ),
    }


def with_start(layer: Any) -> Any:
    for name in layer.parameters:
        if name.startswith(("h0", "c0")):
            layer[name] = np.random.default_rng(4).normal(size=layer[name].shape).astype("f4")
    return layer


MODELS: dict[str, Any] = {**layers(), **chains()}


def inputs(model: Any, count: int, random: np.random.Generator) -> Any:
    """Return a step of `count` streams."""
    first = model[0] if isinstance(model, bptt.Sequential) else model
    if isinstance(first, bptt.Embedding) or getattr(first, "input_size", 0) == 11:
        return random.integers(0, 11, count)
    size = first.in_features if isinstance(first, bptt.Linear) else first.input_size
    return np.abs(random.normal(size=(count, size))).astype(first.dtype)


def flat(state: Any) -> list[Any]:
    """Return the arrays of the state of a layer, or of those of a chain."""
    if isinstance(state, tuple) and not hasattr(state, "_fields"):
        return [array for one in state for array in arrays_of(one)]
    return list(arrays_of(state))


def same_bits(a: Any, b: Any) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


class Alone:
    """The same streams, each stepped alone by the model itself; what is not known is forgotten."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.states: dict[Any, Any] = {}
        self.used: dict[Any, float] = {}

    def step(self, keys: Any, x: Any, now: float) -> list[Any]:
        found = []
        for key, row in zip(keys, x, strict=True):
            y, self.states[key] = self.model.step(row[np.newaxis], self.states.get(key))
            self.used[key] = now
            found.append(y)
        return found

    def remove(self, keys: Any) -> None:
        for key in list(keys):
            del self.states[key], self.used[key]

    def reset(self, keys: Any) -> None:
        for key in keys:
            self.states[key] = None

    def idle(self, until: float) -> set[Any]:
        return {key for key, time in self.used.items() if time <= until}

    def check(self, sessions: Any) -> None:
        """Check that keys and states are the same."""
        assert set(sessions) == set(self.states)
        assert len(sessions) == len(self.states)
        for key, state in self.states.items():
            if state is not None:
                for own, expected in zip(flat(sessions.state(key)), flat(state), strict=True):
                    assert same_bits(own, expected)
