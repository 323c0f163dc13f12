"""Processes: forks and exits at any moment of a call, and pools of workers."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec

import numpy as np

import bptt
from bptt._core import loader
from tests.stress.calls import Call, all_calls
from tests.stress.outcome import Outcome

LONGEST = 600  # seconds until a child must have ended, also where others keep the cores busy
ENGINES = loader.kernels.thread_engines()


@contextmanager
def busy_threads(count: int, calls: list[Call]) -> Iterator[None]:
    """Make the calls, over and over, in `count` other threads."""
    ended = threading.Event()

    def work(first: int) -> None:
        i = first
        while not ended.is_set():
            calls[i % len(calls)]()
            i += 1

    others = [threading.Thread(target=work, args=(3 * i,), daemon=True) for i in range(count)]
    for other in others:
        other.start()
    try:
        yield
    finally:
        ended.set()
        for other in others:
            other.join()


def forks(times: int) -> Outcome:
    """Fork at any moment of the calls of two other threads; the child makes all calls itself."""
    warnings.filterwarnings("ignore", ".*multi-threaded.*fork", DeprecationWarning)
    calls = all_calls()
    with bptt.threads(1):
        expected = {name: call() for name, call in calls.items()}

    def wrong() -> list[str]:
        return [name for name, call in calls.items() if call() != expected[name]]

    rng, failures = np.random.default_rng(0), []
    bptt.set_num_threads(3)
    for engine in ENGINES:
        loader.kernels.set_thread_engine(engine)
        assert not wrong()
        with busy_threads(2, list(calls.values())):
            for i in range(-(-times // len(ENGINES))):
                time.sleep(rng.uniform(0, 4e-3))
                child = os.fork()
                if not child:
                    try:
                        ok = loader.kernels.thread_engine() == "pool" and not wrong() + wrong()
                        os._exit(0 if ok else 2)
                    except BaseException:
                        os._exit(3)
                status = wait(child)
                if status:
                    failures.append(f"fork {i} with {engine}: the child ended with {status}")
    return Outcome(-(-times // len(ENGINES)) * len(ENGINES), failures, {"calls": list(calls)})


def wait(child: int) -> int:
    """Return the status of a child process, which is ended if it takes too long."""
    deadline = time.monotonic() + LONGEST
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        time.sleep(1e-4)
    os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


def exits(times: int) -> Outcome:
    """End the interpreter while daemon threads are inside of calls: no error, no output."""
    failures = []
    for seed in range(times):
        engine = ENGINES[seed % len(ENGINES)]
        child = subprocess.run(
            [sys.executable, "-c", f"from tests.stress import processes as p; p.leave({seed})"],
            env={**os.environ, "BPTT_THREAD_ENGINE": engine, "BPTT_NUM_THREADS": "3"},
            capture_output=True,
            text=True,
            timeout=LONGEST,
            check=False,
        )
        if child.returncode or child.stderr:
            failures.append(f"exit {seed}: code {child.returncode}, {child.stderr[-300:]}")
    return Outcome(times, failures, {})


def leave(seed: int) -> None:
    """Start daemon threads that make calls, and return at any moment."""
    calls = list(all_calls().values())

    def work(first: int) -> None:
        while True:
            calls[first % len(calls)]()
            first += 1

    for i in range(2):
        threading.Thread(target=work, args=(seed + 3 * i,), daemon=True).start()
    time.sleep(np.random.default_rng(seed).uniform(0, 0.03))


def digest(_: int = 0) -> tuple[str, int]:
    """Return the hash of the results of all calls, and the number of threads of this process."""
    found = hashlib.sha256(b"".join(call() for call in all_calls().values())).hexdigest()
    return found, bptt.get_num_threads()


def workers(times: int) -> Outcome:
    """Pools of two workers of every kind, while another thread makes calls."""
    warnings.filterwarnings("ignore", ".*multi-threaded.*fork", DeprecationWarning)
    expected, failures = digest()[0], []
    kinds: dict[str, Callable[[], list[tuple[str, int]]]] = {}
    for method in multiprocessing.get_all_start_methods():
        kinds[f"pool, {method}"] = lambda method=method: _pool(method)
        kinds[f"executor, {method}"] = lambda method=method: _executor(method)
    if find_spec("joblib"):
        kinds["loky"] = _loky
    seen: dict[str, int] = {}
    with busy_threads(1, list(all_calls().values())):
        for i in range(times):
            name = list(kinds)[i % len(kinds)]
            found = kinds[name]()
            if {one for one, _ in found} != {expected}:
                failures.append(f"{name}: other results")
            seen[name] = max(count for _, count in found)
    if find_spec("joblib") and seen.get("loky", 1) > max(1, len(os.sched_getaffinity(0)) // 2):
        failures.append(f"loky: {seen['loky']} threads in each of two workers")
    return Outcome(times, failures, {"threads": seen})


def _pool(method: str) -> list[tuple[str, int]]:
    with multiprocessing.get_context(method).Pool(2) as pool:
        return pool.map_async(digest, range(2), chunksize=1).get(LONGEST)


def _executor(method: str) -> list[tuple[str, int]]:
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(2, mp_context=context) as executor:
        return list(executor.map(digest, range(2), timeout=LONGEST))


def _loky() -> list[tuple[str, int]]:
    import joblib
    from joblib.externals.loky import get_reusable_executor

    try:
        return joblib.Parallel(n_jobs=2, backend="loky", timeout=LONGEST)(
            joblib.delayed(digest)(i) for i in range(2)
        )
    finally:
        get_reusable_executor().shutdown(wait=True)
