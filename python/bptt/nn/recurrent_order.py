"""The order of steps in a layer that reads sequences from their last step to their first."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bptt._core.lengths import Lengths, lengths_of


class ReverseOrder(NamedTuple):
    """Reverses the steps of every sequence, each by its own length; its own inverse.

    The kernels' only direction of a layer is then from the last step to the first. Without lengths
    nothing is copied.
    """

    places: NDArray[np.int64] | None
    """(B, T) place from which each step is taken, the padding from its own; None for T-1, .., 0."""
    time_major: bool

    @classmethod
    def of(cls, x: NDArray[Any], lengths: Lengths | None, *, time_major: bool) -> ReverseOrder:
        """Return that of a batch (B, T, ..); lengths that are not valid raise an error."""
        if lengths is None:
            return cls(None, time_major)
        batch, steps = x.shape[:2][:: -1 if time_major else 1]
        ends = lengths_of(lengths, batch, steps)[:, np.newaxis]
        t = np.arange(steps)
        return cls(np.where(t < ends, ends - 1 - t, t), time_major)

    def __call__(self, array: NDArray[Any], before: int = 0) -> NDArray[Any]:
        """Return (B, T, ..) with the steps of every sequence reversed; `before` axes precede B."""
        if self.places is None:
            return np.flip(array, before + (0 if self.time_major else 1))
        rows = np.arange(len(self.places))
        where = (self.places.T, rows) if self.time_major else (rows[:, np.newaxis], self.places)
        reversed_: NDArray[Any] = array[(slice(None),) * before + where]
        return reversed_
