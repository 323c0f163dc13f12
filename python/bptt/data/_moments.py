"""Mean and variance of columns, of parts of the data that are added one after the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bptt._core.checks import FloatArray


@dataclass(frozen=True, eq=False)
class Moments:
    """Number, mean and variance of the values of every column.

    T. Chan, G. Golub and R. LeVeque (1979), Updating formulae and a pairwise algorithm for
    computing sample variances.
    """

    count: NDArray[np.int64]
    """Number of values, (columns,)."""
    mean: NDArray[np.float64]
    """Mean, (columns,); 0 without values."""
    variance: NDArray[np.float64]
    """Variance, (columns,); 1 without values."""
    epsilon: float
    """Relative precision of the values."""

    @classmethod
    def of(cls, values: FloatArray) -> Moments:
        """Return the moments of the columns of an array (N, columns), N >= 1."""
        mean = values.mean(axis=0, dtype=np.float64)
        variance = values.var(axis=0, dtype=np.float64)
        count = np.full(values.shape[1], len(values), np.int64)
        return cls(count, mean, variance, float(np.finfo(values.dtype).eps))

    @classmethod
    def of_none(cls, columns: int) -> Moments:
        """Return those of columns without values, which standardization leaves as they are."""
        return cls(np.zeros(columns, np.int64), np.zeros(columns), np.ones(columns), 0.0)

    @classmethod
    def joined(cls, parts: list[Moments]) -> Moments:
        """Return the moments of several groups of columns, side by side."""
        return cls(
            np.concatenate([part.count for part in parts]),
            np.concatenate([part.mean for part in parts]),
            np.concatenate([part.variance for part in parts]),
            max(part.epsilon for part in parts),
        )

    def __add__(self, other: Moments) -> Moments:
        """Return the moments of the values of both."""
        count = self.count + other.count
        share = other.count / np.maximum(count, 1)
        change = other.mean - self.mean
        mean = self.mean + share * change
        variance = (1.0 - share) * self.variance + share * other.variance
        variance += share * (1.0 - share) * change**2
        return Moments(count, mean, variance, max(self.epsilon, other.epsilon))


def sum_of(first: Moments | None, second: Moments | None) -> Moments | None:
    """Return the moments of the values of both, or of the one that is not None."""
    if first is None or second is None:
        return second if first is None else first
    return first + second
