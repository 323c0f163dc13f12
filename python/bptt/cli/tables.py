"""Tables: named columns and rows with their line numbers, whatever the format of the file."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt.cli.errors import CommandError

TEXT = "text"  # the column of plain text
_MISSING = ("", "na", "n/a", "nan", "null", "none")


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
            parts = column.split(",")
            if source.startswith("--") and len(parts) > 1 and set(parts) <= set(self.columns):
                hint = f"repeat {source} for each of {' and '.join(parts)}; "
            raise CommandError(
                f"{self.name}: there is no column {column!r} ({source}); "
                f"{hint}columns: {join_names(self.columns)}"
            )
        return self.columns.index(column)

    def row_error(self, row: int, message: str) -> CommandError:
        """Return an error with the file name and the line number of a row."""
        return CommandError(f"{self.name}, line {self.lines[row]}: {message}")

    def row_numbers(
        self, row: int, indices: Sequence[int], *, missing: bool = False, ragged: bool = True
    ) -> NDArray[np.float64]:
        """Return the numbers in some columns of a row.

        Parameters
        ----------
        row : int
        indices : sequence of int
        missing : bool
            Missing cells become NaN.
        ragged : bool
            Empty cells at the end are no numbers.

        Raises
        ------
        CommandError
            If another cell is empty, or one is not a finite number.
        """
        cells = [self.rows[row][i] for i in indices]
        while ragged and cells and cells[-1] in ("", None):
            cells.pop()
        if missing:
            cells = [math.nan if is_missing(cell) else cell for cell in cells]
        try:
            numbers = np.array(list(map(float, cells)))
            if (np.isfinite(numbers) | (missing & np.isnan(numbers))).all():
                return numbers
        except (OverflowError, TypeError, ValueError):
            pass
        wrong = next(k for k, cell in enumerate(cells) if not _is_finite(cell, missing))
        column = self.columns[indices[wrong]]
        raise self.row_error(row, f"column {column!r} {_number_rule(cells[wrong])}")


def is_number(cell: Any) -> bool:
    """Return whether a cell can be parsed as a number."""
    try:
        float(cell)
    except (OverflowError, TypeError, ValueError):
        return False
    return not isinstance(cell, bool)


def has_decimal_comma(cell: Any) -> bool:
    """Return whether a cell is a number with a decimal comma."""
    return isinstance(cell, str) and cell.count(",") == 1 and is_number(cell.replace(",", "."))


def is_missing(cell: Any) -> bool:
    """Return whether a cell has no value: empty, NaN, NA, or null."""
    if isinstance(cell, str):
        return cell.strip().lower() in _MISSING
    return cell is None or (isinstance(cell, float) and math.isnan(cell))


def join_names(names: Sequence[object], limit: int = 8) -> str:
    """Return names separated by commas, abbreviated if there are more than `limit`."""
    if len(names) <= limit:
        return ", ".join(map(str, names))
    shown = ", ".join(map(str, names[: limit - 1]))
    return f"{shown}, .., {names[-1]} ({len(names)} in total)"


def _is_finite(cell: Any, missing: bool) -> bool:
    return is_number(cell) and (math.isfinite(float(cell)) or (missing and math.isnan(float(cell))))


def _number_rule(cell: Any) -> str:
    if is_missing(cell):
        got = "an empty cell" if cell in ("", None) else repr(cell)
        return f"must be a number, got {got}: fill it in, or train with --missing fill"
    hint = "remove the line, or exclude the column with --ignore"
    if has_decimal_comma(cell):
        hint = "replace the decimal comma by a point"
        if re.fullmatch(r"[-+]?\d{1,3},\d{3}", cell.strip()):
            hint += ", or remove the comma of thousands"
    return f"must be a finite number, got {cell!r}: {hint}"
