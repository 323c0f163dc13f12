"""Sums over ranks in a fixed order.

The order in which ``MPI_Allreduce`` adds is a matter of the library, of the algorithm that it
chooses for a number of bytes and ranks, and of the network: two runs may differ, and some
algorithms do not give all ranks the same bits. Here, MPI moves the numbers and NumPy adds them:
every element is ((v_0 + v_1) + v_2) + .., v_r that of rank r, on one rank or on all.
"""

from __future__ import annotations

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

    All parts are of one size: MPICH moves those of different sizes, by MPI_Alltoallv, in many small
    pieces, which takes 200 times as long where ranks share cores.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm
        The ranks.
    values : array (N,), C-contiguous
        Values of this rank, as many on all ranks; changed in place. Without a copy if N is a
        multiple of the number of ranks.
    """
    size = comm.Get_size()
    if values.nbytes <= GATHERED_BYTES:
        rows = np.empty((size, values.size), values.dtype)
        comm.Allgather(values, rows)
        _add(rows, values)
        return
    count = padded(values.size, size)
    whole = values
    if count > values.size:
        whole = np.zeros(count, values.dtype)
        whole[: values.size] = values
    rows = np.empty((size, count // size), values.dtype)
    comm.Alltoall(whole, rows)
    total = rows[0]
    _add(rows, total)
    comm.Allgather(total, whole)
    if whole is not values:
        values[...] = whole[: values.size]


def padded(count: int, size: int) -> int:
    """Return the smallest multiple of `size` that is at least `count`."""
    return -(-count // size) * size


def _add(rows: NDArray[Any], total: NDArray[Any]) -> None:
    """Set `total`, which may be ``rows[0]``, to the sum of all rows, in their order."""
    np.add(rows[0], rows[1], out=total)
    for row in rows[2:]:
        total += row
