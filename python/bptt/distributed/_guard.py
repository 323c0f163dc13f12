"""Joint work of all ranks: threads for each of them, and an end of all if one fails.

A rank that raises an exception would leave the others waiting for it in the next exchange, for
ever. It sends them a message; if all fail, as they do for a wrong argument or a loss that is not
finite, the exception is raised on all. Otherwise it prints one sentence and ends all ranks.
"""

from __future__ import annotations

import functools
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar, cast

from bptt._core import threads
from bptt.distributed._communicator import Communicator, as_communicator

PATIENCE = 2.0
"""Seconds after which a rank that has failed ends the others."""

_TAG = 20_707  # of the message that a rank has failed
_INTERVAL = 0.002  # seconds

_F = TypeVar("_F", bound=Callable[..., Any])


@contextmanager
def joined(communicator: Any) -> Iterator[Communicator]:
    """Yield the ranks of the argument `communicator`, for work that all do together.

    Within, each rank has its share of the cores of its node as maximum number of threads, unless
    ``BPTT_NUM_THREADS`` or ``OMP_NUM_THREADS`` is set. An exception that is not raised on all ranks
    ends all processes.
    """
    ranks = as_communicator(communicator)
    if ranks.is_alone or ranks._is_guarded:
        yield ranks
        return
    ranks._is_guarded = True
    try:
        with _threads_of_rank(ranks):
            yield ranks
    except BaseException as error:
        if not _all_fail(ranks):
            _end_all(ranks, error)
        raise
    finally:
        ranks._is_guarded = False


def jointly(method: _F) -> _F:
    """Decorate a method with the argument `communicator`, which gets a `Communicator`."""

    @functools.wraps(method)
    def wrapped(*arguments: Any, communicator: Any = None, **named: Any) -> Any:
        with joined(communicator) as ranks:
            return method(*arguments, communicator=ranks, **named)

    return cast(_F, wrapped)


def _all_fail(ranks: Communicator) -> bool:
    """Tell the other ranks that this one has failed; return whether all fail within `PATIENCE`."""
    comm = ranks._comm
    others = {rank for rank in range(ranks.size) if rank != ranks.rank}
    sent = [comm.isend(None, dest=rank, tag=_TAG) for rank in others]
    deadline = time.monotonic() + PATIENCE
    while others and time.monotonic() < deadline:
        for rank in sorted(others):
            if comm.iprobe(source=rank, tag=_TAG):
                comm.recv(source=rank, tag=_TAG)
                others.remove(rank)
        time.sleep(_INTERVAL)
    if others:
        return False
    for request in sent:
        request.wait()
    return True


def _end_all(ranks: Communicator, error: BaseException) -> NoReturn:
    """Print what has happened in one sentence, and end all processes."""
    what = traceback.format_exception_only(type(error), error)[-1].strip()
    message = f"rank {ranks.rank} of {ranks.size} failed and ends all others: {what}"
    print(message, file=sys.__stderr__, flush=True)  # as other output of most ranks is left out
    ranks._comm.Abort(1)
    os._exit(1)  # MPICH returns, and lets mpiexec end this process a little later


@contextmanager
def _threads_of_rank(ranks: Communicator) -> Iterator[None]:
    """Limit the threads of this process to its share of the cores of its node."""
    if os.environ.get("BPTT_NUM_THREADS") or os.environ.get("OMP_NUM_THREADS"):
        yield
        return
    with threads.threads(threads_of_rank(ranks, threads.get_num_threads())):
        yield


def threads_of_rank(ranks: Communicator, own: int) -> int:
    """Return the cores of the node divided by its ranks, at least 1 and at most `own`.

    The cores are those that any rank of the node may run on: mpiexec may have bound each rank to
    its own.
    """
    node = ranks._comm.Split_type(_shared())
    try:
        masks = node.allgather(_available_cores())
    finally:
        node.Free()
    cores = len(set().union(*masks))
    quota = threads._core_quota()
    return max(1, min(own, min(cores, quota or cores) // len(masks)))


def _shared() -> int:
    """Return the constant by which MPI splits ranks by their nodes."""
    mpi = sys.modules.get("mpi4py.MPI")
    return 0 if mpi is None else int(mpi.COMM_TYPE_SHARED)


def _available_cores() -> set[int]:
    """Return the numbers of the cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))
