"""What training went through, epoch by epoch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple


class Epoch(NamedTuple):
    """One pass over the data."""

    number: int
    """From 1."""
    loss: float
    """Mean over all targets, while the weights changed."""
    metric: float
    """The same of the metric; NaN if there is none."""
    validation_loss: float | None
    """After the epoch, without dropout; None without validation data."""
    validation_metric: float | None
    gradient_norm: float
    """Mean over the updates, before clipping."""
    learning_rate: float
    """Of the last update."""
    seconds: float

    @property
    def monitored(self) -> float:
        """The validation loss, or the training loss if there is none."""
        return self.loss if self.validation_loss is None else self.validation_loss


class History:
    """All epochs of a training: ``history[-1].loss`` is a number, ``history["loss"]`` a list."""

    def __init__(self, epochs: list[Epoch] | None = None) -> None:
        self._epochs = list(epochs or [])

    def append(self, epoch: Epoch) -> None:
        """Add one more epoch."""
        self._epochs.append(epoch)

    def __len__(self) -> int:
        return len(self._epochs)

    def __iter__(self) -> Iterator[Epoch]:
        return iter(self._epochs)

    def __getitem__(self, key: int | str) -> Any:
        """Return one epoch, by its index, or one item of all epochs, by its name."""
        if not isinstance(key, str):
            return self._epochs[key]
        if key not in Epoch._fields:
            raise KeyError(f"an epoch has {', '.join(Epoch._fields)}, got {key!r}")
        return [getattr(epoch, key) for epoch in self._epochs]

    def __add__(self, other: History) -> History:
        shift = len(self)
        later = [epoch._replace(number=epoch.number + shift) for epoch in other]
        return History([*self._epochs, *later])

    def __repr__(self) -> str:
        return f"History of {len(self)} epochs"

    def __str__(self) -> str:
        """Return a table with a line an epoch."""
        names = [
            name
            for name in Epoch._fields
            if any(_text(getattr(epoch, name)) != "-" for epoch in self._epochs)
        ]
        rows = [names, *([_text(getattr(epoch, name)) for name in names] for epoch in self)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join(
            "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
            for row in rows
        )

    def to_dict(self) -> dict[str, list[Any]]:
        """Return name -> values of all epochs, fit for JSON: None stands for NaN."""
        return {
            name: [None if _text(value) == "-" else value for value in self[name]]
            for name in Epoch._fields
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, list[Any]]) -> History:
        """Return what `to_dict` has described."""
        metrics = [math.nan if value is None else value for value in content["metric"]]
        columns = {**content, "metric": metrics}
        rows = zip(*(columns[name] for name in Epoch._fields), strict=True)
        return cls([Epoch(*row) for row in rows])


def _text(value: Any) -> str:
    if value is None or math.isnan(value):
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.4g}"
