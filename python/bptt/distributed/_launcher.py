"""Commands under mpiexec: whether several processes were started, and what they print."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout

from bptt.distributed._communicator import ALONE, Communicator
from bptt.distributed._guard import joined

_SIZES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
"""Environment variables of Open MPI and MPICH with the number of ranks."""

_RANKS = ("OMPI_COMM_WORLD_RANK", "PMI_RANK")


def number_of_processes(environment: Mapping[str, str] = os.environ) -> int:
    """Return how many processes mpiexec has started; 1 without it."""
    sizes = [environment.get(name, "") for name in _SIZES]
    return max((int(size) for size in sizes if size.isdecimal()), default=1)


@contextmanager
def launched() -> Iterator[Communicator]:
    """Yield the processes that mpiexec has started, or this one alone; rank 0 alone prints.

    Raises
    ------
    ImportError
        If there are several and mpi4py is not installed.
    RuntimeError
        If MPI does not know of them: mpiexec is of another MPI library than mpi4py's.
    SystemExit
        On other ranks than 0, with the code 1, for an error of all ranks.
    """
    count = number_of_processes()
    if count == 1:
        yield ALONE
        return
    try:
        ranks = Communicator()
    except ImportError as error:
        if any(os.environ.get(name, "0") != "0" for name in _RANKS):
            raise SystemExit(1) from error
        raise
    if ranks.size != count:
        raise RuntimeError(
            f"mpiexec started {count} processes, but the MPI library of mpi4py finds {ranks.size}: "
            "use the mpiexec of the same library, as 'bptt[mpi]' installs it"
        )
    if ranks.is_first:
        with joined(ranks):
            yield ranks
        return
    try:
        with joined(ranks), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            yield ranks
    except BaseException as error:  # rank 0 says why
        raise SystemExit(1) from error
