"""How close the recurrent layers come to NumPy's own matrix product, on one thread, in one process.

    python benchmarks/against_gemm.py

A layer's rate counts only its products: 2·G·H·(I+H)·B·T operations forward, three times that for
forward and backward (gradients of all parameters and of the input). Layers and the 2048x2048
product take turns, so that a busy machine disturbs both; figures are medians, with quartiles.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

for _variable in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ[_variable] = "1"  # before NumPy reads them

import numpy as np  # noqa: E402

import bptt  # noqa: E402

CELLS = {"rnn": 1, "lstm": 4, "gru": 3, "gru_reset_after": 3}  # gates per unit
# (cell, T, B, I, H, mode, target): share of the product's rate, or microseconds at 200 GFLOP/s.
TARGETS = {
    ("lstm", 100, 32, 256, 256, "forward"): "at least 60 %",
    ("lstm", 100, 32, 256, 256, "forward+backward"): "at least 50 %",
    ("lstm", 100, 1, 32, 64, "forward"): "under 100 us at a rate of 200 GFLOP/s",
}
SHAPES = ((100, 1, 32, 64), (50, 32, 128, 128), (100, 32, 256, 256))
GEMM_SIZE = 2048


def make_layer(cell: str, inputs: int, hidden: int, dtype: str) -> bptt.RNN | bptt.LSTM | bptt.GRU:
    if cell == "gru_reset_after":
        return bptt.GRU(inputs, hidden, reset_after=True, dtype=dtype, seed=0)
    kinds = {"rnn": bptt.RNN, "lstm": bptt.LSTM, "gru": bptt.GRU}
    return kinds[cell](inputs, hidden, dtype=dtype, seed=0)


def make_tasks(cells: list[str], dtype: str) -> dict[tuple[object, ...], Callable[[], object]]:
    """One function to time for every cell, shape and mode."""
    rng = np.random.default_rng(0)
    tasks: dict[tuple[object, ...], Callable[[], object]] = {}
    for cell in cells:
        for steps, batch, inputs, hidden in SHAPES:
            layer = make_layer(cell, inputs, hidden, dtype)
            x = rng.standard_normal((batch, steps, inputs)).astype(dtype)
            d = rng.standard_normal((batch, steps, hidden)).astype(dtype)
            key = (cell, steps, batch, inputs, hidden)
            tasks[(*key, "forward")] = lambda layer=layer, x=x: layer(x)
            tasks[(*key, "forward+backward")] = lambda layer=layer, x=x, d=d: layer.forward(
                x
            ).backward(d)
    return tasks


def seconds_per_call(task: Callable[[], object]) -> float:
    """Time of one call, from as many calls as take some milliseconds."""
    start = time.perf_counter()
    task()
    calls = max(1, int(0.005 / (time.perf_counter() - start)))
    start = time.perf_counter()
    for _ in range(calls):
        task()
    return (time.perf_counter() - start) / calls


def measure(
    tasks: dict[tuple[object, ...], Callable[[], object]], rounds: int
) -> dict[tuple[object, ...], list[float]]:
    times: dict[tuple[object, ...], list[float]] = {key: [] for key in tasks}
    for task in tasks.values():
        task()  # warm caches and memory up
    for _ in range(rounds):
        for key, task in tasks.items():
            times[key].append(seconds_per_call(task))
    return times


def operations(cell: str, steps: int, batch: int, inputs: int, hidden: int, mode: str) -> float:
    forward = 2.0 * CELLS[cell] * hidden * (inputs + hidden) * batch * steps
    return forward * (3 if mode == "forward+backward" else 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cell", choices=[*CELLS, "all"], default="lstm", help="default: lstm")
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--rounds", type=int, default=15, help="turns of each; default: 15")
    arguments = parser.parse_args()
    cells = list(CELLS) if arguments.cell == "all" else [arguments.cell]

    a = np.random.default_rng(0).standard_normal((GEMM_SIZE, GEMM_SIZE)).astype(arguments.dtype)
    gemm: tuple[object, ...] = ("gemm",)
    times = measure({gemm: lambda: a @ a, **make_tasks(cells, arguments.dtype)}, arguments.rounds)
    rate = 2.0 * GEMM_SIZE**3 / statistics.median(times.pop(gemm)) / 1e9

    machine = bptt.config()
    print(f"{machine['processor']}, instruction set {machine['isa']}, ", end="")
    print(f"NumPy {machine['numpy']}, one thread")
    print(f"NumPy product {GEMM_SIZE}x{GEMM_SIZE}, {arguments.dtype}: {rate:.0f} GFLOP/s\n")
    print(
        f"{'cell (T, B, I, H)':34} {'mode':17} {'us':>8} {'quartiles':>15} {'GFLOP/s':>8} {'%':>4}"
    )
    for key, samples in times.items():
        cell, steps, batch, inputs, hidden, mode = key
        low, median, high = (1e6 * q for q in statistics.quantiles(samples, n=4))
        reached = operations(*key) / median / 1e3
        name = f"{cell} ({steps}, {batch}, {inputs}, {hidden})"
        target = TARGETS.get(key, "") if arguments.dtype == "float32" else ""
        print(
            f"{name:34} {mode:17} {median:8.0f} {f'{low:.0f}-{high:.0f}':>15} {reached:8.1f} "
            f"{100 * reached / rate:4.0f}{'  target: ' + target if target else ''}"
        )


if __name__ == "__main__":
    main()
