"""Profile of `fit`: share of the time in the kernels, and the slowest functions outside.

Times every kernel while an estimator is fitted. A second fit under cProfile checks the share:
profiling slows down the Python code, so that it is a lower bound.
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
from functools import partial
from typing import Any, TypeAlias

import numpy as np

import bptt
from bptt._core import loader

MAX_SHOWN = 8  # functions outside the kernels
Fit: TypeAlias = Callable[[], Any]


def words(count: int, steps: int, vocabulary: int) -> list[Any]:
    """Return sequences of ids with the frequencies of words (Zipf's law); every id occurs."""
    random = np.random.default_rng(0)
    frequencies = 1 / np.arange(2.7, vocabulary + 2.7)
    ids = random.choice(vocabulary, (count, steps), p=frequencies / frequencies.sum())
    ids.flat[:vocabulary] = random.permutation(vocabulary)[: ids.size]
    return list(random.permuted(ids).astype(np.int32))


def feature_tagger(epochs: int) -> Fit:
    """Tagger of 320 sequences of 50 steps and 32 features, labelled by the largest of eight."""
    random = np.random.default_rng(0)
    X = list(random.standard_normal((320, 50, 32)).astype(np.float32))
    y = [x[:, :8].argmax(axis=1) for x in X]
    model = bptt.SequenceTagger(hidden_size=128, batch_size=32, epochs=epochs, random_state=0)
    return partial(model.fit, X, y)


def word_tagger(epochs: int) -> Fit:
    """Bidirectional tagger of 960 sentences of 30 words, 20,000 distinct, with 17 tags."""
    X = words(960, 30, 20_000)
    model = bptt.SequenceTagger(
        embedding_size=64, bidirectional=True, hidden_size=64, epochs=epochs, random_state=0
    )
    return partial(model.fit, X, [x % 17 for x in X])


def word_lm(epochs: int) -> Fit:
    """Language model of 400 sequences of 35 words, 10,000 distinct: two layers of 200."""
    model = bptt.LanguageModel(
        tokens=None,
        embedding_size=200,
        hidden_size=200,
        num_layers=2,
        batch_size=20,
        epochs=epochs,
        random_state=0,
    )
    return partial(model.fit, [x.tolist() for x in words(400, 35, 10_000)])


FITS: dict[str, Callable[[int], Fit]] = {
    "tagger of features": feature_tagger,
    "tagger of words, V 20,000": word_tagger,
    "language model of words, V 10,000": word_lm,
}


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


def profile(name: str, threads: int, epochs: int) -> None:
    """Print the profile of a fit."""
    make = FITS[name]
    with bptt.threads(threads):
        make(1)()
        fit = make(epochs)
        with timed_kernels() as seconds:
            start = time.perf_counter()
            fit()
            total = time.perf_counter() - start
        profiler = cProfile.Profile()
        profiler.runcall(make(epochs))
    inside = sum(seconds.values())
    print(f"\n{name}, {threads} thread{'s' * (threads > 1)}")
    print(f"fit {total:.3f} s, {inside / total:.1%} of it in the kernels")
    for kernel, spent in sorted(seconds.items(), key=lambda item: -item[1]):
        if spent > 0.001 * total:
            print(f"  {spent / total:6.1%}  {kernel}")
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
    parser.add_argument("--fits", nargs="+", choices=FITS, default=list(FITS), help="models")
    parser.add_argument("--epochs", type=int, default=3, help="number of epochs")
    arguments = parser.parse_args()
    print(f"float32, {loader.kernels.__name__}")
    for name in arguments.fits:
        for threads in arguments.threads:
            profile(name, threads, arguments.epochs)


if __name__ == "__main__":
    main()
