"""Kinds of columns: dates, times, groups, row numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from bptt.cli.tables import Table, is_missing, is_number

_MONTH, _DAY = r"(0?[1-9]|1[0-2])", r"(0?[1-9]|[12]\d|3[01])"
_DATE = re.compile(
    rf"\d{{4}}(?P<a>[-/]){_MONTH}((?P=a){_DAY})?([T ]\d{{1,2}}(:\d\d)+\S*)?"  # 2012-01, 2012/01/31
    rf"|\d{{4}}\.{_MONTH}\.{_DAY}"
    r"|\d{1,2}(?P<b>[-/.])\d{1,2}(?P=b)\d{4}"
    r"|(1[5-9]|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])"  # 20120131
)
_MAX_DATE = 40  # characters
_TIMES = (
    "date", "time", "timestamp", "datetime", "year", "yr", "quarter", "month", "week", "day",
    "hour",
)  # fmt: skip
_GROUPS = (
    "group", "speaker", "subject", "patient", "person", "participant", "user", "author", "writer",
    "player", "session", "recording", "document", "site", "station", "household", "customer",
)  # fmt: skip
_IDS = ("id", "uid", "index", "key", "row")
_ID_SUFFIX = re.compile(r"[ _-]?(id|nr|no|number)$")


def column_cells(table: Table, column: str) -> list[Any]:
    """Return the cells of a column that are not missing."""
    index = table.columns.index(column)
    return [row[index] for row in table.rows if not is_missing(row[index])]


def has_dates(table: Table, column: str) -> bool:
    """Return whether a column has dates: 2012-01-31, 2012/01, or with a time's name "1 May"."""
    cells = column_cells(table, column)
    if not cells or not all(isinstance(cell, str) for cell in cells):
        return False
    if all(_DATE.fullmatch(cell.strip()) for cell in cells):
        return True
    return column.strip().lower() in _TIMES and all(map(_is_written_date, cells))


def _is_written_date(cell: str) -> bool:
    return not is_number(cell) and len(cell) < _MAX_DATE and bool(re.search(r"\d", cell))


def has_times(table: Table, column: str) -> bool:
    """Return whether a column has dates, or the name of a time and numbers that increase."""
    if has_dates(table, column):
        return True
    cells = column_cells(table, column)
    if column.strip().lower() not in _TIMES or not cells or not all(map(is_number, cells)):
        return False
    numbers = [float(cell) for cell in cells]
    return len(numbers) > 1 and numbers == sorted(numbers) and numbers[0] < numbers[-1]


def has_groups(table: Table, column: str) -> bool:
    """Return whether a column has the name of a group, and values that repeat."""
    if _ID_SUFFIX.sub("", column.strip().lower()) not in _GROUPS:
        return False
    cells = list(map(str, column_cells(table, column)))
    return 1 < len(set(cells)) <= len(cells) / 2


def has_row_numbers(table: Table, column: str) -> bool:
    """Return whether a column counts the rows, or has the name of an identifier."""
    cells = column_cells(table, column)
    if not cells or not all(is_number(cell) for cell in cells):
        return False
    numbers = [float(cell) for cell in cells]
    if len(numbers) > 1 and all(b == a + 1 for a, b in pairwise(numbers)):
        return True
    name = column.strip().lower()
    distinct = len(set(numbers)) == len(numbers) and all(n % 1 == 0 for n in numbers)
    return distinct and (name in _IDS or name.endswith("_id"))


def time_keys(cells: Sequence[Any]) -> list[Any] | None:
    """Return keys that sort times; None if they are neither numbers nor dates, year first."""
    if all(is_number(cell) for cell in cells):
        return [float(cell) for cell in cells]
    if all(
        isinstance(cell, str) and re.match(r"\d{4}([-/.]| ?Q)\d", cell.strip()) for cell in cells
    ):
        return [tuple(map(int, re.findall(r"\d+", cell))) for cell in cells]
    return None
