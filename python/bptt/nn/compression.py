"""Weights of 16 and 8 bits, for inference.

A product of few rows is bound by reading its weights. In 16 or 8 bits they are read in half or a
quarter of the time, and the kernels widen them to float32 in registers: sums, activations and
states are float32 throughout.

- ``"bfloat16"``: the upper 16 bits of a float32, rounded to nearest, ties to even.
- ``"int8"``: w ≈ s q, with an integer q in [-127, 127] and a scale s for each row: the largest |w|
  of the row / 127. A row has the weights of one unit of one gate, or of one output or token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt._core.checks import Dimension, FloatArray
from bptt._core.tensor_files import BFLOAT16

KINDS = ("bfloat16", "int8")

check_kind = checks.one_of(*KINDS)
"""Check the name of a kind of compression."""


class NarrowArray(NamedTuple):
    """A matrix of 16 or 8 bits."""

    values: NDArray[Any]
    """uint16, the upper halves of float32, or int8; (rows, columns)."""
    scales: FloatArray | None
    """With int8, factors of the rows, (rows,)."""

    @classmethod
    def of(cls, matrix: FloatArray, kind: str) -> NarrowArray:
        """Round a finite float32 matrix."""
        if kind == "bfloat16":
            bits = np.ascontiguousarray(matrix).view(np.uint32)
            return cls(((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype(np.uint16), None)
        scales = np.abs(matrix).max(axis=1) / np.float32(127)
        # A row of zeros has no scale, and one of denormals may have none either.
        divisors = np.where(scales > 0, scales, np.float32(np.inf))[:, np.newaxis]
        return cls(np.rint(matrix / divisors).clip(-127, 127).astype(np.int8), scales)

    @classmethod
    def checked(
        cls,
        name: str,
        shape: tuple[Dimension, ...],
        kind: str,
        tensor: Callable[[str], NDArray[Any]],
    ) -> NarrowArray:
        """Return the matrix `name` of a file: `tensor` returns arrays by name.

        Raises
        ------
        TypeError, ValueError
            If an array has the wrong type or shape, or a number is not finite.
        """
        halves = kind == "bfloat16"
        values = checks.array(name, tensor(name), BFLOAT16 if halves else np.dtype(np.int8))
        checks.shape(name, values, shape)
        scales = None
        if not halves:
            scales = checks.array(
                f"{name}.scales", tensor(f"{name}.scales"), np.dtype(np.float32)
            ).copy()
            checks.shape(f"{name}.scales", scales, shape[:1])
            if (scales < 0).any():
                raise ValueError(f"{name}.scales must be >= 0, got {scales.min()}")
        found = cls(values.view(np.uint16).copy() if halves else values.copy(), scales)
        if not np.isfinite(found.widened()).all():
            raise ValueError(f"{name} must be finite, got NaN or infinity")
        return found

    def widened(self) -> FloatArray:
        """Return the float32 numbers that the values stand for."""
        if self.scales is None:
            bits = self.values.astype(np.uint32) << 16
            return bits.view(np.float32)
        result: FloatArray = self.values * self.scales[:, np.newaxis]
        return result

    @property
    def nbytes(self) -> int:
        """Number of bytes."""
        return self.values.nbytes + (0 if self.scales is None else self.scales.nbytes)


class NarrowParameters(Mapping[str, FloatArray]):
    """Parameters of a compressed module: matrices of fewer bits are widened when they are read.

    Parameters
    ----------
    kind : str
        "bfloat16" or "int8".
    arrays : mapping of str to array or NarrowArray
        Parameters, in the order of the module; not changed from now on.
    """

    def __init__(self, kind: str, arrays: Mapping[str, FloatArray | NarrowArray]) -> None:
        self.kind = kind
        self.arrays = dict(arrays)

    def __getitem__(self, name: str) -> FloatArray:
        array = self.arrays[name]
        found = array.widened() if isinstance(array, NarrowArray) else array.view()
        found.flags.writeable = False
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self.arrays)

    def __len__(self) -> int:
        return len(self.arrays)

    @property
    def nbytes(self) -> int:
        """Number of bytes of all parameters."""
        return sum(array.nbytes for array in self.arrays.values())

    def flat(self) -> FloatArray:
        """Return all parameters, widened, one after the other."""
        return np.concatenate([self[name].reshape(-1) for name in self])

    def scales(self) -> FloatArray | None:
        """Return the scales of all rows of all matrices of 8 bits, one after the other."""
        found = [
            array.scales
            for array in self.arrays.values()
            if isinstance(array, NarrowArray) and array.scales is not None
        ]
        return np.concatenate(found) if found else None

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return the arrays of a file, by name: scales are "name.scales"."""
        tensors: dict[str, NDArray[Any]] = {}
        for name, array in self.arrays.items():
            if not isinstance(array, NarrowArray):
                tensors[name] = array
                continue
            halves = self.kind == "bfloat16"
            tensors[name] = array.values.view(BFLOAT16) if halves else array.values
            if array.scales is not None:
                tensors[f"{name}.scales"] = array.scales
        return tensors
