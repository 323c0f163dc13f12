"""Writers of predictions, in the format of the input file."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from bptt.cli.schema import Schema
from bptt.cli.tables import Table

COLUMN = "prediction"


def format_predictions(
    table: Table,
    schema: Schema,
    groups: Sequence[Sequence[int]],
    X: Sequence[Any],
    predictions: Sequence[Any],
    probabilities: Sequence[Any] | None,
    classes: Iterable[Any],
) -> str:
    """Return the content of the output file.

    Parameters
    ----------
    table : Table
    schema : Schema
    groups : sequence of B sequences of int
        Rows of every sequence.
    X : sequence of B sequences
    predictions : array (B,), or sequence of B arrays (T,)
        Prediction for every sequence, or for every step.
    probabilities : array (B, K), or sequence of B arrays (T, K), optional
        Probabilities of the K classes.
    classes : array (K,)
    """
    if table.format == "conllu":
        return _format_conllu(table, schema, groups, predictions, probabilities, list(classes))
    names = [f"P({label})" for label in classes] if probabilities is not None else []
    outputs, predictions = _name_outputs(table, schema, predictions)
    headers = [f"{COLUMN}_{name}" for name in outputs] or [COLUMN, *names]
    steps = np.ndim(predictions[0]) >= 1 and not isinstance(predictions[0], (str, tuple))
    if table.format == "jsonl":
        return _format_json_lines(table, groups, predictions, probabilities, classes, steps)
    cells = [_format_cells(predictions[i], probabilities, i, steps) for i in range(len(X))]
    comment = f"# after the prediction: {' '.join(names)}\n" if names else ""
    if table.format == "text":
        if steps:
            return comment + _format_sentences([[[t] for t in x] for x in X], cells)
        rows = [[row[0].replace("\t", " "), *cells[i][0]] for i, row in enumerate(table.rows)]
        return _format_rows("\t", [[*table.columns, *headers], *rows])
    if table.format == "tagged":
        added = {
            row: more
            for i, group in enumerate(groups)
            for row, more in zip(group, cells[i], strict=True)
        }
        rows = [[*row, *added[i]] for i, row in enumerate(table.rows)]
        return comment + _replace_lines(table, rows)
    if schema.layout == "rows" and not steps:
        index = table.columns.index(str(schema.sequence))
        rows = [[table.rows[g[0]][index], *cells[i][0]] for i, g in enumerate(groups)]
        return _format_rows(table.delimiter, [[str(schema.sequence), *headers], *rows])
    kept = [i for i, name in enumerate(table.columns) if name not in headers]
    rows = [[row[i] for i in kept] for row in table.rows]
    for i, group in enumerate(groups):
        for t, row in enumerate(group):
            rows[row] += cells[i][t]
    header = [*(table.columns[i] for i in kept), *headers]
    return _format_rows(table.delimiter, [header, *rows])


def _name_outputs(
    table: Table, schema: Schema, predictions: Sequence[Any]
) -> tuple[list[str], Sequence[Any]]:
    """Return the names of several outputs, none for a single one, and the predictions by name.

    In JSON, those of a sequence become a dict; in tables those of one row a tuple of texts.
    """
    dimensions = np.ndim(predictions[0])
    per_step = isinstance(predictions, list)
    if dimensions != 1 + per_step or isinstance(predictions[0], str):
        return [], predictions
    count = np.shape(predictions[0])[-1]
    names = schema.targets or [str(k + 1) for k in range(count)]
    if table.format == "jsonl":
        return names, [dict(zip(names, rows.T.tolist(), strict=True)) for rows in predictions]
    if per_step:
        return names, predictions
    return names, [tuple(map(_format_value, row)) for row in predictions]


def _format_cells(
    prediction: Any, probabilities: Sequence[Any] | None, index: int, steps: bool
) -> list[list[str]]:
    """Return the new cells of a sequence: one list, or one per step."""
    if isinstance(prediction, tuple):  # several outputs
        return [list(prediction)]
    if steps and np.ndim(prediction) == 2:
        return [list(map(_format_value, row)) for row in prediction]
    rows = [[_format_value(label)] for label in (prediction if steps else [prediction])]
    if probabilities is not None:
        values = probabilities[index] if steps else [probabilities[index]]
        for row, probability in zip(rows, values, strict=True):
            row += [f"{value:.4f}" for value in probability]
    return rows


def _format_value(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, np.floating) else str(value)


def _format_rows(delimiter: str, rows: Iterable[Sequence[str]]) -> str:
    if delimiter == "\t":
        return "".join("\t".join(row) + "\n" for row in rows)
    content = io.StringIO()
    csv.writer(content, delimiter=delimiter, lineterminator="\n").writerows(rows)
    return content.getvalue()


def _format_sentences(
    sentences: Sequence[Sequence[list[str]]], cells: Sequence[list[list[str]]]
) -> str:
    blocks = [
        "".join("\t".join([*row, *added]) + "\n" for row, added in zip(rows, more, strict=True))
        for rows, more in zip(sentences, cells, strict=True)
    ]
    return "\n".join(blocks)


def _format_conllu(
    table: Table,
    schema: Schema,
    groups: Sequence[Sequence[int]],
    predictions: Sequence[Any],
    probabilities: Sequence[Any] | None,
    classes: list[Any],
) -> str:
    """Return valid CoNLL-U: the file with another target column, and probabilities in MISC."""
    target, misc = table.column_index(str(schema.target), "the target"), table.columns.index("MISC")
    rows = [list(row) for row in table.rows]
    for i, group in enumerate(groups):
        for t, row in enumerate(group):
            rows[row][target] = str(predictions[i][t])
            if probabilities is not None:
                kept = [
                    part
                    for part in rows[row][misc].split("|")
                    if part != "_" and not part.startswith("Prob=")
                ]
                rows[row][misc] = "|".join(
                    [*kept, f"Prob={probabilities[i][t][classes.index(predictions[i][t])]:.4f}"]
                )
    return _replace_lines(table, rows).rstrip("\n") + "\n\n"


def _replace_lines(table: Table, rows: Sequence[Sequence[str]]) -> str:
    """Return the source of a table with other rows; comments and blank lines are kept."""
    assert table.source is not None
    lines = list(table.source)
    for number, row in zip(table.lines, rows, strict=True):
        lines[number - 1] = "\t".join(row)
    return "\n".join(lines).rstrip("\n") + "\n"


def _format_json_lines(
    table: Table,
    groups: Sequence[Sequence[int]],
    predictions: Sequence[Any],
    probabilities: Sequence[Any] | None,
    classes: Iterable[Any],
    steps: bool,
) -> str:
    names = [str(label) for label in classes]
    lines = []
    for i, group in enumerate(groups):
        value = dict(zip(table.columns, table.rows[group[0]], strict=True))
        found = predictions[i]
        value[COLUMN] = found if isinstance(found, dict) else np.asarray(found).tolist()
        if probabilities is not None:
            rounded = np.round(np.asarray(probabilities[i], np.float64), 4).tolist()
            rows = rounded if steps else [rounded]
            named = [dict(zip(names, row, strict=True)) for row in rows]
            value["probabilities"] = named if steps else named[0]
        lines.append(json.dumps(value, ensure_ascii=False) + "\n")
    return "".join(lines)
