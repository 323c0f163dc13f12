"""Training history: loss, metric, gradient norm and time of every epoch."""

from __future__ import annotations

import math
import numbers
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, overload

from bptt._core import checks

_MAX_ROWS = 20  # of a printed table


class Epoch(NamedTuple):
    """Results of one epoch."""

    number: int
    """Number of the epoch, from 1."""
    loss: float
    """Mean training loss over all targets, each before its update."""
    metric: float | None
    """Mean training metric; None if the task has none."""
    validation_loss: float | None
    """Mean loss over the validation data after the epoch, without dropout; None without them."""
    validation_metric: float | None
    """Mean metric over the validation data; None without data or metric."""
    gradient_norm: float
    """Mean global norm of the gradients over the updates, before clipping."""
    learning_rate: float
    """Learning rate of the last update."""
    seconds: float
    """Training and validation time, without time lost by interruptions."""

    @property
    def monitored(self) -> float:
        """Validation loss if there is one, else training loss."""
        return self.loss if self.validation_loss is None else self.validation_loss

    def cost(self, monitor: str = "loss") -> float:
        """Return the monitored value such that lower is better.

        Parameters
        ----------
        monitor : {"loss", "max_metric", "min_metric"}
            The loss, or a metric that is to become large or small: that of the validation data if
            there are any, else that of the training data.

        Returns
        -------
        float

        Raises
        ------
        TypeError, ValueError
            If `monitor` is unknown, or there is no metric.
        """
        checks.one_of("loss", "max_metric", "min_metric")("monitor", monitor)
        if monitor == "loss":
            return self.monitored
        metric = self.metric if self.validation_loss is None else self.validation_metric
        if metric is None:
            raise ValueError("monitor needs a task with a metric, got none")
        return metric if monitor == "min_metric" else -metric


class History(Sequence[Epoch]):
    """Sequence of epochs: ``history[-1].loss`` is a number, ``history["loss"]`` a list.

    Parameters
    ----------
    epochs : iterable of Epoch
        The epochs. None by default.
    """

    def __init__(self, epochs: Iterable[Epoch] = ()) -> None:
        if not isinstance(epochs, Iterable):
            raise TypeError(f"epochs must be a list of Epoch, got {type(epochs).__name__}")
        self._epochs: list[Epoch] = [checks.instance("epochs", e, Epoch) for e in epochs]

    def append(self, epoch: Epoch) -> None:
        """Append an epoch.

        Parameters
        ----------
        epoch : Epoch
            The epoch.

        Raises
        ------
        TypeError
            If it is none.
        """
        self._epochs.append(checks.instance("epoch", epoch, Epoch))

    def __len__(self) -> int:
        return len(self._epochs)

    @overload
    def __getitem__(self, key: int) -> Epoch: ...
    @overload
    def __getitem__(self, key: slice) -> History: ...
    @overload
    def __getitem__(self, key: str) -> list[Any]: ...
    def __getitem__(self, key: int | slice | str) -> Epoch | History | list[Any]:
        """Return one epoch, a slice of epochs, or one field of all epochs.

        Parameters
        ----------
        key : int, slice or str
            Index, slice, or name of a field of `Epoch`.

        Returns
        -------
        Epoch, History or list

        Raises
        ------
        IndexError, KeyError, TypeError
            If there is no such epoch or field.
        """
        if isinstance(key, slice):
            return History(self._epochs[key])
        if not isinstance(key, str):
            index = checks.integer("key", key, -sys.maxsize)
            if not -len(self) <= index < len(self):  # IndexError: it ends iteration
                got = checks.shown(index)
                raise IndexError(f"key must be in [0, {len(self)}), got {got}")
            return self._epochs[index]
        if key not in Epoch._fields:
            raise KeyError(f"key must be one of {', '.join(Epoch._fields)}, got {key!r}")
        return [getattr(epoch, key) for epoch in self]

    def __add__(self, later: History) -> History:
        """Return the epochs of both; those of `later` are renumbered."""
        numbered = (epoch._replace(number=len(self) + epoch.number) for epoch in later)
        return History([*self, *numbered])

    def epochs_since_best(self, min_delta: float = 0.0, monitor: str = "loss") -> int:
        """Return the number of epochs since the last improvement of the monitored value.

        An epoch is an improvement if its value is better by more than `min_delta` than that of the
        last improvement; the first epoch is one.

        Parameters
        ----------
        min_delta : float
            Minimum change that counts as an improvement.
        monitor : {"loss", "max_metric", "min_metric"}
            Monitored value; see `Epoch.cost`.

        Returns
        -------
        int
            0 without epochs.

        Raises
        ------
        TypeError, ValueError
            If an argument is invalid, or there is no metric.
        """
        min_delta = checks.number("min_delta", min_delta, 0.0)
        best, since = math.inf, 0
        for epoch in self:
            cost = epoch.cost(monitor)
            best, since = (cost, 0) if cost < best - min_delta else (best, since + 1)
        return since

    def to_dict(self) -> dict[str, list[Any]]:
        """Return field -> values of all epochs, in JSON types; also a pandas.DataFrame's input.

        Returns
        -------
        dict of str to list
        """
        return {name: self[name] for name in Epoch._fields}

    @classmethod
    def from_dict(cls, columns: Mapping[str, Sequence[Any]]) -> History:
        """Return the history that `to_dict` described.

        Parameters
        ----------
        columns : mapping of str to sequence
            Field -> values of all epochs.

        Returns
        -------
        History

        Raises
        ------
        KeyError, OverflowError, TypeError, ValueError
            If a field is missing, the lengths differ, or a value is not a number.
        """
        checks.fields("columns", columns, *Epoch._fields)
        lists = [columns[name] for name in Epoch._fields]
        for name, values in zip(Epoch._fields, lists, strict=True):
            if not isinstance(values, (list, tuple)) or len(values) != len(lists[0]):
                raise ValueError(f"{name} must be a list of {len(lists[0])} values, got {values!r}")
        rows = zip(*lists, strict=True)
        return cls(_checked(Epoch(*row)) for row in rows)

    def __repr__(self) -> str:
        return f"History of {len(self)} epochs"

    def __str__(self) -> str:
        """Return a table with one line per epoch; of more than 20, the first and last 10."""
        names = [name for name in Epoch._fields if any(v is not None for v in self[name])]
        rows = [[_format(getattr(epoch, name)) for name in names] for epoch in self]
        if len(rows) > _MAX_ROWS:
            half = _MAX_ROWS // 2
            rows[half:-half] = [["..."] * len(names)]
        table = [[name.replace("_", " ") for name in names], *rows]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        return "\n".join(
            "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
            for row in table
        )


def _checked(epoch: Epoch) -> Epoch:
    """Check the types of the values."""
    checks.integer("number", epoch.number)
    for name in Epoch._fields[1:]:
        value = getattr(epoch, name)
        if value is None and name in ("metric", "validation_loss", "validation_metric"):
            continue
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise TypeError(f"{name} must be a real number, got {type(value).__name__}")
        float(value)  # an integer may be too large
    return epoch


def _format(value: float | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.4g}"
