"""Calls of every kind that uses threads, with results as bytes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import bptt

Call = Callable[[], bytes]


def all_calls() -> dict[str, Call]:
    """Return calls by name; one takes some milliseconds, and always has the same result."""
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    x, rows, table = normal(21, 40, 19), normal(300, 100), normal(16, 12, 600)
    ids, targets = rng.integers(0, 500, (32, 60)), rng.integers(0, 600, (16, 12))
    layer, wide = bptt.LSTM(19, 67, seed=0), bptt.RNN(19, 700, seed=1)
    stacked = bptt.GRU(19, 48, num_layers=2, bidirectional=True, seed=2)
    linear, embedding = bptt.Linear(100, 900, seed=3), bptt.Embedding(500, 64, seed=4)
    flat = normal(70_000)

    def train() -> bytes:
        run = stacked.forward(x)
        return run.output.tobytes() + run.backward(run.output)._flat.tobytes()

    def optimize() -> bytes:
        trained = bptt.Linear(280, 250, bias=False, dtype="float32", seed=5)
        run = trained.forward(flat[:280][np.newaxis])
        bptt.Adam(trained).step(run.backward(run.output))
        return trained["weight"].tobytes()

    return {
        "infer": lambda: layer(x)[0].tobytes(),
        "train": train,
        "step": lambda: wide.step(x[:, 0])[0].tobytes(),
        "linear": lambda: linear(rows).tobytes(),
        "embed": lambda: embedding(ids).tobytes(),
        "loss": lambda: bptt.softmax_cross_entropy(table, targets).gradient.tobytes(),
        "optimize": optimize,
    }
