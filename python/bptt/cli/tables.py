"""Tables: named columns and rows with their line numbers, whatever the format of the file."""

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
    """Content of a file."""

    name: str
    format: str
    columns: list[str]
    rows: list[list[Any]]  # strings; of JSON lines, any values
    lines: list[int]  # line number of each row
    delimiter: str = ""
    sentence_ids: list[int] | None = None  # of each row, for tagged sentences and CoNLL-U
    source: list[str] | None = None  # all lines, of the same formats

    def column_index(self, column: str, source: str) -> int:
        """Return the index of a column.

        Parameters
        ----------
        column : str
        source : str
            Where the name comes from, for the error message.

        Raises
        ------
        CommandError
            If there is no such column.
        """
        if column not in self.columns:
            lower = {name.lower(): name for name in self.columns}
            close = get_close_matches(column.lower(), lower, 1)
            hint = f"did you mean {lower[close[0]]!r}? " if close else ""
            raise CommandError(
                f"{self.name}: there is no column {column!r} ({source}); "
                f"{hint}columns: {join_names(self.columns)}"
            )
        return self.columns.index(column)

    def row_error(self, row: int, message: str) -> CommandError:
        """Return an error with the file name and the line number of a row."""
        return CommandError(f"{self.name}, line {self.lines[row]}: {message}")

    def row_numbers(self, row: int, indices: Sequence[int]) -> NDArray[np.float64]:
        """Return the numbers in some columns of a row, without empty cells at the end.

        Raises
        ------
        CommandError
            If another cell is empty, or one is not a finite number.
        """
        cells = [self.rows[row][i] for i in indices]
        while cells and cells[-1] in ("", None):
            cells.pop()
        try:
            numbers = np.array(list(map(float, cells)))
            if np.isfinite(numbers).all():
                return numbers
        except (TypeError, ValueError):
            pass
        wrong = next(k for k, cell in enumerate(cells) if not _is_finite(cell))
        column = self.columns[indices[wrong]]
        raise self.row_error(row, f"column {column!r} {_number_rule(cells[wrong])}")


def is_number(cell: Any) -> bool:
    """Return whether a cell can be parsed as a number."""
    try:
        float(cell)
    except (TypeError, ValueError):
        return False
    return not isinstance(cell, bool)


def join_names(names: Sequence[object], limit: int = 8) -> str:
    """Return names separated by commas, abbreviated if there are more than `limit`."""
    if len(names) <= limit:
        return ", ".join(map(str, names))
    shown = ", ".join(map(str, names[: limit - 1]))
    return f"{shown}, .., {names[-1]} ({len(names)} in total)"


def _is_finite(cell: Any) -> bool:
    return is_number(cell) and math.isfinite(float(cell))


def _number_rule(cell: Any) -> str:
    if cell in ("", None):
        return "must be a number, got an empty cell: fill it in, or remove the line"
    hint = "remove the line, or exclude the column with --ignore"
    if isinstance(cell, str) and cell.count(",") == 1:
        hint = "replace the decimal comma by a point"
    return f"must be a finite number, got {cell!r}: {hint}"
