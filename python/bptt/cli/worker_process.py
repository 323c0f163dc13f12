"""Worker processes with a fixed number of threads.

NumPy's matrix product reads its number of threads when NumPy is imported, so that each number needs
a process. `WorkerProcess` starts a module of this package in one, and the module calls `serve`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

_THREAD_VARIABLES = (
    "BPTT_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


def available_cores() -> int:
    """Return the number of cores available to this process."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def worker_environment(threads: int) -> dict[str, str]:
    """Return the environment of a process with `threads` threads, in bptt and in NumPy's BLAS."""
    return {**os.environ, "PYTHONUTF8": "1", **dict.fromkeys(_THREAD_VARIABLES, str(threads))}


class WorkerProcess:
    """A module that answers requests in a process with a fixed number of threads.

    A context manager: leaving it kills the process.

    Parameters
    ----------
    module : str
        Run with ``python -m``; calls `serve`.
    threads : int
    """

    def __init__(self, module: str, threads: int) -> None:
        self._module = module
        self._threads = threads

    def __enter__(self) -> WorkerProcess:
        with _deferred_interrupt() as interrupted:
            self._process = subprocess.Popen(
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
        self._process.kill()
        self._process.communicate()

    def request(self, value: object) -> Any:
        """Return the response of the module to `value`; both are JSON values.

        Raises
        ------
        MemoryError
            If the process runs out of memory.
        RuntimeError
            If the module fails.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):  # the process has ended: there is no response
            self._process.stdin.write(json.dumps(value) + "\n")
            self._process.stdin.flush()
        response = self._process.stdout.readline()
        if not response:
            self._raise_failure()
        succeeded, result = json.loads(response)
        if not succeeded:
            raise MemoryError(result)
        return result

    def _raise_failure(self) -> None:
        """Raise the error that explains why the process has ended."""
        _, errors = self._process.communicate()
        signal_number = -self._process.returncode
        if signal_number > 0 and not errors:  # killed by the system, which is out of memory
            raise MemoryError(f"{self._module} was killed by signal {signal_number}")
        raise RuntimeError(f"{self._module} failed:\n{errors}")


@contextmanager
def worker_processes(module: str, threads: Iterable[int]) -> Iterator[dict[int, WorkerProcess]]:
    """Start a worker process for each number of threads, and kill all at the end."""
    with ExitStack() as stack:
        yield {n: stack.enter_context(WorkerProcess(module, n)) for n in threads}


def serve(function: Callable[[Any], object]) -> None:
    """Answer requests on standard input with what `function` returns, until it is closed."""
    for line in sys.stdin:
        try:
            response = [True, function(json.loads(line))]
        except MemoryError as error:
            response = [False, str(error)]
        print(json.dumps(response), flush=True)


@contextmanager
def _deferred_interrupt() -> Iterator[list[bool]]:
    """Record Ctrl-C instead of raising it: within `Popen`, it would leave an orphan process."""
    interrupted: list[bool] = []
    is_default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not is_default or threading.current_thread() is not threading.main_thread():
        yield interrupted
        return
    signal.signal(signal.SIGINT, lambda *_: interrupted.append(True))
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
