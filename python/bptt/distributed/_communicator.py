"""Communicator: the ranks that train one model together, or one process alone."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Sequence
from itertools import zip_longest
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt.distributed._ordered_sum import ordered_sum

_T = TypeVar("_T")
_METHODS = ("Get_rank", "Get_size", "Allgather", "Alltoall", "allgather", "bcast")
_MISSING = object()


class Communicator:
    """The ranks that train one model together.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm, optional
        Ranks. ``MPI.COMM_WORLD``, all processes that mpiexec has started, by default.
    shards : bool
        What the data that a rank passes to `fit` are: False for all data, the same on all ranks,
        of which the rank computes its part of every minibatch; True for a part of its own.

    Attributes
    ----------
    rank : int
        Number of this rank, from 0.
    size : int
        Number of ranks.
    shards : bool
        The parameter.

    Raises
    ------
    ImportError
        If there is no `comm` and mpi4py is not installed, or finds no MPI library.
    TypeError
        If `comm` is no communicator of mpi4py.
    """

    rank: int
    size: int
    shards: bool

    def __init__(self, comm: Any = None, *, shards: bool = False) -> None:
        self.shards = checks.flag("shards", shards)
        if comm is None:
            comm = _world()
        if any(not callable(getattr(comm, name, None)) for name in _METHODS):
            kind = type(comm).__name__
            raise TypeError(f"comm must be a communicator of mpi4py, got {kind}")
        self._comm = comm
        self.rank, self.size = int(comm.Get_rank()), int(comm.Get_size())
        self._is_guarded = False

    def __repr__(self) -> str:
        shards = ", shards=True" if self.shards else ""
        return f"Communicator(rank {self.rank} of {self.size}{shards})"

    @property
    def is_alone(self) -> bool:
        """Whether this is the only rank."""
        return self.size == 1

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0, which writes files and shows progress."""
        return self.rank == 0

    # ---- exchange; every rank must call these together

    def _gather(self, value: _T) -> list[_T]:
        """Return the values of all ranks, in their order."""
        return [value] if self.is_alone else list(self._comm.allgather(value))

    def _broadcast(self, value: _T) -> _T:
        """Return the value of rank 0."""
        received: _T = value if self.is_alone else self._comm.bcast(value, root=0)
        return received

    def _first(self, function: Callable[[], _T]) -> _T:
        """Return what a function returns on rank 0, which alone calls it, or its error."""
        if self.is_alone:
            return function()
        value: Any = None
        failed: Exception | None = None
        if self.is_first:
            try:
                value = function()
            except Exception as error:
                failed = error
        sent = value, None if failed is None else _sendable(failed)
        value, received = self._broadcast(sent)
        if received is not None:
            raise failed or received
        result: _T = value
        return result

    def _any(self, flag: bool) -> bool:
        """Return whether the flag of any rank is set."""
        return any(self._gather(flag))

    def _gather_rows(self, row: NDArray[Any]) -> NDArray[Any]:
        """Return the arrays of all ranks, of one size, as rows (size, N)."""
        rows = np.empty((self.size, row.size), row.dtype)
        self._comm.Allgather(np.ascontiguousarray(row), rows)
        return rows

    def _gather_ragged(self, values: NDArray[Any], counts: Sequence[int]) -> NDArray[Any]:
        """Return the arrays of all ranks, of `counts` elements, as one (sum(counts),)."""
        row = np.zeros(max(counts), values.dtype)
        row[: values.size] = values
        rows = self._gather_rows(row)
        return np.concatenate([row[:count] for row, count in zip(rows, counts, strict=True)])

    def _sum(self, values: NDArray[Any]) -> None:
        """Add the arrays of all ranks, in place and in the order of ranks."""
        if not self.is_alone:
            ordered_sum(self._comm, values)

    def _check_same(self, named: dict[str, Any]) -> None:
        """Check that all ranks have the same values.

        Raises
        ------
        ValueError
            On all ranks, if they have not.
        """
        for name in named:
            values = self._gather(named[name])
            for rank, value in enumerate(values):
                if value != values[0]:
                    raise ValueError(
                        f"{name} must be the same on all ranks, got {values[0]} on rank 0 and "
                        f"{value} on rank {rank}"
                    )

    # ---- division of work

    def _part(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return this rank's part of a minibatch, which may be empty.

        Its sequences are sorted by length: every size-th of them makes parts of similar lengths.
        """
        return indices if self.shards else indices[self.rank :: self.size]

    def _share(self, items: Sequence[_T]) -> Sequence[_T]:
        """Return this rank's part of the minibatches that are evaluated."""
        return items if self.shards else items[self.rank :: self.size]

    def _gather_shares(self, results: list[_T]) -> Iterable[_T]:
        """Return the results of all ranks for their shares, in the order of all items."""
        if self.is_alone:
            return results
        columns = zip_longest(*self._gather(results), fillvalue=_MISSING)
        return [one for column in columns for one in column if one is not _MISSING]  # type: ignore[misc]


class _Alone(Communicator):
    """One process, which needs no MPI."""

    def __init__(self) -> None:
        self.rank, self.size, self.shards = 0, 1, False
        self._comm = None
        self._is_guarded = False


ALONE: Communicator = _Alone()
"""The communicator of a training in one process."""


def as_communicator(communicator: Any) -> Communicator:
    """Return the argument `communicator` of `fit` as a `Communicator`; `ALONE` for None.

    Raises
    ------
    TypeError
        If it is neither a `Communicator` nor a communicator of mpi4py.
    """
    if communicator is None:
        return ALONE
    if isinstance(communicator, Communicator):
        return communicator
    if callable(getattr(communicator, "Get_rank", None)):
        return Communicator(communicator)
    raise TypeError(
        "communicator must be a communicator of mpi4py or a bptt.distributed.Communicator, "
        f"got {type(communicator).__name__}"
    )


def _sendable(error: Exception) -> Exception:
    """Return an exception that other ranks can receive."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # whatever its class does
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _world() -> Any:
    """Return the communicator of all processes."""
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # RuntimeError: it finds no MPI library
        raise ImportError(
            f"training on several ranks needs mpi4py and an MPI library: pip install 'bptt[mpi]' "
            f"({error})"
        ) from error
    return MPI.COMM_WORLD
