"""Worker processes with a fixed number of threads."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

_THREADS = (
    "BPTT_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


def available_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def worker_environment(threads: int) -> dict[str, str]:
    """Return the environment of a process with so many threads, here and in NumPy's products."""
    return {**os.environ, "PYTHONUTF8": "1", **dict.fromkeys(_THREADS, str(threads))}


class WorkerProcess:
    """A module that answers questions in a process of its own, with a fixed number of threads.

    Use it in a ``with`` statement: the process ends with it, whatever it is doing.
    """

    def __init__(self, module: str, threads: int) -> None:
        self._module = module
        self._threads = threads

    def __enter__(self) -> WorkerProcess:
        with _interruptible_afterwards() as interrupted:
            self._child = subprocess.Popen(
                [sys.executable, "-m", self._module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                encoding="utf-8",
                env=worker_environment(self._threads),
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
    """Answer requests on standard input with what `function` returns, until it is closed."""
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
