"""Sparse gradients: the rows of a table that occurred."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt._core.checks import FloatArray
from bptt.nn.module import Gradients, Layout, StoredValues


class SparseGradients(Gradients):
    """Gradients with respect to a table, of which only some rows occurred in the forward pass.

    Only these rows are stored until ``gradients["weight"]`` is read for the first time. From then
    on, the dense array counts, which may be changed in place as that of other modules.

    Parameters
    ----------
    layout : Layout
        Name and shape (N, E) of the only parameter.
    ids : int32 array (n,)
        Rows that occurred, ascending.
    values : array (n, E)
        Their gradients; those of other rows are 0.
    """

    def __init__(self, layout: Layout, ids: NDArray[np.int32], values: FloatArray) -> None:
        self._layout = layout
        self._ids = ids
        self._values = values
        self.input = self.state = self.steps = None

    def __getattr__(self, name: str) -> Any:
        # Called for missing attributes only: for the dense array, before it is made.
        if name != "_flat":
            return super().__getattr__(name)
        flat = np.zeros(self._layout.size, self._layout.dtype)
        self._table(flat)[self._ids] = self._values
        return self.__dict__.setdefault("_flat", flat)  # atomic: all threads get the same array

    def _is_dense(self) -> bool:
        return "_flat" in self.__dict__

    def _table(self, flat: FloatArray) -> FloatArray:
        (table,) = self._layout.views(flat).values()
        return table

    def _stored(self) -> StoredValues:
        if self._is_dense():
            return super()._stored()
        return StoredValues(self._values.reshape(-1), self._ids)

    def _occurring(self) -> StoredValues:
        # Reading the dense array must not change an update; changes of other rows are kept.
        if not self._is_dense():
            return self._stored()
        table = self._table(self._flat)
        ids = np.union1d(self._ids, np.flatnonzero(table.any(axis=1))).astype(np.int32)
        return StoredValues(table[ids].reshape(-1), ids)

    def _add(self, other: Gradients) -> None:
        if not isinstance(other, SparseGradients):
            super()._add(other)
            return
        ids = np.union1d(self._ids, other._ids)
        if self._is_dense() or other._is_dense():
            super()._add(other)
        else:
            total = np.zeros((ids.size, self._values.shape[1]), self._values.dtype)
            for part in (self, other):
                total[np.searchsorted(ids, part._ids)] += part._values
            self._values = total
        self._ids = ids


def no_gradient(layout: Layout) -> SparseGradients:
    """Return the gradient 0 with respect to a table, which stores nothing."""
    (shape,) = layout.shapes.values()
    empty = np.zeros((0, *(size for _, size in shape[1:])), layout.dtype)
    return SparseGradients(layout, np.empty(0, np.int32), empty)
