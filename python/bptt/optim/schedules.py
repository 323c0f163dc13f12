"""Schedules: what the learning rate is multiplied with as training goes on.

A schedule is called as ``schedule(update, updates_per_epoch, losses)``: the number of updates so
far, how many an epoch has, and the loss that is watched, of every epoch so far. It remembers
nothing, so that a training that is resumed needs nothing from it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from bptt._core import checks


class Schedule(Protocol):
    """Anything that is called like a schedule."""

    def __call__(self, update: int, updates_per_epoch: int, losses: Sequence[float]) -> float:
        """Return the factor for the next update."""


@dataclass(frozen=True)
class StepDecay:
    """Multiplies the rate with `factor` every `every` epochs.

    Parameters
    ----------
    every : int
    factor : float
        Greater than 0.
    """

    every: int
    factor: float = 0.1

    def __post_init__(self) -> None:
        checks.integer("every", self.every)
        checks.positive("factor", self.factor)

    def __call__(self, update: int, updates_per_epoch: int, losses: Sequence[float]) -> float:
        """Return the factor for the next update."""
        return self.factor ** (update // (self.every * updates_per_epoch))


@dataclass(frozen=True)
class CosineDecay:
    """Falls from 1 to `floor` along half a cosine, in `epochs`, update by update.

    I. Loshchilov and F. Hutter (2017), SGDR: stochastic gradient descent with warm restarts,
    equation 5, without restarts.

    Parameters
    ----------
    epochs : int
    floor : float
        In [0, 1).
    """

    epochs: int
    floor: float = 0.0

    def __post_init__(self) -> None:
        checks.integer("epochs", self.epochs)
        checks.fraction("floor", self.floor)

    def __call__(self, update: int, updates_per_epoch: int, losses: Sequence[float]) -> float:
        """Return the factor for the next update."""
        part = min(update / (self.epochs * updates_per_epoch), 1.0)
        return self.floor + (1.0 - self.floor) * 0.5 * (1.0 + math.cos(math.pi * part))


@dataclass(frozen=True)
class Plateau:
    """Multiplies the rate with `factor` whenever the loss has not fallen for `patience` epochs.

    Parameters
    ----------
    patience : int
    factor : float
        In [0, 1).
    floor : float
        In [0, 1): the rate falls no lower.
    """

    patience: int = 3
    factor: float = 0.5
    floor: float = 0.0

    def __post_init__(self) -> None:
        checks.integer("patience", self.patience)
        checks.fraction("factor", self.factor)
        checks.fraction("floor", self.floor)

    def __call__(self, update: int, updates_per_epoch: int, losses: Sequence[float]) -> float:
        """Return the factor for the next update."""
        factor, best, waited = 1.0, math.inf, 0
        for loss in losses:
            best, waited = (loss, 0) if loss < best else (best, waited + 1)
            if waited == self.patience:
                factor, waited = factor * self.factor, 0
        return max(factor, self.floor)


@dataclass(frozen=True)
class WarmUp:
    """Rises from 0 to 1 in `updates` updates, and goes on as another schedule says, if any.

    Parameters
    ----------
    updates : int
    then : Schedule, optional
        It counts all updates, those of the warm-up too.
    """

    updates: int
    then: Schedule | None = None

    def __post_init__(self) -> None:
        checks.integer("updates", self.updates)
        if self.then is not None and not callable(self.then):
            raise TypeError(f"then must be None or a schedule, got {type(self.then).__name__}")

    def __call__(self, update: int, updates_per_epoch: int, losses: Sequence[float]) -> float:
        """Return the factor for the next update."""
        rising = min((update + 1) / self.updates, 1.0)
        if self.then is None:
            return rising
        return rising * self.then(update, updates_per_epoch, losses)


_KINDS: Mapping[str, Callable[..., Schedule]] = {
    kind.__name__: kind for kind in (StepDecay, CosineDecay, Plateau, WarmUp)
}


def to_dict(schedule: Schedule) -> dict[str, Any]:
    """Describe a schedule in plain data, fit for JSON: `from_dict` makes a twin of it.

    Raises
    ------
    TypeError
        If it is not one of this file.
    """
    kind = type(schedule).__name__
    if type(schedule) is not _KINDS.get(kind):
        raise TypeError(f"schedule must be one of {', '.join(_KINDS)}, got {kind}")
    fields = {
        n: to_dict(value) if callable(value) else value for n, value in vars(schedule).items()
    }
    return {"kind": kind, **fields}


def from_dict(description: Mapping[str, Any]) -> Schedule:
    """Make the schedule that `to_dict` has described."""
    fields = {
        name: from_dict(value) if isinstance(value, Mapping) else value
        for name, value in description.items()
        if name != "kind"
    }
    return _KINDS[description["kind"]](**fields)
