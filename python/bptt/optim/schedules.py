"""Learning-rate schedules: factors of the optimizer's learning rate.

A schedule is called as ``schedule(update, updates_per_epoch, losses)``, with the number of updates
so far, the number of updates per epoch, and the monitored loss of every epoch so far. Schedules
have no state, so that resumed training needs nothing from them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from bptt._core import checks

__all__ = [
    "CosineDecay",
    "Plateau",
    "Schedule",
    "StepDecay",
    "WarmUp",
    "from_dict",
    "to_dict",
]


class Schedule(Protocol):
    """Protocol of schedules: a function of updates and losses."""

    def __call__(self, update: int, updates_per_epoch: int, losses: Sequence[float]) -> float:
        """Return the factor of the learning rate for the next update.

        Parameters
        ----------
        update : int
            Number of updates so far.
        updates_per_epoch : int
            Number of updates in an epoch.
        losses : sequence of float
            Monitored loss of every epoch so far.

        Returns
        -------
        float
        """


@dataclass(frozen=True)
class StepDecay:
    """Step decay: multiplies the learning rate by `factor` every `every` epochs.

    Parameters
    ----------
    every : int
        Number of epochs between two decays.
    factor : float, default 0.1
        Factor of each decay, > 0.
    """

    every: int
    factor: float = 0.1

    def __post_init__(self) -> None:
        _set(self, every=checks.integer("every", self.every))
        _set(self, factor=checks.positive("factor", self.factor))

    def __call__(self, update: int, updates_per_epoch: int, losses: Sequence[float]) -> float:
        """Return the factor of the learning rate for the next update.

        Parameters
        ----------
        update : int
            Number of updates so far.
        updates_per_epoch : int
            Number of updates in an epoch.
        losses : sequence of float
            Monitored loss of every epoch so far.

        Returns
        -------
        float

        Raises
        ------
        TypeError, ValueError
            If a count is not an integer, or a loss not a number.
        """
        updates, per_epoch = _counts(update, updates_per_epoch)
        try:
            return self.factor ** (updates // (self.every * per_epoch))
        except OverflowError:
            return math.inf


@dataclass(frozen=True)
class CosineDecay:
    """Cosine decay: from 1 to `floor` along half a cosine, update by update.

    I. Loshchilov and F. Hutter (2017), SGDR: stochastic gradient descent with warm restarts,
    equation 5, without restarts.

    Parameters
    ----------
    epochs : int
        Number of epochs of the decay.
    floor : float, default 0
        Final factor, in [0, 1).
    """

    epochs: int
    floor: float = 0.0

    def __post_init__(self) -> None:
        _set(self, epochs=checks.integer("epochs", self.epochs))
        _set(self, floor=checks.fraction("floor", self.floor))

    def __call__(self, update: int, updates_per_epoch: int, losses: Sequence[float]) -> float:
        """Return the factor of the learning rate for the next update.

        Parameters
        ----------
        update : int
            Number of updates so far.
        updates_per_epoch : int
            Number of updates in an epoch.
        losses : sequence of float
            Monitored loss of every epoch so far.

        Returns
        -------
        float

        Raises
        ------
        TypeError, ValueError
            If a count is not an integer, or a loss not a number.
        """
        updates, per_epoch = _counts(update, updates_per_epoch)
        total = self.epochs * per_epoch
        part = updates / total if updates < total else 1.0
        return self.floor + (1.0 - self.floor) * 0.5 * (1.0 + math.cos(math.pi * part))


@dataclass(frozen=True)
class Plateau:
    """Reduction on plateau: multiplies by `factor` after `patience` epochs without improvement.

    Parameters
    ----------
    patience : int, default 3
        Number of epochs without a lower loss before each reduction.
    factor : float, default 0.5
        Factor of each reduction, in [0, 1).
    floor : float, default 0
        Smallest factor of the learning rate, in [0, 1).
    """

    patience: int = 3
    factor: float = 0.5
    floor: float = 0.0

    def __post_init__(self) -> None:
        _set(self, patience=checks.integer("patience", self.patience))
        _set(self, factor=checks.fraction("factor", self.factor))
        _set(self, floor=checks.fraction("floor", self.floor))

    def __call__(self, update: int, updates_per_epoch: int, losses: Sequence[float]) -> float:
        """Return the factor of the learning rate for the next update.

        Parameters
        ----------
        update : int
            Number of updates so far.
        updates_per_epoch : int
            Number of updates in an epoch.
        losses : sequence of float
            Monitored loss of every epoch so far.

        Returns
        -------
        float

        Raises
        ------
        TypeError, ValueError
            If a count is not an integer, or a loss not a number.
        """
        factor, best, waited = 1.0, math.inf, 0
        for loss in checks.real_numbers("losses", losses):
            best, waited = (loss, 0) if loss < best else (best, waited + 1)
            if waited == self.patience:
                factor, waited = factor * self.factor, 0
        return max(factor, self.floor)


@dataclass(frozen=True)
class WarmUp:
    """Linear warm-up from 0 to 1, multiplied by another schedule if given.

    Parameters
    ----------
    updates : int
        Number of updates of the warm-up.
    then : Schedule, optional
        Schedule to multiply by; it counts the updates of the warm-up as well.
    """

    updates: int
    then: Schedule | None = None

    def __post_init__(self) -> None:
        _set(self, updates=checks.integer("updates", self.updates))
        if self.then is not None and not callable(self.then):
            raise TypeError(f"then must be None or a schedule, got {type(self.then).__name__}")

    def __call__(self, update: int, updates_per_epoch: int, losses: Sequence[float]) -> float:
        """Return the factor of the learning rate for the next update.

        Parameters
        ----------
        update : int
            Number of updates so far.
        updates_per_epoch : int
            Number of updates in an epoch.
        losses : sequence of float
            Monitored loss of every epoch so far.

        Returns
        -------
        float

        Raises
        ------
        TypeError, ValueError
            If a count is not an integer, or a loss not a number.
        """
        updates, _ = _counts(update, updates_per_epoch)
        rising = (updates + 1) / self.updates if updates < self.updates else 1.0
        if self.then is None:
            return rising
        return rising * self.then(update, updates_per_epoch, losses)


def _set(schedule: Schedule, **values: float) -> None:
    """Set fields to their checked values, in the plain types of JSON."""
    for name, value in values.items():
        object.__setattr__(schedule, name, value)


def _counts(update: Any, updates_per_epoch: Any) -> tuple[int, int]:
    """Check the number of updates so far and of those of an epoch."""
    count = checks.integer("update", update, 0)
    return count, checks.integer("updates_per_epoch", updates_per_epoch)


_SCHEDULES: Mapping[str, Callable[..., Schedule]] = {
    kind.__name__: kind for kind in (StepDecay, CosineDecay, Plateau, WarmUp)
}


def to_dict(schedule: Schedule) -> dict[str, Any]:
    """Return a JSON-serializable description of a schedule, for `from_dict`.

    Parameters
    ----------
    schedule : Schedule
        One of this module's.

    Returns
    -------
    dict

    Raises
    ------
    TypeError
        If the schedule is of another class.
    """
    kind = type(schedule).__name__
    if type(schedule) is not _SCHEDULES.get(kind):
        raise TypeError(f"schedule must be one of {', '.join(_SCHEDULES)}, got {kind}")
    fields = {
        n: to_dict(value) if callable(value) else value for n, value in vars(schedule).items()
    }
    return {"kind": kind, **fields}


def from_dict(description: Mapping[str, Any]) -> Schedule:
    """Return the schedule that `to_dict` described.

    Parameters
    ----------
    description : mapping
        Result of `to_dict`.

    Returns
    -------
    Schedule

    Raises
    ------
    KeyError, TypeError, ValueError
        If the description is incomplete or invalid.
    """
    checks.fields("schedule", description, "kind")
    kind = checks.one_of(*_SCHEDULES)("kind", description["kind"])
    fields = {
        str(name): from_dict(value) if isinstance(value, Mapping) else value
        for name, value in description.items()
        if name != "kind"
    }
    return _SCHEDULES[kind](**fields)
