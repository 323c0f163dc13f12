"""Comparison of a pretrained network with its original code: agreement and time."""

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


def with_parameters(layer: ModuleT, **parameters: NDArray[Any]) -> ModuleT:
    """Set the parameters of a layer, and return it."""
    for name, value in parameters.items():
        layer[name] = value
    return layer


def linear(weight: NDArray[Any], bias: NDArray[Any]) -> bptt.Linear:
    """Return a Linear with a weight (out, in)."""
    return with_parameters(bptt.Linear(weight.shape[1], len(weight)), weight=weight, bias=bias)


def embedding(weight: NDArray[Any]) -> bptt.Embedding:
    """Return an Embedding with a table (tokens, size)."""
    return with_parameters(bptt.Embedding(*weight.shape), weight=weight)


def import_file(name: str, path: Path) -> ModuleType:
    """Import a single file of a package."""
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot import {path}")
    module = importlib.util.module_from_spec(spec)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such as invalid escapes in strings
        spec.loader.exec_module(module)
    return module


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit bptt and the libraries of NumPy and PyTorch to one thread."""
    with bptt.threads(1), threadpool_limits(1):
        yield


def milliseconds(
    runs: dict[str, Callable[[Any], object]], inputs: Iterable[Any], rounds: int
) -> dict[str, float]:
    """Return the median milliseconds of each of `runs` for one input.

    The runs alternate for every input, so that other load on the machine affects all of them.
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
    original: str,
    ours: float,
    theirs: float | None,
    difference: float | None,
    same: tuple[int, int] | None = None,
    also: dict[str, str],
) -> Report:
    """Return the report of a comparison.

    Parameters
    ----------
    data : str
        Description of the data.
    each : str
        Unit of the times, such as "word".
    original : str
        Name of the original code.
    ours, theirs : float
        Milliseconds per unit of bptt and of the original code; `theirs` is None if the original
        code cannot run.
    difference : float or None
        Largest difference in probability.
    same : tuple of int, optional
        Number of identical outputs, and of all outputs.
    also : dict
        Further results.

    Raises
    ------
    AssertionError
        If a probability differs by more than `TOLERANCE`, or an output differs.
    """
    lines = {}
    if difference is not None:
        assert difference <= TOLERANCE, f"probabilities differ by {difference}"
        lines["largest difference in probability"] = f"{difference:.1e}"
    if same is not None:
        assert same[0] == same[1], f"only {same[0]} of {same[1]} are decoded as by {original}"
        lines["identical outputs"] = f"{same[0]} of {same[1]}"
    if theirs is not None:
        lines["speedup"] = f"{theirs / ours:.1f}"
    return Report(
        measure=f"milliseconds per {each}",
        result=ours,
        baseline=original,
        baseline_result=math.nan if theirs is None else theirs,
        data=data,
        higher_is_better=False,
        also={**lines, **also},
    )
