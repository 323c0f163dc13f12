"""A trained network beside the code it ships with: agreement, and times measured in turn."""

from __future__ import annotations

import importlib.util
import math
import statistics
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

import bptt
from examples._common import Report

ModuleT = TypeVar("ModuleT", bound=bptt.Linear | bptt.Embedding | bptt.Attention)
TOLERANCE = 1e-5  # of a probability


def filled(layer: ModuleT, **parameters: NDArray[Any]) -> ModuleT:
    """The layer, with these parameters."""
    for name, value in parameters.items():
        layer[name] = value
    return layer


def linear(weight: NDArray[Any], bias: NDArray[Any]) -> bptt.Linear:
    """A Linear of a weight (out, in)."""
    return filled(bptt.Linear(weight.shape[1], len(weight)), weight=weight, bias=bias)


def embedding(weight: NDArray[Any]) -> bptt.Embedding:
    """An Embedding of a table (tokens, size)."""
    return filled(bptt.Embedding(*weight.shape), weight=weight)


def own_module(name: str, path: Path) -> ModuleType:
    """Import one file of a package without its other files."""
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot import {path}")
    module = importlib.util.module_from_spec(spec)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # escapes in strings, and the like
        spec.loader.exec_module(module)
    return module


@contextmanager
def one_thread() -> Iterator[None]:
    """Everybody has one: bptt, and the libraries below NumPy and PyTorch."""
    with bptt.threads(1), threadpool_limits(1):
        yield


def milliseconds(
    runs: dict[str, Callable[[Any], object]], inputs: Iterable[Any], rounds: int
) -> dict[str, float]:
    """Return the median milliseconds of each of `runs` for one input.

    They take turns with every input, so that what else the machine does is no one's advantage.
    """
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for one in inputs:
            for name, run in runs.items():
                start = time.perf_counter()
                run(one)
                times[name].append(1000 * (time.perf_counter() - start))
    return {name: statistics.median(found) for name, found in times.items()}


def report(
    *,
    data: str,
    each: str,
    own: str,
    ours: float,
    theirs: float | None,
    difference: float | None,
    same: tuple[int, int] | None = None,
    also: dict[str, str],
) -> Report:
    """Return the report of a comparison, if the two agree.

    `ours` and `theirs` are milliseconds for `each`, such as "word"; `own` is the code they ship
    with, None of whose figures there are if it cannot run here; `difference` is the largest one of
    probabilities; `same` counts decoded texts that are the same, and all of them.

    Raises
    ------
    AssertionError
        If they do not agree.
    """
    lines = {}
    if difference is not None:
        assert difference <= TOLERANCE, f"probabilities differ by {difference}"
        lines["largest difference of a probability"] = f"{difference:.1e}"
    if same is not None:
        assert same[0] == same[1], f"only {same[0]} of {same[1]} are decoded as by {own}"
        lines["decoded exactly the same"] = f"{same[0]} of {same[1]}"
    if theirs is not None:
        lines["times as fast"] = f"{theirs / ours:.1f}"
    return Report(
        measure=f"milliseconds for a {each}",
        reached=ours,
        baseline=own,
        baseline_reached=math.nan if theirs is None else theirs,
        data=data,
        higher_is_better=False,
        also={**lines, **also},
    )
