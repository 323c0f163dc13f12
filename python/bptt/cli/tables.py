"""Tables: named columns, rows, and the line of the file that each row stands in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt.cli.errors import CommandError

TEXT = "text"  # the column of plain text


@dataclass(frozen=True)
class Table:
    """The content of a file."""

    name: str
    format: str
    columns: list[str]
    rows: list[list[Any]]  # strings, or of JSON lines any values
    lines: list[int]  # of the rows
    delimiter: str = ""
    sentences: list[int] | None = None  # of tagged sentences: the number of each row's

    def index(self, column: str, option: str) -> int:
        """Return the place of a column.

        Raises
        ------
        CommandError
            If there is none, as the user's `option`, or a model, says.
        """
        if column not in self.columns:
            close = get_close_matches(column, self.columns, 1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise CommandError(
                f"{self.name}: there is no column {column!r} ({option}); "
                f"{hint}it has {join_names(self.columns)}"
            )
        return self.columns.index(column)

    def error(self, row: int, message: str) -> CommandError:
        """Return an error about a row."""
        return CommandError(f"{self.name}, line {self.lines[row]}: {message}")

    def numbers(self, row: int, places: Sequence[int]) -> NDArray[np.float64]:
        """Return the numbers of a row, as many as there are before empty cells at its end.

        Raises
        ------
        CommandError
            If another cell is empty, or one is no finite number.
        """
        cells = [self.rows[row][i] for i in places]
        while cells and cells[-1] in ("", None):
            cells.pop()
        try:
            numbers = np.array(list(map(float, cells)))
            if np.isfinite(numbers).all():
                return numbers
        except (TypeError, ValueError):
            pass
        wrong = next(k for k, cell in enumerate(cells) if not _is_finite(cell))
        column = self.columns[places[wrong]]
        raise self.error(row, f"column {column!r} {_number_rule(cells[wrong])}")


def _is_finite(cell: Any) -> bool:
    return is_number(cell) and math.isfinite(float(cell))


def _number_rule(cell: Any) -> str:
    if cell in ("", None):
        return "must be a number, got nothing: fill it in, or remove the line"
    hint = "remove the line, or leave the column out with --ignore"
    if isinstance(cell, str) and cell.count(",") == 1:
        hint = "write the decimal comma as a point"
    return f"must be a finite number, got {cell!r}: {hint}"


def join_names(names: Sequence[object], most: int = 8) -> str:
    """Return names for a message, not too many of them."""
    if len(names) <= most:
        return ", ".join(map(str, names))
    shown = ", ".join(map(str, names[: most - 1]))
    return f"{shown}, .., {names[-1]} ({len(names)} in all)"


def is_number(cell: Any) -> bool:
    """Return whether a cell can be read as a number."""
    try:
        float(cell)
    except (TypeError, ValueError):
        return False
    return not isinstance(cell, bool)
