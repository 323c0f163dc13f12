"""Profile of `fit`: share of the time in the kernels, and the slowest functions outside.

Times every kernel while a tagger is fitted. A second fit under cProfile checks the share: profiling
slows down the Python code, so that it is a lower bound.
"""

from __future__ import annotations

import argparse
import cProfile
import functools
import pstats
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

import bptt
from bptt._core import loader

STEPS, FEATURES, HIDDEN, BATCH, LABELS = 50, 32, 128, 32, 8
MAX_SHOWN = 8  # functions outside the kernels


def data(count: int) -> tuple[list[Any], list[Any]]:
    """Return sequences of features, labelled by the largest of the first ones at every step."""
    random = np.random.default_rng(0)
    X = list(random.standard_normal((count, STEPS, FEATURES)).astype(np.float32))
    return X, [x[:, :LABELS].argmax(axis=1) for x in X]


def tagger(epochs: int) -> bptt.SequenceTagger:
    """Return the model to fit."""
    return bptt.SequenceTagger(hidden_size=HIDDEN, batch_size=BATCH, epochs=epochs, random_state=0)


@contextmanager
def timed_kernels() -> Iterator[dict[str, float]]:
    """Sum the seconds in each kernel."""
    kernels, seconds = loader.kernels, defaultdict[str, float](float)
    originals = {
        name: function
        for name, function in vars(kernels).items()
        if callable(function) and not isinstance(function, type) and not name.startswith("_")
    }

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*arguments: Any, **options: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                seconds[name] += time.perf_counter() - start

        return call

    for name, function in originals.items():
        setattr(kernels, name, timed(name, function))
    try:
        yield seconds
    finally:
        for name, function in originals.items():
            setattr(kernels, name, function)


def profile(threads: int, count: int, epochs: int) -> None:
    """Print the profile of a fit."""
    X, y = data(count)
    with bptt.threads(threads):
        tagger(1).fit(X[:BATCH], y[:BATCH])
        with timed_kernels() as seconds:
            start = time.perf_counter()
            tagger(epochs).fit(X, y)
            total = time.perf_counter() - start
        profiler = cProfile.Profile()
        profiler.runcall(tagger(epochs).fit, X, y)
    inside = sum(seconds.values())
    print(f"{threads} thread(s): fit {total:.3f} s, {inside / total:.1%} of it in the kernels")
    for name, spent in sorted(seconds.items(), key=lambda item: -item[1]):
        if spent > 0.001 * total:
            print(f"  {spent / total:6.1%}  {name}")
    show_profile(profiler)


def show_profile(profiler: cProfile.Profile) -> None:
    """Print the share of the kernels according to cProfile, and the slowest other functions."""
    own: dict[str, float] = {}
    for (file, line, name), (_, _, spent, _, _) in pstats.Stats(profiler).stats.items():
        own[name if file == "~" else f"{'/'.join(file.split('/')[-2:])}:{line} {name}"] = spent
    total = sum(own.values())
    inside = sum(spent for name, spent in own.items() if "bptt._core._kernels" in name)
    print(f"cProfile: {total:.3f} s, {inside / total:.1%} in the kernels; other functions:")
    rest = {name: spent for name, spent in own.items() if "bptt._core._kernels" not in name}
    for name, spent in sorted(rest.items(), key=lambda item: -item[1])[:MAX_SHOWN]:
        print(f"  {spent / total:6.1%}  {name}")


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="numbers of threads")
    parser.add_argument("--sequences", type=int, default=320, help="number of sequences")
    parser.add_argument("--epochs", type=int, default=5, help="number of epochs")
    arguments = parser.parse_args()
    size = f"T={STEPS} B={BATCH} I={FEATURES} H={HIDDEN}"
    print(f"LSTM tagger, {size}, float32, {loader.kernels.__name__}")
    for threads in arguments.threads:
        profile(threads, arguments.sequences, arguments.epochs)


if __name__ == "__main__":
    main()
