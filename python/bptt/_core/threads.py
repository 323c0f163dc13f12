"""Number of threads and their engine; they affect running times, never results."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from bptt._core import checks, loader


def set_num_threads(n: int | None) -> None:
    """Set the maximum number of threads of a call, in the whole process.

    A call never uses more threads than there are cores available to the process. Small calls use
    fewer, and so do all calls for a while where other programs keep cores busy. Of concurrent
    calls, one uses several threads and the others run on their calling threads.
    ``omp_set_num_threads``, and what calls it (threadpoolctl, PyTorch if it shares its OpenMP
    library), also limits the calls of the thread that called it.

    Parameters
    ----------
    n : int or None
        Maximum number of threads, in [1, 1024]. None restores the default: the environment variable
        ``BPTT_NUM_THREADS``, else ``OMP_NUM_THREADS``, else the number of cores available to the
        process: those of its affinity mask, or fewer if the processor time of its control group is
        limited, as in containers.

    Raises
    ------
    TypeError, ValueError
        If `n` is not an integer, or not in [1, 1024].
    """
    loader.kernels.set_thread_limit(_DEFAULT if n is None else _checked(n))


def get_num_threads() -> int:
    """Return the maximum number of threads of a call from the current thread.

    Returns
    -------
    int
    """
    return loader.kernels.thread_limit()


def threads(n: int) -> AbstractContextManager[None]:
    """Set the maximum number of threads within a with statement, for the current thread only.

    Parameters
    ----------
    n : int
        Maximum number of threads, in [1, 1024].

    Returns
    -------
    context manager

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
    if n > _MAX_THREADS:
        raise ValueError(f"n must be an integer <= {_MAX_THREADS}, got {n}")
    return n


def _from_environment(environment: Mapping[str, str]) -> int:
    """Return the number of threads that the environment variables set; 0 if none does."""
    own = environment.get("BPTT_NUM_THREADS", "")
    if own:
        if not own.isdecimal() or not 1 <= _integer(own) <= _MAX_THREADS:
            got = own if len(own) <= 40 else f"{own[:40]}.."
            raise ImportError(
                f"BPTT_NUM_THREADS must be an integer in [1, {_MAX_THREADS}], got {got!r}"
            )
        return int(own)
    # OMP_NUM_THREADS may be a list, one number per nesting level; invalid values are ignored.
    shared = environment.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return min(_integer(shared), _MAX_THREADS) if shared.isdecimal() else 0


def _integer(digits: str) -> int:
    """Return an integer; one of more digits than any number of threads as a large one."""
    return int(digits) if len(digits) <= 40 else 10**40


def _core_quota(root: Path = Path("/")) -> int:
    """Return the cores whose time Linux's control groups grant the process, rounded up; 0 for all.

    A group's limit holds for the groups inside: the smallest on the path is the one in effect.
    """
    quotas = []
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = root / "sys/fs/cgroup" / ("cpu" if controllers else "")
        for group in (mount / path.lstrip("/"), *(mount / path.lstrip("/")).parents):
            if not group.is_relative_to(mount):
                break
            names = ("cpu.cfs_quota_us", "cpu.cfs_period_us") if controllers else ("cpu.max",)
            quotas.append(" ".join(line for name in names for line in _lines(group / name)).split())
    cores = [-(-int(quota[0]) // int(quota[1])) for quota in quotas if _is_limit(quota)]
    return min(cores, default=0)


def _is_limit(quota: Sequence[str]) -> bool:
    """Whether a quota and its period, in microseconds, are a limit: not "max" or "-1"."""
    return len(quota) == 2 and all(part.isdecimal() and int(part) > 0 for part in quota)


def _lines(path: Path) -> list[str]:
    """Return the lines of a file of the system; none where it cannot be read."""
    try:
        return path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []


def _engine_from_environment(environment: Mapping[str, str], built: Sequence[str]) -> str | None:
    """Return the thread engine that the environment variable sets, or None."""
    name = environment.get("BPTT_THREAD_ENGINE", "")
    if not name:
        return None
    if name not in _ENGINES:
        raise ImportError(f"BPTT_THREAD_ENGINE must be one of {', '.join(_ENGINES)}, got {name!r}")
    if name not in built:
        raise ImportError(
            f"BPTT_THREAD_ENGINE={name} asks for an engine that was not built; "
            f"this installation has {', '.join(built)}"
        )
    return name


_MAX_THREADS = 1024
_ENGINES = ("openmp", "pool")
_DEFAULT = _from_environment(os.environ)  # 0: as many as there are cores
_ENGINE = _engine_from_environment(os.environ, loader.kernels.thread_engines())
loader.kernels.set_core_quota(_core_quota())
set_num_threads(None)
if _ENGINE is not None:
    loader.kernels.set_thread_engine(_ENGINE)
