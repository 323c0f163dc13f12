"""Numbers brought to mean 0 and deviation 1, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bptt._core.checks import FloatArray


@dataclass(frozen=True, eq=False)
class Scaling:
    """The mean and the standard deviation of every column of some numbers.

    Parameters
    ----------
    mean, deviation : float64 array (columns,)
        A deviation of 0 is written as 1: such a column becomes 0.
    """

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]

    @classmethod
    def of(cls, values: FloatArray) -> Scaling:
        """Return the scaling of numbers (N, columns)."""
        mean = values.mean(axis=0, dtype=np.float64)
        deviation = values.std(axis=0, dtype=np.float64)
        # What is left of a constant after rounding is no deviation.
        constant = deviation <= np.finfo(values.dtype).eps * np.abs(mean)
        return cls(mean, np.where(constant, 1.0, deviation))

    def apply(self, values: FloatArray) -> FloatArray:
        """Return numbers (.., columns) as deviations from the mean, in their dtype."""
        scaled: FloatArray = ((values - self.mean) / self.deviation).astype(values.dtype)
        return scaled

    def undo(self, scaled: FloatArray) -> FloatArray:
        """Return what `apply` was given."""
        values: FloatArray = (scaled * self.deviation + self.mean).astype(scaled.dtype)
        return values

    def to_dict(self) -> dict[str, list[float]]:
        """Return both, fit for JSON."""
        return {"mean": self.mean.tolist(), "deviation": self.deviation.tolist()}

    @classmethod
    def from_dict(cls, content: Mapping[str, Sequence[float]]) -> Scaling:
        """Return what `to_dict` has described."""
        return cls(np.array(content["mean"]), np.array(content["deviation"]))
