"""Benchmark of the layers: what is measured, and how."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np

from bptt._core.checks import FloatArray
from bptt.cli.timing import interleave, seconds_per_call
from bptt.cli.worker_process import WorkerProcess, answer
from bptt.nn.cells import CELLS
from bptt.nn.recurrent import make_recurrent

PRODUCT, INFERENCE, TRAINING, STEP = "product", "inference", "training", "step"
PRODUCT_SIZE = 2048  # rows and columns of the matrices that NumPy multiplies
_MIN_SECONDS = 0.01  # seconds that the calls of one turn take
_COOL_DOWN = (
    0.2  # seconds after which threads of NumPy's product have stopped to wait for the next one
)


class Size(NamedTuple):
    """T, B, I, H."""

    steps: int
    batch: int
    inputs: int
    hidden: int


SIZES = (
    Size(100, 1, 32, 64),
    Size(100, 1, 256, 256),
    Size(50, 32, 128, 128),
    Size(100, 32, 256, 256),
)


class Task(NamedTuple):
    """What is measured: a mode of a cell, or NumPy's product, whose cell is ""."""

    mode: str
    cell: str
    size: Size

    @property
    def title(self) -> str:
        """The name of the cell, for people."""
        return CELLS[self.cell].title

    @property
    def operations(self) -> float:
        """Multiplications and additions of the matrix products in one call."""
        steps, batch, inputs, hidden = self.size
        if self.mode == PRODUCT:
            return 2.0 * batch * inputs * hidden
        forward = 2.0 * len(CELLS[self.cell].gates) * hidden * (inputs + hidden) * batch * steps
        return 3.0 * forward if self.mode == TRAINING else forward


_PRODUCT = Task(PRODUCT, "", Size(1, PRODUCT_SIZE, PRODUCT_SIZE, PRODUCT_SIZE))


class Measurement:
    """The seconds that a task took on a number of threads."""

    def __init__(self, task: Task, threads: int, samples: Sequence[float]) -> None:
        self.task = task
        self.threads = threads
        self.samples = samples

    @cached_property
    def quartiles(self) -> tuple[float, float, float]:
        """Seconds; the second is the median."""
        low, median, high = np.percentile(self.samples, (25, 50, 75))
        return float(low), float(median), float(high)

    @property
    def median(self) -> float:
        """Seconds of one call."""
        return self.quartiles[1]

    @property
    def spread(self) -> float:
        """Half the distance between the quartiles, as a share of the median."""
        low, median, high = self.quartiles
        return (high - low) / 2 / median

    @property
    def rate(self) -> float:
        """GFLOP/s."""
        return self.task.operations / self.median / 1e9


class Bench(NamedTuple):
    """All that `run` found."""

    dtype: str
    rounds: int
    threads: list[int]
    sizes: list[Size]
    cells: list[str]
    measured: dict[tuple[int, Task], Measurement]

    @property
    def step_sizes(self) -> list[Size]:
        """Sizes of single steps: they are the same for all T, and streams have a batch of one."""
        return list(dict.fromkeys(size._replace(steps=1, batch=1) for size in self.sizes))

    def tasks(self) -> list[Task]:
        """Return all that is measured, in order."""
        found = [_PRODUCT]
        for size in self.sizes:
            for cell in self.cells:
                found += [Task(mode, cell, size) for mode in (INFERENCE, TRAINING)]
        return found + [Task(STEP, cell, size) for size in self.step_sizes for cell in self.cells]

    def jobs(self) -> list[tuple[int, Task]]:
        """Return threads and task of all that is measured; steps on one thread only."""
        return [(n, t) for n in self.threads for t in self.tasks() if t.mode != STEP or n == 1]

    def find(self, mode: str, cell: str, size: Size, threads: int) -> Measurement:
        """Return what was measured."""
        return self.measured[threads, Task(mode, cell, size)]

    def product(self, threads: int) -> Measurement:
        """Return what NumPy's matrix product took."""
        return self.measured[threads, _PRODUCT]

    def share(self, of: Measurement) -> float:
        """Return a rate as a share of that of the product on as many threads."""
        return of.rate / self.product(of.threads).rate


def measure(bench: Bench, on_turn: Callable[[], object]) -> None:
    """Measure all tasks on every number of threads, in a process for each of these numbers."""
    with ExitStack() as stack:
        children = {
            n: stack.enter_context(WorkerProcess("bptt.cli.benchmark", n)) for n in bench.threads
        }

        def ask(threads: int, task: Task) -> float:
            taken = float(children[threads].ask([*task, bench.dtype]))
            if task.mode == PRODUCT and threads > 1:
                time.sleep(_COOL_DOWN)
            return taken

        measures = {key: partial(ask, *key) for key in bench.jobs()}
        taken = interleave(measures, bench.rounds, on_turn=on_turn)
    for (threads, task), samples in taken.items():
        bench.measured[threads, task] = Measurement(task, threads, samples)


def _handle(question: Any) -> float:
    """Return the seconds of one call of a task, in the other process."""
    mode, cell, size, dtype = question
    key = (mode, cell, Size(*size), dtype)
    try:
        if key not in _calls:
            _calls[key] = call(*key)
        return seconds_per_call(_calls[key], _MIN_SECONDS)
    except ValueError as error:  # all is valid, so that it can only be too large
        raise MemoryError(str(error)) from error


_calls: dict[tuple[str, str, Size, str], Callable[[], object]] = {}  # of _handle, kept for the next


def call(mode: str, cell: str, size: Size, dtype: str) -> Callable[[], object]:
    """Return a function that does a task once."""
    steps, batch, inputs, hidden = size
    if mode == PRODUCT:
        a = _random((batch, inputs), dtype)
        b = _random((inputs, hidden), dtype)
        return lambda: a @ b
    layer = make_recurrent(cell, inputs, hidden, dtype=dtype, seed=0)
    if mode == STEP:
        x_t = _random((batch, inputs), dtype)
        out: Any = layer.step(x_t)
        return lambda: layer.step(x_t, out[1], out=out)
    x = _random((batch, steps, inputs), dtype)
    if mode == INFERENCE:
        return lambda: layer(x)
    d_output = _random((batch, steps, hidden), dtype)
    return lambda: layer.forward(x).backward(d_output)


def _random(shape: tuple[int, ...], dtype: str) -> FloatArray:
    return np.random.default_rng(0).standard_normal(shape).astype(dtype)


if __name__ == "__main__":
    answer(_handle)
