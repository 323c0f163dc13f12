"""Memory and descriptors of a process that goes on for long."""

from __future__ import annotations

import gc
import os
import resource
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

import bptt
from tests.stress.outcome import Outcome

GROWTH = 2 << 20  # bytes of resident memory in a whole run, however long
PARTS = 200  # of a run, with a measurement after each


def resident() -> int:
    """Return the resident memory of this process, in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


@contextmanager
def peak() -> Iterator[list[int]]:
    """Measure the largest resident memory of a block, beyond that at its beginning, in bytes."""
    found: list[int] = []
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = resident()
    yield found
    status = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    found.append(int(status["VmHWM"].split()[0]) * 1024 - before)


def descriptors() -> int:
    """Return the number of open files of this process."""
    return len(os.listdir("/proc/self/fd"))


def threads() -> int:
    """Return the number of threads of this process."""
    return len(os.listdir("/proc/self/task"))


def flat(use: Callable[[int], None], times: int) -> Outcome:
    """Call `use` with numbers of repetitions, `times` in all; memory and files must not grow.

    The first tenth warms up: caches and the memory that malloc keeps are filled then. Ctrl-C ends
    the run early, with the result so far.
    """
    size = -(-times // PARTS)
    warm = max(PARTS // 10 * size, 1)
    use(warm)
    gc.collect()
    done, most, before = warm, 0, (resident(), descriptors(), threads())
    try:
        while done < times:
            use(min(size, times - done))
            done += min(size, times - done)
            gc.collect()
            most = max(most, resident() - before[0])
    except KeyboardInterrupt:
        pass
    failures = []
    if most > GROWTH:
        failures.append(f"resident memory has grown by {most / 2**20:.1f} MB")
    for name, count, now in zip(
        ("descriptors", "threads"), before[1:], (descriptors(), threads()), strict=True
    ):
        if now > count:
            failures.append(f"{name}: {count} after the first tenth, {now} at the end")
    return Outcome(done, failures, {"growth_kb": most >> 10, "resident_mb": before[0] >> 20})


def stream(times: int) -> Outcome:
    """Single steps of a stream, the state of one is that of the next."""
    chain = bptt.LSTM(2, 8, seed=0)
    x = np.random.default_rng(0).standard_normal((257, 1, 2)).astype(np.float32)
    state = chain.step(x[0])[1]

    def use(count: int) -> None:
        nonlocal state
        step, rows = chain.step, list(x)
        for i in range(count):
            state = step(rows[i % 257], state)[1]

    found = flat(use, times)
    if not all(np.isfinite(array).all() for array in (state.h, state.c)):
        found.failures.append("the state is not finite")
    return found


def fits(times: int) -> Outcome:
    """Fits of small estimators, of every kind in turn."""
    rng = np.random.default_rng(0)
    numbers = [rng.standard_normal((int(n), 2)).astype(np.float32) for n in (4, 6, 5, 3)]
    texts, tags = ["ab", "ba", "abab", "b"], [list("AB"), list("BA"), list("ABAB"), list("B")]
    options = {"hidden_size": 4, "epochs": 1, "random_state": 0}
    kinds: list[tuple[type, dict[str, object], tuple[object, ...]]] = [
        (bptt.SequenceClassifier, {"bidirectional": True}, (numbers, [0, 1, 0, 1])),
        (bptt.SequenceRegressor, {"scale": True}, (numbers, [0.5, 1.0, 2.0, 0.0])),
        (bptt.SequenceForecaster, {"horizon": 2}, (np.arange(30.0),)),
        (bptt.SequenceTagger, {"cell": "gru", "dropout": 0.1}, (texts, tags)),
        (bptt.LanguageModel, {"embedding_size": 3}, (texts,)),
        (bptt.EncoderDecoder, {"attention": "dot"}, (texts, ["x", "y", "xy", "yx"])),
    ]

    def use(count: int) -> None:
        for i in range(count):
            kind, more, data = kinds[i % len(kinds)]
            kind(**options, **more).fit(*data)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return flat(use, times)
