"""Standardization of features: zero mean and unit variance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt._core.checks import FloatArray
from bptt.distributed._pooling import pooled_max, pooled_moments


@dataclass(frozen=True, eq=False)
class Standardizer:
    """Mean and standard deviation of every column of an array.

    Parameters
    ----------
    mean : float64 array (columns,)
        Mean of every column.
    std : float64 array (columns,)
        Standard deviation of every column; 1 for a constant column, which becomes 0.
    """

    mean: NDArray[np.float64]
    std: NDArray[np.float64]

    def __post_init__(self) -> None:
        checks.array_of("mean", self.mean, "f", 1)
        checks.array_of("std", self.std, "f", 1)
        checks.same_shape("std", self.std, "mean", self.mean.shape)

    @classmethod
    def from_values(cls, values: FloatArray) -> Standardizer:
        """Return the standardizer of these values.

        Parameters
        ----------
        values : array (N, columns)
            Values, at least one row.

        Returns
        -------
        Standardizer

        Raises
        ------
        TypeError, ValueError
            If the values are no floats, or have another shape.
        """
        checks.floats("values", values)
        if values.ndim != 2 or not pooled_max(len(values)):
            raise ValueError(f"values must have shape (N, columns) with N >= 1, got {values.shape}")
        mean, std = pooled_moments(values)
        # The deviation of a constant column is a rounding error, not a scale.
        constant = std <= np.finfo(values.dtype).eps * np.abs(mean)
        return cls(mean, np.where(constant, 1.0, std))

    def transform(self, values: FloatArray) -> FloatArray:
        """Return (values - mean) / std.

        Parameters
        ----------
        values : array (.., columns)
            Values in the original unit.

        Returns
        -------
        array (.., columns)
            Standardized values, of the same dtype.

        Raises
        ------
        TypeError, ValueError
            If the values are no floats, or have another number of columns.
        """
        self._check("values", values)
        standardized: FloatArray = ((values - self.mean) / self.std).astype(values.dtype)
        return standardized

    def inverse_transform(self, standardized: FloatArray) -> FloatArray:
        """Return standardized * std + mean.

        Parameters
        ----------
        standardized : array (.., columns)
            Standardized values.

        Returns
        -------
        array (.., columns)
            Values in the original unit, of the same dtype.

        Raises
        ------
        TypeError, ValueError
            If the values are no floats, or have another number of columns.
        """
        self._check("standardized", standardized)
        values: FloatArray = (standardized * self.std + self.mean).astype(standardized.dtype)
        return values

    def _check(self, name: str, values: FloatArray) -> None:
        checks.floats(name, values)
        if values.ndim == 0 or values.shape[-1] != len(self.mean):
            rule = f"(.., columns) with columns = {len(self.mean)}"
            raise ValueError(f"{name} must have shape {rule}, got {values.shape}")

    def to_dict(self) -> dict[str, list[float]]:
        """Return mean and std in JSON types.

        Returns
        -------
        dict of str to list of float
        """
        return {"mean": self.mean.tolist(), "std": self.std.tolist()}

    @classmethod
    def from_dict(cls, content: Mapping[str, Sequence[float]]) -> Standardizer:
        """Return the standardizer that `to_dict` described.

        Parameters
        ----------
        content : mapping
            Result of `to_dict`.

        Returns
        -------
        Standardizer

        Raises
        ------
        KeyError, TypeError, ValueError
            If the content is incomplete or invalid.
        """
        checks.fields("content", content, "mean", "std")
        mean, std = (_numbers(name, content[name]) for name in ("mean", "std"))
        if len(mean) != len(std) or not (std > 0).all():
            raise ValueError(f"std must be > 0 for each of {len(mean)} columns, got {std.tolist()}")
        return cls(mean, std)


def _numbers(name: str, values: Sequence[float]) -> NDArray[np.float64]:
    if not isinstance(values, Sequence):
        raise TypeError(f"{name} must be a list of numbers, got {type(values).__name__}")
    return np.array([checks.number(f"{name}[{i}]", x) for i, x in enumerate(values)], np.float64)
