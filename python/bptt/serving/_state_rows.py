"""States of many streams: arrays with a row for each, which grow."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bptt._core.checks import FloatArray

_FIRST_ROWS = 64
INITIAL = 0
"""The row with the state before the first step."""

Rows = NDArray[np.intp]


class StateRows:
    """States and times of the last use, by row.

    Parameters
    ----------
    shapes : sequence of (num_layers, size)
        Of the states of one stream.
    dtype : dtype
    limit : int
        Number of rows that may be in use.
    """

    def __init__(
        self, shapes: Sequence[tuple[int, int]], dtype: np.dtype[np.floating], limit: int
    ) -> None:
        self._limit = limit
        self.num_rows = 1 + min(_FIRST_ROWS, limit)
        self._states: list[FloatArray] = [np.zeros((n, self.num_rows, s), dtype) for n, s in shapes]
        self.used = np.full(self.num_rows, math.inf)
        """Time of the last use; infinity in rows that are not in use."""
        self._free = list(range(self.num_rows - 1, INITIAL, -1))

    @property
    def nbytes(self) -> int:
        """Bytes of all rows, in use or not."""
        return sum(array.nbytes for array in [*self._states, self.used])

    @property
    def bytes_per_row(self) -> int:
        """Bytes of the states of one row."""
        return sum(array[:, INITIAL].nbytes for array in self._states)

    def read(self, rows: Rows) -> list[FloatArray]:
        """Return copies of the states of these rows, (num_layers, N, size) each."""
        return [array.take(rows, axis=1) for array in self._states]

    def write(self, rows: Rows, states: Sequence[FloatArray]) -> None:
        """Set the states of distinct rows."""
        for array, values in zip(self._states, states, strict=True):
            for layer in range(len(array)):
                array[layer][rows] = values[layer]

    def reserve(self, count: int) -> None:
        """Let there be `count` free rows; on an error all is as it was."""
        missing = count - len(self._free)
        if missing <= 0:
            return
        size = min(max(2 * self.num_rows, self.num_rows + missing), 1 + self._limit)
        states = [_longer(array, 1, size) for array in self._states]
        used = _longer(self.used, 0, size)
        used[self.num_rows :] = math.inf
        self._free[:0] = range(size - 1, self.num_rows - 1, -1)
        self._states, self.used, self.num_rows = states, used, size

    def allocate(self, count: int) -> list[int]:
        """Return `count` rows that are free, after `reserve`."""
        rows = self._free[: -count - 1 : -1]
        del self._free[-count:]
        return rows

    def release(self, rows: Rows) -> None:
        """Free rows."""
        self.used[rows] = math.inf
        self._free += rows[::-1].tolist()

    def least_recent(self, count: int, spared: Rows) -> Rows:
        """Return the `count` rows in use whose last use is longest ago; ties by row."""
        used = self.used.copy()
        used[spared] = math.inf
        latest = np.partition(used, count - 1)[count - 1]
        before = np.flatnonzero(used < latest)
        return np.concatenate([before, np.flatnonzero(used == latest)[: count - len(before)]])

    def used_until(self, time: float) -> Rows:
        """Return the rows whose last use is at `time` or before, by time; ties by row."""
        rows = np.flatnonzero(self.used <= time)
        ordered: Rows = rows[np.argsort(self.used[rows], kind="stable")]
        return ordered


def _longer(array: FloatArray, axis: int, size: int) -> FloatArray:
    """Return a copy with `size` rows along the axis, the new ones 0."""
    shape = list(array.shape)
    shape[axis] = size
    longer = np.zeros(shape, array.dtype)
    longer[(slice(None),) * axis + (slice(array.shape[axis]),)] = array
    return longer
