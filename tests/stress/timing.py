"""Ratios of times that must stay small. They need an idle machine."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median

import numpy as np
from numpy.typing import NDArray

import bptt
from bptt._core import loader
from tests.stress.outcome import Outcome

Call = Callable[[], object]
SHAPES = {  # batch, steps, inputs, hidden units
    "small": (16, 30, 32, 32),
    "medium": (32, 50, 64, 128),
    "large": (64, 50, 128, 256),
    "one row": (1, 100, 64, 256),
}
COUNTS = (1, 2, 4, 8, 16)
LONGEST = 0.01  # seconds of one measurement, for calls that take less


def measure(calls: Sequence[Call], rounds: int) -> list[list[float]]:
    """Return the times of calls, which are measured by turns."""
    times: list[list[float]] = [[] for _ in calls]
    repeats = [max(1, int(LONGEST / max(_seconds(call, 2), 1e-6))) for call in calls]
    for _ in range(rounds):
        for call, count, seen in zip(calls, repeats, times, strict=True):
            seen.append(_seconds(call, count))
    return times


def _seconds(call: Call, count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - start) / count


def _outcome(ratios: Mapping[str, float], most: float) -> Outcome:
    """Return the outcome of measurements whose ratios may be at most `most`."""
    failures = [f"{name}: {ratio:.2f} times" for name, ratio in ratios.items() if ratio > most]
    rounded = {name: round(ratio, 3) for name, ratio in ratios.items()}
    return Outcome(len(ratios), failures, {"largest": max(rounded.values()), "ratios": rounded})


def _normal(*shape: int, scale: float = 1.0, dtype: str = "float32") -> NDArray[np.floating]:
    return (np.random.default_rng(0).standard_normal(shape) * scale).astype(dtype)


# ---- number of threads ---------------------------------------------------------------------------


def counts(rounds: int) -> Outcome:
    """Sixteen threads take at most 1.5 times as long as the best number, on any machine."""
    ratios = {}
    for engine in loader.kernels.thread_engines():
        for name, shape in SHAPES.items():
            loader.kernels.set_thread_engine(engine)
            train = _training("LSTM", shape)

            def with_threads(count: int, train: Call = train) -> None:
                with bptt.threads(count):
                    train()

            calls = [lambda count=count: with_threads(count) for count in COUNTS]
            found = [median(times) for times in measure(calls, rounds)]
            ratios[f"{engine}, {name}"] = found[-1] / min(found)
    return _outcome(ratios, 1.5)


def _training(kind: str, shape: tuple[int, ...], dtype: str = "float32") -> Call:
    batch, steps, inputs, hidden = shape
    layer = getattr(bptt, kind)(inputs, hidden, dtype=dtype, seed=0)
    x, d_output = np.ones((batch, steps, inputs), dtype), np.ones((batch, steps, hidden), dtype)
    return lambda: layer.forward(x).backward(d_output)


def pools(rounds: int) -> Outcome:
    """Two workers with as many threads as there are cores, in units of one thread each."""
    ratios = {}
    for method in multiprocessing.get_all_start_methods():
        for name in SHAPES:
            rates: dict[int | None, list[float]] = {1: [], None: []}
            for _ in range(rounds):
                for count, found in rates.items():
                    with multiprocessing.get_context(method).Pool(2) as pool:
                        found.append(sum(pool.map(_rate, [(count, name)] * 2, chunksize=1)))
            ratios[f"{method}, {name}"] = median(rates[1]) / median(rates[None])
    return _outcome(ratios, 1.5)


def _rate(given: tuple[int | None, str]) -> float:
    """Return the number of training passes a second."""
    count, name = given
    bptt.set_num_threads(count)
    train = _training("LSTM", SHAPES[name])
    train()
    start, done = time.perf_counter(), 0
    while time.perf_counter() < start + 0.4:
        train()
        done += 1
    return done / (time.perf_counter() - start)


# ---- denormal numbers ----------------------------------------------------------------------------


def denormals(rounds: int) -> Outcome:
    """Denormal numbers everywhere take at most 1.2 times as long as normal ones."""
    ratios = {}
    with bptt.threads(1):
        for dtype in ("float32", "float64"):
            small = float(np.finfo(dtype).smallest_normal) / 100
            for name, make in _DENORMALS.items():
                normal, tiny = measure([make(1.0, dtype), make(small, dtype)], rounds)
                ratios[f"{name}, {dtype}"] = min(tiny) / min(normal)  # others disturb the rest
    return _outcome(ratios, 1.2)


def _layer(kind: str, weights: bool) -> Callable[[float, str], Call]:
    def make(scale: float, dtype: str) -> Call:
        layer = getattr(bptt, kind)(64, 96, num_layers=2, dtype=dtype, seed=0)
        for name, value in layer.parameters.items() if weights else ():
            layer[name] = (value * scale).astype(dtype)
        x = _normal(8, 40, 64, scale=scale, dtype=dtype)
        state = _normal(2, 8, 96, scale=scale, dtype=dtype)
        initial = bptt.LSTMState(state, state) if kind == "LSTM" else state
        d_output = _normal(8, 40, 96, scale=scale, dtype=dtype)
        return lambda: layer.forward(x, state=initial).backward(d_output)

    return make


def _module(build: Callable[[str], bptt.Module], features: int) -> Callable[[float, str], Call]:
    def make(scale: float, dtype: str) -> Call:
        module = build(dtype)
        x = _normal(200, features, scale=scale, dtype=dtype)
        output = module.forward(x).output
        d_output = _normal(*output.shape, scale=scale, dtype=dtype)
        return lambda: module.forward(x).backward(d_output)

    return make


def _optimizer(build: Callable[[bptt.Module], bptt.Optimizer]) -> Callable[[float, str], Call]:
    def make(scale: float, dtype: str) -> Call:
        module = bptt.Linear(300, 300, dtype=dtype, seed=0)
        x = np.ones((1, 300), dtype)
        gradients = module.forward(x).backward(_normal(1, 300, scale=scale, dtype=dtype))
        optimizer = build(module)
        return lambda: optimizer.step(gradients)

    return make


def _loss(scale: float, dtype: str) -> Call:
    logits, targets = _normal(300, 200, scale=scale, dtype=dtype), np.arange(300) % 200
    return lambda: bptt.softmax_cross_entropy(logits, targets)


_DENORMALS: dict[str, Callable[[float, str], Call]] = {
    **{kind: _layer(kind, False) for kind in ("RNN", "LSTM", "GRU")},
    **{f"{kind} and weights": _layer(kind, True) for kind in ("RNN", "LSTM", "GRU")},
    "Linear": _module(lambda dtype: bptt.Linear(256, 256, dtype=dtype, seed=0), 256),
    "LayerNorm": _module(lambda dtype: bptt.LayerNorm(256, dtype=dtype), 256),
    "SGD": _optimizer(lambda module: bptt.SGD(module, momentum=0.9)),
    "RMSProp": _optimizer(bptt.RMSProp),
    "Adam": _optimizer(bptt.Adam),
    "cross-entropy": _loss,
}
