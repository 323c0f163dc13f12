"""Sequences of ids or feature vectors in one array."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks, loader


@dataclass(frozen=True, eq=False)
class Sequences:
    """Sequences of ids or feature vectors in one array.

    Parameters
    ----------
    values : array (total steps,) or (total steps, I)
        Ids or features of all sequences. Padding between them is never read.
    starts : int64 array (B,)
        Index of the first step of each sequence in `values`.
    lengths : int64 array (B,)
        Number of steps of each sequence.
    """

    values: NDArray[Any]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]

    def __post_init__(self) -> None:
        checks.numpy_array("values", self.values)
        checks.array_of("starts", self.starts, "iu", 1)
        checks.array_of("lengths", self.lengths, "iu", 1)
        checks.same_shape("lengths", self.lengths, "starts", self.starts.shape)

    @classmethod
    def from_arrays(cls, rows: Iterable[NDArray[Any]]) -> Sequences:
        """Concatenate arrays, one per sequence.

        Parameters
        ----------
        rows : iterable of arrays (T,) or (T, I)
            At least one array.

        Returns
        -------
        Sequences

        Raises
        ------
        TypeError, ValueError
            If there is none, or their dtypes or shapes do not fit together.
        """
        if not isinstance(rows, Iterable):
            raise TypeError(f"rows must be arrays, one per sequence, got {type(rows).__name__}")
        arrays = [checks.numpy_array(f"rows[{i}]", row) for i, row in enumerate(rows)]
        if not arrays:
            raise ValueError("rows must have at least one array, got none")
        for i, array in enumerate(arrays):
            if array.ndim not in (1, 2) or array.shape[1:] != arrays[0].shape[1:]:
                rule = "shape (T,) or (T, I), as the others"
                raise ValueError(f"rows[{i}] must have {rule}, got {array.shape}")
        lengths = np.fromiter(map(len, arrays), np.int64, len(arrays))
        return cls.from_lengths(np.concatenate(arrays), lengths)

    @classmethod
    def from_lengths(cls, values: NDArray[Any], lengths: NDArray[np.int64]) -> Sequences:
        """Cut an array into sequences.

        Parameters
        ----------
        values : array (total steps,) or (total steps, I)
            Ids or features, one sequence after the other.
        lengths : int64 array (B,)
            Number of steps of each sequence.

        Returns
        -------
        Sequences

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type, or the lengths are not those of parts of the array.
        """
        checks.numpy_array("values", values)
        checks.array_of("lengths", lengths, "iu", 1)
        steps = values.shape[0] if values.ndim else 0
        if (lengths < 0).any() or (lengths > steps).any() or lengths.sum() > steps:
            raise ValueError(f"lengths must be >= 0, and in all at most {steps}, got {lengths}")
        return cls(values, np.cumsum(lengths) - lengths, lengths)

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> NDArray[Any]:
        """Return one sequence, (T,) or (T, I), as a view."""
        index = checks.integer("index", index, -len(self))
        if index >= len(self):  # IndexError: it ends iteration
            got = checks.shown(index)
            raise IndexError(f"index must be in [0, {len(self)}), got {got}")
        first = self.starts[index]
        return self.values[first : first + self.lengths[index]]

    def take(self, indices: NDArray[np.int64]) -> Sequences:
        """Return these sequences, in the given order, without copying their values.

        Parameters
        ----------
        indices : integer array
            Indices of sequences.

        Returns
        -------
        Sequences

        Raises
        ------
        TypeError, ValueError
            If an index is not an integer, or there is no such sequence.
        """
        indices = checks.indices("indices", indices, len(self))
        return Sequences(self.values, self.starts[indices], self.lengths[indices])

    def pad(self, indices: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Return these sequences as one padded array.

        Parameters
        ----------
        indices : integer array (B,)
            Indices of sequences.

        Returns
        -------
        padded : array (B, T) or (B, T, I)
            Ids or features; T is the length of the longest of these sequences. Padding is 0.
        lengths : int64 array (B,)
            Number of steps of each sequence.

        Raises
        ------
        TypeError, ValueError
            If an index is not an integer, or there is no such sequence.
        """
        indices = checks.integers("indices", indices)  # the kernel checks their range
        return loader.kernels.pad(self.values, self.starts, self.lengths, indices)
