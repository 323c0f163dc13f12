"""What training went through, epoch by epoch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, overload

_MOST_ROWS = 20  # of a printed table


class Epoch(NamedTuple):
    """One pass over the data."""

    number: int
    """From 1."""
    loss: float
    """Mean over all targets, each at the moment when it was learnt from."""
    metric: float | None
    """The same of the metric; None if there is none."""
    validation_loss: float | None
    """Of the validation data, after the epoch and without dropout; None if there are none."""
    validation_metric: float | None
    """The same of the metric."""
    gradient_norm: float
    """Mean over the updates, before clipping."""
    learning_rate: float
    """Of the last update."""
    seconds: float
    """Of work: what was lost by a kill, or passed before training was resumed, does not count."""

    @property
    def monitored(self) -> float:
        """The validation loss if there is one, else the training loss."""
        return self.loss if self.validation_loss is None else self.validation_loss


class History(Sequence[Epoch]):
    """The epochs of a training: ``history[-1].loss`` is a number, ``history["loss"]`` a list.

    Parameters
    ----------
    epochs : iterable of Epoch
    """

    def __init__(self, epochs: Iterable[Epoch] = ()) -> None:
        self._epochs = list(epochs)

    def append(self, epoch: Epoch) -> None:
        """Add the next epoch."""
        self._epochs.append(epoch)

    def __len__(self) -> int:
        return len(self._epochs)

    @overload
    def __getitem__(self, key: int) -> Epoch: ...
    @overload
    def __getitem__(self, key: slice) -> History: ...
    @overload
    def __getitem__(self, key: str) -> list[Any]: ...
    def __getitem__(self, key: int | slice | str) -> Epoch | History | list[Any]:
        """Return one epoch, some epochs, or one item of all epochs.

        Raises
        ------
        IndexError, KeyError
            If there is no such epoch, or no such item.
        """
        if isinstance(key, slice):
            return History(self._epochs[key])
        if not isinstance(key, str):
            return self._epochs[key]
        if key not in Epoch._fields:
            raise KeyError(f"an epoch has {', '.join(Epoch._fields)}, got {key!r}")
        return [getattr(epoch, key) for epoch in self]

    def __add__(self, later: History) -> History:
        """Return the epochs of both, those of `later` numbered on."""
        numbered = (epoch._replace(number=len(self) + epoch.number) for epoch in later)
        return History([*self, *numbered])

    def epochs_since_best(self, min_delta: float = 0.0) -> int:
        """Return for how many epochs the monitored loss has not improved.

        An epoch improves if its loss is lower, by more than `min_delta`, than that of the last one
        that did; the first one does. Without an epoch, it is 0.
        """
        best, since = math.inf, 0
        for epoch in self:
            improves = epoch.monitored < best - min_delta
            best, since = (epoch.monitored, 0) if improves else (best, since + 1)
        return since

    def to_dict(self) -> dict[str, list[Any]]:
        """Return name -> values of all epochs, fit for JSON and for a table of pandas."""
        return {name: self[name] for name in Epoch._fields}

    @classmethod
    def from_dict(cls, columns: Mapping[str, Sequence[Any]]) -> History:
        """Return what `to_dict` described.

        Raises
        ------
        KeyError, ValueError
            If a column is missing, or shorter than another.
        """
        rows = zip(*(columns[name] for name in Epoch._fields), strict=True)
        return cls(Epoch(*row) for row in rows)

    def __repr__(self) -> str:
        return f"History of {len(self)} epochs"

    def __str__(self) -> str:
        """Return a table with a line an epoch; of many, the first and the last ones."""
        names = [name for name in Epoch._fields if any(v is not None for v in self[name])]
        rows = [[_written(getattr(epoch, name)) for name in names] for epoch in self]
        if len(rows) > _MOST_ROWS:
            half = _MOST_ROWS // 2
            rows[half:-half] = [["..."] * len(names)]
        table = [[name.replace("_", " ") for name in names], *rows]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        return "\n".join(
            "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
            for row in table
        )


def _written(value: float | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.4g}"
