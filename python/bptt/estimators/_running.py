"""Running mean and standard deviation of a stream."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks

_EPSILON = float(np.finfo(np.float64).eps)


class RunningStandardizer:
    """Standardization by the mean and the standard deviation of all values so far.

    B. Welford (1962), Note on a method for calculating corrected sums of squares and products.

    Parameters
    ----------
    columns : int
        Number of columns.

    Attributes
    ----------
    count : int64 array (columns,)
        Number of values of each column.
    mean : float64 array (columns,)
        Their mean; 0 without any.
    squares : float64 array (columns,)
        Sum of their squared differences from the mean.
    std : float64 array (columns,)
        Their standard deviation; 1 for a constant column, which becomes 0.
    """

    def __init__(self, columns: int) -> None:
        self.count = np.zeros(columns, np.int64)
        self.mean = np.zeros(columns)
        self.squares = np.zeros(columns)
        self.std = np.ones(columns)

    def update(self, values: NDArray[np.float64]) -> None:
        """Add one value of every column; NaN is none."""
        change, count = values - self.mean, self.count
        if not math.isnan(change @ change):  # faster than to ask every element
            count += 1
        else:
            known = ~np.isnan(change)
            change[~known] = 0.0
            count += known
            count = np.maximum(count, 1)
        share = change / count
        self.mean += share
        self.squares += change * (change - share)
        std = np.sqrt(self.squares / count)
        std[std <= _EPSILON * np.abs(self.mean)] = 1.0
        self.std = std

    def transform(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return (values - mean) / std."""
        standardized: NDArray[np.float64] = (values - self.mean) / self.std
        return standardized

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the arrays by name."""
        return dict(vars(self))

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Take what `state` returned."""
        checks.like("moments", state, self.state())
        if not ((state["std"] > 0.0).all() and (state["count"] >= 0).all()):
            raise ValueError("std of moments must be > 0, and count >= 0")
        vars(self).update({name: array.copy() for name, array in state.items()})
