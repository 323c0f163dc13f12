"""Schemas: roles of the columns of a table, and the sequences and targets they define."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt.cli.errors import CommandError
from bptt.cli.tables import Table, is_missing, join_names

LANGUAGE, TAGGING = "language", "tagging"
CLASSIFICATION, REGRESSION = "classification", "regression"
TASKS = (CLASSIFICATION, REGRESSION, TAGGING, LANGUAGE)


@dataclass(frozen=True)
class Schema:
    """Mapping of a table to sequences and targets; saved in the model file.

    Parameters
    ----------
    content : "texts", "tokens" or "numbers"
        Elements of the sequences.
    layout : "cell", "row", "rows" or "running"
        One sequence per cell, per row of numbers, per group of rows, or per file.
    inputs : list of str
        Columns of the sequences; several for numbers only, with those of categories at the end.
    targets : list of str
        Columns of the targets; several for regression only.
    sequence : str, optional
        Column that identifies the sequence of a row; None for tagged sentences.
    per_step : bool
        Regression: the targets are numbers at every step.
    missing : "error", "fill", "mask" or "decay"
        Treatment of missing numbers in the inputs: see `fill_missing`; the last two are those of
        the estimator.
    fill : list of float, optional
        Mean of every feature in the training data, with which missing numbers are filled, also
        those that baselines read.
    categories : list of str
        The `inputs` that have categories instead of numbers, in rows.
    """

    content: str
    layout: str
    inputs: list[str]
    targets: list[str] = field(default_factory=list)
    sequence: str | None = None
    per_step: bool = False
    missing: str = "error"
    fill: list[float] | None = None
    categories: list[str] = field(default_factory=list)

    @property
    def target(self) -> str | None:
        """The only, or the first, column of targets."""
        return self.targets[0] if self.targets else None

    @property
    def is_tagged(self) -> bool:
        """Whether the file has tagged sentences."""
        return self.layout == "rows" and self.sequence is None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Schema:
        """Return the schema with the fields that `to_dict` returns."""
        return cls(**content)


def adapt_schema(schema: Schema, table: Table) -> Schema:
    """Return the schema for another format: a CoNLL-U model reads the first column of tokens."""
    if schema.is_tagged and table.format == "tagged" and schema.inputs[0] not in table.columns:
        return replace(schema, inputs=[table.columns[0]], targets=[])
    return schema


def group_rows(table: Table, schema: Schema) -> list[list[int]]:
    """Return the indices of the rows of every sequence."""
    if schema.layout != "rows" or table.format == "text":
        return [[row] for row in range(len(table.rows))]
    keys: Sequence[Any]
    if table.sentence_ids is not None:
        keys = table.sentence_ids
    elif schema.sequence is None:
        raise CommandError(
            f"{table.name} is {table.format.upper()}, and the model reads sentences: it needs "
            "one token per line and a blank line between sentences, CoNLL-U, or plain text"
        )
    else:
        index = table.column_index(schema.sequence, "column of sequence ids")
        keys = [row[index] for row in table.rows]
    groups: dict[Any, list[int]] = {}
    for row, key in enumerate(keys):
        groups.setdefault(key, []).append(row)
    return list(groups.values())


def extract_sequences(table: Table, schema: Schema, groups: Sequence[Sequence[int]]) -> list[Any]:
    """Return the sequences as input for an estimator; missing numbers are NaN if allowed.

    Raises
    ------
    CommandError
        If a column is missing, or a cell has the wrong content.
    """
    if table.format == "text":
        return _text_sequences(table, schema)
    indices = [table.column_index(column, "input of the model") for column in schema.inputs]
    if schema.layout == "cell":
        return [_cell(table, schema, row, indices[0]) for row in range(len(table.rows))]
    if schema.content == "tokens":
        return [[str(table.rows[row][indices[0]]) for row in group] for group in groups]
    if schema.layout == "rows":
        count = len(indices) - len(schema.categories)
        steps = [
            np.stack([_complete_numbers(table, schema, row, indices[:count]) for row in group])
            for group in groups
        ]
        if not schema.categories:
            return steps
        categories = [
            [_categories(table, row, indices[count:]) for row in group] for group in groups
        ]
        return [joined(*both) for both in zip(steps, categories, strict=True)]
    found = []
    for row in range(len(table.rows)):
        numbers = table.row_numbers(row, indices, missing=schema.missing != "error")
        if not len(numbers):
            raise table.row_error(row, "must have at least one number: remove the line")
        found.append(numbers[:, np.newaxis])
    return found


def _text_sequences(table: Table, schema: Schema) -> list[Any]:
    """Return the sequences of a plain text."""
    lines = [row[0] for row in table.rows]
    if schema.layout == "running":
        before = [0, *table.lines]
        gaps = (line - last for line, last in zip(table.lines, before, strict=False))
        return ["".join("\n" * gap + line for gap, line in zip(gaps, lines, strict=True)).lstrip()]
    if schema.content == "tokens":
        return [line.split() for line in lines]
    if schema.content == "numbers":
        raise CommandError(
            f"{table.name} is plain text, and the model reads numbers: "
            f"it needs the columns {join_names(schema.inputs)}"
        )
    return lines


def _complete_numbers(table: Table, schema: Schema, row: int, indices: Sequence[int]) -> Any:
    if schema.missing != "error":
        return table.row_numbers(row, indices, missing=True, ragged=False)
    numbers = table.row_numbers(row, indices)
    if len(numbers) < len(indices):
        column = table.columns[indices[len(numbers)]]
        raise table.row_error(
            row,
            f"column {column!r} must be a number, got an empty cell: fill it in, or train with "
            "--missing fill",
        )
    return numbers


def _categories(table: Table, row: int, indices: Sequence[int]) -> list[Any]:
    """Return the cells of categories; None if they are empty."""
    cells = [table.rows[row][index] for index in indices]
    return [None if is_missing(cell) else cell for cell in cells]


def joined(numbers: Any, categories: Any) -> Any:
    """Return numbers (T, I) and categories (T, C) as one table (T, I + C)."""
    return np.concatenate([np.array(numbers, object), np.array(categories, object)], axis=1)


def numbers_of(X: Sequence[Any], schema: Schema) -> list[Any]:
    """Return the numbers of the sequences, without categories."""
    if not schema.categories:
        return list(X)
    return [x[:, : -len(schema.categories)].astype(np.float64) for x in X]


def _cell(table: Table, schema: Schema, row: int, index: int) -> Any:
    """Return the sequence in a cell: a text, a list of tokens, or an array of numbers."""
    cell, column, content = table.rows[row][index], table.columns[index], schema.content
    if content == "texts":
        if not isinstance(cell, str) or not cell.strip():
            got = repr(cell) if cell else "an empty cell"
            raise table.row_error(
                row, f"column {column!r} must be a text, got {got}: remove the line"
            )
        return cell
    rule = {"tokens": "a list of strings", "numbers": "a list of numbers, or of lists of numbers"}
    wrong = table.row_error(row, f"column {column!r} must be {rule[content]}, got {str(cell)[:40]}")
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
    is_valid = ~np.isinf(numbers) if schema.missing != "error" else np.isfinite(numbers)
    if numbers.ndim not in (1, 2) or not is_valid.all():
        raise wrong
    return numbers.reshape(len(numbers), -1)


# ---- missing numbers


def feature_means(X: Sequence[Any], schema: Schema) -> list[float]:
    """Return the mean of every column of numbers over all steps of all sequences, without NaN."""
    steps = np.concatenate(numbers_of(X, schema))
    present = ~np.isnan(steps)
    sums = np.where(present, steps, 0.0).sum(axis=0)
    return [float(value) for value in sums / np.maximum(present.sum(axis=0), 1)]


def fill_missing(X: Sequence[Any], schema: Schema) -> list[Any]:
    """Return the sequences without NaN, if the schema fills them in; "mask" and "decay" keep it."""
    if schema.missing != "fill":
        return list(X)
    filled, count = filled_numbers(X, schema), len(schema.categories)
    if not count:
        return filled
    return [joined(numbers, x[:, -count:]) for numbers, x in zip(filled, X, strict=True)]


def filled_numbers(X: Sequence[Any], schema: Schema) -> list[Any]:
    """Return the numbers of the sequences without NaN.

    A missing number becomes the last one before it in its sequence, or else the mean of the
    training data.
    """
    numbers = numbers_of(X, schema)
    if schema.fill is None:
        return numbers
    filled = []
    for x in numbers:
        is_missing = np.isnan(x)
        values = np.array(x)
        for t in np.flatnonzero(is_missing.any(axis=1)):
            before = values[t - 1] if t else np.array(schema.fill)
            values[t] = np.where(is_missing[t], before, values[t])
        filled.append(values)
    return filled


# ---- targets


def extract_targets(
    table: Table, schema: Schema, groups: Sequence[Sequence[int]], task: str
) -> list[Any]:
    """Return the target of every sequence; for tagging, the labels of its steps.

    Raises
    ------
    CommandError
        If a target is missing, varies within a sequence, or has the wrong type.
    """
    if task == REGRESSION and schema.per_step:
        steps = [_step_numbers(table, schema, groups, name) for name in schema.targets]
        if len(steps) == 1:
            return steps[0]
        return [np.stack(rows, axis=1) for rows in zip(*steps, strict=True)]
    if task == REGRESSION:
        columns = [_numeric_targets(table, schema, groups, name) for name in schema.targets]
        return (
            columns[0] if len(columns) == 1 else [list(row) for row in zip(*columns, strict=True)]
        )
    cells = target_cells(table, str(schema.target))
    if task == TAGGING:
        if schema.layout == "rows":
            return [[cells[row] for row in group] for group in groups]
        return [_step_labels(table, schema, row, cells[row]) for row in range(len(cells))]
    found = sequence_values(table, str(schema.target), groups, cells)
    for group, value in zip(groups, found, strict=True):
        if isinstance(value, (list, dict)):
            raise table.row_error(
                group[0], f"column {schema.target!r} must be one label, got {str(value)!r}"
            )
    return found


def sequence_values(
    table: Table, column: str, groups: Sequence[Sequence[int]], cells: Sequence[Any], hint: str = ""
) -> list[Any]:
    """Return the cell of every sequence, which must be the same in all its rows."""
    for group in groups:
        for row in group:
            if cells[row] != cells[group[0]]:
                raise table.row_error(
                    row,
                    f"column {column!r} must be the same in all rows of a sequence, "
                    f"{cells[group[0]]!r} as in line {table.lines[group[0]]}, got {cells[row]!r}"
                    + (hint or f"; for one label per step use --task {TAGGING}"),
                )
    return [cells[group[0]] for group in groups]


def _step_numbers(
    table: Table, schema: Schema, groups: Sequence[Sequence[int]], column: str
) -> list[Any]:
    """Return the targets of every step, an array (T,) for each sequence."""
    index = table.column_index(column, "the target")
    if schema.layout != "rows":
        single = replace(schema, targets=[column])
        lists = [_step_labels(table, single, row, table.rows[row][index]) for (row,) in groups]
        try:
            return [np.array(list(map(float, numbers))) for numbers in lists]
        except (TypeError, ValueError):
            raise CommandError(
                f"{table.name}: column {column!r} must be lists of numbers"
            ) from None
    for row in (row for group in groups for row in group):
        if is_missing(table.rows[row][index]):
            raise table.row_error(row, f"column {column!r} has no number: remove the line")
    return [np.array([table.row_numbers(row, [index])[0] for row in group]) for group in groups]


def _numeric_targets(
    table: Table, schema: Schema, groups: Sequence[Sequence[int]], column: str
) -> list[float]:
    cells = target_cells(table, column)
    sequence_values(table, column, groups, cells)
    for row, cell in enumerate(cells):
        if is_missing(cell):
            raise table.row_error(row, f"column {column!r} has no number: remove the line")
    index = [table.column_index(column, "the target")]
    return [float(table.row_numbers(group[0], index)[0]) for group in groups]


def stack_targets(y: Sequence[Any], schema: Schema) -> NDArray[np.float64]:
    """Return the targets of a regression, (N, targets): of all sequences, or of all their steps."""
    rows = np.concatenate(list(y)) if schema.per_step else np.asarray(y, np.float64)
    return np.asarray(rows, np.float64).reshape(-1, len(schema.targets))


def target_cells(table: Table, column: str) -> list[Any]:
    """Return the target of every row, stripped, after a check that all have the same type."""
    index = table.column_index(column, "the target")
    cells = [row[index] for row in table.rows]
    for row, cell in enumerate(cells):
        if cell is None or (isinstance(cell, str) and not cell.strip()):
            raise table.row_error(
                row, f"column {column!r} is empty: fill it in, or remove the line"
            )
        if isinstance(cell, dict):
            raise table.row_error(
                row, f"column {column!r} must be a label or number, got an object: {str(cell)[:40]}"
            )
        if isinstance(cell, str) != isinstance(cells[0], str):
            raise table.row_error(
                row,
                f"column {column!r} must be a {type(cells[0]).__name__} as in line "
                f"{table.lines[0]}, got {cell!r}",
            )
    return [cell.strip() if isinstance(cell, str) else cell for cell in cells]


def _step_labels(table: Table, schema: Schema, row: int, cell: Any) -> Any:
    """Return the list of labels in a cell, one per step of the sequence in the same row."""
    steps = len(extract_sequences(_single_row(table, row), schema, [[0]])[0])
    if not isinstance(cell, list) or len(cell) != steps:
        got = f"{len(cell)}" if isinstance(cell, list) else str(cell)[:40]
        raise table.row_error(
            row,
            f"column {schema.target!r} must be a list of {steps} labels, one per step, got {got}",
        )
    return cell


def _single_row(table: Table, row: int) -> Table:
    return Table(table.name, table.format, table.columns, [table.rows[row]], [table.lines[row]])
