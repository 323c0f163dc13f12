"""Measure fairly: what is compared takes turns, in processes with a fixed number of threads.

Whatever else the machine does meanwhile disturbs all alike, and medians drop most of it. NumPy's
matrix product can be told its number of threads only before NumPy is imported, hence the processes
of their own: `Apart` starts a module of this package in one, and the module calls `answer`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

_THREADS = (
    "BPTT_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)

_Key = TypeVar("_Key", bound=Hashable)


def seconds_per_call(task: Callable[[], object], least: float = 0.0) -> float:
    """Return the seconds of one call, from as many calls as take `least` seconds together."""
    once = _seconds(task, 1)
    calls = int(least / once)
    return once if calls <= 1 else _seconds(task, calls) / calls


def take_turns(
    measures: Mapping[_Key, Callable[[], float]],
    rounds: int,
    *,
    least: float = 0.0,
    on_turn: Callable[[], object] = lambda: None,
) -> dict[_Key, list[float]]:
    """Call every function in turn, `rounds` times and for at least `least` seconds.

    Parameters
    ----------
    measures : mapping of names to functions
        Each returns how many seconds it has measured.
    rounds : int
        At least so many turns, >= 1, after one more that does not count: there, caches and
        allocators are cold.
    least : float
        Seconds; there are more turns until they have passed.
    on_turn : function
        Called after every single call.

    Returns
    -------
    dict
        The names with the seconds of every turn.
    """
    found: dict[_Key, list[float]] = {key: [] for key in measures}
    start = time.perf_counter()
    turn = 0
    while turn <= rounds or time.perf_counter() - start < least:
        for key, measure in measures.items():
            measured = measure()
            if turn > 0:
                found[key].append(measured)
            on_turn()
        turn += 1
    return found


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def environment(threads: int) -> dict[str, str]:
    """Return the environment of a process with so many threads, here and in NumPy's products."""
    return {**os.environ, "PYTHONUTF8": "1", **dict.fromkeys(_THREADS, str(threads))}


class Apart:
    """A module that answers questions in a process of its own, with a fixed number of threads.

    Use it in a ``with`` statement: the process ends with it, whatever it is doing.
    """

    def __init__(self, module: str, threads: int) -> None:
        self._module = module
        self._threads = threads

    def __enter__(self) -> Apart:
        with _interruptible_afterwards() as interrupted:
            self._child = subprocess.Popen(
                [sys.executable, "-m", self._module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                encoding="utf-8",
                env=environment(self._threads),
            )
        if interrupted:
            self.__exit__()
            raise KeyboardInterrupt
        return self

    def __exit__(self, *_: object) -> None:
        self._child.kill()
        self._child.communicate()

    def ask(self, question: object) -> Any:
        """Return the module's answer; both are values that fit JSON.

        Raises
        ------
        MemoryError
            If there is not enough memory to find the answer.
        RuntimeError
            If the module fails.
        """
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        with suppress(BrokenPipeError):  # it has ended: there will be no answer either
            self._child.stdin.write(json.dumps(question) + "\n")
            self._child.stdin.flush()
        reply = self._child.stdout.readline()
        if not reply:
            self._explain()
        answered, value = json.loads(reply)
        if not answered:
            raise MemoryError(value)
        return value

    def _explain(self) -> None:
        """Raise the error that says why the process has ended."""
        _, errors = self._child.communicate()
        if self._child.returncode < 0 and not errors:  # as the system does when memory runs out
            raise MemoryError(f"signal {-self._child.returncode} has ended {self._module}")
        raise RuntimeError(f"{self._module} has failed:\n{errors}")


def answer(function: Callable[[Any], object]) -> None:
    """Answer the questions of `Apart.ask` with what `function` returns, until there are no more."""
    for question in sys.stdin:
        try:
            reply = [True, function(json.loads(question))]
        except MemoryError as error:
            reply = [False, str(error)]
        print(json.dumps(reply), flush=True)


@contextmanager
def _interruptible_afterwards() -> Iterator[list[bool]]:
    """Only note Ctrl-C: within `Popen`, it would leave a process that nobody can end."""
    interrupted: list[bool] = []
    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not usual or threading.current_thread() is not threading.main_thread():
        yield interrupted
        return
    signal.signal(signal.SIGINT, lambda *_: interrupted.append(True))
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _seconds(task: Callable[[], object], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        task()
    return time.perf_counter() - start
