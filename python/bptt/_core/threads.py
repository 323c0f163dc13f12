"""How many threads the layers may use. It changes how long they take, never a bit of the result."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

from bptt._core import checks, loader


def set_num_threads(n: int | None) -> None:
    """Set how many threads a call may use, in the whole process.

    A call that is too small to gain from them uses fewer. Of several calls at the same time, one
    uses the threads, and each of the others only its own.

    Parameters
    ----------
    n : int or None
        From 1 on. None restores the default: the environment variable ``BPTT_NUM_THREADS``, else
        ``OMP_NUM_THREADS``, else the number of cores that this process may run on.

    Raises
    ------
    TypeError, ValueError
        If `n` is not an integer, or not in [1, 1024].
    """
    loader.kernels.set_thread_limit(_DEFAULT if n is None else _checked(n))


def get_num_threads() -> int:
    """Return how many threads a call of this thread may use."""
    return loader.kernels.thread_limit()


def threads(n: int) -> AbstractContextManager[None]:
    """Set how many threads a call may use, inside a with block and in this thread only.

    Raises
    ------
    TypeError, ValueError
        If `n` is not an integer, or not in [1, 1024].

    Examples
    --------
    >>> with bptt.threads(1):
    ...     y, state = layer(x)
    """
    return _limited(_checked(n))


@contextmanager
def _limited(n: int) -> Iterator[None]:
    before = loader.kernels.set_own_thread_limit(n)
    try:
        yield
    finally:
        loader.kernels.set_own_thread_limit(before)


def _checked(n: int) -> int:
    """Check a number of threads."""
    n = checks.integer("n", n)
    if n > _MOST:
        raise ValueError(f"n must be an integer <= {_MOST}, got {n}")
    return n


def _from_environment(environment: Mapping[str, str]) -> int:
    """Return the number that the environment asks for, 0 for none."""
    own = environment.get("BPTT_NUM_THREADS", "")
    if own:
        if not own.isdecimal() or not 1 <= int(own) <= _MOST:
            raise ImportError(f"BPTT_NUM_THREADS must be an integer in [1, {_MOST}], got {own!r}")
        return int(own)
    # OpenMP's may be a list, one number for each level of nesting; if it is wrong, others complain.
    shared = environment.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return min(int(shared), _MOST) if shared.isdecimal() else 0


_MOST = 1024
_DEFAULT = _from_environment(os.environ)  # 0: as many as there are cores
set_num_threads(None)
