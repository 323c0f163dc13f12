"""Sums over ranks in a fixed order.

The order in which ``MPI_Allreduce`` adds is a matter of the library, of the algorithm that it
chooses for a number of bytes and ranks, and of the network: two runs may differ, and some
algorithms do not give all ranks the same bits. Here, MPI moves the numbers and NumPy adds them:
every element is ((v_0 + v_1) + v_2) + .., v_r that of rank r, on one rank or on all.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

GATHERED_BYTES = 1 << 13
"""Up to this size every rank gets all values and adds all: one exchange instead of two."""


def ordered_sum(comm: Any, values: NDArray[Any]) -> None:
    """Replace `values` by their sum over all ranks, which has the same bits on all ranks.

    Small arrays are gathered by all ranks. Of larger ones, rank r gets the r-th part from all
    ranks, adds it, and the sums are gathered: each of P ranks sends and receives 2 (P − 1)/P times
    the bytes of the array, the least that is possible. Both give the same bits.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm
        The ranks.
    values : array (N,), C-contiguous
        Values of this rank, as many on all ranks; changed in place.
    """
    size, rank = comm.Get_size(), comm.Get_rank()
    if values.nbytes <= GATHERED_BYTES:
        rows = np.empty((size, values.size), values.dtype)
        comm.Allgather(values, rows)
        _add(rows, values)
        return
    borders = [values.size * r // size for r in range(size + 1)]
    counts = [stop - start for start, stop in pairwise(borders)]
    rows = np.empty((size, counts[rank]), values.dtype)
    received = [counts[rank]] * size, [counts[rank] * r for r in range(size)]
    comm.Alltoallv([values, (counts, borders[:-1])], [rows, received])
    total = rows[0]
    _add(rows, total)
    comm.Allgatherv(total, [values, (counts, borders[:-1])])


def _add(rows: NDArray[Any], total: NDArray[Any]) -> None:
    """Set `total`, which may be ``rows[0]``, to the sum of all rows, in their order."""
    np.add(rows[0], rows[1], out=total)
    for row in rows[2:]:
        total += row
