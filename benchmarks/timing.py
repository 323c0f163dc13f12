"""Timing of calls of several libraries, interleaved in one process."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

SAMPLE = 0.008  # seconds; minimum duration of a sample
WARM_UP = 0.02  # seconds; longer calls need no warm-up
QUIET = 0.005  # seconds over which the CPU time of the process, counted in ticks, is observed
PATIENCE = 0.25  # seconds to wait for spinning threads
GEMM_SIZE = 1024
GEMM_OPERATIONS = 2.0 * GEMM_SIZE**3


@dataclass
class TimedCall:
    """A call and its samples."""

    call: Callable[[], Any]
    first: float  # seconds of the first call
    samples: list[float] = field(default_factory=list)  # seconds per call

    @property
    def calls(self) -> int:
        return max(1, round(SAMPLE / self.first))

    def sample(self) -> None:
        if self.first < WARM_UP:
            self.call()  # fills the caches, wakes the threads
        calls, call = range(self.calls), self.call
        start = time.perf_counter()
        for _ in calls:
            call()
        self.samples.append((time.perf_counter() - start) / len(calls))

    def summary(self) -> dict[str, Any]:
        low, median, high = quartiles(self.samples)
        return {
            "median": median,
            "low": low,
            "high": high,
            "calls": self.calls,
            "samples": len(self.samples),
        }


def quartiles(samples: list[float]) -> tuple[float, float, float]:
    if len(samples) == 1:
        return samples[0], samples[0], samples[0]
    low, median, high = statistics.quantiles(samples, n=4, method="inclusive")
    return low, median, high


def run(call: Callable[[], Any]) -> tuple[Any, float]:
    """Return the result and the seconds of one call."""
    start = time.perf_counter()
    result = call()
    return result, time.perf_counter() - start


def seconds(call: Callable[[], Any]) -> float:
    return run(call)[1]


def settle(threads: int) -> None:
    """Wait until the thread pools of this process stop spinning after their last call."""
    if threads == 1:
        return
    give_up = time.perf_counter() + PATIENCE
    while time.perf_counter() < give_up:
        busy = time.process_time()
        time.sleep(QUIET)
        if time.process_time() - busy < 0.1 * QUIET:
            return


def seconds_without_core() -> float:
    """Return how long the threads of this process have waited for a core, where Linux tells."""
    tasks = Path("/proc/self/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[1]) for task in tasks) * 1e-9


def interleave(timed: Iterable[TimedCall], threads: int, rounds: int, budget: float) -> None:
    """Sample all calls in turn, `rounds` times or within `budget` seconds, at least once."""
    turns = list(timed)
    collecting = gc.isenabled()
    gc.disable()
    start = time.perf_counter()
    try:
        for k in range(rounds):
            for one in turns:
                settle(threads)
                one.sample()
            spent = time.perf_counter() - start
            if spent + spent / (k + 1) > budget:
                return
    finally:
        if collecting:
            gc.enable()


def gemm(dtype: str, library: str) -> Callable[[], Any]:
    """Return the product of two 1024 × 1024 matrices, whose rate is that of the machine."""
    shape = (GEMM_SIZE, GEMM_SIZE)
    a = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    out = np.empty_like(a)
    if library == "numpy":
        return lambda: np.matmul(a, a, out=out)
    import torch

    tensor, product = torch.from_numpy(a), torch.from_numpy(out)
    return lambda: torch.mm(tensor, tensor, out=product)


def bandwidths(sizes: Iterable[int] = (1 << 18, 1 << 23, 1 << 28)) -> dict[str, float]:
    """Return bytes/s read by a dot product, by the size of its operands."""
    found = {}
    for size in sizes:
        a = np.ones(size // 4, np.float32)
        calls = range(max(1, (1 << 27) // size))
        np.dot(a, a)
        best = min(seconds(lambda a=a, calls=calls: [np.dot(a, a) for _ in calls]) for _ in "123")
        found[str(size)] = size * len(calls) / best
    return found
