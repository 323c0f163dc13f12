"""Verdict on a gradient propagated through time: vanishing, healthy or exploding."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bptt._core import checks
from bptt._core.checks import FloatArray

LIMIT = 100.0  # vanishing: factor < 1/LIMIT; exploding: factor > LIMIT


@dataclass(frozen=True)
class Verdict:
    """Verdict on a gradient after many steps back through time; `str` gives it as a sentence."""

    kind: str
    """"vanishing" (factor < 1/100), "healthy" or "exploding" (factor > 100)."""
    rate: float
    """Factor per step, the geometric mean over all steps."""
    steps: int
    """Number of steps back."""
    factor: float
    """Factor over all steps, ``rate ** steps``; 0 or infinity beyond the range of float64."""
    reach: int | None
    """Number of steps after which the factor stays below 1/100, or above 100; None if healthy."""

    @classmethod
    def from_log_factors(cls, logs: FloatArray) -> Verdict:
        """Return the verdict on a curve.

        Parameters
        ----------
        logs : array (n+1,)
            Logarithm of the factor after 0, 1, .., n steps; -inf for a factor of 0.

        Returns
        -------
        Verdict

        Raises
        ------
        TypeError, ValueError
            If the logarithms are no floats, or have another shape.
        """
        checks.floats("logs", logs)
        if logs.ndim != 1 or not len(logs):
            raise ValueError(f"logs must have shape (n+1,), got {logs.shape}")
        logs = np.where(np.isnan(logs), np.inf, logs)
        steps, last = len(logs) - 1, float(logs[-1])
        with np.errstate(over="ignore"):
            factor, rate = float(np.exp(last)), float(np.exp(last / max(steps, 1)))
        if abs(last) <= math.log(LIMIT):
            return cls("healthy", rate, steps, factor, None)
        kind = "vanishing" if last < 0.0 else "exploding"
        beyond = math.copysign(1.0, last) * logs > math.log(LIMIT)
        reach = len(logs) - int(beyond[::-1].argmin()) if not beyond.all() else 0
        return cls(kind, rate, steps, factor, reach)

    @property
    def severity(self) -> float:
        """Absolute value of the logarithm of the factor."""
        return abs(math.log(self.rate)) * max(self.steps, 1) if self.rate > 0.0 else math.inf

    def __str__(self) -> str:
        """Return a sentence with the kind and the numbers."""
        if self.factor == self.rate == 0.0:
            return f"{self.kind}: the gradient is 0 after {_count(self.steps)}"
        over = f"{self.kind}: over {_count(self.steps)} the gradient"
        if self.reach is None:
            return f"{over} is multiplied by {self.factor:.2g}, {self.rate:.3g} per step"
        rate, after = f"{self.rate:.3g} per step", _count(self.reach)
        if self.kind == "vanishing":
            change = f"shrinks to {self.factor:.1g} of its norm"
            return f"{over} {change}, {rate}; after {after} less than 1% remains"
        change = f"grows to {self.factor:.1g} times its norm"
        return f"{over} {change}, {rate}; after {after} it exceeds 100 times"


def _count(steps: int) -> str:
    return f"{steps} step" if steps == 1 else f"{steps} steps"
