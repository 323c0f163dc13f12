"""Which columns of a table hold what, and the sequences and targets that are made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from bptt.cli.errors import CommandError
from bptt.cli.tables import Table, join_names

LANGUAGE, TAGGING = "language", "tagging"
CLASSIFICATION, REGRESSION = "classification", "regression"
TASKS = (CLASSIFICATION, REGRESSION, TAGGING, LANGUAGE)


@dataclass(frozen=True)
class Schema:
    """How a model reads a table: kept in its file.

    Parameters
    ----------
    holds : "texts", "tokens" or "numbers"
        What the sequences are made of.
    shape : "cell", "row", "rows" or "running"
        Whether a sequence is a cell, the numbers of a row, several rows, or the whole file.
    inputs : list of str
        The columns of the sequences: one, but of numbers in rows and columns.
    target : str, optional
        The column to predict.
    sequence : str, optional
        The column that says which rows are one sequence; tagged sentences need none.
    """

    content: str
    shape: str
    inputs: list[str]
    target: str | None = None
    sequence: str | None = None

    @property
    def tagged(self) -> bool:
        """Whether it is that of tagged sentences."""
        return self.shape == "rows" and self.sequence is None

    def to_dict(self) -> dict[str, Any]:
        """Return all, fit for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Schema:
        """Return what `to_dict` has described."""
        return cls(**content)


def group_rows(table: Table, form: Schema) -> list[list[int]]:
    """Return the rows of every sequence."""
    if form.shape != "rows" or table.format == "text":
        return [[row] for row in range(len(table.rows))]
    keys: Sequence[Any]
    if table.sentences is not None:
        keys = table.sentences
    else:
        place = table.index(form.sequence or "", "which says what is one sequence")
        keys = [row[place] for row in table.rows]
    groups: dict[Any, list[int]] = {}
    for row, key in enumerate(keys):
        groups.setdefault(key, []).append(row)
    return list(groups.values())


def extract_sequences(table: Table, form: Schema, groups: Sequence[Sequence[int]]) -> list[Any]:
    """Return the sequences, as estimators take them.

    Raises
    ------
    CommandError
        If a column is missing, or a cell holds something else.
    """
    if table.format == "text":
        return _text_sequences(table, form)
    places = [table.index(column, "which the model reads") for column in form.inputs]
    if form.shape == "cell":
        return [_cell(table, row, places[0], form.content) for row in range(len(table.rows))]
    if form.content == "tokens":
        return [[str(table.rows[row][places[0]]) for row in group] for group in groups]
    if form.shape == "rows":
        return [
            np.stack([_complete_numbers(table, row, places) for row in group]) for group in groups
        ]
    found = []
    for row in range(len(table.rows)):
        numbers = table.numbers(row, places)
        if not len(numbers):
            raise table.error(row, "must hold one number at min_seconds: remove the line")
        found.append(numbers[:, np.newaxis])
    return found


def _text_sequences(table: Table, form: Schema) -> list[Any]:
    """Return the lines of a plain text, in the form that the model knows."""
    lines = [row[0] for row in table.rows]
    if form.shape == "running":
        before = [0, *table.lines]
        gaps = (line - last for line, last in zip(table.lines, before, strict=False))
        return ["".join("\n" * gap + line for gap, line in zip(gaps, lines, strict=True)).lstrip()]
    if form.content == "tokens":
        return [line.split() for line in lines]
    if form.content == "numbers":
        raise CommandError(
            f"{table.name} is plain text, and the model reads numbers: "
            f"it needs the columns {join_names(form.inputs)}"
        )
    return lines


def _complete_numbers(table: Table, row: int, places: Sequence[int]) -> Any:
    numbers = table.numbers(row, places)
    if len(numbers) < len(places):
        column = table.columns[places[len(numbers)]]
        raise table.error(row, f"column {column!r} must be a number, got nothing: fill it in")
    return numbers


def _cell(table: Table, row: int, place: int, content: str) -> Any:
    """Return the sequence in a cell: a text, a list of tokens, or numbers."""
    cell, column = table.rows[row][place], table.columns[place]
    if content == "texts":
        if not isinstance(cell, str) or not cell.strip():
            got = repr(cell) if cell else "nothing"
            raise table.error(row, f"column {column!r} must be a text, got {got}: remove the line")
        return cell
    rule = {"tokens": "a list of strings", "numbers": "a list of numbers, or of lists of numbers"}
    wrong = table.error(row, f"column {column!r} must be {rule[content]}, got {str(cell)[:40]}")
    if not isinstance(cell, list) or not cell:
        raise wrong
    if content == "tokens":
        if not all(isinstance(token, str) for token in cell):
            raise wrong
        return cell
    try:
        numbers = np.array(cell, np.float64)
    except (TypeError, ValueError):
        raise wrong from None
    if numbers.ndim not in (1, 2) or not np.isfinite(numbers).all():
        raise wrong
    return numbers.reshape(len(numbers), -1)


# ---- targets


def extract_targets(
    table: Table, form: Schema, groups: Sequence[Sequence[int]], task: str
) -> list[Any]:
    """Return the target of every sequence, or in tagging the targets of its steps.

    Raises
    ------
    CommandError
        If one is missing, differs within a sequence, or is of the wrong kind.
    """
    cells = target_cells(table, form)
    if task == TAGGING:
        if form.shape == "rows":
            return [[cells[row] for row in group] for group in groups]
        return [_step_labels(table, form, row, cells[row]) for row in range(len(cells))]
    for group in groups:
        for row in group:
            if cells[row] != cells[group[0]]:
                raise table.error(
                    row,
                    f"column {form.target!r} must be the same in the whole sequence, "
                    f"{cells[group[0]]!r} as in line {table.lines[group[0]]}, "
                    f"got {cells[row]!r}; a label for every step: --task {TAGGING}",
                )
    found = [cells[group[0]] for group in groups]
    if task == REGRESSION:
        place = [table.index(str(form.target), "the target")]
        return [float(table.numbers(group[0], place)[0]) for group in groups]
    for group in groups:
        if isinstance(cells[group[0]], (list, dict)):
            raise table.error(
                group[0], f"column {form.target!r} must be one label, got {str(cells[group[0]])!r}"
            )
    return found


def target_cells(table: Table, form: Schema) -> list[Any]:
    """Return the target of every row, of one kind, without white space around it."""
    place = table.index(str(form.target), "the target")
    cells = [row[place] for row in table.rows]
    for row, cell in enumerate(cells):
        if cell is None or (isinstance(cell, str) and not cell.strip()):
            raise table.error(row, f"column {form.target!r} is empty: fill it in, or remove it")
        if isinstance(cell, str) != isinstance(cells[0], str):
            raise table.error(
                row,
                f"column {form.target!r} must be a {type(cells[0]).__name__}, as in line "
                f"{table.lines[0]}, got {cell!r}",
            )
    return [cell.strip() if isinstance(cell, str) else cell for cell in cells]


def _step_labels(table: Table, form: Schema, row: int, cell: Any) -> Any:
    """Return the list of labels in a cell, one for every step of the sequence in the same row."""
    steps = len(extract_sequences(_single_row(table, row), form, [[0]])[0])
    if not isinstance(cell, list) or len(cell) != steps:
        got = f"{len(cell)}" if isinstance(cell, list) else str(cell)[:40]
        raise table.error(
            row, f"column {form.target!r} must be a list of {steps} labels, one a step, got {got}"
        )
    return cell


def _single_row(table: Table, row: int) -> Table:
    return Table(table.name, table.format, table.columns, [table.rows[row]], [table.lines[row]])
