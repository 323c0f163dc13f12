"""Measurements of the command `bench`: layers against NumPy's matrix product."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np

from bptt._core.checks import FloatArray
from bptt._core.interleaved_timing import interleave, seconds_per_call
from bptt.cli.worker_process import serve, worker_processes
from bptt.nn.cells import CELLS
from bptt.nn.recurrent import make_recurrent

PRODUCT, INFERENCE, TRAINING, STEP = "product", "inference", "training", "step"
PRODUCT_SIZE = 2048  # rows and columns of the matrices that NumPy multiplies
_SAMPLE_SECONDS = 0.01  # minimum duration of a sample
_COOL_DOWN = 0.2  # seconds until the threads of NumPy's product stop spinning


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
    """A call to measure: a mode of a cell, or NumPy's product, with cell ""."""

    mode: str
    cell: str
    size: Size

    @property
    def title(self) -> str:
        """Title of the cell."""
        return CELLS[self.cell].title

    @property
    def operations(self) -> float:
        """Multiplications and additions in the matrix products of one call."""
        steps, batch, inputs, hidden = self.size
        if self.mode == PRODUCT:
            return 2.0 * batch * inputs * hidden
        forward = 2.0 * len(CELLS[self.cell].gates) * hidden * (inputs + hidden) * batch * steps
        return 3.0 * forward if self.mode == TRAINING else forward


_PRODUCT = Task(PRODUCT, "", Size(1, PRODUCT_SIZE, PRODUCT_SIZE, PRODUCT_SIZE))


class Measurement:
    """Time of a task.

    Parameters
    ----------
    task : Task
    threads : int
    samples : sequence of float
        Seconds per call.
    """

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
        """Median seconds per call."""
        return self.quartiles[1]

    @property
    def spread(self) -> float:
        """Half the interquartile range, relative to the median."""
        low, median, high = self.quartiles
        return (high - low) / 2 / median

    @property
    def rate(self) -> float:
        """GFLOP/s."""
        return self.task.operations / self.median / 1e9


class Benchmark(NamedTuple):
    """Settings and measurements of a benchmark."""

    dtype: str
    rounds: int
    threads: list[int]
    sizes: list[Size]
    cells: list[str]
    measurements: dict[tuple[int, Task], Measurement]

    @property
    def step_sizes(self) -> list[Size]:
        """Sizes of single steps, with T = B = 1."""
        return list(dict.fromkeys(size._replace(steps=1, batch=1) for size in self.sizes))

    def tasks(self) -> list[Task]:
        """Return all tasks in order."""
        tasks = [_PRODUCT]
        for size in self.sizes:
            for cell in self.cells:
                tasks += [Task(mode, cell, size) for mode in (INFERENCE, TRAINING)]
        return tasks + [Task(STEP, cell, size) for size in self.step_sizes for cell in self.cells]

    def jobs(self) -> list[tuple[int, Task]]:
        """Return all pairs (threads, task); steps run on one thread only."""
        return [(n, t) for n in self.threads for t in self.tasks() if t.mode != STEP or n == 1]

    def find(self, mode: str, cell: str, size: Size, threads: int) -> Measurement:
        """Return the measurement of a task."""
        return self.measurements[threads, Task(mode, cell, size)]

    def product(self, threads: int) -> Measurement:
        """Return the measurement of NumPy's matrix product."""
        return self.measurements[threads, _PRODUCT]

    def relative_rate(self, measurement: Measurement) -> float:
        """Return a rate relative to that of NumPy's product on the same number of threads."""
        return measurement.rate / self.product(measurement.threads).rate


def run_benchmark(benchmark: Benchmark, on_measure: Callable[[], object]) -> None:
    """Measure all tasks, interleaved, in one worker process per number of threads.

    Parameters
    ----------
    benchmark : Benchmark
        Receives the measurements.
    on_measure : function
        Called after every sample.
    """
    with worker_processes("bptt.cli.bench_layers", benchmark.threads) as workers:

        def sample(threads: int, task: Task) -> float:
            seconds = float(workers[threads].request([*task, benchmark.dtype]))
            if task.mode == PRODUCT and threads > 1:
                time.sleep(_COOL_DOWN)
            return seconds

        measures = {job: partial(sample, *job) for job in benchmark.jobs()}
        samples = interleave(measures, benchmark.rounds, on_measure=on_measure)
    for (threads, task), seconds in samples.items():
        benchmark.measurements[threads, task] = Measurement(task, threads, seconds)


def make_call(mode: str, cell: str, size: Size, dtype: str) -> Callable[[], object]:
    """Return a function that runs a task once.

    Parameters
    ----------
    mode : str
    cell : str
        Name in `bptt.nn.cells.CELLS`.
    size : Size
    dtype : "float32" or "float64"
    """
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


_calls: dict[tuple[str, str, Size, str], Callable[[], object]] = {}  # of this worker


def _handle_request(request: Any) -> float:
    """Return the seconds per call of a task, in the worker process."""
    mode, cell, size, dtype = request
    key = (mode, cell, Size(*size), dtype)
    try:
        if key not in _calls:
            _calls[key] = make_call(*key)
        return seconds_per_call(_calls[key], _SAMPLE_SECONDS)
    except ValueError as error:  # the arguments are valid, only too large
        raise MemoryError(str(error)) from error


def _random(shape: tuple[int, ...], dtype: str) -> FloatArray:
    return np.random.default_rng(0).standard_normal(shape).astype(dtype)


if __name__ == "__main__":
    serve(_handle_request)
