"""Measurements of the command `bench`: the stages of an update of a language model."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from bptt._core.interleaved_timing import interleave
from bptt.cli.bench_layers import Size
from bptt.cli.worker_process import serve, worker_processes
from bptt.nn.cells import CELLS
from bptt.nn.embedding import Embedding
from bptt.nn.linear import Linear
from bptt.nn.recurrent import make_recurrent
from bptt.optim.clipping import clip_by_global_norm
from bptt.optim.optimizers import Adam

SIZE = Size(35, 20, 200, 200)
VOCABULARY = 10_000
_MAX_NORM = 1.0  # of the clipped gradients
_SAMPLE_SECONDS = 0.02  # minimum duration of a sample


class UpdateModel(NamedTuple):
    """A language model: embedding, one recurrent layer, output layer."""

    cell: str
    size: Size
    """The embedding has I features."""
    vocabulary: int
    """Number of tokens, V."""

    @property
    def stages(self) -> tuple[str, ...]:
        """Titles of the stages of an update, in the order of their times."""
        return "embedding", CELLS[self.cell].title, "output layer, loss", "clipping, Adam"


class UpdateBenchmark(NamedTuple):
    """Settings and measurements of the updates of a model."""

    model: UpdateModel
    dtype: str
    rounds: int
    threads: list[int]
    samples: dict[int, list[list[float]]]
    """Threads -> seconds of every stage, one list for each round."""

    def medians(self, threads: int) -> list[float]:
        """Return the median seconds of every stage."""
        return [float(np.median(stage)) for stage in zip(*self.samples[threads], strict=True)]

    def total(self, threads: int) -> float:
        """Return the median seconds of an update."""
        return float(np.median([sum(stages) for stages in self.samples[threads]]))


def run_update_benchmark(benchmark: UpdateBenchmark, on_measure: Callable[[], object]) -> None:
    """Measure updates, interleaved, in one worker process per number of threads.

    Parameters
    ----------
    benchmark : UpdateBenchmark
        Receives the measurements.
    on_measure : function
        Called after every sample.
    """
    with worker_processes("bptt.cli.bench_update", benchmark.threads) as workers:

        def sample(threads: int) -> float:
            stages = workers[threads].request([*benchmark.model, benchmark.dtype])
            benchmark.samples.setdefault(threads, []).append(stages)
            return float(sum(stages))

        measures = {n: partial(sample, n) for n in benchmark.threads}
        interleave(measures, benchmark.rounds, on_measure=on_measure)
    for samples in benchmark.samples.values():
        del samples[0]  # of the warm-up round


def make_update(model: UpdateModel, dtype: str) -> Callable[[], list[float]]:
    """Return a function that makes one update and returns the seconds of every stage.

    Parameters
    ----------
    model : UpdateModel
    dtype : "float32" or "float64"

    Returns
    -------
    function
        Without arguments; its result has the order of `UpdateModel.stages`.
    """
    steps, batch, inputs, hidden = model.size
    embedding = Embedding(model.vocabulary, inputs, dtype=dtype, seed=0)
    layer = make_recurrent(model.cell, inputs, hidden, dtype=dtype, seed=0)
    output = Linear(hidden, model.vocabulary, dtype=dtype, seed=0)
    optimizer = Adam([embedding, layer, output])
    text = np.random.default_rng(0).integers(model.vocabulary, size=(batch, steps + 1))
    ids, targets = np.ascontiguousarray(text[:, :-1]), np.ascontiguousarray(text[:, 1:])

    def update() -> list[float]:
        times = [time.perf_counter()]

        def lap(value: Any) -> Any:
            times.append(time.perf_counter())
            return value

        embedded = lap(embedding.forward(ids))
        run = lap(layer.forward(embedded.output))
        loss = lap(output.cross_entropy(run.output, targets, reduction="mean"))
        d_layer = lap(run.backward(loss.gradients.input))
        d_embedding = lap(embedded.backward(d_layer.input))
        gradients = [d_embedding, d_layer, loss.gradients]
        clip_by_global_norm(gradients, _MAX_NORM)
        optimizer.step(gradients)
        times.append(time.perf_counter())
        gather, up, head, down, scatter, rest = (b - a for a, b in pairwise(times))
        return [gather + scatter, up + down, head, rest]

    return update


_updates: dict[Hashable, Callable[[], list[float]]] = {}  # of this worker


def _handle_request(request: Any) -> list[float]:
    """Return the mean seconds of every stage of an update, in the worker process."""
    cell, size, vocabulary, dtype = request
    key = model, _ = UpdateModel(cell, Size(*size), vocabulary), dtype
    try:
        if key not in _updates:
            _updates[key] = make_update(model, dtype)
        update = _updates[key]
        samples = [update()]
        samples += [update() for _ in range(int(_SAMPLE_SECONDS / sum(samples[0])))]
    except ValueError as error:  # the arguments are valid, only too large
        raise MemoryError(str(error)) from error
    return [float(stage) for stage in np.mean(samples, axis=0)]


if __name__ == "__main__":
    serve(_handle_request)
