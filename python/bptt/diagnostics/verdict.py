"""Vanishing, healthy or exploding: what happens to a gradient on its way back through time."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bptt._core.checks import FloatArray

LIMIT = 100.0  # a factor below 1/LIMIT is vanishing, above LIMIT exploding


@dataclass(frozen=True)
class Verdict:
    """What is left of a gradient after many steps back; `str` says it in a sentence."""

    kind: str
    """"vanishing" (factor < 1/100), "healthy" or "exploding" (factor > 100)."""
    rate: float
    """Factor a step: the geometric mean."""
    steps: int
    """How many steps back."""
    factor: float
    """Over all these steps: rate to the power of steps; 0 or infinite beyond float64."""
    reach: int | None
    """After how many steps, and ever after, it is below 1/100, or above 100; None if healthy."""

    @classmethod
    def of(cls, logs: FloatArray) -> Verdict:
        """Judge a curve.

        Parameters
        ----------
        logs : array (n+1,)
            Logarithm of the factor over 0, 1, .., n steps; -inf where nothing is left.
        """
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
        """How far the factor is from 1, either way: |log factor|."""
        return abs(math.log(self.rate)) * max(self.steps, 1) if self.rate > 0.0 else math.inf

    def __str__(self) -> str:
        """Return a plain sentence with the numbers."""
        if self.factor == self.rate == 0.0:
            return f"{self.kind}: the gradient is 0 after {_count(self.steps)}"
        over = f"{self.kind}: over {_count(self.steps)} the gradient"
        if self.reach is None:
            return f"{over} is multiplied by {self.factor:.2g}, {self.rate:.3g} a step"
        after = f"{self.rate:.3g} a step; after {_count(self.reach)}"
        if self.kind == "vanishing":
            return f"{over} shrinks to {self.factor:.1g} of itself, {after} less than 1 % is left"
        return f"{over} grows to {self.factor:.1g} times itself, {after} it is over 100 times"


def _count(steps: int) -> str:
    return f"{steps} step" if steps == 1 else f"{steps} steps"
