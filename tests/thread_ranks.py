"""Ranks of MPI as threads of this process: what bptt uses of mpi4py's communicators.

Everything that is sent is copied through pickle, as between processes. A rank that fails ends the
exchanges of the others, as `Abort` does.
"""

# ruff: noqa: N802 (the names are those of mpi4py)
from __future__ import annotations

import pickle
import threading
from collections import defaultdict
from queue import Empty, Queue

import numpy as np

SECONDS = 60  # after which a rank that waits for others has failed


class Aborted(BaseException):
    """What `Abort` raises, and exchanges of other ranks after it."""


class _Shared:
    def __init__(self, size):
        self.barrier = threading.Barrier(size)
        self.slots = [None] * size
        self.messages = defaultdict(Queue)
        self.sent = []  # (rank, kind, bytes)


class ThreadRank:
    """One of the ranks, with the methods of ``mpi4py.MPI.Comm``."""

    def __init__(self, rank, size, shared):
        self._rank, self._size, self._shared = rank, size, shared

    def Get_rank(self):
        return self._rank

    def Get_size(self):
        return self._size

    def _exchange(self, value):
        """Return what all ranks have given, in their order."""
        shared = self._shared
        shared.slots[self._rank] = pickle.dumps(value)
        try:
            shared.barrier.wait(SECONDS)
            found = [pickle.loads(one) for one in shared.slots]
            shared.barrier.wait(SECONDS)
        except threading.BrokenBarrierError:
            raise Aborted from None
        return found

    def allgather(self, value):
        return self._exchange(value)

    def bcast(self, value, root=0):
        return self._exchange(value if self._rank == root else None)[root]

    def Allgather(self, sent, received):
        self._log("Allgather", sent.nbytes)
        received[...] = np.reshape(self._exchange(sent), received.shape)

    def Alltoall(self, sent, received):
        self._log("Alltoall", sent.nbytes)
        parts = sent.reshape(self._size, -1)
        received[...] = [rows[self._rank] for rows in self._exchange(parts)]

    def Split_type(self, kind):
        return self

    def Free(self):
        pass

    def isend(self, value, dest, tag):
        self._shared.messages[self._rank, dest, tag].put(value)
        return self

    def wait(self):
        pass

    def iprobe(self, source, tag):
        return not self._shared.messages[source, self._rank, tag].empty()

    def recv(self, source, tag):
        try:
            return self._shared.messages[source, self._rank, tag].get(timeout=SECONDS)
        except Empty:
            raise Aborted from None

    def Abort(self, code):
        self._shared.barrier.abort()
        raise Aborted(code)

    def _log(self, kind, size):
        self._shared.sent.append((self._rank, kind, size))


def run_ranks(size, function, *arguments):
    """Return ``function(rank's communicator, *arguments)`` of all ranks; raise their first error.

    An error of a rank is preferred to the `Aborted` of those that waited for it.
    """
    shared = _Shared(size)
    results, errors = [None] * size, [None] * size

    def target(rank):
        try:
            results[rank] = function(ThreadRank(rank, size, shared), *arguments)
        except BaseException as error:
            errors[rank] = error
            if not isinstance(error, Aborted) and not any(errors[:rank] + errors[rank + 1 :]):
                threading.Timer(5.0, shared.barrier.abort).start()

    threads = [threading.Thread(target=target, args=(rank,), daemon=True) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * SECONDS)
    found = [error for error in errors if error is not None]
    for error in sorted(found, key=lambda one: isinstance(one, Aborted)):
        raise error
    return results
